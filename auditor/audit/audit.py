"""The audit from configuration to result: load, look, attack, write down, judge."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auditor.audit.assemble import RunFacts, assemble
from auditor.audit.work import Work, cell_runner
from auditor.cells.archive import write_adversarial, write_samples
from auditor.cells.audited import Audited
from auditor.cells.cell import (
    ModelUnderAudit,
)
from auditor.cells.columns import Outcomes
from auditor.cells.directory import find_judged, find_unfinished, lock_file, new_run
from auditor.cells.inputs import Loaded, load_samples, load_victim
from auditor.cells.keys import subject_key
from auditor.cells.ledger import Ledger
from auditor.cells.machine import Machine, known, measured, prepare, tune
from auditor.cells.origins import file_records
from auditor.cells.plan import (
    Cell,
    build_attacks,
    cells,
    cut,
    prices,
)
from auditor.cells.tuning import choose_device, make_repeatable
from auditor.config import AuditConfig, ModelConfig, lock_text
from auditor.config.lock import only_judged_anew
from auditor.errors import UsageError
from auditor.gates import judged, succeeding
from auditor.journal import STARTED
from auditor.preflight import count_classes
from auditor.printable import encodable
from auditor.protocols.events import (
    Listener,
    ModelReady,
    Remark,
    RunFinished,
    RunStarted,
)
from auditor.reading import read
from auditor.registry import Registry
from auditor.results import AuditResult, SelftestRecord
from auditor.storage import StorageError, storing, write_atomically
from auditor.subject.population import counted
from auditor.subject.samples import Samples
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
        files = file_records(self.config, self.registry, victims)
        for loaded in victims.values():
            count_classes(loaded.victim, samples)
        subjects = {
            model.name: subject_key(
                self.config, model, victims[model.name].victim, samples, self.registry
            )
            for model in self.config.models
        }
        found = self.ledger = self._found(subjects)
        before = self._before(found)
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
        ledger.log(STARTED, command=self.command, **self._identity(subjects))
        self._log_broken_plugins(ledger)
        ledger.log(_MEASURED, **measured(machine, models.values()))
        attacks = build_attacks(self.config, self.registry, samples)
        audited = Audited(
            self.config, self.registry, samples, models, attacks, Outcomes(len(samples)), files
        )
        todo = list(cells(self.config, attacks, cut(len(samples), samples.shape)))
        self._announce(audited, ledger, machine, todo, resumed=found is not None)
        runner = cell_runner(self.config, self.registry, samples, machine, begin)
        work = Work(audited, runner, ledger, self.listener)
        work.attack(todo)
        work.check()
        return self._write(audited, ledger, machine)

    def _found(self, subjects: dict[str, str]) -> Ledger | None:
        """The run to go on with: one that was cut off, or of which only the judgement changes."""
        found = find_unfinished(self.config, self.resume, self._remark)
        if found is not None or self.resume is False:
            return found
        identity, lock = self._identity(subjects), lock_text(self.config, self.registry)

        def same(ledger: Ledger) -> bool:
            started = ledger.last(STARTED) or {}
            known = {name: started.get(name) for name in identity}
            return known == identity and only_judged_anew(lock_file(ledger), lock)

        found = find_judged(self.config, same)
        if found is not None:
            self._remark(
                f"only gates, titles or the report changed since {found.directory.name}: its "
                "finished cells are judged again, and its reports written anew"
            )
        elif self.resume:
            self._remark("there is no run to go on with, so that a new one is begun")
        return found

    def _identity(self, subjects: dict[str, str]) -> dict[str, dict[str, str]]:
        """What has to be the same where a finished run is judged again."""
        plugins = {one.name: one.sha256 for one in self.registry.plugins}
        return {"subjects": subjects, "plugins": plugins}

    def _announce(
        self, audited: Audited, ledger: Ledger, machine: Machine, todo: list[Cell], *, resumed: bool
    ) -> None:
        """Say what is about to be run."""
        samples = audited.samples
        planned = sum(one.forwards + one.backwards for one in prices(todo, len(samples)))
        self.listener(
            RunStarted(
                ledger.directory, resumed, str(machine.device), machine.threads,
                machine.batch_size, len(samples), planned, samples.notes,
            )
        )  # fmt: skip

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

    def _write(self, audited: Audited, ledger: Ledger, machine: Machine) -> AuditResult:
        """Judge, and write everything but the reports."""
        facts = RunFacts(
            command=self.command,
            device=machine.device,
            threads=machine.threads,
            batch_size=machine.batch_size,
            started=ledger.first_time() or time.time(),
            seconds=ledger.seconds(),
            today=datetime.datetime.now(datetime.UTC).date(),
            selftest=self.selftest,
        )
        directory = ledger.directory
        with storing(directory, "read back"):
            result = assemble(audited, facts)
        writers: dict[str, Callable[[Path], None]] = {
            "samples.parquet": lambda file: write_samples(file, audited),
            "adversarial.safetensors": lambda file: write_adversarial(
                file, audited.samples, audited.outcomes
            ),
        }
        refused = []
        for name, write in writers.items():
            try:
                with storing(directory / name):
                    write(directory / name)
            except StorageError as error:  # the result does not rest on it
                refused.append(error.what)
                self._remark(error.render())
        if refused:
            incomplete = (*result.incomplete, *refused)
            result = replace(result, status="incomplete", incomplete=incomplete)
            result = judged(result, self.config.gates, facts.today)
        self.result = result = self._after(ledger, result, facts.today)
        self._write_lock_file(ledger)
        ledger.keep(result)
        self.listener(RunFinished(directory, result))
        return result

    def _after(self, ledger: Ledger, result: AuditResult, today: datetime.date) -> AuditResult:
        """The result with the other gates that the one in its place was judged by, if any was."""
        if not (ledger.directory / "audit.json").is_file():
            return result
        try:
            before = read(ledger.directory).result
        except UsageError as error:
            self._remark(f"by what gates the run was judged before is lost\n{error.render()}")
            return result
        return succeeding(result, before, today)

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
