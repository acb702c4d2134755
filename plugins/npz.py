"""Images and labels from a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auditor.api import Images, LoadError, data_adapter, hookimpl, param

_EXPECTED = {
    "x": "an array of numbers, uint8 or float in [0, 1]",
    "y": "an array of integer labels",
    "class_names": "one name per class, as an array of text",
}
#: How an array of Python objects becomes one that can be read.
_OBJECTS = {
    "x": "x=np.stack(list(x)), where all images have one shape",
    "y": "y=y.astype('int64')",
    "class_names": "class_names=np.array(class_names, dtype=str)",
}


@data_adapter(name="npz")
@dataclass(frozen=True)
class Npz:
    """`x` and `y` of a .npz file, and `class_names` where it has them.

    Pickled arrays are refused.
    """

    path: str = param(doc="the .npz file, relative to audit.toml")

    def load(self) -> Images:
        """All images of the file."""
        if not Path(self.path).is_file():
            raise LoadError(
                "The data file does not exist.",
                where=self.path,
                expected="a .npz file with x and y",
                remedy="correct [data] path; it is relative to audit.toml",
            )
        try:
            with Path(self.path).open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise self._unreadable("it holds a single array")
                return self._images(archive)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
            raise self._unreadable(str(error)) from None
        except ValueError as error:
            raise self._no_archive(error) from None

    def _images(self, archive: np.lib.npyio.NpzFile) -> Images:
        missing = [name for name in ("x", "y") if name not in archive]
        if missing:
            raise LoadError(
                f"The archive has no array {' and no '.join(missing)}.",
                where=self.path,
                expected="x (images) and y (labels)",
                remedy=f"it has {sorted(archive.files)}: rename them with np.savez",
            )
        x, y = self._array(archive, "x"), self._array(archive, "y")
        names: tuple[str, ...] = ()
        if "class_names" in archive.files:
            names = self._names(self._array(archive, "class_names"))
        return Images(x, y, names, self.path)

    def _array(self, archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray[Any, Any]:
        try:
            found: np.ndarray[Any, Any] = archive[name]
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise LoadError(
                f"The array {name} holds Python objects; to read them could run code.",
                where=f"{self.path}, {name}",
                expected=_EXPECTED[name],
                remedy=f"save it again with {_OBJECTS[name]}",
            ) from None
        return found

    def _names(self, found: np.ndarray[Any, Any]) -> tuple[str, ...]:
        if found.ndim != 1 or found.dtype.kind not in "USiu":
            raise LoadError(
                f"The array class_names has the shape {found.shape} and the type {found.dtype}.",
                where=f"{self.path}, class_names",
                expected=_EXPECTED["class_names"],
                remedy=f"save it again with {_OBJECTS['class_names']}",
            )
        if found.dtype.kind == "S":
            return tuple(name.decode("utf-8", "surrogateescape") for name in found.tolist())
        return tuple(map(str, found.tolist()))

    def _no_archive(self, error: ValueError) -> LoadError:
        if "pickle" not in str(error):
            return self._unreadable(str(error))
        # NumPy takes all that is no archive for a pickle.
        return self._unreadable("it is no .npz archive (and a pickle is never opened)")

    def _unreadable(self, why: str) -> LoadError:
        return LoadError(
            f"The data file cannot be read: {why}.",
            where=self.path,
            expected="a .npz archive with x and y",
            remedy="write it with np.savez(path, x=images, y=labels)",
        )


@hookimpl
def auditor_data() -> list[type]:
    """The npz adapter."""
    return [Npz]
