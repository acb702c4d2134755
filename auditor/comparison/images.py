"""The images of an audit and what became of each, from samples.parquet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from auditor.comparison.source import COLUMNS, Source
from auditor.errors import LoadError
from auditor.results import Accuracy, ModelResult

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Seen:
    """What became of an audit's images, (n,) each, in ascending order of their keys."""

    #: From content and label; and places in the data set.
    key: NDArray[np.int64]
    id: NDArray[np.int64]
    label: NDArray[np.int64]
    #: Of each model: whether it is right about the clean image.
    clean: dict[str, NDArray[np.bool_]]
    #: Broken under a model, norm, epsilon and attack.
    broken: dict[tuple[str, str, float, str], NDArray[np.bool_]]

    def withstood(
        self, model: str, norm: str, epsilon: float, counts: Callable[[str], bool]
    ) -> NDArray[np.bool_]:
        """(n,) right, and not broken at this or a smaller epsilon by any attack that `counts`."""
        right = self.clean[model].copy()
        for (name, under, size, attack), broken in self.broken.items():
            if (name, under) == (model, norm) and size <= epsilon and counts(attack):
                right &= ~broken
        return right


def seen(source: Source) -> Seen | None:
    """What samples.parquet knows; None where there is none.

    Raises:
        LoadError: it is not of this audit.
    """
    if source.samples is None:
        return None
    found = _grouped(source)
    for model in source.result.models:
        if model.name in found.clean:
            _hold_against(source, found, model)
    return found


def _grouped(source: Source) -> Seen:
    """The rows by model, norm, epsilon and attack, and in each by image."""
    assert source.samples is not None
    table = source.samples.select(list(COLUMNS)).unify_dictionaries()
    column = {name: _values(table.column(name)) for name in COLUMNS}
    names = {
        name: table.column(name).chunk(0).dictionary.to_pylist()
        for name in ("model", "threat", "attack")
    }
    where = np.lexsort([column[name] for name in ("image", "attack", "epsilon", "threat", "model")])
    column = {name: values[where] for name, values in column.items()}
    first = np.ones(len(where), bool)
    first[1:] = False
    for name in ("model", "threat", "epsilon", "attack"):
        first[1:] |= column[name][1:] != column[name][:-1]
    starts = np.flatnonzero(first).tolist()
    clean: dict[str, NDArray[np.bool_]] = {}
    broken: dict[tuple[str, str, float, str], NDArray[np.bool_]] = {}
    ends = [*starts[1:], len(where)]
    key = column["image"][: ends[0]]
    for start, end in zip(starts, ends, strict=True):
        rows = slice(start, end)
        if not np.array_equal(column["image"][rows], key):
            raise _foreign(source, "the same images under every attack")
        model = names["model"][column["model"][start]]
        clean[model] = column["clean_correct"][rows]
        threat = names["threat"][column["threat"][start]]
        attack = names["attack"][column["attack"][start]]
        broken[model, threat, float(column["epsilon"][start]), attack] = column["broken"][rows]
    return Seen(key, column["id"][: len(key)], column["label"][: len(key)], clean, broken)


def _values(column: Any) -> NDArray[Any]:
    """A column's values; of one of texts, their places in its dictionary."""
    import pyarrow as pa

    whole = column.combine_chunks()
    if pa.types.is_dictionary(whole.type):
        whole = whole.indices
    found: NDArray[Any] = whole.to_numpy(zero_copy_only=False)
    return found


def _hold_against(source: Source, found: Seen, model: ModelResult) -> None:
    """The rows give the numbers of audit.json, or they are of another audit."""
    _hold(source, found.clean[model.name], model.clean, f"{model.name}: clean")
    for threat in model.threats:
        if threat.robust is not None:
            right = found.withstood(model.name, threat.norm, threat.epsilon, lambda _: True)
            name = f"{model.name}: {threat.norm} {threat.epsilon_text}"
            _hold(source, right, threat.robust, name)


def _hold(source: Source, right: NDArray[np.bool_], told: Accuracy, name: str) -> None:
    if (int(right.sum()), len(right)) != (told.correct, told.total):
        raise _foreign(
            source,
            f"{told.correct} of {told.total} images, as audit.json has it ({name}); the table "
            f"has {right.sum()} of {len(right)}",
        )


def _foreign(source: Source, expected: str) -> LoadError:
    return LoadError(
        "samples.parquet is not of this audit.",
        where=source.path,
        expected=expected,
        remedy="take both files from where the run was archived, or compare the audit.json alone, "
        "moved into a folder of its own",
    )
