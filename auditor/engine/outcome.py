"""What comes of attacking a block of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.engine.lanes import Lanes
from auditor.engine.verify import Verification
from auditor.surrogate import Evaluation


@dataclass(frozen=True)
class Block:
    """Images to attack: (n, C, H, W), (n,) labels, (n,) stable ids."""

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
    #: (n,) passes, verification included.
    forwards: torch.Tensor
    backwards: torch.Tensor
    #: (n,) bool, met a gradient with NaN or infinity / that was zero everywhere.
    nonfinite: torch.Tensor
    zero: torch.Tensor
    #: (n, restarts) objective at the last point of each restart.
    loss: torch.Tensor
    #: (n, C, H, W): the example where broken, the clean image elsewhere.
    adversarial: torch.Tensor

    @classmethod
    def empty(cls, block: Block, restarts: int) -> Outcome:
        """Nothing has been seen yet."""
        n, device = len(block), block.x.device

        def full(value: float | bool, dtype: torch.dtype) -> torch.Tensor:
            return torch.full((n,), value, dtype=dtype, device=device)

        return cls(
            broken=full(False, torch.bool),
            broken_8bit=full(False, torch.bool),
            prediction=full(-1, torch.int64),
            confidence=full(torch.nan, torch.float64),
            margin=full(-torch.inf, torch.float64),
            distance=full(torch.nan, torch.float64),
            forwards=full(0, torch.int64),
            backwards=full(0, torch.int64),
            nonfinite=full(False, torch.bool),
            zero=full(False, torch.bool),
            loss=torch.full((n, restarts), torch.nan, dtype=torch.float64, device=device),
            adversarial=block.x.clone(),
        )

    def note_gradients(self, lanes: Lanes, seen: Evaluation, used: torch.Tensor) -> None:
        """Note odd gradients of the lanes that use theirs; a lane at its last point does not."""
        for flags, rows in ((self.nonfinite, seen.nonfinite), (self.zero, seen.zero)):
            if rows is not None:
                flags[lanes.row] |= rows.view(len(lanes), -1).any(1) & used

    def note_success(self, rows: torch.Tensor, x: torch.Tensor, verified: Verification) -> None:
        """Keep what was confirmed of the claims `x` for the images `rows`."""
        good = verified.confirmed
        rows = rows[good]
        self.broken[rows] = True
        self.broken_8bit[rows] = verified.confirmed_8bit[good]
        self.prediction[rows] = verified.prediction[good]
        self.confidence[rows] = verified.confidence[good].double()
        self.margin[rows] = verified.margin[good].double()
        self.distance[rows] = verified.distance[good]
        self.adversarial[rows] = x[good]

    def note_end(
        self, ended: Lanes, loss: torch.Tensor, passes: tuple[torch.Tensor, torch.Tensor]
    ) -> None:
        """Note what the lanes that `ended` leave behind: the last loss, passes, best margin."""
        rows = ended.row
        self.loss[rows, ended.restart] = loss.double()
        self.forwards[rows] += passes[0]
        self.backwards[rows] += passes[1]
        withstood = rows[~self.broken[rows]]
        best = ended.best[~self.broken[rows]]
        self.margin[withstood] = torch.fmax(self.margin[withstood], best)
