"""Which images an audit has right under what, and which of another audit they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Images:
    """The images of one model in samples.parquet, each once, in the order of their positions.

    Attributes:
        ids: (n,) positions in the data set.
        keys: (n, 2) content of an image, and which of several equal ones it is.
        labels: (n,) true classes.
        clean: (n,) whether it is classified correctly.
    """

    ids: NDArray[np.int64]
    keys: NDArray[np.int64]
    labels: NDArray[np.int64]
    clean: NDArray[np.bool_]
    _table: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, samples: pa.Table, model: str) -> Images:
        """Those of `model`; none where the table has no row of it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = samples.filter(pc.equal(samples["model"].cast(pa.string()), model))
        names = ("epsilon", "id", "image", "label", "clean_prediction", "broken")
        table = {name: rows[name].to_numpy() for name in names}
        table["threat"] = rows["threat"].cast(pa.string()).to_numpy()
        ids, first = np.unique(table["id"].astype(np.int64), return_index=True)
        content = table["image"][first].astype(np.int64)
        labels = table["label"][first].astype(np.int64)
        clean = table["clean_prediction"][first] == labels
        return cls(ids, np.stack([content, _occurrence(content)], axis=1), labels, clean, table)

    def robust(self, norm: str, epsilon: float) -> NDArray[np.bool_]:
        """(n,) whether it is correct and nothing broke it at this epsilon or a smaller one.

        What fell inside a smaller ball lies in the larger one too, as in audit.json.
        """
        table = self._table
        under = (table["threat"] == norm) & (table["epsilon"] <= epsilon) & table["broken"]
        return self.clean & ~np.isin(self.ids, table["id"][under])


@dataclass(frozen=True)
class Common:
    """The images that are in both audits with the same label.

    Attributes:
        rows: (m,) where they are in `a`; `others` (m,) where in `b`.
    """

    a: Images
    b: Images
    rows: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def of(cls, a: Images, b: Images) -> Common:
        """Those of two audits, matched by content."""
        places = {tuple(key): row for row, key in enumerate(b.keys.tolist())}
        pairs = [
            (row, places[tuple(key)])
            for row, key in enumerate(a.keys.tolist())
            if tuple(key) in places
        ]
        rows, others = np.array(pairs, np.int64).reshape(-1, 2).T
        same = a.labels[rows] == b.labels[others]
        return cls(a, b, rows[same], others[same])

    def right(
        self, norm: str | None, epsilon: float | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(m,) which of them A and B have right, clean or under a threat."""
        if norm is None or epsilon is None:
            return self.a.clean[self.rows], self.b.clean[self.others]
        mine, theirs = self.a.robust(norm, epsilon), self.b.robust(norm, epsilon)
        return mine[self.rows], theirs[self.others]


def _occurrence(content: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal ones come before each."""
    seen: dict[int, int] = {}
    numbers = []
    for key in content.tolist():
        numbers.append(seen.get(key, 0))
        seen[key] = numbers[-1] + 1
    return np.array(numbers, np.int64)
