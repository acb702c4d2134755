"""Images of the development networks: three public sets, and tasks made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import HERE
from torch import Tensor

DATA_HELP = (
    "folder with SET-train.npz and SET-test.npz for the sets fashion-mnist, mnist and cifar10 "
    "(x: uint8 [N, H, W] or [N, H, W, 3], y: [N]); a set without these files is read by "
    "torchvision from the folder, and downloaded to it if needed"
)
#: Sets by name in file names: the name in torchvision.
SETS = {"fashion-mnist": "FashionMNIST", "mnist": "MNIST", "cifar10": "CIFAR10"}
#: Tasks made of a set: two digits side by side, odd or even, vehicle or animal.
TASKS = {"mnist-pairs": "mnist", "mnist-parity": "mnist", "cifar10-vehicles": "cifar10"}
#: Classes where they are not ten.
CLASSES = {"mnist-pairs": 100, "mnist-parity": 2, "cifar10-vehicles": 2}
_VEHICLES = [0, 1, 8, 9]
SHIPPED = HERE.parent / "examples" / "fashion_mnist" / "data" / "test-1000.npz"


def read(data: str, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images of a set or task, uint8 [N, H, W] or [N, H, W, 3], and labels [N].

    Args:
        split: "train" or "test".
    """
    x, y = _set(TASKS.get(data, data), split, folder)
    if data == "mnist-pairs":
        return _pairs(x, y)
    if data == "mnist-parity":
        return x, y % 2
    if data == "cifar10-vehicles":
        return x, np.isin(y, _VEHICLES).astype(np.int64)
    return x, y


def _set(data: str, split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    file = folder / f"{data}-{split}.npz"
    if file.is_file():
        with np.load(file) as arrays:
            return arrays["x"], arrays["y"]
    from torchvision import datasets  # needed only by those without the npz files

    found = getattr(datasets, SETS[data])(str(folder), train=split == "train", download=True)
    return np.asarray(found.data), np.asarray(found.targets)


def _pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Digits at half size beside another digit, [N, 14, 28]; class 10 left + right."""
    small = x.reshape(len(x), 14, 2, 14, 2).mean((2, 4)).round().astype(np.uint8)
    other = np.random.default_rng(0).permutation(len(x))
    labels = y.astype(np.int64)
    return np.concatenate([small, small[other]], 2), 10 * labels + labels[other]


def tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
    """Images as float32 (N, C, H, W) in [0, 1], labels as int64 (N,)."""
    images = torch.from_numpy(x if x.ndim == 4 else x[..., None]).movedim(3, 1)
    return images.contiguous().float().div(255), torch.from_numpy(y.astype(np.int64))


def held_out_rows(data: str, count: int) -> np.ndarray:
    """The first images of a test set, those that the Fashion-MNIST example ships left out."""
    with np.load(SHIPPED) as shipped:
        left_out = shipped["index"] if data == "fashion-mnist" else []
    return np.setdiff1d(np.arange(10_000), left_out)[:count]
