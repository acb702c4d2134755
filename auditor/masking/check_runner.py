"""The checks of one model: run one after another, each kept in the ledger like a cell."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from auditor.attacking.outcome import Block
from auditor.attacking.setup import OutOfTimeError, Stop
from auditor.attacking.verify import Verifier
from auditor.cells.audited import CheckOutcome
from auditor.cells.cell import ModelUnderAudit
from auditor.cells.columns import Outcomes
from auditor.cells.ledger import CellMeta, CellRecord, CheckRecord, Ledger, cell_key, record_of
from auditor.cells.pace import Pace
from auditor.cells.plan import CheckPlan
from auditor.cells.reread import refuted
from auditor.masking.probe import EngineProbe, Fallen
from auditor.maths.norms import Norm
from auditor.preflight import fingerprint
from auditor.protocols.attack import Trust
from auditor.protocols.check import CheckReport, Symptom
from auditor.protocols.events import (
    AttemptProgress,
    AttemptStarted,
    CheckDone,
    CheckStarted,
    Listener,
)
from auditor.results import CheckResult, CheckStatus, Finding
from auditor.storage import StorageError
from auditor.surrogate import Surrogate
from auditor.usercode.calls import blamed, with_traceback

_REPORT = TypeAdapter(CheckReport)
_FLAGS: tuple[Trust, ...] = ("cross-entropy", "gradient")
#: How the sentence of a check that crashed begins.
CRASHED = "It crashed: "


@dataclass(frozen=True)
class CheckContext:
    """Where a model's checks take place: its images, its threat, and what stands beside it."""

    model: ModelUnderAudit
    block: Block
    #: (n,) the images' positions among the samples.
    position: torch.Tensor
    norm: Norm
    epsilon: float
    others: dict[str, Surrogate]
    stand_in: Surrogate | None
    #: All that what the checks see depends on beside themselves.
    key_parts: dict[str, Any]


