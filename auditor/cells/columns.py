"""What came of the cells, put together per model, threat and attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from auditor.attacking.outcome import Columns, filled
from auditor.cells.ledger import CellMeta, CellRecord
from auditor.cells.plan import Cell
from auditor.results import SampleEvidence


class Key(NamedTuple):
    """Who attacked which model, under which threat."""

    model: str
    norm: str
    epsilon: float
    label: str
    #: What the label is of: an attack and a check may have the same.
    kind: Literal["attack", "check"] = "attack"

    @property
    def shown(self) -> str:
        """The label as samples.parquet, adversarial.safetensors and the report have it."""
        return self.label if self.kind == "attack" else f"check {self.label}"


@dataclass
class AttackOutcome(Columns[NDArray[Any]]):
    """One attack on one model under one threat. Columns have a row per sample, (N,)."""

    metas: list[CellMeta] = field(default_factory=list)
    #: Files of the finished cells: of the blocks in their order, then of what came after them.
    files: list[Path] = field(default_factory=list)
    #: Why a cell failed, and why one was not run; empty where neither happened.
    failure: str = ""
    skipped: str = ""
    #: What a sample of the survivors showed.
    evidence: SampleEvidence | None = None
    #: (N, restarts); None until a cell is in.
    loss: NDArray[np.float64] | None = None

    @classmethod
    def empty(cls, images: int) -> AttackOutcome:
        """No cell is in yet."""
        return cls(**filled(lambda fill, dtype: np.full(images, fill, dtype)))

    @property
    def done(self) -> bool:
        """Whether every cell is in."""
        return not self.failure and not self.skipped and bool(self.files)

    @property
    def passes(self) -> NDArray[np.int64]:
        """(N,) forwards and backwards."""
        return np.asarray(self.forwards + self.backwards, np.int64)

    def add(self, record: CellRecord, file: Path) -> NDArray[np.int64]:
        """Take in a finished cell, of a block or of images that had withstood before.

        Returns:
            The positions of those that fell to it.
        """
        columns = {name: tensor.numpy() for name, tensor in record.columns.items()}
        where = columns["position"]
        fell = self.join(columns, where)
        if self.loss is None:
            self.loss = np.full((len(self.broken), columns["loss"].shape[1]), np.nan)
        self.loss[where] = columns["loss"]
        self.metas.append(record.meta)
        self.files.append(file)
        return np.asarray(where[fell], np.int64)

    def fail(self, reason: str) -> None:
        """A cell could not be finished: the attack as a whole has no number."""
        self.failure = reason

    def skip(self, reason: str) -> None:
        """A cell was not run."""
        self.skipped = self.skipped or reason

    def rejected(self) -> dict[str, int]:
        """Claims that were not confirmed, by reason."""
        total: dict[str, int] = {}
        for meta in self.metas:
            for reason, count in meta.rejected.items():
                total[reason] = total.get(reason, 0) + count
        return dict(sorted(total.items()))


class Outcomes:
    """All outcomes of an audit of `images` samples."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._all: dict[Key, AttackOutcome] = {}

    def of(self, cell: Cell) -> AttackOutcome:
        """The outcome that a cell belongs to."""
        return self.at(Key(cell.model, cell.norm, cell.epsilon.value, cell.plan.config.label))

    def at(self, key: Key) -> AttackOutcome:
        """The outcome under a key, new if there is none."""
        return self._all.setdefault(key, AttackOutcome.empty(self._images))

    def get(self, model: str, norm: str, epsilon: float, label: str) -> AttackOutcome | None:
        """The outcome of an attack, if it has any cell."""
        return self._all.get(Key(model, norm, epsilon, label))

    def items(self) -> list[tuple[Key, AttackOutcome]]:
        """Every outcome, in the order of the plan."""
        return list(self._all.items())

    def under(self, model: str, norm: str, epsilon: float) -> Iterator[tuple[Key, AttackOutcome]]:
        """Those of all attacks and checks on a model under one threat, in the order of the plan."""
        return (pair for pair in self.items() if pair[0][:3] == (model, norm, epsilon))
