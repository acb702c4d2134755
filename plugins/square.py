"""The Square attack: random search by changes in squares, for which scores suffice.

Andriushchenko et al. 2020, arXiv:1912.00049: Algorithm 1 is the search, Algorithm 2 the change in
l-infinity, Algorithm 3 that in l2. The change in l1 is that of l2 with norms in l1 and narrower
bumps (Croce & Hein 2021, arXiv:2103.01208). Each image has squares, signs and a schedule of its
own, and a square may lie anywhere in the image.
"""

from __future__ import annotations

import functools
import math
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

#: The part p of an image that a square covers is halved after these iterations of ITERATIONS, as in
#: the authors' code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
ITERATIONS = 10_000
#: Random numbers are drawn for so many queries at once: a draw costs much, a number little.
AHEAD = 64
#: In l2 and l1 the aim is below epsilon by so many units of rounding, to stay inside the ball.
_ROUNDING = 8
#: A window's old change counts a little less than its new bump, so that they cannot cancel.
_OLD = 0.999
#: The order of the norms in which changes move from window to window.
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
        numbers = (2 if p is None else 5) + x.shape[1]
        none = torch.full_like(x[:, 0, 0, 0], -torch.inf)
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
        x = self._changed(
            task, best, moves[torch.arange(len(best), device=best.device), task.step % AHEAD]
        )
        if self.eot > 1:
            x = torch.where(again[:, None, None, None], state.x, x)
        return Search(x, best, torch.where(better, loss, state.loss), first, moves)

    def _changed(self, task: Task, best: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """`best` with one change, by uniform numbers `u` (B, N)."""
        iteration = task.step * ITERATIONS // self.queries if self.rescale else task.step
        p = _P.get(task.ball.norm.name)
        sides = schedule(self.p_init, *best.shape[2:], least=1 if p is None else 3)
        stages = stage(iteration)
        if p is None:
            return recoloured(task, best, torch.tensor(sides, device=best.device)[stages], u)
        return transferred(task, best, sides, stages, u, p)


def schedule(p: float, height: int, width: int, least: int) -> tuple[int, ...]:
    """The side of the squares in each stage, in pixels.

    Args:
        p: the part of the image that the first ones cover.
        height, width: of the image, which no square exceeds.
        least: 1 in l-infinity; 3 in l2 and l1, where sides are odd unless the image is smaller.
    """
    areas = (p / 2**halvings * height * width for halvings in range(len(HALVINGS) + 1))
    sides = [max(round(math.sqrt(area)), least) for area in areas]
    if least == 3:
        sides = [side + 1 - side % 2 for side in sides]
    return tuple(min(side, height, width) for side in sides)


def stage(iteration: torch.Tensor) -> torch.Tensor:
    """(B,) int64: how often p has been halved at an iteration (B,), counted from 0."""
    return torch.bucketize(iteration, torch.tensor(HALVINGS, device=iteration.device))


@dataclass(frozen=True)
class Windows:
    """A square of pixels in each image.

    Squares of different sides share a tensor: where S is the largest side, pixel (i, j) of S x S
    stands for pixel (min(i, side - 1), min(j, side - 1)), so that a smaller square repeats its last
    row and column.
    """

    #: (B, 1, S * S) int64: where the pixels are in a flattened image.
    pixels: torch.Tensor

    @staticmethod
    def at(u: torch.Tensor, side: torch.Tensor, height: int, width: int) -> Windows:
        """Squares of `side` (B,) anywhere in images of that size, by uniform numbers (B, 2)."""
        top = (u[:, 0] * (height + 1 - side)).long()
        left = (u[:, 1] * (width + 1 - side)).long()
        along = torch.arange(int(side.max()), device=u.device).minimum(side[:, None] - 1)
        rows, columns = top[:, None] + along, left[:, None] + along
        return Windows((rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None])

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, S * S) pixels of `images` (B, C, H, W)."""
        return images.flatten(2).gather(2, self.pixels.expand(-1, images.shape[1], -1))

    def write(self, images: torch.Tensor, values: torch.Tensor) -> None:
        """Set them in `images`, in place, to `values` (B, C, S * S)."""
        index = self.pixels.expand(-1, images.shape[1], -1)
        images.view(*images.shape[:2], -1).scatter_(2, index, values)


def stripes(task: Task) -> torch.Tensor:
    """(B, C, H, W): vertical stripes of -epsilon or epsilon, a pixel wide (section 4.2)."""
    signs = task.noise("stripes").signs(task.x.shape[1], 1, task.x.shape[3])
    return _shifted(task.x, task.ball.epsilon, signs)


def recoloured(task: Task, best: torch.Tensor, side: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """Algorithm 2: a square at -epsilon or epsilon from the clean image, channel by channel.

    One that would change nothing gets the opposite signs; the authors draw until it changes
    something.
    """
    square, epsilon = Windows.at(u[:, :2], side, *best.shape[2:]), task.ball.epsilon
    clean, signs = square.read(task.x), _signs(u[:, 2:])
    same = (_shifted(clean, epsilon, signs) == square.read(best)).flatten(1).all(1)
    signs = torch.where(same[:, None, None], -signs, signs)
    x = best.clone(memory_format=torch.contiguous_format)
    square.write(x, _shifted(clean, epsilon, signs))
    return x


def _shifted(clean: torch.Tensor, epsilon: float, signs: torch.Tensor) -> torch.Tensor:
    return (clean + epsilon * signs).clamp_(0, 1)


def grid(task: Task, p: int) -> torch.Tensor:
    """(B, C, H, W): bumps of random signs side by side, of norm epsilon in all (section 4.3)."""
    count, channels, height, width = task.x.shape
    side = max(min(height, width) // 5, 1)
    down, right = height // side, width // side
    signs = task.noise("grid").signs(channels + 1, down, right)
    bumps = bump_table((side,), p, task.x.dtype, task.x.device)[0]
    tiles = bumps[(signs[:, :1] > 0).long()] * signs[:, 1:, :, :, None, None]
    delta = torch.zeros_like(task.x, memory_format=torch.contiguous_format)
    top, left = (height - down * side) // 2, (width - right * side) // 2
    delta[:, :, top : top + down * side, left : left + right * side] = tiles.transpose(
        3, 4
    ).reshape(count, channels, down * side, right * side)
    delta *= (_aim(task) / _norm(delta.flatten(1), p))[:, :, None, None]
    return (task.x + delta).clamp_(0, 1)


def transferred(
    task: Task,
    best: torch.Tensor,
    sides: tuple[int, ...],
    stages: torch.Tensor,
    u: torch.Tensor,
    p: int,
) -> torch.Tensor:
    """Algorithm 3: the change in one window moves to another and takes a new shape there.

    The other window becomes clean. The first gets, in each channel, as much change as both held
    and a share of what epsilon leaves unused, in the shape of its old change plus a bump.
    """
    side = torch.tensor(sides, device=best.device)[stages]
    along = torch.arange(int(side.max()), device=best.device) < side[:, None]
    inside = (along[:, :, None] & along[:, None, :]).flatten(1)[:, None]  # no repetitions
    bumps = bump_table(sides, p, best.dtype, best.device)[:, :, : along.shape[1], : along.shape[1]]
    bump = bumps[stages, (u[:, 4] < 0.5).long()].flatten(1)[:, None]  # (B, 1, S * S)
    first = Windows.at(u[:, :2], side, *best.shape[2:])
    other = Windows.at(u[:, 2:4], side, *best.shape[2:])
    x = best.clone(memory_format=torch.contiguous_format)
    unused = _aim(task) ** p - _norm((x - task.x).flatten(1), p) ** p
    old = _taken(first, x, task.x)
    size = _norm(old * inside, p)
    moved = _norm(_taken(other, x, task.x) * inside, p)  # what both hold counts once
    shape = bump * _signs(u[:, 5:])
    shape += _OLD * old / size.clamp(min=torch.finfo(size.dtype).tiny)
    wanted = (unused[:, None] / x.shape[1] + size**p + moved**p).clamp(min=0) ** (1 / p)
    shape *= wanted / _norm(shape * inside, p)
    first.write(x, (first.read(task.x) + shape).clamp_(0, 1))
    return x


def _taken(window: Windows, x: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """(B, C, S * S) the change that a window of `x` holds; the window becomes clean."""
    pixels = window.read(clean)
    change = window.read(x) - pixels
    window.write(x, pixels)
    return change


@functools.cache
def bump_table(
    sides: tuple[int, ...], p: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """(stages, 2, S, S): each side's bump and its transpose, repeating pixels as `Windows` do."""
    along = [torch.arange(max(sides)).clamp(max=side - 1) for side in sides]
    upright = [bump(side, p)[i[:, None], i] for side, i in zip(sides, along, strict=True)]
    return torch.stack([torch.stack([one, one.T]) for one in upright]).to(device, dtype)


