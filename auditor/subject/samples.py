"""The images under audit, and how plugins provide them."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from auditor.errors import LoadError
from auditor.parameters import Spec
from auditor.results import Draw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_T = TypeVar("_T")
#: What is read at once for the hash: 16 MB as float64.
_PIXELS_AT_ONCE = 2**21
#: Images that are looked at for what would show in any.
_PROBES = 64
#: How far outside [0, 1] arithmetic alone carries a pixel, and of 16 bits.
_ROUNDING, _ROUNDING_HALF = 1e-5, 2e-3
_BALANCED = (
    "The images are a class-balanced draw: in every accuracy each class counts alike. Numbers "
    "called “set” are estimates for the whole set, in which each class counts by its share, with "
    "Korn and Graubard's 95 % interval."
)
_SIXTEEN_BITS = (
    "x.astype('float32') / 65535 for pixels of all 16 bits; where the sensor has fewer, divide by "
    "its largest value, such as 4095"
)


@dataclass(frozen=True)
class Images:
    """What a data adapter returns.

    Attributes:
        x: an array, or anything of its kind that is read in pieces (`len`, indexing with an int64
            array), of N images: uint8, or float in [0, 1]; N×H×W, N×H×W×C or N×C×H×W.
        y: (N,) integer labels.
        class_names: names by label, or empty.
        source: where the images come from, for the report.
        notes: what users should know of how they were read, one sentence each.
    """

    x: NDArray[np.generic]
    y: NDArray[np.integer]
    class_names: tuple[str, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()


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
    """Which of NHW, NHWC, NCHW an array of images is.

    Where neither axis has 1, 3 or 4 entries the pictures are taken to be square, else to have more
    pixels than channels; `_layout_note` says so.
    """
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4:
        first, last = (shape[axis] in (1, 3, 4) for axis in (1, 3))
        if first or last:
            return "NCHW" if first else "NHWC"
        square_first, square_last = shape[2] == shape[3], shape[1] == shape[2]
        if square_first != square_last:
            return "NCHW" if square_first else "NHWC"
        return "NCHW" if shape[1] <= shape[3] else "NHWC"
    raise LoadError(
        f"x has the shape {tuple(shape)}, which is not a set of images.",
        where=where,
        expected="N×H×W, N×H×W×C or N×C×H×W",
        remedy=f"reshape x, one image per row of its first axis{_unflattened(shape)}",
    )


def _unflattened(shape: Sequence[int]) -> str:
    """How rows of numbers become square images, where they can."""
    for channels in (1, 3):
        side = math.isqrt(shape[1] // channels) if len(shape) == 2 else 0
        if side > 1 and channels * side * side == shape[1]:
            axes = "" if channels == 1 else f"{channels}, "
            return f", such as x.reshape(-1, {axes}{side}, {side})"
    return ""


def _layout_note(shape: Sequence[int], layout: str) -> str:
    if layout == "NHW" or shape[1 if layout == "NCHW" else 3] in (1, 3, 4):
        return ""
    channels, pixels = (shape[1], shape[2:]) if layout == "NCHW" else (shape[3], shape[1:3])
    order = "N×C×H×W" if layout == "NCHW" else "N×H×W×C"
    return (
        f"x of the shape {tuple(shape)} was read as {channels} channels of {pixels[0]} × "
        f"{pixels[1]} pixels ({order}); the report's pictures show "
        f"{'the first' if channels == 2 else 'the first three'} of them."
    )


def _no_keys() -> NDArray[np.int64]:
    import numpy as np

    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class Samples:
    """A chosen part of a set of images, read in pieces.

    `index` (N,) int64 are the images' positions in the whole set: their stable ids.
    """

    images: Images
    index: NDArray[np.int64]
    sha256: str
    layout: str
    draw: Draw = "all"
    #: What was done to images and labels, and what is odd about them, one sentence each.
    notes: tuple[str, ...] = ()
    #: (N,) int64, what the random numbers of the chosen images follow from: their content, so that
    #: their places in the set change nothing.
    keys: NDArray[np.int64] = field(default_factory=_no_keys)

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
        return self.ordered(_clipped(raw, self.images.source)[0])

    def ordered(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, C, H, W) of pixels in the layout of the set."""
        if self.layout == "NHW":
            return pixels[:, None]
        return pixels.transpose(0, 3, 1, 2) if self.layout == "NHWC" else pixels

    def class_name(self, label: int) -> str:
        """The class's name, or its number where it has none."""
        names = self.images.class_names
        return names[label] if label < len(names) else str(label)


