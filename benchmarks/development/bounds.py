"""Interval bound propagation (arXiv:1810.12715): provable training of plain networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from development.objectives import grown


def intervals(model: nn.Sequential, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds (B, K) on the logits of every image in the boxes low <= x <= high, (B, C, H, W).

    Raises:
        TypeError: for a layer that is neither affine, nor ReLU, nor Flatten.
    """
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            centre, radius = layer((low + high) / 2), _spread(layer, (high - low) / 2)
            low, high = centre - radius, centre + radius
        elif isinstance(layer, nn.ReLU | nn.Flatten):
            low, high = layer(low), layer(high)
        else:
            raise TypeError(f"no interval bounds for {type(layer).__name__}")
    return low, high


def _spread(layer: nn.Conv2d | nn.Linear, radius: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return F.linear(radius, layer.weight.abs())
    return F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)  # type: ignore[arg-type]


@dataclass(frozen=True)
class IntervalBounds:
    """Half cross-entropy, half that of the worst logits the bounds allow; at first only the former.

    arXiv:1810.12715, equation 12.
    """

    epsilon: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, progress: float) -> Tensor:
        assert isinstance(model, nn.Sequential)
        epsilon, weight = grown(self.epsilon, progress), min(0.5, progress)
        low, high = intervals(model, (x - epsilon).clamp(min=0), (x + epsilon).clamp(max=1))
        true = F.one_hot(y, low.shape[1]).bool()
        worst = torch.where(true, low, high)
        clean = F.cross_entropy(model(x), y)
        return (1 - weight) * clean + weight * F.cross_entropy(worst, y)
