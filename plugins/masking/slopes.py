"""The gradient against what the margin does nearby: finite differences, averages, lines."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    CheckReport,
    DirectionCurve,
    Measurement,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    param,
)

from .comparisons import mcnemar
from .measuring import (
    ball_around,
    direction,
    images,
    kind_of,
    look,
    margins,
    median,
    median_limit,
    no_gradient,
    precise,
    share,
    slope,
    some,
    some_survivors,
)
from .survivors import bounds, nothing_left

#: Less agreement than this, for certain, is no effect of curvature.
_AGREES = 0.5
#: How unlikely by chance it has to be that averaged gradients lead up more often.
_CHANCE = 1e-3


@dataclass(frozen=True)
class _Slopes:
    """Slopes that were measured against those that the gradient predicts."""

    #: One per image: -1 to 1.
    agreement: list[float]
    #: Of all images and random directions, how many had the other sign, and how many there were.
    other_sign: int
    pairs: int
    #: Images where a short step along the gradient did not raise the margin.
    not_raised: int


@check(
    name="finite-differences",
    reference="Spall 1992 (SPSA); Uesato et al. 2018, arXiv:1802.05666, section 4.3",
    measures=(
        "agreement with finite differences",
        "slopes of the other sign",
        "steps along the gradient that do not raise the margin",
    ),
)
@dataclass(frozen=True)
class FiniteDifferences:
    """Does the margin change along random lines as the gradient says?

    The agreement R of an image is the correlation, over `pairs` random directions v, of measured
    slopes with g . v: the cosine of g with its SPSA estimate, divided by that of an unbiased
    estimate of so few pairs. It is 1 for an exact gradient in any dimension, and 0 for one that
    says nothing. Measured over epsilon / 10; where that disagrees also over shorter and longer
    distances, of which the best counts.
    """

    images: PositiveInt = param(50, "survivors that are looked at")
    pairs: PositiveInt = param(6, "random directions per image, two evaluations each")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = 3 * min(self.images, images)
        return n * (3 + 2 * self.pairs), n

    def run(self, probe: Probe) -> CheckReport:
        """One distance, then perhaps others."""
        if nothing := no_gradient(probe) or nothing_left(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        judge, best, factor = precise(probe), None, 0.0
        for part in (1 / 10, 1 / 30, 1 / 3):
            found = self._measure(probe, judge, rows, part * probe.ball.epsilon)
            if best is None or _upper(found) > _upper(best):
                best, factor = found, part
            if _upper(best) >= _AGREES or not any(best.agreement):
                break
        assert best is not None
        total, length = len(rows), factor * probe.ball.epsilon
        measured = (
            median("agreement with finite differences", best.agreement,
                   f"median over images, {self.pairs} directions each", probe, length),
            share("slopes of the other sign", best.other_sign, best.pairs,
                  "random directions, measured against predicted", probe, length),
            share("steps along the gradient that do not raise the margin", best.not_raised, total,
                  "short steps", probe, length),
        )  # fmt: skip
        sentence = (
            f"Along random lines the margin of {images(total)} that "
            f"withstood changes as the gradient says with an agreement of {measured[0].value:.2f} "
            f"(1 is exact, 0 chance), and {best.not_raised} short steps along it did not raise it"
        )  # fmt: skip
        stuck = bounds(best.not_raised, total)[0] > _AGREES
        if _upper(best) >= _AGREES and not stuck:
            return CheckReport(f"{sentence}.", measurements=measured)
        wrong = median_limit(best.agreement, 0.99) < -_AGREES
        symptom = Symptom(
            family="gradient",
            title="The gradient has the wrong sign"
            if wrong
            else "The gradient is not that of the scores",
            remedy="look for operations with a backward pass of their own; attack with the "
            "gradient repaired (BPDA) or estimated (SPSA)",
            evidence=(sentence,),
            kind=kind_of(probe, "shattered"),
        )
        return CheckReport(f"{sentence}.", (symptom,), measured)

    def _measure(
        self, probe: Probe, judge: Surrogate, rows: torch.Tensor, length: float
    ) -> _Slopes:
        x, y = probe.x[rows], probe.y[rows]
        # The change of each pixel for which a change of all has that length.
        one = torch.ones_like(x[:1])
        size = length / probe.ball.norm.distance(one, 0 * one).item()
        size = min(size, 0.25)
        centre = x.clamp(size, 1 - size)
        gradient = slope(probe, probe.surrogate, centre, y)
        measured, predicted = [], []
        for k in range(self.pairs):
            v = probe.noise(f"line {k}", rows).signs(*x.shape[1:])
            up = margins(probe, judge, centre + size * v, y)
            down = margins(probe, judge, centre - size * v, y)
            measured.append((up.double() - down.double()).nan_to_num(0) / (2 * size))
            predicted.append((gradient.double() * v.double()).flatten(1).sum(1))
        seen, told = torch.stack(measured, 1), torch.stack(predicted, 1)
        ahead = ball_around(probe, centre).steepest(centre, gradient, length)
        raised = margins(probe, judge, ahead, y) > margins(probe, judge, centre, y)
        return _Slopes(
            agreement=torch.cosine_similarity(seen, told, eps=1e-300).nan_to_num(0).tolist(),
            other_sign=int((seen.sign() != told.sign()).sum()),
            pairs=seen.numel(),
            not_raised=int((~raised).sum()),
        )


def _upper(slopes: _Slopes) -> float:
    return median_limit(slopes.agreement, 0.99)


@check(
    name="noise-gradient",
    reference="Andriushchenko & Flammarion 2020, arXiv:2007.02617, eq. 4 (gradient alignment); "
    "Tramèr et al. 2020, arXiv:2002.08347, section 5; McNemar 1947 (exact)",
    measures=(
        "coherence of gradients",
        "steps along the gradient that raise the margin",
        "steps along the averaged gradient that raise the margin",
    ),
)
@dataclass(frozen=True)
class NoiseGradient:
    """Is the gradient, averaged over points nearby, a better guide than the gradient here?

    Coherence, the cosine of the gradients here and there, is low on many honest models too; a
    symptom is only that steps along the average raise the margin more often, image by image.
    """

    images: PositiveInt = param(50, "survivors that are looked at")
    points: PositiveInt = param(8, "random points within epsilon / 2 that are averaged over")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = min(self.images, images)
        return n * (4 + self.points), n * (1 + self.points)

    def run(self, probe: Probe) -> CheckReport:
        """Gradients nearby, and one step of epsilon / 4 along each."""
        if nothing := no_gradient(probe) or nothing_left(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        x, y, total, epsilon = probe.x[rows], probe.y[rows], len(rows), probe.ball.epsilon
        here, near = slope(probe, probe.surrogate, x, y), ball_around(probe, x, epsilon / 2)
        mean, coherence = torch.zeros_like(here), torch.zeros(total, device=x.device)
        for k in range(self.points):
            there = slope(probe, probe.surrogate, near.sample(probe.noise(f"point {k}", rows)), y)
            mean += there / self.points
            cosine = torch.cosine_similarity(here.flatten(1), there.flatten(1), eps=1e-30)
            coherence += cosine / self.points
        judge = precise(probe)
        before = margins(probe, judge, x, y)
        plain, averaged = (
            margins(probe, judge, near.steepest(x, way, epsilon / 4), y) > before
            for way in (here, mean)
        )
        gained, missed = int((averaged & ~plain).sum()), int((plain & ~averaged).sum())
        measured = (
            median("coherence of gradients", coherence.tolist(),
                   f"mean cosine with {self.points} gradients within epsilon / 2", probe,
                   epsilon / 2),
            share("steps along the gradient that raise the margin", int(plain.sum()), total,
                  "steps of epsilon / 4", probe, epsilon / 4),
            share("steps along the averaged gradient that raise the margin", int(averaged.sum()),
                  total, "steps of epsilon / 4", probe, epsilon / 4),
        )  # fmt: skip
        sentence = (
            f"A step raised the margin on {int(plain.sum())} of {total} survivors along the "
            f"gradient and on {int(averaged.sum())} along its average over {self.points} points "
            f"nearby, whose cosine with it is {measured[0].value:.2f}"
        )
        chance = mcnemar(gained, missed)
        if chance >= _CHANCE:
            return CheckReport(f"{sentence}.", measurements=measured)
        symptom = Symptom(
            family="gradient",
            title="The gradient is too rugged to be followed",
            remedy="average gradients over noise, or attack with larger steps and without "
            "gradients",
            evidence=(sentence, f"by chance with a probability of {chance:.1g}"),
            kind=kind_of(probe, "shattered"),
        )
        return CheckReport(f"{sentence}.", (symptom,), measured)


@check(
    name="loss-directions",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 4.2; Li et al. 2018, "
    "arXiv:1712.09913 (loss along random directions)",
    doubts="no model",
    measures=(
        "images wrong within 2 epsilon along the gradient",
        "images wrong within 2 epsilon along the random",
    ),
)
@dataclass(frozen=True)
class LossDirections:
    """The margin along the gradient and along one random direction, for the report's figure."""

    images: PositiveInt = param(3, "images that are drawn: survivors where there are any")
    points: PositiveInt = param(20, "points on each line, up to 2 epsilon")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = min(self.images, images)
        return n * (3 + 2 * self.points), n

    def run(self, probe: Probe) -> CheckReport:
        """Two lines per image."""
        if nothing := no_gradient(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        left = len(rows) > 0
        rows = rows if left else some(probe, self.images)
        x, y = probe.x[rows], probe.y[rows]
        ball, judge = ball_around(probe, x), precise(probe)
        noise = probe.noise("random direction", rows)
        ways = {"gradient": slope(probe, probe.surrogate, x, y), "random": direction(probe, noise)}
        lengths = [2 * ball.epsilon * k / self.points for k in range(self.points + 1)]
        curves, ends = [], {}
        for name, way in ways.items():
            seen = [look(probe, judge, ball.steepest(x, way, length), y, gradient=False).loss
                    for length in lengths]  # fmt: skip
            values = torch.stack(seen, 1).nan_to_num(0)
            ends[name] = int((values > 0).any(1).sum())
            curves += [
                DirectionCurve(int(noise.image[k]), name, tuple(lengths), tuple(values[k].tolist()))  # type: ignore[arg-type]
                for k in range(len(rows))
            ]
        measured = tuple(
            Measurement(f"images wrong within 2 epsilon along the {name}", float(count), None,
                        len(rows), f"{self.points} points on a line", ball.norm.name,
                        2 * ball.epsilon)
            for name, count in ends.items()
        )  # fmt: skip
        sentence = (
            f"Within 2 epsilon, {ends['gradient']} of {len(rows)} "
            f"{'survivors' if left else 'images'} turn wrong along the gradient and "
            f"{ends['random']} along a random direction."
        )
        return CheckReport(sentence, measurements=measured, directions=tuple(curves))
