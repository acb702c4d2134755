"""The view model: everything that the template prints, worded and formatted.

The template decides where things stand and nothing else; only `AuditResult` goes in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from auditor.report import charts, wording
from auditor.report.background import Background, Threat, background, threats_in_words
from auditor.report.drawing import Chart
from auditor.report.model_view import ModelView, model_view
from auditor.report.wording import GATES, MASKINGS, VERDICTS, Badge, Number, plural, shorten
from auditor.results import Accuracy, AuditResult, GateResult, ModelResult

#: Columns of figures that stay legible beside one another on A4.
_COLUMNS = 6
_MODELS_ABREAST = 4
_SENTENCES_ON_PAGE_1 = 5
_CHARACTERS_ON_PAGE_1 = 230


@dataclass(frozen=True)
class Section:
    """An entry of the contents."""

    anchor: str
    number: str
    title: str
    children: tuple[Section, ...] = ()


@dataclass(frozen=True)
class AnswerRow:
    """One model's accuracies on page 1."""

    model: str
    anchor: str
    clean: Number
    robust: tuple[Number, ...]
    masking: Badge


@dataclass(frozen=True)
class AnswerTable:
    """Model by epsilon, for one norm or several."""

    #: (norm, epsilon) of each column.
    columns: tuple[tuple[str, str], ...]
    left_out: int
    rows: tuple[AnswerRow, ...]


@dataclass(frozen=True)
class Brief:
    """The sentences that page 1 has room for."""

    sentences: tuple[str, ...]
    left_out: int

    @classmethod
    def of(cls, sentences: Sequence[str]) -> Brief:
        """The first few of `sentences`, each shortened; a later section holds all of them."""
        kept = sentences[:_SENTENCES_ON_PAGE_1]
        texts = tuple(shorten(s, _CHARACTERS_ON_PAGE_1) for s in kept)
        return cls(texts, len(sentences) - len(kept))


@dataclass(frozen=True)
class Doubt:
    """Whether one model's number can be believed."""

    model: str
    anchor: str
    badge: Badge
    sentence: str


