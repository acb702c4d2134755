"""FAB, the fast adaptive boundary attack."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from auditor_plugins.fab.hyperplane import shortest_shift

from auditor.api import (
    GRADIENT,
    NonNegativeInt,
    Observation,
    PositiveInt,
    State,
    Task,
    attack,
    hookimpl,
    param,
)

#: For each norm the dual one: |f| / |w|_dual is the distance to a hyperplane, the box aside.
_DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


@dataclass
class FABState(State):
    """`x`, and how far each image has come."""

    #: (B,) bool: `x` is to be linearised at whatever its class: a start, or just pulled back.
    due: torch.Tensor
    #: (B,) int64 iterations so far, that is points of which `x` is the last.
    iteration: torch.Tensor
    #: (B,) bool: that was the last one.
    done: torch.Tensor


@attack(
    name="fab",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Croce & Hein 2020, arXiv:1907.02044, algorithm 1; targeted: arXiv:2003.01690, FAB-T",
)
@dataclass(frozen=True)
class FAB:
    """Fast adaptive boundary attack: the smallest perturbation, along linearised boundaries.

    The points evaluated are the x^(i) of algorithm 1, which is also where it linearises; only after
    an adversarial one is a further point evaluated, the one pulled back. The final search along the
    segment to the clean image is left out, as in AutoAttack's version.
    """

    iterations: PositiveInt = param(100, "linearisations per target and restart")
    restarts: PositiveInt = param(1, "starts; the first at the clean image, later ones random")
    targets: NonNegativeInt = param(
        9,
        "wrong classes aimed at in turn; 0: the nearest of all linearised boundaries at each step",
    )
    alpha_max: float = param(0.1, "largest weight of the clean image's projection")
    overshoot: float = param(1.05, "how far beyond the linearised boundary to go (eta)")
    backward: float = param(0.9, "what an adversarial perturbation is shortened to (beta)")
    minimise: bool = param(
        True, "go on after a success within epsilon, to find the smallest perturbation"
    )
    eot: PositiveInt = param(1, "evaluations each gradient is averaged over, for random models")

    #: Points may lie outside the ball; the nearest adversarial one counts.
    minimises: ClassVar[bool] = True
    #: With a target, f = z_t - z_y.
    loss: ClassVar[str] = "margin"

    @property
    def steps(self) -> int:
        """Every iteration goes forwards once, and may go back once."""
        return 2 * self.iterations

    def lane_passes(self, classes: int) -> tuple[int, int]:
        """One evaluation an iteration, as long as no point is adversarial."""
        slopes = classes if self.jacobian else 1
        return self.eot * (self.iterations + 1), self.eot * self.iterations * slopes

    @property
    def jacobian(self) -> bool:
        """Without targets, the boundaries to all classes are looked at."""
        return self.targets == 0

    def start(self, task: Task) -> State:
        """x^(0): the clean image; in later restarts a random point within epsilon / 2.

        The paper draws within half of min(epsilon, the best distance so far), which no restart
        knows here. A given origin goes before both.
        """
        x = task.origin
        if x is None:
            x = task.x.clone()
            if task.restart is not None and task.restart.any():
                again = task.restart > 0
                halfway = torch.lerp(task.x, task.ball.sample(task.noise("start")), 0.5)
                x[again] = halfway[again]
        return FABState(
            x=x,
            due=torch.ones_like(task.y, dtype=torch.bool),
            iteration=torch.zeros_like(task.y),
            done=torch.zeros_like(task.y, dtype=torch.bool),
        )

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """Pull x^(i) back if it is adversarial, else go on to x^(i+1)."""
        assert isinstance(state, FABState)
        assert seen.gradient is not None
        norm = task.ball.norm.name
        back = _adversarial(seen.logits, task.y) & ~state.due
        x = torch.lerp(task.x, state.x, self.backward)
        rows = (~back).nonzero().flatten()
        f, w = seen.loss[rows], seen.gradient.index_select(0, rows)
        if self.jacobian:
            f, w = _nearest_boundary(norm, seen.logits[rows], w, task.y[rows])
        onwards = self._next_point(
            norm, task.x.index_select(0, rows), state.x.index_select(0, rows), f, w
        )
        x.index_copy_(0, rows, onwards)
        iteration = state.iteration + ~back
        return FABState(x=x, due=back, iteration=iteration, done=iteration >= self.iterations)

    def _next_point(
        self, norm: str, x0: torch.Tensor, x: torch.Tensor, f: torch.Tensor, w: torch.Tensor
    ) -> torch.Tensor:
        """(1 - a)(x + eta d) + a(x0 + eta d0), in the box: the biased step with extrapolation.

        d and d0 lead from x and x0 to the plane where f + <w, z - x> = 0; a is |d| / (|d| + |d0|),
        at most alpha_max.

        Args:
            norm: of d and d0.
            x0: (B, C, H, W) clean images.
            x: (B, C, H, W) where f was linearised.
            f: (B,) values there.
            w: (B, C, H, W) gradients there. Where they vanish, or f is not finite, x stays.
        """
        points = torch.stack([x, x0]).flatten(2)  # (2, B, N)
        f, w = f.nan_to_num(0, 0, 0), w.flatten(1)
        value = torch.stack([f, f + (w * (points[1] - points[0])).sum(1)])
        shift = shortest_shift(norm, points, w, value.nan_to_num())
        length = _length(norm, shift)  # (2, B, 1)
        total = length.sum(0).clamp_(min=torch.finfo(x.dtype).tiny)
        alpha = (length[0] / total).clamp_(max=self.alpha_max)
        beyond = torch.add(points, shift, alpha=self.overshoot)
        return torch.lerp(beyond[0], beyond[1], alpha).clamp_(0, 1).view_as(x)


def _adversarial(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B,) bool: a wrong class is level with the label, or ahead of it; not so where z is NaN."""
    label = y[:, None]
    return z.scatter(1, label, -torch.inf).amax(1) >= z.gather(1, label)[:, 0]


def _length(norm: str, d: torch.Tensor) -> torch.Tensor:
    """(..., 1) norms of (..., N); `vector_norm` takes several times as long."""
    if norm == "l2":
        return d.square().sum(-1, keepdim=True).sqrt()
    if norm == "linf":
        return d.abs().amax(-1, keepdim=True)
    return d.abs().sum(-1, keepdim=True)


def _nearest_boundary(
    norm: str, z: torch.Tensor, slopes: torch.Tensor, y: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """f = z_l - z_y (B,) and its gradient w (B, C, H, W), for the l whose linearised boundary is
    nearest, the box aside.

    `slopes` (B, K, C, H, W) are the gradients of the logits `z` (B, K).
    """
    rows = torch.arange(len(y), device=y.device)
    f = z - z[rows, y, None]
    w = slopes - slopes[rows, y, None]
    size = w.flatten(2)
    # Distances are only compared: an image's gradients are scaled so that no square vanishes.
    largest = size.abs().amax((1, 2), keepdim=True).clamp_(min=torch.finfo(w.dtype).tiny)
    distance = f.abs() / _length(_DUAL[norm], size / largest)[..., 0]
    # The label's own is 0 / 0, as is that of classes level with it everywhere.
    nearest = distance.nan_to_num(nan=math.inf, posinf=math.inf).argmin(1)
    return f[rows, nearest], w[rows, nearest]


@hookimpl
def auditor_attacks() -> list[type]:
    """FAB."""
    return [FAB]
