"""What the adapters share: a model that other libraries can call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.api import Surrogate

if TYPE_CHECKING:
    import torch


def as_module(surrogate: Surrogate) -> torch.nn.Module:
    """The surrogate as a module in evaluation mode, in the type that it is called with."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return surrogate.scores(x)

    return Module().eval()
