"""APGD against known optima, brute force, and the papers' algorithms written for a single image."""

from __future__ import annotations

from dataclasses import replace

import core_reference as reference
import numpy as np
import pytest
import torch
from auditor_plugins.apgd import APGD, checkpoints
from core_apgd import (
    Hill,
    algorithm_1,
    l1_algorithm,
    objective_at,
    observe,
    paper_checkpoints,
    task_of,
    trace,
)
from core_linear import (
    IMAGES,
    check,
    clean,
    distance_to_the_hyperplane,
    dominated,
    optimum,
    relative_to_the_gain,
    safe_radius,
)
from core_models import (
    SmallCNN,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from core_pool import assert_same
from torch import nn

from auditor.attacking.pool import Block
from auditor.protocols.attack import Observation

N = 8
X = uniform(N, 1, 8, 9, seed=1)
EPSILON = {"linf": 0.02, "l2": 0.15, "l1": 0.8}
#: How far the linear optimum may be, as a share of what it gains.
TOLERANCE = 5e-4


def module_and_labels(classes: int = 4) -> tuple[nn.Module, torch.Tensor]:
    module = SmallCNN(X, classes).double()
    with torch.no_grad():
        return module, module(X).argmax(1)


@pytest.mark.parametrize("steps", [100, 23])
def test_every_point_is_that_of_the_papers_algorithm(norm_name, steps):
    module, y = module_and_labels()
    x, y, epsilon = X[:2].clone(), y[:2], 4 * EPSILON[norm_name]
    x[0] = (1.5 * x[0] - 0.25).clamp(0, 1)
    found = trace(APGD(steps=steps), module, x, y, norm_name, epsilon).points
    for row in range(len(x)):

        def f(point, label=int(y[row])):
            return objective_at(module, point, x.shape[1:], label)

        x0, start = x[row].flatten().numpy(), found[0][row].flatten().numpy()
        if norm_name == "l1":
            expected = l1_algorithm(f, x0, start, epsilon, steps)
        else:
            expected = algorithm_1(f, x0, start, epsilon, norm_name, steps)
        ours = np.stack([points[row].flatten().numpy() for points in found])
        np.testing.assert_allclose(ours, np.stack(expected), rtol=0, atol=1e-8)


# --- The schedule


def test_checkpoints_are_those_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 64, 1000])
def test_checkpoints_follow_the_papers_formula(steps):
    assert checkpoints(steps) == sorted(w for w in paper_checkpoints(steps) if w < steps)


@pytest.mark.parametrize("norm_name", ["linf", "l2"])
def test_eta_starts_at_two_epsilon_is_only_ever_halved_and_does_get_small(norm_name):
    module, y = module_and_labels()
    epsilon = EPSILON[norm_name]
    states = trace(APGD(), module, X, y, norm_name, epsilon).states
    lengths = torch.stack([state.length for state in states])
    assert (lengths[0] == 2 * epsilon).all()
    ratio = lengths[1:] / lengths[:-1]
    assert ((ratio == 1) | (ratio == 0.5)).all()
    changed = (ratio != 1).any(1).nonzero().flatten().tolist()
    assert set(changed) <= set(checkpoints(100))
    assert (lengths[-1] < epsilon).all()


def test_l1_works_its_way_inwards_and_says_when_it_is_outside():
    module, y = module_and_labels()
    epsilon, found = EPSILON["l1"], trace(APGD(), module, X, y, "l1", EPSILON["l1"])
    far = torch.stack([found.ball.distance(x) for x in found.points]) / epsilon
    outside = torch.stack([state.outside for state in found.states])
    assert torch.equal(outside, far > 1 + 1e-4)
    for radius, first, after in ((3, 0, 30), (2, 30, 60), (1, 60, 101)):
        assert (far[first:after] <= radius + 1e-9).all()
        assert (far[first:after].amax(0) > radius - 0.1).all()
    assert all(found.ball.in_box(x).all() for x in found.points)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_very_few_steps_are_possible_and_end_inside(norm_name, steps):
    module, y = module_and_labels()
    found = trace(APGD(steps=steps), module, X, y, norm_name, EPSILON[norm_name])
    assert torch.stack(found.ball.contains(found.points[-1])).all()


