"""The pool: runs one attack on a block of images, drops the fooled ones, refills the batch.

Restarts of an image follow one another, so what happens to an image is a function of that image
alone, whatever shares its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from auditor.attack import (
    GRADIENT,
    Attack,
    AttackSpec,
    Observation,
    State,
    Task,
    points_of,
    restarts_of,
)
from auditor.engine.lanes import Lanes, concatenate, select, tensors
from auditor.engine.outcome import Block, Outcome
from auditor.engine.verify import Verifier
from auditor.objectives import Objective, margin
from auditor.randomness import Noise
from auditor.surrogate import Evaluation, Surrogate
from auditor.threat import Ball

#: New images come in once this part of the batch is free: starting a few costs as much as many.
_REFILL = 1 / 16


class AttackDefectError(Exception):
    """An attack returned something that the protocol does not allow."""


#: Called as images leave the pool, with (finished, broken) so far.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Look:
    """What one evaluation of the whole batch showed."""

    seen: Observation
    #: (B,) bool: fell now / will not be stepped again.
    fell: torch.Tensor
    ended: torch.Tensor
    #: Whether gradients were computed.
    backwards: bool


@dataclass
class Pool:
    """One attack, one surrogate, one threat.

    Attributes:
        key: names the attack and its parameters in the random numbers.
        batch_size: at most so many points are evaluated at once.
    """

    spec: AttackSpec
    attack: Attack
    surrogate: Surrogate
    objective: Objective
    verifier: Verifier
    seed: int
    key: str
    batch_size: int

    def run(self, block: Block, progress: Progress = lambda finished, broken: None) -> Outcome:
        """Attack every image of the block.

        Raises:
            AttackDefectError: the attack broke the protocol.
            NoGradientError: the attack needs a gradient and there is none.
        """
        outcome = Outcome.empty(block, restarts_of(self.attack))
        waiting = deque((row, 0) for row in range(len(block)))
        lanes: Lanes | None = None
        state: State | None = None
        capacity, finished = max(1, self.batch_size // points_of(self.attack)), 0
        while True:
            free = capacity - (0 if lanes is None else len(lanes))
            if waiting and free >= max(1, capacity * _REFILL):
                arriving = self._lanes(block, _take(waiting, free))
                started = self._checked(self.attack.start(self._task(arriving, calls=0)), arriving)
                lanes = arriving if lanes is None else concatenate(lanes, arriving)
                state = started if state is None else concatenate(state, started)
            if lanes is None or state is None:
                return outcome
            look = self._look(block, lanes, state, outcome)
            seen = look.seen
            if look.ended.any():
                waiting.extend(again := self._end(lanes, look, outcome))
                finished += int(look.ended.sum()) - len(again)
                progress(finished, int(outcome.broken.sum()))
                stay = (~look.ended).nonzero().flatten()
                if not len(stay):
                    lanes = state = None
                    continue
                lanes, state, seen = select(lanes, stay), select(state, stay), select(seen, stay)
            state = self._checked(self.attack.step(self._task(lanes, calls=1), state, seen), lanes)
            lanes.step = lanes.step + 1

    def _task(self, lanes: Lanes, calls: int) -> Task:
        """What the attack may use, and may spoil: claims are verified against the block's images.

        `calls` is 0 for `start` and 1 for `step`, so that each call has random numbers of its own.
        """
        ball = Ball(self.verifier.norm, self.verifier.epsilon, lanes.x)
        drawn = lanes.step + calls
        noise = Noise(self.seed, (self.key,), lanes.image, lanes.restart, drawn, lanes.x.dtype)
        return Task(lanes.x, lanes.y.clone(), ball, lanes.step.clone(), noise)

    def _lanes(self, block: Block, arriving: list[tuple[int, int]]) -> Lanes:
        device = block.x.device
        row, restart = torch.tensor(arriving, dtype=torch.int64, device=device).unbind(1)
        return Lanes(
            x=block.x[row],
            y=block.y[row],
            image=block.image[row],
            row=row,
            restart=restart,
            step=torch.zeros_like(row),
            best=torch.full_like(row, -torch.inf, dtype=torch.float64),
        )

    def _look(self, block: Block, lanes: Lanes, state: State, outcome: Outcome) -> _Look:
        """Evaluate the proposed points, and verify what looks adversarial."""
        x, points = state.x.detach(), points_of(self.attack)
        flat, y = (
            (x, lanes.y) if points == 1 else (x.flatten(0, 1), lanes.y.repeat_interleave(points))
        )
        going_on = lanes.step < self.attack.steps
        backwards = self.spec.needs == GRADIENT and bool(going_on.any())
        seen = self.surrogate.evaluate(flat, y, self.objective, gradient=backwards)
        outcome.note_gradients(lanes, seen, going_on)
        reached, some_hit = _reached(seen.logits, y)
        reached = reached.view(-1, points)
        lanes.best = torch.fmax(lanes.best, reached[:, 0] if points == 1 else reached.amax(1))
        fell = torch.zeros_like(lanes.y, dtype=torch.bool)
        if some_hit:
            self._claim(block, lanes, flat, reached, outcome, fell)
        return _Look(_observation(seen, x), fell, fell | ~going_on, backwards)

    def _claim(
        self,
        block: Block,
        lanes: Lanes,
        points: torch.Tensor,
        reached: torch.Tensor,
        outcome: Outcome,
        fell: torch.Tensor,
    ) -> None:
        """Verify each lane's best point if it looks adversarial; sets `fell` (B,) where it is.

        Scores that are no answer (`reached` is NaN) are claimed like wrong ones.
        """
        hits = (~(reached < 0)).any(1).nonzero().flatten()
        rows = lanes.row[hits]
        candidates = points.view(*reached.shape, *points.shape[1:])[hits]
        best = self._best(candidates, block.x[rows], reached[hits].nan_to_num(nan=torch.inf))
        x = candidates[torch.arange(len(hits), device=best.device), best]
        verified = self.verifier.check(x, block.x[rows], block.y[rows])
        outcome.forwards[rows] += 2 * self.verifier.victim.draws
        outcome.note_success(rows, x, verified)
        fell[hits] = verified.confirmed

    def _best(
        self, candidates: torch.Tensor, x0: torch.Tensor, reached: torch.Tensor
    ) -> torch.Tensor:
        """(B,) the point (of B, Q) to claim: the best in ball and box, if one there is a hit."""
        if reached.shape[1] == 1:
            return torch.zeros_like(reached[:, 0], dtype=torch.int64)
        repeated = x0.repeat_interleave(reached.shape[1], 0)
        ball = Ball(self.verifier.norm, self.verifier.epsilon, repeated)
        in_box, in_ball = ball.contains(candidates.flatten(0, 1))
        allowed = torch.where((in_box & in_ball).view(reached.shape), reached, -torch.inf)
        some = (allowed >= 0).any(1, keepdim=True)
        return torch.where(some, allowed, reached).argmax(1)

    def _end(self, lanes: Lanes, look: _Look, outcome: Outcome) -> list[tuple[int, int]]:
        """Note the lanes that ended; returns the (row, restart) lanes that follow them."""
        ended = select(lanes, look.ended)
        each = points_of(self.attack) * self.surrogate.draws
        gradients = self.spec.needs == GRADIENT
        backwards = each * (ended.step + int(look.backwards)) * int(gradients)
        loss = look.seen.loss[look.ended].view(len(ended), -1).amax(1)
        outcome.note_end(ended, loss, (each * (ended.step + 1), backwards))
        last = restarts_of(self.attack) - 1
        return [
            (row, restart + 1)
            for row, restart, fell in zip(
                ended.row.tolist(),
                ended.restart.tolist(),
                look.fell[look.ended].tolist(),
                strict=True,
            )
            if not fell and restart < last
        ]

    def _checked(self, state: State, lanes: Lanes) -> State:
        """The state, if it is one that rows can be taken from."""
        who = f"attack {self.spec.name!r}"
        if not isinstance(state, State):
            raise AttackDefectError(f"{who} returned {type(state).__name__}, not a State")
        if not isinstance(state.x, torch.Tensor):
            raise AttackDefectError(f"{who} proposed {type(state.x).__name__} as x, not a tensor")
        points, expected = points_of(self.attack), tuple(lanes.x.shape)
        if points > 1:
            expected = (expected[0], points, *expected[1:])
        if (tuple(state.x.shape), state.x.dtype) != (expected, lanes.x.dtype):
            raise AttackDefectError(
                f"{who} proposed x as {tuple(state.x.shape)} {state.x.dtype}, "
                f"not as {expected} {lanes.x.dtype}"
            )
        for name, tensor in tensors(state).items():
            if tensor.shape[:1] != (len(lanes),):
                raise AttackDefectError(
                    f"{who} keeps {name} of shape {tuple(tensor.shape)}, without a row per image"
                )
        return state


def _take(waiting: deque[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    return [waiting.popleft() for _ in range(min(count, len(waiting)))]


def _reached(logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, bool]:
    """(B,) float64 margins, NaN where the scores are no answer; whether any is a hit."""
    reached = margin(logits, y).double()
    low, high = torch.stack(torch.aminmax(reached)).tolist()
    if not low > -torch.inf:  # NaN included
        # Infinite scores: a margin of -inf is a sure answer, or none at all.
        reached = torch.where(logits.logsumexp(1).isfinite(), reached, torch.nan)
        return reached, bool((~(reached < 0)).any())
    return reached, high >= 0


def _observation(seen: Evaluation, x: torch.Tensor) -> Observation:
    """What the attack gets to see, with the axis of points that its state has."""
    if x.dim() == 4:
        return Observation(seen.logits, seen.loss, seen.gradient)
    gradient = None if seen.gradient is None else seen.gradient.view(x.shape)
    loss = seen.loss.view(x.shape[:2])
    return Observation(seen.logits.view(*x.shape[:2], -1), loss, gradient)