def _clipped(raw: NDArray[np.generic], where: str) -> tuple[NDArray[np.float64], int, float]:
    """Pixels as float64 in [0, 1]; how many were a rounding error outside, and the largest."""
    import numpy as np

    if raw.dtype == np.uint8:
        return raw.astype(np.float64) / 255, 0, 0.0
    pixels = raw.astype(np.float64)
    _check_range(pixels, _ROUNDING if raw.dtype.itemsize > 2 else _ROUNDING_HALF, where)
    inside = pixels.clip(0, 1)
    return inside, int((inside != pixels).sum()), float(np.abs(inside - pixels).max(initial=0))


def _check_range(pixels: NDArray[np.float64], tolerance: float, where: str) -> None:
    import numpy as np

    if not np.isfinite(pixels).all():
        raise LoadError(
            "x holds pixels that are not finite numbers.",
            where=where,
            expected="every pixel in [0, 1]",
            remedy="find and replace the NaN or infinite values",
        )
    if not pixels.size:
        return
    low, high = float(pixels.min()), float(pixels.max())
    if low >= -tolerance and high <= 1 + tolerance:
        return
    if low >= 0 and high > 255:
        remedy = _SIXTEEN_BITS
    elif low >= 0 and high > 2:
        remedy = "divide x by 255, or store it as uint8"
    elif low >= -0.1 and high <= 1.1:
        remedy = "x.clip(0, 1), if that is done where the model is deployed"
    else:
        remedy = "undo any normalisation; give it as the model's `normalize` instead"
    raise LoadError(
        f"x holds pixels from {low:g} to {high:g}.",
        where=where,
        expected="floating-point pixels in [0, 1], or uint8",
        remedy=remedy,
    )


def _type_remedy(x: NDArray[np.generic]) -> str:
    """How pixels of a type that is not accepted become some that are."""
    import numpy as np

    if x.dtype.kind == "b":
        return "x.astype('float32')"
    if x.dtype.kind == "c":
        return "store the parts as channels, or np.abs(x), with pixels in [0, 1]"
    if x.dtype.kind not in "iu":
        return "store an array of numbers, such as np.stack([np.asarray(image) for image in x])"
    some = np.asarray(x[np.arange(min(len(x), _PROBES))])
    low, high = int(some.min()), int(some.max())
    if low >= 0 and high <= 255:
        return "x.astype('uint8'), if the pixels are 0..255"
    if low < 0:
        return f"scale the pixels, which are from {low} to {high}, as the model wants them"
    return f"{_SIXTEEN_BITS}; the largest of the first images is {high:,}"


@dataclass(frozen=True)
class _Admitted:
    """A set of images that can be audited: its labels (N,), its layout, what is to be told."""

    images: Images
    layout: str
    notes: tuple[str, ...]


def _admitted(images: Images) -> _Admitted:
    """The set as it will be audited.

    Raises:
        LoadError: it is empty, or its shapes, types or labels are not as `Images` says.
    """
    import numpy as np

    where = images.source
    layout = _layout(images.x.shape, where)
    notes = [_layout_note(images.x.shape, layout)]
    n = len(images.x)
    if n == 0:
        raise LoadError("The data set is empty.", where=where, expected="at least one image",
                        remedy="check the path, and the filter that made the file")  # fmt: skip
    if images.x.dtype != np.uint8 and images.x.dtype.kind != "f":
        raise LoadError(
            f"x has the type {images.x.dtype}.",
            where=where,
            expected="uint8, or a floating-point type with pixels in [0, 1]",
            remedy=_type_remedy(images.x),
        )
    if images.y.shape in ((n, 1), (1, n)) and n > 1:
        notes.append(f"y of the shape {images.y.shape} was read as one label per image, ({n},).")
        images = replace(images, y=images.y.reshape(n))
    if images.y.shape != (n,):
        raise LoadError(
            f"y has the shape {images.y.shape} for {n} images.",
            where=where,
            expected=f"one integer label per image, shape ({n},)",
            remedy="for one-hot labels, store y.argmax(1)"
            if _one_hot(images.y, n)
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
    return _Admitted(images, layout, (*images.notes, *filter(None, notes)))


def _one_hot(y: NDArray[np.generic], n: int) -> bool:
    """Whether every row names one class, as a 1 among zeros or as the largest of shares."""
    import numpy as np

    if y.ndim != 2 or len(y) != n or y.shape[1] < 2 or y.dtype.kind not in "buif":
        return False
    rows = y.astype(np.float64)
    return bool((rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=1e-3))


def _refuse_changing(samples: Samples) -> None:
    """Refuse a set whose images are others each time they are read.

    An array is what it is. Images that are made when they are read are made twice, of a part of the
    set: a transform that changes one in ten is missed once in 700 times by 64 of them.
    """
    import numpy as np

    if isinstance(samples.images.x, np.ndarray):
        return
    part = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _PROBES)).astype(np.int64))
    first, again = (np.asarray(samples.images.x[samples.index[part]]) for _ in range(2))
    changed = np.flatnonzero((first != again).reshape(len(part), -1).any(1))
    if len(changed):
        raise LoadError(
            f"The images change each time they are read: {len(changed)} of {len(part)} were others "
            "the second time.",
            where=f"{samples.images.source}, the first of them image "
            f"{int(samples.index[part[changed[0]]])}",
            expected="the same image at a position whenever it is read",
            remedy="leave random transforms (flips, crops, noise, jitter) out of the data set, or "
            "draw them once: return x = torch.stack([image for image, _ in dataset]) and y",
        )