@pytest.mark.parametrize(
    ("falls", "by", "halved"),
    [
        ((), 0, []),
        # 12 of the 16 steps to 57 are exactly three quarters: enough.
        ((42, 43, 44, 45), 0.5, []),
        ((42, 43, 44, 45, 46), 0.5, [57]),
        # Below f_max from the first step on, though rising: condition 2 at 22; it does not apply
        # right after a halving, at 41, and does again at 57.
        ((1,), 1000, [22, 57, 80, 93]),
    ],
)
def test_eta_is_halved_where_the_objective_does_not_rise_or_its_best_stays(falls, by, halved):
    """The objective rises by 1 at every step, but it falls at `falls`."""
    attack, x, y = APGD(), X[:1], torch.zeros(1, dtype=torch.int64)
    state, loss, lengths = attack.start(task_of(x, y, "linf", 0.1)), torch.zeros(1).double(), []
    for step in range(attack.steps):
        loss = loss + (-by if step in falls else 1)
        seen = Observation(torch.zeros(1, 2), loss, torch.zeros_like(x))
        state = attack.step(task_of(x, y, "linf", 0.1, step=step), state, seen)
        lengths.append(state.length.item())
    assert [step for step in range(1, 100) if lengths[step] < lengths[step - 1]] == halved


# --- Known optima


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("loss", ["cross-entropy", "dlr"])
def test_reaches_the_optimum_of_a_linear_model(norm_name, loss, place):
    x, radius = clean((3, 6, 4), place), safe_radius(norm_name, place)
    victim, y = dominated(3, x, radius, norm_name)
    if norm_name == "l1":  # its points outside the ball do not count
        found = trace(APGD(loss=loss), victim.module, x, y, norm_name, radius).best_margin()
        best = optimum(victim, x, y, radius, norm_name)
        gap = relative_to_the_gain(victim, Block(x, y, torch.arange(IMAGES)), found, best)
        assert (gap >= -1e-9).all()
        assert (gap <= TOLERANCE).all(), gap
    else:
        block = Block(x, y, torch.arange(IMAGES))
        check(victim, APGD(loss=loss), block, radius, norm_name, TOLERANCE)


def test_an_image_falls_just_beyond_the_hyperplane_and_not_before(norm_name):
    x, radius = clean((3, 6, 4), "at the box"), safe_radius(norm_name, "at the box")
    victim, y = dominated(2, x, radius, norm_name)
    block = Block(x[:1], y[:1], torch.tensor([0]))
    distance = distance_to_the_hyperplane(victim, x[0], 0, norm_name)
    before = run_attack(victim, APGD(), block, norm_name, 0.999 * distance).outcome
    after = run_attack(victim, APGD(), block, norm_name, 1.001 * distance).outcome
    assert not before.broken.item()
    assert after.broken.item()
    assert distance * (1 - 1e-9) <= after.distance.item() <= 1.001 * distance * (1 + 1e-9)


def test_finds_the_top_of_a_two_pixel_ball(norm_name):
    """Against a grid over the ball; some tops lie inside, others on the sphere or a face."""
    x = torch.cat([uniform(6, 1, 1, 2, seed=6), torch.eye(2).double().view(2, 1, 1, 2)])
    y, radius = torch.ones(len(x), dtype=torch.int64), 0.35
    module = Hill()
    found = trace(APGD(loss="margin"), module, x, y, norm_name, radius).best_margin()
    axis = torch.linspace(-radius, radius, 401, dtype=torch.float64)
    offsets = torch.cartesian_prod(axis, axis)
    offsets = offsets[offsets.norm({"linf": torch.inf, "l2": 2, "l1": 1}[norm_name], 1) <= radius]
    for row in range(len(x)):
        grid = (x[row].flatten() + offsets).clamp(0, 1)
        with torch.no_grad():
            heights, here = module(grid)[:, 0] - 1, module(x[row : row + 1])[0, 0] - 1
        top = heights.max().item()
        assert found[row] == pytest.approx(top, abs=0.01 * (top - here.item()))


# --- Independence


def test_neither_batch_size_nor_order_matters(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, 10_000 - 37 * torch.arange(N))
    attack = APGD(steps=8, restarts=2, targets=2)
    options = {"norm": norm_name, "epsilon": EPSILON[norm_name]}
    alone = run_attack(victim, attack, block, **options, batch_size=1).outcome
    assert 0 < alone.broken.sum() < N
    together = run_attack(victim, attack, block, **options, batch_size=5).outcome
    assert_same(alone, together)
    order = torch.tensor([7, 2, 0, 4, 6, 1, 3, 5])
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    other = run_attack(victim, attack, shuffled, **options).outcome
    assert_same(alone, other, order)


