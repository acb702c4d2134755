"""A data set of torchvision from a local folder."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from auditor.api import FolderPath, Images, LoadError, data_adapter, param

from .items import whole_number
from .lazy import LazyImages, refuse_empty
from .pictures import ONE_SIZE, Fitting, only_these_formats


@data_adapter(name="torchvision")
@dataclass(frozen=True, kw_only=True)
class Torchvision(Fitting):
    """A classification set of torchvision.datasets by name. Nothing is downloaded."""

    dataset: str = param(doc='its class in torchvision.datasets, such as "CIFAR10" or "SVHN"')
    root: FolderPath = param(doc="the folder it lies in, relative to audit.toml")
    split: str = param("test", "which part, for sets that have several")

    def load(self) -> Images:
        """All images, read when they are needed as far as torchvision does."""
        where = f"[data] dataset = {self.dataset!r}, root {self.root}"
        found = self._open(where)
        count = len(found)
        refuse_empty(count, where, "check root and split")

        def name(position: int) -> str:
            return f"{where}, image {position}"

        def picture(position: int) -> Any:
            return self.fit(_pair(found, position, name(position))[0], name(position))

        x = LazyImages(count, picture, name, ONE_SIZE)
        labels = _labels(found, count) or [
            _label(_pair(found, position, name(position))[1], name(position))
            for position in range(count)
        ]
        y = np.array(labels, dtype=np.int64)
        names = tuple(map(str, getattr(found, "classes", ())))
        source = self.described(f"torchvision {self.dataset}, {self.split}")
        return Images(x, y, names, source)  # type: ignore[arg-type]

    def _open(self, where: str) -> Any:
        from torchvision import datasets

        offered = [key for key in datasets.__all__ if inspect.isclass(getattr(datasets, key))]
        if self.dataset not in offered:
            close = difflib.get_close_matches(self.dataset, offered, 1)
            raise LoadError(
                f"torchvision has no data set called {self.dataset!r}.",
                where="[data] dataset",
                expected="the name of a class in torchvision.datasets",
                remedy=f"did you mean {close[0]!r}?"
                if close
                else "see torchvision's documentation",
            )
        cls = getattr(datasets, self.dataset)
        try:
            return cls(self.root, **self._arguments(inspect.signature(cls).parameters))
        except LoadError:
            raise
        except Exception as error:  # torchvision's sets raise all sorts
            download = f"torchvision.datasets.{self.dataset}(root, download=True)"
            raise LoadError(
                f"The data set cannot be opened: {error}",
                where=where,
                expected="the files as torchvision stores them",
                remedy=f"correct root or split; where it was never fetched, run {download} once",
            ) from None

    def _arguments(self, known: Any) -> dict[str, Any]:
        if "split" in known:
            return {"split": self.split}
        if "train" not in known:
            return {}
        if self.split not in ("train", "test"):
            raise LoadError(
                f"{self.dataset} has no split {self.split!r}.",
                where="[data] split",
                expected="train or test",
                remedy='split = "test"',
            )
        return {"train": self.split == "train"}


def _labels(dataset: Any, count: int) -> list[int] | None:
    """The labels as most sets hold them, which saves opening every image."""
    for key in ("targets", "labels", "_labels"):
        held = getattr(dataset, key, None)
        if held is not None and len(held) == count:
            labels = np.asarray(held)
            if labels.ndim == 1 and labels.dtype.kind in "iu":
                return [int(label) for label in labels]
    return None


def _pair(dataset: Any, position: int, where: str) -> Any:
    from PIL.Image import Image

    try:
        with only_these_formats():
            found = dataset[position]
    except Exception as error:  # a damaged file among others
        raise LoadError(
            f"The image cannot be read: {error}.",
            where=where,
            expected="the files as torchvision stores them",
            remedy="fetch the data set again",
        ) from None
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], Image):
        return found
    raise LoadError(
        "The data set's items are not an image and its class.",
        where=where,
        expected="a set for image classification",
        remedy="use the adapter python for other sets",
    )


def _label(label: Any, where: str) -> int:
    try:
        return whole_number(label)
    except (TypeError, ValueError) as error:
        raise LoadError(
            f"The label cannot be used: {error}.",
            where=where,
            expected="an integer from 0 to classes - 1",
            remedy="use the adapter python for other sets",
        ) from None
