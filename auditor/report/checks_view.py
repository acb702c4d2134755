"""The table of the checks: what each saw, whether that is suspicious, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isclose

from auditor.report import wording
from auditor.report.wording import CHECKS, Badge, plural
from auditor.results import AttemptSummary, CheckResult, ModelResult

#: Attacks of one check that are named; the others are counted.
_ATTEMPTS = 8
#: Marks attacks that distrust the gradient; in every common font.
MARK = "†"


@dataclass(frozen=True)
class CheckRow:
    """One check, or several that had nothing to look at for the same reason."""

    names: tuple[str, ...]
    badge: Badge
    sentence: str
    attempts: str
    passes: str
    seconds: str


@dataclass(frozen=True)
class ChecksView:
    """Every check that was asked for: those that saw something first."""

    summary: str
    rows: tuple[CheckRow, ...]
    #: Whether an attack in the table bears the mark.
    marked: bool


def checks_view(model: ModelResult) -> ChecksView:
    """The table of the checks of `model`."""
    rows = tuple(_rows(model.checks, _epsilon(model), model.masking.culprit))
    return ChecksView(
        _summary(model.checks), rows, marked=any(MARK in row.attempts for row in rows)
    )


def _epsilon(model: ModelResult) -> float | None:
    """The epsilon of the verdict, which needs no mention beside an attack."""
    masking = model.masking
    same = (t.epsilon for t in model.threats
            if (t.norm, t.epsilon_text) == (masking.norm, masking.epsilon_text))  # fmt: skip
    return next(same, None)


def _summary(checks: Sequence[CheckResult]) -> str:
    """What the checks came to, in a sentence or two."""
    done = sum(check.status == "done" for check in checks)
    flagged = sum(check.flagged for check in checks)
    failed = sum(check.status == "error" for check in checks)
    parts = [f"{flagged:,} flagged something" if flagged else "none flagged anything"]
    if failed:
        parts.append(f"{failed:,} failed")
    passes = sum(check.forwards + check.backwards for check in checks)
    seconds = wording.duration(sum(check.seconds for check in checks))
    return (
        f"{done:,} of {plural(len(checks), 'check')} looked at the model: {', '.join(parts)}. "
        f"Together they took {plural(passes, 'pass', 'passes')} of single images and {seconds}."
    )


def _rows(
    checks: Sequence[CheckResult], epsilon: float | None, culprit: str | None
) -> Iterator[CheckRow]:
    """Failed and flagged ones, then the clear ones; last what had nothing to look at.

    A check that names the verdict's `culprit` is not said to be clear.
    """
    looked = [c for c in checks if c.status in ("done", "error") or c.flagged]
    for check in sorted(looked, key=lambda c: (c.status != "error", not c.flagged)):
        named = check.status == "done" and bool(culprit) and str(culprit) in check.sentence
        yield CheckRow(
            names=(check.label,),
            badge=CHECKS["flagged" if check.flagged else "named" if named else check.status],
            sentence=check.sentence,
            attempts=_attempts(check.attempts, epsilon),
            passes=f"{check.forwards + check.backwards:,}",
            seconds=wording.duration(check.seconds),
        )
    groups: dict[tuple[str, str], list[CheckResult]] = {}
    for check in checks:
        if check not in looked:
            groups.setdefault((check.status, check.sentence), []).append(check)
    for (status, sentence), group in groups.items():
        passes = sum(check.forwards + check.backwards for check in group)
        seconds = sum(check.seconds for check in group)
        yield CheckRow(
            names=tuple(check.label for check in group),
            badge=CHECKS[status],
            sentence=sentence,
            attempts=_attempts([a for check in group for a in check.attempts], epsilon),
            passes=f"{passes:,}",
            seconds=wording.duration(seconds),
        )


def _attempts(attempts: Sequence[AttemptSummary], epsilon: float | None) -> str:
    """The attacks that a check started, and what each broke."""
    if not attempts:
        return ""
    texts = [_attempt(attempt, epsilon) for attempt in attempts[:_ATTEMPTS]]
    if len(attempts) > _ATTEMPTS:
        texts.append(f"{len(attempts) - _ATTEMPTS} more in audit.json")
    return f"Attacks, images broken: {'; '.join(texts)}."


def _attempt(attempt: AttemptSummary, epsilon: float | None) -> str:
    notes = [attempt.surrogate] if attempt.surrogate not in ("", "naive") else []
    if epsilon is None or not isclose(attempt.epsilon, epsilon):
        notes.append(f"ε = {attempt.epsilon:.4g}")
    mark = MARK if attempt.trust == "nothing" else ""
    where = f" ({', '.join(notes)})" if notes else ""
    return f"{attempt.name}{mark}{where} {attempt.broken:,} of {attempt.images:,}"
