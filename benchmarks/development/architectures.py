"""Small classifiers of images in [0, 1], one per way in which activations shape a landscape."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

#: Makes the layer that follows a linear one with so many channels.
Layer = Callable[[int], nn.Module]


def strided_net() -> nn.Module:
    """Build a smooth CNN, (B, 1, 28, 28) -> (B, 10): strided convolutions, GroupNorm, GELU."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, stride=2, padding=2), nn.GELU(),  # (B, 32, 14, 14)
        nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GroupNorm(8, 64), nn.GELU(),  # (B, 64, 7, 7)
        nn.Conv2d(64, 64, 3, stride=2), nn.GroupNorm(8, 64), nn.GELU(),  # (B, 64, 3, 3)
        nn.Flatten(), nn.Linear(64 * 9, 10),
    )  # fmt: skip


def plain_relu_net() -> nn.Module:
    """Build a CNN, (B, 1, 28, 28) -> (B, 10), without normalization: that of arXiv:2001.03994."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),  # (B, 16, 14, 14)
        nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 7, 7)
        nn.Flatten(), nn.Linear(32 * 49, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def colour_net() -> nn.Module:
    """Build a BatchNorm CNN, (B, 3, 32, 32) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(2),  # (B, 64, 8, 8)
        nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 16, 10),
    )  # fmt: skip


def _no_norm(channels: int) -> nn.Module:
    return nn.Identity()


def conv_net(
    activation: Callable[[], nn.Module] = nn.ReLU,
    *,
    shape: tuple[int, int, int] = (1, 28, 28),
    classes: int = 10,
    norm: Layer = _no_norm,
    widths: tuple[int, int, int] = (16, 32, 100),
) -> nn.Module:
    """Build a CNN, (B, *shape) -> (B, classes), of two strided convolutions and two linear layers.

    Args:
        activation: after every layer but the last.
        norm: before the activation of the convolutions.
        widths: channels of the convolutions, and of the layer before the last.
    """
    first, second, hidden = widths
    flat = second * (shape[1] // 4) * (shape[2] // 4)
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 4, stride=2, padding=1), norm(first), activation(),
        nn.Conv2d(first, second, 4, stride=2, padding=1), norm(second), activation(),
        nn.Flatten(), nn.Linear(flat, hidden), activation(), nn.Linear(hidden, classes),
    )  # fmt: skip


def pooling_net() -> nn.Module:
    """Build a CNN, (B, 1, 28, 28) -> (B, 10), that halves its maps by their maxima."""
    return nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),  # (B, 12, 14, 14)
        nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),  # (B, 24, 7, 7)
        nn.Flatten(), nn.Linear(24 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


class Maxout(nn.Module):
    """The largest of each pair of neighbouring channels, (B, 2C, ...) -> (B, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, 2)).amax(2)


def maxout_net() -> nn.Module:
    """Build a maxout CNN (arXiv:1302.4389), (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1), Maxout(),  # (B, 16, 14, 14)
        nn.Conv2d(16, 64, 4, stride=2, padding=1), Maxout(),  # (B, 32, 7, 7)
        nn.Flatten(), nn.Linear(32 * 49, 128), Maxout(), nn.Linear(64, 10),
    )  # fmt: skip


def wide_net() -> nn.Module:
    """Build one hidden layer of 4096 units, (B, 1, 28, 28) -> (B, 10)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 10))


class Residual(nn.Module):
    """x + convolution, BatchNorm and ReLU of x, with the shape of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.branch(x)
        return x + branch


def deep_net() -> nn.Module:
    """Build a CNN of 32 layers, (B, 1, 28, 28) -> (B, 10), its blocks residual."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, stride=2, padding=1), *(Residual(8) for _ in range(10)),
        nn.Conv2d(8, 16, 4, stride=2, padding=1), *(Residual(16) for _ in range(19)),
        nn.Flatten(), nn.Linear(16 * 49, 10),
    )  # fmt: skip


class Binary(nn.Module):
    """Weights of two values per unit, minus and plus their mean size (arXiv:1603.05279, eq. 6)."""

    def forward(self, weight: Tensor) -> Tensor:
        size = weight.detach().abs().flatten(1).mean(1)
        size = size.view(-1, *[1] * (weight.ndim - 1))
        coarse = torch.where(weight >= 0, size, -size)
        return weight + (coarse - weight).detach()


class Ternary(nn.Module):
    """Weights of three values per layer, one of them zero (arXiv:1605.04711, eqs. 5 and 6)."""

    def forward(self, weight: Tensor) -> Tensor:
        size = weight.detach().abs()
        kept = size > 0.7 * size.mean()
        scale = size[kept].mean()
        coarse = scale * weight.detach().sign() * kept
        return weight + (coarse - weight).detach()


def quantised(model: nn.Module, kind: Callable[[], nn.Module]) -> nn.Module:
    """`model` with the weights of every layer but the last held to a few values, also in training.

    Gradients pass to the full weights as if they were the coarse ones.
    """
    layers = [part for part in model.modules() if isinstance(part, nn.Conv2d | nn.Linear)]
    for layer in layers[:-1]:
        parametrize.register_parametrization(layer, "weight", kind())
    return model
