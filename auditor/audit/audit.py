"""The audit from configuration to result: load, look, attack, write down, judge."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from auditor.attacking.outcome import Block
from auditor.attacking.setup import OutOfTimeError
from auditor.audit.assemble import RunFacts, assemble
from auditor.cells.archive import write_adversarial, write_samples
from auditor.cells.cell import (
    CellError,
    CellRunner,
    ModelUnderAudit,
    unfit,
    without_gradient,
)
from auditor.cells.columns import AttackOutcome, Key, Outcomes
from auditor.cells.directory import find_unfinished, lock_file, new_run
from auditor.cells.inputs import Loaded, load_samples, load_stand_in_of, load_victim
from auditor.cells.keys import subject_key
from auditor.cells.ledger import CellRecord, Ledger
from auditor.cells.machine import Machine, known, measured, prepare, tune
from auditor.cells.plan import (
    AttackPlan,
    Cell,
    build_attacks,
    build_checks,
    cells,
    cut,
    price,
    prices,
)
from auditor.cells.sampler import Sampler, finished
from auditor.cells.sampling import Withstood
from auditor.cells.tuning import choose_device, make_repeatable
from auditor.config import AuditConfig, ModelConfig, lock_text
from auditor.gates import unkept
from auditor.masking.check_runner import CheckContext, CheckOutcome, CheckRunner
from auditor.preflight import count_classes
from auditor.printable import encodable
from auditor.protocols.events import (
    CellDone,
    CellStarted,
    Listener,
    ModelReady,
    Remark,
    RunFinished,
    RunStarted,
)
from auditor.registry import Registry
from auditor.results import AuditResult, SelftestRecord, to_json
from auditor.storage import StorageError, storing, write_atomically
from auditor.subject.population import counted
from auditor.subject.samples import Samples
from auditor.surrogate import naive
from auditor.usercode.calls import blamed, with_traceback

_MEASURED = "measured"


@dataclass
class Audit:
    """An audit under way; `close` it once nothing more is written into its directory.

    Attributes:
        command: the line that started it, for the report.
        resume: None goes on with a run that was cut off, if there is one; True also with one that
            ended incomplete; False starts anew.
        selftest: how the verdict of this version did on reference models, for the report.
    """

    config: AuditConfig
    registry: Registry
    command: str
    listener: Listener
    resume: bool | None = None
    selftest: SelftestRecord | None = None
    #: Known as soon as it exists, so that an interrupted caller can name its directory.
    ledger: Ledger | None = None
    #: Likewise; whether audit.json holds it is another matter.
    result: AuditResult | None = None

    def close(self) -> None:
        """Let others go on with the run."""
        if self.ledger is not None:
            self.ledger.unlock()

    def run(self) -> AuditResult:
        """Run what is not yet finished, and write down the result; the run stays locked.

        Raises:
            LoadError: model, data or device cannot be used; nothing is written.
            StorageError: the run directory cannot be used; `result` is there if it was judged.
        """
        begin = time.monotonic()
        device = choose_device(self.config.run.device)
        make_repeatable(device)
        samples = load_samples(self.config, self.registry)
        victims = {
            model.name: load_victim(model, device, self.registry, self.config.run.batch_size)
            for model in self.config.models
        }
        for loaded in victims.values():
            count_classes(loaded.victim, samples)
        found = find_unfinished(self.config, self.resume, self._remark)
        self.ledger = found
        before = self._before(found)
        subjects = {
            model.name: subject_key(
                self.config, model, victims[model.name].victim, samples, self.registry
            )
            for model in self.config.models
        }
        first = self.config.models[0].name
        machine = tune(self.config, device, victims[first].victim, samples, before, subjects[first])
        models = {
            model.name: self._look(
                model, victims[model.name], samples, machine, before, subjects[model.name]
            )
            for model in self.config.models
        }
        ledger = self.ledger = found or new_run(self.config)
        if not lock_file(ledger).is_file():
            self._write_lock_file(ledger)
        ledger.log("started", command=self.command)
        self._log_broken_plugins(ledger)
        ledger.log(_MEASURED, **measured(machine, models.values()))
        attacks = build_attacks(self.config, self.registry, samples)
        resumed = found is not None
        outcomes = self._attack(ledger, samples, models, attacks, machine, begin, resumed)
        checks = self._check(ledger, samples, models, attacks, machine, begin, outcomes)
        return self._write(ledger, samples, models, attacks, outcomes, checks, machine)

    def _remark(self, text: str) -> None:
        self.listener(Remark(text))

    def _log_broken_plugins(self, ledger: Ledger) -> None:
        """Keep what plugins raised that could not be loaded; the user has been told before."""
        for record, error in self.registry.raised:
            said = with_traceback(blamed(error), error, ledger.directory)
            ledger.log("plugin broken", plugin=record.name, reason=said)
            self._remark(f"plugin {record.name}: {said}")

    def _before(self, found: Ledger | None) -> dict[str, Any]:
        """What was measured when the run was begun; told where that cannot be read any more."""
        if found is None:
            return {}
        where = f"{found.directory.name}/events.jsonl"
        if count := found.unreadable:
            lines = "1 line is" if count == 1 else f"{count} lines are"
            self._remark(f"{where}: {lines} cut off or damaged, and left out")
        logged = found.last(_MEASURED) or {}
        before = known(logged)
        if logged and not before:
            self._remark(
                f"{where}: what was measured of the machine is damaged, and is measured again"
            )
        return before

    def _write_lock_file(self, ledger: Ledger) -> None:
        text = encodable(lock_text(self.config, self.registry))
        write_atomically(lock_file(ledger), text.encode())

    def _write(
        self,
        ledger: Ledger,
        samples: Samples,
        models: dict[str, ModelUnderAudit],
        attacks: tuple[AttackPlan, ...],
        outcomes: Outcomes,
        checks: dict[str, list[CheckOutcome]],
        machine: Machine,
    ) -> AuditResult:
        """Judge, and write everything but the reports."""
        facts = RunFacts(
            command=self.command,
            device=machine.device,
            threads=machine.threads,
            batch_size=machine.batch_size,
            started=ledger.first_time() or time.time(),
            seconds=ledger.seconds(),
            selftest=self.selftest,
        )
        directory = ledger.directory
        with storing(directory, "read back"):
            result = assemble(
                self.config, self.registry, samples, models, attacks, outcomes, checks, facts
            )
        writers: dict[str, Callable[[Path], None]] = {
            "samples.parquet": lambda file: write_samples(file, samples, models, outcomes),
            "adversarial.safetensors": lambda file: write_adversarial(file, samples, outcomes),
        }
        refused = []
        for name, write in writers.items():
            try:
                with storing(directory / name):
                    write(directory / name)
            except StorageError as error:  # the result does not rest on it
                refused.append(error.what)
                self._remark(error.render())
        self.result = result = unkept(result, refused) if refused else result
        self._write_lock_file(ledger)
        text = to_json(result).encode()
        # Before the file: whatever a crash leaves there, its hash is one of those in the log.
        ledger.log("result", sha256=hashlib.sha256(text).hexdigest())
        write_atomically(directory / "audit.json", text)
        self.listener(RunFinished(directory, result))
        return result

    def _look(
        self,
        model: ModelConfig,
        loaded: Loaded,
        samples: Samples,
        machine: Machine,
        before: dict[str, Any],
        subject: str,
    ) -> ModelUnderAudit:
        seen = loaded.look(samples, machine.batch_size, self.config.data.expected_accuracy)
        prepared = prepare(self.config, loaded.victim, seen, samples, before, subject)
        clean = counted(samples, seen.correct)
        self.listener(ModelReady(model.name, clean, prepared.preflight.findings))
        return prepared

    def _attack(
        self,
        ledger: Ledger,
        samples: Samples,
        models: dict[str, ModelUnderAudit],
        attacks: tuple[AttackPlan, ...],
        machine: Machine,
        begin: float,
        resumed: bool,
    ) -> Outcomes:
        """Run or read every cell."""
        runner = self._runner(samples, machine, begin)
        todo = list(cells(self.config, attacks, cut(len(samples), samples.shape)))
        planned = sum(one.forwards + one.backwards for one in prices(todo, len(samples)))
        self.listener(
            RunStarted(
                ledger.directory, resumed, str(machine.device), machine.threads,
                machine.batch_size, len(samples), planned, samples.notes,
            )
        )  # fmt: skip
        stop = next((f"{name}: {model.preflight.stop}" for name, model in models.items()
                     if model.preflight.stop), "")  # fmt: skip
        outcomes = Outcomes(len(samples))
        last: list[Cell] = []
        for cell in todo:
            model = models[cell.model]
            target = outcomes.of(cell)
            reason = stop or self._out_of_time(begin)
            if cell.plan.config.from_profile and unfit(cell.plan, model):
                reason = without_gradient(model)
            with self._told(ledger, cell, target):
                if target.failure or (reason and runner.kept(ledger, cell, model) is None):
                    target.skip(reason)
                    continue
                self._one(ledger, runner, cell, model, target)
            if cell.block.stop == len(samples) and cell.plan.spec.sampled:
                last.append(cell)
        self._sample(ledger, runner, models, outcomes, last)
        return outcomes

    def _sample(
        self,
        ledger: Ledger,
        runner: CellRunner,
        models: dict[str, ModelUnderAudit],
        outcomes: Outcomes,
        last: list[Cell],
    ) -> None:
        """Sample the survivors of attacks whose `last` cells these are, largest epsilon first."""
        sampler = Sampler(runner, ledger, self.listener)
        groups: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in last:
            groups.setdefault((cell.model, cell.norm, cell.plan.config.label), []).append(cell)
        for cells_of in groups.values():
            had = Withstood()
            for cell in reversed(cells_of):
                target = outcomes.of(cell)
                if target.done:
                    with self._told(ledger, cell, target):
                        sampler.run(cell, models[cell.model], target, had)

    @contextlib.contextmanager
    def _told(self, ledger: Ledger, cell: Cell, target: AttackOutcome) -> Iterator[None]:
        """What keeps a cell from being finished is noted, and ends only the attack."""
        try:
            yield
        except OutOfTimeError as stopped:
            self._unfinished(ledger, cell, target, f"{stopped} while it ran")
        except CellError as error:
            why = str(error)
            target.fail(why)
            if error.raised is not None:
                why = with_traceback(why, error.raised, ledger.directory)
            ledger.log("cell failed", cell=cell.title, reason=why)
            self.listener(CellDone(cell.title, "error", why, None, 0.0, False, _cost(cell)))

    def _runner(self, samples: Samples, machine: Machine, begin: float) -> CellRunner:
        return CellRunner(
            samples,
            self.registry.norms,
            self._hashes(),
            self.config.run.seed,
            machine.threads,
            machine.batch_size,
            lambda: self._out_of_time(begin),
        )

    def _check(
        self,
        ledger: Ledger,
        samples: Samples,
        models: dict[str, ModelUnderAudit],
        attacks: tuple[AttackPlan, ...],
        machine: Machine,
        begin: float,
        outcomes: Outcomes,
    ) -> dict[str, list[CheckOutcome]]:
        """Run or read the checks of every model; what they break is added to `outcomes`."""
        plans = build_checks(self.config, self.registry)
        runner = self._runner(samples, machine, begin)
        found: dict[str, list[CheckOutcome]] = {}
        for config in self.config.models:
            model = models[config.name]
            context = self._theatre(config, models, runner, attacks)
            battery = CheckRunner(
                context=context,
                plans=plans,
                ledger=ledger,
                seed=self.config.run.seed,
                batch_size=machine.batch_size,
                listener=self.listener,
                stop=lambda model=model: model.preflight.stop or self._out_of_time(begin),  # type: ignore[misc]
            )
            labels = [plan.config.label for plan in attacks]
            found[config.name] = list(battery.run(outcomes, labels))
            for outcome in found[config.name]:
                if outcome.record is not None and outcome.record.columns["broken"].any():
                    assert outcome.file is not None
                    label = outcome.result.label
                    key = Key(config.name, context.norm.name, context.epsilon, label, "check")
                    outcomes.at(key).add(outcome.record, outcome.file)
        return found

    def _theatre(
        self,
        config: ModelConfig,
        models: dict[str, ModelUnderAudit],
        runner: CellRunner,
        attacks: tuple[AttackPlan, ...],
    ) -> CheckContext:
        """The first images of the set, under the largest epsilon of the first threat."""
        model, threat = models[config.name], self.config.threats[0]
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
            norm=self.registry.norms[threat.norm],
            epsilon=epsilon,
            others=others,
            stand_in=None if stand_in is None else naive(stand_in),
            key_parts={
                **runner.key_parts(model, part, threat.norm, epsilon),
                "attacks": [
                    [plan.config.use, plan.config.parameters, plan.config.surrogate]
                    for plan in attacks
                ],
                "others": {name: models[name].subject for name in others},
                "code": self._every_hash(),
            },
        )

    def _every_hash(self) -> str:
        """Of the code of all plugins: checks use the attacks of others."""
        return "".join(record.sha256 for record in self.registry.plugins)

    def _hashes(self) -> dict[tuple[str, str], str]:
        """sha256 of the code of what plugins offer; a composite may use that of every plugin."""
        every = self._every_hash()
        return self.registry.hashes | {
            ("attacks", name): every
            for name, spec in self.registry.attacks.items()
            if spec.kind == "stages"
        }

    def _one(
        self,
        ledger: Ledger,
        runner: CellRunner,
        cell: Cell,
        model: ModelUnderAudit,
        target: AttackOutcome,
    ) -> None:
        """Run one cell, or read it if it is finished, and note what came of it."""
        images = int(model.preflight.correct[cell.block].sum())
        self.listener(CellStarted(cell.title, cell.block.stop - cell.block.start, images))
        made = finished(runner, ledger, self.listener, cell, model, cell.title)
        target.add(made.record, made.file)
        self.listener(_done(cell, made.record, images, made.reused))

    def _unfinished(self, ledger: Ledger, cell: Cell, target: AttackOutcome, reason: str) -> None:
        """Note a cell that was stopped between two steps: none of it counts."""
        target.skip(reason)
        ledger.log("cell stopped", cell=cell.title, reason=reason)
        self.listener(CellDone(cell.title, "skipped", reason, None, 0.0, False, _cost(cell)))

    def _out_of_time(self, begin: float) -> str:
        budget = self.config.run.time_budget
        if budget is None or time.monotonic() - begin < budget:
            return ""
        return f"the time budget of {budget:g} seconds was used up"


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
