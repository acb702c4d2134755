"""Attacks that aim at classes: at which, with what, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from core_lanes import Aimed
from core_models import Counted, block_of, cnn_victim, linear_victim, run_attack
from core_pool import EPSILON, assert_same, toy
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from torch.nn import functional as F

from auditor.attacking.pool import Block
from auditor.maths.objectives import choose_objective
from auditor.protocols.attack import Observation, State, Task
from auditor.subject.victim import Victim
from auditor.surrogate import naive

N = 10
X, IDS = ALL[:N], ALL_IDS[:N]
TINY = 1e-4


def likeliest(victim: Victim, block: Block, count: int) -> list[list[int]]:
    """For every image its wrong classes, the one with the largest logit first."""
    with torch.no_grad():
        z = victim.module(block.x).tolist()
    return [
        sorted((k for k in range(len(row)) if k != y), key=lambda k: -row[k])[:count]
        for row, y in zip(z, block.y.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("targets", "aims", "batch_size"), [(1, 1, 64), (2, 2, 1), (3, 3, 64), (9, 3, 64)]
)
def test_each_restart_aims_at_the_likeliest_wrong_classes_in_turn(targets, aims, batch_size):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    attack = Aimed(targets=targets, restarts=2, steps=1, images=X)
    run_attack(victim, attack, block, "linf", TINY, batch_size=batch_size)
    expected = likeliest(victim, block, aims)
    for row in range(N):
        # `start` and `step` of every lane.
        lines = [line for line in attack.diary if line.row == row]
        assert [line.target for line in lines] == [k for k in 2 * expected[row] for _ in range(2)]
        assert [line.restart for line in lines] == 2 * aims * [0] + 2 * aims * [1]


def test_an_attack_without_targets_is_given_none():
    victim = cnn_victim(X)
    attack = Aimed(targets=0, restarts=1, steps=1, images=X)
    run_attack(victim, attack, block_of(victim, X), "linf", TINY)
    assert {line.target for line in attack.diary} == {None}
    assert {line.origin for line in attack.diary} == {None}


@pytest.mark.parametrize("targets", [0, 3])
def test_every_lane_has_random_numbers_of_its_own(targets):
    victim = cnn_victim(X)
    attack = Aimed(targets=targets, restarts=2, steps=2, images=X)
    run_attack(victim, attack, block_of(victim, X, IDS), "linf", TINY)
    numbers = [line.noise for line in attack.diary]
    assert len(numbers) == N * 2 * max(1, targets) * 3
    assert len(set(numbers)) == len(numbers)


def test_random_numbers_are_those_of_image_target_restart_and_step():
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(2))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    first, again = (Aimed(restarts=2, steps=1, images=X) for _ in range(2))
    run_attack(victim, first, block, "linf", TINY, batch_size=64)
    run_attack(victim, again, shuffled, "linf", TINY, batch_size=5)
    for row in range(N):
        one, other = ([line for line in of.diary if line.row == row] for of in (first, again))
        assert [line.noise for line in one] == [line.noise for line in other]


def targeted_loss(name: str, z: torch.Tensor, y: torch.Tensor, target: torch.Tensor):
    """The published formulas, for one image at a time."""
    losses = []
    for row, label, aim in zip(z, y.tolist(), target.tolist(), strict=True):
        p, ordered = row.softmax(0), row.sort(descending=True).values
        losses.append(
            {
                "cross-entropy": lambda row=row, aim=aim: F.log_softmax(row, 0)[aim],
                "margin": lambda row=row, aim=aim, label=label: row[aim] - row[label],
                "probability-margin": lambda p=p, aim=aim, label=label: p[aim] - p[label],
                "dlr": lambda row=row, o=ordered, aim=aim, label=label: (
                    (row[aim] - row[label]) / (o[0] - (o[2] + o[3]) / 2)
                ),
            }[name]()
        )
    return torch.stack(losses)


@pytest.mark.parametrize("loss", ["cross-entropy", "margin", "probability-margin", "dlr"])
def test_loss_and_gradient_are_those_of_the_target(loss):
    victim = cnn_victim(X)
    block = block_of(victim, X)
    attack = Aimed(loss=loss, restarts=1, steps=1, images=X)
    run_attack(victim, attack, block, "linf", TINY)
    assert len(attack.seen) >= 3
    for task, state, seen in attack.seen:
        x = state.x.clone().requires_grad_()
        expected = targeted_loss(loss, victim.module(x), task.y, task.target)
        (slope,) = torch.autograd.grad(expected.sum(), x)
        torch.testing.assert_close(seen.loss, expected.detach())
        torch.testing.assert_close(seen.gradient, slope)


def test_the_loss_of_a_restart_is_the_largest_of_its_targets():
    victim = cnn_victim(X)
    block = block_of(victim, X)
    attack = Aimed(restarts=2, steps=2, images=X)
    outcome = run_attack(victim, attack, block, "linf", TINY).outcome
    assert not outcome.broken.any()
    for row in range(N):
        last = [line for line in attack.diary if line.row == row][2::3]
        with torch.no_grad():
            z = victim.module(torch.stack([line.x for line in last]))
        y = int(block.y[row])
        losses = [float(z[i, line.target] - z[i, y]) for i, line in enumerate(last)]
        expected = [max(losses[:3]), max(losses[3:])]
        assert outcome.loss[row].tolist() == pytest.approx(expected)


@toy()
@dataclass(frozen=True)
class FixedPoint:
    """Proposes one image, whatever class it is to aim at."""

    value: float
    aims: list[int] = field(default_factory=list)
    targets = 2
    steps = 0

    def start(self, task: Task) -> State:
        self.aims.extend(task.target.tolist())
        return State(torch.full_like(task.x, self.value))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError


def test_any_wrong_class_is_a_success_whichever_was_aimed_at():
    """One pixel: class 0 wins below 1/2, class 1 above; class 2 is likelier when it is dark."""
    W = torch.tensor([[-1.0], [1.0], [-1.0]], dtype=torch.float64)
    victim = linear_victim(W, torch.tensor([1.0, 0.0, 0.9], dtype=torch.float64))
    block = block_of(victim, torch.full((2, 1, 1, 1), 0.4, dtype=torch.float64))
    attack = FixedPoint(0.7)
    outcome = run_attack(victim, attack, block, "linf", 0.4).outcome
    assert attack.aims == [2, 2], "the first target has sufficed"
    assert outcome.broken.all()
    assert outcome.prediction.tolist() == [1, 1]
    assert outcome.margin.tolist() == pytest.approx([0.7 - 0.3] * 2)


def test_neither_batch_size_nor_order_changes_what_happens_to_an_image(norm_name):
    victim = cnn_victim(X)
    block, attack = block_of(victim, X, IDS), Aimed()
    first = run_attack(victim, attack, block, norm_name, EPSILON[norm_name], batch_size=1)
    assert 0 < int(first.outcome.broken.sum()) < N
    again = run_attack(victim, attack, block, norm_name, EPSILON[norm_name], batch_size=64)
    assert_same(first.outcome, again.outcome)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, attack, shuffled, norm_name, EPSILON[norm_name], batch_size=5)
    assert_same(first.outcome, again.outcome, order)


def test_a_later_target_breaks_what_the_likeliest_cannot():
    """Class 1 is the likeliest rival and stays 0.1 behind; class 2 wins where it is bright."""
    W = torch.zeros(3, 16, dtype=torch.float64)
    W[2] = 1.2 / 16
    victim = linear_victim(W, torch.tensor([1.0, 0.9, 0.0], dtype=torch.float64))
    block = block_of(victim, torch.full((3, 1, 4, 4), 0.4, dtype=torch.float64))
    assert block.y.tolist() == [0] * 3
    one, two = (
        run_attack(victim, Aimed(targets=t), block, "linf", 0.45).outcome for t in (1, 2)
    )  # fmt: skip
    assert one.broken.tolist() == [False] * 3
    assert two.broken.tolist() == [True] * 3
    assert two.prediction.tolist() == [2] * 3


@pytest.mark.parametrize("batch_size", [1, 7])
def test_passes_reported_are_passes_made(batch_size):
    counted = Counted(cnn_victim(X).module)
    victim = Victim("counted", counted, precision=torch.float64)
    block, attack = block_of(victim, X, IDS), Aimed()
    counted.forwards = -1  # the helper below asks once for the number of classes
    outcome = run_attack(
        victim, attack, block, "linf", EPSILON["linf"], batch_size=batch_size
    ).outcome
    assert 0 < int(outcome.broken.sum()) < N
    assert counted.forwards == int(outcome.forwards.sum())
    assert counted.backwards == int(outcome.backwards.sum())
    # An image that withstands: its clean logits, and steps + 1 points of every lane.
    withstood = outcome.forwards[~outcome.broken]
    assert set(withstood.tolist()) == {1 + 2 * 3 * (attack.steps + 1)}


@toy()
@dataclass(frozen=True)
class ThreePoints:
    """Three points a step, one class aimed at."""

    seen: list[tuple[Task, torch.Tensor, Observation]] = field(default_factory=list)
    points = 3
    targets = 2
    loss = "margin"
    steps = 1

    def start(self, task: Task) -> State:
        return State(torch.stack([task.ball.sample(task.noise(str(q))) for q in range(3)], 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.seen.append((task, state.x.clone(), seen))
        return state


def test_all_points_of_a_lane_aim_at_its_target():
    victim = cnn_victim(X)
    attack = ThreePoints()
    run_attack(victim, attack, block_of(victim, X), "linf", TINY, batch_size=30)
    for task, x, seen in attack.seen:
        for lane in range(len(x)):
            with torch.no_grad():
                z = victim.module(x[lane])
            expected = z[:, task.target[lane]] - z[:, task.y[lane]]
            torch.testing.assert_close(seen.loss[lane], expected)


def test_what_is_differentiated_is_the_objective_of_each_images_target():
    """On its own, without an attack: other targets in one batch do not mix."""
    victim, objective = cnn_victim(X), choose_objective("dlr", 4, targeted=True)
    y = torch.arange(N) % 4
    target = (y + 1 + torch.arange(N) // 4) % 4
    together = naive(victim).evaluate(X, y, objective, gradient=True, target=target)
    for row in range(0, N, 3):
        part = slice(row, row + 1)
        alone = naive(victim).evaluate(
            X[part], y[part], objective, gradient=True, target=target[part]
        )
        torch.testing.assert_close(alone.gradient[0], together.gradient[row])
