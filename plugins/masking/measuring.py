"""What checks that measure a model have in common: shares, medians, slopes at a fixed draw."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import torch

from auditor.api import (
    Ball,
    CheckReport,
    Evaluation,
    MaskingKind,
    Measurement,
    Noise,
    ObjectiveName,
    Probe,
    Surrogate,
    Victim,
    choose_objective,
    clopper_pearson,
    not_applicable,
)

from .survivors import split

#: The random numbers that every look at a random model sees.
_ONE_DRAW = "one draw"


def no_gradient(probe: Probe) -> CheckReport | None:
    """The report where there is no gradient to look at; else None."""
    if probe.has_gradient:
        return None
    return not_applicable("No gradient reaches the pixels, so there is none to look at.")


def some(probe: Probe, count: int) -> torch.Tensor:
    """At most `count` rows, spread evenly over all images."""
    return split(torch.arange(len(probe.y), device=probe.y.device), count)[0]


def some_survivors(probe: Probe, count: int) -> torch.Tensor:
    """At most `count` rows, spread evenly over the survivors."""
    return split(probe.survivors(), count)[0]


# Numbers --------------------------------------------------------------------------------------


def share(
    name: str, count: int, total: int, method: str, probe: Probe, epsilon: float | None = None
) -> Measurement:
    """A share of images with its exact 95 % interval; of the probe's norm if `epsilon` is given."""
    norm = None if epsilon is None else probe.ball.norm.name
    value = count / total if total else 0.0
    return Measurement(name, value, clopper_pearson(count, total), total, method, norm, epsilon)


def median(
    name: str, values: Sequence[float], method: str, probe: Probe, epsilon: float | None = None
) -> Measurement:
    """A median over images, with the exact 95 % interval that the order of the values gives."""
    low, high = -median_limit([-value for value in values], 0.975), median_limit(values, 0.975)
    norm = None if epsilon is None else probe.ball.norm.name
    ci95 = (low, high) if math.isfinite(low) and math.isfinite(high) else None
    return Measurement(name, statistics.median(values), ci95, len(values), method, norm, epsilon)


def median_limit(values: Sequence[float], level: float) -> float:
    """The exact one-sided upper limit of the median; infinite where the values are too few.

    Source: order statistics and the binomial distribution (David & Nagaraja 2003, section 7.1).
    """
    below = 0.0
    for k, value in enumerate(sorted(values)):
        below += math.comb(len(values), k) / 2 ** len(values)
        if below >= level:
            return value
    return math.inf


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference of logits (B, K), relative to the range of `a`."""
    spread = (a.amax() - a.amin()).clamp(min=torch.finfo(a.dtype).tiny)
    return float(((a - b).abs() / spread).nan_to_num(0).amax())


def images(count: int) -> str:
    """Such as "17 images"."""
    return "1 image" if count == 1 else f"{count} images"


# Looks at a model -----------------------------------------------------------------------------


def logits_of(victim: Victim, x: torch.Tensor) -> torch.Tensor:
    """(B, K) logits of images `x`, of a new draw if the model is random."""
    with torch.no_grad():
        return torch.cat(victim.pieces.run(lambda part: victim.logits(x[part]), len(x)))


def look(
    probe: Probe,
    surrogate: Surrogate,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    loss: ObjectiveName = "margin",
    gradient: bool = True,
    draw: str = _ONE_DRAW,
) -> Evaluation:
    """What the surrogate says at `x`, with the same random numbers at every look.

    So differences between two looks come from the images, not from the model's randomness
    (Carlini et al. 2019, arXiv:1902.06705, section 4.3: fix the randomness as a test).
    """
    surrogate.model.begin(draw)
    return surrogate.evaluate(x, y, choose_objective(loss, probe.classes), gradient=gradient)


def margins(probe: Probe, surrogate: Surrogate, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B,) margins, with the same random numbers at every look; NaN is the lowest."""
    seen = look(probe, surrogate, x, y, gradient=False)
    return seen.loss.nan_to_num(-math.inf, math.inf, -math.inf)


def slope(
    probe: Probe,
    surrogate: Surrogate,
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    loss: ObjectiveName = "margin",
    draw: str = _ONE_DRAW,
) -> torch.Tensor:
    """Like `x`, the gradient of the objective; zero where it was not finite."""
    gradient = look(probe, surrogate, x, y, loss=loss, draw=draw).gradient
    assert gradient is not None
    return gradient


def precise(probe: Probe) -> Surrogate:
    """What margins are compared on: a copy in float32 of a model in half precision.

    There rounding would hide small differences. Where such a copy fails, the model itself.
    """
    surrogate = probe.surrogate
    if surrogate.model.precision.itemsize >= 4:
        return surrogate
    try:
        copy = surrogate.in_precision(torch.float32)
        margins(probe, copy, probe.x[:1], probe.y[:1])
    except Exception:  # the user's code may insist on its type
        return surrogate
    return copy


def direction(probe: Probe, noise: Noise) -> torch.Tensor:
    """(B, C, H, W) random numbers to step along: signs in l-infinity, else normal."""
    shape = probe.x.shape[1:]
    return noise.signs(*shape) if probe.ball.norm.name == "linf" else noise.normal(*shape)


def ball_around(probe: Probe, x: torch.Tensor, epsilon: float | None = None) -> Ball:
    """The probe's ball around images `x`, perhaps of another radius."""
    return Ball(probe.ball.norm, probe.ball.epsilon if epsilon is None else epsilon, x)


def kind_of(probe: Probe, otherwise: MaskingKind) -> MaskingKind:
    """Output-level where an earlier check saw that the scores are none; then that explains all."""
    known = {symptom.kind for symptom in probe.symptoms}
    return "output-level" if "output-level" in known else otherwise
