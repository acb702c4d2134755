"""Lanes: where they start, when they are done, what they may see of every logit."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from core_lanes import Aimed
from core_models import NORM, Counted, block_of, cnn_victim, linear_victim, run_attack
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from core_pool import assert_same, toy

from auditor.attacking.lanes import LanePlan, first_of_each
from auditor.attacking.outcome import Outcome
from auditor.attacking.pool import Pool
from auditor.attacking.setup import Setup
from auditor.attacking.verify import Verifier
from auditor.maths.objectives import choose_objective
from auditor.protocols.attack import GRADIENT, Observation, State, Task, spec_of
from auditor.subject.victim import Victim
from auditor.surrogate import naive

N = 10
X, IDS = ALL[:N], ALL_IDS[:N]
TINY = 1e-4

# Starting points


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_each_lane_starts_at_its_own_point(batch_size):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    row = torch.tensor([4, 1, 4, 7])
    origin = X[row] + TINY * torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    plan = LanePlan(row, None, torch.arange(4), torch.tensor([1, 0, 0, 0]), origin)
    attack = Aimed(targets=0, steps=1, images=X)
    setup = Setup(
        spec=spec_of(Aimed),
        attack=attack,
        surrogate=naive(victim),
        verifier=Verifier(victim, NORM["linf"], 1e-3),
        classes=4,
        seed=0,
        key="key",
        batch_size=batch_size,
    )
    pool = Pool(setup, choose_objective("margin", 4))
    reached = pool.run_lanes(block, plan, Outcome.empty(block, 0), lambda finished, broken: None)
    assert reached.isfinite().all()
    for image, lanes in ((1, [1]), (4, [2, 0]), (7, [3])):
        diary = [line for line in attack.diary if line.row == image]
        begun = [line for line in diary if line.origin is not None]
        assert len(begun) == len(lanes)
        for line, lane in zip(begun, lanes, strict=True):
            assert torch.equal(line.origin, origin[lane])
            assert torch.equal(line.x, origin[lane])
        # `step` is told nothing of it.
        assert len(diary) == 2 * len(lanes)


def test_of_lanes_that_share_a_row_the_smallest_number_comes_first():
    generator = torch.Generator().manual_seed(3)
    for _ in range(50):
        rows = torch.randint(0, 6, (12,), generator=generator)
        number = torch.randperm(40, generator=generator)[:12]
        pairs = list(zip(rows.tolist(), number.tolist(), strict=True))
        expected = [n == min(m for r, m in pairs if r == row) for row, n in pairs]
        assert first_of_each(rows, number).tolist() == expected
    assert first_of_each(torch.zeros(0).long(), torch.zeros(0).long()).tolist() == []


# The best of several points


@toy()
@dataclass(frozen=True)
class DarkAndBright:
    """Two points: 0.1 brighter, and 0.4 brighter."""

    points = 2
    steps = 0

    def start(self, task: Task) -> State:
        return State(torch.stack([task.x + 0.1, task.x + 0.4], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError


class NanAbove(torch.nn.Module):
    """Margin 2 mean - 1.8, and none where the mean pixel is above 1/2."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)[:, None]
        z = torch.cat([0.9 - mean, mean - 0.9], 1)
        return torch.where(mean > 0.5, torch.nan, z)


def test_a_point_without_an_answer_does_not_hide_the_margin_of_another():
    """The surrogate has no answer for the bright point; the victim does not fall to it."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.9, -0.9], dtype=torch.float64))
    block = block_of(victim, torch.full((2, 1, 4, 4), 0.2, dtype=torch.float64))
    silent = naive(Victim("silent", NanAbove(), precision=torch.float64))
    run = run_attack(victim, DarkAndBright(), block, "linf", 0.5, surrogate=silent)
    assert run.verifier.rejected == {"not confirmed by the victim": 2}
    assert run.outcome.margin.tolist() == pytest.approx([2 * 0.3 - 1.8] * 2)


# Done early


@dataclass
class Sleepy(State):
    done: torch.Tensor


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class DoneEarly:
    """Brighter at every step; done after as many as the first pixel says."""

    calls: list[int] = field(default_factory=list)
    steps = 5
    restarts = 2

    def start(self, task: Task) -> Sleepy:
        return self._propose(task, task.x)

    def step(self, task: Task, state: State, seen: Observation) -> Sleepy:
        self.calls.append(len(task.y))
        return self._propose(task, state.x + 0.01, 1)

    @staticmethod
    def _propose(task: Task, x: torch.Tensor, calls: int = 0) -> Sleepy:
        allowed = (task.x[:, 0, 0, 0] * 100).round()
        return Sleepy(x, task.step + calls >= allowed)


def dimmed(counts: torch.Tensor) -> torch.Tensor:
    x = torch.full((len(counts), 1, 4, 4), 0.2, dtype=torch.float64)
    x[:, 0, 0, 0] = counts.double() / 100
    return x


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_lane_that_is_done_is_evaluated_once_more_and_leaves(batch_size):
    """The model answers 0 while the mean pixel is below 0.9: nobody falls."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    counted = Counted(linear_victim(W, torch.tensor([0.9, -0.9]).double()).module)
    victim = Victim("counted", counted, precision=torch.float64)
    allowed = torch.tensor([0, 1, 3, 5, 9])
    block, attack = block_of(victim, dimmed(allowed)), DoneEarly()
    counted.forwards = -1
    outcome = run_attack(victim, attack, block, "linf", 0.2, batch_size=batch_size).outcome
    looks = [2 * (min(count, 5) + 1) for count in allowed.tolist()]
    assert outcome.forwards.tolist() == looks
    assert sum(attack.calls) == sum(looks) - 2 * len(allowed)
    assert counted.forwards == sum(looks)
    assert counted.backwards == int(outcome.backwards.sum())
    if batch_size == 1:  # nothing is differentiated at a last point
        assert outcome.backwards.tolist() == [look - 2 for look in looks]
    # The last point of all was looked at: 0.01 brighter for every step.
    mean = block.x.flatten(1).mean(1) + 0.01 * allowed.clamp(max=5)
    torch.testing.assert_close(outcome.margin, 2 * mean - 1.8)
    torch.testing.assert_close(outcome.loss, (2 * mean - 1.8)[:, None].expand(-1, 2))


