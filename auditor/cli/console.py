"""The terminal: texts as they were written, whatever it can show and however it ends.

Nothing is markup, no text commands the terminal, and characters that its encoding lacks are
written out. Who reads may go away: what is printed after that is lost, and nothing else is.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from auditor.errors import ExitStatus
from auditor.printable import printable

_ERRORS = "auditor.written-out"
#: Signs of our own sentences that old code pages lack, and what typewriters had for them.
_TYPEWRITTEN = str.maketrans(
    {"–": "-", "—": "-", "…": "...", "·": "-", "×": "x", "≤": "<=", "≥": ">=", "≠": "!=",
     "ε": "eps", "∞": "inf", "\N{NO-BREAK SPACE}": " ", "‘": "'", "’": "'", "“": '"', "”": '"'}
)  # fmt: skip


def _written_out(error: UnicodeError) -> tuple[str, int]:
    """For `codecs`: what the encoding lacks, in ASCII."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = printable(error.object[error.start : error.end]).translate(_TYPEWRITTEN)
    return lacking.encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(_ERRORS, _written_out)


class _Stream(io.TextIOWrapper):
    """A standard stream that takes every text, and outlives its reader."""

    cut_off = False

    def write(self, text: str) -> int:
        """Write, or lose what nobody reads any more."""
        with self._reader_may_leave():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, likewise."""
        with self._reader_may_leave():
            super().flush()

    @contextlib.contextmanager
    def _reader_may_leave(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # the pipe is closed, the disk is full
            type(self).cut_off = True
            # What is still buffered has to go somewhere when the process ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


_prepared: dict[str, _Stream] = {}


def prepare_streams() -> None:
    """Make standard output and standard error take every text and outlive their readers."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, _Stream):
            lines, through = stream.line_buffering, stream.write_through
            made = _Stream(stream.buffer, stream.encoding, _ERRORS, None, lines, through)
            setattr(sys, name, made)
            _prepared[name] = made


def ended(status: int) -> int:
    """The exit status of a command that ends with `status`, unless its reader went away."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # On a terminal of ASCII click writes its help past our streams, and replaces these when its
    # reader is gone.
    replaced = any(getattr(sys, name) is not ours for name, ours in _prepared.items())
    return int(ExitStatus.CUT_OFF) if _Stream.cut_off or replaced else status


def say(text: str = "", *, error: bool = False) -> None:
    """Print text on standard output, or standard error, as it is."""
    stream = sys.stderr if error else sys.stdout
    print(printable(text), file=stream, flush=True)


@contextlib.contextmanager
def standard_output_kept() -> Iterator[None]:
    """Everything that the block prints, users' and native code included, is on standard error."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a stream that was closed takes nothing anyway
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            sys.stdout.flush()
            os.dup2(2, 1)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


class PlainConsole(Console):
    """Rich's tables and bars; texts are no markup, no emoji codes, and command nothing."""

    def __init__(self, *, stderr: bool = False, file: TextIO | None = None) -> None:
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False, highlight=False)

    @property
    def ascii_only(self) -> bool:
        """Whether the terminal has no signs beyond ASCII for certain."""
        return not self.encoding.startswith("utf")

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text of a table passes here before its width is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """And everything else that is printed here."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text == printable(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def write_line(self, text: str) -> None:
        """One line of text, however wide."""
        self.print(text, soft_wrap=True)
