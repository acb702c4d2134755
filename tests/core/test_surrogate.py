"""Surrogates: gradients against finite differences, averages, precision, what is left untouched."""

from __future__ import annotations

import pytest
import torch
from core_models import Counted, Linear, SmallCNN, cnn_victim, linear_victim, normal, uniform
from torch import nn

from auditor.maths.objectives import OBJECTIVE_NAMES, choose_objective
from auditor.subject.victim import Normalize, Victim
from auditor.surrogate import NoGradientError, naive

X = uniform(3, 2, 6, 7, seed=1)
Y = torch.tensor([0, 1, 2])


def finite_differences(victim: Victim, x: torch.Tensor, y: torch.Tensor, name: str) -> torch.Tensor:
    objective, h = choose_objective(name, 4), 1e-6
    result = torch.zeros_like(x)
    with torch.no_grad():
        for pixel in range(x[0].numel()):
            step = torch.zeros_like(x[0]).flatten()
            step[pixel] = h
            step = step.view(x[0].shape)
            up, down = (objective(victim.logits(x + sign * step), y) for sign in (1, -1))
            result.flatten(1)[:, pixel] = (up - down) / (2 * h)
    return result


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
@pytest.mark.parametrize("normalize", [None, Normalize((0.4, 0.6), (0.2, 0.3))])
def test_naive_gradient_is_that_of_finite_differences(name, normalize):
    victim = cnn_victim(X, normalize=normalize)
    seen = naive(victim).evaluate(X, Y, choose_objective(name, 4), gradient=True)
    expected = finite_differences(victim, X, Y, name)
    torch.testing.assert_close(seen.gradient, expected, rtol=1e-5, atol=1e-7)
    assert (seen.nonfinite, seen.zero) == (None, None)


def test_gradient_through_probabilities_is_that_of_their_logarithm():
    module = nn.Sequential(SmallCNN(X), nn.Softmax(dim=1))
    victim = Victim("p", module, precision=torch.float64, outputs="probabilities")
    seen = naive(victim).evaluate(X, Y, choose_objective("margin", 4), gradient=True)
    expected = finite_differences(victim, X, Y, "margin")
    torch.testing.assert_close(seen.gradient, expected, rtol=1e-5, atol=1e-7)


def test_logits_and_loss_are_the_victims_own_and_detached():
    victim = cnn_victim(X)
    objective = choose_objective("cross-entropy", 4)
    seen = naive(victim).evaluate(X, Y, objective, gradient=True)
    bare = naive(victim).evaluate(X, Y, objective, gradient=False)
    direct = victim.module(X)
    for one in (seen, bare):
        torch.testing.assert_close(one.logits, direct, rtol=0, atol=0)
        expected = nn.functional.cross_entropy(direct, Y, reduction="none")
        torch.testing.assert_close(one.loss, expected)
        assert not one.logits.requires_grad
        assert not one.loss.requires_grad
    assert not seen.gradient.requires_grad
    assert (bare.gradient, bare.nonfinite, bare.zero) == (None, None, None)


