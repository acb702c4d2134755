"""Threat models: which images an attacker may show the classifier.

A `Norm` measures a perturbation; a `Ball` is everything within epsilon of a batch of clean images
and inside the box [0, 1]. Projections onto ball and box *together* and steepest steps under both
are exact for l-infinity, l2 and l1, up to floating point: the optimality conditions leave at most
one unknown number per image, which is found in finitely many steps. What is approximate: random
starts are drawn uniformly from the ball and then projected, so that near the faces of the box they
are not uniform over the intersection.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from auditor.maths.randomness import Noise

#: One unit in the last place of a float32 pixel near 1.
_PIXEL_ROUNDING = 2.0**-23


@runtime_checkable
class Norm(Protocol):
    """A way to measure perturbations; the four methods are all that the engine knows of it.

    `x`, `x0` and `gradient` are (B, C, H, W), `radius` is in pixel space.
    """

    name: str

    def distance(self, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        """(B,) float64 distances."""

    def project(self, x: torch.Tensor, x0: torch.Tensor, radius: float) -> torch.Tensor:
        """The points of ball and box nearest to `x` in the Euclidean sense."""

    def sample(self, x0: torch.Tensor, radius: float, noise: Noise) -> torch.Tensor:
        """Random points of ball and box."""

    def steepest(self, x: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        """The points of the box, within `length` of `x`, where the linear objective is largest."""


def _box_room(x: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """How far each pixel of `x` may move along the sign of `direction` inside the box."""
    return torch.where(direction > 0, 1 - x, torch.where(direction < 0, x, torch.zeros_like(x)))


def _images(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(B,) or (B, N) as something that broadcasts against, or has the shape of, (B, C, H, W)."""
    return rows.view(like.shape) if rows.dim() == 2 else rows.view(-1, *[1] * (like.dim() - 1))


