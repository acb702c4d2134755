"""What an audit is about, and what came of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from auditor.attacking.outcome import TRUSTS
from auditor.cells.cell import ModelUnderAudit
from auditor.cells.columns import AttackOutcome, Key, Outcomes
from auditor.cells.ledger import CellRecord
from auditor.cells.plan import AttackPlan
from auditor.config import AuditConfig
from auditor.protocols.check import CheckReport
from auditor.registry import Registry
from auditor.results import CheckResult, FileRecord, Finding
from auditor.subject.samples import Samples

_CROSS_ENTROPY, _NOTHING = TRUSTS.index("cross-entropy"), TRUSTS.index("nothing")


@dataclass
class CheckOutcome:
    """What came of one check."""

    result: CheckResult
    report: CheckReport | None = None
    findings: tuple[Finding, ...] = ()
    #: Of a check that was run, to its end or not; the file holds what it broke.
    record: CellRecord | None = None
    file: Path | None = None


class Fell(NamedTuple):
    """Images that fell to each kind of attack, (N,) bool each; some fell to several.

    The kinds: what follows the cross-entropy's gradient, what follows any gradient of the model,
    that included, and what trusts neither.
    """

    to_cross_entropy: NDArray[np.bool_]
    to_gradient: NDArray[np.bool_]
    to_others: NDArray[np.bool_]


@dataclass(frozen=True)
class Audited:
    """The configuration and all that it names, loaded; `outcomes` and `checks` fill with the work.

    Attributes:
        models: by their names, as `checks`.
        attacks: all that were asked for, whatever norms they know.
        files: the user's, that all of it was read from.
    """

    config: AuditConfig
    registry: Registry
    samples: Samples
    models: dict[str, ModelUnderAudit]
    attacks: tuple[AttackPlan, ...]
    outcomes: Outcomes
    files: tuple[FileRecord, ...] = ()
    checks: dict[str, list[CheckOutcome]] = field(default_factory=dict)

    @property
    def stops(self) -> list[str]:
        """Why models are not attacked, a sentence each."""
        found = ((name, model.preflight.stop) for name, model in self.models.items())
        return [f"{name}: {stop}" for name, stop in found if stop]

    def fell(self, key: Key, outcome: AttackOutcome) -> Fell:
        """What the images that an attack or a check broke fell to.

        Of what several attempts of a check broke, each counts, and not the first alone.
        """
        trust, broken = outcome.trust, outcome.broken
        fell = Fell(
            broken & (trust == _CROSS_ENTROPY), broken & (trust < _NOTHING),
            broken & (trust == _NOTHING),
        )  # fmt: skip
        for check in self.checks.get(key.model, []) if key.kind == "check" else ():
            if check.result.label == key.label and check.record is not None:
                columns = {name: column.numpy() for name, column in check.record.columns.items()}
                where = columns["position"]
                fell.to_cross_entropy[where] |= columns["fallen to cross-entropy"]
                fell.to_gradient[where] |= columns["fallen to gradient"]
        return fell

    def checks_of(self, model: ModelUnderAudit) -> list[CheckOutcome]:
        """What came of the model's checks, in their order."""
        return self.checks.get(model.victim.name, [])
