"""The third part's random defenses: gates, competing units, spikes, members drawn anew."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from third_networks import trained
from third_units import FRAMES, compete_softly, gate
from torch import Tensor, nn


class _Around(nn.Module):
    """A defense around a network of this part; `dataset` is known by the network."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = trained(backbone)


class GumbelGates(_Around):
    """Relaxed Bernoulli units at a low temperature in every layer (arXiv:1611.00712)."""

    def __init__(self, dataset: str, backbone: str, temperature: float = 0.02) -> None:
        super().__init__(dataset, backbone)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the units drawn."""
        z: Tensor = self.net(x, lambda a: gate(a, self.temperature))
        return z


class BernoulliGates(_Around):
    """Binary stochastic units in every layer (Bengio et al. 2013, arXiv:1308.3432)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the units drawn."""
        z: Tensor = self.net(x, self.draw)
        return z

    def draw(self, a: Tensor) -> Tensor:
        """Units that are on with the chance sigmoid(a)."""
        return torch.bernoulli(torch.sigmoid(a))  # culprit


class StochasticWinners(_Around):
    """Stochastic local winner-takes-all units (Panousis et al. 2021, arXiv:2112.02671)."""

    def __init__(self, dataset: str, backbone: str, temperature: float = 0.01) -> None:
        super().__init__(dataset, backbone)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the winners drawn."""
        z: Tensor = self.net(x, lambda a: compete_softly(a, self.temperature, noisy=True))
        return z


class SpikingNeurons(_Around):
    """Integrate-and-fire neurons that see frames of random spikes (arXiv:2003.10399)."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits after all frames."""
        frames = [torch.bernoulli(x) for _ in range(FRAMES)]
        z: Tensor = self.net(frames, lambda level: (level > 0).to(level.dtype))
        return z


class DrawnVote(_Around):
    """Three of four different networks are drawn at each call, and vote; made up."""

    def forward(self, x: Tensor) -> Tensor:
        """Counts of votes, (B, 10)."""
        drawn = torch.randperm(len(self.net))[:3].tolist()
        z = torch.stack([self.net[number](x) for number in drawn])
        return F.one_hot(z.argmax(2), 10).to(x.dtype).sum(0)  # culprit
