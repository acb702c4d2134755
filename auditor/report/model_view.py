"""What the report says about one model, worded and formatted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.report import charts, loss_charts, wording
from auditor.report.checks_view import ChecksView, checks_view
from auditor.report.drawing import Chart
from auditor.report.gallery_view import GalleryView, picture
from auditor.report.masking_view import MaskingView, masking_view
from auditor.report.stage_view import StageTable, stage_tables
from auditor.report.threat_view import ThreatView, threat_view
from auditor.report.wording import SEVERITIES, Badge, Number, plural, shorten
from auditor.results import (
    Accuracy,
    ClassAccuracy,
    Finding,
    Measurement,
    ModelResult,
    ThreatResult,
)

#: Classes that have room in their table.
_CLASSES = 30
_SEVERITY_ORDER = list(SEVERITIES)

#: The parts of a model's chapter, in order; the checks are left out where none was asked for.
_PARTS = (
    ("masking", "Gradient masking"),
    ("attacks", "Attacks"),
    ("curves", "Accuracy against epsilon"),
    ("losses", "Final losses over restarts"),
    ("gallery", "Adversarial examples"),
    ("findings", "Findings"),
    ("checks", "Checks"),
    ("measurements", "Measurements of the checks"),
)


@dataclass(frozen=True)
class FindingView:
    """Something the reader should know."""

    anchor: str
    code: str
    title: str
    severity: Badge
    confidence: str
    summary: str
    evidence: tuple[str, ...]
    remedy: str
    references: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class MeasurementRow:
    """A number that a check measured."""

    name: str
    value: str
    interval: str
    samples: str
    threat: str
    method: str


@dataclass(frozen=True)
class ClassTable:
    """Accuracies class by class, of a class-balanced draw."""

    #: The threats whose worst case follows clean accuracy.
    threats: tuple[str, ...]
    #: Class, images audited and in the set, and an accuracy for clean images and each threat.
    rows: tuple[tuple[str, str, str, tuple[Number, ...]], ...]
    left_out: int


@dataclass(frozen=True)
class ModelView:
    """A model's chapter."""

    anchor: str
    name: str
    short_name: str
    facts: str
    #: Anchor and title of each part.
    parts: tuple[tuple[str, str], ...]
    threats: tuple[ThreatView, ...]
    stages: tuple[StageTable, ...]
    curves: tuple[tuple[str, Chart], ...]
    losses: tuple[tuple[str, Chart], ...]
    gallery: tuple[GalleryView, ...]
    findings: tuple[FindingView, ...]
    masking: MaskingView
    checks: ChecksView | None
    measurements: tuple[MeasurementRow, ...]
    classes: ClassTable | None


def model_view(model: ModelResult, index: int) -> ModelView:
    """The chapter of the model at position `index`, counted from 1."""
    anchor = f"model-{index}"
    order = sorted(model.findings, key=lambda f: _SEVERITY_ORDER.index(f.severity))
    findings = tuple(_finding(f, f"{anchor}-finding-{i}") for i, f in enumerate(order, 1))
    return ModelView(
        anchor=anchor,
        name=model.name,
        short_name=shorten(model.name, 40),
        facts=_facts(model),
        parts=tuple(part for part in _PARTS if model.checks or part[0] != "checks"),
        threats=tuple(threat_view(t) for t in model.threats),
        stages=tuple(stage_tables(model)),
        curves=tuple(_curves(model)),
        losses=tuple(_losses(model)),
        gallery=tuple(picture(item) for item in model.gallery),
        findings=findings,
        masking=masking_view(model, {f.code: f.anchor for f in reversed(findings)}),
        checks=checks_view(model) if model.checks else None,
        measurements=tuple(_measurement(m, model) for m in model.measurements),
        classes=_class_table(model),
    )


def _class_table(model: ModelResult) -> ClassTable | None:
    """Class by class, the least robust first; of each norm at its largest epsilon."""
    if not model.clean_classes:
        return None
    threats = [group[-1] for group in _by_norm(model).values() if group[-1].classes]
    columns = [model.clean_classes, *(threat.classes for threat in threats)]
    order = sorted(range(len(columns[0])), key=lambda i: (columns[-1][i].accuracy, i))
    rows = tuple(
        (
            model.clean_classes[i].name,
            f"{model.clean_classes[i].total:,}",
            f"{model.clean_classes[i].available:,}",
            tuple(Number.of(_of_class(column[i])) for column in columns),
        )
        for i in order[:_CLASSES]
    )
    names = tuple(charts.threat_text(threat) for threat in threats)
    return ClassTable(names, rows, len(order) - len(rows))


def _of_class(one: ClassAccuracy) -> Accuracy:
    return Accuracy(one.correct, one.total, one.accuracy, one.ci95)


def _facts(model: ModelResult) -> str:
    """What the model is, in one line."""
    size = f"{plural(model.parameters, 'parameter')} · {plural(model.classes, 'class', 'classes')}"
    clean = f"{wording.percent(model.clean.accuracy)} ({wording.interval(model.clean.ci95)}"
    told = wording.in_set(model.clean)
    clean += f", {told})" if told else ")"
    return f"{size} · outputs {model.outputs} · {model.precision} · clean accuracy {clean}"


def _by_norm(model: ModelResult) -> dict[str, list[ThreatResult]]:
    """The judged threats of each norm, ascending in epsilon."""
    groups: dict[str, list[ThreatResult]] = {}
    for threat in sorted(model.threats, key=lambda t: t.epsilon):
        if threat.robust is not None:
            groups.setdefault(threat.norm, []).append(threat)
    return groups


def _curves(model: ModelResult) -> Iterator[tuple[str, Chart]]:
    for name, threats in _by_norm(model).items():
        if len({threat.epsilon for threat in threats}) > 1:
            yield wording.norm(name), charts.accuracy_curves(model, threats)
        else:
            yield charts.threat_text(threats[0]), charts.attack_points(model, threats[0])
            steps = charts.distance_curves(model, threats[0])
            if steps:
                yield wording.norm(name), steps


def _losses(model: ModelResult) -> Iterator[tuple[str, Chart]]:
    """At the largest epsilon of each norm, where the attacks should have the least trouble."""
    for threats in _by_norm(model).values():
        chart = loss_charts.final_losses(model, threats[-1])
        if chart is not None:
            yield charts.threat_text(threats[-1]), chart


def _finding(finding: Finding, anchor: str) -> FindingView:
    return FindingView(
        anchor=anchor,
        code=finding.code,
        title=finding.title,
        severity=SEVERITIES[finding.severity],
        confidence=finding.confidence,
        summary=finding.summary,
        evidence=finding.evidence,
        remedy=finding.remedy,
        references=finding.references,
        fingerprint=finding.fingerprint,
    )


def _measurement(measurement: Measurement, model: ModelResult) -> MeasurementRow:
    threat = wording.norm(measurement.norm) if measurement.norm else ""
    if measurement.epsilon is not None:
        text = wording.epsilon(measurement.epsilon, model.threats)
        threat = ", ".join(part for part in (threat, f"ε = {text}") if part)
    bounds = measurement.ci95
    return MeasurementRow(
        name=measurement.name,
        value=wording.number(measurement.value),
        interval="" if bounds is None else f"{bounds[0]:.4g} to {bounds[1]:.4g}",
        samples=f"{measurement.samples:,}",
        threat=threat or wording.MISSING,
        method=measurement.method,
    )
