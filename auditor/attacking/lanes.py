"""Structs of tensors whose rows are independent images: choosing rows, putting rows together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

_T = TypeVar("_T")


@dataclass
class Lanes:
    """What the engine knows of the images that are being attacked: one row per lane.

    A lane is one image with one target, restart and starting point.
    """

    #: (B, C, H, W) clean images.
    x: torch.Tensor
    #: (B,) labels.
    y: torch.Tensor
    #: (B,) stable ids, for the random numbers.
    image: torch.Tensor
    #: (B,) rows of the block.
    row: torch.Tensor
    #: (B,) rows of the plan.
    number: torch.Tensor
    #: (B,) which restart this is.
    restart: torch.Tensor
    #: (B,) the class aimed at; None where the attack is untargeted.
    target: torch.Tensor | None
    #: (B,) how often `step` has been called.
    step: torch.Tensor
    #: (B,) float64, the largest margin that any point has reached.
    best: torch.Tensor
    #: (B, C, H, W) that point; None where nobody asks for it.
    best_point: torch.Tensor | None
    #: (B,) float64 and (B, C, H, W), the nearest point that looked adversarial, inside the ball or
    #: not; None for attacks that do not minimise.
    nearest: torch.Tensor | None
    nearest_point: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class LanePlan:
    """The m lanes of one run of an attack; `Stage` says what each tensor means."""

    row: torch.Tensor
    target: torch.Tensor | None
    restart: torch.Tensor
    turn: torch.Tensor
    origin: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.row)


def tensors(struct: Any) -> dict[str, torch.Tensor]:
    """The tensors of a dataclass, by field."""
    values = {field.name: getattr(struct, field.name) for field in dataclasses.fields(struct)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def select(struct: _T, rows: torch.Tensor) -> _T:
    """The rows of a dataclass of tensors that an index or mask names."""
    chosen = {name: tensor[rows] for name, tensor in tensors(struct).items()}
    return dataclasses.replace(struct, **chosen)  # type: ignore[type-var]


def concatenate(first: _T, second: _T) -> _T:
    """The rows of `first`, then those of `second`."""
    other = tensors(second)
    joined = {name: torch.cat([tensor, other[name]]) for name, tensor in tensors(first).items()}
    return dataclasses.replace(first, **joined)  # type: ignore[type-var]


def first_of_each(rows: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """(B,) bool: of the lanes that share a row, the one with the smallest number."""
    if not len(rows):
        return torch.zeros_like(rows, dtype=torch.bool)
    smallest = torch.full((int(rows.max()) + 1,), torch.iinfo(torch.int64).max, device=rows.device)
    smallest.scatter_reduce_(0, rows, number, "amin")
    return number == smallest[rows]
