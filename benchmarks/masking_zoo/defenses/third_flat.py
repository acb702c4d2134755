"""The third part's defenses that are not random: attention, winners, codes, votes, neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from backbones import Before
from third_networks import trained
from third_units import winners
from torch import Tensor, nn


class SaturatedAttention(nn.Module):
    """Attention so steep that all weights but one underflow; made up."""

    def __init__(self, dataset: str, backbone: str, scale: float = 50000.0) -> None:
        super().__init__()
        self.net, self.scale = trained(backbone), scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x, lambda s: torch.softmax(self.scale * s, 3))
        return z


class HalfAttention(nn.Module):
    """Steep attention whose weights are computed in float16; made up."""

    def __init__(self, dataset: str, backbone: str, scale: float = 1500.0) -> None:
        super().__init__()
        self.net, self.scale = trained(backbone), scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x, self.weigh)
        return z

    def weigh(self, s: Tensor) -> Tensor:
        """Weights in which small ones and small slopes become zero."""
        return torch.softmax((self.scale * s).half(), 3).to(s.dtype)  # culprit


class DeepWinners(nn.Module):
    """k-winners-take-all in five layers, trained with it (Xiao et al. 2020, arXiv:1905.10510)."""

    def __init__(self, dataset: str, backbone: str, share: float = 0.05) -> None:
        super().__init__()
        self.net, self.share = trained(backbone), share

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.net(x, lambda a: winners(a, self.share))
        return z


class SaturatedCode(nn.Module):
    """Error-correcting output codes of saturated bits (Verma & Swami 2019, NeurIPS)."""

    def __init__(self, dataset: str, backbone: str, gain: float = 20.0) -> None:
        super().__init__()
        self.net, self.gain = trained(backbone), gain

    def forward(self, x: Tensor) -> Tensor:
        """Correlations with the code words, (B, 10)."""
        return torch.tanh(self.gain * self.net(x)) @ self.net.words.T


class TransformVote(nn.Module):
    """The network's votes on shifted and turned images; made up."""

    def __init__(self, dataset: str, backbone: str, degrees: float = 10.0) -> None:
        super().__init__()
        self.net, self.degrees = trained(backbone)[0], degrees

    def views(self, x: Tensor) -> list[Tensor]:
        """Seven versions of the images (B, 1, 28, 28)."""
        shifted = [torch.roll(x, (by, 0), (2, 3)) for by in (-1, 0, 1)]
        turned = []
        for degrees in (-self.degrees, self.degrees):
            angle = torch.deg2rad(torch.tensor(degrees))
            cos, sin, zero = angle.cos(), angle.sin(), torch.tensor(0.0)
            turn = torch.stack([cos, -sin, zero, sin, cos, zero]).view(1, 2, 3).to(x)
            grid = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
            turned.append(F.grid_sample(x, grid, align_corners=False))
        return [*shifted, torch.roll(x, 1, 3), torch.roll(x, -1, 3), *turned]

    def forward(self, x: Tensor) -> Tensor:
        """Counts of votes, (B, 10)."""
        z = self.net(torch.cat(self.views(x))).unflatten(0, (7, len(x)))
        return F.one_hot(z.argmax(2), 10).to(x.dtype).sum(0)  # culprit


class NeighbourVotes(nn.Module):
    """The nearest labelled examples vote, by random features (after arXiv:1803.04765)."""

    def __init__(self, dataset: str, backbone: str, neighbours: int = 9) -> None:
        super().__init__()
        self.net, self.neighbours = trained(backbone), neighbours

    def forward(self, x: Tensor) -> Tensor:
        """Counts of votes, (B, 10)."""
        near = self.net(x).topk(self.neighbours, 1, largest=False).indices
        return F.one_hot(self.net.labels[near].long(), 10).to(x.dtype).sum(1)  # culprit


class CompressedCode(Before):
    """The image is compressed to bits and reconstructed (ComDefend, arXiv:1811.12673)."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.coder = trained("coder")

    def change(self, x: Tensor) -> Tensor:
        """The reconstruction."""
        y: Tensor = self.coder(x, self.bits)
        return y

    def bits(self, a: Tensor) -> Tensor:
        """The code."""
        return (a > 0).to(a.dtype)  # culprit


class FourierRound(Before):
    """Low frequencies alone, their amplitudes rounded; made up after JPEG."""

    def __init__(self, dataset: str, backbone: str, kept: int = 12, step: float = 0.4) -> None:
        super().__init__(dataset, backbone)
        self.kept, self.step = kept, step

    def change(self, x: Tensor) -> Tensor:
        """The image of the frequencies that are left."""
        waves = torch.view_as_real(torch.fft.rfft2(x, norm="ortho"))
        row = torch.fft.fftfreq(x.shape[2], device=x.device).mul(x.shape[2]).abs()
        column = torch.arange(waves.shape[3], device=x.device)
        low = ((row[:, None] <= self.kept) & (column <= self.kept)).to(x)[..., None]
        waves = torch.round(waves / self.step) * self.step * low  # culprit
        return torch.fft.irfft2(torch.view_as_complex(waves), s=x.shape[2:], norm="ortho")
