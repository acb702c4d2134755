"""Believes no attack: every claimed adversarial example is checked on the victim."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from auditor.threat import Ball, Norm
from auditor.victim import Victim

#: A pixel this close to a grey level, in levels, is on it: float32 says no more.
_ON_LEVEL = 2e-5


@dataclass(frozen=True)
class Verification:
    """What came of a batch of claims, (B,) each."""

    #: Misclassified, in the box and in the ball.
    confirmed: torch.Tensor
    #: Misclassified and in the box, wherever.
    adversarial: torch.Tensor
    prediction: torch.Tensor
    margin: torch.Tensor
    confidence: torch.Tensor
    distance: torch.Tensor
    #: Still adversarial, and still in the ball, as an 8-bit image.
    confirmed_8bit: torch.Tensor


def to_8bit(x: torch.Tensor, ball: Ball) -> torch.Tensor:
    """`x` as 8-bit images of the ball: the nearest grey levels, and where those leave the ball,
    projected back and rounded towards the clean image."""
    nearest = (torch.round(x.double() * 255) / 255).clamp(0, 1).to(x.dtype)
    levels = ball.project(nearest).double() * 255
    down, up = torch.floor(levels + _ON_LEVEL), torch.ceil(levels - _ON_LEVEL)
    return (torch.where(nearest >= ball.x0, down, up) / 255).clamp(0, 1).to(x.dtype)


@dataclass
class Verifier:
    """Checks claims against box, ball and victim, and counts what it rejects, by reason."""

    victim: Victim
    norm: Norm
    epsilon: float
    rejected: dict[str, int] = field(default_factory=dict)
    _reach: float | None = None

    def reach(self, ball: Ball) -> float:
        """The largest distance that counts as inside the ball."""
        if self._reach is None:
            self._reach = self.epsilon + ball.rounding()
        return self._reach

    def check(
        self, x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, *, anywhere: bool = False
    ) -> Verification:
        """Verify claims `x` for clean images `x0` (B, C, H, W) with labels `y` (B,).

        `anywhere`: they are not claimed to lie in the ball, and not counted as rejected if not.
        """
        ball = Ball(self.norm, self.epsilon, x0)
        in_box, distance = ball.in_box(x), ball.distance(x)
        in_ball = distance <= self.reach(ball)
        rounded = to_8bit(x.nan_to_num(), ball)
        judged = self.victim.judge(torch.cat([x, rounded]), y.repeat(2))
        wrong, wrong_8bit = judged.wrong.chunk(2)
        feasible = in_box & in_ball
        confirmed = feasible & wrong
        if not confirmed.all():
            self._count("outside the box", ~in_box)
            if not anywhere:
                self._count("outside the ball", in_box & ~in_ball)
            self._count("not confirmed by the victim", (in_box if anywhere else feasible) & ~wrong)
        return Verification(
            confirmed=confirmed,
            adversarial=in_box & wrong,
            prediction=judged.prediction.chunk(2)[0],
            margin=judged.margin.chunk(2)[0],
            confidence=judged.confidence.chunk(2)[0],
            distance=distance,
            confirmed_8bit=confirmed & wrong_8bit & (ball.distance(rounded) <= self.reach(ball)),
        )

    def _count(self, reason: str, rows: torch.Tensor) -> None:
        count = int(rows.sum())
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count
