"""Which images an audit has right under what, and which of another audit they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """The images of one model in samples.parquet, each once, in the order of their positions.

    Attributes:
        ids: (n,) positions in the data set.
        keys: (n,) of pixels and label, as the column `image`.
        clean: (n,) whether it is classified correctly.
    """

    ids: NDArray[np.int64]
    keys: NDArray[np.int64]
    clean: NDArray[np.bool_]
    _table: dict[str, NDArray[Any]]

    @classmethod
    def of(cls, samples: pa.Table, model: str) -> Images:
        """Those of `model`; none where the table has no row of it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = samples.filter(pc.equal(samples["model"].cast(pa.string()), model))
        names = ("epsilon", "id", "image", "clean_correct", "broken")
        table = {name: rows[name].to_numpy() for name in names}
        table["threat"] = rows["threat"].cast(pa.string()).to_numpy()
        ids, first = np.unique(table["id"], return_index=True)
        return cls(ids, table["image"][first], table["clean_correct"][first], table)

    def robust(self, norm: str, epsilon: float) -> NDArray[np.bool_]:
        """(n,) whether it is correct and nothing broke it at this epsilon or a smaller one.

        What fell inside a smaller ball lies in the larger one too, as in audit.json.
        """
        table = self._table
        under = (table["threat"] == norm) & (table["epsilon"] <= epsilon) & table["broken"]
        return self.clean & ~np.isin(self.ids, table["id"][under])


@dataclass(frozen=True)
class Common:
    """The images that are in both audits.

    Attributes:
        rows: (m,) where they are in `a`; `others` (m,) where in `b`.
    """

    a: Images
    b: Images
    rows: NDArray[np.intp]
    others: NDArray[np.intp]

    @classmethod
    def of(cls, a: Images, b: Images) -> Common:
        """Those of two audits, matched by content."""
        _, rows, others = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
        order = np.argsort(rows)
        return cls(a, b, rows[order], others[order])

    def right(
        self, norm: str | None, epsilon: float | None
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(m,) which of them A and B have right, clean or under a threat."""
        if norm is None or epsilon is None:
            return self.a.clean[self.rows], self.b.clean[self.others]
        mine, theirs = self.a.robust(norm, epsilon), self.b.robust(norm, epsilon)
        return mine[self.rows], theirs[self.others]
