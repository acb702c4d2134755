"""Attacks that look for the smallest perturbation: what is recorded, verified, and rejected.

The model of these tests answers 0 while the mean pixel is below 1/2, and the attack visits images
of one grey each, so that distances are known: the change of a pixel in l-infinity, times the root
of the number of pixels in l2, times their number in l1.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from core_lanes import margins
from core_models import Counted, block_of, cnn_victim, linear_victim, run_attack
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from core_pool import assert_same, toy
from torch import nn

from auditor.attacking.lanes import Lanes
from auditor.attacking.outcome import TRUSTS, Block, Outcome
from auditor.attacking.verify import Verification
from auditor.protocols.attack import GRADIENT, Observation, State, Task
from auditor.subject.victim import Victim
from auditor.surrogate import naive

PIXELS = 16
UNIT = {"linf": 1.0, "l2": PIXELS**0.5, "l1": float(PIXELS)}
W = torch.cat([-torch.ones(1, PIXELS), torch.ones(1, PIXELS)]).double() / PIXELS


def boundary_at(mean: float) -> Victim:
    return linear_victim(W, torch.tensor([mean, -mean], dtype=torch.float64))


def dark(count: int = 3) -> Block:
    x = torch.full((count, 1, 4, 4), 0.3, dtype=torch.float64)
    return Block(x, torch.zeros(count, dtype=torch.int64), torch.arange(count))


@toy()
@dataclass(frozen=True)
class Visits:
    """Clean images, brighter by one shift after the other."""

    shifts: tuple[float, ...]
    minimise: bool = True
    minimises: bool = True
    restarts: int = 1

    @property
    def steps(self) -> int:
        return len(self.shifts) - 1

    def start(self, task: Task) -> State:
        return State(task.x + self.shifts[0])

    def step(self, task: Task, state: State, seen: Observation) -> State:
        shift = torch.tensor(self.shifts, dtype=task.x.dtype)[task.step + 1]
        return State(task.x + shift.view(-1, 1, 1, 1))


#: 0.2 and more is adversarial; the nearest of these is at 0.24.
SHIFTS = (0.5, 0.3, 0.1, 0.24, 0.27, 0.05, 0.26)


@pytest.mark.parametrize("batch_size", [1, 2, 64])
@pytest.mark.parametrize(("epsilon", "inside"), [(0.28, True), (0.22, False), (0.04, False)])
def test_the_nearest_example_is_recorded_inside_the_ball_or_not(
    norm_name, epsilon, inside, batch_size
):
    unit = UNIT[norm_name]
    run = run_attack(
        boundary_at(0.5), Visits(SHIFTS), dark(), norm_name, epsilon * unit, batch_size=batch_size
    )
    outcome = run.outcome
    assert outcome.nearest.tolist() == pytest.approx([0.24 * unit] * 3)
    assert outcome.broken.tolist() == [inside] * 3
    assert run.verifier.rejected == {}, "nobody claimed that they lie in the ball"
    if inside:
        assert outcome.distance.tolist() == pytest.approx([0.24 * unit] * 3)
        torch.testing.assert_close(outcome.adversarial, dark().x + 0.24)
        assert outcome.margin.tolist() == pytest.approx([0.08] * 3)
        assert outcome.prediction.tolist() == [1] * 3
    else:
        assert outcome.distance.isnan().all()
        assert torch.equal(outcome.adversarial, dark().x)


def test_the_same_points_of_an_attack_that_does_not_minimise_are_rejected():
    run = run_attack(boundary_at(0.5), Visits((0.5, 0.3), False, False), dark(), "linf", 0.22)
    assert not run.outcome.broken.any()
    assert run.verifier.rejected == {"outside the ball": 6}


@pytest.mark.parametrize(
    ("shifts", "stops_at", "looks"),
    [
        ((0.27, 0.24, 0.21), 0.27, 1),
        ((0.5, 0.27, 0.21), 0.27, 2),
        ((0.1, 0.5, 0.4, 0.21), 0.21, 4),
    ],
)
def test_unless_it_minimises_it_stops_at_the_first_success_inside(shifts, stops_at, looks):
    run = run_attack(boundary_at(0.5), Visits(shifts, minimise=False), dark(), "linf", 0.28)
    outcome = run.outcome
    assert outcome.broken.all()
    assert outcome.distance.tolist() == pytest.approx([stops_at] * 3)
    assert outcome.nearest.tolist() == pytest.approx([stops_at] * 3)
    # Its looks, and one verification: the image and its 8-bit version.
    assert outcome.forwards.tolist() == [looks + 2] * 3
    assert run.verifier.rejected == {}


def test_if_it_minimises_it_goes_on_to_the_end_and_starts_again():
    counted = Counted(boundary_at(0.5).module)
    victim = Victim("counted", counted, precision=torch.float64)
    counted.forwards = -1
    run = run_attack(victim, Visits((0.27, 0.24, 0.21), restarts=2), dark(), "linf", 0.28)
    outcome = run.outcome
    assert outcome.broken.all()
    assert outcome.distance.tolist() == pytest.approx([0.21] * 3)
    assert counted.forwards == int(outcome.forwards.sum())
    # All points of both restarts; the first example and the nearest are verified, once each.
    assert outcome.forwards.tolist() == [2 * 3 + 2 * 2] * 3


def test_an_example_gives_way_only_to_a_nearer_one():
    """Once with the nearest first, once with it last, once in the second restart."""
    for shifts in ((0.21, 0.24, 0.27), (0.27, 0.24, 0.21), (0.24, 0.21, 0.27)):
        outcome = run_attack(
            boundary_at(0.5), Visits(shifts, restarts=2), dark(), "linf", 0.28
        ).outcome
        assert outcome.distance.tolist() == pytest.approx([0.21] * 3)
        torch.testing.assert_close(outcome.adversarial, dark().x + 0.21)


@pytest.mark.parametrize("epsilon", [0.3, 0.1])
def test_what_the_victim_does_not_confirm_is_not_recorded(epsilon):
    """The surrogate believes in a boundary 0.15 away, the victim in one 0.2 away."""
    run = run_attack(
        boundary_at(0.5), Visits((0.1, 0.17)), dark(), "linf", epsilon,
        surrogate=naive(boundary_at(0.45)),
    )  # fmt: skip
    assert not run.outcome.broken.any()
    assert run.outcome.nearest.tolist() == [torch.inf] * 3
    assert run.verifier.rejected == {"not confirmed by the victim": 3}


def test_a_claim_that_fails_does_not_hide_a_confirmed_example():
    run = run_attack(
        boundary_at(0.5), Visits((0.25, 0.17)), dark(), "linf", 0.3,
        surrogate=naive(boundary_at(0.45)),
    )  # fmt: skip
    assert run.outcome.broken.all()
    assert run.outcome.nearest.tolist() == pytest.approx([0.25] * 3)
    assert run.outcome.distance.tolist() == pytest.approx([0.25] * 3)
    torch.testing.assert_close(run.outcome.adversarial, dark().x + 0.25)


def test_an_image_outside_the_box_is_no_example_however_near():
    """White from 0.3 on; the model that answers 1 above 0.9 is first fooled at 0.65."""
    run = run_attack(boundary_at(0.9), Visits((0.65, 0.72)), dark(), "linf", 0.8)
    assert run.outcome.nearest.tolist() == pytest.approx([0.65] * 3)
    run = run_attack(boundary_at(0.9), Visits((0.72, 0.75)), dark(), "linf", 0.8)
    assert run.outcome.nearest.tolist() == [torch.inf] * 3
    assert not run.outcome.broken.any()


@toy()
@dataclass(frozen=True)
class OnePixelBelowBlack:
    """0.25 brighter but for one pixel outside the box, 0.31 away; then 0.4 brighter."""

    minimises = True
    steps = 1

    def start(self, task: Task) -> State:
        x = task.x + 0.25
        x[:, 0, 0, 0] = -0.01
        return State(x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return State(task.x + 0.4)


@pytest.mark.parametrize("epsilon", [0.5, 0.35, 0.1])
def test_an_image_outside_the_box_does_not_hide_one_inside(epsilon):
    run = run_attack(boundary_at(0.5), OnePixelBelowBlack(), dark(), "linf", epsilon)
    assert run.outcome.nearest.tolist() == pytest.approx([0.4] * 3)
    assert run.outcome.broken.tolist() == [epsilon > 0.4] * 3
    assert run.verifier.rejected == {}, "it claims nothing of the box"


class NanAbove(nn.Module):
    """Answers 0, and nothing at all where the mean pixel is above 1/2."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        z = torch.stack([torch.ones_like(mean), torch.zeros_like(mean)], 1)
        return torch.where(mean[:, None] > 0.5, torch.nan, z)


