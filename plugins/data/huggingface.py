"""A data set that Hugging Face's datasets saved to disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.api import FolderPath, Images, LoadError, data_adapter, param

from .columns import find_columns, image_bytes, read_labels
from .lazy import LazyImages, refuse_empty
from .pictures import ONE_SIZE, Fitting

if TYPE_CHECKING:
    import pyarrow as pa


@data_adapter(name="huggingface")
@dataclass(frozen=True, kw_only=True)
class HuggingFace(Fitting):
    """A folder of `datasets.Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Its Arrow files are mapped into memory and read by pyarrow: the package datasets is not needed.
    """

    path: FolderPath = param(doc="the folder, relative to audit.toml")
    split: str | None = param(None, "of a DatasetDict, which of its splits")
    image: str | None = param(None, "the column of the pictures; found where there is only one")
    label: str | None = param(None, "the column of the labels; found where there is only one")

    def load(self) -> Images:
        """All rows, no picture of them decoded yet but the first."""
        folder = self._folder()
        table = _table(folder)
        where = str(folder)
        refuse_empty(len(table), where, "save a split that has rows")
        features = _json(folder / "dataset_info.json").get("features") or {}
        columns = find_columns(table.schema, features, self.image, self.label, where)

        def name(position: int) -> str:
            return f"{where}, row {position}"

        def picture(position: int) -> Any:
            cell = pictures[position].as_py()
            return self.decode(image_bytes(cell, name(position)), name(position))

        pictures = table.column(columns.image)
        y = read_labels(table.column(columns.label), columns.class_names, name)
        x = LazyImages(len(table), picture, name, ONE_SIZE)
        return Images(x, y, columns.class_names, self.described(where))  # type: ignore[arg-type]

    def _folder(self) -> Path:
        root = Path(self.path)
        if not (root / "dataset_dict.json").is_file():
            if self.split is not None:
                raise LoadError(
                    "The folder has no splits.",
                    where=self.path,
                    expected="a folder of DatasetDict.save_to_disk",
                    remedy="leave out [data] split",
                )
            return root
        splits = _json(root / "dataset_dict.json").get("splits") or []
        if self.split not in splits:
            raise LoadError(
                "The folder has several splits." if self.split is None else
                f"The folder has no split {self.split!r}.",
                where=self.path,
                expected=f"one of: {', '.join(map(str, splits))}",
                remedy=f'choose one: split = "{splits[-1]}"' if splits else "save it again",
            )  # fmt: skip
        return root / str(self.split)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(str(file), error) from None
    if not isinstance(found, dict):
        raise _unreadable(str(file), "it is not a table")
    return found


def _table(folder: Path) -> pa.Table:
    import pyarrow as pa

    tables = []
    for entry in _json(folder / "state.json").get("_data_files") or []:
        file = folder / str(entry["filename"])
        try:
            tables.append(pa.ipc.open_stream(pa.memory_map(str(file))).read_all())
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(str(file), error) from None
    if not tables:
        raise _unreadable(str(folder), "it names no data files")
    return pa.concat_tables(tables)


def _unreadable(where: str, why: object) -> LoadError:
    return LoadError(
        f"The data set cannot be read: {why}.",
        where=where,
        expected="a folder that datasets.Dataset.save_to_disk wrote",
        remedy="save it again, or use the adapter parquet or image-folder",
    )
