"""The threats of an audit: which there are, what models withstood under one, and their reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from auditor.language import _
from auditor.report import wording
from auditor.results import ClassAccuracy, ModelResult, ThreatResult

#: Columns of figures that stay legible beside one another on A4.
COLUMNS = 6
#: Classes that have room in their table.
_CLASSES = 30

#: A norm, and an epsilon as the configuration wrote it.
Budget = tuple[str, str]
_T = TypeVar("_T")


def budgets(models: Sequence[ModelResult]) -> list[Budget]:
    """Every norm and epsilon that any of `models` was audited under."""
    return list(dict.fromkeys((t.norm, t.epsilon_text) for m in models for t in m.threats))


def under(model: ModelResult, norm: str | None, epsilon_text: str | None) -> ThreatResult | None:
    """What `model` withstood under one norm and epsilon; None where it never faced them."""
    key = (norm, epsilon_text)
    return next((t for t in model.threats if (t.norm, t.epsilon_text) == key), None)


def by_norm(model: ModelResult) -> dict[str, list[ThreatResult]]:
    """The judged threats of each norm, ascending in epsilon."""
    groups: dict[str, list[ThreatResult]] = {}
    for threat in sorted(model.threats, key=lambda t: t.epsilon):
        if threat.robust is not None:
            groups.setdefault(threat.norm, []).append(threat)
    return groups


def ends_and_between(items: Sequence[_T], limit: int) -> list[_T]:
    """At most `limit` of `items`, evenly spaced, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def threat_columns(models: Sequence[ModelResult]) -> Iterator[tuple[list[Budget], int]]:
    """The columns of page 1, and how many were left out, of each table.

    One table where every epsilon of every norm fits beside the others, else one per norm.
    """
    keys = budgets(models)
    norms = list(dict.fromkeys(norm for norm, _ in keys))
    groups = [keys] if len(keys) <= COLUMNS else [[k for k in keys if k[0] == n] for n in norms]
    for group in groups:
        shown = ends_and_between(group, COLUMNS)
        yield shown, len(group) - len(shown)


@dataclass(frozen=True)
class Rationale:
    """The threats that share a norm and the reason for them."""

    norm: str
    #: As the configuration wrote them, with their values.
    epsilons: dict[str, float]
    text: str
    #: What a plugin's norm measures; may be empty.
    norm_meaning: str

    @property
    def scale(self) -> str:
        """What the epsilons come to, for readers who think in grey levels."""
        if self.norm == "linf":
            grey = _("ε = {text} is {levels} of 255 grey levels")
            return wording.clauses(
                grey.format(text=text, levels=wording.number(round(255 * value, 3)))
                for text, value in self.epsilons.items()
            )
        exact = [(text, value) for text, value in self.epsilons.items() if text != f"{value:g}"]
        number = _("ε = {text} is {value}")
        return wording.clauses(
            number.format(text=text, value=f"{value:.4g}") for text, value in exact
        )


def rationales(models: Sequence[ModelResult]) -> list[Rationale]:
    """The threats of all models, by norm and rationale."""
    groups: dict[tuple[str, str], dict[str, float]] = {}
    meanings: dict[str, str] = {}
    for model in models:
        for threat in model.threats:
            meanings[threat.norm] = threat.norm_meaning
            key = (threat.norm, threat.rationale.strip())
            groups.setdefault(key, {})[threat.epsilon_text] = threat.epsilon
    return [
        Rationale(norm, epsilons, text, meanings[norm]) for (norm, text), epsilons in groups.items()
    ]


@dataclass(frozen=True)
class ClassTable:
    """Accuracies class by class, of a class-balanced draw."""

    #: The threats whose worst case follows clean accuracy.
    threats: tuple[ThreatResult, ...]
    #: Of each class its accuracy on clean images and under each threat.
    rows: tuple[tuple[ClassAccuracy, ...], ...]
    left_out: int


def class_table(model: ModelResult) -> ClassTable | None:
    """Class by class, the least robust first; of each norm at its largest epsilon."""
    if not model.clean_classes:
        return None
    threats = tuple(group[-1] for group in by_norm(model).values() if group[-1].classes)
    columns = [model.clean_classes, *(threat.classes for threat in threats)]
    order = sorted(range(len(columns[0])), key=lambda i: (columns[-1][i].accuracy, i))
    rows = tuple(tuple(column[i] for column in columns) for i in order[:_CLASSES])
    return ClassTable(threats, rows, len(order) - len(rows))