def bump(side: int, p: int) -> torch.Tensor:
    """(side, side) float64 of norm 1: a pyramid over its upper half, minus one over the lower half.

    At the distance d from its middle in the l-infinity norm, a pyramid is as high as the sum of
    (k + 1)^-2 over k >= d: the eta of section 4.3. In l1 the power is -4, as in AutoAttack's code.
    """
    upper = _pyramid(side // 2, side, p)
    both = torch.cat([upper, -_pyramid(side - side // 2, side, p)])
    return both / torch.linalg.vector_norm(both, p)


def _pyramid(rows: int, columns: int, p: int) -> torch.Tensor:
    down, right = ((torch.arange(n) - n // 2).abs() for n in (rows, columns))
    terms = torch.arange(1, columns // 2 + 2, dtype=torch.float64) ** (-2 if p == 2 else -4)
    pyramid = terms.flip(0).cumsum(0).flip(0)[torch.maximum(down[:, None], right)]
    return pyramid / torch.linalg.vector_norm(pyramid, p)


def _norm(change: torch.Tensor, p: int) -> torch.Tensor:
    """The norms of the last axis, which is kept."""
    return torch.linalg.vector_norm(change, p, dim=-1, keepdim=True)


def _aim(task: Task) -> float:
    """A radius below epsilon by as much as rounding may add."""
    return task.ball.epsilon * (1 - _ROUNDING * torch.finfo(task.x.dtype).eps)


def _signs(u: torch.Tensor) -> torch.Tensor:
    """(B, C, 1) of -1 and 1 from uniform numbers (B, C)."""
    return torch.where(u < 0.5, -1.0, 1.0).to(u.dtype)[:, :, None]


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
