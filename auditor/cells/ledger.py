"""The run directory: finished cells, each written whole or not at all, and what happened when."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save_file

from auditor.attacking.outcome import COLUMNS, Outcome
from auditor.attacking.stages import StageRecord
from auditor.protocols.check import CheckReport
from auditor.results import AttemptSummary
from auditor.storage import storing, whole_file

if sys.platform != "win32":
    import fcntl

#: The end of the year 9999, beyond which there are no dates.
_LAST_TIME = 253_402_300_799
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


class Ledger:
    """One run directory.

    Args:
        directory: an existing directory.

    Raises:
        StorageError: the directory cannot be used; every method raises it as well.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._cells = directory / "cells"
        with storing(self._cells, "made"):
            self._cells.mkdir(exist_ok=True)
        self._lock: int | None = None
        self._opened = time.monotonic()
        #: Why cells that were there were not taken, by their names.
        self.set_aside: dict[str, str] = {}

    def try_lock(self) -> bool:
        """Keep other processes from going on with this run; False if one is at work on it.

        The lock ends with `unlock`, or with the process, however that ends. Where the system has
        no such locks, nobody is kept away.
        """
        if sys.platform == "win32":
            return True
        with storing(self._cells, "locked"):
            descriptor = os.open(self._cells, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            except OSError:
                os.close(descriptor)
                raise
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        """Let others go on with this run."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

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

    def log(self, event: str, **details: Any) -> None:
        """Append one line to events.jsonl.

        Beside the time of day, which may be set anew at any moment, a line has the seconds since
        the session opened the directory.
        """
        since = time.monotonic() - self._opened
        line = json.dumps({"time": time.time(), "event": event, "since": since, **details}).encode()
        path = self.directory / "events.jsonl"
        with storing(path), path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a crash cut the last line off
                    line = b"\n" + line
            file.write(line + b"\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """What was logged, oldest first; a line cut off by a crash, or damaged, is left out."""
        return (event for event in self._lines() if event is not None)

    @property
    def unreadable(self) -> int:
        """Lines of events.jsonl that are left out."""
        return sum(event is None for event in self._lines())

    def _lines(self) -> Iterator[dict[str, Any] | None]:
        """Every line; None for one that is no event."""
        path = self.directory / "events.jsonl"
        if not path.exists():
            return
        with storing(path, "read"):
            text = path.read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines():
            yield _event(line)

    def last(self, event: str) -> dict[str, Any] | None:
        """The newest event of that name."""
        found = None
        for logged in self.events():
            if logged.get("event") == event:
                found = logged
        return found

    def first_time(self) -> float | None:
        """When the run was first started, in seconds since the epoch."""
        return next((logged["time"] for logged in self.events()), None)

    def seconds(self) -> float:
        """What all sessions of the run took from their start, as far as their events reach."""
        total = began = last = 0.0
        for event in self.events():
            if event["event"] == "started":
                total += max(0.0, last - began)
                began = event["since"]
            last = event["since"]
        return total + max(0.0, time.monotonic() - self._opened - began)


def _event(line: str) -> dict[str, Any] | None:
    """A line of events.jsonl with what every event has; None where that is missing."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # a number of 5,000 digits, a thousand brackets
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    event.setdefault("since", event.get("time"))  # events of earlier versions have the time alone
    fits = all(
        isinstance(event.get(key), int | float)
        and not isinstance(event[key], bool)
        and 0 <= event[key] <= _LAST_TIME
        for key in ("time", "since")
    )
    return event if fits else None
