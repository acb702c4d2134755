"""What an audit.toml names: data that load, models that pass pre-flight, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import torch

from auditor.cells.inputs import load_samples, load_stand_in_of, load_victim
from auditor.cells.plan import build_attacks, cells, cut, prices
from auditor.cells.tuning import choose_device, make_repeatable
from auditor.config import AuditConfig, ModelConfig
from auditor.doctor.proof import Proof, guarded
from auditor.masking.forecast import foretell
from auditor.maths.objectives import choose_objective
from auditor.preflight import Preflight, count_classes, read_batch
from auditor.registry import Registry
from auditor.results import Finding
from auditor.subject.samples import Samples
from auditor.subject.victim import Victim
from auditor.surrogate import naive

DATA = "Data"
#: Images at a time: enough to keep a device busy, few enough for any memory.
_BATCH = 64
_LOOK_AT_IT = "mend what it reports; `auditor run` would end here with status 4"


def subject(config: AuditConfig, registry: Registry) -> Iterator[Proof]:
    """Data, then every model on its own, as an audit loads them."""
    held: list[Samples] = []
    yield from guarded(DATA, lambda: _data(config, registry, held), _LOOK_AT_IT)
    for model in config.models:
        area = f"Model {model.name}"
        if held:
            test = partial(_model, area, config, registry, model, held[0])
            yield from guarded(area, test, _LOOK_AT_IT)
        else:
            yield Proof(area, "not tried", "The data have to load first.")


def _data(config: AuditConfig, registry: Registry, held: list[Samples]) -> Iterator[Proof]:
    """Load the images that are audited, and put them into `held`."""
    samples = load_samples(config, registry)
    pixels = samples.read(slice(0, _BATCH))
    held.append(samples)
    channels, height, width = samples.shape
    labels = samples.labels
    drawn = f"{len(samples)} of {len(samples.images.x)} images"
    drawn += ", class-balanced" if samples.draw == "balanced" else ""
    yield Proof(
        DATA,
        "ok",
        f"{drawn}, {channels} × {height} × {width} (channels, height, width), "
        f"{samples.images.x.dtype}; labels {labels.min()} to {labels.max()}; the first "
        f"{len(pixels)} read, pixels from {pixels.min():.3g} to {pixels.max():.3g}",
    )
    for note in samples.notes:
        yield Proof(DATA, "note", note)


def _model(
    area: str, config: AuditConfig, registry: Registry, model: ModelConfig, samples: Samples
) -> Iterator[Proof]:
    """Load a model, ask it, and say what pre-flight says of it."""
    device = choose_device(config.run.device)
    make_repeatable(device)
    loaded = load_victim(model, device, registry, config.run.batch_size)
    victim = loaded.victim
    classes = count_classes(victim, samples)
    yield Proof(
        area, "ok", f"loads on {device}: {victim.parameters:,} parameters, {classes} classes"
    )
    seen = loaded.look(samples, _BATCH, config.data.expected_accuracy)
    right, total = int(seen.correct.sum()), len(samples)
    yield Proof(
        area,
        "ok",
        f"returns {victim.outputs}; clean accuracy {right / total:.1%} ({right} of {total} images)",
    )
    for finding in seen.findings:
        yield _finding(area, finding)
    if seen.stop:
        yield Proof(
            area,
            "failed",
            f"The audit of this model would not be carried out: {seen.stop}",
            remedy="see the findings above",
        )
        return
    forecast = foretell(right, total, seen.classes, len(samples.images.x))
    if forecast is not None:
        yield Proof(area, "warning", forecast.what, remedy=forecast.remedy)
    if load_stand_in_of(model, victim) is not None:
        yield Proof(area, "ok", f"the stand-in {model.bpda} loads")
    yield _cost(area, config, registry, model, victim, samples, seen)


def _finding(area: str, finding: Finding) -> Proof:
    return Proof(
        area,
        "note" if finding.severity == "info" else "warning",
        f"{finding.title} ({finding.code}). {finding.summary}",
        where="; ".join(finding.evidence),
        remedy=finding.remedy,
    )


def _cost(
    area: str,
    config: AuditConfig,
    registry: Registry,
    model: ModelConfig,
    victim: Victim,
    samples: Samples,
    seen: Preflight,
) -> Proof:
    """Seconds of a pass, and of the attacks if no image ever falls."""
    alone = config.model_copy(update={"models": (model,)})
    attacks = build_attacks(alone, registry, samples)
    costs = prices(cells(alone, attacks, cut(len(samples), samples.shape)), len(samples))
    x = read_batch(victim, samples, slice(0, _BATCH))
    forward, both = (_seconds(victim, x, seen, gradient=gradient) for gradient in (False, True))
    total = sum(one.forwards * forward + one.backwards * (both - forward) for one in costs)
    return Proof(
        area,
        "ok",
        f"{1 / forward:,.0f} images a second forwards, {1 / both:,.0f} with gradient (batch "
        f"{len(x)}, {_threads(victim)}); the attacks would take about {_duration(total)} if no "
        "image fell, and the checks come on top",
    )


def _seconds(victim: Victim, x: torch.Tensor, seen: Preflight, *, gradient: bool) -> float:
    """Seconds per image of a pass on `x`, the second of two."""
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    objective = choose_objective("margin", seen.classes)
    surrogate = naive(victim)
    begin = time.perf_counter()
    for _ in range(2):
        begin = time.perf_counter()
        surrogate.evaluate(x, y, objective, gradient=gradient and seen.has_gradient)
        if victim.device.type == "cuda":
            torch.cuda.synchronize(victim.device)
    return (time.perf_counter() - begin) / len(x)


def _threads(victim: Victim) -> str:
    if victim.device.type != "cpu":
        return str(victim.device)
    count = torch.get_num_threads()
    return "1 thread" if count == 1 else f"{count} threads"


def _duration(seconds: float) -> str:
    """A length of time, as roughly as it is known."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(1, seconds):.0f} s"
