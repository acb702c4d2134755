"""DDN against known distances, Foolbox, and algorithm 1 written for a single image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from auditor_plugins.ddn import DDN
from core_linear import clean, distance_to_the_hyperplane, dominated, safe_radius
from core_models import NORM, SmallCNN, block_of, cnn_victim, run_attack, uniform
from scipy.optimize import brentq

from auditor.attacking.pool import Block
from auditor.maths.norms import Ball
from auditor.maths.objectives import cross_entropy
from auditor.maths.randomness import Noise
from auditor.protocols.attack import Observation, Task, wishes_of
from auditor.subject.victim import Victim

SHAPE = (2, 6, 5)


def task_of(x: torch.Tensor, y: torch.Tensor, step: int, origin=None, norm: str = "l2") -> Task:
    steps = torch.full_like(y, step)
    noise = Noise(0, ("test",), torch.arange(len(x)), torch.zeros_like(y), steps, x.dtype)
    return Task(x, y, Ball(NORM[norm], 0.5, x), steps, noise, origin=origin)


def observe(module, x: torch.Tensor, y: torch.Tensor) -> Observation:
    x = x.clone().requires_grad_()
    loss = cross_entropy(z := module(x), y)
    return Observation(z.detach(), loss.detach(), torch.autograd.grad(loss.sum(), x)[0])


def path(attack: DDN, module, x: torch.Tensor, y: torch.Tensor, norm: str = "l2"):
    """Every point that is evaluated."""
    state = attack.start(task_of(x, y, 0, norm=norm))
    points = [state.x]
    for step in range(attack.steps):
        state = attack.step(task_of(x, y, step, norm=norm), state, observe(module, state.x, y))
        points.append(state.x)
    return points


def projected(delta: np.ndarray, x: np.ndarray, radius: float) -> np.ndarray:
    """Its nearest change in the l1 ball and the box."""
    room = np.where(delta > 0, 1 - x, x)

    def left(t: float) -> np.ndarray:
        return np.sign(delta) * np.minimum(np.maximum(np.abs(delta) - t, 0), room)

    if np.abs(left(0)).sum() <= radius:
        return left(0)
    t = brentq(lambda t: np.abs(left(t)).sum() - radius, 0, np.abs(delta).max(), xtol=1e-15)
    return left(t)


def reference_path(module, image: torch.Tensor, y: int, steps: int, norm: str) -> list[np.ndarray]:
    """Algorithm 1 for one image, from radius 4 with gamma 0.05, without its rounding."""
    x, order = image.numpy().ravel(), {"l2": 2, "l1": 1}[norm]
    farthest = np.linalg.norm(np.maximum(x, 1 - x), order)
    first = {"l2": 1.0, "l1": len(x) ** 0.5}[norm]
    delta, radius, points = np.zeros_like(x), 4.0, [x]
    for k in range(steps):
        point = torch.from_numpy(x + delta).view(1, *image.shape).requires_grad_()
        z = module(point)
        loss = torch.nn.functional.cross_entropy(z, torch.tensor([y]))
        g = torch.autograd.grad(loss, point)[0].numpy().ravel()
        wrong = int(z.argmax()) != y
        if wrong and norm == "l1":
            radius = min(radius, np.abs(delta).sum())
        radius = min(radius * (0.95 if wrong else 1.05), farthest)
        length = 0.01 + (first - 0.01) * (1 + math.cos(math.pi * k / steps)) / 2
        delta = delta + length * g / np.linalg.norm(g)
        if norm == "l1":
            delta = projected(delta, x, radius)
        else:
            delta = delta * radius / np.linalg.norm(delta)
        delta = np.clip(x + delta, 0, 1) - x
        points.append(x + delta)
    return points


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_every_point_is_that_of_the_algorithm_for_one_image(norm):
    x = (1.4 * uniform(3, *SHAPE, seed=5) - 0.2).clamp(0, 1)
    module = SmallCNN(x).double()
    y = module(x).argmax(1)
    points = torch.stack(path(DDN(steps=30, radius=4.0), module, x, y, norm), 1)
    adversarial = 0
    for i in range(len(x)):
        expected = np.array(reference_path(module, x[i], int(y[i]), 30, norm))
        assert points[i].flatten(1).numpy() == pytest.approx(
            expected, abs=1e-9 if norm == "l2" else 1e-5
        )
        adversarial += int((module(points[i]).argmax(1) != y[i]).sum())
    assert 0 < adversarial < 93, "the sphere both shrinks and grows"


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_the_distance_of_a_hyperplane_is_found(norm, place, loss):
    """Where the radius has closed in on it, it steps by 0.95 and 1.05, 0.25 % a pair."""
    x, radius = clean((3, 6, 4), place)[:4], safe_radius(norm, place)
    victim, y = dominated(2, x, radius, norm)
    distance = torch.tensor(
        [distance_to_the_hyperplane(victim, x[i], int(y[i]), norm) for i in range(4)],
        dtype=torch.float64,
    )
    block = Block(x, y, torch.arange(4))
    for first in (1.0, 20.0):
        attack = DDN(steps=300, radius=first, loss=loss)
        nearest = run_attack(victim, attack, block, norm, radius).outcome.nearest
        assert (nearest >= distance * (1 - 1e-9)).all()
        assert (nearest <= distance * 1.005).all()


def test_it_finds_what_foolbox_finds_with_the_same_steps():
    foolbox = pytest.importorskip("foolbox")
    x = (1.4 * uniform(12, *SHAPE, seed=6, dtype=torch.float32) - 0.2).clamp(0, 1)
    module = SmallCNN(x).requires_grad_(False).eval()
    y = module(x).argmax(1)
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    _, found, fooled = foolbox.attacks.DDNAttack(steps=40)(model, x, y, epsilons=None)
    assert fooled.all()
    # Foolbox does not look at the point that its last step leads to.
    points = path(DDN(steps=40), module, x, y)[:-1]
    distances = [
        torch.where(module(point).argmax(1) != y, NORM["l2"].distance(point, x), torch.inf)
        for point in points
    ]
    ours, theirs = torch.stack(distances).amin(0), NORM["l2"].distance(found, x)
    assert ours.numpy() == pytest.approx(theirs.numpy(), rel=1e-3)
    # The engine looks at it.
    run = run_attack(Victim("cnn", module), DDN(steps=40), Block(x, y, torch.arange(12)), "l2", 0.3)
    assert (run.outcome.nearest <= ours * (1 + 1e-6)).all()


def test_it_stops_at_a_success_within_epsilon_unless_told_to_minimise():
    x = uniform(6, *SHAPE, seed=10)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    smallest = run_attack(victim, DDN(steps=40), block, "l2", 1e-3).outcome.nearest
    epsilon = 1.5 * float(smallest.max())
    going_on = run_attack(victim, DDN(steps=40), block, "l2", epsilon).outcome
    stopping = run_attack(victim, DDN(steps=40, minimise=False), block, "l2", epsilon).outcome
    assert going_on.broken.all()
    assert torch.equal(going_on.nearest, smallest)
    assert stopping.broken.all()
    assert (stopping.distance <= epsilon).all()
    assert stopping.forwards.sum() < going_on.forwards.sum() / 2


def test_the_batch_changes_nothing():
    x = uniform(5, *SHAPE, seed=11)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    alone = run_attack(victim, DDN(steps=25), block, "l2", 0.1, batch_size=1).outcome
    together = run_attack(victim, DDN(steps=25), block, "l2", 0.1, batch_size=3).outcome
    assert torch.allclose(alone.nearest, together.nearest, rtol=1e-9)
    assert torch.equal(alone.broken, together.broken)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_how_long_a_gradient_is_makes_no_difference(scale):
    x = 0.3 + 0.4 * uniform(4, *SHAPE, seed=17, dtype=torch.float32)
    y = torch.zeros(4, dtype=torch.int64)
    attack, task, seen = DDN(), task_of(x, y, 0), observe(SmallCNN(x), x, y)
    ordinary = attack.step(task, attack.start(task), seen).x
    scaled = attack.step(task, attack.start(task), replace(seen, gradient=scale * seen.gradient)).x
    assert torch.allclose(scaled, ordinary, atol=1e-6)
    assert not torch.allclose(ordinary, x, atol=1e-2)


def test_without_a_gradient_the_point_keeps_its_direction():
    x = 0.4 + 0.2 * uniform(2, *SHAPE, seed=18)
    y = torch.zeros(2, dtype=torch.int64)
    origin = torch.stack([x[0], x[1] + 0.01])
    task = task_of(x, y, 0, origin)
    z = torch.tensor([[2.0, 1.0]]).double().repeat(2, 1)
    attack = DDN(radius=0.5)
    after = attack.step(task, attack.start(task), Observation(z, z[:, 0], torch.zeros_like(x)))
    assert torch.equal(after.x[0], x[0])
    change = after.x[1] - x[1]
    assert float(change.norm()) == pytest.approx(0.5 * 1.05)
    assert torch.allclose(change, change.mean().expand_as(change))


def test_the_plugin_offers_it(registry):
    spec = registry.attacks["ddn"]
    assert spec.norms == {"l2", "l1"}
    assert spec.build({}) == DDN()
    wishes = wishes_of(spec.build({"steps": 20, "loss": "margin", "eot": 3, "minimise": False}))
    assert (wishes.minimises, wishes.minimise, wishes.loss, wishes.eot) == (
        True,
        False,
        "margin",
        3,
    )
