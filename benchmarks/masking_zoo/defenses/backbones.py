"""The networks that the zoo's defenses stand around, and the two shapes that most defenses have.

The Fashion-MNIST networks are the shipped example's `baseline` ("undefended" here), `distilled` and
`pgd-trained`; those of CIFAR-10 are made by `train_backbones.py`. Every file beside this one is a
source of factories "file.py:Class" that take `dataset` and `backbone`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "fashion_mnist"
_FASHION = {"undefended": "baseline", "pgd-trained": "pgd-trained", "distilled": "distilled"}


def cifar_net() -> nn.Module:
    """Build a BatchNorm CNN, (B, 3, 32, 32) -> (B, 10)."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(2),  # (B, 64, 8, 8)
        nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU(),
        nn.Flatten(), nn.Linear(128 * 16, 10),
    )  # fmt: skip


def network(dataset: str, backbone: str) -> nn.Module:
    """The trained network `backbone` of `dataset`, in evaluation mode: pixels to logits."""
    if dataset == "cifar10":
        net, file = cifar_net(), WEIGHTS / f"cifar10-{backbone}.safetensors"
    else:
        spec = importlib.util.spec_from_file_location("_zoo_example", EXAMPLE / "models.py")
        assert spec is not None
        assert spec.loader is not None
        models = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(models)
        net, file = models.cnn(), EXAMPLE / "weights" / f"{_FASHION[backbone]}.safetensors"
    net.load_state_dict(load_file(file))
    return net.eval().requires_grad_(False)


class Before(nn.Module):
    """A defense that changes the image before the network sees it."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def change(self, x: Tensor) -> Tensor:
        """What the network gets to see in place of `x` (B, C, H, W), of the same shape."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Logits, (B, 10)."""
        z: Tensor = self.net(self.change(x))
        return z


class After(nn.Module):
    """A defense that changes the network's logits."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = network(dataset, backbone)

    def change(self, z: Tensor) -> Tensor:
        """What is answered in place of logits `z` (B, 10)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Scores, (B, 10)."""
        return self.change(self.net(x))
