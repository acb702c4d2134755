"""Errors that say what happened, where, what was expected, and how to mend it."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any

from auditor.printable import hanging

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
    #: Who read the output went away (a closed pipe); nothing but what is printed was lost.
    CUT_OFF = 141


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
        lines = [f"  {name + ':':<10}{hanging(text)}" for name, text in details if text]
        return "\n".join([hanging(self.what), *lines])


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


class SeveralLoadsError(LoadError):
    """Several things could not be loaded, reported together."""

    def __init__(self, errors: list[LoadError]) -> None:
        self.errors = errors
        super().__init__(f"{len(errors)} things could not be loaded.")

    def render(self) -> str:
        """Every one of them."""
        return "\n\n".join(error.render() for error in self.errors)


def nearest(name: Any, names: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    folded = {candidate.casefold().replace("_", "-"): candidate for candidate in names}
    wanted = str(name).casefold().replace("_", "-")
    found = difflib.get_close_matches(wanted, list(folded), n=1)
    return folded[found[0]] if found else None


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """A remedy that names the nearest name, or nothing."""
    found = nearest(name, names)
    return f'did you mean "{found}"?' if found else ""


def text_of(error: BaseException) -> str:
    """The text of an exception, or that it has none: its `__str__` may raise as well."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as failure:  # it is user code, and may raise anything
        return f"its text cannot be told: __str__ raised {type(failure).__name__}"


def told(error: BaseException) -> str:
    """Type and text of an exception, such as "ValueError: too many"."""
    return f"{type(error).__name__}: {text_of(error)}"


def raised_at(error: BaseException) -> str:
    """The file and line of the user's code where `error` came from, as "model.py:31"."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}:{error.lineno}"
    return _place_of(traceback.extract_tb(error.__traceback__))


def running_line() -> str:
    """The file and line of the user's code that is being run; empty where there is none."""
    return _place_of(traceback.extract_stack())


def _place_of(stack: traceback.StackSummary) -> str:
    """The innermost file and line that are the user's, as "model.py:31"."""
    theirs = [
        frame
        for frame in stack
        if not frame.filename.startswith("<")
        and not any(Path(frame.filename).is_relative_to(folder) for folder in _NOT_THE_USERS)
    ]
    return f"{Path(theirs[-1].filename).name}:{theirs[-1].lineno}" if theirs else ""
