"""Images from the user's own Python function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.api import FactoryPath, Images, LoadError, call_factory, data_adapter, param

from .items import as_array, images_of, whole_number


@data_adapter(name="python")
@dataclass(frozen=True)
class Python:
    """What your own function returns: (x, y), a mapping with x and y, or a torch data set.

    `auditor.api.Images` are taken as they are. Of a data set, images are read when they are needed.
    """

    factory: FactoryPath = param(doc='the function, "file.py:callable" or "module:callable"')
    kwargs: dict[str, Any] | None = param(None, "its arguments")

    def load(self) -> Images:
        """All images of the set."""
        where = f"[data] factory = {self.factory!r}"
        found = call_factory(self.factory, self.kwargs or {}, where)
        if isinstance(found, Images):
            return found
        if isinstance(found, Mapping):
            missing = [key for key in ("x", "y") if key not in found]
            if missing:
                raise self._refused(f"a mapping without {' and '.join(missing)}", where)
            names = tuple(map(str, found.get("class_names", ())))
            x, y = as_array(found["x"]), as_array(found["y"])
            return Images(x, y, names, self.factory)  # type: ignore[arg-type]
        if isinstance(found, (tuple, list)):
            if len(found) != 2:
                raise self._refused(f"a {type(found).__name__} of {len(found)}", where)
            x, y = as_array(found[0]), as_array(found[1])
            return Images(x, y, (), self.factory)  # type: ignore[arg-type]
        if not (hasattr(found, "__getitem__") and hasattr(found, "__len__")):
            raise self._refused(f"a {type(found).__name__}", where)
        images, labels = images_of(found, where, whole_number)
        names = tuple(map(str, getattr(found, "classes", None) or ()))
        return Images(images, labels, names, self.factory)  # type: ignore[arg-type]

    def _refused(self, got: str, where: str) -> LoadError:
        return LoadError(
            f"The function returned {got}.",
            where=where,
            expected="(x, y), a mapping with x and y, auditor.api.Images, or a data set with "
            "__getitem__ and __len__",
            remedy="return x (images, uint8 or float in [0, 1]) and y (integer labels)",
        )
