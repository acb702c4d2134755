"""From the ledger's cells to the result that is written as audit.json."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.attacking.stages import joined
from auditor.audit.locations import Sources, place_of
from auditor.audit.summaries import agreement, curve, loss_summaries, stage_summaries
from auditor.cells.audited import Audited
from auditor.cells.cell import WITHOUT_GRADIENT, ModelUnderAudit
from auditor.cells.columns import AttackOutcome
from auditor.cells.gallery import gallery
from auditor.cells.plan import AttackPlan
from auditor.cells.tuning import describe_device
from auditor.config import AuditConfig, DataConfig, ThreatConfig, config_hash
from auditor.errors import ExitStatus
from auditor.gates import judged
from auditor.masking.challenge import shortage
from auditor.masking.check_runner import CRASHED
from auditor.masking.evidence import masking
from auditor.maths.norms import NORMS, summary_of
from auditor.protocols.attack import wishes_of
from auditor.registry import Registry, auditor_version
from auditor.results import (
    SCHEMA,
    AttackResult,
    AttackStatus,
    AuditResult,
    DataRecord,
    Finding,
    Level,
    ModelResult,
    Provenance,
    SelftestRecord,
    ThreatResult,
)
from auditor.subject.population import by_class, counted
from auditor.subject.samples import Samples

_VERSIONS = ("numpy", "scipy", "torchvision", "safetensors", "pyarrow", "pydantic", "pluggy")

#: More that have no result for one reason are counted; the report's tables have their names.
_NAMED = 5


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its cells."""

    command: str
    device: torch.device
    threads: int
    batch_size: int
    started: float
    seconds: float
    #: The day, UTC, that gates are judged on.
    today: datetime.date
    selftest: SelftestRecord | None = None


def assemble(audited: Audited, facts: RunFacts) -> AuditResult:
    """The whole result, judged."""
    config = audited.config
    results = tuple(_model(audited, model) for model in audited.models.values())
    incomplete = audited.stops
    incomplete += list(_missing(results, audited.attacks, incomplete))
    unjudged = AuditResult(
        schema=SCHEMA,
        title=config.title,
        profile=_profile(config, audited.registry),
        status="incomplete" if incomplete else "complete",
        verdict="inconclusive",
        exit_status=int(ExitStatus.INCONCLUSIVE),
        reasons=(),
        not_tested=tuple(_not_tested(audited)),
        reviewers=tuple(config.report.reviewers),
        models=results,
        gates=(),
        provenance=_provenance(audited, facts),
        selftest=facts.selftest,
        incomplete=tuple(incomplete),
        language=config.report.language,
    )
    return judged(unjudged, config.gates, facts.today)


def _profile(config: AuditConfig, registry: Registry) -> str:
    """The profile with its version, or that the battery is the user's own."""
    if not any(attack.from_profile for attack in config.attacks):
        return "custom"
    name = f"{config.profile}/{registry.profiles[config.profile].version}"
    return f"{name}, extended" if config.extends else name


def _model(audited: Audited, model: ModelUnderAudit) -> ModelResult:
    victim, seen, samples = model.victim, model.preflight, audited.samples
    checks = audited.checks_of(model)
    threats = tuple(
        result for threat in audited.config.threats for result in _threats(audited, threat, model)
    )
    reports = [outcome.report for outcome in checks if outcome.report is not None]
    named = next(one for one in audited.config.models if one.name == victim.name)
    sources = Sources.of(audited.config, named)
    doubt = masking(audited, model)
    findings = _joined(
        seen.findings, [finding for outcome in checks for finding in outcome.findings]
    )
    return ModelResult(
        name=victim.name,
        fingerprint=victim.fingerprint,
        parameters=victim.parameters,
        outputs=victim.outputs,
        precision=victim.precisions,
        classes=seen.classes,
        clean=counted(samples, seen.correct),
        threats=threats,
        masking=replace(doubt, location=sources.locate(doubt.culprit)),
        checks=tuple(outcome.result for outcome in checks),
        measurements=tuple(found for report in reports for found in report.measurements),
        findings=sources.located(findings),
        gallery=gallery(audited, model),
        clean_classes=by_class(samples, seen.correct),
        location=sources.factory,
    )


def _joined(seen: Sequence[Finding], added: Sequence[Finding]) -> tuple[Finding, ...]:
    """What pre-flight saw, then what checks found. A fact that is there is not told again.

    What was found of it later is its evidence.
    """
    findings = list(seen)
    for one in added:
        known = [other.fingerprint for other in findings]
        if one.fingerprint not in known:
            findings.append(one)
            continue
        place = known.index(one.fingerprint)
        first = findings[place]
        findings[place] = replace(
            first,
            severity=max(first.severity, one.severity, key=get_args(Level).index),
            evidence=tuple(dict.fromkeys([*first.evidence, *one.evidence])),
            references=tuple(dict.fromkeys([*first.references, *one.references])),
        )
    return tuple(findings)


