"""Images and labels from a NumPy archive."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.api import Images, LoadError, data_adapter, hookimpl, param


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
        except ValueError as error:  # numpy's word for a pickle
            raise self._pickled(error) from None

    def _images(self, archive: np.lib.npyio.NpzFile) -> Images:
        missing = [name for name in ("x", "y") if name not in archive]
        if missing:
            raise LoadError(
                f"The archive has no array {' and no '.join(missing)}.",
                where=self.path,
                expected="x (images) and y (labels)",
                remedy=f"it has {sorted(archive.files)}: rename them with np.savez",
            )
        names = archive["class_names"] if "class_names" in archive.files else ()
        return Images(archive["x"], archive["y"], tuple(map(str, names)), self.path)

    def _pickled(self, error: ValueError) -> LoadError:
        if "pickle" not in str(error):
            return self._unreadable(str(error))
        if not zipfile.is_zipfile(self.path):  # numpy takes all else for a pickle
            return self._unreadable("it is no .npz archive (and a pickle is never opened)")
        return LoadError(
            "The data file holds pickled objects, which could run code.",
            where=self.path,
            expected="a .npz archive of plain numeric arrays",
            remedy="save it again with np.savez(path, x=images, y=labels)",
        )

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
