"""Square beside known optima and random points, image by image, and on random models."""

from __future__ import annotations

import pytest
import torch
from auditor_plugins.noise import Noise as RandomPoints
from auditor_plugins.square import CHUNK, Square
from core_linear import SHAPES, clean, dominated, optimum, relative_to_the_gain, safe_radius
from core_models import NORM, block_of, cnn_victim, linear_victim, normal, run_attack
from core_pool import EPSILON, IDS, X, assert_same
from core_reference import best_gain
from core_square import images, noise_of, path, task_of
from pydantic import ValidationError
from torch import nn

from auditor.attacking.pool import Block
from auditor.maths.norms import Ball
from auditor.protocols.attack import Observation, spec_of
from auditor.subject.victim import Victim

# --- How far it comes


@pytest.mark.parametrize(
    ("shape", "place"), list(zip(SHAPES, ("inside", "at the box"), strict=True))
)
def test_linf_comes_close_to_the_optimum_of_a_linear_model(shape, place):
    x, radius = clean(shape, place), safe_radius("linf", place)
    victim, y = dominated(3, x, radius, "linf")
    block = Block(x, y, torch.arange(len(x)))
    attack = Square(queries=500, rescale=True)
    outcome = run_attack(victim, attack, block, "linf", radius).outcome
    best = optimum(victim, x, y, radius, "linf")
    gap = relative_to_the_gain(victim, block, outcome.margin.numpy(), best)
    assert (gap >= -1e-9).all()
    assert (gap <= 0.05).all()
    assert outcome.forwards.tolist() == [500] * len(x)


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 1.0), ("l1", 4.0)])
def test_l2_and_l1_are_far_ahead_of_random_points_on_a_smooth_linear_model(norm, epsilon):
    x = images((1, 16, 16), "inside")
    patches = normal(1, 1, 4, 4, seed=7)
    slope = nn.functional.interpolate(patches, (16, 16), mode="bicubic").flatten()
    bias = 1e3 * torch.tensor([1.0, 0.0], dtype=torch.float64)
    victim = linear_victim(torch.stack([0 * slope, slope]), bias)
    block = Block(x, torch.zeros(6, dtype=torch.int64), torch.arange(6))
    before = x.flatten(1) @ slope - 1e3
    best = [best_gain(slope.numpy(), one.numpy(), epsilon, norm) for one in x]
    gain, other = (
        (run_attack(victim, one, block, norm, epsilon).outcome.margin - before).numpy() / best
        for one in (Square(queries=150), RandomPoints(samples=150))
    )
    assert (gain <= 1 + 1e-9).all()
    assert (gain > other).all()
    assert gain.mean() > 1.5 * other.mean()


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_two_pixels_are_searched_through(norm):
    """In l-infinity four corners, in l1 a pixel and a sign; the best, by brute force."""
    x, epsilon = images((1, 1, 2), "inside", count=8), 0.1
    weights = normal(2, 2, seed=6)
    weights[0] = 0
    victim = linear_victim(weights, torch.tensor([5.0, 0.0], dtype=torch.float64))
    ends = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    ends = [e for e in ends if (abs(e[0]) + abs(e[1]) == 1 if norm == "l1" else all(e))]
    moves = epsilon * torch.tensor(ends, dtype=torch.float64)
    best = ((x.flatten(1)[:, None] + moves) @ weights[1] - 5).amax(1)
    block = Block(x, torch.zeros(8, dtype=torch.int64), torch.arange(8))
    outcome = run_attack(victim, Square(queries=80), block, norm, epsilon).outcome
    torch.testing.assert_close(outcome.margin, best, rtol=0, atol=1e-9)


# --- Each image on its own


@pytest.mark.parametrize(("restarts", "eot"), [(2, 1), (1, 2)])
def test_neither_batch_size_nor_order_changes_what_happens_to_an_image(norm_name, restarts, eot):
    x, ids = X[:10], IDS[:10]
    victim = cnn_victim(X)
    block = block_of(victim, x, ids)
    epsilon = EPSILON[norm_name]
    attack = Square(queries=CHUNK + 6, restarts=restarts, eot=eot)
    first = run_attack(victim, attack, block, norm_name, epsilon, batch_size=10)
    assert 0 < int(first.outcome.broken.sum()) < 10
    order = torch.randperm(10, generator=torch.Generator().manual_seed(5))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, attack, shuffled, norm_name, epsilon, batch_size=4)
    assert_same(first.outcome, again.outcome, order)


def test_starts_at_the_origin_where_there_is_one(norm_name):
    x = images((1, 5, 9))
    origin = Ball(NORM[norm_name], 0.1, x).sample(noise_of(6))
    state = Square().start(task_of(x, norm_name, origin=origin))
    assert torch.equal(state.x, origin)


