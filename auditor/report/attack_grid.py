"""The attacks on a model at every epsilon, small enough to stand beside the curve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.report.threats import COLUMNS, ends_and_between
from auditor.results import AttackResult, ModelResult, ThreatResult

#: Attacks that have room; the appendix has all of them.
_ROWS = 12


@dataclass(frozen=True)
class GridRow:
    """One attack at every epsilon shown; None where it was not to be run."""

    label: str
    attacks: tuple[AttackResult | None, ...]


@dataclass(frozen=True)
class AttackGrid:
    """Attacks as rows, epsilons of one norm as columns."""

    norm: str
    threats: tuple[ThreatResult, ...]
    rows: tuple[GridRow, ...]
    #: Attacks and epsilons that are in the appendix only.
    left_out: int


def attack_grids(model: ModelResult) -> Iterator[AttackGrid]:
    """A table per norm, epsilons ascending; of many attacks those that left least standing."""
    norms = dict.fromkeys(threat.norm for threat in model.threats)
    for norm in norms:
        faced = sorted((t for t in model.threats if t.norm == norm), key=lambda t: t.epsilon)
        threats = ends_and_between(faced, COLUMNS)
        by_label = [{attack.label: attack for attack in threat.attacks} for threat in threats]
        labels = list(dict.fromkeys(label for one in by_label for label in one))
        rows = [GridRow(label, tuple(one.get(label) for one in by_label)) for label in labels]
        strongest = sorted(rows, key=_left)[:_ROWS]
        left_out = len(rows) - len(strongest) + len(faced) - len(threats)
        shown = tuple(row for row in rows if row in strongest)
        if shown:
            yield AttackGrid(norm, tuple(threats), shown, left_out)


def _left(row: GridRow) -> float:
    """What was left at the largest epsilon that the attack was run at."""
    found = [one.robust.accuracy for one in row.attacks if one and one.robust]
    return found[-1] if found else 1.0
