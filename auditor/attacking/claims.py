"""From points that look adversarial to verified examples."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.attacking.lanes import Lanes, select
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.verify import Verifier
from auditor.protocols.attack import Trust, Wishes


def note_best(lanes: Lanes, points: torch.Tensor, reached: torch.Tensor) -> None:
    """Keep the largest margin of each lane, and where asked for its point.

    `points` are (B * Q, C, H, W) and `reached` (B, Q) the margins there.
    """
    best, which = reached[:, 0], None
    if reached.shape[1] > 1:
        best, which = torch.where(reached.isnan(), -torch.inf, reached).max(1)
    if lanes.best_point is not None:
        rows = (best > lanes.best).nonzero().flatten()
        chosen = rows if which is None else rows * reached.shape[1] + which[rows]
        lanes.best_point[rows] = points[chosen]
    lanes.best = torch.fmax(lanes.best, best)


def _note_nearest(
    lanes: Lanes, hits: torch.Tensor, x: torch.Tensor, distance: torch.Tensor
) -> None:
    """Keep the nearest point of each lane; `hits` are the lanes that points `x` are of."""
    assert lanes.nearest is not None
    assert lanes.nearest_point is not None
    nearer = distance < lanes.nearest[hits]
    lanes.nearest[hits[nearer]] = distance[nearer]
    lanes.nearest_point[hits[nearer]] = x[nearer]


@dataclass(frozen=True)
class Claims:
    """Takes what looks adversarial to the verifier, and its verdict to the outcome."""

    block: Block
    outcome: Outcome
    verifier: Verifier
    wishes: Wishes
    trust: Trust

    def inside(self, lanes: Lanes, points: torch.Tensor, reached: torch.Tensor) -> torch.Tensor:
        """The margins `reached` (B, Q), -inf at points outside the ball that a minimiser visits."""
        if not self.wishes.minimises:
            return reached
        ball = self.verifier.ball(self.block.x[lanes.row].repeat_interleave(reached.shape[1], 0))
        outside = ball.distance(points) > self.verifier.reach(ball)
        return reached.masked_fill(outside.view(reached.shape), -torch.inf)

    def claim(self, lanes: Lanes, points: torch.Tensor, reached: torch.Tensor) -> None:
        """Verify each lane's best point if it looks adversarial.

        `points` are (B * Q, C, H, W) and `reached` (B, Q) the margins there. Scores that are no
        answer (`reached` is NaN) are claimed like wrong ones.
        """
        hits = (~(reached < 0)).any(1).nonzero().flatten()
        candidates = points.view(*reached.shape, *points.shape[1:])[hits]
        x0 = self.block.x[lanes.row[hits]]
        best = self._best(candidates, x0, reached[hits].nan_to_num(nan=torch.inf))
        x = candidates[torch.arange(len(hits), device=best.device), best]
        if not self.wishes.minimises:
            self._verify(select(lanes, hits), x)
            return
        ball = self.verifier.ball(x0)
        distance = torch.where(ball.in_box(x), ball.distance(x), torch.inf)
        # Of an image that has fallen, the nearest example is verified at the end of the lane.
        now = (distance <= self.verifier.reach(ball)) & ~self.outcome.broken[lanes.row[hits]]
        good = torch.ones_like(now)
        good[now] = self._verify(select(lanes, hits[now]), x[now])
        _note_nearest(lanes, hits[good], x[good], distance[good])

    def claim_nearest(self, ended: Lanes) -> None:
        """Verify the nearest point of lanes that have ended, if it is nearer than any before."""
        if ended.nearest is None:
            return
        near = select(ended, ended.nearest < self.outcome.nearest[ended.row])
        assert near.nearest_point is not None
        self._verify(near, near.nearest_point)

    def _verify(self, lanes: Lanes, x: torch.Tensor) -> torch.Tensor:
        """Check one claim of each lane; (B,) bool, the victim is fooled, in the ball or not."""
        if not len(lanes):
            return torch.zeros_like(lanes.row, dtype=torch.bool)
        block, anywhere = self.block, self.wishes.minimises
        verified = self.verifier.check(x, block.x[lanes.row], block.y[lanes.row], anywhere=anywhere)
        self.outcome.note_success(lanes, x, verified, self.trust)
        return verified.adversarial

    def _best(
        self, candidates: torch.Tensor, x0: torch.Tensor, reached: torch.Tensor
    ) -> torch.Tensor:
        """(B,) the point (of B, Q) to claim: the best in ball and box, if one there is a hit."""
        if reached.shape[1] == 1:
            return torch.zeros_like(reached[:, 0], dtype=torch.int64)
        ball = self.verifier.ball(x0.repeat_interleave(reached.shape[1], 0))
        in_box, in_ball = ball.contains(candidates.flatten(0, 1))
        allowed = torch.where((in_box & in_ball).view(reached.shape), reached, -torch.inf)
        some = (allowed >= 0).any(1, keepdim=True)
        return torch.where(some, allowed, reached).argmax(1)
