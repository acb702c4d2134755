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
from auditor_plugins.square.bumps import grid, transferred
from auditor_plugins.square.corners import recoloured, stripes
from auditor_plugins.square.windows import Schedule, Sizes, drawn, sides

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
    #: Of the queries from the last multiple of AHEAD on: (B, AHEAD, 1) int64, in l2 and l1
    #: (B, AHEAD, 2), where squares begin; (B, AHEAD, C), in l2 and l1 (B, AHEAD, C + 1), signs.
    begin: torch.Tensor
    signs: torch.Tensor


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
        squares, signs = (1, x.shape[1]) if p is None else (2, x.shape[1] + 1)
        return Search(
            x,
            best=x,
            loss=none,
            first=none,
            begin=task.step.new_zeros(len(x), AHEAD, squares),
            signs=x.new_zeros(len(x), AHEAD, signs),
        )

    def step(self, task: Task, state: Search, seen: Observation) -> Search:
        """Algorithm 1: keep `x` if its loss is the largest so far, and change the best point."""
        better, loss, first = self._judged(state, seen.loss)
        rows = better.nonzero().flatten()
        best = state.best.index_copy(0, rows, state.x[rows])
        query = task.step % AHEAD
        begin, signs = self._drawn(task, state, query)
        now = torch.arange(len(query), device=query.device), query
        x = self._changed(task, best, begin[now], signs[now])
        if self.eot > 1:
            x = torch.where((first > -torch.inf)[:, None, None, None], state.x, x)
        return Search(x, best, torch.where(better, loss, state.loss), first, begin, signs)

    def _judged(
        self, state: Search, loss: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B,) bool: `x` becomes the best point; (B,) its loss; (B,) the next `Search.first`."""
        if self.eot == 1:
            return loss > state.loss, loss, state.first
        second = state.first > -torch.inf
        loss = torch.where(second, (state.first + loss) / 2, loss)
        better = loss > state.loss
        again = better & ~second & (state.loss > -torch.inf)
        return better & ~again, loss, torch.where(again, loss, -torch.inf)

    def _changed(
        self, task: Task, best: torch.Tensor, begin: torch.Tensor, signs: torch.Tensor
    ) -> torch.Tensor:
        """`best` with one change."""
        sizes, p = Sizes.at(task.step, self._schedule(task)), _P.get(task.ball.norm.name)
        x: torch.Tensor = (
            recoloured(task, best, sizes, begin, signs)
            if p is None
            else transferred(task, best, sizes, begin, signs, p)
        )
        return x

    def _drawn(
        self, task: Task, state: Search, query: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`state.begin` and `state.signs`, new ones for the images that have used theirs."""
        rows = (query == 0).nonzero().flatten()
        if not len(rows):
            return state.begin, state.signs
        noise = task.noise("squares")
        image, restart, step = (each[rows] for each in (noise.image, noise.restart, noise.step))
        due = replace(noise, image=image, restart=restart, step=step)
        ahead = task.step[rows, None] + torch.arange(AHEAD, device=rows.device)
        counts = state.begin.shape[2], state.signs.shape[2]
        begin, signs = drawn(due, self._schedule(task).side(ahead), *counts, *task.x.shape[2:])
        return state.begin.index_copy(0, rows, begin), state.signs.index_copy(0, rows, signs)

    def _schedule(self, task: Task) -> Schedule:
        least = 1 if task.ball.norm.name == "linf" else 3
        found = sides(self.p_init, *task.x.shape[2:], least)
        return Schedule(found, self.queries) if self.rescale else Schedule(found)


@hookimpl
def auditor_attacks() -> list[type]:
    """Square."""
    return [Square]
