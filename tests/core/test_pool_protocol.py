"""What an attack may return, and how often it may look."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from core_models import (
    block_of,
    cnn_victim,
    linear_victim,
    run_attack,
)
from core_pool import EPSILON, IDS, N, X, assert_same, toy

from auditor.attacking.pool import AttackDefectError
from auditor.protocols.attack import GRADIENT, Observation, State, Task
from auditor.surrogate import naive

# The protocol


@toy()
@dataclass(frozen=True)
class Breaks:
    """Breaks the protocol in one way, at the start or at a step."""

    what: str
    at: str
    steps = 2

    def start(self, task: Task) -> State:
        return self.proposal(task) if self.at == "start" else State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return self.proposal(task)

    def proposal(self, task: Task):
        return {
            "shape": lambda: State(task.x[:, :, 1:]),
            "points it did not announce": lambda: State(task.x[:, None]),
            "too few rows": lambda: State(task.x[1:]),
            "dtype": lambda: State(task.x.float()),
            "nothing": lambda: None,
            "a tensor": lambda: task.x,
            "an array": lambda: State(task.x.numpy()),
            "no dataclass": lambda: SimpleNamespace(x=task.x),
            "memory of another length": lambda: Remembers(task.x, torch.zeros(len(task.x) + 1)),
        }[self.what]()


@dataclass
class Remembers(State):
    memory: torch.Tensor


@pytest.mark.parametrize("at", ["start", "step"])
@pytest.mark.parametrize(
    "what",
    [
        "shape",
        "points it did not announce",
        "too few rows",
        "dtype",
        "nothing",
        "a tensor",
        "an array",
        "no dataclass",
        "memory of another length",
    ],
)
def test_a_proposal_that_is_no_state_of_images_is_a_defect_of_the_attack(what, at):
    victim = cnn_victim(X)
    with pytest.raises(AttackDefectError, match="toy"):
        run_attack(victim, Breaks(what, at), block_of(victim, X), "linf", 0.01)


@toy()
@dataclass(frozen=True)
class FourPoints:
    """Looks at four random points per step, and keeps a copy of all it proposed."""

    proposed: list[torch.Tensor] = field(default_factory=list)
    seen: list[Observation] = field(default_factory=list)
    points = 4
    steps = 3

    def start(self, task: Task) -> State:
        return self.propose(task, "start")

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append(seen)
        return self.propose(task, "step")

    def propose(self, task: Task, when: str) -> State:
        x = torch.stack([task.ball.sample(task.noise(f"{when} {q}")) for q in range(4)], 1)
        self.proposed.append(x.clone())
        return State(x)


def test_attacks_may_look_at_several_points_per_step(norm_name):
    victim = cnn_victim(X)
    block, epsilon = block_of(victim, X, IDS), 0.2 * EPSILON[norm_name]
    attack = FourPoints()
    outcome = run_attack(victim, attack, block, norm_name, epsilon, batch_size=4 * N).outcome
    assert not outcome.broken.any()
    points = torch.stack(attack.proposed, 1)  # (n, steps + 1, Q, C, H, W)
    assert points.shape == (N, 4, 4, 1, 8, 9)
    with torch.no_grad():
        z = victim.module(points.flatten(0, 2)).view(N, 16, 4)
    label = block.y[:, None, None].expand(N, 16, 1)
    margins = z.scatter(2, label, -torch.inf).amax(2) - z.gather(2, label)[..., 0]
    torch.testing.assert_close(outcome.margin, margins.amax(1))
    torch.testing.assert_close(outcome.loss[:, 0], margins[:, -4:].amax(1))
    assert outcome.forwards.tolist() == [16] * N
    assert attack.seen[0].logits.shape == (N, 4, 4)
    torch.testing.assert_close(attack.seen[0].logits, z[:, :4])
    torch.testing.assert_close(attack.seen[0].loss, margins[:, :4])
    assert attack.seen[0].gradient is None


def test_attacks_with_several_points_do_not_depend_on_batches(norm_name):
    victim = cnn_victim(X)
    block, epsilon = block_of(victim, X, IDS), 2 * EPSILON[norm_name]
    first = run_attack(victim, FourPoints(), block, norm_name, epsilon, batch_size=1).outcome
    assert 0 < int(first.broken.sum()) < N
    for batch_size in (7, 64, 512):
        again = run_attack(victim, FourPoints(), block, norm_name, epsilon, batch_size=batch_size)
        assert_same(first, again.outcome)


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class TwoGradients:
    """Asks for the gradient at the clean image and at a point beside it."""

    seen: list[Observation] = field(default_factory=list)
    points = 2
    steps = 1
    loss = "margin"

    def start(self, task: Task) -> State:
        return State(torch.stack([task.x, task.ball.project(task.x + 0.01)], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append(seen)
        return state


def test_every_point_has_its_own_gradient():
    victim = cnn_victim(X)
    block, attack = block_of(victim, X), TwoGradients()
    run_attack(victim, attack, block, "linf", 0.01, batch_size=4 * N)
    from auditor.maths.objectives import choose_objective

    for q, x in enumerate((X, (X + 0.01).clamp(max=1))):
        alone = naive(victim).evaluate(x, block.y, choose_objective("margin", 4), gradient=True)
        torch.testing.assert_close(attack.seen[0].gradient[:, q], alone.gradient)


@toy()
@dataclass(frozen=True)
class OneGoodPoint:
    """Of its two points one fools the victim inside the ball, and one even more so outside."""

    points = 2
    steps = 0

    def start(self, task: Task) -> State:
        up = torch.ones_like(task.x)
        far = (task.x + 2 * task.ball.epsilon * up).clamp(max=1)
        return State(torch.stack([far, task.ball.steepest(task.x, up, task.ball.epsilon)], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError


def test_a_rejected_point_does_not_hide_a_good_one_beside_it():
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.5, -0.5], dtype=torch.float64))
    x = torch.full((3, 1, 4, 4), 0.45, dtype=torch.float64)
    run = run_attack(victim, OneGoodPoint(), block_of(victim, x), "linf", 0.1)
    assert run.outcome.broken.all()
