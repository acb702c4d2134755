"""The view model: everything that the template prints, worded and formatted.

The template decides where things stand and nothing else; only `AuditResult` goes in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.report import charts, wording
from auditor.report.answer import Answer, answer
from auditor.report.background import Background, background
from auditor.report.drawing import Chart
from auditor.report.model_view import ModelView, model_view
from auditor.report.overview import Overview, overview
from auditor.report.plugin_sections import PluginSection
from auditor.report.wording import GATES, MASKINGS, Badge, Number, plural, shorten
from auditor.results import AuditResult, GateResult, ModelResult, ThreatResult

_MODELS_ABREAST = 4
#: Letters of a title on the first page; audit.json has all of it.
_TITLE = 500
_DRAWN = {"all": "", "uniform": ", drawn uniformly", "balanced": ", drawn class-balanced"}

#: A quantity and its value for each model.
_Row = tuple[str, tuple[Number | Badge | str, ...]]


@dataclass(frozen=True)
class Section:
    """An entry of the contents."""

    anchor: str
    number: str
    title: str
    children: tuple[Section, ...] = ()

    def child(self, name: str) -> Section:
        """The part of this section with this name."""
        return next(c for c in self.children if c.anchor == f"{self.anchor}-{name}")


@dataclass(frozen=True)
class Comparison:
    """Models as columns, quantities as rows."""

    models: tuple[str, ...]
    rows: tuple[_Row, ...]


@dataclass(frozen=True)
class GateRow:
    """One condition of the configuration and how it came out."""

    metric: str
    limit: str
    value: str
    scope: str
    badge: Badge
    reason: str


@dataclass(frozen=True)
class Report:
    """The whole document."""

    title: str
    running_title: str
    audit_id: str
    sha256: str
    started: str
    started_iso: str
    facts: str
    complete: bool
    answer: Answer
    sections: tuple[Section, ...]
    overview: Overview | None
    comparison: tuple[Comparison, ...]
    comparison_chart: Chart | None
    gates: tuple[GateRow, ...]
    models: tuple[ModelView, ...]
    background: Background
    not_tested: tuple[str, ...]
    reasons: tuple[str, ...]
    appended: tuple[PluginSection, ...]

    @property
    def contents(self) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
        """The sections in two columns of about the same length."""
        lengths = [1 + len(section.children) for section in self.sections]
        middle = next(i for i in range(len(lengths)) if 2 * sum(lengths[: i + 1]) >= sum(lengths))
        return self.sections[: middle + 1], self.sections[middle + 1 :]

    def section(self, anchor: str) -> Section:
        """The contents entry with this anchor."""
        return next(s for s in self.sections if s.anchor == anchor)


def build(result: AuditResult, raw: bytes, appended: tuple[PluginSection, ...] = ()) -> Report:
    """Everything the template needs.

    Args:
        result: the audit.
        raw: audit.json as it lies on the disk; its SHA-256 identifies the audit.
        appended: the sections of plugins.
    """
    sha256 = hashlib.sha256(raw).hexdigest()
    started = wording.moment(result.provenance.started)
    data = result.provenance.data
    models = tuple(model_view(model, i) for i, model in enumerate(result.models, 1))
    several = len(result.models) > 1
    return Report(
        title=shorten(result.title, _TITLE),
        running_title=shorten(result.title, 70),
        audit_id=sha256[:16],
        sha256=sha256,
        started=f"{started.day} {started:%B %Y, %H:%M} UTC",
        started_iso=started.isoformat(),
        facts=f"{plural(len(models), 'model')} · {plural(data.audited, 'image')} of "
        f"{data.available:,}{_DRAWN[data.draw]} · profile {result.profile}",
        complete=result.status == "complete",
        answer=answer(result),
        sections=tuple(_sections(models, appended, selftest=result.selftest is not None)),
        overview=overview(result.models),
        comparison=tuple(_comparison(result.models)),
        comparison_chart=charts.compare_models(result.models)
        if several and any(t.robust for m in result.models for t in m.threats)
        else None,
        gates=tuple(_gate_row(gate, result.models) for gate in result.gates),
        models=models,
        background=background(result, sha256),
        not_tested=result.not_tested,
        reasons=result.reasons,
        appended=appended,
    )


def _sections(
    models: Sequence[ModelView], appended: Sequence[PluginSection], *, selftest: bool
) -> Iterator[Section]:
    """The contents: fixed sections around one section per model, and those of plugins."""
    titles = [("side-by-side", "Models side by side" if len(models) > 1 else "Results in brief")]
    titles.append(("gates", "Gates"))
    titles += [(model.anchor, f"Model {shorten(model.name, 60)}") for model in models]
    titles += [
        ("methods", "Methods"),
        ("threats", "Threat models"),
        ("statistics", "Statistics"),
        *([("selftest", "Self-test of the masking verdict")] if selftest else []),
        ("reproducibility", "Reproducibility"),
        ("limitations", "Limitations"),
        ("glossary", "Glossary"),
        *((section.anchor, shorten(section.title, 60)) for section in appended),
    ]
    parts = {model.anchor: model.parts for model in models}
    for number, (anchor, title) in enumerate(titles, 1):
        children = tuple(
            Section(f"{anchor}-{part}", f"{number}.{i}", name)
            for i, (part, name) in enumerate(parts.get(anchor, ()), 1)
        )
        yield Section(anchor, str(number), title, children)


def _comparison(models: Sequence[ModelResult]) -> Iterator[Comparison]:
    """The models in groups that fit beside one another."""
    keys = list(dict.fromkeys((t.norm, t.epsilon_text) for m in models for t in m.threats))
    for first in range(0, len(models), _MODELS_ABREAST):
        group = models[first : first + _MODELS_ABREAST]
        found = [{(t.norm, t.epsilon_text): t for t in m.threats} for m in group]
        rows: list[_Row] = [("Clean accuracy", tuple(Number.of(m.clean) for m in group))]
        for key in keys:
            rows += _threat_rows(key, [threats.get(key) for threats in found])
        rows += _other_rows(group)
        yield Comparison(tuple(shorten(m.name, 48) for m in group), tuple(rows))


def _threat_rows(key: tuple[str, str], threats: Sequence[ThreatResult | None]) -> Iterator[_Row]:
    """The models' accuracies under one threat."""
    robust = [Number.of(None if t is None else t.robust) for t in threats]
    eight_bit = [Number.of(None if t is None else t.robust_8bit) for t in threats]
    certified = [None if t is None else t.certified for t in threats]
    yield f"Robust, {wording.norm(key[0])}, ε = {key[1]}", tuple(robust)
    yield "… as 8-bit images", tuple(number.percent for number in eight_bit)
    if any(certified):
        yield "… certified", tuple(Number.of(accuracy) for accuracy in certified)


