"""RayS: a search for which the model's decision suffices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from auditor.api import (
    SCORES,
    ObjectiveName,
    Observation,
    PositiveInt,
    State,
    Task,
    attack,
    hookimpl,
    param,
)

#: Binary search ends at this part of epsilon.
_TOLERANCE = 1 / 16


@dataclass
class Ray(State):
    """The best direction so far, and the one that is tried."""

    #: (B,) bool: `x` is farther away than epsilon.
    outside: torch.Tensor
    #: (B, C, H, W) signs.
    best: torch.Tensor
    trial: torch.Tensor
    #: (B,) how far along `best` the first adversarial point is known to be; infinite at first.
    radius: torch.Tensor
    #: (B,) int64: the direction is cut into 2^level blocks, and this one is turned.
    level: torch.Tensor
    block: torch.Tensor
    #: (B,) the distance `x` lies at, and between which ones `trial` becomes adversarial.
    length: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    #: (B,) bool: in binary search along `trial`.
    searching: torch.Tensor


@attack(
    name="rays",
    norms={"linf"},
    needs=SCORES,
    reference="Chen & Gu 2020, arXiv:2006.12792, Algorithms 2 and 3",
)
@dataclass(frozen=True)
class RayS:
    """Looks for the corner direction in which the decision changes nearest.

    It turns the signs of ever smaller blocks of the direction, keeps what is adversarial at the
    best distance so far, and finds the new distance by binary search. Scores are not used but for
    whether the answer is wrong.
    """

    queries: PositiveInt = param(2000, "points looked at")
    loss: ObjectiveName = param("margin", "whose sign is the decision")

    @property
    def steps(self) -> int:
        """One fewer than the points, for the start is one."""
        return self.queries - 1

    def start(self, task: Task) -> Ray:
        """The far corner in the direction of ones."""
        one = torch.ones_like(task.x[:, 0, 0, 0])
        none = torch.zeros_like(task.step)
        state = Ray(
            task.x,
            outside=one.bool(),
            best=-torch.ones_like(task.x),
            trial=torch.ones_like(task.x),
            radius=one * torch.inf,
            level=none,
            block=none,
            length=one,
            low=one * 0,
            high=one,
            searching=torch.zeros_like(one, dtype=torch.bool),
        )
        return self._aimed(task, state, one)

    def step(self, task: Task, state: State, seen: Observation) -> Ray:
        """Algorithm 2, one decision at a time."""
        assert isinstance(state, Ray)
        wrong = seen.loss > 0
        begins = wrong & ~state.searching
        low = torch.where(begins, 0.0, torch.where(wrong, state.low, state.length))
        high = torch.where(wrong, state.length, state.high)
        searching = state.searching | begins
        closed = searching & (high - low <= _TOLERANCE * task.ball.epsilon)
        radius = torch.where(closed, high, state.radius)
        best = torch.where(closed[:, None, None, None], state.trial, state.best)
        on = closed | ~searching  # to the next block
        level, block = _next(state, on, math.prod(task.x.shape[1:]))
        trial = torch.where(on[:, None, None, None], _turned(best, level, block), state.trial)
        length = torch.where(on, radius.clamp(max=1), (low + high) / 2)
        state = Ray(
            state.x, state.outside, best, trial, radius, level, block, length, low, high,
            searching & ~closed,
        )  # fmt: skip
        return self._aimed(task, state, length)

    @staticmethod
    def _aimed(task: Task, state: Ray, length: torch.Tensor) -> Ray:
        """`state` with `x` at that distance along `trial`, inside the box."""
        far = (task.x + length[:, None, None, None] * state.trial).clamp(0, 1)
        state.outside = length > task.ball.epsilon
        near = task.ball.project(far)
        state.x = torch.where(state.outside[:, None, None, None], far, near)
        return state


def _next(state: Ray, on: torch.Tensor, pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) the level and block after these, where `on`; after single pixels, from the start."""
    block = state.block + on.long()
    finished = block >= 2**state.level
    level = torch.where(finished, state.level + 1, state.level)
    level = torch.where(2 ** (level - 1) >= pixels, 0, level)
    return level, torch.where(finished, 0, block)


def _turned(sign: torch.Tensor, level: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) `sign` with the block `block` of 2^level turned."""
    flat = sign.flatten(1)
    pixels = flat.shape[1]
    place = torch.arange(pixels, device=flat.device)[None] * 2 ** level[:, None] // pixels
    return torch.where(place == block[:, None], -flat, flat).view_as(sign)


@hookimpl
def auditor_attacks() -> list[type]:
    """RayS."""
    return [RayS]
