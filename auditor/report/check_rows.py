"""The checks of a model: what each saw, whether that is suspicious, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
    unfinished,
)
from auditor.results import AttemptSummary, CheckResult, Finding, ModelResult

#: Attacks of one check that are named; the others are counted.
_ATTEMPTS = 8
_WITHOUT_RESULT = ("not applicable", "skipped")


#: Outcomes that take a sentence; of the others the names are enough.
_TELLING = ("error", "flagged", "named")


@dataclass(frozen=True)
class CheckRow:
    """One check that looked at the model."""

    check: CheckResult
    badge: Badge
    #: The attacks that it started, and what each broke.
    attempts: str


@dataclass(frozen=True)
class BriefRow:
    """The checks of one outcome, or one check that has something to tell."""

    checks: tuple[CheckResult, ...]
    badge: Badge
    telling: bool


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
    """The checks that looked at the model: failed and flagged ones, then the clear ones."""
    threat = under(model, model.masking.norm, model.masking.epsilon_text)
    epsilon = None if threat is None else threat.epsilon
    return [
        CheckRow(check, CHECKS[outcome], _attempts(check, epsilon))
        for outcome, checks in _by_outcome(model).items()
        if outcome not in _WITHOUT_RESULT
        for check in checks
    ]


def checks_without_result(model: ModelResult) -> Iterator[tuple[Badge, dict[str, list[str]]]]:
    """What had nothing to look at and what was skipped: the labels by reason."""
    for outcome, checks in _by_outcome(model).items():
        if outcome in _WITHOUT_RESULT:
            reasons: dict[str, list[str]] = {}
            for check in checks:
                reasons.setdefault(unfinished(check.sentence), []).append(check.label)
            yield CHECKS[outcome], reasons


def checks_in_brief(model: ModelResult) -> Iterator[BriefRow]:
    """Every check, a line for each that has something to tell and one for all of each outcome."""
    for outcome, checks in _by_outcome(model).items():
        if outcome in _TELLING:
            yield from (BriefRow((check,), CHECKS[outcome], telling=True) for check in checks)
        else:
            yield BriefRow(tuple(checks), CHECKS[outcome], telling=False)


def _by_outcome(model: ModelResult) -> dict[str, list[CheckResult]]:
    """The checks by their key of `CHECKS`, the worst first."""
    found: dict[str, list[CheckResult]] = {}
    for check in model.checks:
        found.setdefault(_outcome(check, model.masking.culprit), []).append(check)
    return {one: found[one] for one in (*_TELLING, "done", *_WITHOUT_RESULT) if one in found}


def _outcome(check: CheckResult, culprit: str | None) -> str:
    """A key of `CHECKS`: one that names the verdict's `culprit` is not said to be clear."""
    if check.flagged:
        return "flagged"
    named = check.status == "done" and culprit and culprit in check.sentence
    return "named" if named else check.status


def _attempts(check: CheckResult, epsilon: float | None) -> str:
    """The attacks that a check started, and what each broke.

    Args:
        epsilon: of the verdict, which needs no mention beside an attack.
    """
    attempts = check.attempts
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
