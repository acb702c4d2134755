"""The pool: runs one attack on a block of images, drops the fooled ones, refills the batch.

This is the whole loop, of PGD as of every attack that proposes steps:

    all lanes wait: (image, target, restart, starting point), those of an image in turns
    while a lane is in the batch, or may join it:
        if a sixteenth of the batch is free:
            waiting lanes join: x = attack.start(task)       PGD: a random point of the ball
        stop here if there is no time for a further step
        seen = logits and objective at x, and the gradient if any lane goes on
        each lane keeps its best point; one that looks adversarial is given to the verifier
        ended = all steps are made, or the attack says done, or the image has fallen
        for the lanes that ended:
            passes, best margin and last objective are noted
            the image's next turn may join, unless the image has fallen
            they leave the batch
        x = attack.step(task, x, seen)                       PGD: project(x + steepest(gradient))

An attack that minimises goes on with images that have fallen. Lanes of an image follow one another
or advance side by side, as their turns say, so what happens to an image is a function of that image
alone, whatever shares its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.attacking.claims import Claims, note_best
from auditor.attacking.lanes import LanePlan, Lanes, concatenate, select, tensors
from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.queue import LaneQueue
from auditor.attacking.setup import Progress, Setup, proceed
from auditor.maths.objectives import Objective, margin
from auditor.maths.randomness import Noise
from auditor.protocols.attack import GRADIENT, Observation, State, Task
from auditor.protocols.composite import likeliest_rivals
from auditor.surrogate import Evaluation

#: New images come in once this part of the batch is free: starting a few costs as much as many.
_REFILL = 1 / 16
#: Restarts have smaller numbers; above it is what tells the targets' random numbers apart.
MOST_RESTARTS = 1 << 16


class AttackDefectError(Exception):
    """An attack returned something that the protocol does not allow."""


@dataclass(frozen=True)
class _Batch:
    """The lanes under attack, and what the attack proposes for them."""

    lanes: Lanes
    state: State


@dataclass(frozen=True)
class Pool:
    """Runs an attack that proposes steps; `objective` is what it climbs."""

    setup: Setup
    objective: Objective

    def run(self, block: Block, progress: Progress = lambda finished, broken: None) -> Outcome:
        """Attack every image of the block, with the restarts and targets that the attack wants.

        Raises:
            AttackDefectError: the attack broke the protocol.
            NoGradientError: the attack needs a gradient and there is none.
            OutOfTimeError: `stop` says so.
        """
        outcome = Outcome.empty(block, self.setup.wishes.restarts)
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
        trust = self.setup.trusts(self.objective)
        claims = Claims(block, outcome, self.setup.verifier, self.setup.wishes, trust)
        queue, finished, batch = LaneQueue(plan), 0, None
        while batch := self._refilled(batch, queue, plan, claims):
            proceed(self.setup.stop)
            seen, ended = self._evaluated(batch, claims)
            if ended.any():
                reached[batch.lanes.number] = batch.lanes.best
                finished += self._end(batch.lanes, seen, ended, claims, queue)
                progress(finished, int(outcome.broken.sum()))
                stay = (~ended).nonzero().flatten()
                if not len(stay):
                    batch = None
                    continue
                batch = _Batch(select(batch.lanes, stay), select(batch.state, stay))
                seen = select(seen, stay)
            batch = self._stepped(batch, seen)
        return reached

    def _every_lane(self, block: Block, outcome: Outcome) -> LanePlan:
        """All restarts, and in each all targets, one after another."""
        rows = torch.arange(len(block), device=block.x.device)
        wishes, surrogate = self.setup.wishes, self.setup.surrogate
        target, aims = None, 1
        if wishes.targets and len(block):
            seen = surrogate.evaluate(block.x, block.y, self.objective, gradient=False)
            outcome.forwards += surrogate.draws
            rivals = likeliest_rivals(seen.logits, block.y, wishes.targets)
            aims = rivals.shape[1]
            target = rivals.repeat(1, wishes.restarts).flatten()
        turn = torch.arange(wishes.restarts * aims, device=rows.device)
        return LanePlan(
            row=rows.repeat_interleave(len(turn)),
            target=target,
            restart=(turn // aims).repeat(len(rows)),
            turn=turn.repeat(len(rows)),
        )

    def _refilled(
        self, batch: _Batch | None, queue: LaneQueue, plan: LanePlan, claims: Claims
    ) -> _Batch | None:
        """The batch with the lanes that may join it, once there is room; None if it is empty."""
        capacity = max(1, self.setup.batch_size // self.setup.wishes.points)
        free = capacity - (0 if batch is None else len(batch.lanes))
        if not queue or free < max(1, capacity * _REFILL):
            return batch
        numbers = queue.take(free, idle=batch is None)
        if not numbers:
            return batch
        joining = self._started(numbers, plan, claims)
        if batch is None:
            return joining
        return _Batch(
            concatenate(batch.lanes, joining.lanes), concatenate(batch.state, joining.state)
        )

    def _started(self, numbers: list[int], plan: LanePlan, claims: Claims) -> _Batch:
        """The lanes with these numbers, where the attack starts on them."""
        block = claims.block
        number = torch.tensor(numbers, dtype=torch.int64, device=block.x.device)
        row = plan.row[number]
        x, never = block.x[row], torch.full_like(row, torch.inf, dtype=torch.float64)
        minimises = self.setup.wishes.minimises
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
            best_point=None if claims.outcome.best_point is None else x.clone(),
            nearest=never if minimises else None,
            nearest_point=x.clone() if minimises else None,
        )
        origin = None if plan.origin is None else plan.origin[number]
        state = self.setup.attack.start(self._task(lanes, 0, origin))
        return _Batch(lanes, self._checked(state, lanes))

    def _stepped(self, batch: _Batch, seen: Observation) -> _Batch:
        """The lanes where the attack goes on to, from what was seen of them."""
        lanes = batch.lanes
        state = self.setup.attack.step(self._task(lanes, calls=1), batch.state, seen)
        checked = self._checked(state, lanes)
        lanes.step = lanes.step + 1
        return _Batch(lanes, checked)

    def _evaluated(self, batch: _Batch, claims: Claims) -> tuple[Observation, torch.Tensor]:
        """What is seen at the proposed points, and (B,) bool which lanes have ended.

        What looks adversarial is verified.
        """
        lanes, state, wishes = batch.lanes, batch.state, self.setup.wishes
        x, points = state.x.detach(), wishes.points
        flat, y, target = x, lanes.y, lanes.target
        if points > 1:
            flat, y = x.flatten(0, 1), y.repeat_interleave(points)
            target = None if target is None else target.repeat_interleave(points)
        going_on = lanes.step < self.setup.attack.steps
        done = getattr(state, "done", None)
        if done is not None:
            going_on &= ~done
        gradient = self.setup.spec.needs == GRADIENT and bool(going_on.any())
        seen = self.setup.surrogate.evaluate(
            flat,
            y,
            self.objective,
            gradient=gradient,
            target=target,
            jacobian=gradient and wishes.jacobian,
        )
        claims.outcome.note_gradients(lanes, seen, going_on)
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
        if not wishes.minimise:
            ended |= claims.outcome.broken[lanes.row]
        return _observation(seen, x), ended

    def _end(
        self,
        lanes: Lanes,
        seen: Observation,
        ended: torch.Tensor,
        claims: Claims,
        queue: LaneQueue,
    ) -> int:
        """Note the lanes that ended; returns how many images are thereby finished."""
        setup, outcome, wishes = self.setup, claims.outcome, self.setup.wishes
        leaving = select(lanes, ended)
        claims.claim_nearest(leaving)
        each = wishes.points * setup.surrogate.draws
        slopes = seen.logits.shape[-1] if wishes.jacobian else 1
        slopes *= int(setup.spec.needs == GRADIENT)
        backwards = each * slopes * (leaving.step + int(seen.gradient is not None))
        loss = seen.loss[ended].view(len(leaving), -1).amax(1)
        outcome.note_end(leaving, loss, (each * (leaving.step + 1), backwards))
        if setup.challenge:
            looked_at = wishes.points * (leaving.step + 1)
            outcome.note_challenge(setup.challenge, leaving.row, looked_at)
        fallen = outcome.broken[leaving.row] & (not wishes.minimise)
        return queue.end(leaving.row.tolist(), fallen.tolist())

    def _task(self, lanes: Lanes, calls: int, origin: torch.Tensor | None = None) -> Task:
        """What the attack may use, and may spoil: claims are verified against the block's images.

        `calls` is 0 for `start` and 1 for `step`, so that each call has random numbers of its own.
        """
        setup, drawn = self.setup, lanes.step + calls
        target, restart = lanes.target, lanes.restart
        if target is not None:
            target, restart = target.clone(), restart + MOST_RESTARTS * (target + 1)
        noise = Noise(setup.seed, (setup.key,), lanes.image, restart, drawn, lanes.x.dtype)
        return Task(
            x=lanes.x,
            y=lanes.y.clone(),
            ball=setup.verifier.ball(lanes.x),
            step=lanes.step.clone(),
            _noise=noise,
            target=target,
            origin=origin,
            restart=lanes.restart.clone(),
        )

    def _checked(self, state: State, lanes: Lanes) -> State:
        """The state, if it is one that rows can be taken from."""
        who = f"attack {self.setup.spec.name!r}"
        if not isinstance(state, State):
            raise AttackDefectError(f"{who} returned {type(state).__name__}, not a State")
        if not isinstance(state.x, torch.Tensor):
            raise AttackDefectError(f"{who} proposed {type(state.x).__name__} as x, not a tensor")
        points, expected = self.setup.wishes.points, tuple(lanes.x.shape)
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
