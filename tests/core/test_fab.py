"""FAB against known distances, brute force, and algorithm 1 written for a single image.

The attack lands a twentieth beyond each linearised boundary, and so about one per cent beyond the
true one; with a smaller overshoot it has to reach a plane exactly.
"""

from __future__ import annotations

from dataclasses import replace

import core_reference as reference
import numpy as np
import pytest
import torch
from auditor_plugins.fab import FAB
from core_linear import clean, distance_to_the_hyperplane, dominated, safe_radius
from core_models import (
    NORM,
    SmallCNN,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from torch import nn

from auditor.attacking.pool import Block
from auditor.maths.norms import Ball
from auditor.maths.randomness import Noise
from auditor.protocols.attack import Observation, Task, wishes_of
from auditor.subject.victim import Victim

SHAPE = (2, 6, 5)
#: Overshoots, and how far beyond the distance they may end.
SHARPNESS = ((1.05, 0.015), (1 + 1e-7, 1e-6))
DUAL = {"linf": 1, "l2": 2, "l1": np.inf}


# --- Driving the attack without the engine


def task_of(x, y, norm="l2", epsilon=0.5, restart=0, target=None, origin=None) -> Task:
    image, step = torch.arange(len(x)), torch.zeros(len(x), dtype=torch.int64)
    restarts = torch.full_like(image, restart)
    words = restarts if target is None else restarts + 65536 * (target + 1)
    noise = Noise(0, ("test",), image, words, step, x.dtype)
    return Task(x, y, Ball(NORM[norm], epsilon, x), step, noise, target, origin, restarts)


def observe(module: nn.Module, x, y, target=None, jacobian: bool = False) -> Observation:
    x = x.clone().requires_grad_()
    z = module(x)
    rival = z.scatter(1, y[:, None], -torch.inf).amax(1)
    if target is not None:
        rival = z.gather(1, target[:, None])[:, 0]
    loss = rival - z.gather(1, y[:, None])[:, 0]
    sums = z.sum(0) if jacobian else [loss.sum()]
    slopes = [torch.autograd.grad(one, x, retain_graph=True)[0] for one in sums]
    gradient = torch.stack(slopes, 1) if jacobian else slopes[0]
    return Observation(z.detach(), loss.detach(), gradient)


def path(attack: FAB, module: nn.Module, task: Task) -> list[torch.Tensor]:
    """The points evaluated, until every image is done."""
    state = attack.start(task)
    points = [state.x]
    while not state.done.all():
        seen = observe(module, state.x, task.y, task.target, attack.jacobian)
        state = attack.step(task, state, seen)
        points.append(state.x)
    assert len(points) <= attack.steps + 1
    return points


# --- Algorithm 1 for a single image, in float64 NumPy


def boundary(module, x: np.ndarray, shape, y: int, target: int | None, norm: str):
    """f and w of the boundary to the target; without one, of the nearest linearised boundary."""
    point = torch.from_numpy(x).view(1, *shape).requires_grad_()
    z = module(point)[0]
    found = []
    for k in [k for k in range(len(z)) if k != y and target in (None, k)]:
        f = z[k] - z[y]
        w = torch.autograd.grad(f, point, retain_graph=True)[0].numpy().ravel()
        found.append((abs(f.item()) / np.linalg.norm(w, DUAL[norm]), f.item(), w))
    return min(found, key=lambda one: one[0])[1:]


def wrong(module, x: np.ndarray, shape, y: int) -> bool:
    with torch.no_grad():
        return int(module(torch.from_numpy(x).view(1, *shape)).argmax()) != y


def reference_path(module, image, origin, y: int, target: int | None, norm: str, iterations: int):
    """The points that algorithm 1 evaluates, at its default settings."""
    x0, x = image.numpy().ravel(), origin.numpy().ravel()
    points = [x]
    for i in range(iterations):
        f, w = boundary(module, x, image.shape, y, target, norm)
        d = reference.shift_onto_plane(x, w, f, norm)
        d0 = reference.shift_onto_plane(x0, w, f + w @ (x0 - x), norm)
        length, length0 = reference.length(d, norm), reference.length(d0, norm)
        alpha = min(length / (length + length0), 0.1)
        x = np.clip((1 - alpha) * (x + 1.05 * d) + alpha * (x0 + 1.05 * d0), 0, 1)
        points.append(x)
        if wrong(module, x, image.shape, y) and i < iterations - 1:
            x = x0 + 0.9 * (x - x0)
            points.append(x)
    return points


@pytest.mark.parametrize("targets", [0, 1])
@pytest.mark.parametrize("start", ["clean image", "beyond the boundary"])
def test_every_point_is_that_of_the_algorithm_for_one_image(norm_name, start, targets):
    """From beyond the boundary, points that were pulled back are adversarial still."""
    x = (1.4 * uniform(3, *SHAPE, seed=5) - 0.2).clamp(0, 1)
    module = SmallCNN(x).double()
    z = module(x).detach()
    y = z.argmax(1)
    target = z.scatter(1, y[:, None], -torch.inf).argmax(1) if targets else None
    origin = x if start == "clean image" else uniform(3, *SHAPE, seed=6)
    if start == "beyond the boundary":
        assert (module(origin).argmax(1) != y).all()
    attack, task = FAB(iterations=12, targets=targets), task_of(x, y, norm_name, target=target)
    points = torch.stack(path(attack, module, replace(task, origin=origin)), 1)
    for i in range(len(x)):
        aim = None if target is None else int(target[i])
        expected = reference_path(module, x[i], origin[i], int(y[i]), aim, norm_name, 12)
        assert 13 < len(expected) <= len(points[i])
        found = points[i, : len(expected)].flatten(1).numpy()
        assert found == pytest.approx(np.array(expected), abs=1e-9)


# --- Distances that are known


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("targets", [0, 9])
def test_the_distance_of_a_hyperplane_is_found(norm_name, place, targets):
    x, radius = clean((3, 6, 4), place)[:4], safe_radius(norm_name, place)
    victim, y = dominated(2, x, radius, norm_name)
    block = Block(x, y, torch.arange(4))
    distance = torch.tensor(
        [distance_to_the_hyperplane(victim, x[i], int(y[i]), norm_name) for i in range(4)],
        dtype=torch.float64,
    )
    for overshoot, tolerance in SHARPNESS:
        attack = FAB(iterations=5, targets=targets, overshoot=overshoot)
        nearest = run_attack(victim, attack, block, norm_name, radius).outcome.nearest
        assert (nearest >= distance * (1 - 1e-9)).all()
        assert (nearest <= distance * (1 + tolerance)).all()


def distance_to_the_nearest_plane(victim: Victim, x: torch.Tensor, y: int, norm: str) -> float:
    W, b = victim.module.W.detach().numpy(), victim.module.b.detach().numpy()
    image = x.numpy().ravel()
    z = W @ image + b
    shifts = [
        reference.shift_onto_plane(image, W[k] - W[y], z[k] - z[y], norm)
        for k in range(len(b))
        if k != y
    ]
    return min(reference.length(shift, norm) for shift in shifts)


@pytest.mark.parametrize("targets", [0, 9])
@pytest.mark.parametrize("classes", [3, 4])
def test_of_several_hyperplanes_the_nearest_is_found(norm_name, classes, targets):
    x = 0.3 + 0.4 * uniform(4, 1, 5, 7, seed=1)
    victim = linear_victim(normal(classes, 35, seed=2), normal(classes, seed=3))
    block = block_of(victim, x)
    expected = torch.tensor(
        [distance_to_the_nearest_plane(victim, x[i], int(block.y[i]), norm_name) for i in range(4)],
        dtype=torch.float64,
    )
    for overshoot, tolerance in SHARPNESS:
        attack = FAB(iterations=6, targets=targets, overshoot=overshoot)
        nearest = run_attack(victim, attack, block, norm_name, 1e-3).outcome.nearest
        assert (nearest >= expected * (1 - 1e-9)).all()
        assert (nearest <= expected * (1 + tolerance)).all()


class Disc(nn.Module):
    """Two pixels, right inside a disc about (0.55, 0.35) of radius 0.3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        away = x.flatten(1) - x.new_tensor([0.55, 0.35])
        out = away.square().sum(1) - 0.3**2
        return torch.stack([torch.zeros_like(out), torch.expm1(3 * out)], 1)


def test_a_curved_boundary_is_met_where_brute_force_meets_it(norm_name):
    x = torch.tensor([[0.62, 0.30], [0.40, 0.38], [0.6, 0.06]], dtype=torch.float64)
    x = x.view(3, 1, 1, 2)
    victim = Victim("disc", Disc(), precision=torch.float64)
    block = Block(x, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    attack = FAB(iterations=40, targets=0, overshoot=1.01)
    nearest = run_attack(victim, attack, block, norm_name, 0.01).outcome.nearest
    angle = torch.linspace(0, 2 * torch.pi, 100_001, dtype=torch.float64)
    circle = torch.stack([0.55 + 0.3 * angle.cos(), 0.35 + 0.3 * angle.sin()], 1)
    circle = circle[(circle >= 0).all(1)]
    order = reference.ORDER[norm_name]
    for i in range(3):
        expected = torch.linalg.vector_norm(circle - x[i].flatten(), order, dim=1).amin()
        assert expected * (1 - 1e-6) <= nearest[i] <= expected * 1.01


# --- What the engine makes of it


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("targets", [0, 9])
def test_few_classes_are_no_trouble(norm_name, classes, targets):
    x = uniform(6, *SHAPE, seed=7)
    victim = Victim("cnn", SmallCNN(x, classes=classes), precision=torch.float64)
    block = block_of(victim, x)
    attack = FAB(iterations=15, targets=targets)
    outcome = run_attack(victim, attack, block, norm_name, 0.05).outcome
    assert outcome.nearest.isfinite().all()
    assert torch.equal(outcome.broken, outcome.nearest <= 0.05 + 1e-9)
    assert torch.equal(outcome.broken, outcome.distance == outcome.nearest)


def test_a_far_boundary_costs_one_evaluation_an_iteration(norm_name):
    """The label leads everywhere, and the point goes on to the corner of the box."""
    x = uniform(3, 1, 4, 4, seed=8)
    W, b = normal(2, 16, seed=9), torch.tensor([1e3, 0.0], dtype=torch.float64)
    block = Block(x, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    outcome = run_attack(linear_victim(W, b), FAB(iterations=9), block, norm_name, 0.1).outcome
    assert outcome.forwards.tolist() == [11] * 3  # with the one by which targets are chosen
    assert outcome.nearest.isinf().all()
    assert not outcome.broken.any()


def test_it_stops_at_a_success_within_epsilon_unless_told_to_minimise(norm_name):
    x = uniform(6, *SHAPE, seed=10)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    attack = FAB(iterations=12)
    smallest = run_attack(victim, attack, block, norm_name, 1e-3).outcome.nearest
    epsilon = 1.5 * float(smallest.max())
    going_on = run_attack(victim, attack, block, norm_name, epsilon).outcome
    stopping = run_attack(victim, replace(attack, minimise=False), block, norm_name, epsilon)
    assert going_on.broken.all()
    assert stopping.outcome.broken.all()
    assert torch.equal(going_on.nearest, smallest)
    assert (stopping.outcome.distance <= epsilon).all()
    assert (stopping.outcome.forwards < going_on.forwards).all()
    assert stopping.outcome.forwards.sum() < going_on.forwards.sum() / 5


def test_restarts_and_batch_sizes_change_no_verdict(norm_name):
    x = uniform(5, *SHAPE, seed=11)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    once, attack = FAB(iterations=4, targets=2), FAB(iterations=4, targets=2, restarts=2)
    first = run_attack(victim, once, block, norm_name, 0.1).outcome
    alone = run_attack(victim, attack, block, norm_name, 0.1, batch_size=1).outcome
    together = run_attack(victim, attack, block, norm_name, 0.1, batch_size=3).outcome
    assert torch.allclose(alone.nearest, together.nearest, rtol=1e-9)
    assert (together.nearest <= first.nearest * (1 + 1e-9)).all()
    assert (together.forwards > 1.5 * first.forwards).all()


# --- What the protocol asks for


def test_rows_do_not_depend_on_the_others(norm_name):
    x = (1.4 * uniform(9, *SHAPE, seed=12) - 0.2).clamp(0, 1).float()
    module = SmallCNN(x)
    y = module(x).argmax(1)
    target = (y + 1) % 4
    attack, task = FAB(iterations=9), task_of(x, y, norm_name, target=target)
    state = attack.start(task)
    pulled = 0
    for _ in range(10):
        seen = observe(module, state.x, y, target)
        following = attack.step(task, state, seen)
        pulled += int(following.due.sum())
        for i in range(9):
            row = slice(i, i + 1)
            one = task_of(x[row], y[row], norm_name, target=target[row])
            before = replace(state, **{name: getattr(state, name)[row] for name in vars(state)})
            sight = Observation(seen.logits[row], seen.loss[row], seen.gradient[row])
            alone = attack.step(one, before, sight)
            for name in vars(alone):
                assert torch.equal(getattr(alone, name), getattr(following, name)[row])
        state = following
    assert 0 < pulled < 90


def test_first_at_the_clean_image_then_at_random_within_half_of_epsilon(norm_name):
    x = uniform(5, *SHAPE, seed=13)
    y = torch.zeros(5, dtype=torch.int64)
    epsilon = {"linf": 0.2, "l2": 1.0, "l1": 5.0}[norm_name]
    attack, norm = FAB(), NORM[norm_name]
    aims = torch.full_like(y, 2)
    for target in (None, aims):
        start = attack.start(task_of(x, y, norm_name, epsilon, 0, target)).x
        assert torch.equal(start, x)
    starts = [
        attack.start(task_of(x, y, norm_name, epsilon, restart, target)).x
        for restart, target in ((1, None), (2, None), (1, aims))
    ]
    for start in starts:
        distance = norm.distance(start, x)
        assert (distance <= epsilon / 2 * (1 + 1e-9)).all()
        assert (distance > epsilon / 20).all()
        assert Ball(norm, epsilon, x).in_box(start).all()
    assert not torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    origin = uniform(5, *SHAPE, seed=14)
    assert torch.equal(attack.start(task_of(x, y, norm_name, origin=origin)).x, origin)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("targets", [0, 9])
def test_where_nothing_can_be_learnt_the_point_stays(norm_name, targets, dtype):
    """No gradient, scores that are no answer, and both; the last image is an ordinary one."""
    x = uniform(4, *SHAPE, seed=15, dtype=dtype)
    y = torch.zeros(4, dtype=torch.int64)
    z = torch.tensor([[2.0, 1.0, 0.0]], dtype=dtype).repeat(4, 1)
    z[1:3, 1:] = torch.nan
    jacobian = normal(4, 3, *SHAPE, seed=16, dtype=dtype)
    jacobian[0] = jacobian[2] = 0
    gradient, loss = jacobian[:, 1] - jacobian[:, 0], z[:, 1] - z[:, 0]
    attack, task = FAB(targets=targets), task_of(x, y, norm_name)
    state = attack.start(task)
    state.x = 0.9 * x
    seen = Observation(z, loss, gradient if targets else jacobian)
    after = attack.step(task, state, seen)
    assert torch.equal(after.x[:3], state.x[:3])
    assert not torch.equal(after.x[3], state.x[3])
    assert after.x.isfinite().all()
    assert after.iteration.tolist() == [1] * 4


def test_vanishing_gradients_lead_where_ordinary_ones_do(norm_name):
    x = uniform(4, *SHAPE, seed=17, dtype=torch.float32)
    y, z = torch.zeros(4, dtype=torch.int64), normal(4, 3, seed=18, dtype=torch.float32)
    z[:, 0] += 5
    jacobian = normal(4, 3, *SHAPE, seed=19, dtype=torch.float32)
    attack, task = FAB(targets=0), task_of(x, y, norm_name)
    state = attack.start(task)
    ordinary = attack.step(task, state, Observation(z, z[:, 0], jacobian)).x
    for scale in (1e-30, 1e30):
        seen = Observation(scale * z, scale * z[:, 0], scale * jacobian)
        assert torch.allclose(attack.step(task, state, seen).x, ordinary, atol=1e-5)
    assert not torch.allclose(ordinary, x, atol=1e-2)


def test_what_it_asks_of_the_engine():
    aimed, wide = wishes_of(FAB()), wishes_of(FAB(targets=0, minimise=False, eot=3, restarts=2))
    assert (aimed.targets, aimed.jacobian, aimed.loss, aimed.points) == (9, False, "margin", 1)
    assert aimed.minimises
    assert aimed.minimise
    assert (wide.targets, wide.jacobian, wide.restarts, wide.eot) == (0, True, 2, 3)
    assert wide.minimises
    assert not wide.minimise


def test_the_plugin_offers_it(registry):
    spec = registry.attacks["fab"]
    assert spec.norms == {"linf", "l2", "l1"}
    assert spec.build({}) == FAB()
    assert spec.build({"iterations": 20, "alpha_max": 0.2, "targets": 0}).jacobian