def _meaning(registry: Registry, threat: ThreatConfig) -> str:
    """What a plugin's norm measures, for the report, which knows the built-in ones."""
    norm = registry.norms[threat.norm]
    return "" if norm in NORMS else summary_of(norm)


def _threats(
    audited: Audited, threat: ThreatConfig, model: ModelUnderAudit
) -> Iterator[ThreatResult]:
    """One result per epsilon, smallest first: an image broken there is broken further out too.

    What the checks broke enters the worst case.
    """
    name, correct = model.victim.name, model.preflight.correct
    samples, outcomes = audited.samples, audited.outcomes
    broken, broken_8bit = np.zeros_like(correct), np.zeros_like(correct)
    for epsilon in threat.epsilons:
        rows = []
        for plan in audited.attacks:
            outcome = outcomes.get(name, threat.norm, epsilon.value, plan.config.label)
            rows.append(_attack(samples, plan, threat.norm, correct, outcome))
        for _, found in outcomes.under(name, threat.norm, epsilon.value):
            broken |= found.broken
            broken_8bit |= found.broken_8bit
        ran = any(row.status == "done" for row in rows)
        yield ThreatResult(
            norm=threat.norm,
            epsilon=epsilon.value,
            epsilon_text=epsilon.text,
            rationale=threat.rationale,
            attacks=tuple(rows),
            robust=counted(samples, correct & ~broken) if ran else None,
            robust_8bit=counted(samples, correct & ~broken_8bit) if ran else None,
            norm_meaning=_meaning(audited.registry, threat),
            classes=by_class(samples, correct & ~broken) if ran else (),
        )


def _attack(
    samples: Samples,
    plan: AttackPlan,
    norm: str,
    correct: NDArray[np.bool_],
    outcome: AttackOutcome | None,
) -> AttackResult:
    row = AttackResult(
        name=plan.config.use,
        label=plan.config.label,
        parameters=dict(plan.config.parameters),
        status="skipped",
        reason=f"this attack does not know the norm {norm}",
        robust=None,
        robust_8bit=None,
        broken=0,
        forwards=0,
        backwards=0,
        seconds=0.0,
        surrogate="",
        needs=plan.spec.needs,
    )
    if outcome is None:
        return row
    metas = outcome.metas
    row = replace(
        row,
        forwards=sum(meta.forwards for meta in metas),
        backwards=sum(meta.backwards for meta in metas),
        seconds=sum(meta.seconds for meta in metas),
    )
    if not outcome.done:
        status: AttackStatus = "error" if outcome.failure else "skipped"
        return replace(row, status=status, reason=outcome.failure or outcome.skipped)
    return replace(
        row,
        status="done",
        reason=joined(meta.note for meta in metas),
        robust=counted(samples, correct & ~outcome.broken),
        robust_8bit=counted(samples, correct & ~outcome.broken_8bit),
        broken=int(outcome.broken.sum()),
        surrogate=metas[0].surrogate,
        objective=metas[0].objective,
        rejected=outcome.rejected(),
        nonfinite_gradients=int(outcome.nonfinite.sum()),
        zero_gradients=int(outcome.zero.sum()),
        losses=loss_summaries(outcome.loss),
        stages=stage_summaries(metas),
        evidence=outcome.evidence,
        agreement=agreement(metas),
        curve=curve(correct, outcome.nearest) if wishes_of(plan.attack).minimises else (),
    )


def _missing(
    models: tuple[ModelResult, ...], attacks: tuple[AttackPlan, ...], known: Sequence[str]
) -> Iterator[str]:
    """What was to run and has no result, and why, beside what is `known`.

    A sentence for each model, kind and reason.
    """
    specs = {plan.config.label: plan.spec for plan in attacks}
    found: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for model in models:
        for threat in model.threats:
            for row in threat.attacks:
                expected = specs[row.label].knows(threat.norm)
                expected &= (row.status, row.reason) != ("skipped", WITHOUT_GRADIENT)
                if row.status != "done" and expected and row.reason not in known:
                    what = (model.name, "attack", row.status, row.reason)
                    found.setdefault(what, {})[row.label] = None
        for check in model.checks:
            stopped = f"{model.name}: {check.sentence}" in known
            if check.status in ("skipped", "error") and not stopped:
                what = (model.name, "check", check.status, check.sentence.removeprefix(CRASHED))
                found.setdefault(what, {})[check.label] = None
    for (name, kind, status, reason), labels in found.items():
        failed, why = status == "error", reason.removesuffix(".")
        say = _attacks_missing if kind == "attack" else _checks_missing
        yield say(name, list(labels), failed, why)