class Noisy(nn.Module):
    """Random in torch's own generator, as user models are."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x * (1 + 0.3 * torch.randn_like(x)))


@pytest.mark.parametrize("draws", [2, 5])
def test_an_average_is_the_mean_of_as_many_draws(draws):
    victim = Victim("noisy", Noisy(cnn_victim(X).module), precision=torch.float64)
    victim.draws = 20
    objective = choose_objective("cross-entropy", 4)
    victim.begin("stream")
    single = [naive(victim).evaluate(X, Y, objective, gradient=True) for _ in range(draws)]
    victim.begin("stream")
    mean = naive(victim).averaged(draws).evaluate(X, Y, objective, gradient=True)
    for name in ("logits", "loss", "gradient"):
        expected = torch.stack([getattr(one, name) for one in single]).mean(0)
        torch.testing.assert_close(getattr(mean, name), expected)
    assert not torch.equal(single[0].gradient, single[1].gradient)


def test_averages_compose_and_one_draw_changes_nothing():
    surrogate = naive(cnn_victim(X))
    assert surrogate.averaged(1) is surrogate
    assert surrogate.averaged(2).averaged(3).draws == 6


def test_gradient_in_float64_is_nearer_to_the_truth_than_in_float32():
    coarse = cnn_victim(X, precision=torch.float32)
    exact = Victim("exact", cnn_victim(X, precision=torch.float32).module, precision=torch.float64)
    objective = choose_objective("margin", 4)
    x = X.float()
    truth = naive(exact).evaluate(x.double(), Y, objective, gradient=True).gradient
    surrogate = naive(coarse)
    finer = surrogate.in_precision(torch.float64)
    errors = [
        float((one.evaluate(x, Y, objective, gradient=True).gradient - truth).abs().max())
        for one in (surrogate, finer)
    ]
    assert errors[1] < errors[0] / 2
    assert surrogate.in_precision(torch.float32) is surrogate
    assert coarse.precision == torch.float32
    assert next(coarse.module.parameters()).dtype == torch.float32


def test_float64_sees_a_gradient_that_vanishes_in_float32():
    """Logits 300 apart, as after distillation: softmax rounds to 0 and 1 in float32 only."""
    W, b = normal(2, 9, seed=2, dtype=torch.float32), torch.tensor([300.0, 0.0])
    victim = linear_victim(W, b, precision=torch.float32)
    x, y = uniform(4, 1, 3, 3, dtype=torch.float32), torch.zeros(4, dtype=torch.int64)
    objective = choose_objective("cross-entropy", 2)
    lost = naive(victim).evaluate(x, y, objective, gradient=True)
    assert lost.zero.all()
    seen = naive(victim).in_precision(torch.float64).evaluate(x, y, objective, gradient=True)
    assert seen.zero is None
    # 1 - p_y rounds to 0 in float64 too; what is left of p_1 (W_1 - W_0) is the rival's row.
    assert torch.equal(seen.gradient.sign(), W[1].view(1, 3, 3).sign().expand(4, 1, 3, 3))


def test_other_precision_counts_on_the_same_victim():
    victim = cnn_victim(X, precision=torch.float32)
    finer = naive(victim).in_precision(torch.float64)
    finer.evaluate(X.float(), Y, choose_objective("margin", 4), gradient=True)
    assert (victim.passes.forwards, victim.passes.backwards) == (3, 3)


class Broken(nn.Module):
    """Its gradient is infinite where the first pixel is 0, zero where the second is above 1/2."""

    def forward(self, x):
        flat = x.flatten(1)
        score = (flat.sum(1) + flat[:, 0].sqrt()) * (flat[:, 1] <= 0.5)
        return torch.stack([score, -score], 1)


def test_rows_that_are_not_finite_are_zeroed_and_flagged_and_zero_rows_too():
    x = torch.full((3, 1, 2, 2), 0.25, dtype=torch.float64)
    x[0, 0, 0, 0] = 0
    x[1, 0, 0, 1] = 0.9
    victim = Victim("broken", Broken(), precision=torch.float64)
    y = torch.zeros(3, dtype=torch.int64)
    seen = naive(victim).evaluate(x, y, choose_objective("margin", 2), gradient=True)
    assert seen.nonfinite.tolist() == [True, False, False]
    assert seen.zero.tolist() == [False, True, False]
    assert (seen.gradient[:2] == 0).all()
    # margin = -2 (sum of pixels + sqrt(first pixel)), and the root's slope at 1/4 is 1.
    assert seen.gradient[2].flatten().tolist() == [-4, -2, -2, -2]


class Argmax(nn.Module):
    def forward(self, x):
        return nn.functional.one_hot(x.flatten(1).argmax(1), 9).double()


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x.detach().flatten(1) * self.scale


@pytest.mark.parametrize("module", [Argmax(), Detached()], ids=lambda m: type(m).__name__)
def test_a_model_without_a_gradient_is_an_error_and_not_a_zero(module):
    victim = Victim("none", module, precision=torch.float64)
    x, y = uniform(2, 1, 3, 3), torch.tensor([0, 1])
    objective = choose_objective("margin", 9)
    with pytest.raises(NoGradientError):
        naive(victim).evaluate(x, y, objective, gradient=True)
    assert naive(victim).evaluate(x, y, objective, gradient=False).gradient is None


def test_evaluating_leaves_no_trace_on_model_and_images():
    module = cnn_victim(X).module
    module.train()
    module.requires_grad_(True)
    victim = Victim("traces", module, precision=torch.float64)
    x, before = X.clone(), {name: value.clone() for name, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    for surrogate in (naive(victim), naive(victim).averaged(2)):
        surrogate.evaluate(x, Y, choose_objective("margin", 4), gradient=True)
    assert torch.equal(x, X)
    assert not x.requires_grad
    assert x.grad is None
    assert not any(flags)
    assert [part.training for part in module.modules()] == flags
    for name, parameter in module.named_parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("draws", [1, 3])
def test_passes_are_counted_as_they_are_made(draws):
    counted = Counted(Linear(normal(4, 84, seed=3), torch.zeros(4, dtype=torch.float64)))
    victim = Victim("counted", counted, precision=torch.float64)
    surrogate, objective = naive(victim).averaged(draws), choose_objective("margin", 4)
    surrogate.evaluate(X, Y, objective, gradient=True)
    surrogate.evaluate(X, Y, objective, gradient=False)
    assert (counted.forwards, counted.backwards) == (6 * draws, 3 * draws)
    passes = victim.passes
    assert (passes.forwards, passes.backwards) == (counted.forwards, counted.backwards)


def test_each_images_gradient_is_its_own():
    victim, objective = cnn_victim(X), choose_objective("cross-entropy", 4)
    together = naive(victim).evaluate(X, Y, objective, gradient=True).gradient
    for row in range(3):
        part = slice(row, row + 1)
        alone = naive(victim).evaluate(X[part], Y[part], objective, gradient=True).gradient
        torch.testing.assert_close(alone[0], together[row], rtol=1e-12, atol=1e-14)
