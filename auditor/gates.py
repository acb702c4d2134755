"""From measurements to a verdict: applies the gates, says what the exit status is and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from auditor.errors import ExitStatus
from auditor.results import Accuracy, AuditResult, GateResult, ModelResult, Verdict
from auditor.schema.tables import GateConfig

#: From good to bad; "inconclusive" has no place among them.
MASKING_ORDER = ("none", "possible", "suspected", "confirmed")
MASKING = "masking"


@dataclass(frozen=True)
class Ruling:
    """What the audit amounts to."""

    verdict: Verdict
    exit_status: ExitStatus
    reasons: tuple[str, ...]
    gates: tuple[GateResult, ...]


def judge(
    models: Sequence[ModelResult], gates: Sequence[GateConfig], incomplete: Sequence[str]
) -> Ruling:
    """Apply `gates` to `models`; `incomplete` are the reasons why work is missing, if any is.

    A broken gate stays broken whatever is missing, for more attacks can only lower a robust
    accuracy. A gate that holds on missing work, or cannot be judged, is inconclusive.
    """
    results = tuple(
        result for gate in gates for result in list(_apply(gate, models)) or [_nothing(gate)]
    )
    broken = [result.reason for result in results if result.holds is False]
    open_ = [result.reason for result in results if result.holds is None]
    if broken:
        reasons = (*broken, *incomplete, *open_)
        return Ruling("fail", ExitStatus.GATE_BROKEN, reasons, results)
    if open_ or incomplete:
        reasons = (*incomplete, *open_)
        return Ruling("inconclusive", ExitStatus.INCONCLUSIVE, reasons, results)
    held = f"The audit is complete and {_count(len(results))}."
    return Ruling("pass", ExitStatus.OK, (held,), results)


def unkept(result: AuditResult, reasons: Sequence[str]) -> AuditResult:
    """A result of which something could not be kept: incomplete; a broken gate stays broken."""
    broken = result.exit_status == ExitStatus.GATE_BROKEN
    before = () if result.exit_status == ExitStatus.OK else result.reasons
    return replace(
        result,
        status="incomplete",
        verdict="fail" if broken else "inconclusive",
        exit_status=int(ExitStatus.GATE_BROKEN if broken else ExitStatus.INCONCLUSIVE),
        reasons=(*before, *reasons),
    )


def _count(gates: int) -> str:
    return "its gate held" if gates == 1 else f"all {gates} gates held"


def _apply(gate: GateConfig, models: Sequence[ModelResult]) -> Iterator[GateResult]:
    """One result for every number that the gate's filters let through."""
    for model in models:
        if gate.model not in (None, model.name):
            continue
        if gate.metric == MASKING:
            yield _masking(gate, model)
        elif gate.metric == "clean_accuracy":
            yield _number(gate, model, model.clean)
        else:
            for threat in model.threats:
                if gate.norm in (None, threat.norm) and gate.size in (None, threat.epsilon):
                    measured = getattr(threat, gate.metric.removesuffix("_accuracy"))
                    yield _number(gate, model, measured, threat.norm, threat.epsilon)


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
    return GateResult(MASKING, gate.limit, verdict, holds, model.name, reason=reason)


def _number(
    gate: GateConfig,
    model: ModelResult,
    measured: Accuracy | None,
    norm: str | None = None,
    epsilon: float | None = None,
) -> GateResult:
    holds = None
    value = None if measured is None else measured.accuracy
    if value is not None:
        holds = value >= gate.at_least if gate.at_least is not None else value <= gate.at_most  # type: ignore[operator]
    words = "holds" if holds else "is broken" if holds is False else "cannot be judged"
    at = f" at {norm} {epsilon:g}" if norm is not None else ""
    shown = "not known" if value is None else f"{value:.4g}"
    if measured is not None and measured.weighted is not None:
        of_set = f"{measured.weighted.accuracy:.4g} of the set, its classes weighted"
        shown += f" of the class-balanced draw ({of_set})"
    reason = (
        f"Gate on {gate.metric} {words} for {model.name}{at}: {gate.limit} is asked for, and it is "
        f"{shown}."
    )
    return GateResult(gate.metric, gate.limit, value, holds, model.name, norm, epsilon, reason)
