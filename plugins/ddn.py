"""DDN, the decoupled direction and norm attack: the smallest perturbation in l2, and in l1."""

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

#: The last length of a step, to which a cosine leads.
_LAST_STEP = 0.01
#: More would change nothing that float32 can tell.
_BISECTIONS = 25


@dataclass
class DDNState(State):
    """`x`, and the radius of the sphere that it was put on."""

    #: (B, 1, 1, 1) epsilon_k of the paper.
    radius: torch.Tensor


@attack(
    name="ddn",
    norms={"l2", "l1"},
    needs=GRADIENT,
    reference="Rony et al. 2019, arXiv:1811.09600, algorithm 1; in l1: this project",
)
@dataclass(frozen=True)
class DDN:
    """Decoupled direction and norm: the smallest perturbation, on a sphere that breathes.

    Steps along the gradient choose the direction; the radius of the sphere shrinks while the point
    is adversarial and grows while it is not. In l1 the point is projected onto the ball, which
    leaves few pixels changed, and steps are long enough to choose others. A first radius as large
    as the box's diagonal comes from outside: there the gradients of networks that were trained in
    l-infinity lead back to the boundary, which inside the ball they do not. Pixels are not rounded
    to grey levels, as they are in the paper.
    """

    steps: PositiveInt = param(100, "gradient steps")
    radius: PixelLength = param(1.0, "radius of the first sphere; it grows or shrinks from there")
    gamma: float = param(0.05, "part by which the radius shrinks or grows at each step")
    step_size: PixelLength | None = param(
        None, "l2 length of the first step; default 1, in l1 the diagonal of the box"
    )
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
        adversarial = _adversarial(seen.logits, task.y)[:, None, None, None]
        delta, norm = state.x - task.x, task.ball.norm.name
        before = state.radius
        if norm == "l1":  # where the box stopped it, delta is far shorter
            before = torch.where(adversarial, torch.minimum(before, _length(norm, delta)), before)
        radius = torch.where(adversarial, before * (1 - self.gamma), before * (1 + self.gamma))
        farthest = _length(norm, torch.maximum(task.x, 1 - task.x))
        radius = torch.minimum(radius, farthest)
        delta = delta + self._step_length(task) * _direction(seen.gradient)
        if norm == "l1":
            delta = _projected(task.x, delta, radius)
        else:
            scale = radius / _length(norm, delta).clamp(min=_tiny(delta))
            delta = delta * scale.clamp(max=torch.finfo(delta.dtype).max)  # 0 stays 0
        return DDNState(x=(task.x + delta).clamp_(0, 1), radius=radius)

    def _step_length(self, task: Task) -> torch.Tensor:
        """(B, 1, 1, 1) a, by a cosine from the first length to 0.01."""
        diagonal = math.sqrt(math.prod(task.x.shape[1:]))
        first = self.step_size or (diagonal if task.ball.norm.name == "l1" else 1.0)
        step = task.step.to(task.x.dtype)[:, None, None, None]
        half_wave = (1 + torch.cos(math.pi * step / self.steps)) / 2
        return _LAST_STEP + (first - _LAST_STEP) * half_wave


def _direction(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient brought to length 1, where it is not zero."""
    # By the largest entry first, so that no square vanishes or overflows.
    gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=_tiny(gradient))
    return gradient / _length("l2", gradient).clamp(min=_tiny(gradient))


def _length(norm: str, d: torch.Tensor) -> torch.Tensor:
    """(B, 1, 1, 1) norms of (B, C, H, W)."""
    if norm == "l1":
        return d.abs().sum((1, 2, 3), keepdim=True)
    return d.square().sum((1, 2, 3), keepdim=True).sqrt()


def _projected(x: torch.Tensor, delta: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """The nearest change to `delta` in the box and in an l1 ball of `radius` (B, 1, 1, 1).

    It is sign(d) min(max(|d| - t, 0), room), with one t per image, found by bisection. (The ball's
    own projection has one radius for all images.)
    """
    size, room = delta.abs(), torch.where(delta > 0, 1 - x, x)

    def change(t: torch.Tensor) -> torch.Tensor:
        return torch.minimum((size - t).clamp(min=0), room)

    low, high = torch.zeros_like(radius), size.amax((1, 2, 3), keepdim=True)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        outside = _length("l1", change(middle)) > radius
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    return delta.sign() * change(high)


def _adversarial(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B,) bool: a wrong class is level with the label, or ahead of it; not so where z is NaN."""
    label = y[:, None]
    return z.scatter(1, label, -torch.inf).amax(1) >= z.gather(1, label)[:, 0]


def _tiny(x: torch.Tensor) -> float:
    return torch.finfo(x.dtype).tiny


@hookimpl
def auditor_attacks() -> list[type]:
    """DDN."""
    return [DDN]
