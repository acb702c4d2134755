"""Nothing around an audit can end it, or end it as if all were well."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from auditor.cli.console import say
from auditor.cli.terminal import Screen, show_summary
from auditor.errors import AuditorError, ExitStatus, LoadError, running_line, text_of, told
from auditor.printable import hanging
from auditor.protocols.events import Event
from auditor.results import AuditResult
from auditor.storage import StorageError, refused


class GuardedScreen:
    """A screen that cannot harm the audit: what it raises first switches it off.

    From then on lines go to standard error, if that can be written to.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        #: What it raised.
        self.failure: Exception | None = None

    def __enter__(self) -> GuardedScreen:
        self._safely(self._screen.__enter__)
        return self

    def __exit__(self, *_: object) -> None:
        self._safely(self._screen.__exit__)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        self._safely(self._screen, event)

    def line(self, text: str) -> None:
        """Show one line of plain text."""
        if not self._safely(self._screen.line, text):
            _say(text)

    def summary(self, result: AuditResult) -> None:
        """Show the table that answers the question, then verdict and reasons."""
        if not self._safely(show_summary, self._screen.console, result):
            _say(f"Verdict: {result.verdict}; exit status {result.exit_status}.")

    def _safely(self, show: Callable[..., Any], *arguments: object) -> bool:
        """Whether it was shown."""
        if self.failure is not None:
            return False
        try:
            show(*arguments)
        except Exception as error:  # a terminal that has gone, an encoding, a defect of ours
            self.failure = error
            with contextlib.suppress(Exception):
                self._screen.__exit__()
            _say(f"warning: the screen was switched off, and the audit goes on: {told(error)}")
            return False
        return True


def _say(text: str) -> None:
    with contextlib.suppress(Exception):
        say(text, error=True)


@contextlib.contextmanager
def no_silent_end() -> Iterator[None]:
    """Let `os._exit` of a model, its data or a plugin be an error and no success.

    Processes that are forked meanwhile end as they like.
    """
    owner, leave = os.getpid(), os._exit

    def leave_told(status: int) -> NoReturn:
        if os.getpid() != owner:
            leave(status)
        place = running_line()
        _say(
            f"error: os._exit({status}) was called{f' at {place}' if place else ''}, and ended the "
            "audit without a result.\n"
            "  expected: code of models, data and plugins that returns or raises\n"
            "  remedy:   take the call out, then run the same command: finished cells are kept"
        )
        leave(int(ExitStatus.LOAD))

    os._exit = leave_told
    try:
        yield
    finally:
        os._exit = leave


@contextlib.contextmanager
def each_warning_once(tell: Callable[[str], None]) -> Iterator[None]:
    """Let `tell` have each warning of Python once, whatever filters the code it comes from sets."""
    seen: set[tuple[str, type[Warning], str, int]] = set()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = text_of(message) if isinstance(message, Warning) else message
        if (warning := (text, category, filename, lineno)) in seen:
            return
        seen.add(warning)
        tell(f"warning: {category.__name__}: {hanging(text)} (at {Path(filename).name}:{lineno})")

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def of_the_machine(error: Exception) -> LoadError | None:
    """What to tell of an error that the disk or the memory is to blame for; None of any other."""
    from auditor.subject.memory import is_out_of_memory

    if isinstance(error, StorageError):
        return error
    if isinstance(error, AuditorError):
        return None
    if isinstance(error, MemoryError | RuntimeError) and is_out_of_memory(error):
        return LoadError(
            "The memory ran out.",
            expected="memory for the model, a batch and the report",
            remedy="set a smaller [run] batch_size or fewer [data] samples, raise the limit "
            "(ulimit -v), or use a machine with more memory",
        )
    return refused(error)
