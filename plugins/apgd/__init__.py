"""APGD, projected gradient ascent that chooses the lengths of its steps itself."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch

from auditor.api import (
    GRADIENT,
    NonNegativeInt,
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

from .ascent import Ascent, going_on, remember
from .sparse import SparseClimb, random_start, sparse_step

#: Weight of the new step beside momentum, alpha of the paper.
_NEW = 0.75


@dataclass
class Climb(Ascent):
    """What APGD remembers in l-infinity and l2; w is the last checkpoint."""

    #: (B, C, H, W) x^(k-1).
    previous: torch.Tensor
    #: (B,) f(x^(k-1)); inf before the first.
    loss: torch.Tensor
    #: (B,) int64, how many steps since w have raised the objective.
    rises: torch.Tensor
    #: (B,) bool, whether eta was halved at w.
    halved: torch.Tensor
    #: (B,) f_max at w.
    settled: torch.Tensor

    @classmethod
    def begun(cls, ascent: Ascent) -> Climb:
        """The state before the first iteration."""
        zero, never = torch.zeros_like(ascent.best_loss), ascent.best_loss
        return cls(
            **vars(ascent),
            previous=ascent.x,
            loss=-never,
            rises=zero.long(),
            halved=zero.bool(),
            settled=never,
        )


@attack(
    name="apgd",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Croce & Hein 2020, arXiv:2003.01690, algorithm 1; in l1: 2021, arXiv:2103.01208",
)
@dataclass(frozen=True)
class APGD:
    """Auto-PGD: momentum, and steps that are halved, from the best point on, where they stall.

    With `loss = "dlr"` and `targets` it is APGD-T of AutoAttack. In l1 steps change few pixels, and
    it works its way inwards from three times the radius.
    """

    steps: PositiveInt = param(100, "gradient steps per restart")
    restarts: PositiveInt = param(1, "random starts; images that fell are not started again")
    loss: ObjectiveName = param("cross-entropy", "objective to maximise")
    targets: NonNegativeInt = param(0, "likeliest wrong classes to aim at in turn; 0: untargeted")
    rho: float = param(0.75, "part of the steps that has to raise the objective; not in l1")
    step_size: PixelLength | None = param(
        None, "length of the first step; default 2 epsilon, in l1 epsilon"
    )
    eot: PositiveInt = param(1, "evaluations each gradient is averaged over, for random models")

    def start(self, task: Task) -> State:
        """At the task's origin, or else at a random point of the ball (l1: of the first ball)."""
        sparse = task.ball.norm.name == "l1"
        x = task.origin
        if x is None:
            x = random_start(task) if sparse else _random_start(task)
        never = torch.full_like(x[:, 0, 0, 0], -torch.inf)
        length = torch.full_like(never, self._first_length(task))
        ascent = Ascent(x, x, torch.zeros_like(x), never, length)
        return SparseClimb.begun(task, ascent) if sparse else Climb.begun(ascent)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        """One iteration: the next point, from the objective and its gradient at this one."""
        assert isinstance(state, Climb | SparseClimb)
        state = copy(state)  # it is changed from here on, its tensors are not
        if isinstance(state, SparseClimb):
            sparse_step(task, state, seen, self.steps, self._first_length(task))
        else:
            self._step(task, state, seen)
        return state

    def _step(self, task: Task, state: Climb, seen: Observation) -> None:
        """Iteration k = `task.step` of algorithm 1, f(x^(k)) and its gradient being seen.

        z = P(x^(k) + eta s(g)) and x^(k+1) = P(x^(k) + a (z - x^(k)) + (1 - a) (x^(k) - x^(k-1))),
        where a is 1 in the first iteration and 0.75 after it.
        """
        state.rises = state.rises + (seen.loss > state.loss)
        state.loss = seen.loss
        remember(state, seen)
        again = self._check(task, state)
        x, gradient = going_on(state, seen, again)
        z = task.ball.project(_uphill(x, gradient, state.length, task.ball.norm.name))
        ahead = torch.lerp(state.previous, x, 2.0)  # x^(k) + (x^(k) - x^(k-1))
        if again is None:
            new = torch.lerp(ahead, z, _NEW)
        else:  # some image may be in its first iteration, which is a checkpoint
            a = torch.where(task.step == 0, 1.0, _NEW).to(x.dtype)
            new = torch.lerp(ahead, z, a[:, None, None, None])
        state.x, state.previous = task.ball.project(new), x

    def _check(self, task: Task, state: Climb) -> torch.Tensor | None:
        """At checkpoints: eta / 2 where condition 1 or 2 holds; these rows go on from x_max.

        Returns these rows; None if no image is at a checkpoint.
        """
        window = _windows(self.steps, task.y.device)[task.step]
        if not (window >= 0).any():
            return None
        now = window >= 0
        oscillates = state.rises < self.rho * window
        stays = ~state.halved & (state.best_loss == state.settled)
        halve = now & (oscillates | stays)
        state.length = torch.where(halve, state.length / 2, state.length)
        state.loss = torch.where(halve, state.best_loss, state.loss)
        state.rises = torch.where(now, 0, state.rises)
        state.halved = torch.where(now, halve, state.halved)
        state.settled = torch.where(now, state.best_loss, state.settled)
        return halve.nonzero()[:, 0]

    def _first_length(self, task: Task) -> float:
        return self.step_size or task.ball.epsilon * (1 if task.ball.norm.name == "l1" else 2)


