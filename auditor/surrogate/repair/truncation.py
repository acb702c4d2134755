"""Tensors that leave torch (NumPy, PIL) and come back: which return is which departure."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import torch

#: Least correlation between what left and what came back.
_LIKENESS = 0.3
#: How many departures are remembered at most.
_MOST = 4096

#: A twin, the scores that decided it if they are known, and where it has come from.
_Known = tuple[torch.Tensor, torch.Tensor | None, frozenset[Any]]


@dataclass
class Departures:
    """Twins of tensors that have left torch, oldest first.

    A tensor that comes out of nowhere with as many entries as one that left, and much like it, is
    taken for its return. The axes may be in another order (height, width, channels) and the scale
    another (0 to 255); the gradient passes straight, with that scale.
    """

    pending: list[_Known] = field(default_factory=list)

    def left(self, soft: torch.Tensor, scores: torch.Tensor | None, sites: frozenset[Any]) -> None:
        """A tensor with this twin leaves."""
        if len(self.pending) < _MOST:
            self.pending.append((soft, scores, sites))

    def returned(self, tensor: torch.Tensor) -> _Known | None:
        """What came back as `tensor`, in its shape and scale; None if nothing is like it.

        Its scores are those of what left, or that itself, where no axis has moved: whatever was
        done outside, more stays more.
        """
        if tensor.is_complex() or tensor.dtype == torch.bool or tensor.numel() < 2:
            return None
        best: tuple[float, int, torch.Tensor, float] | None = None
        value = tensor.detach().double()
        for place, (soft, _, _) in enumerate(self.pending):
            for candidate in _arrangements(soft, value.shape):
                likeness, scale = _likeness(candidate.detach().double(), value)
                if likeness > (best[0] if best else _LIKENESS) + 1e-9:
                    best = likeness, place, candidate, scale
        if best is None:
            return None
        _, place, candidate, scale = best
        soft, scores, sites = self.pending.pop(place)
        scores = soft if scores is None else scores
        return candidate * scale, scores if scores.shape == value.shape else None, sites


def _arrangements(soft: torch.Tensor, shape: torch.Size) -> list[torch.Tensor]:
    """The twin with its axes in every order that gives the shape (all 4 at most)."""
    if soft.numel() != shape.numel():
        return []
    if soft.dim() == len(shape) <= 4:
        orders = itertools.permutations(range(soft.dim()))
        return [soft.permute(order) for order in orders if soft.permute(order).shape == shape]
    flat = [soft.reshape(shape)]
    if soft.dim() == 3:  # an image that comes back as a row of bytes, channels last
        flat.append(soft.permute(1, 2, 0).reshape(shape))
    return flat


def alike(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether one tensor may be the other, somewhat changed (both of one shape)."""
    values = (tensor.detach().double() for tensor in (first, second))
    return _likeness(*values)[0] > _LIKENESS


def _likeness(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    """Correlation, and the factor from the first to the second."""
    a, b = first - first.mean(), second - second.mean()
    product, square = float((a * b).sum()), float((a * a).sum())
    length = (square * float((b * b).sum())) ** 0.5
    if not length:  # constant: only an equal one is alike
        return (1.0, 1.0) if torch.equal(first, second) else (0.0, 1.0)
    return product / length, product / square