def test_the_point_at_which_a_lane_is_done_may_be_a_success():
    """The model answers 1 from a mean of 0.215 on, which the third step reaches."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.215, -0.215], dtype=torch.float64))
    block = block_of(victim, dimmed(torch.tensor([2, 3, 4])))
    outcome = run_attack(victim, DoneEarly(), block, "linf", 0.2).outcome
    mean = block.x.flatten(1).mean(1)
    assert outcome.broken.tolist() == (mean + torch.tensor([0.02, 0.03, 0.04]) > 0.215).tolist()
    assert outcome.broken.tolist() == [False, True, True]


# Every logit's gradient


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class EveryLogit:
    """Raises each wrong class in turn, along its own gradient."""

    points: int = 1
    seen: list[tuple[Task, torch.Tensor, Observation]] = field(default_factory=list)
    jacobian = True
    steps = 2
    restarts = 2

    def start(self, task: Task) -> State:
        drawn = [task.ball.sample(task.noise(str(q))) for q in range(self.points)]
        return State(drawn[0] if self.points == 1 else torch.stack(drawn, 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append((task, state.x.clone(), seen))
        slopes, x = seen.gradient, state.x
        if self.points > 1:
            slopes, x = slopes[:, 0], x[:, 0]
        index = torch.arange(len(x))
        up = slopes[index, (task.y + 1 + task.step) % 4] - slopes[index, task.y]
        x = task.ball.project(task.ball.steepest(x, up, task.ball.epsilon))
        return State(x if self.points == 1 else torch.stack([x, *state.x.unbind(1)[1:]], 1))


def slopes_of(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(K, C, H, W), one image and one logit at a time."""
    x = x.clone()[None].requires_grad_()
    return torch.stack(
        [torch.autograd.grad(module(x)[0, k], x)[0][0] for k in range(module(x).shape[1])]
    )


@pytest.mark.parametrize("points", [1, 2])
def test_the_jacobian_is_the_gradient_of_every_logit(points):
    victim = cnn_victim(X)
    attack = EveryLogit(points)
    run_attack(victim, attack, block_of(victim, X), "linf", 0.01, batch_size=64)
    assert len(attack.seen) >= 4
    for task, x, seen in attack.seen[:4]:
        flat, slopes = x.view(-1, *X.shape[1:]), seen.gradient.view(-1, 4, *X.shape[1:])
        assert seen.gradient.shape[: x.dim() - 3] == x.shape[: x.dim() - 3]
        for point, slope in zip(flat, slopes, strict=True):
            torch.testing.assert_close(slope, slopes_of(victim.module, point))
        # The objective is seen as well.
        with torch.no_grad():
            z = victim.module(flat)
        y = task.y.repeat_interleave(points)
        wrong = z.scatter(1, y[:, None], -torch.inf).amax(1)
        torch.testing.assert_close(seen.loss.flatten(), wrong - z.gather(1, y[:, None])[:, 0])


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_logits_backward_pass_is_counted(batch_size):
    counted = Counted(cnn_victim(X).module)
    victim = Victim("counted", counted, precision=torch.float64)
    block = block_of(victim, X, IDS)
    counted.forwards = -1
    outcome = run_attack(victim, EveryLogit(), block, "linf", 0.02, batch_size=batch_size).outcome
    assert 0 < int(outcome.broken.sum()) < N
    assert counted.forwards == int(outcome.forwards.sum())
    assert counted.backwards == int(outcome.backwards.sum()) > 0
    if batch_size == 1:  # two restarts, two steps each, four logits
        assert set(outcome.backwards[~outcome.broken].tolist()) == {2 * 2 * 4}


def test_an_attack_on_every_logit_does_not_depend_on_batches():
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    first = run_attack(victim, EveryLogit(), block, "l2", 0.15, batch_size=1).outcome
    assert 0 < int(first.broken.sum()) < N
    for batch_size in (3, 64):
        again = run_attack(victim, EveryLogit(), block, "l2", 0.15, batch_size=batch_size)
        assert_same(first, again.outcome)


class OneFlatLogit(torch.nn.Module):
    """Of two logits one never moves; above 1/2 neither does."""

    def forward(self, x):
        mean = x.flatten(1).mean(1).clamp(max=0.5)
        return torch.stack([torch.ones_like(mean), mean * 0.1], 1)


def test_a_jacobian_is_zero_only_where_every_logit_is_flat():
    x = torch.tensor([0.2, 0.8], dtype=torch.float64).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    victim = Victim("flat", OneFlatLogit(), precision=torch.float64)
    y, objective = torch.zeros(2, dtype=torch.int64), choose_objective("margin", 2)
    seen = naive(victim).evaluate(x, y, objective, gradient=True, jacobian=True)
    assert seen.zero.tolist() == [False, True]
    assert seen.gradient[0, 0].abs().sum() == 0
    torch.testing.assert_close(seen.gradient[0, 1], torch.full((1, 4, 4), 0.1 / 16).double())
