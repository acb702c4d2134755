"""The example's classifier: ResNet-18 for images of 32x32 pixels.

The factory needs neither weights nor network; `train.py` makes the weights.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

# Mean and standard deviation of the training images' channels.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def resnet18() -> nn.Module:
    """Build ResNet-18 from images (B, 3, 32, 32) in [0, 1] to logits (B, 10).

    torchvision's basic blocks behind a stem for small images: one 3x3 convolution without stride,
    and no max-pooling (He et al. 2016, arXiv:1512.03385, with the stem customary for CIFAR). The
    model normalises its input itself.
    """
    network = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    network.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return nn.Sequential(OrderedDict(normalise=Normalise(), network=network))


class Normalise(nn.Module):
    """Subtract the channels' means and divide by their standard deviations."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("mean", MEAN), ("std", STD)):
            # Not persistent: constants of the code, no weights.
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, 3, H, W)."""
        return (x - self.mean) / self.std
