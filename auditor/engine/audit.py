"""The audit from configuration to result: load, look, attack, write down, judge."""

from __future__ import annotations

import datetime
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from auditor.config import AuditConfig, ModelConfig, config_hash, lock_text
from auditor.engine.archive import write_adversarial, write_samples
from auditor.engine.assemble import RunFacts, assemble
from auditor.engine.events import (
    CellDone,
    CellProgress,
    CellStarted,
    Listener,
    ModelReady,
    RunStarted,
)
from auditor.engine.ledger import CellRecord, Ledger, write_atomically
from auditor.engine.outcomes import AttackOutcome, Outcomes
from auditor.engine.plan import AttackPlan, Cell, build_attacks, cells, cut
from auditor.engine.runner import CellError, CellRunner, ModelUnderAudit, prepare
from auditor.engine.tuning import (
    choose_device,
    make_repeatable,
    measure_batch_size,
    measure_threads,
)
from auditor.errors import LoadError
from auditor.loading import Factory, fingerprint, load_module
from auditor.preflight import (
    blaming_model,
    count_classes,
    left_in_training,
    preflight,
    read_batch,
)
from auditor.registry import Registry
from auditor.results import AuditResult, to_json
from auditor.samples import Samples, choose_samples
from auditor.stats import accuracy
from auditor.victim import Normalize, Victim

#: Images of a batch before the batch size has been measured.
_FIRST_BATCH = 128
_MEASURED = "measured"


@dataclass(frozen=True)
class Machine:
    """What was chosen, or measured once, for this run."""

    device: torch.device
    threads: int
    batch_size: int


@dataclass
class Audit:
    """An audit under way.

    Attributes:
        command: the line that started it, for the report.
        resume: None goes on with a run that was cut off, if there is one; True also with one that
            ended incomplete; False starts anew.
    """

    config: AuditConfig
    registry: Registry
    command: str
    listener: Listener
    resume: bool | None = None
    #: Known as soon as it exists, so that an interrupted caller can name it.
    directory: Path | None = None

    def run(self) -> tuple[AuditResult, Path]:
        """Run what is not yet finished; returns the result and its directory.

        Raises:
            LoadError: model, data or device cannot be used; nothing is written.
        """
        begin = time.time()
        device = choose_device(self.config.run.device)
        make_repeatable(device)
        samples = load_samples(self.config, self.registry)
        victims = {model.name: load_victim(model, device) for model in self.config.models}
        for victim, _ in victims.values():
            count_classes(victim, samples)
        found = self._unfinished()
        machine = self._tune(device, victims[self.config.models[0].name][0], samples, found)
        models = {
            model.name: self._look(model, *victims[model.name], samples, machine)
            for model in self.config.models
        }
        ledger = found or self._new_run()
        self.directory = ledger.directory
        ledger.log("started", command=self.command)
        ledger.log(_MEASURED, threads=machine.threads, batch_size=machine.batch_size)
        attacks = build_attacks(self.config, self.registry)
        outcomes = self._attack(ledger, samples, models, attacks, machine, begin, found is not None)
        facts = RunFacts(
            command=self.command,
            device=machine.device,
            threads=machine.threads,
            batch_size=machine.batch_size,
            started=ledger.first_time() or begin,
            seconds=_active_seconds(ledger),
        )
        result = assemble(self.config, self.registry, samples, models, attacks, outcomes, facts)
        write_samples(ledger.directory / "samples.parquet", samples, models, outcomes)
        write_adversarial(ledger.directory / "adversarial.safetensors", samples, outcomes)
        write_atomically(ledger.directory / "audit.json", to_json(result).encode())
        ledger.log("finished", status=result.status, exit_status=result.exit_status)
        return result, ledger.directory

    def _unfinished(self) -> Ledger | None:
        """The newest run of this configuration that may be gone on with."""
        if self.resume is False or not self.config.run.output.is_dir():
            return None
        wanted = config_hash(self.config)[:6]
        for directory in sorted(self.config.run.output.glob(f"*-{wanted}"), reverse=True):
            ledger = Ledger(directory)
            finished = ledger.last("finished")
            if finished is None or (self.resume and finished.get("status") != "complete"):
                return ledger
        return None

    def _new_run(self) -> Ledger:
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%SZ")
        names = [model.name for model in self.config.models]
        title = names[0] if len(names) == 1 else f"{len(names)}-models"
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "audit"
        name = f"{stamp}-{slug}-{config_hash(self.config)[:6]}"
        directory = self.config.run.output / name
        directory.mkdir(parents=True)
        write_atomically(
            directory / "config.lock.toml", lock_text(self.config, self.registry).encode()
        )
        return Ledger(directory)

    def _tune(
        self, device: torch.device, victim: Victim, samples: Samples, found: Ledger | None
    ) -> Machine:
        """Threads and batch size: as configured, as measured before, or measured now."""
        before = (found.last(_MEASURED) if found else None) or {}
        run = self.config.run
        threads = run.threads if run.threads != "auto" else before.get("threads")
        size = run.batch_size if run.batch_size != "auto" else before.get("batch_size")
        x = read_batch(victim, samples, slice(0, 512))
        with blaming_model(victim, f"batches of up to {len(x)} images"):
            if device.type != "cpu":
                threads = torch.get_num_threads()
            elif threads is None:
                threads = measure_threads(victim, x[:_FIRST_BATCH])
            torch.set_num_threads(threads)
            if size is None:
                size = measure_batch_size(victim, x)
        return Machine(device, threads, size)

    def _look(
        self,
        model: ModelConfig,
        victim: Victim,
        training: tuple[str, ...],
        samples: Samples,
        machine: Machine,
    ) -> ModelUnderAudit:
        seen = preflight(
            victim,
            samples,
            machine.batch_size,
            outputs=model.outputs,
            expected_accuracy=self.config.data.expected_accuracy,
            training_modules=training,
        )
        clean = accuracy(int(seen.correct.sum()), len(samples))
        self.listener(ModelReady(model.name, clean, seen.findings))
        return prepare(victim, seen)

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
        hashes = {record.name: record.sha256 for record in self.registry.plugins}
        origin = {
            name: hashes[self.registry.origins["attacks", name]] for name in self.registry.attacks
        }
        runner = CellRunner(
            samples, self.registry.norms, origin, self.config.run.seed, machine.batch_size
        )
        todo = list(cells(self.config, attacks, cut(len(samples), samples.shape)))
        self.listener(
            RunStarted(
                ledger.directory, resumed, str(machine.device), machine.threads,
                machine.batch_size, len(samples), sum(map(_cost, todo)),
            )
        )  # fmt: skip
        stop = next((f"{name}: {model.preflight.stop}" for name, model in models.items()
                     if model.preflight.stop), "")  # fmt: skip
        outcomes = Outcomes(len(samples))
        for cell in todo:
            model = models[cell.model]
            target = outcomes.of(cell)
            reason = stop or self._out_of_time(begin)
            if target.failure or (reason and ledger.read(runner.key(cell, model)) is None):
                target.skip(reason)
                continue
            self._one(ledger, runner, cell, model, target)
        return outcomes

    def _one(
        self,
        ledger: Ledger,
        runner: CellRunner,
        cell: Cell,
        model: ModelUnderAudit,
        target: AttackOutcome,
    ) -> None:
        """Run one cell, or read it if it is finished, and note what came of it."""
        key = runner.key(cell, model)
        images = int(model.preflight.correct[cell.block].sum())
        record = ledger.read(key)
        reused = record is not None
        self.listener(CellStarted(cell.title, cell.block.stop - cell.block.start, images))
        if record is None:
            try:
                record = runner.run(
                    cell, model, lambda done, broken: self.listener(CellProgress(done, broken))
                )
            except CellError as error:
                target.fail(str(error))
                ledger.log("cell failed", cell=cell.title, reason=str(error))
                self.listener(
                    CellDone(cell.title, "error", str(error), None, 0.0, False, _cost(cell))
                )
                return
            ledger.write(key, record)
            ledger.log("cell", cell=cell.title, key=key, seconds=record.meta.seconds)
        target.add(record, ledger.cell_path(key))
        self.listener(_done(cell, record, images, reused))

    def _out_of_time(self, begin: float) -> str:
        budget = self.config.run.time_budget
        if budget is None or time.time() - begin < budget:
            return ""
        return f"the time budget of {budget:g} seconds was used up"


