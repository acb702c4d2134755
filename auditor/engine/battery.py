"""The checks of one model: run one after another, each kept in the ledger like a cell."""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from auditor.attack import Trust
from auditor.checks import CheckReport, Symptom
from auditor.engine.ledger import CellMeta, CellRecord, Ledger, cell_key, record_of
from auditor.engine.outcome import Block
from auditor.engine.outcomes import Outcomes
from auditor.engine.pace import Pace
from auditor.engine.plan import CheckPlan
from auditor.engine.pool import OutOfTimeError, Stop
from auditor.engine.probe import EngineProbe, Fallen
from auditor.engine.reread import refuted, told
from auditor.engine.runner import ModelUnderAudit
from auditor.engine.verify import Verifier
from auditor.events import AttemptProgress, AttemptStarted, CheckDone, CheckStarted, Listener
from auditor.results import AttemptSummary, CheckResult, CheckStatus, Finding
from auditor.surrogate import Surrogate
from auditor.threat import Norm

_REPORT = TypeAdapter(CheckReport)
_FLAGS: tuple[Trust, ...] = ("cross-entropy", "gradient")


@dataclass(frozen=True)
class Theatre:
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
class CheckOutcome:
    """What came of one check."""

    result: CheckResult
    report: CheckReport | None = None
    findings: tuple[Finding, ...] = ()
    #: Of a check that was run; the file holds what it broke.
    record: CellRecord | None = None
    file: Path | None = None


