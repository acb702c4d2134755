"""Shattered gradients: steps, tables and codes, flat almost everywhere (arXiv:1802.00420).

Some return a result without any gradient; `+ 0 * x` then keeps autograd going, as a defender would
who wants an attack to run.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from backbones import Before
from torch import Tensor, nn


class _Levels(Before):
    """A defense with a number of grey levels."""

    def __init__(self, dataset: str, backbone: str, levels: int = 4) -> None:
        super().__init__(dataset, backbone)
        self.levels = levels


class BitDepth(_Levels):
    """Fewer grey levels by rounding: feature squeezing (Xu et al. 2018, arXiv:1704.01155)."""

    def change(self, x: Tensor) -> Tensor:
        """Nearest of `levels` grey levels."""
        top = self.levels - 1
        return torch.round(x * top) / top  # culprit


class FloorDivision(_Levels):
    """Fewer grey levels by division without remainder; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The middle of the level that a pixel falls into."""
        step = 1 / self.levels
        return torch.div(x, step, rounding_mode="floor") * step + step / 2  # culprit


class Remainder(_Levels):
    """Fewer grey levels by subtracting the remainder, whose gradient cancels x's own; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The lower end of the level that a pixel falls into."""
        return x - torch.remainder(x, 1 / self.levels)  # culprit


class Thermometer(_Levels):
    """The thermometer code, read back as grey levels (Buckman et al. 2018)."""

    def change(self, x: Tensor) -> Tensor:
        """The share of thresholds that a pixel exceeds."""
        thresholds = (torch.arange(self.levels, device=x.device) + 0.5) / self.levels
        code = x[..., None] > thresholds  # culprit
        return code.to(x.dtype).mean(-1) + 0 * x


class Bucket(_Levels):
    """Fewer grey levels by `bucketize` and a table; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The middle of the bucket that a pixel falls into."""
        edges = torch.linspace(0, 1, self.levels + 1, device=x.device)[1:-1]
        bucket = torch.bucketize(x.contiguous(), edges)  # culprit
        return (bucket + 0.5) / self.levels


class LookupTable(_Levels):
    """A tone curve in a table of 256 entries; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The table's entry for the 8-bit value of a pixel."""
        table = torch.linspace(0, 1, 256, device=x.device).mul(self.levels).round() / self.levels
        return table[x.clamp(0, 1).mul(255).long()] + 0 * x  # culprit