def test_states_are_not_changed_by_a_step(norm_name):
    module, y = module_and_labels()
    attack, epsilon = APGD(steps=10), EPSILON[norm_name]
    state = attack.start(task_of(X, y, norm_name, epsilon))
    for step in range(attack.steps):
        seen, kept = observe(module, attack, state.x, y), replace(state)
        values = {name: value.clone() for name, value in vars(state).items()}
        following = attack.step(task_of(X, y, norm_name, epsilon, step=step), state, seen)
        for name, value in values.items():
            assert getattr(state, name) is getattr(kept, name)
            assert torch.equal(getattr(state, name), value)
        state = following


# --- Starts, targets, odd gradients


def test_starts_at_a_random_point_on_the_sphere_or_at_the_origin(norm_name):
    x = uniform(N, 1, 8, 9, seed=3) * 0.2 + 0.4
    y, radius = torch.zeros(N, dtype=torch.int64), EPSILON[norm_name]
    task = task_of(x, y, norm_name, radius)
    distance = task.ball.distance(APGD().start(task).x) / radius
    torch.testing.assert_close(distance, torch.full_like(distance, 3 if norm_name == "l1" else 1))
    other = APGD().start(task_of(x, y, norm_name, radius, seed=1)).x
    assert not torch.equal(APGD().start(task).x, other)
    origin = task.ball.project(x + 0.01)
    assert torch.equal(APGD().start(replace(task, origin=origin)).x, origin)


def test_goes_on_in_l1_from_the_clean_image_too():
    module, y = module_and_labels()
    found = trace(APGD(), module, X, y, "l1", EPSILON["l1"], origin=X)
    assert torch.equal(found.points[0], X)
    changed = (found.points[1] != X).flatten(1).sum(1)
    assert (changed == X[0].numel() // 5).all()


@pytest.mark.parametrize(("classes", "targets"), [(2, 0), (2, 9), (3, 0), (3, 9), (4, 9)])
def test_dlr_works_with_few_classes(norm_name, classes, targets):
    victim, y = dominated(classes, X, EPSILON[norm_name], norm_name)
    block = Block(X, y, torch.arange(N))
    attack = APGD(steps=10, loss="dlr", targets=targets)
    # Further classes are far away: only the boundary between the first two counts.
    two = linear_victim(victim.module.W[:2].detach(), victim.module.b[:2].detach())
    distances = [distance_to_the_hyperplane(two, image, 0, norm_name) for image in X[:2]]
    inside = run_attack(victim, attack, block, norm_name, EPSILON[norm_name]).outcome
    assert not inside.broken.any()
    assert not inside.nonfinite.any()
    assert inside.loss.isfinite().all()
    beyond = run_attack(victim, attack, block, norm_name, 1.1 * max(distances)).outcome
    assert beyond.broken[:2].all()


def test_a_target_that_the_steepest_ascent_leads_away_from_is_reached(norm_name):
    """Class 1 is the likeliest and can never win; class 2 can, in the opposite direction."""
    x, radius = clean((1, 5, 7), "inside"), safe_radius(norm_name, "inside")
    direction = normal(1, 35, seed=2)[0]
    gain = reference.best_gain(direction.numpy(), x[0].flatten().numpy(), radius, norm_name)
    W = torch.stack([0 * direction, direction, -8 * direction])
    y = torch.zeros(len(x), dtype=torch.int64)
    # Margins at each clean image: -3 gains for class 1, -4 for class 2, which may rise by 8.
    for row in range(2):
        here = W @ x[row].flatten()
        victim = linear_victim(W, -here + gain * torch.tensor([0.0, -3, -4], dtype=torch.float64))
        block = Block(x[row : row + 1], y[:1], torch.tensor([row]))
        attack = APGD(steps=20, loss="margin")
        for targets, falls in ((1, False), (2, True), (9, True)):
            aimed = replace(attack, targets=targets)
            outcome = run_attack(victim, aimed, block, norm_name, radius).outcome
            assert outcome.broken.item() == falls


@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gradients_of_any_size_give_steps_of_the_same_length(norm_name, size, dtype):
    x = X.to(dtype) * 0.2 + 0.4
    y, slope = torch.zeros(N, dtype=torch.int64), normal(*X.shape, seed=7).to(dtype)
    attack = APGD(step_size=0.01)
    points = []
    for gradient in (slope, slope * size):
        task = task_of(x, y, norm_name, 0.5, origin=x)
        seen = Observation(torch.zeros(N, 2, dtype=dtype), torch.zeros(N, dtype=dtype), gradient)
        points.append(attack.step(task, attack.start(task), seen).x)
    expected = x if size == 0 else points[0]
    torch.testing.assert_close(points[1], expected, rtol=0, atol=1e-6)
