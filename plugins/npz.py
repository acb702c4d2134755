"""Images and labels from a NumPy archive."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.api import Images, LoadError, data_adapter, hookimpl, param


@data_adapter(name="npz")
@dataclass(frozen=True)
class Npz:
    """`x` and `y` of a .npz file; `class_names` (text) where it has them. Pickled arrays are refused."""

    path: str = param(doc="the .npz file, relative to audit.toml")

    def load(self) -> Images:
        """All images of the file."""
        if not Path(self.path).is_file():
            raise LoadError("The data file does not exist.", where=self.path,
                            expected="a .npz file with x and y",
                            remedy="correct [data] path; it is relative to audit.toml")  # fmt: skip
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                if not isinstance(archive, np.lib.npyio.NpzFile):
                    raise self._unreadable("it holds a single array")
                return self._images(archive)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise self._unreadable(str(error)) from None

    def _images(self, archive: np.lib.npyio.NpzFile) -> Images:
        missing = [name for name in ("x", "y") if name not in archive]
        if missing:
            raise LoadError(f"The archive has no array {' and no '.join(missing)}.", where=self.path,
                            expected="x (images) and y (labels)",
                            remedy=f"it has {sorted(archive.files)}: rename them with np.savez")  # fmt: skip
        try:
            names = archive["class_names"] if "class_names" in archive else ()
            return Images(archive["x"], archive["y"], tuple(map(str, names)), self.path)
        except ValueError as error:
            if "pickle" not in str(error):
                raise
            raise LoadError("The archive holds pickled objects, which could run code.", where=self.path,
                            expected="plain numeric arrays",
                            remedy="save it again from arrays of a numeric type")  # fmt: skip

    def _unreadable(self, why: str) -> LoadError:
        if Path(self.path).suffix in (".pkl", ".pickle", ".pt", ".pth"):
            why = "a pickle could run code and is not opened"
        return LoadError(f"The data file cannot be read: {why}.", where=self.path,
                         expected="a .npz archive with x and y",
                         remedy="write it with np.savez(path, x=images, y=labels)")  # fmt: skip


@hookimpl
def auditor_data() -> list[type]:
    """The npz adapter."""
    return [Npz]