class IntegerArithmetic(_Levels):
    """Grey levels in integer arithmetic; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The middle of the level, in 256ths."""
        step = 256 // self.levels
        grey = x.mul(255).to(torch.int32)  # culprit
        return (grey // step * step + step // 2).to(x.dtype) / 255 + 0 * x


class BitMask(Before):
    """The upper bits of an 8-bit image; made up."""

    def __init__(self, dataset: str, backbone: str, mask: int = 0b11100000) -> None:
        super().__init__(dataset, backbone)
        self.mask = mask

    def change(self, x: Tensor) -> Tensor:
        """The masked image."""
        bits = x.clamp(0, 1).mul(255).to(torch.uint8)  # culprit
        return (bits & self.mask).to(x.dtype) / 255 + 0 * x


class PatchCodebook(_Levels):
    """Vector quantisation: each pair of pixels becomes the nearest word of a code; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The nearest codewords, looked up by their index."""
        grid = torch.linspace(0, 1, self.levels, device=x.device)
        words = torch.cartesian_prod(grid, grid)  # (levels ** 2, 2)
        pairs = x.reshape(-1, 2)
        index = torch.cdist(pairs, words).argmin(1)  # culprit
        return words[index].view_as(x) + 0 * x


class JpegRound(Before):
    """JPEG's blocks of cosines, their coefficients rounded (Das et al. 2018, arXiv:1802.06816)."""

    def __init__(self, dataset: str, backbone: str, step: float = 0.3) -> None:
        super().__init__(dataset, backbone)
        self.step, self.side = step, 4
        k, i = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        basis = torch.cos(math.pi * (2 * i + 1) * k / 8) * math.sqrt(0.5)
        basis[0] = 0.5
        self.register_buffer("cosines", basis)

    def change(self, x: Tensor) -> Tensor:
        """Transform, round and transform back every block of 4 x 4 pixels."""
        blocks = x.unfold(2, 4, 4).unfold(3, 4, 4)
        coefficients = self.cosines @ blocks @ self.cosines.T
        coefficients = torch.round(coefficients / self.step) * self.step  # culprit
        pixels = self.cosines.T @ coefficients @ self.cosines
        return pixels.permute(0, 1, 2, 4, 3, 5).reshape(x.shape)


class MaskedMedian(Before):
    """Pixels that stand out from their neighbours are replaced, as constants; made up.

    `where` passes on the gradient of neither.
    """

    def change(self, x: Tensor) -> Tensor:
        """The local mean where a pixel differs from it by more than 0.5, all of it detached."""
        local = F.avg_pool2d(x, 3, 1, 1)
        return torch.where((x - local).abs() > 0.5, local.detach(), x.detach()) + 0 * x  # culprit


class Ripple(Before):
    """A ripple too small to see, whose slope is many times the image's own; made up.

    x + sin(w x + phase) a / w changes a pixel by at most a / w, and its derivative 1 + a cos(...)
    has the wrong sign nearly half of the time.
    """

    def __init__(self, dataset: str, backbone: str, a: float = 50.0, w: float = 10_000.0) -> None:
        super().__init__(dataset, backbone)
        self.a, self.w = a, w

    def change(self, x: Tensor) -> Tensor:
        """The image with its ripple."""
        return x + torch.sin(self.w * x) * (self.a / self.w)


class RoundedFeatures(Before):
    """Activations of the first layers rounded: a network with low-precision activations.

    After Lin et al. 2019, "Defensive quantization", arXiv:1904.08444.
    """

    def __init__(self, dataset: str, backbone: str, cut: int = 3, step: float = 0.25) -> None:
        super().__init__(dataset, backbone)
        self.cut, self.step = cut, step

    def forward(self, x: Tensor) -> Tensor:
        """Logits from rounded features."""
        layers = list(self.net.children())
        for layer in layers[: self.cut]:
            x = layer(x)
        x = torch.round(x / self.step) * self.step  # culprit
        for layer in layers[self.cut :]:
            x = layer(x)
        return x


class MeanSparse(Before):
    """Features near their mean are set to it (Amini et al. 2024, arXiv:2406.05927).

    Means and deviations are those of the BatchNorms: their biases and the sizes of their weights.
    The one published defense here whose gradient is hidden by a few points only.
    """

    def __init__(self, dataset: str, backbone: str, width: float = 0.35) -> None:
        super().__init__(dataset, backbone)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        """Logits from sparsified features."""
        for layer in self.net.children():
            x = layer(x)
            if isinstance(layer, nn.BatchNorm2d):
                x = self.sparse(x, layer)
        return x

    def sparse(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """The features, those less than `width` deviations from their mean moved to it."""
        mean, deviation = norm.bias.view(-1, 1, 1), norm.weight.abs().view(-1, 1, 1)
        near = (x - mean).abs() < self.width * deviation
        return torch.where(near, mean, x)  # culprit


class ScoredOperator(_Levels):
    """Grey levels by an operator of its own whose registered gradient is zero; made up."""

    def change(self, x: Tensor) -> Tensor:
        """Nearest of `levels` grey levels."""
        return _posterise(x, self.levels)  # culprit


@torch.library.custom_op("masking_zoo::posterise", mutates_args=())
def _posterise(x: Tensor, levels: int) -> Tensor:
    return torch.round(x * (levels - 1)) / (levels - 1)


def _no_slope(ctx: object, slope: Tensor) -> tuple[Tensor, None]:
    return torch.zeros_like(slope), None


_posterise.register_autograd(_no_slope)