def choose_samples(images: Images, count: int | None, seed: int, draw: Draw = "uniform") -> Samples:
    """A seeded draw of `count` images (all if None), in the order of the set.

    Uniform: every image as likely as every other, so that what is counted speaks of the set.
    Balanced: equal numbers per class as far as the classes have them, the rest spread evenly.

    Raises:
        LoadError: the set cannot be audited, or has fewer images than `count`.
    """
    import numpy as np

    admitted = _admitted(images)
    images, layout = admitted.images, admitted.layout
    n = len(images.x)
    if count is None or count == n:
        chosen, draw = np.arange(n), "all"
    elif count > n:
        raise LoadError(f"{count} samples are asked for, and the set has {n}.",
                        where=f"[data] samples, {images.source}", expected=f"at most {n}",
                        remedy="lower `samples`, or leave it out for all")  # fmt: skip
    else:
        shuffled = np.random.Generator(np.random.Philox(key=seed)).permutation(n)
        if draw == "balanced":
            shuffled = shuffled[np.argsort(_ranks(images.y[shuffled]), kind="stable")]
        chosen = np.sort(shuffled[:count])
    index = chosen.astype(np.int64)
    samples = Samples(images, index, "", layout, draw)
    content = _content(samples)
    _refuse_changing(samples)
    notes = (*admitted.notes, *content.notes)
    if draw == "balanced":
        notes = (_BALANCED, *notes)
    return replace(samples, sha256=content.sha256, keys=content.keys, notes=notes)


def _ranks(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """(N,) how many of its class stand before each: taking ranks in order balances the classes."""
    import numpy as np

    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return rank


@dataclass(frozen=True)
class _Content:
    """sha256 over shape, ids, labels and pixels; a key for each image; what had to be clipped."""

    sha256: str
    keys: NDArray[np.int64]
    notes: tuple[str, ...]


def _content(samples: Samples) -> _Content:
    """What the chosen images hold, all of which are read once."""
    import numpy as np

    digest = hashlib.sha256(repr((len(samples), samples.shape)).encode())
    digest.update(samples.index.tobytes())
    digest.update(samples.labels.tobytes())
    labels = samples.labels
    each: list[bytes] = []
    clipped, furthest = 0, 0.0
    piece = max(1, _PIXELS_AT_ONCE // math.prod(samples.shape))  # how many changes no hash
    for start in range(0, len(samples), piece):
        raw = np.asarray(samples.images.x[samples.index[start : start + piece]])
        pixels, count, most = _clipped(raw, samples.images.source)
        ordered = np.ascontiguousarray(samples.ordered(pixels))
        digest.update(ordered.data)
        for row in range(len(ordered)):
            one = hashlib.sha256(labels[start + row].tobytes())
            one.update(ordered[row].data)
            each.append(one.digest())
        clipped, furthest = clipped + count, max(furthest, most)
    notes = (
        f"{clipped:,} values of pixels lay outside [0, 1] by at most {furthest:.2g}, a rounding "
        "error, and were clipped.",
    )
    return _Content(digest.hexdigest(), _keys(each), notes if clipped else ())


def _keys(each: Sequence[bytes]) -> NDArray[np.int64]:
    """(N,) numbers of 63 bits from the images' hashes; each further copy of one has its own."""
    import numpy as np

    copies: Counter[bytes] = Counter()
    keys = np.empty(len(each), np.int64)
    for row, content in enumerate(each):
        copy = copies[content]
        copies[content] += 1
        own = hashlib.sha256(content + str(copy).encode()).digest() if copy else content
        keys[row] = int.from_bytes(own[:8], "little") >> 1
    return keys
