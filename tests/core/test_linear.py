"""The linear test: on logits = W x + b the best margin is known, and an attack has to reach it.

Attacks run through the pool, as in production. The radius is so small that no image falls, so that
`Outcome.margin` is the best margin that any evaluated point reached; the optimum over
ball and box comes from `core_reference`, which shares nothing with the auditor.

PGD runs as it is by default in l-infinity, where sign steps end exactly in a corner. In l2 and l1 a
step and the projection after it approach the optimum gradually, and it runs 100 steps. In l2 the
length of all steps together matters more than their number: with step a and angle t to the optimum,
tan(t/2) falls by exp(-a / epsilon) a step, so that steps of 2.5 epsilon / steps leave
1 - tanh(2.5) = 1.3 % of the gain however many they are. Here they are 5 epsilon / steps in l2.
"""

from __future__ import annotations

import core_reference as reference
import numpy as np
import pytest
import torch
from auditor_plugins.fgsm import FGSM, RandomFGSM
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_linear import (
    IMAGES,
    SHAPES,
    check,
    clean,
    distance_to_the_hyperplane,
    dominated,
    optimum,
    relative_to_the_gain,
    safe_radius,
)
from core_models import linear_victim, normal, run_attack

from auditor.attacking.pool import Block

TOLERANCE = {"linf": 1e-4, "l2": 1e-2, "l1": 1e-2}
LOSSES = ("cross-entropy", "margin")


def pgd(norm: str, radius: float, loss: str = "cross-entropy", steps: int = 100, **options) -> PGD:
    """PGD with enough steps to come within the tolerance, see above."""
    if norm == "linf":
        return PGD(loss=loss, **options)
    step_size = 5 * radius / steps if norm == "l2" else None
    return PGD(steps=steps, step_size=step_size, loss=loss, **options)


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("loss", LOSSES)
def test_fgsm_reaches_the_optimum_in_one_step(norm_name, loss, classes, shape, place):
    x, radius = clean(shape, place), safe_radius(norm_name, place)
    victim, y = dominated(classes, x, radius, norm_name)
    block = Block(x, y, torch.arange(IMAGES))
    check(victim, FGSM(loss=loss), block, radius, norm_name, 1e-6)


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("loss", LOSSES)
def test_pgd_reaches_the_optimum(norm_name, loss, classes, shape, place):
    x, radius = clean(shape, place), safe_radius(norm_name, place)
    victim, y = dominated(classes, x, radius, norm_name)
    block = Block(x, y, torch.arange(IMAGES))
    attack = pgd(norm_name, radius, loss)
    check(victim, attack, block, radius, norm_name, TOLERANCE[norm_name])


@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_attacks_reach_the_optimum_in_float32_too(norm_name, place):
    x, radius = clean((3, 6, 4), place).float(), safe_radius(norm_name, place)
    exact, y = dominated(3, x.double(), radius, norm_name)
    victim = linear_victim(
        exact.module.W.double(), exact.module.b.double(), precision=torch.float32
    )
    block = Block(x, y, torch.arange(IMAGES))
    for attack, tolerance in (
        (FGSM(loss="margin"), 1e-4),
        (pgd(norm_name, radius), TOLERANCE[norm_name]),
    ):
        outcome = run_attack(victim, attack, block, norm_name, radius).outcome
        best = optimum(victim, x, y, radius, norm_name)
        gap = relative_to_the_gain(victim, block, outcome.margin.numpy(), best)
        assert (np.abs(gap) <= tolerance).all(), gap


@pytest.mark.parametrize("name", ["probability-margin", "dlr"])
def test_pgd_reaches_the_optimum_with_the_other_objectives(norm_name, name):
    x, radius = clean((1, 5, 7), "inside"), safe_radius(norm_name, "inside")
    victim, y = dominated(4, x, radius, norm_name)
    with torch.no_grad():  # tame logits: a probability that rounds to 0 has no gradient
        victim.module.W.mul_(0.3)
        victim.module.b.mul_(0.3).clamp_(min=-100)
    block = Block(x, y, torch.arange(IMAGES))
    attack = pgd(norm_name, radius, name)
    check(victim, attack, block, radius, norm_name, TOLERANCE[norm_name])


