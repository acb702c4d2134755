"""The reference defenses: one small CNN, and what is put before or after it.

The masks hide its gradient, and nothing else; the honest controls change what it computes, and hide
nothing. This file is copied beside the configuration of each audit, so that the audit treats it as
any user's file: it imports nothing of the tool.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Undefended(nn.Sequential):
    """The CNN of the shipped Fashion-MNIST example, (B, 1, 28, 28) -> logits (B, 10).

    Subclasses change the image or the logits; weights and their names are the CNN's.
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                fold=nn.PixelUnshuffle(2),
                conv1=nn.Conv2d(4, 32, kernel_size=3, padding=1, bias=False),
                pool1=nn.MaxPool2d(2),
                norm1=nn.BatchNorm2d(32),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False),
                pool2=nn.MaxPool2d(2),
                norm2=nn.BatchNorm2d(64),
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                hidden=nn.Linear(9 * 64, 128),
                relu3=nn.ReLU(),
                output=nn.Linear(128, 10),
            )
        )

    def before(self, x: Tensor) -> Tensor:
        """What the CNN gets to see of the image."""
        return x

    def after(self, z: Tensor) -> Tensor:
        """What is made of its logits."""
        return z

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, 10)."""
        z = self.before(x)
        for layer in self:
            z = layer(z)
        return self.after(z)


class RoundedPixels(Undefended):
    """Four grey levels."""

    def before(self, x: Tensor) -> Tensor:
        """The nearest level: feature squeezing (arXiv:1704.01155)."""
        return torch.round(x * 3) / 3


class _Zero(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return torch.zeros_like(slope)


class ZeroGradient(Undefended):
    """The identity with a hand-written gradient of zero."""

    def before(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Zero.apply(x)  # type: ignore[no-any-return]


class DetachedInput(Undefended):
    """A detached image, to which zero times the image is added so that autograd runs."""

    def before(self, x: Tensor) -> Tensor:
        """The image itself."""
        return x.detach() + 0 * x


class NumpyRoundTrip(Undefended):
    """The image by way of NumPy; no gradient is left at all."""

    def before(self, x: Tensor) -> Tensor:
        """The image itself."""
        return torch.from_numpy(x.detach().cpu().numpy().copy()).to(x)


class ZeroingHook(Undefended):
    """A hook on the image that sets its gradient to zero."""

    def before(self, x: Tensor) -> Tensor:
        """The image itself."""
        y = x * 1.0
        if y.requires_grad:
            y.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]
        return y


class SmoothStaircase(Undefended):
    """Grey levels by steep sigmoids: differentiable, and all but flat."""

    def before(self, x: Tensor) -> Tensor:
        """The mean of five sigmoids, one at each threshold."""
        thresholds = (torch.arange(5, device=x.device) + 0.5) / 5
        return torch.sigmoid(1000 * (x[..., None] - thresholds)).mean(-1)


class RandomRipple(Undefended):
    """A ripple too small to see whose phase is random and whose slope swamps the image's own."""

    def before(self, x: Tensor) -> Tensor:
        """The image, give or take 0.003; the mean of its slope over the phases is 1."""
        return x + 0.003 * torch.sin(1e4 * x + 2 * torch.pi * torch.rand_like(x))


class OneHot(Undefended):
    """The predicted class alone."""

    def after(self, z: Tensor) -> Tensor:
        """One-hot rows."""
        return F.one_hot(z.argmax(1), 10).to(z.dtype) * 10 + 0 * z


class ScaledLogits(Undefended):
    """Logits so large that the cross-entropy has no slope: distillation without training."""

    def after(self, z: Tensor) -> Tensor:
        """1000 z (arXiv:1608.04644, section VIII)."""
        return 1000 * z


class Softmax(Undefended):
    """Probabilities."""

    def after(self, z: Tensor) -> Tensor:
        """softmax z."""
        return torch.softmax(z, 1)


class Blur(Undefended):
    """A fixed blur."""

    def before(self, x: Tensor) -> Tensor:
        """The image through a 3 x 3 binomial filter."""
        row = torch.tensor([1.0, 2.0, 1.0]).to(x) / 4
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), (row[:, None] * row)[None, None])


class StableShift(Undefended):
    """Logits shifted by the largest, detached, as implementations of softmax do."""

    def after(self, z: Tensor) -> Tensor:
        """z - max z."""
        return z - z.amax(1, keepdim=True).detach()
