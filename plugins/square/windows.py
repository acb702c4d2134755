"""Squares of pixels: how large they are, where they lie, and what is in them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

from auditor.api import Noise

#: The part p of an image that a square covers is halved after these iterations of ITERATIONS, as in
#: the authors' code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
ITERATIONS = 10_000


@dataclass(frozen=True)
class Schedule:
    """How large squares are, by step."""

    #: The side in each of T stages, in pixels; none is larger than the one before.
    sides: tuple[int, ...]
    #: How many steps ITERATIONS iterations are spread over.
    steps: int = ITERATIONS

    def stage(self, step: torch.Tensor) -> torch.Tensor:
        """How often p has been halved at each step, counted from 0; int64 of any shape."""
        iteration = step if self.steps == ITERATIONS else step * ITERATIONS // self.steps
        return torch.bucketize(iteration, _constant(HALVINGS, step.device))

    def side(self, step: torch.Tensor) -> torch.Tensor:
        """The side at each step; int64 of any shape."""
        return _constant(self.sides, step.device)[self.stage(step)]


@functools.cache
def _constant(numbers: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(numbers, device=device)


@functools.cache
def sides(p: float, height: int, width: int, least: int) -> tuple[int, ...]:
    """The side of the squares in each stage, in pixels.

    Args:
        p: the part of the image that the first ones cover.
        height, width: of the image, which no square exceeds.
        least: 1 in l-infinity; 3 in l2 and l1, where sides are odd unless the image is smaller.
    """
    areas = (p / 2**halvings * height * width for halvings in range(len(HALVINGS) + 1))
    found = [max(round(math.sqrt(area)), least) for area in areas]
    if least == 3:
        found = [side + 1 - side % 2 for side in found]
    return tuple(min(side, height, width) for side in found)


@dataclass(frozen=True)
class Sizes:
    """How large the squares of a batch are.

    Squares of different sides share a tensor: where L is the largest side, pixel (i, j) of L x L
    stands for pixel (min(i, side - 1), min(j, side - 1)), so that a smaller square repeats its last
    row and column. What is written to one has to repeat them, too.
    """

    #: The side in each of T stages.
    sides: tuple[int, ...]
    #: (B,) int64.
    stages: torch.Tensor
    #: L.
    largest: int

    @staticmethod
    def at(step: torch.Tensor, schedule: Schedule) -> Sizes:
        """Those at each image's step (B,)."""
        stages = schedule.stage(step)
        return Sizes(schedule.sides, stages, schedule.sides[min(stages.tolist(), default=0)])

    def pick(self, table: torch.Tensor) -> torch.Tensor:
        """(B, 1, L * L): each image's of the squares (T, S, S)."""
        return table[:, : self.largest, : self.largest][self.stages].flatten(1)[:, None]

    def once(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, L * L): 1 at the pixels that are no repetitions, 0 at the others."""
        return self.pick(_once(self.sides, dtype, self.stages.device))


def repeated(square: torch.Tensor, largest: int) -> torch.Tensor:
    """(S, S): a smaller square that repeats its last row and column, as `Sizes` says."""
    along = torch.arange(largest, device=square.device).clamp_(max=len(square) - 1)
    return square[along[:, None], along]


@functools.cache
def _once(sides: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    along = torch.arange(max(sides)) < torch.tensor(sides)[:, None]
    return (along[:, :, None] & along[:, None, :]).to(device, dtype)


@functools.cache
def _offsets(sides: tuple[int, ...], width: int, device: torch.device) -> torch.Tensor:
    """(T, S, S) how far pixels are from the first one in a flattened image."""
    along = (torch.arange(side, device=device) for side in sides)
    squares = (one[:, None] * width + one for one in along)
    return torch.stack([repeated(square, max(sides)) for square in squares])


def drawn(
    noise: Noise, side: torch.Tensor, squares: int, signs: int, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random places, anywhere in the image, and signs.

    Args:
        noise: of B images.
        side: (B, N) int64 sides of the squares, for N queries.
        squares, signs: how many a query needs.
        height, width: of the image.

    Returns:
        (B, N, squares) int64: the first pixel of each square in a flattened image;
        (B, N, signs): -1 or 1.
    """
    u = noise.uniform(side.shape[1], 2 * squares + signs)
    top, left, rest = torch.split(u, [squares, squares, signs], dim=2)
    rows = (top * (height + 1 - side)[:, :, None]).long()
    columns = (left * (width + 1 - side)[:, :, None]).long()
    return rows * width + columns, torch.where(rest < 0.5, -1.0, 1.0).to(u.dtype)


@dataclass(frozen=True)
class Windows:
    """A square of pixels in each image."""

    #: (B, 1, L * L) int64: where they are in a flattened image.
    pixels: torch.Tensor

    @staticmethod
    def at(corner: torch.Tensor, sizes: Sizes, width: int) -> Windows:
        """Those with their first pixels at `corner` (B,) of images so wide."""
        offsets = sizes.pick(_offsets(sizes.sides, width, corner.device))
        return Windows(offsets + corner[:, None, None])

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, L * L) pixels of `images` (B, C, H, W)."""
        return images.flatten(2).gather(2, self.pixels.expand(-1, images.shape[1], -1))

    def write(self, images: torch.Tensor, values: torch.Tensor) -> None:
        """Set them in `images` (B, C, H, W), contiguous, to `values` (B, C, L * L), in place."""
        index = self.pixels.expand(-1, images.shape[1], -1)
        images.flatten(2).scatter_(2, index, values)
