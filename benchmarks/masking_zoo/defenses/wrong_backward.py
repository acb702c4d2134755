"""The forward pass is right, the backward pass is not: made up, all of them.

They do on purpose what a hand-written operator may do by mistake.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from backbones import Before
from torch import Tensor


class _Identity(torch.autograd.Function):
    """Identity; subclasses say what becomes of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()


class _Zero(_Identity):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return torch.zeros_like(slope)


class ZeroGradient(Before):
    """Identity with gradient zero."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Zero.apply(x)  # culprit


class _Flip(_Identity):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return -slope


class FlippedGradient(Before):
    """Identity with the gradient's sign turned round: gradient reversal (arXiv:1409.7495)."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Flip.apply(x)  # culprit


class _Random(_Identity):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return torch.randn_like(slope)


class RandomGradient(Before):
    """Identity with noise for a gradient."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Random.apply(x)  # culprit


class _NotANumber(_Identity):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope / 0 * 0


class NanGradient(Before):
    """Identity with NaN for a gradient, as 0 / 0 in a hand-written formula gives."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _NotANumber.apply(x)  # culprit


class _Sparse(_Identity):
    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        keep = torch.zeros_like(slope[:1])
        keep.view(-1)[::53] = 1
        return slope * keep


class SparseGradient(Before):
    """Identity that keeps the gradient of one pixel in 53."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Sparse.apply(x)  # culprit


class _Folded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return F.pixel_shuffle(slope.flip(1), 2).flip(3)


class WrongFold(Before):
    """Pixels are folded into channels and back; going backward they land in the wrong places."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself, by way of another shape."""
        return F.pixel_shuffle(_Folded.apply(x), 2)  # culprit


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factor: Tensor, x: Tensor) -> Tensor:
        return factor * x

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor]:
        return None, slope.mean((2, 3), keepdim=True).expand_as(slope)


class SecondArgument(Before):
    """A scaling whose image is the second argument, and whose gradient is its mean."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return _Scaled.apply(torch.ones(()).to(x), x)  # culprit


class HookTruncation(Before):
    """A hook that drops small gradients, the shipped toy example's idea in another form."""

    def __init__(self, dataset: str, backbone: str, least: float = 0.3) -> None:
        super().__init__(dataset, backbone)
        self.least = least

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        y = x * 1.0
        if y.requires_grad:
            y.register_hook(lambda g: torch.where(g.abs() < self.least, 0.0, g))  # culprit
        return y


class AlternatingHook(Before):
    """A hook that turns the gradient round at every other call, so that steps undo each other."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.calls = 0

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        y = x * 1.0
        if y.requires_grad:
            self.calls += 1
            sign = 1 - 2 * (self.calls % 2)
            y.register_hook(lambda g: sign * g)  # culprit
        return y


class ModuleHook(Before):
    """A module's backward hook that hands on the gradient rolled by a third of the image."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__(dataset, backbone)
        self.gate = torch.nn.Hardtanh(0, 1)
        self.gate.register_full_backward_hook(
            lambda module, slopes, _: (slopes[0].roll(slopes[0].shape[3] // 3, 3),)
        )

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        return self.gate(x)  # culprit


class Watched(Before):
    """Asked with autograd recording, the network answers for a mirrored and shifted image.

    A defense that knows when it is attacked; without autograd it is the plain network.
    """

    def change(self, x: Tensor) -> Tensor:
        """The image, or something else where a gradient is recorded."""
        if x.requires_grad:
            return x.flip(2).roll(5, 3)
        return x