@dataclass
class CheckRunner:
    """Runs the checks of one model.

    Attributes:
        stop: why no further check, or step of its attacks, is to be begun; empty while it may be.
    """

    context: CheckContext
    plans: tuple[CheckPlan, ...]
    ledger: Ledger
    seed: int
    batch_size: int
    listener: Listener
    stop: Stop
    fallen: Fallen = field(init=False)
    pace: Pace = field(init=False)
    _symptoms: list[Symptom] = field(default_factory=list)

    def run(self, outcomes: Outcomes, labels: list[str]) -> Iterator[CheckOutcome]:
        """All checks in order; each sees what the attacks `labels` and earlier checks broke."""
        context = self.context
        self.fallen = self._fallen_to_attacks(outcomes, labels)
        self.pace = Pace.of(outcomes, context.model.victim.name)
        chain = cell_key(context.key_parts)
        for plan in self.plans:
            chain = cell_key(
                {
                    "before": chain,
                    "check": plan.config.use,
                    "label": plan.config.label,
                    "parameters": plan.config.parameters,
                }
            )
            yield self._one(plan, chain)

    def _fallen_to_attacks(self, outcomes: Outcomes, labels: list[str]) -> Fallen:
        context = self.context
        fallen = Fallen.nothing(len(context.block), context.block.x.device)
        name = context.model.victim.name
        for label in labels:
            outcome = outcomes.get(name, context.norm.name, context.epsilon, label)
            if outcome is not None:
                where = context.position.numpy()
                broken = torch.from_numpy(outcome.broken[where]).to(context.block.x.device)
                fallen.note(broken, torch.from_numpy(outcome.trust[where]).to(broken.device))
        return fallen

    def _one(self, plan: CheckPlan, key: str) -> CheckOutcome:
        """Run one check, or read it if it is finished, and take in what it saw."""
        title = f"{self.context.model.victim.name} · check {plan.config.label}"
        begin = time.perf_counter()
        probe = self._probe(plan, title, begin)
        try:
            if (record := self._kept(key)) is not None:
                return self._take_in(plan, record, self.ledger.cell_path(key))
            if reason := self.stop():
                return CheckOutcome(_result(plan, "skipped", reason, None))
            self._announce(plan, title)
            record = self._run(plan, probe, begin)
        except (KeyboardInterrupt, StorageError):
            raise
        except OutOfTimeError as stopped:
            reason = f"{stopped} while it ran"
            self.listener(CheckDone(title, "skipped", reason, False, 0.0))
            return CheckOutcome(_result(plan, "skipped", reason, None))
        except BaseException as error:  # a check is a plugin, and may raise anything
            return self._crashed(plan, title, error, key, probe)
        record = self.ledger.write(key, record)
        self.ledger.log("check", check=title, key=key, seconds=record.meta.seconds)
        outcome = self._take_in(plan, record, self.ledger.cell_path(key))
        seen = outcome.result
        self.listener(CheckDone(title, seen.status, seen.sentence, seen.flagged, seen.seconds))
        return outcome

    def _kept(self, key: str) -> CellRecord | None:
        """The check's cell as an earlier session left it, if it did and its examples hold."""
        context = self.context

        def doubt(record: CellRecord) -> str:
            verifier = Verifier(context.model.victim, context.norm, context.epsilon)
            wrong = refuted(record, context.block, verifier)
            return wrong or ("it is no check's" if record.meta.check is None else "")

        return self.ledger.read(key, context.position, doubt)

    def _announce(self, plan: CheckPlan, title: str) -> None:
        """Say what the check takes at most, before it begins."""
        model, images = self.context.model, len(self.context.block)
        cost = plan.cost(images, model.preflight.classes, random=model.victim.draws > 1)
        if cost is None:
            self.listener(CheckStarted(title))
            return
        self.listener(CheckStarted(title, sum(cost), self.pace.expected(sum(cost))))

    def _begins(self, title: str, since: float, attempt: str, images: int, passes: int) -> None:
        """Say what an attempt takes at most; in the run's log where that is long."""
        seconds, spent = self.pace.expected(passes), time.perf_counter() - since
        event = AttemptStarted(title, attempt, images, passes, seconds, spent, self.pace.seconds)
        if event.longer:
            self.ledger.log(
                "check may take longer than the attacks", check=title, attempt=attempt,
                images=images, passes=passes, seconds=seconds, spent=spent, attacks=event.attacks,
            )  # fmt: skip
        self.listener(event)

    def _probe(self, plan: CheckPlan, title: str, begin: float) -> EngineProbe:
        context = self.context
        return EngineProbe(
            label=plan.config.label,
            block=context.block,
            model=context.model,
            norm=context.norm,
            epsilon=context.epsilon,
            others=context.others,
            stand_in=context.stand_in,
            seed=self.seed,
            batch_size=self.batch_size,
            standing=self.fallen.copy(),
            known=tuple(self._symptoms),
            stop=self.stop,
            begins=partial(self._begins, title, begin),
            progress=lambda finished, broken: self.listener(AttemptProgress(finished, broken)),
        )

    def _run(self, plan: CheckPlan, probe: EngineProbe, begin: float) -> CellRecord:
        model = self.context.model
        passes = model.victim.passes
        for part in (model.victim, model.surrogate.model):
            part.begin(f"{self.seed} check {plan.config.label}")
        forwards, backwards = passes.forwards, passes.backwards
        report = _checked(plan.check.run(probe))
        meta = CellMeta(
            seconds=time.perf_counter() - begin,
            forwards=passes.forwards - forwards,
            backwards=passes.backwards - backwards,
            rejected=probe.rejected,
            check=CheckRecord(report, tuple(probe.attempts)),
        )
        return self._record(probe, meta)

    def _record(self, probe: EngineProbe, meta: CellMeta) -> CellRecord:
        record = record_of(probe.outcome, self.context.position, meta)
        for flag in _FLAGS:
            record.columns[f"fallen to {flag}"] = probe.standing.by[flag].cpu()
        return record

    def _take_in(self, plan: CheckPlan, record: CellRecord, file: Path) -> CheckOutcome:
        """What a check broke and saw, now or in an earlier session."""
        assert record.meta.check is not None
        report = record.meta.check.report
        assert report is not None
        self._note(record)
        self._symptoms.extend(report.symptoms)
        status: CheckStatus = "done" if report.applies else "not applicable"
        findings = tuple(
            _finding(self.context.model.victim.name, plan, report, symptom)
            for symptom in report.symptoms
        )
        note = record.meta.note
        sentence = f"{report.sentence} ({note[0].upper()}{note[1:]}.)" if note else report.sentence
        result = _result(plan, status, sentence, record.meta, flagged=bool(findings))
        return CheckOutcome(result, report, findings, record, file)

    def _note(self, record: CellRecord) -> None:
        """Let later checks know what this one broke."""
        device = self.context.block.x.device
        self.fallen.by["nothing"] |= record.columns["broken"].to(device)
        for flag in _FLAGS:
            self.fallen.by[flag] |= record.columns[f"fallen to {flag}"].to(device)

    def _crashed(
        self, plan: CheckPlan, title: str, error: BaseException, key: str, probe: EngineProbe
    ) -> CheckOutcome:
        """A check that crashes is a finding, never a silent pass.

        What it had broken until then was verified, and counts. It is written down for the result,
        under a name of its own: a later session runs the check again.
        """
        why = blamed(error)
        said = with_traceback(why, error, self.ledger.directory)
        self.ledger.log("check failed", check=title, reason=said)
        self.listener(CheckDone(title, "error", said, True, 0.0))
        name = self.context.model.victim.name
        finding = Finding(
            code="check-failed",
            title=f"The check {plan.config.label} crashed",
            severity="medium",
            confidence="high",
            summary=f"It could not be finished, so it says nothing about {name}: {why}",
            evidence=(why,),
            remedy="if the model is at fault, mend it; else report it to the author of the check",
            fingerprint=fingerprint(name, plan.config.label, "crashed"),
        )
        told = CheckRecord(None, tuple(probe.attempts))
        meta = CellMeta(0.0, 0, 0, rejected=probe.rejected, check=told)
        result = _result(plan, "error", f"{CRASHED}{why}", meta, flagged=True)
        if not probe.attempts:
            return CheckOutcome(result, findings=(finding,))
        record, kept = self._record(probe, meta), cell_key({"crashed": key})
        self.ledger.write(kept, record)
        self._note(record)
        return CheckOutcome(result, None, (finding,), record, self.ledger.cell_path(kept))


