"""What Square proposes: the schedule, squares of l-infinity, bumps of l2 and l1."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from auditor_plugins.square import CHUNK, Square
from auditor_plugins.square.bumps import bump, sharpened
from auditor_plugins.square.windows import Schedule, drawn, sides
from core_models import NORM, normal, uniform
from core_square import ODD_SHAPES, images, noise_of, path, task_of

from auditor.maths.norms import Ball
from auditor.protocols.attack import Observation

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
        start, loss = attack.start(task_of(x)), torch.zeros(6, dtype=x.dtype)
        state = attack.step(task_of(x, step=1), start, Observation(loss, loss, None))
        before = replace(
            state, query=state.query + step - 1, chunks=state.chunks * 0 + step // CHUNK
        )
        state = attack.step(task_of(x, step=2), before, Observation(loss, loss, None))
        assert state.query.tolist() == [step] * 6
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
    states = path(Square(queries=3 * CHUNK), x, "linf", 0.1)[1:]
    drawn_at = [states[now] for now in (0, CHUNK, 2 * CHUNK)]
    for first, second in pairwise(drawn_at):
        assert not torch.equal(first.begin, second.begin)
        assert not torch.equal(first.signs, second.signs)
    assert torch.equal(states[0].begin, states[CHUNK - 1].begin)
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
