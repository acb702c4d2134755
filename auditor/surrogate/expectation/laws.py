"""What is known of a tensor that was made of random numbers: its law, or the chance of a mask.

A law is `shift + scale Z` with Z of one of five kinds. Adding to it, scaling it and taking the
logarithms by which noise is usually made out of uniform numbers leads from law to law; a question
asked of it (a comparison, a sigmoid, a softmax) has the law's answer in place of one draw's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

Number: TypeAlias = "float | torch.Tensor"
Kind = Literal["uniform", "exponential", "gumbel", "logistic", "normal"]

#: What is added to uniform numbers, or taken from them, to keep a logarithm finite is less.
_SAFETY = 1e-3
#: Mean and variance of each kind.
_MEAN = {"uniform": 0.5, "exponential": 1.0, "gumbel": 0.5772156649, "logistic": 0.0, "normal": 0.0}
_VARIANCE = {
    "uniform": 1 / 12,
    "exponential": 1.0,
    "gumbel": math.pi**2 / 6,
    "logistic": math.pi**2 / 3,
    "normal": 1.0,
}
#: P(Z <= z) for each kind.
_BELOW: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "uniform": lambda z: z.clamp(0, 1),
    "exponential": lambda z: 1 - (-z.clamp(min=0)).exp(),
    "gumbel": lambda z: (-(-z).exp()).exp(),
    "logistic": torch.sigmoid,
    "normal": torch.special.ndtr,
}


@dataclass(frozen=True)
class Law:
    """shift + scale Z for every entry of a tensor.

    Attributes:
        kind: of Z, standard: on (0, 1), of rate 1, or centred at 0 with scale 1.
        shift: a number, or a tensor of the tensor's shape; it may depend on the input.
        scale: likewise.
    """

    kind: Kind
    shift: Number = 0.0
    scale: Number = 1.0

    @property
    def mean(self) -> Number:
        """The expectation."""
        return self.shift + self.scale * _MEAN[self.kind]

    @property
    def variance(self) -> Number:
        """The variance."""
        return self.scale * self.scale * _VARIANCE[self.kind]

    @property
    def plain(self) -> bool:
        """Z itself, up to what keeps a logarithm finite."""
        return self._is(0.0, 1.0)

    def _is(self, shift: float, scale: float) -> bool:
        if isinstance(self.shift, torch.Tensor) or isinstance(self.scale, torch.Tensor):
            return False
        return max(abs(self.shift - shift), abs(self.scale - scale)) < _SAFETY

    def plus(self, other: Number) -> Law:
        """The law of the sum with what is not random."""
        return Law(self.kind, self.shift + other, self.scale)

    def times(self, factor: Number) -> Law:
        """The law of the product with what is not random."""
        return Law(self.kind, self.shift * factor, self.scale * factor)

    def logarithm(self) -> Law | None:
        """The law of its logarithm: of uniform numbers minus an exponential, of these a Gumbel."""
        if self.kind == "uniform" and (self.plain or self._is(1.0, -1.0)):
            return Law("exponential", 0.0, -1.0)
        if self.kind == "exponential" and self.plain:
            return Law("gumbel", 0.0, -1.0)
        return None

    def minus(self, other: Law) -> Law | None:
        """The law of the difference, where it is of a kind.

        Two exponentials, log u and log(1 - u), or two Gumbels, make a logistic number. The former
        are taken for those of the same u, which is how such noise is made.
        """
        kinds = {self.kind, other.kind}
        if isinstance(self.scale, torch.Tensor) or isinstance(other.scale, torch.Tensor):
            return None
        if kinds == {"exponential"} and self.scale == other.scale == -1.0:
            return Law("logistic", self.shift - other.shift, 1.0)
        if kinds == {"gumbel"} and self.scale == other.scale:
            return Law("logistic", self.shift - other.shift, self.scale)
        return None

    def above(self, limit: Number) -> torch.Tensor:
        """The chance to exceed `limit`, differentiable in all that it depends on."""
        z = torch.as_tensor((limit - self.shift) / self.scale)
        below = _BELOW[self.kind](z if z.is_floating_point() else z.to(torch.float32))
        return torch.where(torch.as_tensor(self.scale, device=below.device) > 0, 1 - below, below)

    def damping(self, draws: int = 1) -> Number:
        """What noise divides the argument of a sigmoid by, in its expectation.

        sqrt(1 + pi variance / 8) for a normal number; `draws` independent ones make a softmax
        compare as many.

        Source: MacKay 1992, "The evidence framework applied to classification networks", eq. 10.
        """
        spread = 1 + math.pi / 8 * draws * self.variance
        return spread.sqrt() if isinstance(spread, torch.Tensor) else math.sqrt(spread)


@dataclass(frozen=True)
class Chance:
    """The tensor holds 0 and 1, false and true; `p`, of its shape, says how often the latter."""

    p: torch.Tensor

    def negated(self) -> Chance:
        """Of the opposite."""
        return Chance(1 - self.p)


Known: TypeAlias = "Law | Chance"


class Book:
    """What is known of the tensors of one pass."""

    def __init__(self) -> None:
        #: By id; the tensors are kept, so that no other gets the id of one.
        self._entries: dict[int, tuple[torch.Tensor, Known]] = {}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._entries

    def of(self, value: Any) -> Known | None:
        """What is known of it, if it is a tensor and anything is."""
        entry = self._entries.get(id(value))
        return None if entry is None else entry[1]

    def valued(self, value: Any) -> Any:
        """What it counts for in a sum or product: a mask its chance."""
        known = self.of(value)
        return known.p if isinstance(known, Chance) else value

    def note(self, tensor: torch.Tensor, known: Known | None) -> torch.Tensor:
        """The tensor, of which that is known from now on, and nothing else."""
        if known is None:
            self._entries.pop(id(tensor), None)
        else:
            self._entries[id(tensor)] = tensor, known
        return tensor
