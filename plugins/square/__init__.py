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
from auditor_plugins.square.windows import Schedule, Sizes, drawn, sides

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
CHUNK = 64
#: The order p of the norms in which changes move from window to window.
_P = {"l2": 2, "l1": 1}

Part = Annotated[float, Gt(0), Le(1)]
Ahead = Annotated[int, Gt(0), Le(CHUNK)]


@dataclass
class Search(State):
    """The best point so far; `x` is that point with one change."""

    #: (B, C, H, W).
    best: torch.Tensor
    #: (B,) the loss at `best`; -inf before the start has been evaluated.
    loss: torch.Tensor
    #: (B,) the loss at `x` where it is evaluated for the second time; else -inf.
    first: torch.Tensor
    #: (B,) int64, the number of the change in `x`, or of the first of those in it.
    query: torch.Tensor
    #: (B,) bool: every change has been tried.
    done: torch.Tensor
    #: (B,) int64, for how many chunks of queries random numbers have been drawn.
    chunks: torch.Tensor
    #: Of the last two chunks: (B, 2 CHUNK, 1) int64, in l2 and l1 (B, 2 CHUNK, 2), where squares
    #: begin; (B, 2 CHUNK, C), in l2 and l1 (B, 2 CHUNK, C + 1), signs.
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

    Few changes help. With `ahead` above 1 the model is asked about several of the next ones at
    once, as if none of them would, which is faster for a few images. The search is the same; the
    points after one that helped were evaluated in vain, and count as passes, not as queries.
    """

    queries: PositiveInt = param(5000, "points per restart, the start included")
    p_init: Part = param(0.8, "part of the image that the first squares cover")
    restarts: PositiveInt = param(1, "random starts; images that fell are not started again")
    loss: ObjectiveName = param("margin", "objective to maximise")
    eot: PositiveInt = param(1, "evaluations each query is averaged over, for random models")
    rescale: bool = param(False, "shrink squares over `queries` as the paper does over 10000")
    ahead: Ahead = param(1, "queries evaluated together; those after one that helps are in vain")

    def __post_init__(self) -> None:
        if self.ahead > 1 and self.eot > 1:
            raise ValueError("ahead has to be 1 where eot is above 1")

    @property
    def steps(self) -> int:
        """One fewer than the points, for the start is one."""
        return self.queries - 1

    @property
    def points(self) -> int:
        """How many changes of the best point are evaluated in one step."""
        return self.ahead

    def lane_passes(self, classes: int) -> tuple[int, int]:
        """Those of all queries; what `ahead` evaluates in vain is a few percent more."""
        return self.eot * self.queries, 0

    def start(self, task: Task) -> Search:
        """`task.origin`; without one, stripes in l-infinity, and a grid of bumps in l2 and l1."""
        p = _P.get(task.ball.norm.name)
        x = task.origin
        if x is None:
            x = stripes(task) if p is None else grid(task, p)
        none = torch.full_like(x[:, 0, 0, 0], -torch.inf)
        squares, signs = (1, x.shape[1]) if p is None else (2, x.shape[1] + 1)
        return Search(
            self._proposed(x.repeat_interleave(self.ahead, 0)),
            best=x,
            loss=none,
            first=none,
            query=torch.zeros_like(task.step),
            done=torch.zeros_like(task.step, dtype=torch.bool),
            chunks=torch.zeros_like(task.step),
            begin=task.step.new_zeros(len(x), 2 * CHUNK, squares),
            signs=x.new_zeros(len(x), 2 * CHUNK, signs),
        )

    def step(self, task: Task, state: Search, seen: Observation) -> Search:
        """Algorithm 1: keep the first of `x` with the largest loss so far, and go on from there."""
        better, loss, first = self._judged(state, seen.loss.view(-1, self.ahead))
        which = better.int().argmax(1)  # the first
        rows = better.any(1).nonzero().flatten()
        chosen = state.x.view(-1, *state.best.shape[1:])[rows * self.ahead + which[rows]]
        best = state.best.index_copy(0, rows, chosen)
        tried = torch.where(better.any(1), which + 1, self.ahead)
        query = torch.where(task.step > 0, state.query + tried, 0)
        state = replace(
            state,
            best=best,
            loss=torch.where(better.any(1), loss.gather(1, which[:, None])[:, 0], state.loss),
            first=first,
            query=query,
            done=query >= self.queries - 1,
        )
        state = self._drawn(task, state)
        x = self._changed(task, state)
        if self.eot > 1:
            again = first > -torch.inf
            x = torch.where(again[:, None, None, None], state.x, x)
        return replace(state, x=self._proposed(x))

    def _proposed(self, x: torch.Tensor) -> torch.Tensor:
        """`Search.x` of (B * ahead, C, H, W) points."""
        return x if self.ahead == 1 else x.view(-1, self.ahead, *x.shape[1:])

    def _judged(
        self, state: Search, loss: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, ahead) bool, better than the best point; their losses; (B,) the next `first`."""
        best = state.loss[:, None]
        if self.eot == 1:
            return loss > best, loss, state.first
        second = state.first[:, None] > -torch.inf
        loss = torch.where(second, (state.first[:, None] + loss) / 2, loss)
        better = loss > best
        again = better & ~second & (best > -torch.inf)
        return better & ~again, loss, torch.where(again, loss, -torch.inf)[:, 0]

    def _changed(self, task: Task, state: Search) -> torch.Tensor:
        """(B * ahead, C, H, W): the best point with each of the changes that are next."""
        clean, best = (x.repeat_interleave(self.ahead, 0) for x in (task.x, state.best))
        numbers = self._next(state.query)
        row, place = (
            torch.arange(len(numbers), device=numbers.device)[:, None],
            numbers % (2 * CHUNK),
        )
        begin, signs = (of[row, place].flatten(0, 1) for of in (state.begin, state.signs))
        numbers, p = numbers.flatten(), _P.get(task.ball.norm.name)
        sizes = Sizes.at(numbers, self._schedule(task))
        x: torch.Tensor = (
            recoloured(clean, task.ball.epsilon, best, sizes, begin, signs)
            if p is None
            else transferred(clean, task.ball.epsilon, best, sizes, begin, signs, p)
        )
        if self.ahead > 1:  # no change comes after the last
            x = torch.where((numbers < self.queries - 1)[:, None, None, None], x, best)
        return x

    def _next(self, query: torch.Tensor) -> torch.Tensor:
        """(B, ahead): the numbers of the changes that are evaluated together."""
        return query[:, None] + torch.arange(self.ahead, device=query.device)

    def _drawn(self, task: Task, state: Search) -> Search:
        """`state` with random numbers for the changes that are next."""
        rows = (self._next(state.query)[:, -1] // CHUNK >= state.chunks).nonzero().flatten()
        if not len(rows):
            return state
        noise, begins = task.noise("squares"), state.chunks[rows] * CHUNK
        image, restart = noise.image[rows], noise.restart[rows]
        due = replace(noise, image=image, restart=restart, step=begins + 1)
        along = torch.arange(CHUNK, device=rows.device)
        counts = state.begin.shape[2], state.signs.shape[2]
        side = self._schedule(task).side(begins[:, None] + along)
        begin, signs = drawn(due, side, *counts, *task.x.shape[2:])
        place = rows[:, None], begins[:, None] % (2 * CHUNK) + along
        return replace(
            state,
            chunks=state.chunks.index_add(0, rows, torch.ones_like(rows)),
            begin=state.begin.index_put(place, begin),
            signs=state.signs.index_put(place, signs),
        )

    def _schedule(self, task: Task) -> Schedule:
        least = 1 if task.ball.norm.name == "linf" else 3
        found = sides(self.p_init, *task.x.shape[2:], least)
        return Schedule(found, self.queries) if self.rescale else Schedule(found)


@hookimpl
def auditor_attacks() -> list[type]:
    """Square."""
    return [Square]
