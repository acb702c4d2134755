"""An audit's attacks and checks, run, or read where an earlier session did them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from auditor.attacking.outcome import Block
from auditor.attacking.setup import OutOfTimeError
from auditor.cells.audited import Audited
from auditor.cells.cell import (
    CellError,
    CellRunner,
    ModelUnderAudit,
    unfit,
    without_gradient,
)
from auditor.cells.columns import AttackOutcome, Key
from auditor.cells.inputs import load_stand_in_of
from auditor.cells.ledger import CellRecord, Ledger
from auditor.cells.machine import Machine
from auditor.cells.plan import (
    Cell,
    build_checks,
    cut,
    price,
)
from auditor.cells.sampler import Sampler, finished
from auditor.cells.sampling import Withstood
from auditor.config import AuditConfig, ModelConfig
from auditor.masking.check_runner import CheckContext, CheckRunner
from auditor.protocols.events import (
    CellDone,
    CellStarted,
    Listener,
)
from auditor.registry import Registry
from auditor.subject.samples import Samples
from auditor.surrogate import naive
from auditor.usercode.calls import with_traceback


@dataclass(frozen=True)
class Work:
    """Attacks and checks of what is audited; what comes of them goes into `audited`."""

    audited: Audited
    runner: CellRunner
    ledger: Ledger
    listener: Listener

    def attack(self, todo: list[Cell]) -> None:
        """Run or read every cell, then sample what composites left."""
        audited, runner = self.audited, self.runner
        stop = next(iter(audited.stops), "")
        last: list[Cell] = []
        for cell in todo:
            model, target = audited.models[cell.model], audited.outcomes.of(cell)
            reason = stop or runner.stop()
            if cell.plan.config.from_profile and unfit(cell.plan, model):
                reason = without_gradient(model)
            with self._told(cell, target):
                if target.failure or (reason and runner.kept(self.ledger, cell, model) is None):
                    target.skip(reason)
                    continue
                self._one(cell, model, target)
            if cell.block.stop == len(audited.samples) and cell.plan.spec.sampled:
                last.append(cell)
        self._sample(last)

    def _sample(self, last: list[Cell]) -> None:
        """Sample the survivors of attacks whose `last` cells these are, largest epsilon first."""
        sampler = Sampler(self.runner, self.ledger, self.listener)
        groups: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in last:
            groups.setdefault((cell.model, cell.norm, cell.plan.config.label), []).append(cell)
        for cells_of in groups.values():
            had = Withstood()
            for cell in reversed(cells_of):
                target = self.audited.outcomes.of(cell)
                if target.done:
                    with self._told(cell, target):
                        sampler.run(cell, self.audited.models[cell.model], target, had)

    @contextlib.contextmanager
    def _told(self, cell: Cell, target: AttackOutcome) -> Iterator[None]:
        """What keeps a cell from being finished is noted, and ends only the attack."""
        try:
            yield
        except OutOfTimeError as stopped:
            self._unfinished(cell, target, f"{stopped} while it ran")
        except CellError as error:
            why = str(error)
            target.fail(why)
            if error.raised is not None:
                why = with_traceback(why, error.raised, self.ledger.directory)
            self.ledger.log("cell failed", cell=cell.title, reason=why)
            self.listener(CellDone(cell.title, "error", why, None, 0.0, False, _cost(cell)))

    def _one(self, cell: Cell, model: ModelUnderAudit, target: AttackOutcome) -> None:
        """Run one cell, or read it if it is finished, and note what came of it."""
        images = int(model.preflight.correct[cell.block].sum())
        self.listener(CellStarted(cell.title, cell.block.stop - cell.block.start, images))
        made = finished(self.runner, self.ledger, self.listener, cell, model, cell.title)
        target.add(made.record, made.file)
        self.listener(_done(cell, made.record, images, made.reused))

    def _unfinished(self, cell: Cell, target: AttackOutcome, reason: str) -> None:
        """Note a cell that was stopped between two steps: none of it counts."""
        target.skip(reason)
        self.ledger.log("cell stopped", cell=cell.title, reason=reason)
        self.listener(CellDone(cell.title, "skipped", reason, None, 0.0, False, _cost(cell)))

    def check(self) -> None:
        """Run or read the checks of every model; what they break is added to the outcomes."""
        audited = self.audited
        plans = build_checks(audited.config, audited.registry)
        labels = [plan.config.label for plan in audited.attacks]
        for config in audited.config.models:
            context = self._context(config)
            runner = CheckRunner(
                context=context,
                plans=plans,
                ledger=self.ledger,
                seed=self.runner.seed,
                batch_size=self.runner.batch_size,
                listener=self.listener,
                stop=lambda model=context.model: model.preflight.stop or self.runner.stop(),  # type: ignore[misc]
            )
            found = audited.checks[config.name] = list(runner.run(audited.outcomes, labels))
            for outcome in found:
                if outcome.record is not None and _counts(outcome.record):
                    assert outcome.file is not None
                    label = outcome.result.label
                    key = Key(config.name, context.norm.name, context.epsilon, label, "check")
                    audited.outcomes.at(key).add(outcome.record, outcome.file)

    def _context(self, config: ModelConfig) -> CheckContext:
        """The first images of the set, under the largest epsilon of the first threat."""
        audited, runner = self.audited, self.runner
        models = audited.models
        model, threat = models[config.name], audited.config.threats[0]
        part = cut(len(runner.samples), runner.samples.shape)[0]
        block, position = _by_content(*runner.block(part, model))
        stand_in = load_stand_in_of(config, model.victim)
        others = {
            name: other.surrogate
            for name, other in models.items()
            if name != config.name
            and other.preflight.has_gradient
            and other.preflight.classes == model.preflight.classes
            and other.victim.compute_dtype == model.victim.compute_dtype
        }
        epsilon = threat.epsilons[-1].value
        return CheckContext(
            model=model,
            block=block,
            position=position,
            norm=audited.registry.norms[threat.norm],
            epsilon=epsilon,
            others=others,
            stand_in=None if stand_in is None else naive(stand_in),
            key_parts={
                **runner.key_parts(model, part, threat.norm, epsilon),
                "attacks": [
                    [plan.config.use, plan.config.parameters, plan.config.surrogate]
                    for plan in audited.attacks
                ],
                "others": {name: models[name].subject for name in others},
                "code": _every_hash(audited.registry),
            },
        )


def _counts(record: CellRecord) -> bool:
    """Whether a check broke an image, or looked for long at one that withstood."""
    known = [name for name in ("broken", "queries", "repaired") if name in record.columns]
    return any(bool(record.columns[name].any()) for name in known)


def cell_runner(
    config: AuditConfig, registry: Registry, samples: Samples, machine: Machine, begin: float
) -> CellRunner:
    """What runs the cells; it stops once the time budget since `begin` (monotonic) is used up."""
    budget = config.run.time_budget

    def out_of_time() -> str:
        if budget is None or time.monotonic() - begin < budget:
            return ""
        return f"the time budget of {budget:g} seconds was used up"

    return CellRunner(
        samples, registry.norms, _hashes(registry), config.run.seed, machine.threads,
        machine.batch_size, out_of_time,
    )  # fmt: skip


def _every_hash(registry: Registry) -> str:
    """Of the code of all plugins: checks use the attacks of others."""
    return "".join(record.sha256 for record in registry.plugins)


def _hashes(registry: Registry) -> dict[tuple[str, str], str]:
    """sha256 of the code of what plugins offer; a composite may use that of every plugin."""
    every = _every_hash(registry)
    return registry.hashes | {
        ("attacks", name): every for name, spec in registry.attacks.items() if spec.kind == "stages"
    }


def _by_content(block: Block, position: torch.Tensor) -> tuple[Block, torch.Tensor]:
    """The images in the order of their keys: which of them a check takes is not up to the file."""
    order = block.image.argsort()
    block = Block(block.x[order], block.y[order], block.image[order])
    return block, position[order.to(position.device)]


def _done(cell: Cell, record: CellRecord, images: int, reused: bool) -> CellDone:
    size = cell.block.stop - cell.block.start
    robust = (images - int(record.columns["broken"].sum())) / size
    meta = record.meta
    return CellDone(cell.title, "done", meta.note, robust, meta.seconds, reused, _cost(cell))


def _cost(cell: Cell) -> int:
    one = price(cell)
    return one.forwards + one.backwards
