"""A model whose answers are its own and whose gradient is zero."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class _Cut(torch.autograd.Function):
    """The identity, with a zero gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """`x`."""
        return x.clone()  # a view could not be written to in place

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return torch.zeros_like(grads[0])


class Blinded(nn.Module):
    """The mask before a model."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The inner model's scores."""
        scores: torch.Tensor = self.inner(_Cut.apply(x))
        return scores
