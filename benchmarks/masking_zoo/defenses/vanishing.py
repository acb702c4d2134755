"""Vanishing slopes: everything is differentiable and next to nothing comes through."""

from __future__ import annotations

import torch
from backbones import Before, network
from torch import Tensor, nn


class SmoothStaircase(Before):
    """Grey levels by steep sigmoids: a staircase that is smooth and all but flat; made up."""

    def __init__(
        self, dataset: str, backbone: str, levels: int = 5, steepness: float = 1000.0
    ) -> None:
        super().__init__(dataset, backbone)
        self.levels, self.steepness = levels, steepness

    def change(self, x: Tensor) -> Tensor:
        """The mean of sigmoids, one at every threshold."""
        at = (torch.arange(self.levels, device=x.device) + 0.5) / self.levels
        return torch.sigmoid(self.steepness * (x[..., None] - at)).mean(-1)


class SteepContrast(Before):
    """A contrast curve that nearly makes pixels black or white; made up."""

    def __init__(
        self, dataset: str, backbone: str, steepness: float = 25.0, middle: float = 0.4
    ) -> None:
        super().__init__(dataset, backbone)
        self.steepness, self.middle = steepness, middle

    def change(self, x: Tensor) -> Tensor:
        """The curve."""
        return torch.sigmoid(self.steepness * (x - self.middle))


class HalfPrecisionInside(Before):
    """The first operations run in float16, where small slopes become zero; made up.

    Slopes are the smaller because the logits are divided by `divisor`.
    """

    def __init__(self, dataset: str, backbone: str, divisor: float = 1000.0) -> None:
        super().__init__(dataset, backbone)
        self.divisor = divisor

    def change(self, x: Tensor) -> Tensor:
        """The image, by way of large numbers in float16."""
        return (x.half() * 2**15).float() / 2**15  # culprit

    def forward(self, x: Tensor) -> Tensor:
        """Small logits."""
        return super().forward(x) / self.divisor


class WinnersTakeAll(nn.Module):
    """Only the largest activations pass (k-WTA, Xiao et al. 2020, arXiv:1905.10510)."""

    def __init__(self, dataset: str, backbone: str, share: float = 0.2) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Logits with winners in the place of ReLUs."""
        for layer in self.net.children():
            x = self.winners(x) if isinstance(layer, nn.ReLU) else layer(x)
        return x

    def winners(self, x: Tensor) -> Tensor:
        """The largest activations of each image, zero elsewhere."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), 1).values[:, -1:]
        return torch.where(flat >= least, flat.clamp(min=0), 0 * flat).view_as(x)


class SteepActivations(nn.Module):
    """Saturated steep sigmoids after each ReLU that pass activations in steps; made up."""

    def __init__(self, dataset: str, backbone: str, step: float = 0.2, hard: float = 60.0) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.step, self.hard = step, hard

    def forward(self, x: Tensor) -> Tensor:
        """Logits; activations are rounded smoothly to multiples of `step`."""
        for layer in self.net.children():
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                x = self.steps(x)
        return x

    def steps(self, x: Tensor) -> Tensor:
        """A smooth staircase."""
        below = torch.floor(x.detach() / self.step)
        rise = torch.sigmoid(self.hard * (x / self.step - below - 0.5))
        return (below + rise) * self.step


class ContractedLoop(Before):
    """A loop that pulls a grey image towards the given one with a saturating force; made up.

    Like the inner loops of purifiers (Samangouei et al. 2018, arXiv:1805.06605) it is
    differentiable, and the saturated force lets next to no slope through.
    """

    def __init__(self, dataset: str, backbone: str, steps: int = 30, size: float = 0.02) -> None:
        super().__init__(dataset, backbone)
        self.steps, self.size = steps, size

    def change(self, x: Tensor) -> Tensor:
        """The end of the loop: within `size` of the image."""
        y = torch.full_like(x, 0.5)
        for _ in range(self.steps):
            y = y + self.size * torch.tanh(1e4 * (x - y))
        return y
