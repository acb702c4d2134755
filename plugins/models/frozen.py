"""Modules whose mode was decided when they were saved."""

from __future__ import annotations

from torch import Tensor, nn


class Frozen(nn.Module):
    """A module that cannot be switched between training and evaluation."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.train(False)

    def train(self, mode: bool = True) -> Frozen:
        """Nothing changes but what is said of the mode."""
        for part in self.modules():
            part.training = mode
        return self

    def forward(self, x: Tensor) -> object:
        """What the module returns for (B, C, H, W)."""
        return self.inner(x)
