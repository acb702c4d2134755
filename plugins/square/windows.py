"""Squares of pixels: how large they are, where they lie, and what is in them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

#: The part p of an image that a square covers is halved after these iterations of ITERATIONS, as in
#: the authors' code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
ITERATIONS = 10_000


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
    row and column. What is written has to repeat them, too.
    """

    #: (B, 1, S * S) int64: where the pixels are in a flattened image.
    pixels: torch.Tensor

    @staticmethod
    def at(u: torch.Tensor, side: torch.Tensor, images: torch.Tensor) -> Windows:
        """Squares of `side` (B,) anywhere in `images`, by uniform numbers `u` (B, 2)."""
        height, width = images.shape[2:]
        top = (u[:, 0] * (height + 1 - side)).long()
        left = (u[:, 1] * (width + 1 - side)).long()
        along = torch.arange(int(side.max()), device=u.device).minimum(side[:, None] - 1)
        rows, columns = top[:, None] + along, left[:, None] + along
        return Windows((rows[:, :, None] * width + columns[:, None, :]).flatten(1)[:, None])

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, S * S) pixels of `images` (B, C, H, W)."""
        return images.flatten(2).gather(2, self.pixels.expand(-1, images.shape[1], -1))

    def write(self, images: torch.Tensor, values: torch.Tensor) -> None:
        """Set them in `images` (B, C, H, W), contiguous, to `values` (B, C, S * S), in place."""
        index = self.pixels.expand(-1, images.shape[1], -1)
        images.view(*images.shape[:2], -1).scatter_(2, index, values)


def inside(side: torch.Tensor) -> torch.Tensor:
    """(B, 1, S * S) bool: which pixels of windows of `side` (B,) are no repetitions."""
    along = torch.arange(int(side.max()), device=side.device) < side[:, None]
    return (along[:, :, None] & along[:, None, :]).flatten(1)[:, None]


def signs(u: torch.Tensor) -> torch.Tensor:
    """(B, C, 1) of -1 and 1 from uniform numbers `u` (B, C)."""
    return torch.where(u < 0.5, -1.0, 1.0).to(u.dtype)[:, :, None]
