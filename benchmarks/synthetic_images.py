"""A plugin with as many images as wanted, none of them stored, and a tiny CNN to tell them apart.

Ten classes: the image of class c has a brighter tile at the c-th place of a 4 × 4 grid, by a
contrast that differs from image to image, so that some fall to an attack and others do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auditor.api import Images, PositiveInt, data_adapter, hookimpl, param

_CLASSES, _TILE, _SIDE = 10, 7, 28


def _hashed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Each word's bits mixed (the finaliser of MurmurHash3)."""
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return words ^ (words >> np.uint32(16))


@dataclass(frozen=True)
class LazyImages:
    """Something of an array's kind: `x[index]` makes these images, and no others."""

    count: int
    dtype: ClassVar[np.dtype[np.uint8]] = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        """N × H × W."""
        return self.count, _SIDE, _SIDE

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        number = index.astype(np.uint32)[:, None, None]
        pixel = np.arange(_SIDE * _SIDE, dtype=np.uint32).reshape(_SIDE, _SIDE)
        noise = _hashed(number * np.uint32(_SIDE * _SIDE) + pixel) >> np.uint32(26)  # 0 .. 63
        contrast = 10 + (_hashed(number + np.uint32(1)) >> np.uint32(25))  # 10 .. 137
        row, column = pixel // _SIDE // _TILE, pixel % _SIDE // _TILE
        tile = row * (_SIDE // _TILE) + column == (number % _CLASSES)
        return (noise + np.where(tile, contrast, 0) + 20).astype(np.uint8)


@data_adapter(name="synthetic")
@dataclass(frozen=True)
class Synthetic:
    """Images made when they are asked for."""

    images: PositiveInt = param(1000, "how many there are")

    def load(self) -> Images:
        """All images of the set, none of them made yet."""
        labels = (np.arange(self.images) % _CLASSES).astype(np.uint8)
        return Images(LazyImages(self.images), labels, source="synthetic")  # type: ignore[arg-type]


def tiny_cnn() -> nn.Module:
    """From images (B, 1, 28, 28) to logits (B, 10): smooth, average each tile, compare."""
    smooth = nn.Conv2d(1, 2, 3, padding=1)
    read = nn.Linear(2 * (_SIDE // _TILE) ** 2, _CLASSES)
    with torch.no_grad():
        smooth.weight.fill_(1 / 9)
        smooth.bias.zero_()
        read.bias.zero_()
        read.weight.zero_()
        for label in range(_CLASSES):
            read.weight[label, label] = 10
    return nn.Sequential(smooth, nn.ReLU(), nn.AvgPool2d(_TILE), nn.Flatten(), read)


@hookimpl
def auditor_data() -> list[type]:
    """The lazy images."""
    return [Synthetic]