class Linf:
    """The largest change of any pixel."""

    name = "linf"

    def distance(self, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        return (x.double() - x0.double()).flatten(1).abs().amax(1)

    def project(self, x: torch.Tensor, x0: torch.Tensor, radius: float) -> torch.Tensor:
        return (x - x0).clamp_(-radius, radius).add_(x0).clamp_(0, 1)

    def sample(self, x0: torch.Tensor, radius: float, noise: Noise) -> torch.Tensor:
        return self.project(x0 + radius * (2 * noise.uniform(*x0.shape[1:]) - 1), x0, radius)

    def steepest(self, x: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        return torch.add(x, gradient.sign(), alpha=length).clamp_(0, 1)


class L2:
    """The Euclidean length of the change."""

    name = "l2"

    def distance(self, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        return (x.double() - x0.double()).flatten(1).square().sum(1).sqrt()

    def project(self, x: torch.Tensor, x0: torch.Tensor, radius: float) -> torch.Tensor:
        # Optimality: z = x0 + sign(d) min(s |d|, room), with one s in (0, 1] per image.
        delta = x - x0
        room = _box_room(x0, delta).flatten(1)
        flat = delta.flatten(1)
        clipped = torch.minimum(flat.abs(), room)
        outside = clipped.square().sum(1) > radius**2
        if outside.any():
            filled = self._fill(flat[outside].abs(), room[outside], radius)
            clipped = clipped.index_copy(0, outside.nonzero().flatten(), filled)
        return x0 + _images(flat.sign() * clipped, x0)

    def sample(self, x0: torch.Tensor, radius: float, noise: Noise) -> torch.Tensor:
        direction = noise.normal(*x0.shape[1:])
        dimensions = math.prod(x0.shape[1:])
        direction = direction / _images(direction.flatten(1).norm(dim=1), x0)
        scale = radius * noise.named("radius").uniform(1)[:, 0] ** (1 / dimensions)
        return self.project(x0 + direction * _images(scale, x0), x0, radius)

    def steepest(self, x: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        flat = gradient.flatten(1)
        room = _box_room(x, gradient).flatten(1)
        return x + _images(flat.sign() * self._fill(flat.abs(), room, length), x)

    @staticmethod
    def _fill(weight: torch.Tensor, room: torch.Tensor, radius: float) -> torch.Tensor:
        """(B, N) lengths min(s weight, room) of l2 norm `radius`, or all of `room` if that is less.

        From s too small upwards: pixels found at the box's face stay there, so the set of free
        pixels only shrinks, and when it no longer does, s is exact.
        """
        tiny = torch.finfo(weight.dtype).tiny
        room = torch.where(weight > 0, room, 0)
        free = weight > 0
        while True:
            # Only ratios matter: the largest free weight is 1, so that no square can overflow, and
            # none that counts can underflow.
            ratio = torch.where(free, weight, 0)
            ratio = ratio / ratio.amax(1, keepdim=True).clamp_(min=tiny)
            spent = torch.where(free, 0, room).square().sum(1, keepdim=True)
            slope = ratio.square().sum(1, keepdim=True)
            s = torch.sqrt((radius**2 - spent).clamp_(min=0) / slope.clamp_(min=tiny))
            still_free = free & (s * ratio < room)
            if torch.equal(still_free, free):
                return torch.where(free, s * ratio, room)
            free = still_free


class L1:
    """The sum of all changes."""

    name = "l1"

    def distance(self, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
        return (x.double() - x0.double()).flatten(1).abs().sum(1)

    def project(self, x: torch.Tensor, x0: torch.Tensor, radius: float) -> torch.Tensor:
        # Optimality: z = x0 + sign(d) min(max(|d| - t, 0), room), with one t >= 0 per image.
        delta = x - x0
        room = _box_room(x0, delta).flatten(1)
        size = delta.flatten(1).abs()
        clipped = torch.minimum(size, room)
        outside = clipped.sum(1) > radius
        if outside.any():
            # In float64: for points far away, t is large beside what it leaves of each pixel.
            shrunk = self._shrink(size[outside].double(), room[outside].double(), radius)
            clipped = clipped.index_copy(0, outside.nonzero().flatten(), shrunk.to(x.dtype))
        return x0 + _images(delta.flatten(1).sign() * clipped, x0)

    @staticmethod
    def _shrink(size: torch.Tensor, room: torch.Tensor, radius: float) -> torch.Tensor:
        """(B, N) lengths min(max(size - t, 0), room) that sum to `radius`.

        The sum falls piecewise linearly in t: its slope changes by -1 where a pixel leaves the
        box's face (t = size - room) and by +1 where it reaches zero (t = size).
        """
        knots = torch.cat([(size - room).clamp(min=0), size], 1)
        turns = torch.cat([-torch.ones_like(size), torch.ones_like(size)], 1)
        knots, order = knots.sort(1)
        slope = turns.gather(1, order).cumsum(1)
        total = torch.minimum(size, room).sum(1, keepdim=True)
        drops = slope[:, :-1] * knots.diff(dim=1)
        values = torch.cat([total, total + drops.cumsum(1)], 1)
        k = ((values > radius).sum(1, keepdim=True) - 1).clamp(min=0)
        t = knots.gather(1, k) + (values.gather(1, k) - radius) / -slope.gather(1, k).clamp(max=-1)
        return torch.minimum((size - t).clamp(min=0), room)

    def sample(self, x0: torch.Tensor, radius: float, noise: Noise) -> torch.Tensor:
        # d of d + 1 normalised exponentials are uniform on the simplex (Devroye 1986, ch. V.2).
        parts = noise.exponential(*x0.shape[1:])
        total = parts.flatten(1).sum(1) + noise.named("rest").exponential(1)[:, 0]
        signs = noise.named("sign").signs(*x0.shape[1:])
        return self.project(x0 + signs * parts * _images(radius / total, x0), x0, radius)

    def steepest(self, x: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        # A linear programme: fill the pixels of largest slope to the box until `length` is spent.
        flat = gradient.flatten(1)
        room = _box_room(x, gradient).flatten(1)
        order = flat.abs().sort(dim=1, descending=True, stable=True).indices
        sorted_room = room.gather(1, order)
        before = sorted_room.cumsum(1) - sorted_room
        filled = torch.minimum((length - before).clamp(min=0), sorted_room)
        return x + _images(torch.zeros_like(flat).scatter(1, order, filled) * flat.sign(), x)


NORMS: tuple[Norm, ...] = (Linf(), L2(), L1())


def summary_of(norm: Norm) -> str:
    """What the norm measures: the first line of its class's docstring."""
    return (inspect.getdoc(type(norm)) or "").split("\n", 1)[0]


@dataclass(frozen=True)
class Ball:
    """All images within `epsilon` of the clean ones `x0` (B, C, H, W) and inside the box [0, 1]."""

    norm: Norm
    epsilon: float
    x0: torch.Tensor

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest points of ball and box."""
        return self.norm.project(x, self.x0, self.epsilon)

    def sample(self, noise: Noise) -> torch.Tensor:
        """Random points of ball and box."""
        return self.norm.sample(self.x0, self.epsilon, noise)

    def steepest(self, x: torch.Tensor, gradient: torch.Tensor, length: float) -> torch.Tensor:
        """The points of the box, within `length` of `x`, where the linear objective is largest."""
        return self.norm.steepest(x, gradient, length)

    def distance(self, x: torch.Tensor) -> torch.Tensor:
        """(B,) float64 distances from the clean images."""
        return self.norm.distance(x, self.x0)

    def in_box(self, x: torch.Tensor) -> torch.Tensor:
        """(B,) bool: every pixel lies in [0, 1]; NaN does not."""
        flat = x.flatten(1)
        return (flat.amin(1) >= 0) & (flat.amax(1) <= 1)

    def rounding(self) -> float:
        """How far storing pixels in float32 may carry an image: the tolerance of the ball.

        The norm of a change of every pixel by one unit in the last place. The box has no tolerance.
        """
        zero = self.x0.new_zeros(1, *self.x0.shape[1:])
        return self.norm.distance(zero + _PIXEL_ROUNDING, zero).item()

    def contains(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Whether each image is inside (box, ball): two (B,) bool tensors. NaN is in neither."""
        return self.in_box(x), self.distance(x) <= self.epsilon + self.rounding()
