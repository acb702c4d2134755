"""The command line: thin commands over the rooms below."""

from __future__ import annotations

from auditor.lazy import import_on_first_use

# Describing plugins and checking a configuration need neither, and must not wait for them.
import_on_first_use("torch")
import_on_first_use("numpy")

import sys  # noqa: E402 (the lines above have to come first)

from auditor.cli.app import app  # noqa: E402
from auditor.cli.console import ended, prepare_streams, say  # noqa: E402
from auditor.errors import ExitStatus  # noqa: E402


def main() -> None:
    """The console script `auditor`."""
    prepare_streams()
    try:
        app()
    except BrokenPipeError:  # of click, while it says what is wrong with the command line
        sys.exit(ended(int(ExitStatus.CUT_OFF)))
    except SystemExit as end:
        if isinstance(end.code, str):
            say(end.code, error=True)
        sys.exit(ended(end.code if isinstance(end.code, int) else int(end.code is not None)))


__all__ = ["app", "main"]
