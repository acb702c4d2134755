"""The cells of a run directory, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file

from auditor.attacking.outcome import COLUMNS, Outcome
from auditor.attacking.stages import StageRecord
from auditor.journal import Journal
from auditor.protocols.check import CheckReport
from auditor.results import AttemptSummary
from auditor.storage import storing, whole_file

#: Grows when a cell's contents change their meaning, so that old cells are not reused.
CELL_SCHEMA = 5


@dataclass(frozen=True)
class CheckRecord:
    """What a check said, None if it crashed, and the attacks that it started."""

    report: CheckReport | None
    attempts: tuple[AttemptSummary, ...]


@dataclass(frozen=True)
class CellMeta:
    """What is said of a cell as a whole."""

    seconds: float
    forwards: int
    backwards: int
    #: Of an attack; `stages.Log` says what they hold.
    surrogate: str = ""
    objective: str = ""
    note: str = ""
    rejected: dict[str, int] = field(default_factory=dict)
    stages: list[StageRecord] = field(default_factory=list)
    agreement: dict[str, int] | None = None
    check: CheckRecord | None = None


_META = TypeAdapter(CellMeta)


@dataclass(frozen=True)
class CellRecord:
    """A finished cell. `columns` hold one row per attacked image.

    `position` (n,) are the images' positions among the samples; `adversarial` (m, C, H, W) are the
    examples of the m broken ones, in the same order.
    """

    meta: CellMeta
    columns: dict[str, torch.Tensor]
    adversarial: torch.Tensor


def cell_key(parts: dict[str, Any]) -> str:
    """A name that depends on everything that could change the cell's contents."""
    return _hash({"schema": CELL_SCHEMA, **parts})


def attack_name(use: str, parameters: dict[str, Any]) -> str:
    """What an attack is called in random numbers, whatever its label and the cells' schema."""
    return _hash({"schema": 4, "use": use, "parameters": parameters})  # 4 as ever: so they stay


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def record_of(outcome: Outcome, position: torch.Tensor, meta: CellMeta) -> CellRecord:
    """The cell that keeps an attack's outcome."""
    columns = {name: getattr(outcome, name).cpu() for name in (*COLUMNS, "loss")}
    columns["position"] = position.cpu()
    return CellRecord(meta, columns, outcome.adversarial[outcome.broken].cpu())


class _DamagedError(Exception):
    """A cell is not what it should be; the text says in what."""


def _read(path: Path, key: str, position: torch.Tensor | None) -> CellRecord:
    with safe_open(path, "pt") as file:
        proof = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if proof.get("key") != key:
        raise _DamagedError("it is another cell's")
    if proof.get("sha256") != _sha256(key, proof["cell"], tensors):
        raise _DamagedError("its contents have changed since they were written")
    meta = _META.validate_python(json.loads(proof["cell"]))
    record = CellRecord(meta, tensors, tensors.pop("adversarial"))
    images = {len(column) for column in record.columns.values()}
    if images != {len(record.columns["position"])}:
        raise _DamagedError("its columns are of different lengths")
    if position is not None and not torch.equal(record.columns["position"], position.cpu()):
        raise _DamagedError("it is about other images")
    if "broken" in record.columns and len(record.adversarial) != record.columns["broken"].sum():
        raise _DamagedError("it has not one example for each broken image")
    return record


def _sha256(key: str, meta: str, tensors: dict[str, torch.Tensor]) -> str:
    """Of a cell's name and contents."""
    digest = hashlib.sha256(f"{key} {meta}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():  # the strides of empty ones may be anything
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Ledger(Journal):
    """One run directory with its finished cells.

    Args:
        directory: an existing directory.

    Raises:
        StorageError: the directory cannot be used; every method raises it as well.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        with storing(self._cells, "made"):
            self._cells.mkdir(exist_ok=True)
        #: Why cells that were there were not taken, by their names.
        self.set_aside: dict[str, str] = {}

    def read(
        self,
        key: str,
        position: torch.Tensor | None = None,
        doubt: Callable[[CellRecord], str] = lambda record: "",
    ) -> CellRecord | None:
        """The cell called `key`, if it is finished.

        A cell that is not what was written under this name, or is doubted, is set aside and told in
        the log; then there is none, and `set_aside` says why.

        Args:
            position: (n,) the images that it has to be about.
            doubt: why what a whole cell says cannot be believed; empty where it can.
        """
        path = self.cell_path(key)
        if not path.is_file():
            return None
        try:
            record = _read(path, key, position)
        except _DamagedError as error:
            reason = str(error)
        except Exception as error:  # whatever the reader meets in a damaged file
            reason = f"it cannot be read ({type(error).__name__})"
        else:
            reason = doubt(record)
            if not reason:
                return record
        self._reject(key, reason)
        return None

    def _reject(self, key: str, reason: str) -> None:
        """Set a finished cell aside, so that it is computed again."""
        path = self.cell_path(key)
        os.replace(path, path.with_suffix(".set-aside"))
        self.set_aside[key] = reason
        self.log("cell set aside", key=key, reason=reason)

    def write(self, key: str, record: CellRecord) -> CellRecord:
        """Keep a finished cell, with all it takes to know it again; returns it as it is kept.

        Where one that was there before was set aside, its note says so.
        """
        if reason := self.set_aside.get(key):
            told = f"computed again, for what was kept of it was set aside: {reason}"
            note = "; ".join(filter(None, (record.meta.note, told)))
            record = replace(record, meta=replace(record.meta, note=note))
        tensors = {**record.columns, "adversarial": record.adversarial}
        tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
        path, meta = self.cell_path(key), json.dumps(asdict(record.meta))
        proof = {"cell": meta, "key": key, "sha256": _sha256(key, meta, tensors)}
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata=proof)
        return record

    def cell_path(self, key: str) -> Path:
        """Where the cell called `key` is, or will be."""
        return self._cells / f"{key}.safetensors"
