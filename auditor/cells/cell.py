"""Runs one cell: an attack on a block of images of one model."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.attacking.outcome import Block
from auditor.attacking.pool import AttackDefectError
from auditor.attacking.setup import OutOfTimeError, Progress, Setup, Stop, go_on
from auditor.attacking.stages import attack_block
from auditor.attacking.verify import Verifier
from auditor.cells.ledger import CellMeta, CellRecord, Ledger, attack_name, cell_key, record_of
from auditor.cells.plan import AttackPlan, Cell
from auditor.cells.reread import refuted
from auditor.maths.norms import Norm
from auditor.preflight import Preflight, read_batch
from auditor.protocols.attack import GRADIENT, Trust
from auditor.subject.samples import Samples
from auditor.subject.victim import Victim
from auditor.surrogate import (
    Form,
    NoGradientError,
    SearchPrecision,
    Surrogate,
)
from auditor.usercode.calls import blamed

#: Why an attack cannot run on a model; those of a profile are then left out.
WITHOUT_GRADIENT = "the model gives no gradient, and this attack needs one"
GRADIENT_FAILED = "the model's gradient could not be computed, and this attack needs it: "


class CellError(Exception):
    """The cell could not be finished; the text says why, for the report.

    Args:
        raised: what user code raised, where it was that.
    """

    def __init__(self, text: str, raised: BaseException | None = None) -> None:
        self.raised = raised
        super().__init__(text)


@contextlib.contextmanager
def raised_in_a_cell(what: str = "") -> Iterator[None]:
    """Turn any error of user code into the reason why a cell could not be finished.

    Args:
        what: said before it.
    """
    try:
        yield
    except (KeyboardInterrupt, CellError, OutOfTimeError):
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        raise CellError(f"{what}{blamed(error)}", error) from error


@dataclass(frozen=True)
class ModelUnderAudit:
    """A victim, what pre-flight found, and what attacks run on."""

    victim: Victim
    preflight: Preflight
    surrogate: Surrogate
    #: The same in the precision of stages that only search.
    search: Surrogate
    form: Form
    search_precision: SearchPrecision
    #: `keys.subject_key`; empty where nothing is kept.
    subject: str = ""


@dataclass(frozen=True)
class CellRunner:
    """Everything that cells have in common."""

    samples: Samples
    norms: dict[str, Norm]
    #: sha256 of the code of what plugins offer, by (kind, name).
    hashes: dict[tuple[str, str], str]
    seed: int
    threads: int
    batch_size: int
    stop: Stop = go_on

    def key(self, cell: Cell, model: ModelUnderAudit) -> str:
        """The name under which the ledger keeps this cell."""
        chosen = cell.plan.config.surrogate
        surrogate = {"surrogate": [chosen, self.hashes["surrogates", chosen]]} if chosen else {}
        further = cell.further
        only = {} if further is None else {
            "part": further.part.name,
            "positions": hashlib.sha256(further.positions.tobytes()).hexdigest(),
        }  # fmt: skip
        return cell_key(
            {
                **self.key_parts(model, cell.block, cell.norm, cell.epsilon.value),
                **only,
                "attack": cell.plan.config.use,
                "parameters": cell.plan.config.parameters,
                "plugin": self.hashes["attacks", cell.plan.config.use],
                "search": model.search_precision if cell.plan.spec.kind == "stages" else "",
                **surrogate,
            }
        )

    def key_parts(
        self, model: ModelUnderAudit, block: slice, norm: str, epsilon: float
    ) -> dict[str, Any]:
        """What everything that is done to these images of this model depends on."""
        code = self.hashes.get(("norms", norm))
        return {
            **({"norm code": code} if code else {}),
            "subject": model.subject,
            "outputs": model.victim.outputs,
            "block": [block.start, block.stop],
            "norm": norm,
            "epsilon": epsilon.hex(),
            "threads": self.threads,
            "batch_size": self.batch_size,
            "form": model.form,
        }

    def run(self, cell: Cell, model: ModelUnderAudit, progress: Progress) -> CellRecord:
        """Attack the cell's images that the model classifies correctly, or those it names.

        Raises:
            CellError: the model gives no gradient, or attack, surrogate or model failed.
            OutOfTimeError: `stop` says so; nothing of the cell is kept.
        """
        victim, plan, further = model.victim, cell.plan, cell.further
        has_gradient = model.preflight.has_gradient or plan.surrogate is not None
        if unfit(plan, model):
            raise CellError(without_gradient(model))
        exact, search, trust = _surrogates(plan, model)
        block, position = self.block(further.positions if further else cell.block, model)
        verifier = Verifier(victim, self.norms[cell.norm], cell.epsilon.value)
        attack = attack_name(plan.config.use, plan.config.parameters)
        setup = Setup(
            spec=plan.spec,
            attack=further.part if further else plan.attack,
            surrogate=exact,
            verifier=verifier,
            classes=model.preflight.classes,
            seed=self.seed,
            key=attack,
            batch_size=self.batch_size,
            search=search,
            has_gradient=has_gradient,
            trust=trust,
            stop=self.stop,
            itself=plan.surrogate is None or exact.model is model.surrogate.model,
        )
        what = f"{further.stage} {further.positions[0]}" if further else f"{cell.block.start}"
        threat = f"{cell.norm} {cell.epsilon.value.hex()}"
        for part in (victim, exact.model, search.model):  # whatever model and attack are called
            part.begin(f"{self.seed} {threat} {attack} {what}")
        passes, begin = victim.passes, time.perf_counter()
        forwards, backwards = passes.forwards, passes.backwards
        with raised_in_a_cell():
            try:
                outcome, log = attack_block(setup, block, progress)
            except AttackDefectError as error:
                raise CellError(str(error)) from error
            except NoGradientError as error:
                raise CellError(f"there is no gradient on the surrogate {exact.name}") from error
        if further:
            log.stages = [replace(stage, name=further.stage) for stage in log.stages]
        meta = CellMeta(
            seconds=time.perf_counter() - begin,
            forwards=passes.forwards - forwards,
            backwards=passes.backwards - backwards,
            surrogate=log.surrogate,
            objective=log.objective,
            note=log.note,
            rejected=verifier.rejected,
            stages=log.stages,
            agreement=log.agreement,
        )
        return record_of(outcome, position, meta)

    def positions(
        self, part: slice | NDArray[np.int64], model: ModelUnderAudit
    ) -> NDArray[np.int64]:
        """Where the correctly classified images of a part are among the samples."""
        return np.arange(len(self.samples))[part][model.preflight.correct[part]]

    def kept(self, ledger: Ledger, cell: Cell, model: ModelUnderAudit) -> CellRecord | None:
        """The cell as an earlier session left it, if it did.

        What it says is believed as little as an attack: every example is given to the victim again.

        Raises:
            CellError: the model, or the norm, fails on them; the cell is left as it is.
        """
        key = self.key(cell, model)
        part = cell.further.positions if cell.further else cell.block

        def doubt(record: CellRecord) -> str:
            block, _ = self.block(part, model)
            verifier = Verifier(model.victim, self.norms[cell.norm], cell.epsilon.value)
            with raised_in_a_cell():
                return refuted(record, block, verifier)

        return ledger.read(key, torch.from_numpy(self.positions(part, model)), doubt)

    def block(
        self, part: slice | NDArray[np.int64], model: ModelUnderAudit
    ) -> tuple[Block, torch.Tensor]:
        """The correctly classified images of a part, and their positions among the samples."""
        correct = model.preflight.correct[part]
        position = self.positions(part, model)
        x = read_batch(model.victim, self.samples, part)
        device = model.victim.device
        y = torch.from_numpy(self.samples.labels[position]).to(device)
        image = torch.from_numpy(self.samples.keys[position]).to(device)
        return Block(x[torch.from_numpy(correct).to(device)], y, image), torch.from_numpy(position)


def unfit(plan: AttackPlan, model: ModelUnderAudit) -> bool:
    """Whether the attack needs a gradient that the model does not give."""
    has_gradient = model.preflight.has_gradient or plan.surrogate is not None
    return plan.spec.needs == GRADIENT and not has_gradient


def without_gradient(model: ModelUnderAudit) -> str:
    """Why an attack that needs a gradient cannot run on it."""
    failure = model.preflight.gradient_failure
    return GRADIENT_FAILED + failure if failure else WITHOUT_GRADIENT


def _surrogates(
    plan: AttackPlan, model: ModelUnderAudit
) -> tuple[Surrogate, Surrogate, Trust | None]:
    """What the attack runs on, what its searching stages run on, and what it trusts there.

    Raises:
        CellError: the surrogate that the configuration names could not be made.
    """
    if plan.surrogate is None:
        return model.surrogate, model.search, None
    with raised_in_a_cell(f"the surrogate {plan.surrogate.name} failed: "):
        made = plan.surrogate.of(model.surrogate)
    return made, made, "nothing"
