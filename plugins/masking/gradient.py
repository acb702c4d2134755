"""Is there a gradient, and does it tell the way?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    CheckReport,
    MaskingKind,
    Measurement,
    ObjectiveName,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    param,
)

from .measuring import (
    ball_around,
    direction,
    images,
    kind_of,
    look,
    margins,
    no_gradient,
    precise,
    share,
    slope,
    some_survivors,
)
from .survivors import bounds, nothing_left, of

#: A larger share of survivors without a gradient, for certain, is no accident; above the second
#: number it needs no other sign beside it.
_RARE, _MOST = 0.05, 0.5
#: A gradient that certainly wins less often tells little; below the second number, next to nothing.
_WINS, _HARDLY_WINS = 0.7, 0.3
_LOSSES: tuple[ObjectiveName, ...] = ("cross-entropy", "margin", "dlr")


@check(
    name="zero-gradients",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 2; Pintor et al. 2022, "
    "arXiv:2106.09947 (indicator 1)",
    measures=[
        f"no gradient of {loss} at the {where} point"
        for loss in _LOSSES
        for where in ("clean", "random")
    ],
)
@dataclass(frozen=True)
class ZeroGradients:
    """The share of survivors whose gradient is zero, not finite, or lost to underflow.

    At the clean image and at a random point of the ball, for three objectives; lost where it is so
    at both. Suspicious gradients are computed once more in float64.
    """

    images: PositiveInt = param(64, "survivors that are looked at")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        each = 4 * len(_LOSSES) * min(self.images, images)
        return each, each

    def run(self, probe: Probe) -> CheckReport:
        """Three objectives at two points."""
        if nothing := no_gradient(probe) or nothing_left(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        x, y, total = probe.x[rows], probe.y[rows], len(rows)
        inside = ball_around(probe, x).sample(probe.noise("point", rows))
        double = _in_double(probe)
        lost: dict[str, int] = {}
        recovered: dict[str, int] = {}
        measured: list[Measurement] = []
        for loss in _LOSSES:
            clean, in_double = _lost(probe, double, x, y, loss)
            moved, moved_in_double = _lost(probe, double, inside, y, loss)
            lost[loss] = int((clean & moved).sum())
            recovered[loss] = int((clean & moved & in_double & moved_in_double).sum())
            for where, which in (("clean", clean), ("random", moved)):
                measured.append(
                    share(f"no gradient of {loss} at the {where} point", int(which.sum()), total,
                          "zero, not finite or lost to underflow", probe, probe.ball.epsilon)
                )  # fmt: skip
        sentence = (
            f"Of {images(total)} that withstood, the gradient of the "
            f"cross-entropy is lost on {lost['cross-entropy']}, of the margin on "
            f"{lost['margin']}, of DLR on {lost['dlr']}"
        )  # fmt: skip
        symptoms = _of_lost(probe, lost, recovered, total, sentence)
        return CheckReport(f"{sentence}.", symptoms, tuple(measured))


def _of_lost(
    probe: Probe, lost: dict[str, int], recovered: dict[str, int], total: int, sentence: str
) -> tuple[Symptom, ...]:
    """The symptom of lost gradients, if so many are no accident."""

    def often(loss: str) -> bool:
        return bounds(lost[loss], total)[0] > _RARE

    kind: MaskingKind
    if often("margin"):
        if 2 * recovered["margin"] > lost["margin"]:
            kind, title = "vanishing", "The gradient underflows to zero"
            remedy = "compute gradients in float64, or multiply the scores by a constant"
            sentence += f"; in float64 it is there on {recovered['margin']}"
        else:
            kind, title = kind_of(probe, "shattered"), "The gradient is zero or not finite"
            remedy = "find the operation that stops it and pass the gradient straight through it"
        strong = bounds(lost["margin"], total)[0] > _MOST
    elif often("cross-entropy") or often("dlr"):
        kind, strong = "loss-level", False
        title = "The gradient of the loss is zero where that of the logits is not"
        remedy = "attack the margin, or divide the logits by a constant before the cross-entropy"
    else:
        return ()
    return (Symptom("gradient", title, remedy, (sentence,), strong, kind),)


def _in_double(probe: Probe) -> Surrogate | None:
    """The surrogate in float64; None where that is its own type or the device has none."""
    if probe.surrogate.model.precision == torch.float64:
        return None
    try:
        return probe.surrogate.in_precision(torch.float64)
    except Exception:  # not every device, nor the user's code, knows float64
        return None


def _lost(
    probe: Probe, double: Surrogate | None, x: torch.Tensor, y: torch.Tensor, loss: ObjectiveName
) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) bool each: the gradient is lost, and it is there in float64."""
    seen = look(probe, probe.surrogate, x, y, loss=loss)
    assert seen.gradient is not None
    flat = seen.gradient.flatten(1)
    none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    # Where the answer is wrong already, some objectives have nothing left to climb.
    right = seen.logits.argmax(1) == y
    empty = (flat.abs().amax(1) == 0) & right
    there = none.clone()
    # Entries smaller than the type's smallest number over its precision begin to be lost.
    limits = torch.finfo(probe.surrogate.model.precision)
    small = flat.abs().amax(1) < limits.tiny / limits.eps
    odd = right & (small | ((flat == 0).double().mean(1) > 0.5))
    if double is None or not odd.any():
        return empty, there
    try:
        exact = slope(probe, double, x[odd], y[odd], loss=loss).flatten(1)
    except Exception:  # the user's code may insist on its type
        return empty, there
    moved = exact != 0
    agree = ((exact.sign() == flat[odd].sign()) & moved).sum(1)
    empty[odd] |= 2 * agree < moved.sum(1)
    there[odd] = moved.any(1)
    return empty, there


