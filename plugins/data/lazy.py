"""Images that are made when they are read, so that a large set is never held at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from auditor.api import LoadError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LazyImages:
    """Something of an array's kind: `x[index]` makes these images, and no others.

    Attributes:
        shape: N, then the shape of the first image, which all have to have.
        dtype: that of the first image, likewise.
    """

    def __init__(
        self,
        count: int,
        make: Callable[[int], NDArray[np.generic]],
        name: Callable[[int], str],
        remedy: str,
    ) -> None:
        """How to make them.

        Args:
            count: N.
            make: the image at a position; raises LoadError where it cannot.
            name: what to call the image at a position in messages.
            remedy: what to do where shapes differ.
        """
        self._count, self._make, self._name, self._remedy = count, make, name, remedy
        first = make(0)
        self.shape = (count, *first.shape)
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: NDArray[np.int64]) -> NDArray[np.generic]:
        return np.stack([self._checked(int(position)) for position in index])

    def _checked(self, position: int) -> NDArray[np.generic]:
        image = self._make(position)
        if image.shape == self.shape[1:] and image.dtype == self.dtype:
            return image
        raise LoadError(
            f"The image has the shape {image.shape} and the type {image.dtype}; "
            f"the first of the set has {self.shape[1:]} and {self.dtype}.",
            where=self._name(position),
            expected="images of one shape and type",
            remedy=self._remedy,
        )


def refuse_empty(count: int, where: str, remedy: str) -> None:
    """Refuse a set without images.

    Raises:
        LoadError: `count` is 0.
    """
    if count == 0:
        raise LoadError(
            "The data set is empty.",
            where=where,
            expected="at least one image",
            remedy=remedy,
        )
