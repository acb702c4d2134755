"""Which model and threat of the one audit stands beside which of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from auditor.comparison.result import Matched, Unmatched
from auditor.errors import AuditorError, ExitStatus, UsageError, did_you_mean
from auditor.results import AuditResult, ModelResult, ThreatResult

Pair = tuple[ModelResult, ModelResult, Matched]


class NotComparableError(AuditorError):
    """The two audits have nothing in common that could be compared."""

    exit_status = ExitStatus.INCONCLUSIVE


def model_pairs(a: AuditResult, b: AuditResult, asked: Mapping[str, str]) -> list[Pair]:
    """Models that were asked for together; else those of one name; else the only one of each side.

    Args:
        asked: names of A's models, and of B's that each is held against.

    Raises:
        UsageError: there is no model of a name that was asked for.
        NotComparableError: no model of A has a counterpart.
    """
    ours, theirs = ({one.name: one for one in side.models} for side in (a, b))
    for side, names, known in (("A", asked, ours), ("B", asked.values(), theirs)):
        for name in names:
            if name not in known:
                raise UsageError(
                    f'{side} has no model called "{name}".',
                    where="--models",
                    expected=f"one of: {', '.join(known)}",
                    remedy=did_you_mean(name, known),
                )
    if asked:
        return [(ours[one], theirs[other], "asked") for one, other in asked.items()]
    found: list[Pair] = [
        (one, theirs[name], "name") for name, one in ours.items() if name in theirs
    ]
    if not found and len(ours) == len(theirs) == 1:
        return [(a.models[0], b.models[0], "position")]
    if not found:
        raise NotComparableError(
            "The two audits cannot be compared: no model of one has a counterpart in the other.",
            where=f"A: {', '.join(ours)}; B: {', '.join(theirs)}",
            expected="models of the same names, or one model on each side",
            remedy="say which belong together: --models NAME_IN_A=NAME_IN_B",
        )
    return found


def threat_pairs(a: ModelResult, b: ModelResult) -> list[tuple[ThreatResult, ThreatResult]]:
    """Threats of the same norm and epsilon."""
    return [(one, other) for one in a.threats for other in b.threats if _same_threat(one, other)]


def unmatched(a: AuditResult, b: AuditResult, pairs: Sequence[Pair]) -> Unmatched:
    """What either audit has and the other lacks.

    Models are not listed where the command line says which to compare.
    """
    asked = any(how == "asked" for *_, how in pairs)
    ours, theirs = {one.name for one, _, _ in pairs}, {other.name for _, other, _ in pairs}
    alone: tuple[dict[str, None], dict[str, None]] = {}, {}
    for one, other, _ in pairs:
        for side, mine, others in ((0, one, other), (1, other, one)):
            alone[side].update(
                (f"{threat.norm} {threat.epsilon_text}", None)
                for threat in mine.threats
                if not any(_same_threat(threat, another) for another in others.threats)
            )
    return Unmatched(
        () if asked else tuple(one.name for one in a.models if one.name not in ours),
        () if asked else tuple(one.name for one in b.models if one.name not in theirs),
        tuple(alone[0]),
        tuple(alone[1]),
    )


def _same_threat(one: ThreatResult, other: ThreatResult) -> bool:
    return one.norm == other.norm and isclose(one.epsilon, other.epsilon, rel_tol=1e-9)
