"""Stochastic gradients: the answer varies, and with it the slope (arXiv:1802.00420)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from backbones import Before, network
from torch import Tensor, nn


class InputNoise(Before):
    """Gaussian noise on the image (Cohen et al. 2019, arXiv:1902.02918, asked once)."""

    def __init__(self, dataset: str, backbone: str, sigma: float = 0.1) -> None:
        super().__init__(dataset, backbone)
        self.sigma = sigma

    def change(self, x: Tensor) -> Tensor:
        """The image with noise."""
        return x + self.sigma * torch.randn_like(x)


class ResizeAndPad(Before):
    """A random size and a random place (Xie et al. 2018, arXiv:1711.01991)."""

    def __init__(self, dataset: str, backbone: str, least: int = 24) -> None:
        super().__init__(dataset, backbone)
        self.least = least

    def change(self, x: Tensor) -> Tensor:
        """The batch, smaller, anywhere in the frame."""
        side = x.shape[3]
        size = int(torch.randint(self.least, side + 1, ()))
        top, left = torch.randint(0, side - size + 1, (2,)).tolist()
        small = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
        return F.pad(small, (left, side - size - left, top, side - size - top))


class Barrage(Before):
    """Several random transformations at once, after Raff et al. 2019 (CVPR)."""

    def __init__(self, dataset: str, backbone: str, strength: float = 1.0) -> None:
        super().__init__(dataset, backbone)
        self.strength = strength

    def change(self, x: Tensor) -> Tensor:
        """Shift, gamma, noise, missing pixels."""
        n = len(x)
        top, left = torch.randint(-1, 2, (2,)).tolist()
        x = torch.roll(x, (top, left), (2, 3))
        gamma = torch.empty(n, 1, 1, 1).uniform_(0.7, 1.4).to(x)
        x = x.clamp(1e-3, 1) ** gamma
        x = x + 0.03 * self.strength * torch.randn_like(x)
        keep = (torch.rand(n, 1, *x.shape[2:], device=x.device) > 0.03 * self.strength).to(x)
        return x * keep + (1 - keep) * x.mean((2, 3), keepdim=True)


class Dither(Before):
    """Grey levels with a random offset, subtractive dither: random and flat at once; made up."""

    def __init__(self, dataset: str, backbone: str, levels: int = 4) -> None:
        super().__init__(dataset, backbone)
        self.levels = levels

    def change(self, x: Tensor) -> Tensor:
        """The nearest level of a grid that is shifted for every pixel anew."""
        step = 1 / (self.levels - 1)
        offset = (torch.rand_like(x) - 0.5) * step
        return torch.round((x + offset) / step) * step - offset  # culprit


class _Layered(nn.Module):
    """A network whose layers a subclass disturbs."""

    def __init__(self, dataset: str, backbone: str, amount: float) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.amount = amount

    def disturb(self, x: Tensor) -> Tensor:
        """What is made of a ReLU's output."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits with every ReLU's output disturbed."""
        for layer in self.net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                x = self.disturb(x)
        return x


class TestDropout(_Layered):
    """Dropout that stays on (Gal & Ghahramani 2016, arXiv:1506.02142, asked once)."""

    def disturb(self, x: Tensor) -> Tensor:
        """Activations, some of them missing."""
        return F.dropout(x, self.amount, training=True)


class ActivationPruning(_Layered):
    """Stochastic activation pruning (Dhillon et al. 2018, arXiv:1803.01442).

    Activations survive with a probability that grows with their size, and are scaled up for it.
    """

    def disturb(self, x: Tensor) -> Tensor:
        """Activations drawn with replacement, `amount` of their number times."""
        flat = x.flatten(1)
        share = flat / flat.sum(1, keepdim=True).clamp(min=1e-9)
        drawn = 1 - (1 - share) ** (self.amount * flat.shape[1])
        keep = torch.rand_like(drawn) < drawn
        return (torch.where(keep, flat / drawn.clamp(min=1e-3), 0 * flat)).view_as(x)


class WeightNoise(nn.Module):
    """Noise on every weight (parametric noise injection, He et al. 2019, arXiv:1811.09310)."""

    def __init__(self, dataset: str, backbone: str, amount: float = 0.3) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.amount = amount

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the disturbed network."""
        weights: dict[str, Any] = {
            name: w + self.amount * w.std() * torch.randn_like(w) if w.dim() > 1 else w
            for name, w in self.net.named_parameters()
        }
        z: Tensor = torch.func.functional_call(self.net, weights, (x,))
        return z


