"""What comes of attacking a block of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

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


@dataclass
class Outcome:
    """What came of a block; row i belongs to image i. NaN where nothing was seen."""

    #: (n,) bool, verified on the victim.
    broken: torch.Tensor
    #: (n,) int64, what the attack trusted that broke it: the place in `TRUSTS`, -1 where unbroken.
    trust: torch.Tensor
    #: (n,) bool, still so as 8-bit images in the ball.
    broken_8bit: torch.Tensor
    #: (n,) int64, the victim's answer to the adversarial example; -1 where there is none.
    prediction: torch.Tensor
    #: (n,) the victim's confidence in it.
    confidence: torch.Tensor
    #: (n,) of the example where broken; else the best that any point of the surrogate reached.
    margin: torch.Tensor
    #: (n,) distance of the example.
    distance: torch.Tensor
    #: (n,) distance of the nearest adversarial example found, in the ball or not; infinite if none.
    nearest: torch.Tensor
    #: (n,) passes, verification included.
    forwards: torch.Tensor
    backwards: torch.Tensor
    #: (n,) bool, met a gradient with NaN or infinity / that was zero everywhere.
    nonfinite: torch.Tensor
    zero: torch.Tensor
    #: (n,) int64, points that the longest search by scores alone looked at, and the longest ascent
    #: of the model's repaired gradient.
    queries: torch.Tensor
    repaired: torch.Tensor
    #: (n, restarts) objective at the last point of each restart.
    loss: torch.Tensor
    #: (n, C, H, W): the example where broken, the clean image elsewhere.
    adversarial: torch.Tensor
    #: (n, C, H, W): where `margin` was reached; None if not asked for.
    best_point: torch.Tensor | None = None

    @classmethod
    def empty(cls, block: Block, restarts: int, *, points: bool = False) -> Outcome:
        """Nothing has been seen yet; `points` asks for `best_point`."""
        n, device = len(block), block.x.device

        def full(value: float | bool, dtype: torch.dtype) -> torch.Tensor:
            return torch.full((n,), value, dtype=dtype, device=device)

        return cls(
            broken=full(False, torch.bool),
            trust=full(-1, torch.int64),
            broken_8bit=full(False, torch.bool),
            prediction=full(-1, torch.int64),
            confidence=full(torch.nan, torch.float64),
            margin=full(-torch.inf, torch.float64),
            distance=full(torch.nan, torch.float64),
            nearest=full(torch.inf, torch.float64),
            forwards=full(0, torch.int64),
            backwards=full(0, torch.int64),
            nonfinite=full(False, torch.bool),
            zero=full(False, torch.bool),
            queries=full(0, torch.int64),
            repaired=full(0, torch.int64),
            loss=torch.full((n, restarts), torch.nan, dtype=torch.float64, device=device),
            adversarial=block.x.clone(),
            best_point=block.x.clone() if points else None,
        )

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

    def merge(self, other: Outcome) -> None:
        """Take in another run of the same attack: what it broke besides, and what it cost."""
        more = other.broken & ~self.broken
        for name in (
            "broken",
            "trust",
            "broken_8bit",
            "prediction",
            "confidence",
            "distance",
            "adversarial",
        ):
            getattr(self, name)[more] = getattr(other, name)[more]
        better = more | (~self.broken & (other.margin > self.margin))
        self.margin[better] = other.margin[better]
        self.nearest = torch.minimum(self.nearest, other.nearest)
        self.forwards += other.forwards
        self.backwards += other.backwards
        self.nonfinite |= other.nonfinite
        self.zero |= other.zero
        self.queries = torch.maximum(self.queries, other.queries)
        self.repaired = torch.maximum(self.repaired, other.repaired)
