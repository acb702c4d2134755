"""DDN, the decoupled direction and norm attack: the smallest l2 perturbation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

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
    hookimpl,
    param,
)

#: The first length of a step, and the last, which a cosine leads to.
_FIRST_STEP, _LAST_STEP = 1.0, 0.01


@dataclass
class DDNState(State):
    """`x`, and the radius of the sphere that it was put on."""

    #: (B, 1, 1, 1) epsilon_k of the paper.
    radius: torch.Tensor


@attack(
    name="ddn",
    norms={"l2"},
    needs=GRADIENT,
    reference="Rony et al. 2019, arXiv:1811.09600, algorithm 1",
)
@dataclass(frozen=True)
class DDN:
    """Decoupled direction and norm: the smallest l2 perturbation, on a sphere that breathes.

    Steps along the gradient choose the direction; the radius of the sphere shrinks while the point
    is adversarial and grows while it is not. Pixels are not rounded to grey levels, as the paper
    does for 8-bit images.
    """

    steps: PositiveInt = param(100, "gradient steps")
    radius: PixelLength = param(1.0, "radius of the first sphere; it grows or shrinks from there")
    gamma: float = param(0.05, "part by which the radius shrinks or grows at each step")
    loss: ObjectiveName = param("cross-entropy", "objective whose gradient is followed")
    minimise: bool = param(
        True, "go on after a success within epsilon, to find the smallest perturbation"
    )
    eot: PositiveInt = param(1, "evaluations each gradient is averaged over, for random models")

    #: Points may lie outside the ball; the nearest adversarial one counts.
    minimises: ClassVar[bool] = True

    def start(self, task: Task) -> State:
        """The clean image, or the task's origin."""
        x = task.x.clone() if task.origin is None else task.origin
        return DDNState(x=x, radius=torch.full_like(x[:, :1, :1, :1], self.radius))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """delta <- delta + a g / |g|, brought to the length of the new radius, and to the box.

        Where the gradient is zero the point keeps its direction. The authors' code draws one there,
        which would no longer follow the gradient.
        """
        assert isinstance(state, DDNState)
        assert seen.gradient is not None
        farthest = _length(torch.maximum(task.x, 1 - task.x))
        adversarial = _adversarial(seen.logits, task.y)[:, None, None, None]
        shrunk, grown = state.radius * (1 - self.gamma), state.radius * (1 + self.gamma)
        radius = torch.minimum(torch.where(adversarial, shrunk, grown), farthest)
        delta = state.x - task.x + self._step_length(task) * _direction(seen.gradient)
        delta = delta * (radius / _length(delta).clamp(min=torch.finfo(delta.dtype).tiny))
        return DDNState(x=(task.x + delta).clamp_(0, 1), radius=radius)

    def _step_length(self, task: Task) -> torch.Tensor:
        """(B, 1, 1, 1) a, by a cosine from 1 to 0.01."""
        step = task.step.to(task.x.dtype)[:, None, None, None]
        half_wave = (1 + torch.cos(math.pi * step / self.steps)) / 2
        return _LAST_STEP + (_FIRST_STEP - _LAST_STEP) * half_wave


def _direction(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient brought to length 1, where it is not zero."""
    # By the largest entry first, so that no square vanishes or overflows.
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=tiny)
    return gradient / _length(gradient).clamp(min=tiny)


def _length(d: torch.Tensor) -> torch.Tensor:
    """(B, 1, 1, 1) l2 norms of (B, C, H, W)."""
    return d.square().sum((1, 2, 3), keepdim=True).sqrt()


def _adversarial(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B,) bool: a wrong class is level with the label, or ahead of it; not so where z is NaN."""
    label = y[:, None]
    return z.scatter(1, label, -torch.inf).amax(1) >= z.gather(1, label)[:, 0]


@hookimpl
def auditor_attacks() -> list[type]:
    """DDN."""
    return [DDN]
