"""What is known of images under an attack, and what comes of attacking a block of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

import torch
from numpy.typing import NDArray

from auditor.attacking.lanes import Lanes, first_of_each
from auditor.attacking.verify import Verification
from auditor.protocols.attack import Trust
from auditor.results import Challenge
from auditor.surrogate import Evaluation

#: From the most trusting to the least.
TRUSTS: tuple[Trust, ...] = ("cross-entropy", "gradient", "nothing")


@dataclass(frozen=True)
class Block:
    """Images to attack: (n, C, H, W), (n,) labels, (n,) keys of their random numbers."""

    x: torch.Tensor
    y: torch.Tensor
    image: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)


_Rows = TypeVar("_Rows", torch.Tensor, NDArray[Any])
_Dtype = Literal["bool", "int64", "float64"]


@dataclass(frozen=True)
class Column:
    """How one thing that is known of each image is kept.

    Attributes:
        fill: what stands where nothing is known.
        join: what becomes of it when the attack is run on the image again. Of the "example" is what
            belongs to the first run that broke the image; the "margin" is too, and the largest as
            long as it withstands.
        archived: its name in samples.parquet; empty where it is not there.
    """

    dtype: _Dtype
    fill: float
    join: Literal["example", "margin", "largest", "smallest", "sum"]
    archived: str = ""


@dataclass
class Columns(Generic[_Rows]):
    """All that is known of images under an attack, (n,) each; row i belongs to image i.

    The one list of it: what the pool notes, two runs are joined by, cells keep, results add up and
    samples.parquet has follows from it. Rows are of torch in the pool, of NumPy in results.
    """

    #: Verified on the victim.
    broken: Annotated[_Rows, Column("bool", False, "example", archived="broken")]
    #: What the attack, or its stage, trusted that broke it: the place in `TRUSTS`.
    trust: Annotated[_Rows, Column("int64", -1, "example")]
    #: Still so as 8-bit images in the ball.
    broken_8bit: Annotated[_Rows, Column("bool", False, "example", archived="broken_8bit")]
    #: The victim's answer to the adversarial example, and its confidence in it.
    prediction: Annotated[_Rows, Column("int64", -1, "example")]
    confidence: Annotated[_Rows, Column("float64", nan, "example")]
    #: Of the example where broken; else the best that any point of the surrogate reached.
    margin: Annotated[_Rows, Column("float64", nan, "margin", archived="margin")]
    #: Of the example.
    distance: Annotated[_Rows, Column("float64", nan, "example", archived="norm")]
    #: Distance of the nearest adversarial example found, in the ball or not.
    nearest: Annotated[_Rows, Column("float64", inf, "smallest", archived="nearest")]
    #: Passes, verification included.
    forwards: Annotated[_Rows, Column("int64", 0, "sum")]
    backwards: Annotated[_Rows, Column("int64", 0, "sum")]
    #: Met a gradient with NaN or infinity / that was zero everywhere.
    nonfinite: Annotated[_Rows, Column("bool", False, "largest", archived="nonfinite_gradient")]
    zero: Annotated[_Rows, Column("bool", False, "largest", archived="zero_gradient")]
    #: Points that the longest search by scores alone looked at, and the longest ascent of the
    #: model's repaired gradient.
    queries: Annotated[_Rows, Column("int64", 0, "largest", archived="queries")]
    repaired: Annotated[_Rows, Column("int64", 0, "largest", archived="repaired")]

    def join(self, other: Mapping[str, Any], rows: Any = slice(None)) -> Any:
        """Take in another run of the same attack on the images `rows`.

        Args:
            other: its columns, of m rows; what cells of earlier versions lack stays as it is.

        Returns:
            (m,) bool, the images that it broke besides.
        """
        held = ~self.broken[rows]
        fell = held & other["broken"]
        for name, column in COLUMNS.items():
            if name in other:
                whole = getattr(self, name)
                whole[rows] = _joined(column, whole[rows], other[name], fell, held)
        return fell


def _joined(column: Column, old: Any, new: Any, fell: Any, held: Any) -> Any:
    """A column after another run: `fell` are the images it broke, `held` had withstood before."""
    if column.join == "sum":
        return old + new
    taken = {
        "example": fell,
        "margin": fell | (held & ((new > old) | (old != old))),  # NaN gives way
        "largest": new > old,
        "smallest": new < old,
    }[column.join]
    old[taken] = new[taken]
    return old


#: All columns by name.
COLUMNS: dict[str, Column] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Columns, include_extras=True).items()
}


def filled(full: Callable[[float, _Dtype], Any]) -> dict[str, Any]:
    """All columns with nothing known yet; `full` makes one of its fill and dtype."""
    return {name: full(column.fill, column.dtype) for name, column in COLUMNS.items()}


@dataclass
class Outcome(Columns[torch.Tensor]):
    """What came of a block."""

    #: (n, restarts) objective at the last point of each restart; NaN where nothing was seen.
    loss: torch.Tensor
    #: (n, C, H, W): the example where broken, the clean image elsewhere.
    adversarial: torch.Tensor
    #: (n, C, H, W): where `margin` was reached; None if not asked for.
    best_point: torch.Tensor | None = None

    @classmethod
    def empty(cls, block: Block, restarts: int, *, points: bool = False) -> Outcome:
        """Nothing has been seen yet; `points` asks for `best_point`."""
        n, device = len(block), block.x.device

        def full(fill: float, dtype: _Dtype) -> torch.Tensor:
            return torch.full((n,), fill, dtype=getattr(torch, dtype), device=device)

        outcome = cls(
            **filled(full),
            loss=torch.full((n, restarts), torch.nan, dtype=torch.float64, device=device),
            adversarial=block.x.clone(),
            best_point=block.x.clone() if points else None,
        )
        outcome.margin.fill_(-torch.inf)  # less than any point will reach
        return outcome

    def note_gradients(self, lanes: Lanes, seen: Evaluation, used: torch.Tensor) -> None:
        """Note odd gradients of the lanes that use theirs; a lane at its last point does not."""
        for flags, odd in ((self.nonfinite, seen.nonfinite), (self.zero, seen.zero)):
            if odd is not None:
                flags[lanes.row[odd.view(len(lanes), -1).any(1) & used]] = True

    def note_success(
        self, lanes: Lanes, x: torch.Tensor, verified: Verification, trust: Trust
    ) -> None:
        """Keep what was confirmed of the claims `x`, one per lane.

        Args:
            trust: what the attack trusted that makes the claims.

        Of several lanes of one image the one that comes first in the plan counts, and an example
        gives way only to a nearer one.
        """
        self.forwards.index_add_(0, lanes.row, verified.asked)
        nearest = self.nearest[lanes.row]
        self.nearest.scatter_reduce_(
            0, lanes.row, torch.where(verified.adversarial, verified.distance, torch.inf), "amin"
        )
        nearer = verified.confirmed & (verified.distance < nearest)
        good = (nearer | (verified.confirmed & ~self.broken[lanes.row])).nonzero().flatten()
        good = good[first_of_each(lanes.row[good], lanes.number[good])]
        rows = lanes.row[good]
        self.trust[rows[~self.broken[rows]]] = TRUSTS.index(trust)
        self.broken[rows] = True
        self.broken_8bit[rows] = verified.confirmed_8bit[good]
        self.prediction[rows] = verified.prediction[good]
        self.confidence[rows] = verified.confidence[good].double()
        self.margin[rows] = verified.margin[good].double()
        self.distance[rows] = verified.distance[good]
        self.adversarial[rows] = x[good]
        if self.best_point is not None:
            self.best_point[rows] = x[good]

    def note_end(
        self, ended: Lanes, loss: torch.Tensor, passes: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """Note what the lanes that `ended` leave behind: the last loss, passes, best margin."""
        rows = ended.row
        self.forwards.index_add_(0, rows, passes[0])
        self.backwards.index_add_(0, rows, passes[1])
        if self.loss.shape[1]:
            # Targets of one restart follow one another: the largest loss is the restart's.
            self.loss[rows, ended.restart] = torch.fmax(
                self.loss[rows, ended.restart], loss.double()
            )
        better = ~self.broken[rows] & (ended.best > self.margin[rows])
        rows, best = rows[better], ended.best[better]
        self.margin.scatter_reduce_(0, rows, best, "amax")
        if self.best_point is not None and ended.best_point is not None:
            number = ended.number[better]
            top = best == self.margin[rows]
            top[top.clone()] = first_of_each(rows[top], number[top])
            self.best_point[rows[top]] = ended.best_point[better][top]

    def note_challenge(self, how: Challenge, rows: torch.Tensor, points: torch.Tensor) -> None:
        """Note that lanes of the images `rows` (m,) looked at so many `points` (m,)."""
        getattr(self, how).scatter_reduce_(0, rows, points, "amax")

    def merge(self, other: Outcome, rows: torch.Tensor | slice = slice(None)) -> None:
        """Take in another run of the same attack on the images `rows`, as `join` does."""
        fell = self.join(vars(other), rows)[:, None, None, None]
        self.adversarial[rows] = torch.where(fell, other.adversarial, self.adversarial[rows])
