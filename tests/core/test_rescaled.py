"""Rescaled surrogates: cross-entropy that cannot underflow."""

from __future__ import annotations

import pytest
import torch
from core_models import Linear, SmallCNN, linear_victim, normal, uniform
from torch import nn

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import naive

ENTROPY = choose_objective("cross-entropy", 4)
Y = torch.tensor([0, 1, 2])
X = uniform(3, 1, 3, 5, seed=4)


class Scaled(nn.Module):
    def __init__(self, factor: float, head: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.factor, self.head = SmallCNN(X), factor, head or nn.Identity()

    def forward(self, x):
        return self.head(self.factor * self.inner(x))


def gradient(victim: Victim, rescaled: bool = True) -> torch.Tensor:
    surrogate = naive(victim).rescaled() if rescaled else naive(victim)
    y = victim.logits(X).argmax(1)
    return surrogate.evaluate(X, y, ENTROPY, gradient=True).gradient


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_gradient_does_not_depend_on_the_scale_of_the_logits(precision):
    small, large = (Victim("v", Scaled(factor), precision=precision) for factor in (1, 1e5))
    assert not gradient(large, rescaled=False).flatten(1).any(1).all()
    torch.testing.assert_close(gradient(large), gradient(small), rtol=1e-3, atol=1e-6)
    assert gradient(small).any()


def test_logits_stay_the_victims_and_the_loss_is_that_of_a_range_of_six():
    W, b = normal(4, 15, seed=3), normal(4, seed=5)
    victim = linear_victim(W, b)
    seen = naive(victim).rescaled().evaluate(X, Y, ENTROPY, gradient=True)
    z = Linear(W, b)(X)
    assert torch.equal(seen.logits, z)
    scaled = 6 * z / (z.amax(1, keepdim=True) - z.amin(1, keepdim=True))
    expected = nn.functional.cross_entropy(scaled, Y, reduction="none")
    torch.testing.assert_close(seen.loss, expected.detach())


def test_probabilities_near_one_keep_a_gradient():
    victim = Victim("v", Scaled(20, nn.Softmax(1)), outputs="probabilities")
    slope = gradient(victim)
    assert slope.isfinite().all()
    assert slope.flatten(1).any(1).all()


def test_equal_logits_are_no_division_by_zero():
    victim = linear_victim(torch.zeros(4, 15, dtype=torch.float64), torch.ones(4))
    seen = naive(victim).rescaled().evaluate(X, Y, ENTROPY, gradient=True)
    assert seen.loss.isfinite().all()
    assert seen.nonfinite is None or not seen.nonfinite.any()


def test_rescaling_twice_is_rescaling_once():
    surrogate = naive(linear_victim(normal(4, 15), normal(4)))
    assert surrogate.rescaled().rescaled() == surrogate.rescaled()
    assert surrogate.rescaled().name == "naive, rescaled"