class GumbelUnits(_Layered):
    """Every unit fires or not, drawn by the Gumbel-softmax trick (Jang et al. 2017, 1611.01144).

    A unit's probability is its activation divided by `amount` times the layer's mean, and what it
    passes on is as large as its activation in the mean over `copies` draws. At a low temperature
    nearly every unit is saturated, and the gradient that is left is another at each draw.
    """

    def __init__(
        self,
        dataset: str,
        backbone: str,
        amount: float = 8.0,
        copies: int = 2,
        temperature: float = 0.05,
    ) -> None:
        super().__init__(dataset, backbone, amount)
        self.copies, self.temperature = copies, temperature

    def disturb(self, x: Tensor) -> Tensor:
        """Activations as units that fire with a probability."""
        top = self.amount * x.flatten(1).mean(1).view(-1, *[1] * (x.dim() - 1)).detach()
        share = (x / top.clamp(min=1e-6)).clamp(1e-6, 1 - 1e-6)
        return top * self.fired(share.expand(self.copies, *x.shape)).mean(0)

    def fired(self, share: Tensor) -> Tensor:
        """Which units fire, with these probabilities."""
        chances = torch.stack([share.log(), (1 - share).log()])
        return F.gumbel_softmax(chances, tau=self.temperature, dim=0)[0]


class BernoulliUnits(GumbelUnits):
    """The same with coins in place of the relaxation: no gradient gets through."""

    def fired(self, share: Tensor) -> Tensor:
        """Coins."""
        return torch.bernoulli(share)  # culprit


class LogisticUnits(GumbelUnits):
    """The same, relaxed by hand: the logistic noise of Maddison et al. 2017, arXiv:1611.00712."""

    def fired(self, share: Tensor) -> Tensor:
        """Binary concrete units."""
        u = torch.rand_like(share).clamp(1e-6, 1 - 1e-6)
        chances = share.log() - (1 - share).log()
        return torch.sigmoid((chances + u.log() - (1 - u).log()) / self.temperature)


class NoisyVote(nn.Module):
    """Votes over networks with fresh noise on every weight: random, and without a gradient."""

    def __init__(self, dataset: str, backbone: str, amount: float = 0.3, members: int = 7) -> None:
        super().__init__()
        self.noisy = WeightNoise(dataset, backbone, amount)
        self.number = members

    def members(self, x: Tensor) -> Tensor:
        """(members, B, 10) logits."""
        return torch.stack([self.noisy(x) for _ in range(self.number)])

    def forward(self, x: Tensor) -> Tensor:
        """The share of votes of each class."""
        z = self.members(x)
        return F.one_hot(z.argmax(2), z.shape[2]).to(x.dtype).mean(0)  # culprit


class RandomMember(nn.Module):
    """One of several networks, drawn at each call; they see the image turned or mirrored.

    After random ensembles such as Liu et al. 2018, arXiv:1712.00673.
    """

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.other = network(dataset, "pgd-trained")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the member drawn."""
        number = int(torch.randint(0, 4, ()))
        net = self.net if number % 2 == 0 else self.other
        z: Tensor = net(x if number < 2 else x.flip(3))
        return z


class MixupInference(nn.Module):
    """The image mixed with others of its batch (Pang et al. 2020, arXiv:1909.11515)."""

    def __init__(self, dataset: str, backbone: str, share: float = 0.75) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The mean of logits of two mixtures."""
        mixed = [self.share * x + (1 - self.share) * x[torch.randperm(len(x))] for _ in range(2)]
        return torch.stack([self.net(one) for one in mixed]).mean(0)
