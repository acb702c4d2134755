"""Every image, for those who want more than audit.json: samples.parquet, adversarial.safetensors.

Both are written piece by piece, so that memory does not grow with the number of images.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from auditor.attacking.outcome import COLUMNS
from auditor.cells.audited import Audited
from auditor.cells.columns import AttackOutcome, Key, Outcomes
from auditor.storage import whole_file
from auditor.subject.samples import Samples

#: Rows of samples.parquet that are in memory at once.
_ROWS = 65_536
_SAFETENSORS_TYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}


def write_samples(path: Path, audited: Audited) -> None:
    """A row per model, threat, attack and image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = (
        pa.table(_columns(audited, key, outcome, slice(start, start + _ROWS)))
        for key, outcome in audited.outcomes.items()
        for start in range(0, len(audited.samples), _ROWS)
    )
    first = next(tables, None)
    if first is None:
        return
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _columns(audited: Audited, key: Key, outcome: AttackOutcome, part: slice) -> dict[str, Any]:
    import pyarrow as pa

    samples, seen = audited.samples, audited.models[key.model].preflight
    n = len(samples.labels[part])

    def same(text: str) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [text])

    fell = audited.fell(key, outcome)
    answer, clean = outcome.prediction[part], seen.prediction[part]
    return {
        "model": same(key.model),
        "threat": same(key.norm),
        "epsilon": np.full(n, key.epsilon),
        "attack": same(key.shown),
        "id": samples.index[part],
        "image": samples.keys[part],
        "label": samples.labels[part],
        "clean_prediction": clean,
        "clean_correct": seen.correct[part],
        "prediction": np.where(answer >= 0, answer, clean),
        **{
            column.archived: getattr(outcome, name)[part]
            for name, column in COLUMNS.items()
            if column.archived
        },
        **{f"fell_{name}": rows[part] for name, rows in fell._asdict().items()},
        "passes": outcome.passes[part],
    }


def write_adversarial(path: Path, samples: Samples, outcomes: Outcomes) -> None:
    """Every verified example as MODEL/NORM/EPSILON/ATTACK/x, with the images' ids beside it.

    A slash or percent sign in a name is written %2F or %25, so that no two names meet.

    The safetensors format is a header and the tensors' bytes in its order; it is written here
    rather than by its library, which wants all tensors in memory at once.
    """
    entries = [(key, outcome) for key, outcome in outcomes.items() if outcome.broken.any()]
    header: dict[str, Any] = {"__metadata__": {"images": samples.sha256}}
    offset = 0
    for key, outcome in entries:
        count, dtype = int(outcome.broken.sum()), _dtype(outcome)
        for name, kind, shape in (
            ("id", np.dtype("int64"), (count,)),
            ("x", dtype, (count, *samples.shape)),
        ):
            size = int(np.prod(shape)) * kind.itemsize
            header[f"{_entry(key)}/{name}"] = {
                "dtype": _SAFETENSORS_TYPES[str(kind)],
                "shape": shape,
                "data_offsets": [offset, offset + size],
            }
            offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, outcome in entries:
            file.write(samples.index[outcome.broken].tobytes())
            for _, examples in _stored(outcome):
                file.write(examples.tobytes())


def _entry(key: Key) -> str:
    parts = (key.model, key.norm, str(key.epsilon), key.shown)
    return "/".join(part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _dtype(outcome: AttackOutcome) -> np.dtype[Any]:
    _, examples = next(_stored(outcome))
    return examples.dtype


def _stored(outcome: AttackOutcome) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Positions and examples (m, C, H, W) of the broken images, piece by piece, in order.

    What a sample of the survivors showed lies in files of its own, between those of the blocks.
    """
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(safe_open(path, "np")) for path in outcome.files]
        position = [file.get_tensor("position")[file.get_tensor("broken")] for file in files]
        table = np.concatenate(
            [np.stack([p, np.full_like(p, i), np.arange(len(p))]) for i, p in enumerate(position)],
            axis=1,
        )
        table = table[:, np.argsort(table[0])]
        breaks = (np.diff(table[1]) != 0) | (np.diff(table[2]) != 1)
        for piece in np.split(table, np.flatnonzero(breaks) + 1, axis=1):
            file, first = files[piece[1, 0]], piece[2, 0]
            yield piece[0], file.get_slice("adversarial")[first : first + piece.shape[1]]


def read_examples(outcome: AttackOutcome, positions: Sequence[int]) -> NDArray[Any]:
    """(len(positions), C, H, W) stored examples of broken images.

    Raises:
        KeyError: one of them is not broken.
    """
    found = {}
    for stored, examples in _stored(outcome):
        for row, position in enumerate(stored.tolist()):
            if position in positions:
                found[position] = examples[row]
    return np.stack([found[position] for position in positions])
