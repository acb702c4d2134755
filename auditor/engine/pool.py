"""The pool: runs one attack on a block of images, drops the fooled ones, refills at every step.

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
from auditor.engine.verify import Verification, Verifier
from auditor.objectives import Objective, margin
from auditor.randomness import Noise
from auditor.surrogate import Evaluation, Surrogate
from auditor.threat import Ball


class AttackDefectError(Exception):
    """An attack returned something that the protocol does not allow."""


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


#: Called as images leave the pool, with (finished, broken) so far.
Progress = Callable[[int, int], None]


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
            if waiting and (lanes is None or len(lanes) < capacity):
                room = capacity - (0 if lanes is None else len(lanes))
                arriving = self._lanes(block, _take(waiting, room))
                started = self._checked(self.attack.start(self._task(arriving, calls=0)), arriving)
                lanes = arriving if lanes is None else concatenate(lanes, arriving)
                state = started if state is None else concatenate(state, started)
            if lanes is None or state is None or not len(lanes):
                return outcome
            seen, fell = self._look(block, lanes, state, outcome)
            ended = fell | (lanes.step >= self.attack.steps)
            if ended.any():
                again = self._settle(lanes, ended & ~fell)
                waiting.extend(again)
                finished += int(ended.sum()) - len(again)
                progress(finished, int(outcome.broken.sum()))
                lanes, state = select(lanes, ~ended), select(state, ~ended)
                seen = select(seen, ~ended)
            if len(lanes):
                stepped = self.attack.step(self._task(lanes, calls=1), state, seen)
                state = self._checked(stepped, lanes)
                lanes.step = lanes.step + 1
            else:
                lanes = state = None

    def _task(self, lanes: Lanes, calls: int) -> Task:
        """What the attack may use, in copies that it may spoil.

        `calls` is 0 for `start` and 1 for `step`, so that each call has random numbers of its own.
        """
        x, y, step = lanes.x.clone(), lanes.y.clone(), lanes.step.clone()
        ball = Ball(self.verifier.norm, self.verifier.epsilon, x)
        drawn = lanes.step + calls
        noise = Noise(self.seed, (self.key,), lanes.image, lanes.restart, drawn, x.dtype)
        return Task(x, y, ball, step, noise)

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
        )

    def _look(
        self, block: Block, lanes: Lanes, state: State, outcome: Outcome
    ) -> tuple[Observation, torch.Tensor]:
        """Evaluate the proposed points, verify what looks adversarial, note everything.

        Returns the observation, and which lanes fell.
        """
        x = state.x.detach()
        points = points_of(self.attack)
        flat = x.flatten(0, 1) if x.dim() == 5 else x
        y = lanes.y.repeat_interleave(points)
        wants = self.spec.needs == GRADIENT and bool((lanes.step < self.attack.steps).any())
        seen = self.surrogate.evaluate(flat, y, self.objective, gradient=wants)
        _note_passes(outcome, lanes, points * self.surrogate.draws, backwards=wants)
        _note_gradients(outcome, lanes, seen, lanes.step < self.attack.steps)
        answered = seen.logits.logsumexp(1).isfinite()
        reached = torch.where(answered, margin(seen.logits, y).double(), torch.nan)
        reached = reached.view(-1, points)
        best = torch.maximum(outcome.margin[lanes.row], reached.amax(1).nan_to_num(-torch.inf))
        outcome.margin[lanes.row] = best
        loss = seen.loss.double().view(-1, points)
        outcome.loss[lanes.row, lanes.restart] = loss.amax(1)
        fell = self._claim(block, lanes, flat, reached, outcome)
        return _observation(seen, x, points), fell

    def _claim(
        self,
        block: Block,
        lanes: Lanes,
        points: torch.Tensor,
        reached: torch.Tensor,
        outcome: Outcome,
    ) -> torch.Tensor:
        """Verify each lane's best point if it looks adversarial; (B,) which lanes fell.

        Scores that are no answer (`reached` is NaN) are claimed like wrong ones.
        """
        fell = torch.zeros_like(lanes.y, dtype=torch.bool)
        hits = (~(reached < 0)).any(1).nonzero().flatten()
        if not len(hits):
            return fell
        rows = lanes.row[hits]
        candidates = points.view(*reached.shape, *points.shape[1:])[hits]
        best = self._best(candidates, block.x[rows], reached[hits].nan_to_num(nan=torch.inf))
        x = candidates[torch.arange(len(hits), device=best.device), best]
        verified = self.verifier.check(x, block.x[rows], block.y[rows])
        outcome.forwards[rows] += 2 * self.verifier.victim.draws
        fell[hits] = verified.confirmed
        _note_success(outcome, rows, x, verified)
        return fell

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

    def _settle(self, lanes: Lanes, withstood: torch.Tensor) -> list[tuple[int, int]]:
        """The (row, restart) lanes that follow those which ended without success."""
        rows, restarts = lanes.row[withstood].tolist(), lanes.restart[withstood].tolist()
        last = restarts_of(self.attack) - 1
        return [
            (row, restart + 1)
            for row, restart in zip(rows, restarts, strict=True)
            if restart < last
        ]

    def _checked(self, state: State, lanes: Lanes) -> State:
        """The state, if it is one that rows can be taken from."""
        who = f"attack {self.spec.name!r}"
        if not isinstance(state, State) or not isinstance(state.x, torch.Tensor):
            raise AttackDefectError(
                f"{who} returned {type(state).__name__}, not a State of tensors"
            )
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


def _observation(seen: Evaluation, x: torch.Tensor, points: int) -> Observation:
    """What the attack gets to see, with the axis of points that its state has."""
    gradient = seen.gradient.view(x.shape) if seen.gradient is not None else None
    if x.dim() == 4:
        return Observation(seen.logits, seen.loss, gradient)
    logits = seen.logits.view(-1, points, seen.logits.shape[1])
    return Observation(logits, seen.loss.view(-1, points), gradient)


def _note_passes(outcome: Outcome, lanes: Lanes, count: int, *, backwards: bool) -> None:
    outcome.forwards[lanes.row] += count
    if backwards:
        outcome.backwards[lanes.row] += count


def _note_gradients(outcome: Outcome, lanes: Lanes, seen: Evaluation, used: torch.Tensor) -> None:
    """Note odd gradients of the lanes that use theirs; a lane at its last point does not."""
    if seen.nonfinite is not None and seen.zero is not None:
        rows = len(lanes)
        outcome.nonfinite[lanes.row] |= seen.nonfinite.view(rows, -1).any(1) & used
        outcome.zero[lanes.row] |= seen.zero.view(rows, -1).any(1) & used


def _note_success(
    outcome: Outcome, rows: torch.Tensor, x: torch.Tensor, verified: Verification
) -> None:
    good = verified.confirmed
    rows = rows[good]
    outcome.broken[rows] = True
    outcome.broken_8bit[rows] = verified.confirmed_8bit[good]
    outcome.prediction[rows] = verified.prediction[good]
    outcome.confidence[rows] = verified.confidence[good].double()
    outcome.margin[rows] = verified.margin[good].double()
    outcome.distance[rows] = verified.distance[good]
    outcome.adversarial[rows] = x[good]
