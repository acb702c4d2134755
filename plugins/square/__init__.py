"""The Square attack: random search by changes in squares, for which scores suffice.

Andriushchenko et al. 2020, arXiv:1912.00049. Algorithm 1, the search, is here; Algorithm 2, the
change in l-infinity, is in `corners`, and Algorithm 3, the change in l2, in `bumps`, with that in
l1 (Croce & Hein 2021, arXiv:2103.01208). Each image has squares, signs and a schedule of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from annotated_types import Gt, Le
from auditor_plugins.square.bumps import grid, transferred
from auditor_plugins.square.corners import recoloured, stripes
from auditor_plugins.square.windows import ITERATIONS, schedule, stage

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

#: Random numbers are drawn for so many queries at once: a draw costs much, a number little.
AHEAD = 64
#: The order p of the norms in which changes move from window to window.
_P = {"l2": 2, "l1": 1}

Part = Annotated[float, Gt(0), Le(1)]


@dataclass
class Search(State):
    """The best point so far; `x` is that point with one change."""

    #: (B, C, H, W).
    best: torch.Tensor
    #: (B,) the loss at `best`; -inf before the start has been evaluated.
    loss: torch.Tensor
    #: (B,) the loss at `x` where it is evaluated for the second time; else -inf.
    first: torch.Tensor
    #: (B, AHEAD, N) uniform numbers, N for each query since the last multiple of AHEAD.
    moves: torch.Tensor


@attack(
    name="square",
    norms={"linf", "l2", "l1"},
    needs=SCORES,
    reference="Andriushchenko et al. 2020, arXiv:1912.00049, Algorithms 1 to 3",
)
@dataclass(frozen=True)
class Square:
    """Random search that changes one square of the image at a time and keeps what helps.

    On a model whose answers vary, lucky draws would be kept, and remembered as losses that nothing
    beats. With `eot` above 1, a point that looks better is therefore evaluated a second time, which
    is a query as well; the mean of both losses decides, and is remembered.
    """

    queries: PositiveInt = param(5000, "points per restart, the start included")
    p_init: Part = param(0.8, "part of the image that the first squares cover")
    restarts: PositiveInt = param(1, "random starts; images that fell are not started again")
    loss: ObjectiveName = param("margin", "objective to maximise")
    eot: PositiveInt = param(1, "evaluations each query is averaged over, for random models")
    rescale: bool = param(False, "shrink squares over `queries` as the paper does over 10000")

    @property
    def steps(self) -> int:
        """One fewer than the points, for the start is one."""
        return self.queries - 1

    def start(self, task: Task) -> Search:
        """`task.origin`; without one, stripes in l-infinity, and a grid of bumps in l2 and l1."""
        p = _P.get(task.ball.norm.name)
        x = task.origin
        if x is None:
            x = stripes(task) if p is None else grid(task, p)
        none = torch.full_like(x[:, 0, 0, 0], -torch.inf)
        numbers = (2 if p is None else 5) + x.shape[1]
        moves = x.new_zeros(len(x), AHEAD, numbers)
        return Search(x, best=x, loss=none, first=none, moves=moves)

    def step(self, task: Task, state: Search, seen: Observation) -> Search:
        """Algorithm 1: keep `x` if its loss is the largest so far, and change the best point."""
        loss, first = seen.loss, state.first
        if self.eot > 1:
            loss = torch.where(first > -torch.inf, (first + loss) / 2, loss)
        better = loss > state.loss
        if self.eot > 1:
            again = better & (first == -torch.inf) & (state.loss > -torch.inf)
            better, first = better & ~again, torch.where(again, loss, -torch.inf)
        rows = better.nonzero().flatten()
        best = state.best.index_copy(0, rows, state.x[rows])
        moves = _refilled(task, state.moves)
        u = moves[torch.arange(len(moves), device=moves.device), task.step % AHEAD]
        x = self._changed(task, best, u)
        if self.eot > 1:
            x = torch.where(again[:, None, None, None], state.x, x)
        return Search(x, best, torch.where(better, loss, state.loss), first, moves)

    def _changed(self, task: Task, best: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """`best` with one change, by uniform numbers `u` (B, N)."""
        p = _P.get(task.ball.norm.name)
        sides = schedule(self.p_init, *best.shape[2:], least=1 if p is None else 3)
        stages = stage(task.step * ITERATIONS // self.queries if self.rescale else task.step)
        x: torch.Tensor = (
            recoloured(task, best, sides, stages, u)
            if p is None
            else transferred(task, best, sides, stages, u, p)
        )
        return x


def _refilled(task: Task, moves: torch.Tensor) -> torch.Tensor:
    """`moves` with new numbers for the images that have used theirs."""
    rows = (task.step % AHEAD == 0).nonzero().flatten()
    if not len(rows):
        return moves
    noise = task.noise("moves")
    image, restart, step = (each[rows] for each in (noise.image, noise.restart, noise.step))
    due = replace(noise, image=image, restart=restart, step=step)
    return moves.index_copy(0, rows, due.uniform(*moves.shape[1:]))


@hookimpl
def auditor_attacks() -> list[type]:
    """Square."""
    return [Square]
