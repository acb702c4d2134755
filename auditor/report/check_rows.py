"""The checks of a model: what each saw, whether that is suspicious, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isclose

from auditor.language import _
from auditor.report.threats import under
from auditor.report.wording import (
    CHECKS,
    MARK,
    SEVERITIES,
    Badge,
    clauses,
    duration,
    listed,
    plural,
)
from auditor.results import AttemptSummary, CheckResult, Finding, ModelResult

#: Attacks of one check that are named; the others are counted.
_ATTEMPTS = 8


@dataclass(frozen=True)
class CheckRow:
    """One check, or several that had nothing to look at for the same reason."""

    checks: tuple[CheckResult, ...]
    badge: Badge
    #: The attacks that they started, and what each broke.
    attempts: str


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The findings, the worst first."""
    order = list(SEVERITIES)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def passes(checks: Iterable[CheckResult]) -> int:
    """Forward and backward passes together."""
    return sum(check.forwards + check.backwards for check in checks)


def checks_sentence(checks: Sequence[CheckResult]) -> str:
    """What the checks came to, in a sentence or two."""
    done = sum(check.status == "done" for check in checks)
    flagged = sum(check.flagged for check in checks)
    failed = sum(check.status == "error" for check in checks)
    parts = [_("none flagged anything")]
    if flagged:
        parts = [_("{count} flagged something").format(count=f"{flagged:,}")]
    if failed:
        parts.append(_("{count} failed").format(count=f"{failed:,}"))
    return _(
        "{done} of {checks} looked at the model: {outcomes}. Together they took {passes} of single "
        "images and {seconds}."
    ).format(
        done=f"{done:,}",
        checks=plural(len(checks), "check"),
        outcomes=listed(parts),
        passes=plural(passes(checks), "pass"),
        seconds=duration(sum(check.seconds for check in checks)),
    )


def check_rows(model: ModelResult) -> list[CheckRow]:
    """Failed and flagged checks, then the clear ones; last what had nothing to look at."""
    threat = under(model, model.masking.norm, model.masking.epsilon_text)
    epsilon = None if threat is None else threat.epsilon
    looked = [c for c in model.checks if c.status in ("done", "error") or c.flagged]
    looked.sort(key=lambda c: (c.status != "error", not c.flagged))
    groups: dict[tuple[str, str], list[CheckResult]] = {}
    for check in model.checks:
        if check not in looked:
            groups.setdefault((check.status, check.sentence), []).append(check)
    return [
        CheckRow(tuple(checks), CHECKS[outcome], _attempts(checks, epsilon))
        for checks, outcome in [
            *(([check], _outcome(check, model.masking.culprit)) for check in looked),
            *((group, status) for (status, _), group in groups.items()),
        ]
    ]


def _outcome(check: CheckResult, culprit: str | None) -> str:
    """A key of `CHECKS`: one that names the verdict's `culprit` is not said to be clear."""
    if check.flagged:
        return "flagged"
    named = check.status == "done" and culprit and culprit in check.sentence
    return "named" if named else check.status


def _attempts(checks: Iterable[CheckResult], epsilon: float | None) -> str:
    """The attacks that checks started, and what each broke.

    Args:
        epsilon: of the verdict, which needs no mention beside an attack.
    """
    attempts = [attempt for check in checks for attempt in check.attempts]
    if not attempts:
        return ""
    texts = [_attempt(attempt, epsilon) for attempt in attempts[:_ATTEMPTS]]
    if len(attempts) > _ATTEMPTS:
        more = len(attempts) - _ATTEMPTS
        texts.append(_("{count} more in audit.json").format(count=more))
    return _("Attacks, images broken: {attacks}.").format(attacks=clauses(texts))


def _attempt(attempt: AttemptSummary, epsilon: float | None) -> str:
    notes = [attempt.surrogate] if attempt.surrogate not in ("", "naive") else []
    if epsilon is None or not isclose(attempt.epsilon, epsilon):
        notes.append(f"ε = {attempt.epsilon:.4g}")
    mark = MARK if attempt.trust == "nothing" else ""
    attack = attempt.name + mark
    if notes:
        attack = _("{attack} ({notes})").format(attack=attack, notes=listed(notes))
    return _("{attack} {broken} of {images}").format(
        attack=attack, broken=f"{attempt.broken:,}", images=f"{attempt.images:,}"
    )