def _checked(report: object) -> CheckReport:
    """What a check returned, if it can be written down and read again.

    Raises:
        TypeError: it is no report, or something in it is not what its field holds.
        ValueError: a measurement is not finite.
    """
    if not isinstance(report, CheckReport):
        raise TypeError(f"it returned {type(report).__name__}, not a CheckReport")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what does not fit its field is told by reading it
        written = _REPORT.dump_python(report, mode="json")
    try:
        read = _REPORT.validate_python(written)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise TypeError(f"its report has a wrong {where}: {first['msg']}") from error
    for measured in read.measurements:
        if not all(map(math.isfinite, (measured.value, *(measured.ci95 or ())))):
            raise ValueError(f"its measurement {measured.name!r} is not finite")
    return read


def _result(
    plan: CheckPlan,
    status: CheckStatus,
    sentence: str,
    meta: CellMeta | None,
    *,
    flagged: bool = False,
) -> CheckResult:
    return CheckResult(
        name=plan.config.use,
        label=plan.config.label,
        parameters=dict(plan.config.parameters),
        status=status,
        sentence=sentence,
        flagged=flagged,
        forwards=meta.forwards if meta else 0,
        backwards=meta.backwards if meta else 0,
        seconds=meta.seconds if meta else 0.0,
        attempts=meta.check.attempts if meta and meta.check else (),
    )


def _finding(model: str, plan: CheckPlan, report: CheckReport, symptom: Symptom) -> Finding:
    where = (f"where: {symptom.culprit}",) if symptom.culprit else ()
    return Finding(
        code=symptom.fact or plan.config.label,
        title=symptom.title,
        severity="high" if symptom.strong else "medium",
        confidence="high" if symptom.strong else "medium",
        summary=report.sentence,
        evidence=(*symptom.evidence, *where),
        remedy=symptom.remedy,
        references=(plan.spec.reference,) if plan.spec.reference else (),
        fingerprint=fingerprint(
            model, *([symptom.fact] if symptom.fact else [plan.config.label, symptom.title])
        ),
    )