def checkpoints(steps: int) -> list[int]:
    """The iterations w_1, w_2, ... at which APGD looks back (arXiv:2003.01690, section 3.2).

    w_j = ceil(p_j steps) with p_0 = 0, p_1 = 0.22 and p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03,
    0.06); in percent here, so that rounding moves none of them.
    """
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    found = {-(-share * steps // 100) for share in percent[1:]}
    return sorted(iteration for iteration in found if iteration < steps)


@cache
def _windows(steps: int, device: torch.device) -> torch.Tensor:
    """(steps,) int64: at checkpoints the number of steps since the one before, elsewhere -1.

    Iteration 0 is w_0, of window 0: f_max is noted there, and nothing else happens.
    """
    table = torch.full((steps,), -1)
    table[0] = 0
    for before, iteration in pairwise([0, *checkpoints(steps)]):
        table[iteration] = iteration - before
    return table.to(device)


def _random_start(task: Task) -> torch.Tensor:
    """P(x + epsilon u / |u|), u uniform on [-1, 1]^d in l-infinity, and normal in l2."""
    noise, shape = task.noise("start"), task.x.shape[1:]
    linf = task.ball.norm.name == "linf"
    u = 2 * noise.uniform(*shape) - 1 if linf else noise.normal(*shape)
    size = torch.linalg.vector_norm(u, torch.inf if linf else 2, (1, 2, 3), keepdim=True)
    return task.ball.project(task.x + task.ball.epsilon * u / size)


def _uphill(
    x: torch.Tensor, gradient: torch.Tensor, length: torch.Tensor, norm: str
) -> torch.Tensor:
    """x + eta s(g): s is the sign in l-infinity and g / |g|_2 in l2."""
    if norm == "linf":
        return torch.addcmul(x, gradient.sign(), length[:, None, None, None])
    # In float64, where the squares of the smallest float32 are still above 0.
    size = torch.linalg.vector_norm(gradient.flatten(1), dim=1, dtype=torch.float64)
    scale = length / size.clamp(min=torch.finfo(size.dtype).tiny)
    scale = scale.clamp(max=torch.finfo(x.dtype).max).to(x.dtype)
    return torch.addcmul(x, gradient, scale[:, None, None, None])


@hookimpl
def auditor_attacks() -> list[type]:
    """APGD."""
    return [APGD]
