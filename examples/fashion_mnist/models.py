"""The example's classifiers: a small BatchNorm CNN, and the same CNN with its gradient masked.

Both factories need neither weights nor network; `train.py` makes the weights.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


def cnn(width: int = 32) -> nn.Module:
    """Build a CNN from images (B, 1, 28, 28) in [0, 1] to logits (B, 10).

    Two 3x3 convolutions and two linear layers, sized for the CPU: the image is first folded
    to (B, 4, 14, 14), which keeps every pixel and makes the first convolution cheap. With
    `width=32` it has 95,000 parameters.
    """
    model = nn.Sequential(_layers(width))
    # Convolutions in this memory layout take a quarter less time on a CPU.
    return model.to(memory_format=torch.channels_last)


def gradient_mask_toy(width: int = 32) -> nn.Module:
    """Build `cnn` behind a layer that hides the gradient: (B, 1, 28, 28) -> logits (B, 10).

    A deliberate, textbook case of gradient masking ("shattered gradients", Athalye, Carlini &
    Wagner 2018, arXiv:1802.00420): no defence at all. `GradientTruncation` hands the image on
    untouched, so predictions are those of the plain CNN for the same weights, but going
    backward it drops nearly all of the gradient. Attacks that follow that gradient fail;
    attacks that do without it (transfer from another model, search without gradients, or the
    identity in place of the layer, "BPDA" in that paper) find the plain CNN's weakness.

    The layer has no parameters and stands in front of the first weight, so that it changes
    no weight's gradient: training is that of `cnn`, and so are the names in the state dict.
    """
    layers = OrderedDict([("truncation", GradientTruncation())])
    layers.update(_layers(width))
    return nn.Sequential(layers).to(memory_format=torch.channels_last)


class GradientTruncation(nn.Module):
    """Identity whose gradient is truncated towards zero to multiples of `grid`.

    With `grid=0.1`, an image's cross-entropy keeps its gradient only at pixels where a step
    from black to white would change the loss by 0.1 or more (to first order): about one
    component in ten, and none at all for two images in three.
    """

    def __init__(self, grid: float = 0.1) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        """Return x (any shape) unchanged."""
        return _TruncateGradient.apply(x, self.grid)


class _TruncateGradient(torch.autograd.Function):
    """Forward: x. Backward: trunc(g / grid) * grid, zero wherever |g| < grid."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, grid: float) -> Tensor:
        ctx.grid = grid
        return x.view_as(x)  # a new tensor, since autograd would not record x itself

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return torch.trunc(grad / ctx.grid) * ctx.grid, None


def _layers(width: int) -> OrderedDict[str, nn.Module]:
    """Return the CNN's layers by name; the names are the prefixes in the state dict."""
    return OrderedDict(
        fold=nn.PixelUnshuffle(2),  # (B, 4, 14, 14)
        conv1=nn.Conv2d(4, width, kernel_size=3, padding=1, bias=False),
        pool1=nn.MaxPool2d(2),  # before BatchNorm and ReLU, which then see a quarter as much
        norm1=nn.BatchNorm2d(width),
        relu1=nn.ReLU(),  # (B, width, 7, 7)
        conv2=nn.Conv2d(width, 2 * width, kernel_size=3, padding=1, bias=False),
        pool2=nn.MaxPool2d(2),
        norm2=nn.BatchNorm2d(2 * width),
        relu2=nn.ReLU(),  # (B, 2 * width, 3, 3)
        flatten=nn.Flatten(),
        hidden=nn.Linear(9 * 2 * width, 4 * width),
        relu3=nn.ReLU(),
        output=nn.Linear(4 * width, 10),
    )
