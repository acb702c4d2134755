"""Repaired surrogates: the honest model's gradient, the victim's values, nothing left behind."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from core_defenses import HEADS, SOFT, STRAIGHT, By, Headed, Zero
from core_models import SmallCNN, uniform
from torch import nn

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, naive

X = uniform(4, 2, 6, 7, seed=1)
MARGIN = choose_objective("margin", 4)
ENTROPY = choose_objective("cross-entropy", 4)


def victim_of(module: nn.Module, **options) -> Victim:
    options.setdefault("precision", torch.float64)
    return Victim("defended", module, **options)


def labels() -> torch.Tensor:
    with torch.no_grad():
        return victim_of(SmallCNN(X)).logits(X).argmax(1)


def truth_at(x: torch.Tensor) -> torch.Tensor:
    seen = naive(victim_of(SmallCNN(X))).evaluate(x, labels(), MARGIN, gradient=True)
    return seen.gradient


def gradient(surrogate: Surrogate, x: torch.Tensor = X, objective=MARGIN) -> torch.Tensor:
    return surrogate.evaluate(x, labels()[: len(x)], objective, gradient=True).gradient


def cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    both = (tensor.double().flatten(1) for tensor in (first, second))
    return float(torch.cosine_similarity(*both).min())


@torch.no_grad()
def judged(victim: Victim, x: torch.Tensor = X) -> torch.Tensor:
    victim.begin("judged")
    return victim.logits(x)


@pytest.mark.parametrize("name", [*STRAIGHT, *SOFT])
def test_the_gradient_through_a_guard_is_the_honest_models_behind_it(name):
    guard = {**STRAIGHT, **SOFT}[name]
    victim = victim_of(By(SmallCNN(X), guard))
    with torch.no_grad():
        guarded = guard(X).clone()
    least = 0.9 if name in STRAIGHT else 0.5
    assert cosine(gradient(naive(victim).repaired()), truth_at(guarded)) > least


@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_through_a_head_is_that_of_the_scores_before_it(name):
    victim = victim_of(Headed(SmallCNN(X), HEADS[name]))
    assert cosine(gradient(naive(victim).repaired()), truth_at(X)) > 0.5


@pytest.mark.parametrize("name", [*STRAIGHT, *SOFT])
def test_the_logits_are_the_victims_bit_for_bit(name):
    victim = victim_of(By(SmallCNN(X), {**STRAIGHT, **SOFT}[name]))
    expected = judged(victim)
    for wanted in (True, False):
        seen = naive(victim).repaired().evaluate(X, labels(), ENTROPY, gradient=wanted)
        assert torch.equal(seen.logits, expected)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_a_saturated_softmax_passes_the_gradient_of_its_scores(precision, outputs):
    head = Headed(SmallCNN(X), lambda z: (1e4 * z).softmax(1))
    victim = victim_of(head, precision=precision, outputs=outputs)
    x = X.to(precision)
    assert not gradient(naive(victim), x).any()
    assert cosine(gradient(naive(victim).repaired(), x), truth_at(X)) > 0.99
    seen = naive(victim).repaired().evaluate(x, labels(), MARGIN, gradient=True)
    assert torch.equal(seen.logits, judged(victim, x))
    bare = naive(victim).repaired().evaluate(x, labels(), MARGIN, gradient=False)
    assert torch.equal(seen.loss, bare.loss)


class Votes(nn.Module):
    """The most frequent of the answers to seven noisy copies."""

    def __init__(self, count: bool) -> None:
        super().__init__()
        self.inner, self.count = SmallCNN(X), count

    @torch.no_grad()
    def forward(self, x):
        answers = [self.inner(x + 0.005 * torch.randn_like(x)).argmax(1) for _ in range(7)]
        if self.count:
            return sum(nn.functional.one_hot(one, 4).to(x.dtype) for one in answers) / 7
        return nn.functional.one_hot(torch.stack(answers).mode(0).values, 4).to(x.dtype)


@pytest.mark.parametrize("count", [True, False])
def test_votes_pass_the_mean_gradient_of_the_voters(count):
    victim = victim_of(Votes(count))
    both = gradient(naive(victim).repaired()).flatten(1), truth_at(X).flatten(1)
    assert float(torch.cosine_similarity(*both).median()) > 0.5


class Nearest(nn.Module):
    """One-hot of the nearest prototype."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = SmallCNN(X)
        self.register_buffer("prototypes", 3 * torch.eye(4))

    def forward(self, x):
        index = torch.cdist(self.inner(x), self.prototypes).argmin(1)
        return nn.functional.one_hot(index, 4).to(x.dtype)


def test_the_nearest_prototype_passes_the_gradient_of_the_distances():
    assert cosine(gradient(naive(victim_of(Nearest())).repaired()), truth_at(X)) > 0.5


class Noisy(By):
    """Random numbers of every kind, some of them behind a cut."""

    def guard(self, x):
        noise = torch.randn_like(x) + float(np.random.rand()) + random.random()
        x = nn.functional.dropout(x.detach() + 0.01 * noise, 0.2, training=True)
        return Zero.apply(torch.bernoulli(x.clamp(0, 1)) * 0.1 + x)


def test_random_numbers_are_consumed_as_without_repair():
    victim = victim_of(Noisy(SmallCNN(X), None))
    expected = judged(victim)
    victim.begin("judged")
    seen = naive(victim).repaired().evaluate(X, labels(), MARGIN, gradient=True)
    assert torch.equal(seen.logits, expected)
    victim.seeded = False
    states = []
    for surrogate in (naive(victim), naive(victim).repaired()):
        torch.manual_seed(3)
        surrogate.evaluate(X, labels(), MARGIN, gradient=False)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_repair_composes_with_averages_precision_and_rescaling():
    victim = victim_of(By(SmallCNN(X), lambda x: x.detach()), precision=torch.float32)
    base = naive(victim)
    composed = base.repaired().averaged(2).in_precision(torch.float64).rescaled()
    assert composed.name == "naive, repaired, averaged over 2 draws in float64, rescaled"
    assert cosine(gradient(composed, X.float()), truth_at(X)) > 0.99
    other = base.rescaled().in_precision(torch.float64).averaged(2).repaired()
    torch.testing.assert_close(gradient(other, X.float()), gradient(composed, X.float()))
    assert base.repaired().repaired() == base.repaired()


def test_the_jacobian_is_repaired_too():
    victim = victim_of(By(SmallCNN(X), lambda x: x.detach()))
    options = {"gradient": True, "jacobian": True}
    seen = naive(victim).repaired().evaluate(X, labels(), MARGIN, **options)
    honest = naive(victim_of(SmallCNN(X))).evaluate(X, labels(), MARGIN, **options)
    torch.testing.assert_close(seen.gradient, honest.gradient)


def test_each_images_gradient_is_its_own():
    victim = victim_of(By(SmallCNN(X), SOFT["thermometer"]))
    together = gradient(naive(victim).repaired())
    for row in range(len(X)):
        y = labels()[row : row + 1]
        seen = naive(victim).repaired().evaluate(X[row : row + 1], y, MARGIN, gradient=True)
        torch.testing.assert_close(seen.gradient[0], together[row])


def test_one_pass_each_is_counted():
    victim = victim_of(By(SmallCNN(X), torch.round))
    gradient(naive(victim).repaired())
    assert (victim.passes.forwards, victim.passes.backwards) == (4, 4)
