"""l1-APGD: sparse steps, whose sparsity follows that of the best point, on shrinking balls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch

from auditor.api import Observation, Task

from .ascent import Ascent, going_on, remember, replaced

#: The radii, in epsilon, and the part of the steps, in percent, after which each begins.
_PHASES = {3: 0, 2: 30, 1: 60}
#: The part of the steps, in percent, from one checkpoint to the next.
_WINDOW = 4
#: A pixel that is changed by less, or has less room, counts as not changed, or without room.
_DUST = 1e-6


@dataclass
class SparseClimb(Ascent):
    """What APGD remembers in l1."""

    #: (B,) int64 k, how many pixels a step changes.
    pixels: torch.Tensor
    #: (B,) int64, how many pixels x_max changed at the last checkpoint; more than there are, before
    #: the first of a phase.
    support: torch.Tensor
    #: (B,) bool, whether `x` lies outside the ball, on its way to a point inside.
    outside: torch.Tensor

    @classmethod
    def begun(cls, task: Task, ascent: Ascent) -> SparseClimb:
        """The state before the first iteration."""
        zero, outside = torch.zeros_like(task.y), ~task.ball.contains(ascent.x)[1]
        return cls(**vars(ascent), pixels=zero, support=_all(task), outside=outside)


def random_start(task: Task) -> torch.Tensor:
    """(B, C, H, W) normal noise around the images, projected to the largest ball."""
    noise = task.noise("start").normal(*task.x.shape[1:])
    return task.ball.norm.project(task.x + noise, task.x, max(_PHASES) * task.ball.epsilon)


def sparse_step(
    task: Task, state: SparseClimb, seen: Observation, steps: int, length: float
) -> None:
    """Iteration `task.step` of l1-APGD: P(x + eta s), s on the k pixels of largest slope.

    P projects to a ball of 3, then 2, then 1 epsilon; the last point of each phase but the last is
    followed by a step from x_max into the smaller ball, where all else is forgotten. `length` is
    the first eta for a ball of epsilon; it grows with the ball.

    Source: Croce & Hein 2021, arXiv:2103.01208, section 3. Two things differ. Pixels that have
    reached the box count neither among the k of a step nor among those that x_max changes; in the
    paper they do, and even on a linear model images come to rest below their best point. And the
    paper evaluates the projection of x_max itself before it steps, which costs a pass per phase.
    """
    phases = _phases(steps, task.y.device)
    (radius, check), following = phases[task.step].unbind(1), phases[task.step + 1, 0]
    remember(state, seen)
    again = _check(task, state, radius.to(task.x.dtype) * length, check > 0)
    x, gradient = going_on(state, seen, again)
    ends = (following < radius).nonzero()[:, 0]
    x, gradient = replaced(x, ends, state.best), replaced(gradient, ends, state.best_gradient)
    state.x = _projected(task, _uphill(x, gradient, state.length, state.pixels), following)
    state.best_loss = state.best_loss.index_fill(0, ends, -torch.inf)
    state.support = replaced(state.support, ends, _all(task))
    state.outside = ~task.ball.contains(state.x)[1]


@cache
def _phases(steps: int, device: torch.device) -> torch.Tensor:
    """(steps + 1, 2) int64, for each point: its radius in epsilon; 1 at checkpoints, elsewhere 0.

    The first point of a phase is a checkpoint.
    """
    begins = [-(-share * steps // 100) for share in _PHASES.values()] + [steps + 1]
    window = -(-_WINDOW * steps // 100)
    rows = [
        (radius, int(turn % window == 0))
        for radius, (begin, end) in zip(_PHASES, pairwise(begins), strict=True)
        for turn in range(end - begin)
    ]
    return torch.tensor(rows, device=device)


def _check(
    task: Task, state: SparseClimb, first: torch.Tensor, now: torch.Tensor
) -> torch.Tensor | None:
    """At checkpoints: eta / 1.5; or the first eta, and on from x_max, where x_max became sparser.

    k is two thirds of the pixels that x_max changes. `first` (B,) are the first etas, `now` (B,)
    bool marks checkpoints. Returns the rows that go on from x_max; None if there is no checkpoint.
    """
    if not now.any():
        return None
    changed = (state.best - task.x).abs() > _DUST
    support = (changed & (torch.minimum(state.best, 1 - state.best) > _DUST)).flatten(1).sum(1)
    # From the clean image on, a fifth of all pixels: where the paper begins without phases.
    fifth = max(1, math.prod(task.x.shape[1:]) // 5)
    pixels = torch.where(support > 0, (2 * support + 1) // 3, fifth)  # rounded
    sparser = now & (support < 0.95 * state.support)
    shorter = torch.maximum(state.length / 1.5, first / 10)
    state.length = torch.where(sparser, first, torch.where(now, shorter, state.length))
    state.pixels = torch.where(now, pixels, state.pixels)
    state.support = torch.where(now, support, state.support)
    return sparser.nonzero()[:, 0]


def _uphill(
    x: torch.Tensor, gradient: torch.Tensor, length: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """x + eta s / k: s are the signs of the k = `pixels` (B,) largest slopes, and 0 elsewhere.

    Pixels without room do not count among the k, but those with larger slopes than these are pushed
    as well, so that the projection leaves them where they are.
    """
    sign, slopes = gradient.sign(), gradient.abs().flatten(1)
    room = ((x + sign).clamp_(0, 1) - x).abs_().flatten(1)
    free = slopes * (room > _DUST)
    least = free.topk(max(pixels.tolist(), default=0), dim=1).values.gather(1, pixels[:, None] - 1)
    count = ((free >= least) & (free > 0)).sum(1, keepdim=True).clamp_(min=1)
    s = sign.flatten(1) * (slopes >= least)
    return x + (s * (length[:, None] / count)).view(x.shape)


def _projected(task: Task, x: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """The points of box and ball nearest to `x`, each image's ball of its `radius` (B,) epsilon."""
    for factor in _PHASES:
        rows = (radius == factor).nonzero()[:, 0]
        if len(rows):
            size = factor * task.ball.epsilon
            x = x.index_copy(0, rows, task.ball.norm.project(x[rows], task.x[rows], size))
    return x


def _all(task: Task) -> torch.Tensor:
    """(B,) int64, twice the number of pixels: more than any point changes."""
    return torch.full_like(task.y, 2 * math.prod(task.x.shape[1:]))
