"""Balls and boxes: projections, steepest steps, samples, membership, by independent solvers."""

from __future__ import annotations

import core_reference as reference
import numpy as np
import pytest
import torch
from core_models import NORM, normal, uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from auditor.maths.norms import NORMS, Ball, Norm
from auditor.maths.randomness import Noise

SHAPE = (3, 4, 5)
RADII = {"linf": (0.02, 0.3), "l2": (0.3, 2.0), "l1": (0.5, 8.0)}
CASES = [(norm, radius) for norm, radii in RADII.items() for radius in radii]
examples = settings(deadline=None, derandomize=True, max_examples=60)


def clean_images(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Images of which some pixels lie inside the box, and many exactly on its faces."""
    return (1.6 * uniform(count, *SHAPE, seed=seed) - 0.3).clamp(0, 1).to(dtype)


def flat(x: torch.Tensor) -> np.ndarray:
    return x.double().flatten(1).numpy()


def test_the_core_knows_three_norms_and_they_keep_the_protocol():
    assert [norm.name for norm in NORMS] == ["linf", "l2", "l1"]
    assert all(isinstance(norm, Norm) for norm in NORMS)


def test_distance_is_numpys_norm(norm_name):
    x, x0 = uniform(6, *SHAPE, seed=1), uniform(6, *SHAPE, seed=2)
    expected = np.linalg.norm(flat(x) - flat(x0), reference.ORDER[norm_name], axis=1)
    got = NORM[norm_name].distance(x.float(), x0.float())
    assert got.dtype == torch.float64
    np.testing.assert_allclose(NORM[norm_name].distance(x, x0), expected, rtol=1e-12)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


# Projection


@pytest.mark.parametrize(("norm", "radius"), CASES)
@pytest.mark.parametrize("spread", [0.05, 0.5, 4.0])
def test_projection_is_the_lagrangians_solution(norm, radius, spread):
    x0 = clean_images(12)
    x = x0 + spread * normal(12, *SHAPE, seed=3)
    got = flat(NORM[norm].project(x, x0, radius))
    for row, (point, center) in enumerate(zip(flat(x), flat(x0), strict=True)):
        expected = reference.projection(point, center, radius, norm)
        np.testing.assert_allclose(got[row], expected, atol=1e-9)


@pytest.mark.parametrize("norm", RADII)
def test_projection_agrees_with_a_general_solver_in_four_dimensions(norm):
    rng = np.random.default_rng(4)
    for trial in range(12):
        x0 = np.clip(rng.uniform(-0.3, 1.3, 4), 0, 1)
        x = x0 + rng.standard_normal(4)
        radius = (0.1, 0.4, 0.9)[trial % 3]
        expected = reference.projection_by_general_solver(x, x0, radius, norm)
        got = NORM[norm].project(
            torch.from_numpy(x).view(1, 1, 2, 2), torch.from_numpy(x0).view(1, 1, 2, 2), radius
        )
        np.testing.assert_allclose(got.flatten(), expected, atol=2e-5)


@pytest.mark.parametrize(("norm", "radius"), CASES)
def test_no_feasible_point_is_closer_than_the_projection(norm, radius):
    x0 = clean_images(5, seed=5)
    x = x0 + normal(5, *SHAPE, seed=6)
    projected = flat(NORM[norm].project(x, x0, radius))
    rng = np.random.default_rng(7)
    for point, center, nearest in zip(flat(x), flat(x0), projected, strict=True):
        others = reference.random_feasible(rng, center, radius, norm, 2000)
        # Convex combinations with the projection probe its immediate neighbourhood.
        near = nearest + rng.uniform(0, 0.1, (2000, 1)) * (others - nearest)
        for rivals in (others, near):
            closest = np.linalg.norm(rivals - point, axis=1).min()
            assert np.linalg.norm(nearest - point) <= closest + 1e-12


points = st.lists(st.floats(-3, 4), min_size=6, max_size=6)
pixels = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0])), min_size=6, max_size=6)


def image(values: list[float], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype).view(1, 1, 2, 3)


@given(points, pixels, st.floats(1e-3, 4), st.sampled_from(sorted(RADII)))
@examples
def test_projection_lands_inside_and_stays(x, x0, radius, name):
    norm, x, x0 = NORM[name], image(x), image(x0)
    once = norm.project(x, x0, radius)
    assert once.min() >= 0
    assert once.max() <= 1
    assert norm.distance(once, x0).item() <= radius * (1 + 1e-12) + 1e-15
    torch.testing.assert_close(norm.project(once, x0, radius), once, rtol=0, atol=1e-12)


@given(points, points, pixels, st.floats(1e-3, 4), st.sampled_from(sorted(RADII)))
@examples
def test_projection_never_takes_two_points_apart(a, b, x0, radius, name):
    norm, a, b, x0 = NORM[name], image(a), image(b), image(x0)
    between = norm.project(a, x0, radius) - norm.project(b, x0, radius)
    assert between.norm() <= (a - b).norm() + 1e-12


@given(pixels, st.floats(1e-3, 4), st.sampled_from(sorted(RADII)), st.floats(0, 1))
@examples
def test_projection_leaves_points_of_ball_and_box_alone(x0, radius, name, share):
    norm, x0 = NORM[name], image(x0)
    inside = x0 + share * (norm.project(1 - x0, x0, radius) - x0)
    torch.testing.assert_close(norm.project(inside, x0, radius), inside, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("norm", "radius"), CASES)
def test_ball_contains_what_it_projects_samples_and_steps_to_in_either_precision(
    norm, radius, dtype
):
    x0 = (1.6 * uniform(6, 3, 32, 32, seed=8) - 0.3).clamp(0, 1).to(dtype)
    ball = Ball(NORM[norm], radius, x0)
    noise = noise_for(6, dtype)
    far = x0 + noise.normal(3, 32, 32)
    for x in (
        ball.project(far),
        ball.sample(noise.named("sample")),
        ball.steepest(x0, noise.named("gradient").normal(3, 32, 32), radius),
    ):
        assert x.dtype == dtype
        in_box, in_ball = ball.contains(x)
        assert in_box.all()
        assert in_ball.all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("norm", "distance"),
    [(norm, distance) for norm in RADII for distance in (1e3, 1e6)] + [("l2", 1e25)],
)
def test_projection_of_a_point_far_away_is_on_the_sphere(norm, distance, dtype):
    x0 = torch.full((1, 1, 2, 2), 0.5, dtype=dtype)
    one_pixel = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=dtype)
    got = NORM[norm].project(x0 + distance * one_pixel, x0, 0.25)
    torch.testing.assert_close(got, x0 + 0.25 * one_pixel, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0, 1e3, 1e5])
def test_ball_contains_the_float32_projection_of_points_far_away(norm_name, spread):
    """An attack may take a raw gradient step of any length and leave the rest to the projection."""
    x0 = uniform(8, 1, 28, 28, seed=16, dtype=torch.float32)
    ball = Ball(NORM[norm_name], RADII[norm_name][1], x0)
    far = x0 + spread * normal(8, 1, 28, 28, seed=17, dtype=torch.float32)
    in_box, in_ball = ball.contains(ball.project(far))
    assert in_box.all()
    assert in_ball.all()


@pytest.mark.parametrize("norm", RADII)
def test_each_image_of_a_batch_is_projected_by_itself(norm):
    x0 = clean_images(8, seed=9)
    x = x0 + torch.linspace(0.001, 3, 8).double().view(-1, 1, 1, 1) * normal(8, *SHAPE, seed=10)
    radius = RADII[norm][0]
    together = NORM[norm].project(x, x0, radius)
    for row in range(8):
        alone = NORM[norm].project(x[row : row + 1], x0[row : row + 1], radius)
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-14)


# Steepest step


@pytest.mark.parametrize(("norm", "radius"), CASES)
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e30])
def test_steepest_step_gains_as_much_as_a_general_solver_finds(norm, radius, scale):
    x, gradient = clean_images(6, seed=11), normal(6, *SHAPE, seed=12) * scale
    stepped = NORM[norm].steepest(x, gradient, radius)
    assert stepped.min() >= 0
    assert stepped.max() <= 1
    assert (NORM[norm].distance(stepped, x) <= radius * (1 + 1e-12)).all()
    gains = (flat(gradient) * (flat(stepped) - flat(x))).sum(1)
    best = [
        reference.best_gain(g, point, radius, norm)
        for g, point in zip(flat(gradient), flat(x), strict=True)
    ]
    np.testing.assert_allclose(gains, best, rtol=1e-7)


@pytest.mark.parametrize("norm", RADII)
def test_steepest_step_stays_where_the_gradient_is_zero(norm):
    x = clean_images(3)
    gradient = torch.zeros_like(x)
    torch.testing.assert_close(NORM[norm].steepest(x, gradient, 0.5), x, rtol=0, atol=0)


@pytest.mark.parametrize("norm", RADII)
def test_pixels_without_gradient_do_not_move(norm):
    x, gradient = clean_images(4, seed=13), normal(4, *SHAPE, seed=14)
    gradient[:, :, ::2] = 0
    moved = NORM[norm].steepest(x, gradient, RADII[norm][1]) != x
    assert moved.any()
    assert not moved[:, :, ::2].any()


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-30, 1e30, 3e38])
def test_steepest_step_in_float32_survives_tiny_and_huge_gradients(norm, size):
    x = torch.full((1, 1, 2, 2), 0.5)
    sign = torch.tensor([[[[1.0, -1.0], [-1.0, 1.0]]]])
    got = NORM[norm].steepest(x, sign * size, 0.2)
    expected = reference.length((got - x).numpy(), norm)
    assert expected == pytest.approx(0.2, rel=1e-5)
    assert ((got - x).sign() * sign >= 0).all()


@pytest.mark.parametrize("norm", RADII)
@pytest.mark.parametrize("small", [1e-3, 1e-12, 1e-25])
def test_steepest_step_uses_small_slopes_where_the_large_one_has_no_room(norm, small):
    """A pixel at its face cannot move, whatever its gradient; the others take the whole step."""
    x = torch.tensor([1.0, 0.5, 0.5]).view(1, 1, 1, 3)
    gradient = torch.tensor([1.0, small, -small]).view(1, 1, 1, 3)
    got = NORM[norm].steepest(x, gradient, 0.3)
    gain = float((gradient[0, 0, 0, 1:].double() * (got - x)[0, 0, 0, 1:].double()).sum())
    best = reference.best_gain(gradient.numpy(), x.numpy(), 0.3, norm)
    assert gain == pytest.approx(best, rel=1e-4, abs=0)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6),
    pixels,
    st.floats(1e-3, 6),
    st.sampled_from(sorted(RADII)),
)
@examples
def test_no_feasible_step_gains_more_than_the_steepest(gradient, x, radius, name):
    g, start = image(gradient), image(x)
    stepped = NORM[name].steepest(start, g, radius)
    rng = np.random.default_rng(0)
    others = reference.random_feasible(rng, np.array(x), radius, name, 200)
    best = ((others - np.array(x)) @ np.array(gradient)).max()
    gain = float((g * (stepped - start)).sum())
    assert gain >= best - 1e-9 * (1 + abs(best))
    assert NORM[name].distance(stepped, start).item() <= radius * (1 + 1e-12) + 1e-15


def test_l1_step_prefers_the_earlier_of_equal_slopes_in_every_batch():
    x, gradient = torch.zeros(2, 1, 1, 4), torch.ones(2, 1, 1, 4)
    got = NORM["l1"].steepest(x, gradient, 1.5)
    assert got.flatten(1).tolist() == [[1.0, 0.5, 0.0, 0.0]] * 2


# Samples


def noise_for(count: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Noise:
    zeros = torch.zeros(count, dtype=torch.int64)
    return Noise(seed, ("sample",), torch.arange(count), zeros, zeros, dtype)


@pytest.mark.parametrize(("norm", "radius"), CASES)
def test_samples_lie_inside_ball_and_box(norm, radius):
    x0 = clean_images(200, seed=15)
    x = NORM[norm].sample(x0, radius, noise_for(200))
    assert x.min() >= 0
    assert x.max() <= 1
    assert (NORM[norm].distance(x, x0) <= radius * (1 + 1e-12)).all()
    assert not torch.equal(x[0] - x0[0], x[1] - x0[1])


@pytest.mark.parametrize("norm", RADII)
def test_samples_are_uniform_in_a_ball_well_inside_the_box(norm):
    """In d dimensions, (distance / radius)^d is uniform on [0, 1], and directions are symmetric."""
    count, dimensions, radius = 2000, 6, 0.1
    x0 = torch.full((count, 1, 2, 3), 0.5, dtype=torch.float64)
    delta = flat(NORM[norm].sample(x0, radius, noise_for(count)) - x0)
    distance = np.linalg.norm(delta, reference.ORDER[norm], axis=1)
    assert stats.kstest((distance / radius) ** dimensions, stats.uniform.cdf).pvalue > 1e-3
    # Every coordinate and its negative have the same distribution, and so have any two coordinates.
    assert stats.ks_2samp(delta[:, 0], -delta[:, 0]).pvalue > 1e-3
    assert stats.ks_2samp(delta[:, 0], delta[:, 5]).pvalue > 1e-3


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_coordinates_of_samples_have_the_distribution_of_a_uniform_ball(norm):
    """Against rejection from the cube, in three dimensions."""
    count, radius = 3000, 0.2
    x0 = torch.full((count, 1, 1, 3), 0.5, dtype=torch.float64)
    delta = flat(NORM[norm].sample(x0, radius, noise_for(count)) - x0)
    cube = np.random.default_rng(1).uniform(-radius, radius, (40_000, 3))
    inside = cube[np.linalg.norm(cube, reference.ORDER[norm], axis=1) <= radius]
    assert stats.ks_2samp(delta[:, 1], inside[:, 1]).pvalue > 1e-3
    assert stats.ks_2samp(np.abs(delta).max(1), np.abs(inside).max(1)).pvalue > 1e-3


# Membership


def test_contains_tells_ball_from_box(norm_name):
    x0 = torch.full((5, 1, 2, 2), 0.05, dtype=torch.float64)
    x = x0.clone()
    x[1, 0, 0, 0] += 0.11  # outside the ball only
    x[2, 0, 0, 0] -= 0.06  # outside the box only
    x[3, 0, 0, 0] = torch.nan
    x[4, 0, 0, 0] = torch.inf
    in_box, in_ball = Ball(NORM[norm_name], 0.1, x0).contains(x)
    assert in_box.tolist() == [True, True, False, False, False]
    assert in_ball.tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("value", [-1e-9, 1 + 2.0**-23])
def test_the_box_has_no_tolerance(value, norm_name):
    x0 = torch.full((1, 1, 2, 2), round(value), dtype=torch.float64)
    x = x0.clone()
    x[0, 0, 1, 1] = value
    in_box, in_ball = Ball(NORM[norm_name], 0.1, x0).contains(x)
    assert not in_box.item()
    assert in_ball.item()


def test_the_balls_tolerance_is_a_float32_rounding_of_every_pixel(norm_name):
    x0 = torch.full((1, 1, 8, 8), 0.4, dtype=torch.float64)
    direction = torch.zeros_like(x0)
    direction[0, 0, 0, 0] = 1
    count = x0.numel()
    slack = 2.0**-23 * {"linf": 1, "l2": count**0.5, "l1": count}[norm_name]
    ball = Ball(NORM[norm_name], 0.1, x0)
    assert ball.contains(x0 + (0.1 + 0.9 * slack) * direction)[1].item()
    assert not ball.contains(x0 + (0.1 + 1.1 * slack) * direction)[1].item()