@dataclass(frozen=True)
class Answer:
    """Page 1."""

    verdict: Badge
    sentence: str
    tables: tuple[AnswerTable, ...]
    doubts: tuple[Doubt, ...]
    threats: tuple[Threat, ...]
    not_tested: Brief
    reasons: Brief
    exit_status: str
    reviewers: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Models as columns, quantities as rows."""

    models: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Number | Badge | str, ...]], ...]


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
    comparison: tuple[Comparison, ...]
    comparison_chart: Chart | None
    gates: tuple[GateRow, ...]
    models: tuple[ModelView, ...]
    background: Background
    not_tested: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def contents(self) -> tuple[tuple[Section, ...], tuple[Section, ...]]:
        """The sections in two columns of about the same length."""
        lengths = [1 + len(section.children) for section in self.sections]
        middle = next(i for i in range(len(lengths)) if 2 * sum(lengths[: i + 1]) >= sum(lengths))
        return self.sections[: middle + 1], self.sections[middle + 1 :]

    def section(self, anchor: str) -> Section:
        """The contents entry with this anchor."""
        return next(s for s in self.sections if s.anchor == anchor)


def build(result: AuditResult, raw: bytes) -> Report:
    """Everything the template needs.

    Args:
        result: the audit.
        raw: audit.json as it lies on the disk; its SHA-256 identifies the audit.
    """
    sha256 = hashlib.sha256(raw).hexdigest()
    started = wording.moment(result.provenance.started)
    data = result.provenance.data
    models = tuple(model_view(model, i) for i, model in enumerate(result.models, 1))
    several = len(result.models) > 1
    return Report(
        title=result.title,
        running_title=shorten(result.title, 70),
        audit_id=sha256[:16],
        sha256=sha256,
        started=f"{started.day} {started:%B %Y, %H:%M} UTC",
        started_iso=started.isoformat(),
        facts=f"{plural(len(models), 'model')} · {plural(data.audited, 'image')} of "
        f"{data.available:,} · profile {result.profile}",
        complete=result.status == "complete",
        answer=_answer(result),
        sections=tuple(_sections(models)),
        comparison=tuple(_comparison(result.models)),
        comparison_chart=charts.compare_models(result.models)
        if several and any(t.robust for m in result.models for t in m.threats)
        else None,
        gates=tuple(_gate_row(gate, result.models) for gate in result.gates),
        models=models,
        background=background(result, sha256),
        not_tested=result.not_tested,
        reasons=result.reasons,
    )


def _sections(models: Sequence[ModelView]) -> Iterator[Section]:
    """The contents: fixed sections around one section per model."""
    titles = [("side-by-side", "Models side by side" if len(models) > 1 else "Results in brief")]
    titles.append(("gates", "Gates"))
    titles += [(model.anchor, f"Model {shorten(model.name, 60)}") for model in models]
    titles += [
        ("methods", "Methods"),
        ("threats", "Threat models"),
        ("statistics", "Statistics"),
        ("reproducibility", "Reproducibility"),
        ("limitations", "Limitations"),
        ("glossary", "Glossary"),
    ]
    parts = {model.anchor: model.parts for model in models}
    for number, (anchor, title) in enumerate(titles, 1):
        children = tuple(
            Section(f"{anchor}-{part}", f"{number}.{i}", name)
            for i, (part, name) in enumerate(parts.get(anchor, ()), 1)
        )
        yield Section(anchor, str(number), title, children)


def _answer(result: AuditResult) -> Answer:
    """Page 1 from the whole."""
    room = max(160, 480 // max(1, len(result.models)))  # characters per model, so that all fit
    meaning = wording.EXIT_MEANING.get(result.exit_status, "see the documentation")
    return Answer(
        verdict=VERDICTS[result.verdict],
        sentence=_verdict_sentence(result),
        tables=tuple(_answer_tables(result.models)),
        doubts=tuple(
            Doubt(
                shorten(m.name, 60),
                f"model-{i}",
                MASKINGS[m.masking.verdict],
                shorten(m.masking.summary or wording.MASKING_MEANING[m.masking.verdict], room),
            )
            for i, m in enumerate(result.models, 1)
        ),
        threats=threats_in_words(result.models),
        not_tested=Brief.of(result.not_tested),
        reasons=Brief.of(result.reasons),
        exit_status=f"Exit status {result.exit_status}: {meaning}.",
        reviewers=result.reviewers,
    )


def _verdict_sentence(result: AuditResult) -> str:
    """The verdict in one sentence; the reasons stand below it."""
    gates = plural(len(result.gates), "gate")
    broken = sum(gate.holds is False for gate in result.gates)
    state = f"The audit is {result.status}"
    if result.verdict == "pass":
        return f"{state} and every gate held ({gates})."
    if result.verdict == "fail":
        return f"{state} and {broken} of {gates} {'is' if broken == 1 else 'are'} broken."
    if result.status == "complete":
        return f"{state}, but its numbers do not allow a judgement."
    return f"{state}, so its numbers do not allow a judgement."


def _answer_tables(models: Sequence[ModelResult]) -> Iterator[AnswerTable]:
    """One table where every epsilon of every norm fits beside the others, else one per norm."""
    keys = list(dict.fromkeys((t.norm, t.epsilon_text) for m in models for t in m.threats))
    norms = list(dict.fromkeys(norm for norm, _ in keys))
    groups = [keys] if len(keys) <= _COLUMNS else [[k for k in keys if k[0] == n] for n in norms]
    for group in groups:
        shown = _ends_and_between(group)
        rows = tuple(
            AnswerRow(
                shorten(model.name, 60),
                f"model-{i}",
                Number.of(model.clean),
                tuple(Number.of(_robust(model, key)) for key in shown),
                MASKINGS[model.masking.verdict],
            )
            for i, model in enumerate(models, 1)
        )
        columns = tuple((wording.norm(n), shorten(e, 14)) for n, e in shown)
        yield AnswerTable(columns, len(group) - len(shown), rows)


def _ends_and_between(keys: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """At most `_COLUMNS` keys, evenly spaced, the first and the last among them."""
    if len(keys) <= _COLUMNS:
        return list(keys)
    return [keys[round(i * (len(keys) - 1) / (_COLUMNS - 1))] for i in range(_COLUMNS)]


def _robust(model: ModelResult, key: tuple[str, str]) -> Accuracy | None:
    return next((t.robust for t in model.threats if (t.norm, t.epsilon_text) == key), None)


def _comparison(models: Sequence[ModelResult]) -> Iterator[Comparison]:
    """The models in groups that fit beside one another."""
    keys = list(dict.fromkeys((t.norm, t.epsilon_text) for m in models for t in m.threats))
    for first in range(0, len(models), _MODELS_ABREAST):
        group = models[first : first + _MODELS_ABREAST]
        found = [{(t.norm, t.epsilon_text): t for t in m.threats} for m in group]
        rows: list[tuple[str, tuple[Number | Badge | str, ...]]] = [
            ("Clean accuracy", tuple(Number.of(m.clean) for m in group))
        ]
        for key in keys:
            threats = [threats.get(key) for threats in found]
            name = f"{wording.norm(key[0])}, ε = {key[1]}"
            rows.append((f"Robust, {name}", tuple(Number.of(t and t.robust) for t in threats)))
            eight_bit = (Number.of(t and t.robust_8bit).percent for t in threats)
            rows.append(("… as 8-bit images", tuple(eight_bit)))
            if any(t and t.certified for t in threats):
                rows.append(("… certified", tuple(Number.of(t and t.certified) for t in threats)))
        rows += _other_rows(group)
        yield Comparison(tuple(shorten(m.name, 48) for m in group), tuple(rows))


def _other_rows(
    models: Sequence[ModelResult],
) -> Iterator[tuple[str, tuple[Number | Badge | str, ...]]]:
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
    counts = [Counter(f.severity for f in m.findings) for m in models]
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
