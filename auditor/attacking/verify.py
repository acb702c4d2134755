"""Believes no attack: every claimed adversarial example is checked on the victim."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from auditor.maths.norms import Ball, Norm
from auditor.subject.victim import Judgement, Victim

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
    #: int64, how often the victim was asked about the claim and its 8-bit image.
    asked: torch.Tensor


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

    def ball(self, x: torch.Tensor) -> Ball:
        """The threat's ball around clean images `x` (B, C, H, W)."""
        return Ball(self.norm, self.epsilon, x)

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
        ball = self.ball(x0)
        in_box, distance = ball.in_box(x), ball.distance(x)
        in_ball = distance <= self.reach(ball)
        rounded = to_8bit(x.nan_to_num(), ball)
        feasible = in_box & in_ball
        judged, wrong_8bit, asked = self._judged(x, rounded, y)
        wrong = judged.wrong
        confirmed = feasible & wrong
        if not confirmed.all():
            self._count("outside the box", ~in_box)
            if not anywhere:
                self._count("outside the ball", in_box & ~in_ball)
            self._count("not confirmed by the victim", (in_box if anywhere else feasible) & ~wrong)
        return Verification(
            confirmed=confirmed,
            adversarial=in_box & wrong,
            prediction=judged.prediction,
            margin=judged.margin,
            confidence=judged.confidence,
            distance=distance,
            confirmed_8bit=confirmed & wrong_8bit & (ball.distance(rounded) <= self.reach(ball)),
            asked=asked,
        )

    def _judged(
        self, x: torch.Tensor, rounded: torch.Tensor, y: torch.Tensor
    ) -> tuple[Judgement, torch.Tensor, torch.Tensor]:
        """What the victim says of `x`; (B,) whether `rounded` is misclassified, and the questions.

        A random victim, which is asked many times, is asked about the rounded image only where `x`
        itself is misclassified; elsewhere it is no matter.
        """
        if self.victim.draws == 1:
            both = self.victim.judge(torch.cat([x, rounded]), y.repeat(2))
            halves = zip(*(value.chunk(2) for value in vars(both).values()), strict=True)
            judged, again = (Judgement(*half) for half in halves)
            return judged, again.wrong, judged.asked + again.asked
        judged = self.victim.judge(x, y)
        rows = judged.wrong.nonzero().flatten()
        if not len(rows):
            return judged, judged.wrong, judged.asked
        again = self.victim.judge(rounded[rows], y[rows])
        wrong = judged.wrong.index_put((rows,), again.wrong)
        return judged, wrong, judged.asked.index_add(0, rows, again.asked)

    def _count(self, reason: str, rows: torch.Tensor) -> None:
        count = int(rows.sum())
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count