def _done(cell: Cell, record: CellRecord, images: int, reused: bool) -> CellDone:
    size = cell.block.stop - cell.block.start
    robust = (images - int(record.columns["broken"].sum())) / size
    meta = record.meta
    return CellDone(cell.title, "done", meta.note, robust, meta.seconds, reused, _cost(cell))


def _cost(cell: Cell) -> int:
    return sum(cell.plan.cost(cell.block.stop - cell.block.start))


def _active_seconds(ledger: Ledger) -> float:
    """Wall time of this and all earlier sessions of the run, as far as their events reach."""
    total = begin = last = 0.0
    for event in ledger.events():
        if event["event"] == "started":
            total += last - begin
            begin = event["time"]
        last = event["time"]
    return total + time.time() - begin


def load_samples(config: AuditConfig, registry: Registry) -> Samples:
    """The images that the configuration asks for.

    Raises:
        LoadError: they cannot be read or audited.
    """
    adapter = registry.data[config.data.adapter].build(dict(config.data.parameters))
    try:
        images = adapter.load()
    except (KeyboardInterrupt, LoadError):
        raise
    except Exception as error:  # an adapter is a plugin, and may raise anything
        raise LoadError(
            f"The data adapter raised {type(error).__name__}: {error}",
            where=f"[data] adapter = {config.data.adapter!r}",
            expected="images and labels",
            remedy="check the keys of [data]; if they are right, the adapter is at fault",
        ) from error
    return choose_samples(images, config.data.samples, config.run.seed)


def load_victim(model: ModelConfig, device: torch.device) -> tuple[Victim, tuple[str, ...]]:
    """A model as deployed, and the modules that its factory left in training mode.

    Raises:
        LoadError: it cannot be loaded.
    """
    source = model.factory_path or model.factory_module or ""
    factory = Factory(model.factory, source, model.factory_callable)
    module = load_module(model.name, factory, dict(model.kwargs), model.weights)
    training = left_in_training(module)
    normalize = model.normalize and Normalize(
        tuple(model.normalize.mean), tuple(model.normalize.std)
    )
    victim = Victim(
        model.name,
        module,
        precision=getattr(torch, model.precision),
        normalize=normalize or None,
        device=device,
        fingerprint=fingerprint(module, factory),
    )
    return victim, training
