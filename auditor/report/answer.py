"""Page 1: the answer, in what fits on one sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from auditor.report import wording
from auditor.report.background import Threat, threats_in_words
from auditor.report.wording import MASKINGS, VERDICTS, Badge, Number, plural, shorten
from auditor.results import Accuracy, AuditResult, DataRecord, ModelResult

#: Columns of figures that stay legible beside one another on A4.
_COLUMNS = 6
_SENTENCES = 5
_CHARACTERS = 230
#: Notes on the data that page 1 has room for; the section on reproducibility has all of them.
_NOTES, _NOTE = 3, 400

_T = TypeVar("_T")


@dataclass(frozen=True)
class AnswerRow:
    """One model's accuracies on page 1."""

    model: str
    anchor: str
    clean: Number
    robust: tuple[Number, ...]
    masking: Badge
    kind: str


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
        kept = sentences[:_SENTENCES]
        texts = tuple(shorten(s, _CHARACTERS) for s in kept)
        return cls(texts, len(sentences) - len(kept))


@dataclass(frozen=True)
class Doubt:
    """Whether one model's number can be believed."""

    model: str
    anchor: str
    badge: Badge
    kind: str
    sentence: str
    #: The corrected accuracy and what it corrects, where the verdict is a serious one.
    corrected: str
    called: str
    correction: str


@dataclass(frozen=True)
class Answer:
    """Page 1."""

    verdict: Badge
    sentence: str
    tables: tuple[AnswerTable, ...]
    doubts: tuple[Doubt, ...]
    #: What serious verdicts do not say; empty where there are none.
    fairness: str
    threats: tuple[Threat, ...]
    not_tested: Brief
    reasons: Brief
    exit_status: str
    reviewers: tuple[str, ...]
    #: What to know of the images before believing a number.
    data: tuple[str, ...]


def answer(result: AuditResult) -> Answer:
    """Page 1 from the whole."""
    room = max(160, 480 // max(1, len(result.models)))  # characters per model, so that all fit
    meaning = wording.EXIT_MEANING.get(result.exit_status, "see the documentation")
    return Answer(
        verdict=VERDICTS[result.verdict],
        sentence=_verdict_sentence(result),
        tables=tuple(_answer_tables(result.models)),
        doubts=tuple(_doubt(model, f"model-{i}", room) for i, model in enumerate(result.models, 1)),
        fairness=wording.FAIRNESS
        if any(m.masking.verdict in wording.DOUBTFUL for m in result.models)
        else "",
        threats=threats_in_words(result.models),
        not_tested=Brief.of(result.not_tested),
        # When all is well, the sentence has said it; what is not well is listed below it.
        reasons=Brief.of(() if result.verdict == "pass" else result.reasons),
        exit_status=f"Exit status {result.exit_status}: {meaning}.",
        reviewers=result.reviewers,
        data=tuple(_data(result.provenance.data)),
    )


def _data(data: DataRecord) -> Iterator[str]:
    for note in data.notes[:_NOTES]:
        yield shorten(note, _NOTE)


def _doubt(model: ModelResult, anchor: str, room: int) -> Doubt:
    """The masking verdict on `model`, in at most `room` characters."""
    masking = model.masking
    corrected = masking.corrected_accuracy
    serious = masking.verdict in wording.DOUBTFUL and corrected is not None
    parts = [wording.masking_threat(masking)]
    if masking.gradient_attack_accuracy is not None:
        alone = wording.percent(masking.gradient_attack_accuracy)
        parts.append(f"{wording.before(masking).lower()}: {alone}")
    return Doubt(
        model=shorten(model.name, 60),
        anchor=anchor,
        badge=MASKINGS[masking.verdict],
        kind=masking.kind or "",
        sentence=shorten(wording.believed(masking), room),
        corrected=wording.percent(corrected) if serious else "",
        called=wording.after(masking).lower(),
        correction="; ".join(part for part in parts if part) if serious else "",
    )


def _verdict_sentence(result: AuditResult) -> str:
    """The verdict in one sentence; the reasons stand below it."""
    gates = plural(len(result.gates), "gate")
    broken = sum(gate.holds is False for gate in result.gates)
    state = f"The audit is {result.status}"
    if result.verdict == "pass":
        return f"{state} and every gate held ({gates}).{_reservation(result)}"
    if result.verdict == "fail":
        return f"{state} and {broken} of {gates} {'is' if broken == 1 else 'are'} broken."
    if result.status == "complete":
        return f"{state}, but its numbers do not allow a judgement."
    return f"{state}, so its numbers do not allow a judgement."


def _reservation(result: AuditResult) -> str:
    """What a pass does not say: gates may have been opened for models that hide their gradient."""
    good = ("none", "possible")
    doubtful = sum(model.masking.verdict not in good for model in result.models)
    if not doubtful:
        return ""
    whose = (
        "this model"
        if len(result.models) == 1
        else f"{doubtful} of the {len(result.models)} models"
    )
    return f" Whether the robust accuracy of {whose} can be believed is not established."


def _answer_tables(models: Sequence[ModelResult]) -> Iterator[AnswerTable]:
    """One table where every epsilon of every norm fits beside the others, else one per norm."""
    keys = list(dict.fromkeys((t.norm, t.epsilon_text) for m in models for t in m.threats))
    norms = list(dict.fromkeys(norm for norm, _ in keys))
    groups = [keys] if len(keys) <= _COLUMNS else [[k for k in keys if k[0] == n] for n in norms]
    for group in groups:
        shown = ends_and_between(group, _COLUMNS)
        rows = tuple(
            AnswerRow(
                shorten(model.name, 60),
                f"model-{i}",
                Number.of(model.clean),
                tuple(Number.of(_robust(model, key)) for key in shown),
                MASKINGS[model.masking.verdict],
                model.masking.kind or "",
            )
            for i, model in enumerate(models, 1)
        )
        columns = tuple((wording.norm(n), shorten(e, 14)) for n, e in shown)
        yield AnswerTable(columns, len(group) - len(shown), rows)


def ends_and_between(items: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` of `items`, evenly spaced, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def _robust(model: ModelResult, key: tuple[str, str]) -> Accuracy | None:
    return next((t.robust for t in model.threats if (t.norm, t.epsilon_text) == key), None)
