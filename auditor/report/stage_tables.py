"""The composite attacks stage by stage: which stage broke how many images, and at what price."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from auditor.language import _, ngettext
from auditor.report.threats import ends_and_between
from auditor.report.wording import plural, prose
from auditor.results import AttackResult, ModelResult, StageSummary

#: Epsilons whose figures stay legible beside one another.
_ABREAST = 3

#: A stage's name and objective.
_Key = tuple[str, str]


@dataclass(frozen=True)
class StageRow:
    """One stage at every epsilon shown; None where the attack did not reach it."""

    name: str
    objective: str
    stages: tuple[StageSummary | None, ...]


@dataclass(frozen=True)
class StageTable:
    """One composite attack under one norm: stages by epsilons."""

    label: str
    norm: str
    epsilons: tuple[str, ...]
    #: The attack at each of them.
    attacks: tuple[AttackResult, ...]
    rows: tuple[StageRow, ...]
    left_out: int

    @property
    def note(self) -> str:
        """What a reader must know besides; may be empty."""
        notes = []
        if any(attack.agreement for attack in self.attacks):
            notes.append(_("The attack was run twice; these are the figures of its first run."))
        if self.left_out:
            more = ngettext(
                "{values} of ε is in audit.json.", "{values} of ε are in audit.json.", self.left_out
            )
            notes.append(more.format(values=plural(self.left_out, "further value")))
        return prose(notes)


def stage_tables(model: ModelResult) -> Iterator[StageTable]:
    """A table for every composite attack under every norm, epsilons ascending."""
    found: dict[tuple[str, str], list[tuple[str, AttackResult]]] = {}
    for threat in sorted(model.threats, key=lambda t: t.epsilon):
        for attack in threat.attacks:
            if attack.stages:
                column = (threat.epsilon_text, attack)
                found.setdefault((attack.label, threat.norm), []).append(column)
    for (label, norm), columns in found.items():
        shown = ends_and_between(columns, _ABREAST)
        epsilons, attacks = zip(*shown, strict=True)
        left_out = len(columns) - len(shown)
        yield StageTable(label, norm, epsilons, attacks, tuple(_rows(attacks)), left_out)


def all_stages(attack: AttackResult) -> StageSummary:
    """The stages of an attack as one, over every image that it was run on."""
    return StageSummary(
        name=_("All stages"),
        objective="",
        surrogate=attack.surrogate,
        images=attack.broken + (attack.robust.correct if attack.robust else 0),
        broken=sum(stage.broken for stage in attack.stages),
        forwards=sum(stage.forwards for stage in attack.stages),
        backwards=sum(stage.backwards for stage in attack.stages),
        seconds=sum(stage.seconds for stage in attack.stages),
    )


def _rows(attacks: Sequence[AttackResult]) -> Iterator[StageRow]:
    """Every stage that any of `attacks` reached, in order."""
    by_attack = [{(s.name, _objective(s, a)): s for s in a.stages} for a in attacks]
    for key in _merged(by_attack):
        yield StageRow(*key, tuple(stages.get(key) for stages in by_attack))


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
    return _("{objective}, on {surrogate}").format(
        objective=stage.objective, surrogate=stage.surrogate
    )