def _other_rows(
    models: Sequence[ModelResult],
) -> Iterator[_Row]:
    """What is not an accuracy under a threat."""
    yield "Gradient masking", tuple(MASKINGS[m.masking.verdict] for m in models)
    yield (
        "Gradient attacks alone",
        tuple(wording.percent(m.masking.gradient_attack_accuracy) for m in models),
    )
    yield (
        "… all attacks together",
        tuple(wording.percent(m.masking.corrected_accuracy) for m in models),
    )
    counts = [Counter[str](f.severity for f in m.findings) for m in models]
    words = ", ".join(badge.word for badge in wording.SEVERITIES.values())
    yield (
        f"Findings ({words})",
        tuple(" · ".join(f"{count[level]:,}" for level in wording.SEVERITIES) for count in counts),
    )
    yield "Parameters", tuple(f"{m.parameters:,}" for m in models)
    yield "Classes", tuple(f"{m.classes:,}" for m in models)
    yield "Outputs, precision", tuple(f"{m.outputs}, {m.precision}" for m in models)


def _gate_row(gate: GateResult, models: Sequence[ModelResult]) -> GateRow:
    value = gate.value
    if isinstance(value, float | int):
        share = gate.metric.endswith("accuracy")
        text = wording.percent(value) if share else wording.number(value)
    else:
        text = value or wording.MISSING
    scope = [gate.model, wording.norm(gate.norm) if gate.norm else None]
    if gate.epsilon is not None:
        threats = [threat for model in models for threat in model.threats]
        scope.append(f"ε = {wording.epsilon(gate.epsilon, threats)}")
    where = ", ".join(part for part in scope if part) or "everything"
    return GateRow(gate.metric, gate.limit, text, where, GATES[gate.holds], gate.reason)
