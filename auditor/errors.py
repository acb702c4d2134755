"""Errors that say what happened, where, what was expected, and how to mend it."""

from __future__ import annotations

import sysconfig
import traceback
from enum import IntEnum
from pathlib import Path

#: This tool, the standard library, and installed packages.
_NOT_THE_USERS = (
    Path(__file__).parent,
    *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")),
)


class ExitStatus(IntEnum):
    """What the command line returns; the meanings are public and never reused."""

    #: The audit is complete and every gate held.
    OK = 0
    #: The audit is complete and a gate is broken.
    GATE_BROKEN = 1
    #: The command line or the configuration is wrong; nothing was run.
    USAGE = 2
    #: The audit could not be completed or cannot be judged.
    INCONCLUSIVE = 3
    #: The model, the data, a plugin or the environment could not be loaded.
    LOAD = 4
    #: A defect of the tool; the traceback is in the run directory.
    INTERNAL = 5
    #: Interrupted; what was finished is kept.
    INTERRUPTED = 130


class AuditorError(Exception):
    """An error whose reader can act on it.

    Args:
        what: one sentence on what went wrong.
        where: the key, file and line, model or plugin it concerns.
        expected: what would have been right.
        remedy: what to do now.
    """

    exit_status = ExitStatus.INTERNAL

    def __init__(self, what: str, *, where: str = "", expected: str = "", remedy: str = "") -> None:
        self.what, self.where, self.expected, self.remedy = what, where, expected, remedy
        super().__init__(self.render())

    def render(self) -> str:
        """The error as lines of plain text."""
        details = [("where", self.where), ("expected", self.expected), ("remedy", self.remedy)]
        return "\n".join(
            [self.what, *(f"  {name + ':':<10}{text}" for name, text in details if text)]
        )


class UsageError(AuditorError):
    """The command line is wrong, or a run directory is not what was asked for."""

    exit_status = ExitStatus.USAGE


class ConfigError(AuditorError):
    """One or several faults of an audit.toml, reported together.

    Args:
        problems: one error per fault, in the order of the file.
    """

    exit_status = ExitStatus.USAGE

    def __init__(self, path: str, problems: list[AuditorError]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{path} has {count}; nothing was run.")

    def render(self) -> str:
        """The headline, then every fault."""
        return "\n\n".join([self.what, *(problem.render() for problem in self.problems)])


class LoadError(AuditorError):
    """The model, the data, a plugin or the environment could not be loaded."""

    exit_status = ExitStatus.LOAD


def raised_at(error: BaseException) -> str:
    """The file and line of the user's code where `error` came from, as "model.py:31"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    return _last_line(traceback.extract_tb(error.__traceback__))


def running_line() -> str:
    """The file and line of the user's code that is being run; empty where there is none."""
    return _last_line(traceback.extract_stack())


def _last_line(frames: traceback.StackSummary) -> str:
    theirs = [
        frame
        for frame in frames
        if not frame.filename.startswith("<")
        and not any(Path(frame.filename).is_relative_to(folder) for folder in _NOT_THE_USERS)
    ]
    return f"{Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
