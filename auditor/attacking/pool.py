"""The pool: runs one attack on a block of images, drops the fooled ones, refills the batch.

Lanes of an image follow one another or advance side by side, as their turns say, so what happens to
an image is a function of that image alone, whatever shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from auditor.attacking.claims import Claims, note_best
from auditor.attacking.lanes import LanePlan, Lanes, concatenate, select, tensors
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.queue import LaneQueue
from auditor.attacking.verify import Verifier
from auditor.maths.norms import Ball
from auditor.maths.objectives import Objective, margin
from auditor.maths.randomness import Noise
from auditor.protocols.attack import (
    GRADIENT,
    Attack,
    AttackSpec,
    Observation,
    State,
    Task,
    Trust,
    Wishes,
    wishes_of,
)
from auditor.protocols.composite import likeliest_rivals
from auditor.results import Challenge
from auditor.surrogate import Evaluation, Surrogate

#: New images come in once this part of the batch is free: starting a few costs as much as many.
_REFILL = 1 / 16
#: Restarts have smaller numbers; above it is what tells the targets' random numbers apart.
MOST_RESTARTS = 1 << 16


class AttackDefectError(Exception):
    """An attack returned something that the protocol does not allow."""


class OutOfTimeError(Exception):
    """The work was stopped between two steps; the text says why."""


#: Called as images leave the pool, with (finished, broken) so far.
Progress = Callable[[int, int], None]
#: Why no further step is to be begun; empty while it may be.
Stop = Callable[[], str]


def go_on() -> str:
    """Nothing stops the work."""
    return ""


@dataclass(frozen=True)
class _Look:
    """What one evaluation of the whole batch showed."""

    seen: Observation
    #: (B,) bool: will not be stepped again.
    ended: torch.Tensor
    #: Whether gradients were computed.
    backwards: bool


@dataclass
class Pool:
    """One attack, one surrogate, one threat.

    Attributes:
        key: names the attack and its parameters in the random numbers.
        batch_size: at most so many points are evaluated at once, or one image's lanes that advance
            side by side.
        trust: what the attack trusts on this surrogate; None works it out for the victim's own.
        stop: looked at before every step.
        itself: whether the surrogate is the victim's, repaired or not, and no other model's.
    """

    spec: AttackSpec
    attack: Attack
    surrogate: Surrogate
    objective: Objective
    verifier: Verifier
    seed: int
    key: str
    batch_size: int
    trust: Trust | None = None
    stop: Stop = go_on
    itself: bool = True

    def __post_init__(self) -> None:
        self._wishes: Wishes = wishes_of(self.attack)
        self._challenge = challenge_of(self.spec, self.attack, self.surrogate, self.itself)

    def run(self, block: Block, progress: Progress = lambda finished, broken: None) -> Outcome:
        """Attack every image of the block, with the restarts and targets that the attack wants.

        Raises:
            AttackDefectError: the attack broke the protocol.
            NoGradientError: the attack needs a gradient and there is none.
        """
        outcome = Outcome.empty(block, self._wishes.restarts)
        self.run_lanes(block, self._every_lane(block, outcome), outcome, progress)
        return outcome

    def run_lanes(
        self, block: Block, plan: LanePlan, outcome: Outcome, progress: Progress
    ) -> torch.Tensor:
        """Run the lanes of `plan`, noting in `outcome`; returns (m,) each lane's best margin.

        Raises:
            AttackDefectError: the attack broke the protocol.
            NoGradientError: the attack needs a gradient and there is none.
            OutOfTimeError: `stop` says so.
        """
        reached = torch.full_like(plan.row, -torch.inf, dtype=torch.float64)
        queue, finished = LaneQueue(plan), 0
        trust = self.trust or trusts(self.spec, self.surrogate, self.objective)
        claims = Claims(block, outcome, self.verifier, self._wishes, trust)
        lanes: Lanes | None = None
        state: State | None = None
        capacity = max(1, self.batch_size // self._wishes.points)
        while True:
            free = capacity - (0 if lanes is None else len(lanes))
            if queue and free >= max(1, capacity * _REFILL):
                numbers = queue.take(free, idle=lanes is None)
                if numbers:
                    arriving, started = self._start(block, plan, numbers, outcome)
                    lanes = arriving if lanes is None else concatenate(lanes, arriving)
                    state = started if state is None else concatenate(state, started)
            if lanes is None or state is None:
                return reached
            if reason := self.stop():
                raise OutOfTimeError(reason)
            look = self._look(lanes, state, outcome, claims)
            seen = look.seen
            if look.ended.any():
                reached[lanes.number] = lanes.best
                finished += self._end(lanes, look, outcome, claims, queue)
                progress(finished, int(outcome.broken.sum()))
                stay = (~look.ended).nonzero().flatten()
                if not len(stay):
                    lanes = state = None
                    continue
                lanes, state, seen = select(lanes, stay), select(state, stay), select(seen, stay)
            state = self._checked(self.attack.step(self._task(lanes, calls=1), state, seen), lanes)
            lanes.step = lanes.step + 1

    def _every_lane(self, block: Block, outcome: Outcome) -> LanePlan:
        """All restarts, and in each all targets, one after another."""
        rows = torch.arange(len(block), device=block.x.device)
        target, aims = None, 1
        if self._wishes.targets and len(block):
            seen = self.surrogate.evaluate(block.x, block.y, self.objective, gradient=False)
            outcome.forwards += self.surrogate.draws
            rivals = likeliest_rivals(seen.logits, block.y, self._wishes.targets)
            aims = rivals.shape[1]
            target = rivals.repeat(1, self._wishes.restarts).flatten()
        turn = torch.arange(self._wishes.restarts * aims, device=rows.device)
        return LanePlan(
            row=rows.repeat_interleave(len(turn)),
            target=target,
            restart=(turn // aims).repeat(len(rows)),
            turn=turn.repeat(len(rows)),
        )

    def _task(self, lanes: Lanes, calls: int, origin: torch.Tensor | None = None) -> Task:
        """What the attack may use, and may spoil: claims are verified against the block's images.

        `calls` is 0 for `start` and 1 for `step`, so that each call has random numbers of its own.
        """
        ball = Ball(self.verifier.norm, self.verifier.epsilon, lanes.x)
        drawn = lanes.step + calls
        target, restart = lanes.target, lanes.restart
        if target is not None:
            target, restart = target.clone(), restart + MOST_RESTARTS * (target + 1)
        noise = Noise(self.seed, (self.key,), lanes.image, restart, drawn, lanes.x.dtype)
        return Task(
            x=lanes.x,
            y=lanes.y.clone(),
            ball=ball,
            step=lanes.step.clone(),
            _noise=noise,
            target=target,
            origin=origin,
            restart=lanes.restart.clone(),
        )

    def _start(
        self, block: Block, plan: LanePlan, numbers: list[int], outcome: Outcome
    ) -> tuple[Lanes, State]:
        """The lanes with these numbers, and where the attack starts on them."""
        number = torch.tensor(numbers, dtype=torch.int64, device=block.x.device)
        row = plan.row[number]
        x, never = block.x[row], torch.full_like(row, torch.inf, dtype=torch.float64)
        minimises = self._wishes.minimises
        lanes = Lanes(
            x=x,
            y=block.y[row],
            image=block.image[row],
            row=row,
            number=number,
            restart=plan.restart[number],
            target=None if plan.target is None else plan.target[number],
            step=torch.zeros_like(row),
            best=-never,
            best_point=None if outcome.best_point is None else x.clone(),
            nearest=never if minimises else None,
            nearest_point=x.clone() if minimises else None,
        )
        origin = None if plan.origin is None else plan.origin[number]
        return lanes, self._checked(self.attack.start(self._task(lanes, 0, origin)), lanes)

    def _look(self, lanes: Lanes, state: State, outcome: Outcome, claims: Claims) -> _Look:
        """Evaluate the proposed points, and verify what looks adversarial."""
        x, points = state.x.detach(), self._wishes.points
        flat, y, target = x, lanes.y, lanes.target
        if points > 1:
            flat, y = x.flatten(0, 1), y.repeat_interleave(points)
            target = None if target is None else target.repeat_interleave(points)
        going_on = lanes.step < self.attack.steps
        done = getattr(state, "done", None)
        if done is not None:
            going_on &= ~done
        backwards = self.spec.needs == GRADIENT and bool(going_on.any())
        seen = self.surrogate.evaluate(
            flat,
            y,
            self.objective,
            gradient=backwards,
            target=target,
            jacobian=backwards and self._wishes.jacobian,
        )
        outcome.note_gradients(lanes, seen, going_on)
        reached, some_hit = reached_at(seen.logits, y)
        reached = reached.view(-1, points)
        outside = getattr(state, "outside", None)
        if outside is not None:
            reached = reached.masked_fill(outside[:, None], -torch.inf)
            some_hit = bool((~(reached < 0)).any())
        note_best(lanes, flat, claims.inside(lanes, flat, reached))
        if some_hit:
            claims.claim(lanes, flat, reached)
        ended = ~going_on
        if not self._wishes.minimise:
            ended |= outcome.broken[lanes.row]
        return _Look(_observation(seen, x), ended, backwards)

    def _end(
        self, lanes: Lanes, look: _Look, outcome: Outcome, claims: Claims, queue: LaneQueue
    ) -> int:
        """Note the lanes that ended; returns how many images are thereby finished."""
        ended = select(lanes, look.ended)
        claims.claim_nearest(ended)
        each = self._wishes.points * self.surrogate.draws
        slopes = look.seen.logits.shape[-1] if self._wishes.jacobian else 1
        slopes *= int(self.spec.needs == GRADIENT)
        backwards = each * slopes * (ended.step + int(look.backwards))
        loss = look.seen.loss[look.ended].view(len(ended), -1).amax(1)
        outcome.note_end(ended, loss, (each * (ended.step + 1), backwards))
        if self._challenge:
            seen = self._wishes.points * (ended.step + 1)
            outcome.note_challenge(self._challenge, ended.row, seen)
        fallen = outcome.broken[ended.row] & (not self._wishes.minimise)
        return queue.end(ended.row.tolist(), fallen.tolist())

    def _checked(self, state: State, lanes: Lanes) -> State:
        """The state, if it is one that rows can be taken from."""
        who = f"attack {self.spec.name!r}"
        if not isinstance(state, State):
            raise AttackDefectError(f"{who} returned {type(state).__name__}, not a State")
        if not isinstance(state.x, torch.Tensor):
            raise AttackDefectError(f"{who} proposed {type(state.x).__name__} as x, not a tensor")
        points, expected = self._wishes.points, tuple(lanes.x.shape)
        if points > 1:
            expected = (expected[0], points, *expected[1:])
        if (tuple(state.x.shape), state.x.dtype) != (expected, lanes.x.dtype):
            raise AttackDefectError(
                f"{who} proposed x as {tuple(state.x.shape)} {state.x.dtype}, "
                f"not as {expected} {lanes.x.dtype}"
            )
        for name, tensor in tensors(state).items():
            if tensor.device != lanes.x.device:
                raise AttackDefectError(
                    f"{who} has {name} on the device {tensor.device}, not on {lanes.x.device}"
                )
            if tensor.shape[:1] != (len(lanes),):
                raise AttackDefectError(
                    f"{who} keeps {name} of shape {tuple(tensor.shape)}, without a row per image"
                )
        return state


def trusts(spec: AttackSpec, surrogate: Surrogate, objective: Objective) -> Trust:
    """What an attack trusts on the victim's own autograd."""
    if spec.needs != GRADIENT or surrogate.draws > 1:
        return "nothing"
    return "cross-entropy" if objective.name == "cross-entropy" else "gradient"


def challenge_of(
    spec: AttackSpec, attack: object, surrogate: Surrogate, itself: bool
) -> Challenge | None:
    """How an attack challenges what withstood the gradient; None where it does not.

    A search that asks for scores alone does, and so does the repaired gradient. Points that do not
    depend on what was seen are no search. Other models, other losses and averages of the model's
    own gradient say nothing of a gradient that is not there.
    """
    if not itself:
        return None
    if spec.needs != GRADIENT:
        return None if wishes_of(attack).blind else "queries"
    return "repaired" if surrogate.repairs else None


def reached_at(logits: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, bool]:
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
    gradient = (
        None
        if seen.gradient is None
        else seen.gradient.view(*x.shape[:2], *seen.gradient.shape[1:])
    )
    loss = seen.loss.view(x.shape[:2])
    return Observation(seen.logits.view(*x.shape[:2], -1), loss, gradient)
