"""The table of one threat: every attack that ran, was skipped or failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.report import charts, wording
from auditor.report.wording import STATUSES, Badge, Number, plural
from auditor.results import AttackResult, ThreatResult


@dataclass(frozen=True)
class AttackRow:
    """One attack under one threat, or why it did not run."""

    label: str
    name: str
    badge: Badge
    ran: bool
    reason: str
    how: str
    robust: Number
    robust_8bit: str
    broken: str
    forwards: str
    backwards: str
    seconds: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ThreatView:
    """One norm and epsilon with everything that was tried."""

    title: str
    attacks: tuple[AttackRow, ...]
    robust: Number
    robust_8bit: Number
    certified: Number | None


def threat_view(threat: ThreatResult) -> ThreatView:
    """The table of `threat`."""
    return ThreatView(
        title=charts.threat_text(threat),
        attacks=tuple(_attack(attack) for attack in threat.attacks),
        robust=Number.of(threat.robust),
        robust_8bit=Number.of(threat.robust_8bit),
        certified=None if threat.certified is None else Number.of(threat.certified),
    )


def _attack(attack: AttackResult) -> AttackRow:
    stages = plural(len(attack.stages), "stage") if attack.stages else ""
    how = [attack.surrogate, attack.objective or stages]
    return AttackRow(
        label=attack.label,
        name="" if attack.name == attack.label else attack.name,
        badge=STATUSES[attack.status],
        ran=attack.status == "done",
        reason=attack.reason or "no reason was recorded",
        how=", ".join(part for part in how if part),
        robust=Number.of(attack.robust),
        robust_8bit=Number.of(attack.robust_8bit).percent,
        broken=f"{attack.broken:,}",
        forwards=f"{attack.forwards:,}",
        backwards=f"{attack.backwards:,}",
        seconds=wording.duration(attack.seconds),
        notes=tuple(_notes(attack)),
    )


def _notes(attack: AttackResult) -> Iterator[str]:
    """What a reader must know about an attack's run beside its numbers."""
    if attack.robust and attack.robust.weighted:
        yield f"Class-{wording.in_set(attack.robust)}."
    if attack.status == "done" and attack.reason:
        yield wording.sentence(attack.reason)
    if attack.evidence and attack.robust:
        yield wording.sample(attack.evidence, attack.robust.total)
    if attack.agreement and attack.agreement.total:
        yield wording.agreement(attack.agreement)
    if attack.rejected:
        kinds = ", ".join(f"{reason} {count:,}" for reason, count in attack.rejected.items())
        total = sum(attack.rejected.values())
        yield f"{plural(total, 'claimed success', 'claimed successes')} rejected: {kinds}."
    if attack.nonfinite_gradients:
        yield f"Gradients held NaN or infinity on {plural(attack.nonfinite_gradients, 'image')}."
    if attack.zero_gradients:
        yield f"Gradients were zero everywhere on {plural(attack.zero_gradients, 'image')}."
