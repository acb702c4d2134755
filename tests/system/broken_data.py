"""Data sets that cannot be audited: each is a change to a sound one, saved as data.npz."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DATA = Path("data.npz")


@dataclass(frozen=True)
class BrokenData:
    """What is wrong, as a function of the sound images and labels that writes data.npz."""

    write: Callable[[Array, Array], None]
    exit_status: int = 4
    #: For [data] in audit.toml.
    keys: str = 'path = "data.npz"'


def _saving(change: Callable[[Array, Array], tuple[Array, Array]], **options: Any) -> BrokenData:
    def write(x: Array, y: Array) -> None:
        images, labels = change(x, y)
        np.savez(DATA, x=images, y=labels)

    return BrokenData(write, **options)


def _pickle(x: Array, y: Array) -> None:
    DATA.write_bytes(pickle.dumps({"x": x, "y": y}))


def _pickle_that_runs_code(x: Array, y: Array) -> None:
    class Exit:
        def __reduce__(self) -> tuple[Any, ...]:
            return sys.exit, (0,)

    DATA.write_bytes(pickle.dumps(Exit()))


def _objects(x: Array, y: Array) -> None:
    np.savez(DATA, x=np.array([{"pixels": picture} for picture in x]), y=y)


def _half_a_zip(x: Array, y: Array) -> None:
    np.savez(DATA, x=x, y=y)
    DATA.write_bytes(DATA.read_bytes()[: DATA.stat().st_size // 2])


def _damaged_array(x: Array, y: Array) -> None:
    np.savez(DATA, x=x, y=y)
    whole = bytearray(DATA.read_bytes())
    whole[400:420] = bytes(20)
    DATA.write_bytes(whole)


def _damaged_compressed_array(x: Array, y: Array) -> None:
    np.savez_compressed(DATA, x=x, y=y)
    whole = bytearray(DATA.read_bytes())
    whole[100:140] = bytes(range(40))
    DATA.write_bytes(whole)


def _single_array(x: Array, y: Array) -> None:
    with DATA.open("wb") as file:
        np.save(file, x)


def _replaced(array: Array, index: Any, value: Any) -> Array:
    copy = array.copy()
    copy[index] = value
    return copy


BROKEN_DATA: dict[str, BrokenData] = {
    "data-pickle": BrokenData(_pickle),
    "data-pickle-that-runs-code": BrokenData(_pickle_that_runs_code),
    "data-pickled-objects": BrokenData(_objects),
    "data-missing-file": BrokenData(lambda x, y: DATA.unlink(), exit_status=2),
    "data-truncated": BrokenData(_half_a_zip),
    "data-damaged": BrokenData(_damaged_array),
    "data-damaged-compressed": BrokenData(_damaged_compressed_array),
    "data-single-array": BrokenData(_single_array),
    "data-not-an-archive": BrokenData(lambda x, y: _text()),
    "data-empty-file": BrokenData(lambda x, y: DATA.write_bytes(b"") and None),
    "data-without-x": BrokenData(lambda x, y: np.savez(DATA, images=x, y=y)),
    "data-without-y": BrokenData(lambda x, y: np.savez(DATA, x=x, labels=y)),
    "data-without-both": BrokenData(lambda x, y: np.savez(DATA, arr_0=x, arr_1=y)),
    "data-flat-images": _saving(lambda x, y: (x.reshape(len(x), -1), y)),
    "data-five-axes": _saving(lambda x, y: (x[:, None, None], y)),
    "data-five-channels": _saving(lambda x, y: (np.stack([x] * 5, 1), y)),
    "data-no-axes": _saving(lambda x, y: (np.array(3), y)),
    "data-too-few-labels": _saving(lambda x, y: (x, y[:-1])),
    "data-scalar-label": _saving(lambda x, y: (x, np.array(1))),
    "data-one-hot-labels": _saving(lambda x, y: (x, np.eye(3, dtype=np.int64)[y])),
    "data-float-labels": _saving(lambda x, y: (x, y.astype(float))),
    "data-text-labels": _saving(lambda x, y: (x, np.array(["left", "middle", "right"])[y])),
    "data-negative-label": _saving(lambda x, y: (x, _replaced(y, 3, -1))),
    "data-label-too-large": _saving(lambda x, y: (x, y + 1)),
    "data-pixels-to-255": _saving(lambda x, y: (x.astype(np.float32), y)),
    "data-normalised-pixels": _saving(lambda x, y: (x / 127.5 - 1, y)),
    "data-nan-pixel": _saving(lambda x, y: (_replaced(x / 255, (5, 0, 0), np.nan), y)),
    "data-negative-pixel": _saving(lambda x, y: (_replaced(x / 255, (5, 0, 0), -0.25), y)),
    "data-one-class": _saving(lambda x, y: (x, np.zeros_like(y))),
    "data-no-images": _saving(lambda x, y: (x[:0], y[:0])),
    "data-integer-pixels": _saving(lambda x, y: (x.astype(np.int32), y)),
    "data-boolean-pixels": _saving(lambda x, y: (x > 128, y)),
    "data-complex-pixels": _saving(lambda x, y: (x / 255 + 0j, y)),
    "data-more-samples-than-images": _saving(
        lambda x, y: (x, y), keys='path = "data.npz"\nsamples = 100'
    ),
    "data-expected-accuracy-far-off": _saving(
        lambda x, y: (x, y), exit_status=3, keys='path = "data.npz"\nexpected_accuracy = 0.5'
    ),
}


def _text() -> None:
    DATA.write_text("label,pixel0,pixel1\n0,12,255\n", encoding="utf-8")
