"""The models of an audit side by side: what each attack left, and what the verdict makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.report import charts
from auditor.report.wording import MASKINGS, MISSING, Badge, Number, percent, shorten
from auditor.results import AttackResult, ModelResult, ThreatResult

#: Attacks that readers know, weakest first; one column each, where any model has faced them.
_FAMILIES = (
    ("FGSM", ("fgsm",)),
    ("PGD", ("pgd",)),
    ("AutoAttack", ("autoattack",)),
    ("Cascade", ("cascade",)),
)


@dataclass(frozen=True)
class OverviewRow:
    """One model."""

    model: str
    anchor: str
    threat: str
    clean: str
    attacks: tuple[str, ...]
    worst: Number
    corrected: str
    badge: Badge
    kind: str


@dataclass(frozen=True)
class Overview:
    """Models as rows."""

    #: The threat, where it is the same for all; else every row names its own.
    threat: str
    attacks: tuple[str, ...]
    rows: tuple[OverviewRow, ...]
    note: str


def overview(models: Sequence[ModelResult]) -> Overview | None:
    """The table at the threat of the masking verdicts; None where no threat was judged."""
    faced = [(m, i, t) for i, m in enumerate(models, 1) if (t := _threat(m)) is not None]
    if not faced:
        return None
    found = [[_first(threat, names) for _, names in _FAMILIES] for _, _, threat in faced]
    used = [i for i in range(len(_FAMILIES)) if any(attacks[i] for attacks in found)]
    titles = dict.fromkeys(charts.threat_text(threat) for _, _, threat in faced)
    rows = tuple(
        OverviewRow(
            model=shorten(model.name, 48),
            anchor=f"model-{index}",
            threat="" if len(titles) == 1 else charts.threat_text(threat),
            clean=percent(model.clean.accuracy),
            attacks=tuple(_accuracy(attacks[i]) for i in used),
            worst=Number.of(threat.robust),
            corrected=percent(model.masking.corrected_accuracy),
            badge=MASKINGS[model.masking.verdict],
            kind=model.masking.kind or "",
        )
        for (model, index, threat), attacks in zip(faced, found, strict=True)
    )
    several = [
        attack.label
        for (_, _, threat), attacks in zip(faced, found, strict=True)
        for attack in attacks
        if attack and sum(a.name == attack.name for a in threat.attacks) > 1
    ]
    labels = ", ".join(dict.fromkeys(several))
    return Overview(
        threat=next(iter(titles)) if len(titles) == 1 else "",
        attacks=tuple(_FAMILIES[i][0] for i in used),
        rows=rows,
        note=f"Where one was run several times, the first counts: {shorten(labels, 160)}. "
        if labels
        else "",
    )


def _threat(model: ModelResult) -> ThreatResult | None:
    """The threat that the masking verdict speaks of: the largest epsilon of the first norm."""
    masking = model.masking
    judged = [t for t in model.threats if t.robust is not None]
    for threat in judged:
        if (threat.norm, threat.epsilon_text) == (masking.norm, masking.epsilon_text):
            return threat
    of_first = [t for t in judged if t.norm == judged[0].norm]
    return max(of_first, key=lambda t: t.epsilon, default=None)


def _first(threat: ThreatResult, names: Sequence[str]) -> AttackResult | None:
    return next((a for a in threat.attacks if a.name in names and a.status == "done"), None)


def _accuracy(attack: AttackResult | None) -> str:
    return MISSING if attack is None or attack.robust is None else percent(attack.robust.accuracy)
