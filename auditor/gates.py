"""From measurements to a verdict: applies the gates, says what the exit status is and why."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from auditor.errors import ExitStatus
from auditor.results import (
    Accuracy,
    AuditResult,
    GateResult,
    Judgement,
    ModelResult,
    ThreatResult,
    Verdict,
)
from auditor.schema.tables import GateConfig

#: From good to bad; "inconclusive" has no place among them.
MASKING_ORDER = ("none", "possible", "suspected", "confirmed")
MASKING = "masking"
#: What is asked of these is a requirement; every other metric is a check's measurement.
ACCURACIES = ("robust_accuracy", "clean_accuracy", "certified_accuracy")


@dataclass(frozen=True)
class Ruling:
    """What the audit amounts to."""

    verdict: Verdict
    exit_status: ExitStatus
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]


def judge(
    models: Sequence[ModelResult],
    gates: Sequence[GateConfig],
    incomplete: Sequence[str],
    today: datetime.date,
) -> Ruling:
    """Apply `gates` to `models`; `incomplete` are the reasons why work is missing, if any is.

    A broken gate stays broken whatever is missing, for more attacks can only lower a robust
    accuracy. A gate that holds on missing work, or cannot be judged, is inconclusive. One that is
    waived `today` is told, and counts for nothing.
    """
    results = tuple(
        _waived(gate, result, today)
        for gate in gates
        for result in list(_apply(gate, models)) or [_nothing(gate)]
    )
    broken = [one.reason for one in results if one.holds is False and not one.waived]
    open_ = [one.reason for one in results if one.holds is None and not one.waived]
    # What of its waivers a reader has to know beside what is broken and open.
    told = [one.reason for one in results if one.waived and not one.holds]
    told += [one.reason for one in results if one.until and one.holds and not one.waived]
    if broken:
        reasons = (*broken, *incomplete, *open_, *told)
        return Ruling("fail", ExitStatus.GATE_BROKEN, reasons, results)
    if open_ or incomplete:
        reasons = (*incomplete, *open_, *told)
        return Ruling("inconclusive", ExitStatus.INCONCLUSIVE, reasons, results)
    if not any(gate.metric in ACCURACIES for gate in gates):
        held = "The audit is complete, and no requirement was set: no [[gate]] on an accuracy."
        return Ruling("no-requirement", ExitStatus.OK, (held, *told), results)
    held = f"The audit is complete and {_count(results)}."
    return Ruling("pass", ExitStatus.OK, (held, *told), results)


def judged(result: AuditResult, gates: Sequence[GateConfig], today: datetime.date) -> AuditResult:
    """The result under these gates; those that it was judged by before are kept in it."""
    ruling = judge(result.models, gates, result.incomplete, today)
    new = replace(
        result,
        verdict=ruling.verdict,
        exit_status=int(ruling.exit_status),
        reasons=ruling.reasons,
        gates=ruling.gates,
    )
    return succeeding(new, result, today)


def succeeding(new: AuditResult, old: AuditResult, today: datetime.date) -> AuditResult:
    """The result `new`, which takes the place of `old` and tells by which other gates that was."""
    before = old.judged_before
    if old.gates and [*map(_terms, old.gates)] != [*map(_terms, new.gates)]:
        last = Judgement(today.isoformat(), old.verdict, old.exit_status, old.gates)
        before = (*before, last)
    return replace(new, judged_before=before)


def _terms(gate: GateResult) -> tuple[object, ...]:
    return gate.metric, gate.limit, gate.model, gate.norm, gate.epsilon, gate.until


def _count(results: Sequence[GateResult]) -> str:
    counted = [one for one in results if not one.waived]
    waived = len(results) - len(counted)
    held = "its gate held" if len(counted) == 1 else f"all {len(counted)} gates held"
    held = held if counted else "no gate counted"
    return held if not waived else f"{held}; {waived} {'is' if waived == 1 else 'are'} waived"


def _waived(gate: GateConfig, result: GateResult, today: datetime.date) -> GateResult:
    """The result with its gate's waiver, which its reason tells of."""
    if gate.until is None:
        return result
    waiver, waived = (gate.reason or "").strip(), today <= gate.until
    said = waiver.removesuffix(".")
    now = (
        f"It is waived until {gate.until}: {said}."
        if waived
        else f"Its waiver ended on {gate.until}, so that it counts again; its reason was: {said}."
    )
    return replace(
        result,
        reason=f"{result.reason} {now}",
        until=gate.until.isoformat(),
        waiver=waiver,
        waived=waived,
    )