@pytest.mark.parametrize("epsilon", [0.25, 0.1])
def test_no_answer_is_an_example_too(epsilon):
    victim = Victim("nan", NanAbove(), precision=torch.float64)
    outcome = run_attack(victim, Visits((0.1, 0.3, 0.22)), dark(), "linf", epsilon).outcome
    assert outcome.nearest.tolist() == pytest.approx([0.22] * 3)
    assert outcome.broken.tolist() == [epsilon > 0.22] * 3


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class Shrinking:
    """A step across the boundary, then half of the way back; aims at two classes."""

    minimise: bool = True
    minimises = True
    targets = 2
    steps = 6

    def start(self, task: Task) -> State:
        return State(task.ball.sample(task.noise("start")))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        on = task.ball.steepest(state.x, seen.gradient, 0.6 * task.ball.epsilon)
        back = (state.x + task.x) / 2
        return State(torch.where((seen.loss > 0).view(-1, 1, 1, 1), back, on))


@pytest.mark.parametrize("minimise", [True, False])
def test_neither_batch_size_nor_order_changes_what_is_found(norm_name, minimise):
    n = 8
    x, ids = ALL[:n], ALL_IDS[:n]
    victim = cnn_victim(x)
    block = block_of(victim, x, ids)
    epsilon = {"linf": 0.02, "l2": 0.15, "l1": 1.0}[norm_name]
    attack = Shrinking(minimise)
    first = run_attack(victim, attack, block, norm_name, epsilon, batch_size=1)
    assert 0 < int(first.outcome.broken.sum()) < n
    outside = first.outcome.nearest.isfinite() & ~first.outcome.broken
    assert outside.any(), "the comparison needs examples outside the ball"
    order = torch.randperm(n, generator=torch.Generator().manual_seed(4))
    for rows, batch_size in ((torch.arange(n), 64), (order, 5)):
        shuffled = Block(block.x[rows], block.y[rows], block.image[rows])
        again = run_attack(victim, attack, shuffled, norm_name, epsilon, batch_size=batch_size)
        assert_same(first.outcome, again.outcome, rows)
        torch.testing.assert_close(again.outcome.nearest, first.outcome.nearest[rows])
        assert again.verifier.rejected == first.verifier.rejected
    _assert_examples(victim, block, first.outcome, norm_name, epsilon)


