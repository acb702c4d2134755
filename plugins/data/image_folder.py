"""A folder with a folder of pictures for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auditor.api import FolderPath, Images, LoadError, data_adapter, param

from .lazy import LazyImages, refuse_empty
from .pictures import ONE_SIZE, Fitting

_SUFFIXES = frozenset(
    (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
)


@data_adapter(name="image-folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Fitting):
    """Pictures in a folder for each class, read when they are needed.

    Labels count the classes by name, or in the order of `classes`.
    """

    path: FolderPath = param(doc="the folder of class folders, relative to audit.toml")
    classes: list[str] | None = param(None, "the class folders in the order of their labels")

    def load(self) -> Images:
        """All pictures, none of them opened yet but the first."""
        root = Path(self.path)
        folders = sorted(entry.name for entry in root.iterdir()
                         if entry.is_dir() and not entry.name.startswith("."))  # fmt: skip
        classes = self._classes(folders)
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = _pictures(root / name)
            if not found and self.classes is None:
                raise LoadError(
                    f"The class folder {name!r} has no pictures.",
                    where=self.path,
                    expected="pictures of every class",
                    remedy="remove the folder, or list all `classes` to keep its label",
                )
            files += found
            labels += [label] * len(found)
        refuse_empty(len(files), self.path, "path is a folder with a folder for each class")
        x = LazyImages(
            len(files),
            lambda position: self.decode(files[position], str(files[position])),
            lambda position: str(files[position]),
            ONE_SIZE,
        )
        y = np.array(labels, dtype=np.int64)
        notes = () if self.classes else _told_order(classes)
        return Images(x, y, tuple(classes), self.described(self.path), notes)  # type: ignore[arg-type]

    def _classes(self, folders: list[str]) -> list[str]:
        if self.classes is None:
            return folders
        twice = sorted({name for name in self.classes if self.classes.count(name) > 1})
        unknown = [name for name in folders if name not in self.classes]
        if twice or unknown:
            raise LoadError(
                f"`classes` lists {', '.join(twice)} twice." if twice else
                f"`classes` does not list the folders {', '.join(unknown[:5])}.",
                where=f"[data] classes, {self.path}",
                expected="every class folder once; a class without a folder may be listed too",
                remedy="correct the list, or move the folder elsewhere",
            )  # fmt: skip
        return self.classes


def _told_order(classes: list[str]) -> tuple[str, ...]:
    """What is to be said where names that are numbers do not count in their order."""
    if not all(name.isdecimal() for name in classes) or classes == sorted(classes, key=int):
        return ()
    numbers = sorted(classes, key=int)
    first = next(i for i, name in enumerate(classes) if name != numbers[i])
    listed = ", ".join(f'"{name}"' for name in numbers[:4])
    return (
        f"The class folders are numbers, and count in the order of text, as in torchvision's "
        f"ImageFolder: label {first} is the folder {classes[first]}. Where the model counts them "
        f"as numbers, list them: classes = [{listed}, ...].",
    )


def _pictures(folder: Path) -> list[Path]:
    """The pictures below a folder in an order that does not depend on the file system."""
    found = (file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
    return sorted(file for file in found if not file.name.startswith(".") and file.is_file())