def test_pgd_with_restarts_finds_the_best_of_several_rivals(norm_name):
    """The margin of K classes is a maximum of linear functions: each rival is a local optimum.

    Restarts have to end at the global one for most images, and never above it.
    """
    x, radius = clean((3, 6, 4), "inside"), safe_radius(norm_name, "inside")
    W = 0.2 * normal(5, x[0].numel(), seed=3)
    victim = linear_victim(W, torch.zeros(5, dtype=torch.float64))
    with torch.no_grad():
        z = victim.logits(x)
        victim.module.b[0] = (
            float((z.max(1).values - z[:, 0]).max())
            + 4
            * radius
            * {
                "linf": float((W - W[0]).abs().sum(1).max()),
                "l2": float((W - W[0]).norm(dim=1).max()),
                "l1": float((W - W[0]).abs().max()),
            }[norm_name]
        )
    block = Block(x, torch.zeros(IMAGES, dtype=torch.int64), torch.arange(IMAGES))
    attack = pgd(norm_name, radius, "margin", restarts=8)
    outcome = run_attack(victim, attack, block, norm_name, radius).outcome
    best = optimum(victim, x, block.y, radius, norm_name)
    gap = relative_to_the_gain(victim, block, outcome.margin.numpy(), best)
    assert not outcome.broken.any()
    assert (gap >= -1e-9).all()
    assert (gap <= TOLERANCE[norm_name]).mean() >= 0.5


@pytest.mark.parametrize(
    "attack", [Noise(samples=30), RandomFGSM()], ids=lambda a: type(a).__name__
)
@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_no_attack_claims_more_than_the_optimum(norm_name, attack, place):
    x, radius = clean((1, 5, 7), place), safe_radius(norm_name, place)
    victim, y = dominated(3, x, radius, norm_name)
    block = Block(x, y, torch.arange(IMAGES))
    outcome = run_attack(victim, attack, block, norm_name, radius).outcome
    gap = relative_to_the_gain(
        victim, block, outcome.margin.numpy(), optimum(victim, x, y, radius, norm_name)
    )
    assert (gap >= -1e-9).all()
    assert (gap < 1).all(), "it is better than the clean image"


@pytest.mark.parametrize("place", ["inside", "at the box"])
@pytest.mark.parametrize("name", ["fgsm", "pgd"])
def test_images_fall_just_beyond_the_hyperplanes_distance_and_not_before(norm_name, place, name):
    """PGD runs 400 steps here: near the box, one per cent of radius is less than that of gain."""
    x, radius = clean((3, 6, 4), place), safe_radius(norm_name, place)
    victim, y = dominated(2, x, radius, norm_name)
    for row in range(2):
        block = Block(x[row : row + 1], y[row : row + 1], torch.tensor([row]))
        distance = distance_to_the_hyperplane(victim, x[row], int(y[row]), norm_name)
        below, above = 0.99 * distance, 1.01 * distance
        attacks = {
            size: FGSM() if name == "fgsm" else pgd(norm_name, size, "margin", steps=400)
            for size in (below, above)
        }
        before = run_attack(victim, attacks[below], block, norm_name, below).outcome
        after = run_attack(victim, attacks[above], block, norm_name, above).outcome
        assert not before.broken.item()
        assert before.margin.item() < 0
        assert after.broken.item()
        assert after.margin.item() > 0
        assert distance * (1 - 1e-9) <= after.distance.item() <= above * (1 + 1e-9)
        change = (after.adversarial[0] - x[row]).numpy()
        assert reference.length(change, norm_name) == pytest.approx(after.distance.item(), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_pgd_as_it_is_by_default_reaches_the_optimum_in_every_norm(norm_name, loss):
    x, radius = clean((3, 6, 4), "inside"), safe_radius(norm_name, "inside")
    victim, y = dominated(3, x, radius, norm_name)
    block = Block(x, y, torch.arange(IMAGES))
    tolerance = {"linf": 1e-4, "l2": 0.01, "l1": 0.01}[norm_name]
    check(victim, PGD(loss=loss), block, radius, norm_name, tolerance)
