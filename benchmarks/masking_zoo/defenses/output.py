"""Outputs and losses that hide the slope: votes, ranks, certainties, logits out of range."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from backbones import After, network
from torch import Tensor, nn


class OneHot(After):
    """A service that returns a label: all certainty on the likeliest class."""

    def change(self, z: Tensor) -> Tensor:
        """One-hot rows."""
        return F.one_hot(z.argmax(1), z.shape[1]).to(z.dtype) * 10 + 0 * z  # culprit


class Ranks(After):
    """Every class is scored by its rank; made up."""

    def change(self, z: Tensor) -> Tensor:
        """Ranks 0 to 9."""
        rank = z.argsort(1).argsort(1)  # culprit
        return rank.to(z.dtype) + 0 * z


class RoundedLogits(After):
    """Scores rounded as a defense against extraction (Tramèr et al. 2016, arXiv:1609.02943)."""

    def __init__(self, dataset: str, backbone: str, step: float = 0.5) -> None:
        super().__init__(dataset, backbone)
        self.step = step

    def change(self, z: Tensor) -> Tensor:
        """Logits on a grid."""
        return torch.round(z / self.step) * self.step  # culprit


class CodeWord(After):
    """Logits cut to signs, compared with code words (after Verma & Swami 2019, NeurIPS)."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.register_buffer("words", 2 * torch.eye(10) - 1)

    def change(self, z: Tensor) -> Tensor:
        """How many bits of the sign code agree with each class's word."""
        best = z.amax(1, keepdim=True)
        code = torch.sign(z - best + 1e-3)  # culprit
        return code @ self.words


class SharpSoftmax(After):
    """Probabilities of a very low temperature, returned as if they were logits; made up."""

    def __init__(self, dataset: str, backbone: str, factor: float = 50.0) -> None:
        super().__init__(dataset, backbone)
        self.factor = factor

    def change(self, z: Tensor) -> Tensor:
        """softmax(factor * z)."""
        return torch.softmax(self.factor * z, 1)


class Scaled(After):
    """Logits times a constant, which makes softmax saturate: distillation without training.

    Carlini & Wagner 2017, arXiv:1608.04644, section VIII.
    """

    def __init__(self, dataset: str, backbone: str, factor: float = 1000.0) -> None:
        super().__init__(dataset, backbone)
        self.factor = factor

    def change(self, z: Tensor) -> Tensor:
        """factor * z; a tiny factor leaves logits and slopes that float32 can hardly represent."""
        return self.factor * z


class ClampedProbabilities(After):
    """Logarithms of probabilities, which are kept between two bounds for "stability"; made up."""

    def __init__(self, dataset: str, backbone: str, low: float = 0.02) -> None:
        super().__init__(dataset, backbone)
        self.low = low

    def change(self, z: Tensor) -> Tensor:
        """log of the clamped softmax."""
        p = torch.softmax(z, 1)
        return p.clamp(self.low, 1 - 9 * self.low).log()  # culprit


class SaturatedTanh(After):
    """Distances to the best logit through a saturated tanh; made up."""

    def change(self, z: Tensor) -> Tensor:
        """0 for the best class, -1 for all others."""
        return torch.tanh(1e4 * (z - z.amax(1, keepdim=True)))


class HalfProbabilities(After):
    """Probabilities handed on in half precision, where all but the likeliest round to 0."""

    def change(self, z: Tensor) -> Tensor:
        """Probabilities in float16."""
        return z.softmax(1).half().float()  # culprit


class ListedProbabilities(After):
    """A service whose answer is a list of percentages (after Tramèr et al. 2016, 1609.02943)."""

    def change(self, z: Tensor) -> Tensor:
        """Probabilities to two decimals, by way of Python."""
        rows = z.softmax(1).tolist()  # culprit
        return torch.tensor([[round(p, 2) for p in row] for row in rows]).to(z)


class _Steps(nn.Module):
    """Probabilities in 255 steps, as they fit into a byte."""

    def forward(self, z: Tensor) -> Tensor:
        """Rounded probabilities of logits (B, K)."""
        return torch.round(z.softmax(1) * 255) / 255


class ScriptedSteps(After):
    """The last step is compiled, so that no operation of it can be seen or repaired; made up."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        with warnings.catch_warnings():  # TorchScript is deprecated, and in use
            warnings.simplefilter("ignore")
            self.last = torch.jit.script(_Steps())

    def change(self, z: Tensor) -> Tensor:
        """Probabilities in steps."""
        return self.last(z)  # type: ignore[no-any-return]


class Plain(nn.Module):
    """A network as it is; the shipped `distilled` is defensive distillation (arXiv:1511.04508)."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x)
        return z


class HardVote(nn.Module):
    """Votes over copies with the same noise every time (Cohen et al. 2019, arXiv:1902.02918)."""

    def __init__(
        self, dataset: str, backbone: str, sigma: float = 0.05, copies: int = 9, fresh: bool = False
    ) -> None:
        super().__init__()
        self.net = network(dataset, backbone)
        self.sigma, self.copies, self.fresh = sigma, copies, fresh
        shape = (copies, 1, 3, 32, 32) if dataset == "cifar10" else (copies, 1, 1, 28, 28)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", noise)

    def members(self, x: Tensor) -> Tensor:
        """(copies, B, 10) logits."""
        noise = self.noise
        if self.fresh:
            noise = torch.randn(self.copies, *x.shape, device=x.device)
        copies = (x + self.sigma * noise).flatten(0, 1)
        z: Tensor = self.net(copies)
        return z.view(self.copies, len(x), -1)

    def forward(self, x: Tensor) -> Tensor:
        """The number of votes of each class."""
        z = self.members(x)
        return F.one_hot(z.argmax(2), z.shape[2]).to(x.dtype).sum(0) + 0 * z.sum(0)  # culprit


class MixedPrecisionVote(nn.Module):
    """Networks of several precisions vote (EMPIR, Sen et al. 2020, arXiv:2004.10162)."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.nets = nn.ModuleList(network(dataset, backbone) for _ in range(3))
        for net, levels in zip(self.nets[1:], (16, 8), strict=True):
            for w in net.parameters():
                if w.dim() > 1:
                    top = w.abs().amax()
                    w.data = (w / top * levels).round() / levels * top

    def members(self, x: Tensor) -> Tensor:
        """(3, B, 10) logits."""
        return torch.stack([net(x) for net in self.nets])

    def forward(self, x: Tensor) -> Tensor:
        """The number of votes of each class; ties go to the full precision."""
        z = self.members(x)
        votes = F.one_hot(z.argmax(2), z.shape[2]).to(x.dtype)  # culprit
        return votes.sum(0) + votes[0] / 2 + 0 * z.sum(0)


class NearestPrototype(nn.Module):
    """The index of the nearest prototype in the last features (after arXiv:1803.04765).

    Prototypes are the rows w of the last layer; the distance is ||f - w||^2 - ||w||^2 - 2 b, whose
    order is that of the logits.
    """

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def forward(self, x: Tensor) -> Tensor:
        """1 for the nearest prototype, 0 for the others."""
        *body, last = self.net.children()
        features = nn.Sequential(*body)(x)
        reach = last.weight.square().sum(1) + 2 * last.bias
        distance = torch.cdist(features, last.weight).square() - reach
        nearest = distance.argmin(1, keepdim=True)  # culprit
        return torch.zeros_like(distance).scatter(1, nearest, 1.0) + 0 * distance
