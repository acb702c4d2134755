"""SPSA beside the closed forms of a linear model, and on stairs that have no gradient."""

from __future__ import annotations

import pytest
import torch
from auditor_plugins.spsa import SPSA, estimated
from core_linear import dominated, optimum, relative_to_the_gain
from core_models import block_of, cnn_victim, linear_victim, normal, run_attack, uniform
from core_pool import EPSILON, IDS, X, assert_same
from torch import nn

from auditor.attacking.pool import Block
from auditor.subject.victim import Victim


def test_the_estimate_is_the_mean_of_the_slopes_along_the_directions():
    g = normal(3, 1, 4, 4, seed=1)
    v = normal(3, 5, 1, 4, 4, seed=2).sign()
    ahead = (v * g[:, None]).flatten(2).sum(2)
    expected = torch.stack([(v[b] * ahead[b][:, None, None, None]).mean(0) for b in range(3)])
    found = estimated(v, torch.cat([ahead, -ahead], 1)) / 2
    torch.testing.assert_close(found, expected)


def test_over_all_directions_the_estimate_is_the_gradient():
    g = normal(2, 1, 2, 2, seed=3)
    corners = torch.tensor([[1 - 2 * (i >> bit & 1) for bit in range(4)] for i in range(16)])
    v = corners.double().view(1, 16, 1, 2, 2).expand(2, -1, -1, -1, -1)
    ahead = (v * g[:, None]).flatten(2).sum(2)
    torch.testing.assert_close(estimated(v, torch.cat([ahead, -ahead], 1)) / 2, g)


@pytest.mark.parametrize(("norm", "radius", "left"), [("linf", 0.03, 0.08), ("l2", 0.25, 0.2)])
@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_comes_close_to_the_optimum_of_a_linear_model(norm, radius, left, place):
    x = 0.3 + 0.4 * uniform(6, 1, 4, 5, seed=1)
    x = x if place == "inside" else (4 * x - 1.5).clamp(0, 1)
    victim, y = dominated(3, x, radius, norm)
    block = Block(x, y, torch.arange(len(x)))
    outcome = run_attack(victim, SPSA(steps=30, samples=16), block, norm, radius).outcome
    gap = relative_to_the_gain(
        victim, block, outcome.margin.numpy(), optimum(victim, x, y, radius, norm)
    )
    assert (gap >= -1e-9).all()
    assert (gap <= left).all(), gap
    assert outcome.forwards.tolist() == [31 * 32] * len(x)
    assert not outcome.backwards.any()


def test_neither_batch_size_nor_order_changes_what_happens_to_an_image(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    attack = SPSA(steps=3, samples=4, restarts=2)
    whole = run_attack(victim, attack, block, norm_name, EPSILON[norm_name]).outcome
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    other = run_attack(
        victim, attack, shuffled, norm_name, EPSILON[norm_name], batch_size=20
    ).outcome
    assert_same(whole, other, order)


def test_the_scale_of_the_logits_does_not_matter():
    x = uniform(4, 1, 4, 4, seed=5)
    W, b = normal(3, 16, seed=6), torch.tensor([9.0, 0.0, 0.0], dtype=torch.float64)
    y = torch.zeros(4, dtype=torch.int64)
    found = []
    for scale in (1.0, 1e-9):
        block = Block(x, y, torch.arange(4))
        victim = linear_victim(W * scale, b * scale)
        outcome = run_attack(victim, SPSA(steps=5, samples=4), block, "linf", 0.05).outcome
        found.append(outcome.margin / scale)
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


def test_steps_over_the_stairs_of_a_quantised_model():
    class Stairs(nn.Module):
        def forward(self, x):
            rounded = (x * 16).round() / 16
            return torch.stack([torch.zeros(len(x)), rounded.flatten(1).sum(1) - 8.3], 1)

    x = torch.full((3, 1, 4, 4), 0.5)
    block = Block(x, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    victim = Victim("stairs", Stairs(), precision=torch.float32)
    outcome = run_attack(victim, SPSA(steps=10, samples=8), block, "linf", 0.1).outcome
    assert outcome.broken.all()
