"""The third part's honest controls: relatives of its defenses that hide nothing, other norms."""

from __future__ import annotations

import torch
from backbones import network
from third_networks import trained
from torch import Tensor, nn


class Trained(nn.Module):
    """A network of this part as it is."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = trained(backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        return z


class ExpectedGates(Trained):
    """Every gate's chance in the place of the gate."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x, torch.sigmoid)
        return z


class LevelAttention(Trained):
    """Attention at the temperature at which it was trained."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x, lambda s: torch.softmax(12 * s, 3))
        return z


class LinearCode(Trained):
    """Error-correcting output codes whose bits do not saturate."""

    def forward(self, x: Tensor) -> Tensor:
        """Correlations with the code words, (B, 10)."""
        bits: Tensor = self.net(x)
        return bits @ self.net.words.T / 8


class SmoothNeighbours(Trained):
    """All labelled examples count, the nearer the more."""

    def __init__(self, dataset: str, backbone: str, width: float = 1.0) -> None:
        super().__init__(dataset, backbone)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Logarithms of the classes' densities, (B, 10)."""
        nearness = -self.net(x) / self.width
        return torch.stack(
            [nearness[:, self.net.labels == label].logsumexp(1) for label in range(10)], 1
        )


class DrawnMean(Trained):
    """Three of four different networks, drawn at each call."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean logits of those drawn."""
        drawn = torch.randperm(len(self.net))[:3].tolist()
        return torch.stack([self.net[number](x) for number in drawn]).mean(0)


class Example(nn.Module):
    """The example's network as it is."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        return z
