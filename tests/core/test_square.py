"""Square: its schedule, every proposal, known optima, random points beside it, random models."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from auditor_plugins.noise import Noise as RandomPoints
from auditor_plugins.square import AHEAD, Search, Square
from auditor_plugins.square.bumps import bump, sharpened
from auditor_plugins.square.windows import Schedule, drawn, sides
from core_linear import SHAPES, clean, dominated, optimum, relative_to_the_gain, safe_radius
from core_models import (
    NORM,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from core_pool import EPSILON, IDS, X, assert_same
from core_reference import best_gain
from pydantic import ValidationError
from torch import nn

from auditor.attack import Observation, Task, spec_of
from auditor.engine.pool import Block
from auditor.randomness import Noise
from auditor.threat import Ball
from auditor.victim import Victim

#: Wide, tall, one row, one pixel, and smaller than the smallest window of l2; 1, 3 and 5 channels.
ODD_SHAPES = [(1, 5, 9), (3, 8, 4), (5, 1, 6), (3, 1, 1), (1, 2, 2)]


def noise_of(count: int, step=0) -> Noise:
    image = torch.arange(count)
    steps = torch.zeros_like(image) + step
    return Noise(0, ("test",), image, torch.zeros_like(image), steps, torch.float64)


def task_of(x, norm="linf", epsilon=0.1, step=0, origin=None) -> Task:
    noise = replace(noise_of(len(x), step), dtype=x.dtype)
    y = torch.zeros(len(x), dtype=torch.int64)
    return Task(
        x, y, Ball(NORM[norm], epsilon, x), (noise.step - 1).clamp(min=0), noise, origin=origin
    )


def path(attack: Square, x, norm: str, epsilon: float) -> list[Search]:
    """The states of a whole search for a linear function, whose best point often changes."""
    weights = normal(*x.shape[1:], seed=9, dtype=x.dtype)
    states = [attack.start(task_of(x, norm, epsilon))]
    for step in range(attack.steps):
        loss = (states[-1].x * weights).flatten(1).sum(1)
        task = task_of(x, norm, epsilon, step + 1)
        states.append(attack.step(task, states[-1], Observation(loss[:, None], loss, None)))
    return states


def images(shape, place="at the box", count=6) -> torch.Tensor:
    x = uniform(count, *shape, seed=4)
    return (2 * x - 0.5).clamp(0, 1) if place == "at the box" else 0.3 + 0.4 * x


# --- The schedule


def test_sides_follow_the_papers_schedule():
    """round(sqrt(p 28 28)) with p = 0.8, 0.4, ...; in l2 at least 3 and odd."""
    assert sides(0.8, 28, 28, least=1) == (25, 18, 13, 9, 6, 4, 3, 2, 2, 1)
    assert sides(0.8, 28, 28, least=3) == (25, 19, 13, 9, 7, 5, 3, 3, 3, 3)
    assert sides(1.0, 4, 100, least=1)[0] == 4
    assert set(sides(0.8, 2, 9, least=3)) == {2}


def test_p_is_halved_after_the_papers_iterations():
    bounds = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
    published = [sum(i > bound for bound in bounds) for i in range(9001)]
    assert Schedule((1,) * 10).stage(torch.arange(9001)).tolist() == published
    rescaled = [published[int(i / 1000 * 10000)] for i in range(900)]
    assert Schedule((1,) * 10, 1000).stage(torch.arange(900)).tolist() == rescaled


def test_the_attack_uses_the_schedule_and_queries_counts_points():
    x = images((1, 28, 28), "inside")
    for rescale, step, side in ((False, 300, 9), (True, 300, 3), (True, 999, 1)):
        attack = Square(queries=1000, rescale=rescale)
        assert attack.steps == 999
        state = attack.start(task_of(x))
        for now in (step - step % AHEAD, step):
            loss = torch.zeros(6, dtype=x.dtype)
            state = attack.step(task_of(x, step=now + 1), state, Observation(loss, loss, None))
        changed = (state.x != state.best).flatten(1).sum(1)
        assert changed.max() <= side**2
        assert changed.double().mean() > side**2 / 4


# --- What is proposed


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("shape", ODD_SHAPES, ids=str)
def test_every_proposal_is_in_ball_and_box(norm_name, shape, place):
    x, epsilon = images(shape, place).float(), {"linf": 0.15, "l2": 0.6, "l1": 1.5}[norm_name]
    ball = Ball(NORM[norm_name], epsilon, x)
    for state in path(Square(queries=80, rescale=True), x, norm_name, epsilon):
        in_box, in_ball = ball.contains(state.x)
        assert in_box.all()
        assert in_ball.all()


@pytest.mark.parametrize("shape", ODD_SHAPES, ids=str)
def test_linf_changes_something_each_time_in_one_square_to_one_colour(shape):
    x = images(shape)
    for state in path(Square(queries=100, rescale=True), x, "linf", 0.15)[1:]:
        for new, old, image in zip(state.x, state.best, x, strict=True):
            changed = new != old
            rows, columns = changed.any(0).nonzero().unbind(1)
            assert len(rows)
            high, wide = (int(i.max() - i.min()) + 1 for i in (rows, columns))
            assert max(high, wide) <= min(max(round((0.8 * x[0, 0].numel()) ** 0.5), 1), *shape[1:])
            for channel in range(shape[0]):
                at = changed[channel]
                low, top = ((image[channel] + e).clamp(0, 1)[at] for e in (-0.15, 0.15))
                assert torch.equal(new[channel][at], low) or torch.equal(new[channel][at], top)


@pytest.mark.parametrize("side", [1, 3])
def test_squares_lie_anywhere_the_last_row_and_column_included(side):
    queries = torch.full((4, 500), side)
    begin, signs = drawn(noise_of(4), queries, 1, 1, 5, 7)
    places = [row * 7 + column for row in range(6 - side) for column in range(8 - side)]
    for image in begin:
        counts = torch.bincount(image.flatten(), minlength=35)
        assert counts.nonzero().flatten().tolist() == places
        expected = 500 / len(places)
        assert ((counts[places] - expected).square() / expected).sum() < 3 * len(places)
    assert not torch.equal(begin[0], begin[1])
    assert abs(signs.mean()) < 0.1


def test_random_numbers_are_drawn_ahead_and_do_not_repeat():
    x = images((1, 8, 9), count=2)
    states = path(Square(queries=3 * AHEAD), x, "linf", 0.1)[1:]
    drawn_at = [states[now] for now in (0, AHEAD, 2 * AHEAD)]
    for first, second in pairwise(drawn_at):
        assert not torch.equal(first.begin, second.begin)
        assert not torch.equal(first.signs, second.signs)
    assert torch.equal(states[0].begin, states[AHEAD - 1].begin)
    assert not torch.equal(states[0].begin[0], states[0].begin[1])


# --- Bumps


@pytest.mark.parametrize(("p", "power"), [(2, 2), (1, 4)])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_bumps_are_two_pyramids_of_opposite_signs(side, p, power):
    """Squares around each half's middle; the one of half width k adds 1 / (k + 1)^power."""
    expected = np.zeros((side, side))
    for begin, end, sign in ((0, side // 2, 1), (side // 2, side, -1)):
        half, middle = np.zeros((end - begin, side)), ((end - begin) // 2, side // 2)
        for k in range(max(middle) + 1):
            top, left = (max(m - k, 0) for m in middle)
            half[top : middle[0] + k + 1, left : middle[1] + k + 1] += (k + 1.0) ** -power
        if half.size:
            expected[begin:end] = sign * half / np.linalg.norm(half.ravel(), p)
    expected /= np.linalg.norm(expected.ravel(), p)
    np.testing.assert_allclose(bump(side, p).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("shape", [(1, 9, 7), (3, 5, 8)], ids=str)
def test_all_of_epsilon_is_used_and_moved_between_two_windows(norm, shape):
    x, epsilon = images(shape, "inside"), 0.2
    ball, largest = Ball(NORM[norm], epsilon, x), sides(0.8, *shape[1:], least=3)[0]
    states = path(Square(queries=60), x, norm, epsilon)
    np.testing.assert_allclose(ball.distance(states[0].x), epsilon, rtol=1e-9)
    for state in states[1:]:
        np.testing.assert_allclose(ball.distance(state.x), epsilon, rtol=1e-9)
        assert (state.x != state.best).flatten(2).any(1).sum(1).max() <= 2 * largest**2
    assert any((a.best != b.best).any() for a, b in pairwise(states))


def test_sharpened_is_the_projection_on_box_and_l1_ball():
    change, pixels = normal(6, 2, 9, seed=1), uniform(6, 2, 9, seed=2)
    change[:, :, 7:] = change[:, :, 6:7]  # repetitions
    pixels[:, :, 7:] = pixels[:, :, 6:7]
    once = torch.ones(6, 1, 9, dtype=torch.float64)
    once[:, :, 7:] = 0
    allowed = torch.linspace(0.1, 4, 6, dtype=torch.float64)[:, None]
    found = sharpened(change, pixels, once, allowed)
    assert torch.equal(found[:, :, 7], found[:, :, 6])
    enlarged = (3 * change).clamp(-pixels, 1 - pixels)
    for row in range(6):
        size = enlarged[row, :, :7].abs()
        low, high = 0.0, 3.0
        for _ in range(60):
            middle = (low + high) / 2
            over = (size - middle).clamp(min=0).sum() > allowed[row]
            low, high = (middle, high) if over else (low, middle)
        expected = enlarged[row, :, :7].sign() * (size - high).clamp(min=0)
        torch.testing.assert_close(found[row, :, :7], expected)


def test_a_wide_change_is_sharpened_to_what_is_allowed():
    change, pixels = torch.full((1, 1, 400), 0.01), torch.full((1, 1, 400), 0.5)
    found = sharpened(change, pixels, torch.ones(1, 1, 400), torch.tensor([[2.0]]))
    assert found.sum().item() == pytest.approx(2, rel=1e-5)


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
    attack = Square(queries=AHEAD + 6, restarts=restarts, eot=eot)
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
