"""Encoded pictures and labels in Parquet files."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditor.api import FilePath, FolderPath, Images, LoadError, data_adapter, param

from .columns import find_columns, image_bytes, read_labels
from .lazy import LazyImages, refuse_empty
from .pictures import ONE_SIZE, Fitting

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@data_adapter(name="parquet")
@dataclass(frozen=True, kw_only=True)
class Parquet(Fitting):
    """Encoded pictures and integer labels of one Parquet file, or of a folder's in order of name.

    Pictures are binary, or structs with `bytes` as Hugging Face writes them. One row group is held
    at a time.
    """

    path: FilePath | FolderPath = param(doc="the file or folder, relative to audit.toml")
    image: str | None = param(None, "the column of the pictures; found where there is only one")
    label: str | None = param(None, "the column of the labels; found where there is only one")
    split: str | None = param(None, "of a folder, the files called SPLIT-00000-of-00001.parquet")

    def load(self) -> Images:
        """All rows, no picture of them read yet but the first."""
        rows = _Rows([_open(file) for file in self._files()])
        refuse_empty(rows.count, self.path, "the files have no rows")
        schema = rows.files[0].reader.schema_arrow
        columns = find_columns(schema, _features(schema), self.image, self.label, self.path)
        for file in rows.files:
            find_columns(file.reader.schema_arrow, {}, columns.image, columns.label, file.name)
        y = read_labels(rows.column(columns.label), columns.class_names, rows.name)

        def picture(position: int) -> Any:
            name = rows.name(position)
            return self.decode(image_bytes(rows.cell(columns.image, position), name), name)

        x = LazyImages(rows.count, picture, rows.name, ONE_SIZE)
        return Images(x, y, columns.class_names, self.described(self.path))  # type: ignore[arg-type]

    def _files(self) -> list[Path]:
        if Path(self.path).is_file():
            return [Path(self.path)]
        found = sorted(Path(self.path).glob("*.parquet"))
        if self.split is not None:
            found = [file for file in found if _split_of(file) == self.split]
        splits = {split for file in found if (split := _split_of(file))}
        if not found or len(splits) > 1:
            several = f"Its files belong to several splits: {', '.join(sorted(splits))}."
            raise LoadError(
                several if found else "The folder has no such .parquet files.",
                where=self.path,
                expected="the .parquet files of one split",
                remedy=f'choose one: split = "{max(splits)}"' if found else
                "correct [data] path or split",
            )  # fmt: skip
        return found


def _split_of(file: Path) -> str:
    shard = re.fullmatch(r"(.+)-\d+-of-\d+", file.stem)
    return shard[1] if shard else ""


@dataclass(frozen=True)
class _File:
    name: str
    reader: pq.ParquetFile


def _open(file: Path) -> _File:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _File(str(file), pq.ParquetFile(file))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(str(file), error) from None


def _unreadable(where: str, error: BaseException) -> LoadError:
    return LoadError(
        f"The file cannot be read: {error}.",
        where=where,
        expected="a Parquet file",
        remedy="copy or write the file again",
    )


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face's datasets wrote about the columns, or nothing."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _Rows:
    """The rows of several files, one row group of one column held at a time."""

    def __init__(self, files: list[_File]) -> None:
        self.files = files
        self._groups: list[tuple[_File, int, int]] = []  # file, group, its first row in the file
        self._starts: list[int] = []  # the groups' first rows in the whole set
        self.count = 0
        for file in files:
            in_file = 0
            for group in range(file.reader.num_row_groups):
                self._groups.append((file, group, in_file))
                self._starts.append(self.count)
                rows = file.reader.metadata.row_group(group).num_rows
                in_file, self.count = in_file + rows, self.count + rows
        self._held: tuple[int, pa.ChunkedArray] | None = None

    def name(self, position: int) -> str:
        """The file, and the row in it, from 0."""
        place = bisect_right(self._starts, position) - 1
        file, _, first = self._groups[place]
        return f"{file.name}, row {position - self._starts[place] + first}"

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column, which has to be small."""
        import pyarrow as pa

        chunks = [self._group(place, name) for place in range(len(self._groups))]
        return pa.chunked_array([chunk for column in chunks for chunk in column.chunks],
                                type=chunks[0].type)  # fmt: skip

    def cell(self, name: str, position: int) -> Any:
        """What one row of a column holds."""
        place = bisect_right(self._starts, position) - 1
        if self._held is None or self._held[0] != place:
            self._held = None  # let go of one group before the next is read
            self._held = (place, self._group(place, name))
        return self._held[1][position - self._starts[place]].as_py()

    def _group(self, place: int, name: str) -> pa.ChunkedArray:
        import pyarrow as pa

        file, group, _ = self._groups[place]
        try:
            return file.reader.read_row_group(group, columns=[name]).column(name)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(file.name, error) from None