@dataclass
class Battery:
    """Runs the checks of one model.

    Attributes:
        stop: why no further check, or step of its attacks, is to be begun; empty while it may be.
    """

    theatre: Theatre
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
        theatre = self.theatre
        self.fallen = self._fallen_to_attacks(outcomes, labels)
        self.pace = Pace.of(outcomes, theatre.model.victim.name)
        chain = cell_key(theatre.key_parts)
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
        theatre = self.theatre
        fallen = Fallen.nothing(len(theatre.block), theatre.block.x.device)
        name = theatre.model.victim.name
        for label in labels:
            outcome = outcomes.get(name, theatre.norm.name, theatre.epsilon, label)
            if outcome is not None:
                where = theatre.position.numpy()
                broken = torch.from_numpy(outcome.broken[where]).to(theatre.block.x.device)
                fallen.note(broken, torch.from_numpy(outcome.trust[where]).to(broken.device))
        return fallen

    def _one(self, plan: CheckPlan, key: str) -> CheckOutcome:
        """Run one check, or read it if it is finished, and take in what it saw."""
        if (record := self._kept(key)) is not None:
            return self._take_in(plan, record, self.ledger.cell_path(key))
        if reason := self.stop():
            return CheckOutcome(_result(plan, "skipped", reason, None))
        title = f"{self.theatre.model.victim.name} · check {plan.config.label}"
        self._announce(plan, title)
        try:
            record = self._run(plan, title)
        except KeyboardInterrupt:
            raise
        except OutOfTimeError as stopped:
            reason = f"{stopped} while it ran"
            self.listener(CheckDone(title, "skipped", reason, False, 0.0))
            return CheckOutcome(_result(plan, "skipped", reason, None))
        except BaseException as error:  # a check is a plugin, and may raise anything
            return self._crashed(plan, title, error)
        record = replace(record, meta=told(record.meta, self.ledger.set_aside.get(key, "")))
        self.ledger.write(key, record)
        self.ledger.log("check", check=title, key=key, seconds=record.meta.seconds)
        outcome = self._take_in(plan, record, self.ledger.cell_path(key))
        seen = outcome.result
        self.listener(CheckDone(title, seen.status, seen.sentence, seen.flagged, seen.seconds))
        return outcome

    def _kept(self, key: str) -> CellRecord | None:
        """The check's cell as an earlier session left it, if it did and its examples hold."""
        theatre = self.theatre
        record = self.ledger.read(key, theatre.position)
        if record is None:
            return None
        verifier = Verifier(theatre.model.victim, theatre.norm, theatre.epsilon)
        reason = refuted(record, theatre.block, verifier)
        if not reason and record.meta.check is None:
            reason = "it is no check's"
        if reason:
            self.ledger.reject(key, reason)
            return None
        return record

    def _announce(self, plan: CheckPlan, title: str) -> None:
        """Say what the check takes at most, before it begins."""
        model, images = self.theatre.model, len(self.theatre.block)
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

    def _run(self, plan: CheckPlan, title: str) -> CellRecord:
        theatre = self.theatre
        model = theatre.model
        passes, begin = model.victim.passes, time.perf_counter()
        probe = EngineProbe(
            label=plan.config.label,
            block=theatre.block,
            model=model,
            norm=theatre.norm,
            epsilon=theatre.epsilon,
            others=theatre.others,
            stand_in=theatre.stand_in,
            seed=self.seed,
            batch_size=self.batch_size,
            standing=self.fallen.copy(),
            known=tuple(self._symptoms),
            stop=self.stop,
            begins=partial(self._begins, title, begin),
            progress=lambda finished, broken: self.listener(AttemptProgress(finished, broken)),
        )
        for part in (model.victim, model.surrogate.model):
            part.begin(f"{self.seed} check {plan.config.label}")
        forwards, backwards = passes.forwards, passes.backwards
        report = plan.check.run(probe)
        report = _checked(report)
        meta = CellMeta(
            seconds=time.perf_counter() - begin,
            forwards=passes.forwards - forwards,
            backwards=passes.backwards - backwards,
            surrogate="",
            objective="",
            note="",
            rejected=probe.rejected,
            check={
                "report": _REPORT.dump_python(report, mode="json"),
                "attempts": [asdict(attempt) for attempt in probe.attempts],
            },
        )
        record = record_of(probe.outcome, theatre.position, meta)
        for flag in _FLAGS:
            record.columns[f"fallen to {flag}"] = probe.standing.by[flag].cpu()
        return record

    def _take_in(self, plan: CheckPlan, record: CellRecord, file: Path) -> CheckOutcome:
        """What a check broke and saw, now or in an earlier session."""
        assert record.meta.check is not None
        report = _REPORT.validate_python(record.meta.check["report"])
        device = self.theatre.block.x.device
        self.fallen.by["nothing"] |= record.columns["broken"].to(device)
        for flag in _FLAGS:
            self.fallen.by[flag] |= record.columns[f"fallen to {flag}"].to(device)
        self._symptoms.extend(report.symptoms)
        status: CheckStatus = "done" if report.applies else "not applicable"
        findings = tuple(
            _finding(self.theatre.model.victim.name, plan, report, symptom)
            for symptom in report.symptoms
        )
        note = record.meta.note
        sentence = f"{report.sentence} ({note[0].upper()}{note[1:]}.)" if note else report.sentence
        result = _result(plan, status, sentence, record.meta, flagged=bool(findings))
        return CheckOutcome(result, report, findings, record, file)

    def _crashed(self, plan: CheckPlan, title: str, error: BaseException) -> CheckOutcome:
        """A check that crashes is a finding, never a silent pass."""
        why = f"{type(error).__name__}: {error}"
        self.ledger.log("check failed", check=title, reason=why)
        self.listener(CheckDone(title, "error", why, True, 0.0))
        name = self.theatre.model.victim.name
        finding = Finding(
            code="check-failed",
            title=f"The check {plan.config.label} crashed",
            severity="medium",
            confidence="high",
            summary=f"It could not be finished, so it says nothing about {name}: {why}",
            evidence=(why,),
            remedy="if the model is at fault, mend it; else report it to the author of the check",
            fingerprint=_fingerprint(name, plan, "crashed"),
        )
        return CheckOutcome(
            _result(plan, "error", f"It crashed: {why}", None, flagged=True), findings=(finding,)
        )


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
    attempts = meta.check["attempts"] if meta and meta.check else ()
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
        attempts=tuple(AttemptSummary(**attempt) for attempt in attempts),
    )


def _finding(model: str, plan: CheckPlan, report: CheckReport, symptom: Symptom) -> Finding:
    where = (f"where: {symptom.culprit}",) if symptom.culprit else ()
    return Finding(
        code=plan.config.label,
        title=symptom.title,
        severity="high" if symptom.strong else "medium",
        confidence="high" if symptom.strong else "medium",
        summary=report.sentence,
        evidence=(*symptom.evidence, *where),
        remedy=symptom.remedy,
        references=(plan.spec.reference,) if plan.spec.reference else (),
        fingerprint=_fingerprint(model, plan, symptom.title),
    )


def _fingerprint(model: str, plan: CheckPlan, what: str) -> str:
    text = "\0".join([model, plan.config.label, what])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
