"""The tables of the composite attacks: which stage broke how many images, and at what price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from auditor.report import wording
from auditor.report.answer import ends_and_between
from auditor.report.wording import MISSING, plural
from auditor.results import AttackResult, ModelResult, StageSummary

#: Epsilons whose figures stay legible beside one another.
_ABREAST = 3

#: A stage's name and objective.
_Key = tuple[str, str]
#: Figures of one stage, or of all of them, at one epsilon.
_Figures = tuple[str, str, str, str]
_ABSENT: _Figures = (MISSING, MISSING, MISSING, MISSING)


@dataclass(frozen=True)
class StageRow:
    """One stage at every epsilon shown: images it was run on, fell, passes each, share of time."""

    name: str
    objective: str
    figures: tuple[_Figures, ...]


@dataclass(frozen=True)
class StageTable:
    """One composite attack under one norm: stages by epsilons."""

    attack: str
    norm: str
    epsilons: tuple[str, ...]
    #: The stages in order, then all of them together.
    rows: tuple[StageRow, ...]
    #: What a reader must know besides; may be empty.
    note: str


def stage_tables(model: ModelResult) -> Iterator[StageTable]:
    """A table for every composite attack under every norm, epsilons ascending."""
    found: dict[tuple[str, str], list[tuple[str, AttackResult]]] = {}
    for threat in sorted(model.threats, key=lambda t: t.epsilon):
        for attack in threat.attacks:
            if attack.stages:
                found.setdefault((attack.label, threat.norm), []).append(
                    (threat.epsilon_text, attack)
                )
    for (label, norm), columns in found.items():
        shown = ends_and_between(columns, _ABREAST)
        attacks = [attack for _, attack in shown]
        total = StageRow("All stages", "", tuple(_total(attack) for attack in attacks))
        yield StageTable(
            attack=label,
            norm=wording.norm(norm),
            epsilons=tuple(text for text, _ in shown),
            rows=(*_rows(attacks), total),
            note=" ".join(_notes(attacks, len(columns) - len(shown))),
        )


def _rows(attacks: Sequence[AttackResult]) -> Iterator[StageRow]:
    """Every stage that any of `attacks` reached, in order."""
    by_attack = [{(s.name, _objective(s, a)): s for s in a.stages} for a in attacks]
    for key in _merged(by_attack):
        figures = (
            _figures(stages[key], attack) if key in stages else _ABSENT
            for stages, attack in zip(by_attack, attacks, strict=True)
        )
        yield StageRow(*key, tuple(figures))


def _merged(orders: Sequence[Iterable[_Key]]) -> list[_Key]:
    """All keys once; one that some lack stands behind its forerunner."""
    merged: list[_Key] = []
    for order in orders:
        place = 0
        for key in order:
            if key not in merged:
                merged.insert(place, key)
            place = merged.index(key) + 1
    return merged


def _objective(stage: StageSummary, attack: AttackResult) -> str:
    """What the stage aimed at, and its surrogate where that is not the attack's own."""
    if stage.surrogate == attack.surrogate:
        return stage.objective
    if attack.surrogate and stage.surrogate.startswith(attack.surrogate):
        return stage.objective + stage.surrogate.removeprefix(attack.surrogate)
    return f"{stage.objective}, on {stage.surrogate}"


def _figures(stage: StageSummary, attack: AttackResult) -> _Figures:
    seconds = sum(s.seconds for s in attack.stages)
    return (
        f"{stage.images:,}",
        f"{stage.broken:,}",
        wording.ratio(stage.forwards + stage.backwards, stage.images),
        wording.share(stage.seconds, seconds),
    )


def _total(attack: AttackResult) -> _Figures:
    """All stages together, over every image that the attack was run on."""
    images = attack.broken + (attack.robust.correct if attack.robust else 0)
    passes = sum(stage.forwards + stage.backwards for stage in attack.stages)
    broken = sum(stage.broken for stage in attack.stages)
    return f"{images:,}", f"{broken:,}", wording.ratio(passes, images), ""


def _notes(attacks: Sequence[AttackResult], left_out: int) -> Iterator[str]:
    if any(attack.agreement for attack in attacks):
        yield "The attack was run twice; these are the figures of its first run."
    if left_out:
        verb = "is" if left_out == 1 else "are"
        yield f"{plural(left_out, 'further value')} of ε {verb} in audit.json."
