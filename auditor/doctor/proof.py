"""What the doctor found: one sentence, and what to do where it is not well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from auditor.errors import AuditorError, ConfigError, ExitStatus, raised_at, told

#: Notes and warnings leave the exit status as it is; "not tried" says what had to work first.
Outcome = Literal["ok", "note", "warning", "failed", "not tried"]


@dataclass(frozen=True)
class Proof:
    """One thing that was tried.

    Attributes:
        area: the heading it stands under, such as "Devices".
        what: what was seen, or what went wrong, in a sentence.
        where: the file, key, model or device it concerns.
        expected: what would have been right.
        remedy: what to do; every warning and failure has one.
        usage: whether it is the configuration that is wrong.
    """

    area: str
    outcome: Outcome
    what: str
    where: str = ""
    expected: str = ""
    remedy: str = ""
    usage: bool = False


def guarded(area: str, test: Callable[[], Iterable[Proof]], remedy: str) -> Iterator[Proof]:
    """What `test` proves; whatever it raises is a failure, so that the tests after it still run.

    Args:
        remedy: what to do about an error that brings no remedy of its own.
    """
    try:
        yield from test()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except AuditorError as error:
        yield from _of_error(area, error, remedy)
    except BaseException as error:  # plugins, models and broken packages may raise anything
        text = " ".join(told(error).split())
        yield Proof(area, "failed", text, where=raised_at(error), remedy=remedy)


def _of_error(area: str, error: AuditorError, remedy: str) -> Iterator[Proof]:
    """A failure for each fault that the error names."""
    for one in error.problems if isinstance(error, ConfigError) else [error]:
        yield Proof(
            area,
            "failed",
            one.what,
            where=one.where,
            expected=one.expected,
            remedy=one.remedy or remedy,
            usage=one.exit_status == ExitStatus.USAGE,
        )


def exit_status(proofs: Iterable[Proof]) -> ExitStatus:
    """0 if everything that is needed works, 2 if the configuration is wrong, else 4."""
    failed = [proof for proof in proofs if proof.outcome == "failed"]
    if any(proof.usage for proof in failed):
        return ExitStatus.USAGE
    return ExitStatus.LOAD if failed else ExitStatus.OK