def _attacks_missing(model: str, labels: list[str], failed: bool, reason: str) -> str:
    names, count = ", ".join(labels), len(labels)
    what = "failed" if failed else "has no result" if count == 1 else "have no result"
    if count == 1:
        return f"{model}: attack {names} {what}: {reason}."
    if count <= _NAMED:
        return f"{model}: attacks {names} {what}: {reason}."
    return f"{model}: {count} attacks {what}: {reason}."


def _checks_missing(model: str, labels: list[str], failed: bool, reason: str) -> str:
    names, count = ", ".join(labels), len(labels)
    what = "crashed" if failed else "has no result" if count == 1 else "have no result"
    if count == 1:
        return f"{model}: check {names} {what}: {reason}."
    if count <= _NAMED:
        return f"{model}: checks {names} {what}: {reason}."
    return f"{model}: {count} checks {what}: {reason}."


def _not_tested(audited: Audited) -> Iterator[str]:
    config, registry, samples = audited.config, audited.registry, audited.samples
    missing = shortage(config, registry) if config.checks else None
    if missing:
        yield f"{missing.sentence} Left out: {', '.join(missing.left_out)}."
    norms = sorted(set(registry.norms) - {threat.norm for threat in config.threats})
    if norms:
        yield f"Perturbations measured in {', '.join(norms)}."
    first = config.threats[0].norm
    if config.checks and registry.norms[first] not in NORMS:
        yield f"Whether the masking checks, made for l1, l2 and linf, are strong under {first}."
    if not config.checks:
        yield "Whether the model hides its gradient: no masking checks ran."
    yield "Attacks adapted by hand to this model, and transfer from models outside this audit."
    yield "Patches, rotations and other changes of the scene, and natural corruptions."
    absent = ", ".join(_absent_attacks(config, registry))
    if absent:
        yield f"Attacks of the profile {config.profile} that were not to be run: {absent}."
    if config.left_out:
        yield f"Attacks of the profile that are disabled: {', '.join(config.left_out)}."
    rest = len(samples.images.x) - len(samples)
    if rest:
        yield f"{rest} of the {len(samples.images.x)} images of the data set."


def _absent_attacks(config: AuditConfig, registry: Registry) -> list[str]:
    """Labels of the profile's attacks that the configuration replaces by others."""
    if config.attacks_from_profile or config.profile not in registry.profiles:
        return []
    entries = registry.profiles[config.profile].attacks
    asked = {attack.use for attack in config.attacks}
    return [entry.get("label", entry["use"]) for entry in entries if entry["use"] not in asked]


def _provenance(audited: Audited, facts: RunFacts) -> Provenance:
    config, samples = audited.config, audited.samples
    metas = [
        meta for key, outcome in audited.outcomes.items() if key.kind == "attack"
        for meta in outcome.metas
    ]  # fmt: skip
    checks = (one for several in audited.checks.values() for one in several)
    metas += [one.record.meta for one in checks if one.record]
    hashes = {"configuration": config_hash(config), "data": samples.sha256}
    hashes |= {f"model:{name}": model.victim.fingerprint for name, model in audited.models.items()}
    started = datetime.datetime.fromtimestamp(facts.started, datetime.UTC)
    return Provenance(
        auditor=auditor_version(),
        python=platform.python_version(),
        torch=torch.__version__,
        platform=f"{sys.platform} {platform.machine()}",
        device=describe_device(facts.device),
        threads=facts.threads,
        batch_size=facts.batch_size,
        seed=config.run.seed,
        started=started.isoformat(timespec="seconds"),
        seconds=facts.seconds,
        command=facts.command,
        forwards=sum(meta.forwards for meta in metas),
        backwards=sum(meta.backwards for meta in metas),
        versions={name: metadata.version(name) for name in _VERSIONS},
        plugins=tuple(audited.registry.plugins),
        hashes=hashes,
        data=DataRecord(
            adapter=config.data.adapter,
            source=_source(config.data, samples.images.source),
            sha256=samples.sha256,
            available=len(samples.images.x),
            audited=len(samples),
            shape=samples.shape,
            class_names=samples.images.class_names,
            draw=samples.draw,
            notes=samples.notes,
        ),
        configuration=place_of(config),
        files=audited.files,
    )


def _source(data: DataConfig, text: str) -> str:
    """Where the images come from, with paths as they were written."""
    for key, written in data.written.items():
        resolved = data.parameters[key]
        if isinstance(resolved, str) and resolved != written:
            text = text.replace(resolved, written)
    return text or data.adapter
