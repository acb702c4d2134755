"""Gradient ascent on a gradient that is averaged over random points nearby."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    GRADIENT,
    ObjectiveName,
    Observation,
    PositiveInt,
    State,
    Task,
    attack,
    param,
)


@dataclass
class Centred(State):
    """`x` are the centre and points around it."""

    #: (B, C, H, W).
    centre: torch.Tensor


@attack(
    name="noise-averaged-pgd",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Tramèr et al. 2020, arXiv:2002.08347, section 5 (against k-winners-take-all)",
)
@dataclass(frozen=True)
class NoiseAveragedPGD:
    """Projected gradient descent whose gradient is the mean over points within epsilon / 2.

    Steps shrink linearly from epsilon / 4.
    """

    steps: PositiveInt = param(40, "gradient steps")
    samples: PositiveInt = param(16, "points, the centre included")
    loss: ObjectiveName = param("margin", "objective to maximise")

    @property
    def points(self) -> int:
        """The centre and the points around it."""
        return self.samples

    def start(self, task: Task) -> Centred:
        """Around a random point of the ball."""
        return self._around(task, task.ball.sample(task.noise("start")))

    def step(self, task: Task, state: State, seen: Observation) -> Centred:
        """centre <- P(centre + a steepest(mean gradient))."""
        assert isinstance(state, Centred)
        assert seen.gradient is not None
        left = 1 - task.step / self.steps
        gradient = seen.gradient if self.samples == 1 else seen.gradient.mean(1)
        ahead = task.ball.project(task.ball.steepest(state.centre, gradient, task.ball.epsilon / 4))
        weight = left.to(ahead.dtype)[:, None, None, None]
        return self._around(task, task.ball.project(torch.lerp(state.centre, ahead, weight)))

    def _around(self, task: Task, centre: torch.Tensor) -> Centred:
        if self.samples == 1:
            return Centred(centre, centre)
        norm, around, half = task.ball.norm, task.noise("around"), task.ball.epsilon / 2
        drawn = [norm.sample(centre, half, around.named(str(i))) for i in range(1, self.samples)]
        return Centred(torch.stack([centre, *(task.ball.project(one) for one in drawn)], 1), centre)
