"""Image-classification data sets as MAITE describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.api import FactoryPath, Images, LoadError, call_factory, data_adapter, param

from .items import as_array, images_of


@data_adapter(name="maite")
@dataclass(frozen=True)
class Maite:
    """A data set of MAITE's image-classification protocol, from your own function.

    Its items are (image C×H×W, one-hot or probabilities, metadata); the label is the largest. The
    package maite is not needed.
    """

    factory: FactoryPath = param(doc='the function, "file.py:callable" or "module:callable"')
    kwargs: dict[str, Any] | None = param(None, "its arguments")

    def load(self) -> Images:
        """All items, the images read when they are needed."""
        where = f"[data] factory = {self.factory!r}"
        dataset = call_factory(self.factory, self.kwargs or {}, where)
        if not all(hasattr(dataset, name) for name in ("__getitem__", "__len__", "metadata")):
            raise LoadError(
                f"The function returned a {type(dataset).__name__}.",
                where=where,
                expected="a MAITE data set, with __getitem__, __len__ and metadata",
                remedy="return the data set itself; for others there is the adapter python",
            )
        x, y = images_of(dataset, where, _likeliest)
        metadata = dataset.metadata if isinstance(dataset.metadata, Mapping) else {}
        source = f"{self.factory}, MAITE data set {metadata.get('id', 'without id')}"
        return Images(x, y, _names(metadata.get("index2label")), source)  # type: ignore[arg-type]


def _likeliest(target: Any) -> int:
    scores = as_array(target)
    if scores.ndim != 1 or len(scores) < 2 or scores.dtype.kind not in "buif":
        raise ValueError(f"it has the shape {scores.shape} and the type {scores.dtype}; "
                         "one number per class was expected")  # fmt: skip
    if not scores.max() > 0:  # NaN too
        raise ValueError("no class has a probability above 0")
    return int(scores.argmax())


def _names(index2label: Any) -> tuple[str, ...]:
    """The names in the order of their labels, or none where labels have gaps."""
    if not isinstance(index2label, Mapping) or set(index2label) != set(range(len(index2label))):
        return ()
    return tuple(str(index2label[label]) for label in range(len(index2label)))
