"""SPSA: gradient ascent for which scores suffice, by finite differences in random directions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from auditor.api import (
    SCORES,
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

#: Decay of Adam's two averages.
_BETA1, _BETA2 = 0.9, 0.999


@dataclass
class Drift(State):
    """Where the ascent stands; `x` are the points x_t + delta v_i, then x_t - delta v_i."""

    #: (B, C, H, W) x_t.
    centre: torch.Tensor
    #: (B, n, C, H, W) v_i, -1 or +1 in each pixel.
    direction: torch.Tensor
    #: (B, C, H, W) Adam's averages of the gradient and of its square.
    first: torch.Tensor
    second: torch.Tensor


@attack(
    name="spsa",
    norms={"linf", "l2", "l1"},
    needs=SCORES,
    reference="Uesato et al. 2018, arXiv:1802.05666, Algorithm 1",
)
@dataclass(frozen=True)
class SPSA:
    """Simultaneous perturbation stochastic approximation, with Adam as the optimiser.

    Its large differences also step over the stairs of a quantised model. Points are projected to
    ball and box; at a face that shrinks a pixel's difference, which Adam does not see, for it
    divides each pixel by its own scale. In l2 and l1 both lengths are spread over all pixels.
    """

    steps: PositiveInt = param(20, "steps of Adam")
    samples: PositiveInt = param(32, "random directions per step; each takes two queries")
    delta: PixelLength | None = param(
        None, "how far the points of a difference lie from the centre; default epsilon / 3"
    )
    step_size: PixelLength | None = param(None, "Adam's rate; default epsilon / 3")
    restarts: PositiveInt = param(1, "random starts; images that fell are not started again")
    loss: ObjectiveName = param("margin", "objective to maximise")
    eot: PositiveInt = param(1, "evaluations each query is averaged over, for random models")

    @property
    def points(self) -> int:
        """Two for each direction."""
        return 2 * self.samples

    def start(self, task: Task) -> Drift:
        """Around the clean image, later around random points."""
        centre, zero = task.x, torch.zeros_like(task.x)
        if task.restart is not None:
            again = (task.restart > 0)[:, None, None, None]
            centre = torch.where(again, task.ball.sample(task.noise("start")), centre)
        return self._around(task, centre, zero, zero)

    def step(self, task: Task, state: State, seen: Observation) -> Drift:
        """x_(t+1) = P(x_t + Adam(g)), g being the mean of (J(x + delta v) - J(x - delta v)) v."""
        assert isinstance(state, Drift)
        gradient = estimated(state.direction, seen.loss)
        first = torch.lerp(gradient, state.first, _BETA1)
        second = torch.lerp(gradient.square(), state.second, _BETA2)
        t = (task.step + 1)[:, None, None, None].to(first.dtype)
        scale = (second / (1 - _BETA2**t)).sqrt()
        # Without the usual 1e-8 beside the scale, so that the logits' scale does not matter.
        move = first / (1 - _BETA1**t) / scale.clamp(min=torch.finfo(scale.dtype).tiny)
        rate = _per_pixel(self.step_size or task.ball.epsilon / 3, task)
        centre = task.ball.project(state.centre + rate * move)
        new = self._around(task, centre, first, second)
        last = (task.step == self.steps - 1)[:, None, None, None]
        new.x[:, 0] = torch.where(last, centre, new.x[:, 0])
        return new

    def _around(
        self, task: Task, centre: torch.Tensor, first: torch.Tensor, second: torch.Tensor
    ) -> Drift:
        """The next state: points in new random directions from `centre`."""
        v = task.noise("direction").signs(self.samples, *centre.shape[1:])
        delta = _per_pixel(self.delta or task.ball.epsilon / 3, task)
        x = centre[:, None] + delta * torch.cat([v, -v], 1)
        x0 = task.x[:, None].expand_as(x).flatten(0, 1)
        inside = task.ball.norm.project(x.flatten(0, 1), x0, task.ball.epsilon)
        return Drift(inside.view_as(x), centre, v, first, second)


def estimated(direction: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) the gradient, up to 2 delta, of directions (B, n, ...) and losses (B, 2 n)."""
    ahead, behind = loss.chunk(2, 1)
    difference = (ahead - behind).nan_to_num(0.0, 0.0, 0.0).to(direction.dtype)
    return torch.einsum("bn,bnchw->bchw", difference, direction) / direction.shape[1]


def _per_pixel(length: float, task: Task) -> float:
    """What every pixel moves by if all together move by `length`."""
    pixels = math.prod(task.x.shape[1:])
    scale: float = {"linf": 1.0, "l2": pixels**0.5, "l1": float(pixels)}[task.ball.norm.name]
    return length / scale


@hookimpl
def auditor_attacks() -> list[type]:
    """SPSA."""
    return [SPSA]