def _assert_examples(victim, block, outcome, norm_name, epsilon):
    """Recomputed from the tensors alone."""
    fell = outcome.broken
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm_name]
    delta = (outcome.adversarial - block.x)[fell].flatten(1)
    distance = torch.linalg.vector_norm(delta, order, dim=1)
    torch.testing.assert_close(outcome.distance[fell], distance)
    torch.testing.assert_close(outcome.nearest[fell], distance)
    assert (outcome.nearest[~fell] > epsilon).all()
    assert (distance <= epsilon * (1 + 1e-9)).all()
    reached = margins(victim.module, outcome.adversarial[fell], block.y[fell])
    assert min(reached) >= 0
    assert outcome.margin[fell].tolist() == pytest.approx(reached)


@toy()
@dataclass(frozen=True)
class AsTheTargetSays:
    """Aimed at class 1 or 2, it looks at one grey or another."""

    shifts: tuple[float, float]
    minimises = True
    targets = 2
    steps = 0

    def start(self, task: Task) -> State:
        shift = torch.tensor(self.shifts, dtype=task.x.dtype)[task.target - 1]
        return State(task.x + shift.view(-1, 1, 1, 1))

    def step(self, task: Task, state: State, seen: Observation) -> State:
        raise AssertionError


@pytest.mark.parametrize("shifts", [(0.27, 0.24), (0.24, 0.27), (0.1, 0.24), (0.24, 0.1)])
@pytest.mark.parametrize("epsilon", [0.3, 0.2])
def test_the_nearest_is_the_least_over_the_targets(shifts, epsilon):
    """A third class never wins, but may be aimed at."""
    victim = linear_victim(
        torch.cat([W, torch.zeros(1, PIXELS).double()]), torch.tensor([0.5, -0.5, -5.0]).double()
    )
    run = run_attack(victim, AsTheTargetSays(shifts), dark(), "linf", epsilon)
    assert run.outcome.nearest.tolist() == pytest.approx([0.24] * 3)
    assert run.outcome.broken.tolist() == [epsilon > 0.24] * 3
    assert run.verifier.rejected == {}


def test_an_image_is_trusted_to_what_broke_it_first_and_shows_its_nearest_example() -> None:
    block, outcome = dark(1), Outcome.empty(dark(1), 0)
    one = torch.zeros(1, dtype=torch.int64)
    far = torch.full((1,), torch.inf, dtype=torch.float64)
    lanes = Lanes(block.x, block.y, block.image, one, one, one, None, one, -far, None, None, None)
    for distance, trust in ((0.2, "cross-entropy"), (0.1, "nothing"), (0.3, "gradient")):
        yes, number = torch.ones(1, dtype=torch.bool), torch.full((1,), distance).double()
        seen = Verification(yes, yes, one + 1, number, number, number, yes, one + 1)
        outcome.note_success(lanes, block.x + distance, seen, trust)
    assert TRUSTS[int(outcome.trust)] == "cross-entropy"
    assert float(outcome.distance) == pytest.approx(0.1)
    assert torch.equal(outcome.adversarial, block.x + 0.1)
