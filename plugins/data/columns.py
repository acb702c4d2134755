"""Which columns of a table hold images and labels, and what is in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.api import LoadError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Columns:
    """The columns of the images and labels, and the classes' names where they are known."""

    image: str
    label: str
    class_names: tuple[str, ...]


def find_columns(
    schema: pa.Schema,
    features: Mapping[str, Any],
    image: str | None,
    label: str | None,
    where: str,
) -> Columns:
    """The columns that were named, or the only ones that can be meant.

    Args:
        schema: of the table.
        features: what Hugging Face's datasets wrote about the columns, or nothing.
        image: the image column's name as given, if it is.
        label: likewise.
        where: for messages.

    Raises:
        LoadError: there is no such column, or there are several.
    """
    chosen_image = _choose("image", schema, image, _holds_images, "image bytes", where)
    named = [name for name in schema.names if _class_label(features, name)]
    if label is None and len(named) == 1:
        label = named[0]
    chosen_label = _choose("label", schema, label, _holds_integers, "integer labels", where)
    names = _class_label(features, chosen_label).get("names") or ()
    return Columns(chosen_image, chosen_label, tuple(map(str, names)))


def _choose(
    key: str,
    schema: pa.Schema,
    given: str | None,
    fits: Callable[[pa.DataType], bool],
    what: str,
    where: str,
) -> str:
    fitting: list[str] = [field.name for field in schema if fits(field.type)]
    if given is not None and given in fitting:
        return given
    if given is None and len(fitting) == 1:
        return fitting[0]
    if given is None and key in fitting:
        return key
    shown = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if given is not None:
        fault = f"The column {given!r} {'is not there' if given not in schema.names else 'has no'}"
        fault += "" if given not in schema.names else f" {what}"
    else:
        fault = f"{'Several columns have' if fitting else 'No column has'} {what}"
    raise LoadError(
        f"{fault}.",
        where=where,
        expected=f"a column of {what}; there are: {shown}",
        remedy=f'name it: {key} = "..."' if fitting else "write the set with such a column",
    )


def _class_label(features: Mapping[str, Any], name: str) -> dict[str, Any]:
    feature = features.get(name)
    is_label = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    return feature if is_label and isinstance(feature, dict) else {}


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_binary(field.type) for field in kind)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_integers(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind))


def read_labels(
    column: pa.ChunkedArray, class_names: tuple[str, ...], name: Callable[[int], str]
) -> NDArray[np.int64]:
    """(N,) labels of a column of integers.

    Raises:
        LoadError: one is missing, negative, or has no name where classes have names.
    """
    missing = column.is_null().to_numpy()
    if missing.any():
        _refuse_label("has no label", name(int(missing.argmax())))
    y: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    wrong = (y < 0) | (y >= (len(class_names) or np.iinfo(np.int64).max))
    if wrong.any():
        position = int(wrong.argmax())
        known = f", and there are {len(class_names)} class names" if class_names else ""
        _refuse_label(f"has the label {y[position]}{known}", name(position))
    return y


def _refuse_label(fault: str, where: str) -> None:
    raise LoadError(
        f"The image {fault}.",
        where=where,
        expected="a label from 0 to classes - 1 for every image",
        remedy="label the image, or filter it out of the set",
    )


def image_bytes(cell: Any, where: str) -> bytes | Path:
    """The encoded picture in a cell, or the file that it names.

    Raises:
        LoadError: there is neither.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if content:
        return bytes(content)
    path = cell.get("path") if isinstance(cell, dict) else None
    if path and Path(path).is_file():
        return Path(path)
    raise LoadError(
        f"The image is empty{f', and its file {path} does not exist' if path else ''}.",
        where=where,
        expected="the bytes of a picture",
        remedy="write the set with its pictures inside, or filter the row out",
    )