def _apply(gate: GateConfig, models: Sequence[ModelResult]) -> Iterator[GateResult]:
    """One result for every number that the gate's filters let through."""
    for model in models:
        if gate.model not in (None, model.name):
            continue
        if gate.metric == MASKING:
            yield _masking(gate, model)
        elif gate.metric == "clean_accuracy":
            yield _number(gate, model, model.clean)
        elif gate.metric not in ACCURACIES:
            made = [one.value for one in model.measurements if one.name == gate.metric]
            yield from (_measurement(gate, model, value) for value in made)
            if not made:
                yield _measurement(gate, model, None)
        else:
            for threat in model.threats:
                if gate.norm in (None, threat.norm) and gate.size in (None, threat.epsilon):
                    measured = getattr(threat, gate.metric.removesuffix("_accuracy"))
                    yield _number(gate, model, measured, threat)


def _nothing(gate: GateConfig) -> GateResult:
    """A gate that no number of the audit belongs to."""
    reason = f"Gate on {gate.metric} cannot be judged: nothing that was audited fits its filters."
    return GateResult(gate.metric, gate.limit, None, None, gate.model, gate.norm, gate.size, reason)


def _masking(gate: GateConfig, model: ModelResult) -> GateResult:
    masking, limit = model.masking, MASKING_ORDER.index(str(gate.at_most))
    verdict = masking.verdict
    # What was shown breaks a gate whatever is missing, and what is missing might yet break it.
    shown = (masking.shown or "none") if verdict == "inconclusive" else verdict
    holds: bool | None = MASKING_ORDER.index(shown) <= limit
    open_ = verdict == "inconclusive" or masking.lacking
    # "At most confirmed" lets everything through, what is not known included.
    if holds and open_ and limit < len(MASKING_ORDER) - 1:
        holds = None
    words = "holds" if holds else "is broken" if holds is False else "cannot be judged"
    also = ""
    if holds is False and shown != verdict:
        also = f", with signs of masking that make it {shown} at least"
    elif holds is None and masking.lacking and verdict != "inconclusive":
        also = f", and it could be worse: {masking.lacking[0].removesuffix('.')}"
    reason = (
        f"Gate on masking {words} for {model.name}: {gate.limit} is asked for, and the verdict is "
        f"{verdict}{also}."
    )
    if verdict == "inconclusive":
        reason = f"{reason} {masking.summary}"
    return GateResult(MASKING, gate.limit, verdict, holds, model.name, reason=reason)


def _measurement(gate: GateConfig, model: ModelResult, value: float | None) -> GateResult:
    """What a check measured, in its own unit."""
    holds = None if value is None else _within(gate, value)
    words = "holds" if holds else "is broken" if holds is False else "cannot be judged"
    bound, limit = ("least", gate.at_least) if gate.at_least is not None else ("most", gate.at_most)
    seen = "no check measured it" if value is None else f"it is {value:.4g}"
    reason = (
        f"Gate on {gate.metric} {words} for {model.name}: at {bound} {limit:.4g} is asked for, and "
        f"{seen}."
    )
    return GateResult(gate.metric, gate.limit, value, holds, model.name, reason=reason)


def _within(gate: GateConfig, value: float) -> bool:
    if gate.at_least is not None:
        return value >= gate.at_least
    assert isinstance(gate.at_most, float | int)
    return value <= gate.at_most


def _number(
    gate: GateConfig,
    model: ModelResult,
    measured: Accuracy | None,
    threat: ThreatResult | None = None,
) -> GateResult:
    holds = None
    value = None if measured is None else measured.accuracy
    if value is not None:
        holds = _within(gate, value)
    words = "holds" if holds else "is broken" if holds is False else "cannot be judged"
    at = f" at {threat.norm} {threat.epsilon_text}" if threat else ""
    bound, limit = ("least", gate.at_least) if gate.at_least is not None else ("most", gate.at_most)
    reason = (
        f"Gate on {gate.metric} {words} for {model.name}{at}: at {bound} {_percent(limit)} is "
        f"asked for, and it is {_shown(measured)}."
    )
    norm, epsilon = (threat.norm, threat.epsilon) if threat else (None, None)
    return GateResult(gate.metric, gate.limit, value, holds, model.name, norm, epsilon, reason)


def _shown(measured: Accuracy | None) -> str:
    if measured is None:
        return "not known"
    share = f"{_percent(measured.accuracy)} ({measured.correct:,} of {measured.total:,})"
    if measured.weighted is None:
        return share
    of_set = _percent(measured.weighted.accuracy)
    return f"{share} of the class-balanced draw ({of_set} of the set, its classes weighted)"


def _percent(share: float | str | None) -> str:
    """A share to four significant digits and one decimal at least, so that limits can be told."""
    assert isinstance(share, float | int)
    exact = f"{100 * share:.4g}"
    return f"{exact if '.' in exact or 'e' in exact else exact + '.0'} %"
