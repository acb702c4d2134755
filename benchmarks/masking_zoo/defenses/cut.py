"""Gradients that are cut: detached tensors, no_grad, and ways through NumPy, PIL and Python.

Of some no gradient is left at all; others add `0 * x`, as a defender would who wants an attack to
run.
"""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from backbones import Before
from PIL import Image
from torch import Tensor, nn


class MeanLeak(Before):
    """The image is detached, and a gradient leaks through its mean alone; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        mean = x.mean((1, 2, 3), keepdim=True)
        return x.detach() + mean - mean.detach()  # culprit


class DataAttribute(Before):
    """A copy through `.data`, written in place; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The image with its darkest greys set to black."""
        y = x * 1.0
        y.data[y.data < 0.02] = 0
        return y.data + 0 * x  # culprit


class InPlaceCopy(Before):
    """A buffer outside autograd that pixels are copied into; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The image, from the buffer."""
        buffer = torch.empty_like(x)
        with torch.no_grad():  # culprit
            buffer.copy_(x)
        return buffer + 0 * x


class HalfDetached(Before):
    """The network looks at a blurred copy; what blurring took away is added without gradient.

    Made up: the gradient that is left is smooth, plausible, and blind to fine changes.
    """

    def change(self, x: Tensor) -> Tensor:
        """The image itself."""
        coarse = F.interpolate(F.avg_pool2d(x, 4), scale_factor=4)
        return coarse * 1e-3 + (x - coarse * 1e-3).detach()  # culprit


class NumpyDenoise(Before):
    """Total variation minimised in NumPy (Guo et al. 2018, arXiv:1711.00117, section 4)."""

    def __init__(self, dataset: str, backbone: str, weight: float = 0.03, steps: int = 8) -> None:
        super().__init__(dataset, backbone)
        self.weight, self.steps = weight, steps

    def change(self, x: Tensor) -> Tensor:
        """A few steps down the (smoothed) total variation."""
        image = x.detach().cpu().numpy()  # culprit
        found = image.copy()
        for _ in range(self.steps):
            slope = np.zeros_like(found)
            for axis in (2, 3):
                rise = np.diff(found, axis=axis)
                rise = rise / np.sqrt(rise**2 + 0.01)
                before = [(0, 0)] * 4
                after = [(0, 0)] * 4
                before[axis], after[axis] = (1, 0), (0, 1)
                slope += np.pad(rise, before) - np.pad(rise, after)
            found = found - 0.1 * (found - image + self.weight * slope)
        return torch.from_numpy(found.clip(0, 1)).to(x) + 0 * x


class PilJpeg(Before):
    """JPEG by PIL (Dziugaite et al. 2016, arXiv:1608.00853)."""

    def __init__(self, dataset: str, backbone: str, quality: int = 75) -> None:
        super().__init__(dataset, backbone)
        self.quality = quality

    def change(self, x: Tensor) -> Tensor:
        """Every image written as JPEG and read again."""
        grey = x.detach().mul(255).round().byte().movedim(1, 3).cpu().numpy()  # culprit
        read = [self._through(image) for image in grey]
        return torch.from_numpy(np.stack(read)).to(x).movedim(3, 1) / 255

    def _through(self, image: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=self.quality)
        return np.asarray(Image.open(file)).reshape(image.shape).copy()


class PilSmooth(Before):
    """A smaller and a larger image again, by PIL; made up."""

    def __init__(self, dataset: str, backbone: str, part: float = 0.75) -> None:
        super().__init__(dataset, backbone)
        self.part = part

    def change(self, x: Tensor) -> Tensor:
        """Every channel scaled down and up."""
        n, c, h, w = x.shape
        size = (round(w * self.part), round(h * self.part))
        planes = x.detach().reshape(-1, h, w).cpu().numpy()  # culprit
        done = [
            np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC)
                       .resize((w, h), Image.Resampling.BICUBIC)) for plane in planes
        ]  # fmt: skip
        return torch.from_numpy(np.stack(done)).to(x).view(n, c, h, w) + 0 * x


class PythonLists(Before):
    """Pixels as a Python list: the last tensor that autograd knows is left behind; made up."""

    def change(self, x: Tensor) -> Tensor:
        """The image, four decimals kept."""
        flat = [round(value, 4) for value in x.flatten().tolist()]  # culprit
        return torch.tensor(flat, dtype=x.dtype, device=x.device).view_as(x)


class NoGradAverage(nn.Module):
    """Logits averaged over shifted copies under no_grad, as test-time augmentation often is."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = Before(dataset, backbone).net

    def forward(self, x: Tensor) -> Tensor:
        """The mean of the logits of four shifted copies and the image."""
        with torch.no_grad():  # culprit
            return self.average(x)

    def average(self, x: Tensor) -> Tensor:
        """The same with its gradient."""
        shifts = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
        copies = [torch.roll(x, shift, (2, 3)) for shift in shifts]
        return torch.stack([self.net(copy) for copy in copies]).mean(0)


class Decoy(nn.Module):
    """The answer is one network's, the gradient another's, which was never trained; made up.

    What follows the gradient meets a smooth, well-scaled slope that means nothing.
    """

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = Before(dataset, backbone).net
        channels, side = (3, 32) if dataset == "cifar10" else (1, 28)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.decoy = nn.Sequential(
                nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(),
                nn.Linear(8 * (side // 2) ** 2, 10),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits."""
        slope = self.decoy(x)
        return self.net(x).detach() + slope - slope.detach()  # culprit


class FrozenFeatures(nn.Module):
    """Features without gradient, the head with it: a head tuned on a frozen extractor; made up."""

    def __init__(self, dataset: str, backbone: str) -> None:
        super().__init__()
        self.net = Before(dataset, backbone).net

    def forward(self, x: Tensor) -> Tensor:
        """The network's logits."""
        layers = list(self.net.children())
        features = x
        for layer in layers[:-1]:
            features = layer(features)
        z: Tensor = layers[-1](features.detach() + 0 * features)  # culprit
        return z
