"""What came of the cells, put together per model, threat and attack."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auditor.cells.ledger import CellMeta, CellRecord
from auditor.cells.plan import Cell
from auditor.results import SampleEvidence

Key = tuple[str, str, float, str]


@dataclass
class AttackOutcome:
    """One attack on one model under one threat. Arrays have a row per sample, (N,)."""

    images: int
    metas: list[CellMeta] = field(default_factory=list)
    #: Files of the finished cells: of the blocks in their order, then of what came after them.
    files: list[Path] = field(default_factory=list)
    #: Why a cell failed, and why one was not run; empty where neither happened.
    failure: str = ""
    skipped: str = ""
    broken: NDArray[np.bool_] = field(init=False)
    #: What the attack, or its stage, trusted that broke an image: the place in `TRUSTS`, else -1.
    trust: NDArray[np.int64] = field(init=False)
    broken_8bit: NDArray[np.bool_] = field(init=False)
    nonfinite: NDArray[np.bool_] = field(init=False)
    zero: NDArray[np.bool_] = field(init=False)
    prediction: NDArray[np.int64] = field(init=False)
    confidence: NDArray[np.float64] = field(init=False)
    margin: NDArray[np.float64] = field(init=False)
    distance: NDArray[np.float64] = field(init=False)
    nearest: NDArray[np.float64] = field(init=False)
    #: Points that the longest search without a gradient, and ascent of a repaired one, looked at.
    queries: NDArray[np.int64] = field(init=False)
    repaired: NDArray[np.int64] = field(init=False)
    passes: NDArray[np.int64] = field(init=False)
    #: What a sample of the survivors showed.
    evidence: SampleEvidence | None = None
    #: (N, restarts); None until a cell is in.
    loss: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        n = self.images
        for name in ("broken", "broken_8bit", "nonfinite", "zero"):
            setattr(self, name, np.zeros(n, bool))
        for name in ("confidence", "margin", "distance"):
            setattr(self, name, np.full(n, np.nan))
        self.nearest = np.full(n, np.inf)
        self.prediction, self.passes = np.full(n, -1), np.zeros(n, np.int64)
        self.trust = np.full(n, -1)
        self.queries, self.repaired = np.zeros(n, np.int64), np.zeros(n, np.int64)

    @property
    def done(self) -> bool:
        """Whether every cell is in."""
        return not self.failure and not self.skipped and bool(self.files)

    def add(self, record: CellRecord, file: Path) -> None:
        """Take in a finished cell."""
        columns = {name: tensor.numpy() for name, tensor in record.columns.items()}
        where = columns["position"]
        for name in (
            "broken", "trust", "broken_8bit", "nonfinite", "zero", "prediction", "confidence",
            "margin", "distance", "nearest",
        ):  # fmt: skip
            getattr(self, name)[where] = columns[name]
        for name in ("queries", "repaired"):  # cells of earlier versions have none
            if name in columns:
                getattr(self, name)[where] = columns[name]
        self.passes[where] = columns["forwards"] + columns["backwards"]
        if self.loss is None:
            self.loss = np.full((self.images, columns["loss"].shape[1]), np.nan)
        self.loss[where] = columns["loss"]
        self.metas.append(record.meta)
        self.files.append(file)

    def add_again(self, record: CellRecord, file: Path) -> NDArray[np.int64]:
        """Take in a further attack on images that had withstood; returns those that fell."""
        columns = {name: tensor.numpy() for name, tensor in record.columns.items()}
        where, broken = columns["position"], columns["broken"]
        fell = where[broken]
        for name in (
            "broken", "trust", "broken_8bit", "prediction", "confidence", "distance", "margin",
        ):  # fmt: skip
            getattr(self, name)[fell] = columns[name][broken]
        held = where[~broken]
        self.margin[held] = np.fmax(self.margin[held], columns["margin"][~broken])
        self.nearest[where] = np.minimum(self.nearest[where], columns["nearest"])
        self.nonfinite[where] |= columns["nonfinite"]
        self.zero[where] |= columns["zero"]
        self.passes[where] += columns["forwards"] + columns["backwards"]
        for name in ("queries", "repaired"):
            points = getattr(self, name)
            points[where] = np.maximum(points[where], columns[name])
        self.metas.append(record.meta)
        self.files.append(file)
        return np.asarray(fell, np.int64)

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
    """All attack outcomes of an audit of `images` samples."""

    def __init__(self, images: int) -> None:
        self._images = images
        self._all: dict[Key, AttackOutcome] = {}

    def of(self, cell: Cell) -> AttackOutcome:
        """The outcome that a cell belongs to."""
        return self.at((cell.model, cell.norm, cell.epsilon.value, cell.plan.config.label))

    def at(self, key: Key) -> AttackOutcome:
        """The outcome under a key, new if there is none."""
        return self._all.setdefault(key, AttackOutcome(self._images))

    def get(self, model: str, norm: str, epsilon: float, label: str) -> AttackOutcome | None:
        """The outcome of an attack, if it has any cell."""
        return self._all.get((model, norm, epsilon, label))

    def items(self) -> list[tuple[Key, AttackOutcome]]:
        """Every outcome, in the order of the plan."""
        return list(self._all.items())