@pytest.mark.parametrize("ahead", [3, CHUNK])
def test_looking_ahead_is_the_same_search_in_fewer_steps(norm_name, ahead):
    """Point for point: all that became the best one, in turn, and nothing after the last query."""
    x, queries = images((2, 7, 9)), 2 * CHUNK + 10
    one, many = (
        path(Square(queries=queries, rescale=True, ahead=each), x, norm_name, 0.1)
        for each in (1, ahead)
    )
    for image in range(len(x)):
        first, second = (
            torch.stack([state.loss[image] for state in states]).unique() for states in (one, many)
        )
        assert len(first) > 5
        torch.testing.assert_close(first, second, rtol=1e-12, atol=0)
    torch.testing.assert_close(one[-1].best, many[-1].best, rtol=1e-12, atol=1e-12)
    assert torch.equal(one[-1].query, many[-1].query.clamp(max=queries - 1))
    assert len(many) < 0.9 * len(one)


def test_what_is_looked_at_ahead_is_claimed_and_counted(norm_name):
    x, ids = X[:10], IDS[:10]
    victim = cnn_victim(X)
    block, epsilon = block_of(victim, x, ids), EPSILON[norm_name]
    one, many = (
        run_attack(victim, Square(queries=40, ahead=each), block, norm_name, epsilon).outcome
        for each in (1, 4)
    )
    assert 0 < int(one.broken.sum()) < 10
    assert not (one.broken & ~many.broken).any()
    withstood = ~many.broken
    # Sums of batches of other sizes are rounded otherwise.
    assert (many.margin >= one.margin - 1e-12)[withstood].all()
    assert (many.forwards[withstood] % 4 == 0).all()
    assert (many.forwards[withstood] >= 40).all()


def test_queries_cannot_be_looked_ahead_at_where_each_is_averaged():
    with pytest.raises(ValueError, match="ahead has to be 1"):
        spec_of(Square).build({"eot": 2, "ahead": 2})


def test_scores_that_are_no_numbers_are_never_kept():
    x, nan = images((1, 5, 9)), torch.full((6,), torch.nan, dtype=torch.float64)
    attack = Square()
    start = attack.start(task_of(x))
    state = attack.step(task_of(x, step=1), start, Observation(nan, nan, None))
    state = attack.step(task_of(x, step=2), state, Observation(nan, nan + 1, None))
    assert torch.equal(state.best, start.x)
    state = attack.step(task_of(x, step=3), state, Observation(nan, 0 * nan.nan_to_num() - 5, None))
    assert state.loss.tolist() == [-5.0] * 6


def test_parts_of_an_image_lie_between_0_and_1():
    build = spec_of(Square).build
    assert build({"p_init": 1.0}).p_init == 1
    for wrong in (0.0, 1.1):
        with pytest.raises(ValidationError):
            build({"p_init": wrong})


# --- Models whose answers vary


def test_with_eot_two_losses_decide():
    """The start counts at once; three points look better, and one is better in the mean."""
    x, attack = images((1, 5, 9), count=3), Square(eot=2)
    state = attack.start(task_of(x))
    losses = [(0.0, 0.0, 0.0), (1.0, 1.0, -1.0), (-0.5, -3.0, 2.0), (0.0, 0.0, 0.1)]
    states = [state]
    for step, row in enumerate(losses):
        loss = torch.tensor(row, dtype=torch.float64)
        states.append(
            attack.step(task_of(x, step=step + 1), states[-1], Observation(loss, loss, None))
        )
    assert torch.equal(states[2].x[:2], states[1].x[:2]), "evaluated again"
    assert not torch.equal(states[2].x[2], states[1].x[2])
    assert states[3].loss.tolist() == [0.25, 0.0, 0.0]
    assert torch.equal(states[3].best[0], states[1].x[0])
    assert torch.equal(states[3].best[1:], states[0].x[1:])
    assert torch.equal(states[4].best[2], states[2].x[2])
    assert states[4].loss[2].item() == pytest.approx(1.05)


class Trembling(nn.Module):
    """A linear model that adds noise to its logits."""

    def __init__(self, weights: torch.Tensor, lead: torch.Tensor) -> None:
        super().__init__()
        self.weights, self.lead = nn.Parameter(weights), nn.Parameter(lead)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = x.flatten(1) @ self.weights
        z = torch.stack([self.lead.expand(len(x)), other], 1)
        return z + 0.3 * torch.randn_like(z)


def test_random_models_are_broken_and_each_query_is_averaged():
    x, weights = images((1, 5, 9), "inside", count=8), normal(45, seed=3)
    lead = (x.flatten(1) @ weights).max() + 2
    victim = Victim("trembling", Trembling(weights, lead), precision=torch.float64)
    victim.draws = 20
    block = Block(x, torch.zeros(8, dtype=torch.int64), torch.arange(8))
    low, high = (
        run_attack(victim, Square(queries=60, eot=4), block, "linf", epsilon).outcome
        for epsilon in (0.001, 0.4)
    )
    assert not low.broken.any()
    assert low.forwards.tolist() == [4 * 60] * 8
    assert high.broken.all()
