"""What a reader of any format has to know of gates, findings and the places that they are at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isclose
from typing import Literal

from auditor.api import (
    AuditResult,
    Finding,
    GateResult,
    Location,
    ModelResult,
    ThreatResult,
    norm_text,
    percent,
    threat_text,
)

Level = Literal["error", "warning", "note"]

#: How loudly a finding of some severity is told.
LEVELS: dict[str, Level] = {"high": "error", "medium": "warning", "low": "note", "info": "note"}
#: Likewise a masking verdict; of others there is nothing to tell.
MASKING_LEVELS: dict[str, Level] = {
    "possible": "warning",
    "suspected": "error",
    "confirmed": "error",
    "inconclusive": "note",
}
VERDICTS = {
    "pass": "PASS",
    "fail": "FAIL",
    "inconclusive": "INCONCLUSIVE",
    "no-requirement": "complete, no requirement was set",
}


@dataclass(frozen=True)
class Alert:
    """Something that a code host shows at a line of code.

    Attributes:
        rule: what it is an instance of.
        title: of the rule.
        fingerprint: the same in every run in which it is seen.
    """

    rule: str
    title: str
    level: Level
    model: str
    message: str
    remedy: str
    references: tuple[str, ...]
    place: Location
    fingerprint: str
    finding: Finding | None = None
    #: Why it counts for nothing, where somebody has waived it.
    waiver: str = ""


def verdict_text(result: AuditResult) -> str:
    """The verdict in capitals, or in words where it is none."""
    return VERDICTS.get(result.verdict, result.verdict)


def alerts(result: AuditResult) -> Iterator[Alert]:
    """Broken and open gates, doubts of the numbers, then findings; each once."""
    for gate in result.gates:
        if gate.holds is not True:
            yield _of_gate(result, gate)
    for model in result.models:
        level = MASKING_LEVELS.get(model.masking.verdict)
        if level:
            yield _of_masking(result, model, level)
        for finding in model.findings:
            yield Alert(
                rule=finding.code,
                title=finding.title,
                level=LEVELS[finding.severity],
                model=model.name,
                message=f"{model.name}: {finding.summary}",
                remedy=finding.remedy,
                references=finding.references,
                place=_place(result, finding.location, model.location),
                fingerprint=finding.fingerprint,
                finding=finding,
            )


def _place(result: AuditResult, *nearest: Location | None) -> Location:
    """The first line that is known; the head of audit.toml where none is."""
    toml = Location(result.provenance.configuration or "audit.toml", 1)
    return next(filter(None, nearest), toml)


def _of_gate(result: AuditResult, gate: GateResult) -> Alert:
    broken = gate.holds is False
    named = next((one for one in result.models if one.name == gate.model), None)
    return Alert(
        rule="gate-broken" if broken else "gate-not-judged",
        title="A gate of the audit is broken" if broken else "A gate of the audit cannot be judged",
        level="note" if gate.waived else "error" if broken else "warning",
        model=gate.model or "",
        message=gate.reason or gate_text(result, gate),
        remedy="Read the report of the audit: it says what the number rests on."
        if broken
        else "Let the audit be completed; the report says what is missing.",
        references=(),
        place=_place(result, named.location if named else None),
        fingerprint=f"{gate.metric}/{gate.limit}/{gate.model}/{gate.norm}/{gate.epsilon}",
        waiver=gate.waiver if gate.waived else "",
    )


def _of_masking(result: AuditResult, model: ModelResult, level: Level) -> Alert:
    masking = model.masking
    return Alert(
        rule=f"masking-{masking.verdict}",
        title=f"Gradient masking: {masking.verdict}",
        level=level,
        model=model.name,
        message=f"{model.name}: {masking.summary}",
        remedy=" ".join(masking.next_steps) or "Read the masking chapter of the report.",
        references=("Carlini et al. 2019, arXiv:1902.06705",),
        place=_place(result, masking.location, model.location),
        fingerprint=f"{model.name}/masking-{masking.verdict}",
    )


def concerns(gate: GateResult, model: ModelResult, threat: ThreatResult) -> bool:
    """Whether a gate judged the accuracy of a model under a threat."""
    return (
        gate.metric in ("robust_accuracy", "certified_accuracy")
        and gate.model in (None, model.name)
        and gate.norm in (None, threat.norm)
        and (gate.epsilon is None or isclose(gate.epsilon, threat.epsilon))
    )


def gate_text(result: AuditResult, gate: GateResult) -> str:
    """A gate and what it is about: "robust_accuracy at least 0.4: baseline, L∞, ε = 8/255"."""
    threats = (threat for model in result.models for threat in model.threats)
    about = [gate.model or ""]
    if gate.epsilon is not None:
        size = gate.epsilon
        same = (one for one in threats if one.norm == gate.norm or gate.norm is None)
        found = next((one for one in same if isclose(one.epsilon, size)), None)
        about.append(threat_text(found) if found else f"ε = {size:.4g}")
    elif gate.norm is not None:
        about.append(norm_text(gate.norm))
    told = ", ".join(filter(None, about))
    return f"{gate.metric} {gate.limit}" + (f": {told}" if told else "")


def value_text(gate: GateResult) -> str:
    """What a gate was applied to; a dash where it is not known."""
    return percent(gate.value) if isinstance(gate.value, int | float) else gate.value or "–"
