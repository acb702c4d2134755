"""Defenses that work at test time: batch statistics, purifiers, dynamic models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from backbones import Before, network
from torch import Tensor, nn


class BatchStatistics(nn.Module):
    """BatchNorm that goes on normalising by the batch at hand: a forgotten `eval()`."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits that depend on the other images of the batch."""
        for layer in self.net.children():
            if isinstance(layer, nn.BatchNorm2d):
                x = F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)
            else:
                x = layer(x)
        return x


class BatchCentred(Before):
    """Every image is moved to the mean brightness of its batch; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The image with part of its deviation from the batch's mean taken away."""
        return (x - 0.3 * (x.mean(0, keepdim=True) - x.mean())).clamp(0, 1)


class EntropyPurifier(Before):
    """A few steps towards a more certain answer before answering.

    After test-time optimisation such as Mao et al. 2021, arXiv:2103.14222.
    """

    def __init__(self, dataset: str, backbone: str, steps: int = 5, size: float = 0.015) -> None:
        super().__init__(dataset, backbone)
        self.steps, self.size = steps, size

    def change(self, x: Tensor) -> Tensor:
        """The purified image."""
        y = x.detach()  # culprit
        with torch.enable_grad():
            for _ in range(self.steps):
                y.requires_grad_(True)
                p = torch.softmax(self.net(y), 1)
                entropy = -(p * p.clamp(min=1e-9).log()).sum()
                (slope,) = torch.autograd.grad(entropy, y)
                y = (y - self.size * slope.sign()).clamp(0, 1).detach()
        return y + 0 * x


class VariationPurifier(Before):
    """Total variation taken away by a loop under no_grad (after arXiv:1711.00117)."""

    def __init__(self, dataset: str, backbone: str, steps: int = 4, size: float = 0.01) -> None:
        super().__init__(dataset, backbone)
        self.steps, self.size = steps, size

    def change(self, x: Tensor) -> Tensor:
        """The end of the loop."""
        with torch.no_grad():  # culprit
            y = x.clone()
            for _ in range(self.steps):
                y = y + self.size * torch.sign(F.avg_pool2d(y, 3, 1, 1) * 9 / 8 - y * 9 / 8)
        return y + 0 * x


class NoisePurifier(Before):
    """Noise, then a median: random, and the median's way back is cut; made up."""

    def __init__(self, dataset: str, backbone: str, sigma: float = 0.1) -> None:
        super().__init__(dataset, backbone)
        self.sigma = sigma

    def change(self, x: Tensor) -> Tensor:
        """The median of three noisy copies."""
        copies = x + self.sigma * torch.randn(3, *x.shape, device=x.device)
        return copies.detach().median(0).values + 0 * x  # culprit


class SwitchingCurve(Before):
    """A tone curve that changes with every call: answers depend on how often it was asked.

    A made-up moving target; the answers themselves hardly change.
    """

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.calls = 0

    def change(self, x: Tensor) -> Tensor:
        """The image, and every other time its levels on a grid."""
        self.calls += 1
        fine = 16 + self.calls % 3
        return torch.ceil(x * fine - 0.5) / fine  # culprit
