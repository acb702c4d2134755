"""Second order: where the gradient is next to nothing, its change may show the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    GRADIENT,
    CheckReport,
    ObjectiveName,
    Observation,
    PositiveInt,
    Probe,
    State,
    Symptom,
    Task,
    attack,
    check,
    not_applicable,
    param,
)

from .costs import spent, summed
from .measuring import (
    ball_around,
    look,
    no_gradient,
    share,
    some_survivors,
)
from .survivors import bounds, nothing_left, of

#: A gradient is next to nothing where, followed through the whole ball, it promises to close less
#: than this part of the margin.
_LITTLE = 1e-3
#: A share of the images that is certainly larger than this is no accident.
_ACCIDENT = 0.005


@attack(
    name="curvature-step",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Miyato et al. 2018, arXiv:1704.03976, section 3.3 (power iteration on the Hessian)",
)
@dataclass(frozen=True)
class CurvatureStep:
    """One step of length epsilon to both sides along the direction of the largest curvature.

    Power iteration v <- H v, with H v from the gradients at x + h v and x - h v.
    """

    steps: PositiveInt = param(2, "power iterations, the last of which ends in the step")
    loss: ObjectiveName = param("margin", "objective whose curvature is followed")

    @property
    def points(self) -> int:
        """One to each side."""
        return 2

    def start(self, task: Task) -> State:
        """To both sides of the clean image, a quarter of epsilon along a random direction."""
        return self._sides(task, task.noise("direction").normal(*task.x.shape[1:]), 0.25)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """Along the difference of the gradients: a quarter of epsilon, in the end all of it."""
        assert seen.gradient is not None
        product = seen.gradient[:, 0] - seen.gradient[:, 1]
        near = self._sides(task, product, 0.25).x
        far = self._sides(task, product, 1.0).x
        last = (task.step == self.steps - 1)[:, None, None, None, None]
        return State(x=torch.where(last, far, near))

    def _sides(self, task: Task, way: torch.Tensor, part: float) -> State:
        length = part * task.ball.epsilon
        ends = [task.ball.steepest(task.x, sign * way, length) for sign in (1, -1)]
        return State(x=torch.stack([task.ball.project(end) for end in ends], 1))


@check(
    name="second-order",
    reference="Miyato et al. 2018, arXiv:1704.03976, section 3.3; Moosavi-Dezfooli et al. 2019, "
    "arXiv:1811.09716 (curvature and gradient masking)",
    measures=("survivors with next to no gradient",),
)
@dataclass(frozen=True)
class SecondOrder:
    """Where the gradient promises next to nothing, steps along the largest curvature instead."""

    images: PositiveInt = param(100, "survivors whose gradient is looked at")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = min(self.images, images)
        return summed((n, n), spent(CurvatureStep(), n, classes))

    def run(self, probe: Probe) -> CheckReport:
        """Find survivors with next to no gradient, and attack them."""
        if nothing := no_gradient(probe) or nothing_left(probe):
            return nothing
        rows = some_survivors(probe, self.images)
        flat = rows[_promises_nothing(probe, rows)]
        measured = share(
            "survivors with next to no gradient", len(flat), len(rows),
            f"it promises less than {_LITTLE} of the margin within epsilon", probe,
            probe.ball.epsilon,
        )  # fmt: skip
        if not len(flat):
            return not_applicable("No survivor's gradient is so small that curvature could matter.")
        broken = int(probe.attack("curvature", CurvatureStep(), flat).broken.sum())
        sentence = (
            f"The gradient promises next to nothing on {of(len(flat), len(rows))} that withstood, "
            f"and steps along the largest curvature broke {broken} of them"
        )
        if bounds(broken, len(probe.y))[0] <= _ACCIDENT:
            return CheckReport(f"{sentence}.", measurements=(measured,))
        symptom = Symptom(
            family="gradient",
            title="Images have no slope but are broken along their curvature",
            remedy="start attacks at random points and use several restarts; the clean image is "
            "a stationary point",
            evidence=(sentence,),
            kind="vanishing",
        )
        return CheckReport(f"{sentence}.", (symptom,), (measured,))


def _promises_nothing(probe: Probe, rows: torch.Tensor) -> torch.Tensor:
    """(B,) bool: the linear change over the steepest step of length epsilon is tiny."""
    x, y = probe.x[rows], probe.y[rows]
    seen, ball = look(probe, probe.surrogate, x, y), ball_around(probe, x)
    assert seen.gradient is not None
    ahead = ball.steepest(x, seen.gradient, ball.epsilon) - x
    promised = (ahead.double() * seen.gradient.double()).flatten(1).sum(1)
    return promised <= _LITTLE * seen.loss.double().abs()
