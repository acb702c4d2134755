"""What an audit is about, and what came of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from auditor.cells.cell import ModelUnderAudit
from auditor.cells.columns import Outcomes
from auditor.cells.ledger import CellRecord
from auditor.cells.plan import AttackPlan
from auditor.config import AuditConfig
from auditor.protocols.check import CheckReport
from auditor.registry import Registry
from auditor.results import CheckResult, FileRecord, Finding
from auditor.subject.samples import Samples


@dataclass
class CheckOutcome:
    """What came of one check."""

    result: CheckResult
    report: CheckReport | None = None
    findings: tuple[Finding, ...] = ()
    #: Of a check that was run, to its end or not; the file holds what it broke.
    record: CellRecord | None = None
    file: Path | None = None


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

    def checks_of(self, model: ModelUnderAudit) -> list[CheckOutcome]:
        """What came of the model's checks, in their order."""
        return self.checks.get(model.victim.name, [])