@check(
    name="rank-test",
    reference="a rank test of one gradient step among random ones (Fisher 1935); Carlini et al. "
    "2019, arXiv:1902.06705, section 3 (random directions as the baseline)",
    measures=(
        "gradient steps that win",
        "steps against the gradient that win",
    ),
)
@dataclass(frozen=True)
class RankTest:
    """Does a step along the gradient raise the margin more than every random step of its length?

    On a model whose gradient tells nothing it wins by chance alone, one time in `directions` + 1.
    Steps of epsilon / 4, and of epsilon / 10 where those win rarely; the better counts. The step
    against the gradient is tried too: if that wins, the gradient is inverted.
    """

    images: PositiveInt = param(50, "survivors on which steps are tried")
    directions: PositiveInt = param(19, "random steps that each gradient step competes with")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = 2 * min(self.images, images)
        return n * (3 + self.directions), n

    def run(self, probe: Probe) -> CheckReport:
        """One step length, then perhaps a shorter one."""
        if nothing := no_gradient(probe) or nothing_left(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        total, judge = len(rows), precise(probe)
        best: tuple[int, int, float] | None = None
        measured: list[Measurement] = []
        for divisor in (4, 10):
            length = probe.ball.epsilon / divisor
            won, inverted = self._wins(probe, judge, rows, length)
            method = f"against {self.directions} random steps of epsilon / {divisor}"
            measured += [
                share("gradient steps that win", won, total, method, probe, length),
                share("steps against the gradient that win", inverted, total, method, probe,
                      length),
            ]  # fmt: skip
            if best is None or won > best[0]:
                best = won, inverted, length
            if bounds(best[0], total)[1] >= _WINS:
                break
        assert best is not None
        won, inverted, length = best
        sentence = (
            f"A step along the gradient raised the margin more than each of {self.directions} "
            f"random steps on {of(won, total)} that withstood, where chance is "
            f"{1 / (self.directions + 1):.0%}"
        )
        upper = bounds(won, total)[1]
        if upper >= _WINS:
            return CheckReport(f"{sentence}.", measurements=tuple(measured))
        title = "Following the gradient works hardly better than a random step"
        if bounds(inverted, total)[0] > _WINS:
            title = "The gradient points the wrong way"
            sentence += f"; the step against it did on {inverted}"
        symptom = Symptom(
            family="gradient",
            title=title,
            remedy="attack without this gradient: repair it (BPDA), average it over noise, or use "
            "Square or SPSA",
            evidence=(sentence,),
            strong=upper < _HARDLY_WINS,
            kind=kind_of(probe, "shattered"),
        )
        return CheckReport(f"{sentence}.", (symptom,), tuple(measured))

    def _wins(
        self, probe: Probe, judge: Surrogate, rows: torch.Tensor, length: float
    ) -> tuple[int, int]:
        """How often the step along the gradient, and the one against it, is the best of all."""
        x, y = probe.x[rows], probe.y[rows]
        ball, gradient = ball_around(probe, x), slope(probe, probe.surrogate, x, y)
        along, against = (
            margins(probe, judge, ball.steepest(x, way, length), y) for way in (gradient, -gradient)
        )
        rivals = torch.stack(
            [
                margins(
                    probe,
                    judge,
                    ball.steepest(x, direction(probe, probe.noise(f"way {k}", rows)), length),
                    y,
                )
                for k in range(self.directions)
            ]
        ).amax(0)
        return int((along > rivals).sum()), int((against > rivals).sum())
