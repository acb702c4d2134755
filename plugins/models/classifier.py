"""A classifier of transformers as a plain module."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Classifier(nn.Module):
    """Logits of a classifier of transformers.

    Args:
        model: the classifier.
        scale: mean and standard deviation per channel that pixels are normalised with, if any.
    """

    #: Told in the report.
    remark = ""
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, scale: tuple[list[float], list[float]] | None) -> None:
        super().__init__()
        self.model = model
        self._normalizes = scale is not None
        mean, std = scale or ([0.0], [1.0])
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, K) for pixels (B, C, H, W)."""
        if self._normalizes:
            x = (x - self.mean) / self.std
        logits: Tensor = self.model(pixel_values=x).logits
        return logits
