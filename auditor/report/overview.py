"""The models of an audit side by side: what each attack left, and what the verdict makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.report.threats import under
from auditor.report.wording import threat_text
from auditor.results import AttackResult, ModelResult, ThreatResult

#: Attacks that readers know, weakest first; one column each, where any model has faced them.
_FAMILIES = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack", "cascade": "Cascade"}


@dataclass(frozen=True)
class OverviewRow:
    """One model under the threat of its masking verdict."""

    model: ModelResult
    #: Its place among the models of the audit, from 1.
    place: int
    threat: ThreatResult
    #: The first run of each family; None where there was none.
    attacks: tuple[AttackResult | None, ...]


@dataclass(frozen=True)
class Overview:
    """Models as rows, families of attacks as columns."""

    families: tuple[str, ...]
    rows: tuple[OverviewRow, ...]

    @property
    def threat(self) -> str:
        """The threat, where it is the same for all; else every row names its own."""
        titles = {threat_text(row.threat) for row in self.rows}
        return titles.pop() if len(titles) == 1 else ""

    @property
    def repeated(self) -> tuple[str, ...]:
        """Attacks of which a model faced several, and the first is shown."""
        labels = (
            attack.label
            for row in self.rows
            for attack in row.attacks
            if attack and sum(a.name == attack.name for a in row.threat.attacks) > 1
        )
        return tuple(dict.fromkeys(labels))


def overview(models: Sequence[ModelResult]) -> Overview | None:
    """The table at the threats of the masking verdicts; None where no threat was judged."""
    faced = [(m, i, t) for i, m in enumerate(models, 1) if (t := _threat(m)) is not None]
    if not faced:
        return None
    found = [[_first(threat, name) for name in _FAMILIES] for _, _, threat in faced]
    used = [i for i in range(len(_FAMILIES)) if any(attacks[i] for attacks in found)]
    families = list(_FAMILIES.values())
    return Overview(
        tuple(families[i] for i in used),
        tuple(
            OverviewRow(*one, tuple(attacks[i] for i in used))
            for one, attacks in zip(faced, found, strict=True)
        ),
    )


def _threat(model: ModelResult) -> ThreatResult | None:
    """The threat that the masking verdict speaks of: the largest epsilon of the first norm."""
    threat = under(model, model.masking.norm, model.masking.epsilon_text)
    if threat is not None and threat.robust is not None:
        return threat
    judged = [t for t in model.threats if t.robust is not None]
    of_first = [t for t in judged if t.norm == judged[0].norm]
    return max(of_first, key=lambda t: t.epsilon, default=None)


def _first(threat: ThreatResult, name: str) -> AttackResult | None:
    return next((a for a in threat.attacks if a.name == name and a.status == "done"), None)
