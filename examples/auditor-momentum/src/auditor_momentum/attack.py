"""Gradient ascent along an average of all gradients so far."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    GRADIENT,
    ObjectiveName,
    Observation,
    PixelLength,
    PositiveInt,
    State,
    Task,
    attack,
    param,
)


@dataclass
class Moving(State):
    """`x`, and g_t, (B, C, H, W): the accumulated gradient."""

    momentum: torch.Tensor


@attack(
    name="mi-fgsm",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Dong et al. 2018, arXiv:1710.06081, Algorithm 1",
)
@dataclass(frozen=True)
class MomentumIterative:
    """Steepest steps along g_t = mu g_(t-1) + gradient / |gradient|_1, from the clean image.

    As in the paper, but for the steepest step of each norm instead of the sign alone.
    """

    steps: PositiveInt = param(10, "gradient steps per restart")
    mu: float = param(1.0, "decay of the momentum")
    step_size: PixelLength | None = param(None, "length of a step; default 2.5 epsilon / steps")
    restarts: PositiveInt = param(1, "starts: the first at the clean image, later ones random")
    loss: ObjectiveName = param("cross-entropy", "objective to maximise")

    def start(self, task: Task) -> Moving:
        """The clean image; in later restarts a random point."""
        x = task.x
        if task.restart is not None:
            again = (task.restart > 0)[:, None, None, None]
            x = torch.where(again, task.ball.sample(task.noise("start")), x)
        return Moving(x, torch.zeros_like(x))

    def step(self, task: Task, state: State, seen: Observation) -> Moving:
        """Equations 6 and 7."""
        assert isinstance(state, Moving)
        assert seen.gradient is not None
        size = seen.gradient.abs().sum((1, 2, 3), keepdim=True)
        tiny = torch.finfo(size.dtype).tiny
        momentum = self.mu * state.momentum + seen.gradient / size.clamp(min=tiny)
        length = self.step_size or 2.5 * task.ball.epsilon / self.steps
        x = task.ball.project(task.ball.steepest(state.x, momentum, length))
        return Moving(x, momentum)
