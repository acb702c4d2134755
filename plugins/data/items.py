"""Images and labels of a data set that is indexed one item at a time."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.api import LoadError, raised_by_user_code

from .lazy import LazyImages, refuse_empty

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHAPE = "return images of one shape and type from the data set, such as by a transform"


def as_array(value: Any) -> NDArray[np.generic]:
    """A NumPy array of a tensor, a PIL image or anything NumPy understands."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value)


def images_of(
    dataset: Any, where: str, label_of: Callable[[Any], int]
) -> tuple[LazyImages, NDArray[np.int64]]:
    """The images, made when they are read, and the labels, for which every item is read once.

    Args:
        dataset: it has a length and, at every position, an item that begins with the image.
        where: for messages.
        label_of: the label of an item.

    Raises:
        LoadError: it is not such a set, it is empty, or an item raises.
    """
    with raised_by_user_code(where, "asking the data set for its length"):
        count = len(dataset)
    refuse_empty(count, where, "check what the callable returns")

    def name(position: int) -> str:
        return f"{where}, item {position}"

    def item(position: int) -> Any:
        with raised_by_user_code(name(position), "reading the item"):
            found = dataset[position]
        if isinstance(found, (tuple, list)) and len(found) >= 2:
            return found
        raise LoadError(
            f"The item is a {type(found).__name__}.",
            where=name(position),
            expected="a tuple that begins with the image and its label",
            remedy="return (image, label) from the data set's __getitem__",
        )

    def label(position: int) -> int:
        found = item(position)
        try:
            return label_of(found[1])
        except (TypeError, ValueError) as error:
            raise LoadError(
                f"The item's label cannot be used: {error}.",
                where=name(position),
                expected="an integer from 0 to classes - 1",
                remedy="return (image, label) from the data set's __getitem__",
            ) from None

    x = LazyImages(count, lambda position: as_array(item(position)[0]), name, _SHAPE)
    return x, np.array([label(position) for position in range(count)], dtype=np.int64)


def whole_number(label: Any) -> int:
    """A label that is an integer, or a tensor or array of one.

    Raises:
        TypeError, ValueError: it is not, or it is negative.
    """
    number = operator.index(label.item() if hasattr(label, "item") else label)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number
