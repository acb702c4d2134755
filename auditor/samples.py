"""The images under audit, and how plugins provide them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from auditor.errors import LoadError
from auditor.spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
#: What is read at once for the hash: 16 MB as float64.
_PIXELS_AT_ONCE = 2**21


@dataclass(frozen=True)
class Images:
    """What a data adapter returns.

    Attributes:
        x: an array, or anything of its kind that is read in pieces (`len`, indexing with an int64
            array), of N images: uint8, or float in [0, 1]; N×H×W, N×H×W×C or N×C×H×W.
        y: (N,) integer labels.
        class_names: names by label, or empty.
        source: where the images come from, for the report.
    """

    x: NDArray[np.generic]
    y: NDArray[np.integer]
    class_names: tuple[str, ...] = ()
    source: str = ""


class DataAdapter(Protocol):
    """A frozen dataclass whose fields are keys of [data]; `load` reads the images."""

    def load(self) -> Images:
        """All images of the set."""


def data_adapter(*, name: str) -> Callable[[type[_T]], type[_T]]:
    """Class decorator that says what users write after `adapter =`."""

    def describe(cls: type[_T]) -> type[_T]:
        cls.data_spec = Spec(name, cls, "")  # type: ignore[attr-defined]
        return cls

    return describe


def _layout(shape: Sequence[int], where: str) -> str:
    """Which of NHW, NHWC, NCHW an array of images is; three or fewer at the end means channels."""
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4):
        return "NCHW"
    if len(shape) == 4 and shape[3] in (1, 3, 4):
        return "NHWC" if shape[1] not in (1, 3, 4) else "NCHW"
    raise LoadError(
        f"x has the shape {tuple(shape)}, which is not a set of images.",
        where=where,
        expected="N×H×W, N×H×W×C or N×C×H×W with 1, 3 or 4 channels",
        remedy="reshape x, one image per row of its first axis",
    )


@dataclass(frozen=True)
class Samples:
    """A chosen part of a set of images, read in pieces.

    `index` (N,) int64 are the images' positions in the whole set: their stable ids.
    """

    images: Images
    index: NDArray[np.int64]
    sha256: str
    layout: str

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) int64 labels of the chosen images."""
        import numpy as np

        return self.images.y[self.index].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.read(slice(0, 1)).shape
        return channels, height, width

    def read(self, part: slice | NDArray[np.int64]) -> NDArray[np.float64]:
        """(n, C, H, W) float64 pixels in [0, 1] of some of the chosen images.

        Args:
            part: their positions among the chosen ones.

        Raises:
            LoadError: floating-point pixels outside [0, 1], or not finite.
        """
        import numpy as np

        raw = np.asarray(self.images.x[self.index[part]])
        pixels = raw.astype(np.float64) / 255 if raw.dtype == np.uint8 else raw.astype(np.float64)
        _check_range(pixels, self.images.source)
        if self.layout == "NHW":
            return pixels[:, None]
        return pixels.transpose(0, 3, 1, 2) if self.layout == "NHWC" else pixels

    def class_name(self, label: int) -> str:
        """The class's name, or its number where it has none."""
        names = self.images.class_names
        return names[label] if label < len(names) else str(label)


def _check_range(pixels: NDArray[np.float64], where: str) -> None:
    import numpy as np

    if not np.isfinite(pixels).all():
        raise LoadError(
            "x holds pixels that are not finite numbers.",
            where=where,
            expected="every pixel in [0, 1]",
            remedy="find and replace the NaN or infinite values",
        )
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        scale = "divide x by 255, or store it as uint8" if high > 2 and low >= 0 else ""
        raise LoadError(
            f"x holds pixels from {low:g} to {high:g}.",
            where=where,
            expected="floating-point pixels in [0, 1], or uint8",
            remedy=scale or "undo any normalisation; give it as the model's `normalize` instead",
        )


def check_images(images: Images) -> str:
    """The layout of a set of images that can be audited.

    Raises:
        LoadError: it is empty, or its shapes, types or labels are not as `Images` says.
    """
    import numpy as np

    where = images.source
    layout = _layout(images.x.shape, where)
    n = len(images.x)
    if n == 0:
        raise LoadError("The data set is empty.", where=where, expected="at least one image",
                        remedy="check the path, and the filter that made the file")  # fmt: skip
    if images.x.dtype != np.uint8 and images.x.dtype.kind != "f":
        cast = "uint8') if the pixels are 0..255" if images.x.dtype.kind in "iu" else "float32')"
        raise LoadError(
            f"x has the type {images.x.dtype}.",
            where=where,
            expected="uint8, or a floating-point type with pixels in [0, 1]",
            remedy=f"x.astype('{cast}",
        )
    if images.y.shape != (n,):
        one_hot = images.y.ndim == 2 and len(images.y) == n
        raise LoadError(
            f"y has the shape {images.y.shape} for {n} images.",
            where=where,
            expected=f"one integer label per image, shape ({n},)",
            remedy="for one-hot labels, store y.argmax(1)"
            if one_hot
            else "store a label per image",
        )
    if images.y.dtype.kind not in "iu":
        text = images.y.dtype.kind in "US"
        raise LoadError(
            f"y has the type {images.y.dtype}.",
            where=where,
            expected="integer labels",
            remedy="np.unique(y, return_inverse=True)[1]" if text else "y.astype('int64')",
        )
    if int(images.y.min()) < 0:
        raise LoadError(f"y holds the label {int(images.y.min())}.", where=where,
                        expected="labels from 0 to classes - 1",
                        remedy="remove or relabel these images")  # fmt: skip
    if len(np.unique(images.y)) < 2:
        raise LoadError(f"Every image has the same label, {int(images.y[0])}.", where=where,
                        expected="images of at least two classes",
                        remedy="audit a set that represents the task")  # fmt: skip
    return layout


def choose_samples(images: Images, count: int | None, seed: int) -> Samples:
    """A class-balanced, seeded draw of `count` images (all if None), in the order of the set.

    Balanced means: equal numbers per class as far as the classes have them, the rest spread evenly.

    Raises:
        LoadError: the set cannot be audited, or has fewer images than `count`.
    """
    import numpy as np

    layout = check_images(images)
    n = len(images.x)
    if count is None:
        chosen = np.arange(n)
    elif count > n:
        raise LoadError(f"{count} samples are asked for, and the set has {n}.",
                        where=f"[data] samples, {images.source}", expected=f"at most {n}",
                        remedy="lower `samples`, or leave it out for all")  # fmt: skip
    else:
        shuffled = np.random.Generator(np.random.Philox(key=seed)).permutation(n)
        labels = images.y[shuffled]
        # The k-th image of its class has rank k: taking ranks in order balances the classes.
        rank = np.zeros(n, dtype=np.int64)
        for label in np.unique(labels):
            rank[labels == label] = np.arange((labels == label).sum())
        chosen = np.sort(shuffled[np.argsort(rank, kind="stable")[:count]])
    index = chosen.astype(np.int64)
    samples = Samples(images, index, "", layout)
    return Samples(images, index, _content_hash(samples), layout)


def _content_hash(samples: Samples) -> str:
    """sha256 over shape, ids, labels and pixels of the chosen images."""
    digest = hashlib.sha256(repr((len(samples), samples.shape)).encode())
    digest.update(samples.index.tobytes())
    digest.update(samples.labels.tobytes())
    piece = max(1, _PIXELS_AT_ONCE // math.prod(samples.shape))  # how many changes no hash
    for start in range(0, len(samples), piece):
        digest.update(samples.read(slice(start, start + piece)).tobytes())
    return digest.hexdigest()
