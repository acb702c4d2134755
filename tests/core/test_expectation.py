"""The surrogate at its randomness's mean: closed forms, and that the model itself is left alone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from core_models import normal, uniform
from torch import distributions, nn

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import NoGradientError, naive
from auditor.surrogate.expectation.expectation import Expectation

S = torch.linspace(-2, 2, 9, dtype=torch.float64)
P = S.sigmoid()
ONES = torch.ones_like(S)
GENERATOR = torch.Generator().manual_seed(0)


def gumbel(like: torch.Tensor) -> torch.Tensor:
    return -torch.log(-torch.log(torch.rand_like(like) + 1e-20) + 1e-20)


def in_place(like: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(like).uniform_(1e-9, 1).log_().neg_().log_().neg_()


def dropped_path(x: torch.Tensor) -> torch.Tensor:
    keep = 0.7
    return x / keep * (keep + torch.rand_like(x)).floor_()


#: What random code computes of S, and its expectation.
EXACT = {
    "bernoulli": (lambda: torch.bernoulli(P), P),
    "bernoulli_": (lambda: torch.empty_like(S).bernoulli_(P), P),
    "a coin as a mask": (lambda: torch.where(torch.bernoulli(P) > 0.5, ONES, -ONES), 2 * P - 1),
    "distributions": (lambda: distributions.Bernoulli(logits=S).sample(), P),
    "u < p times x": (lambda: (torch.rand_like(S) < P) * S, P * S),
    "where": (lambda: torch.where(torch.rand(9) < P, S, 3 * ONES), P * S + 3 * (1 - P)),
    "not": (lambda: (~(torch.rand_like(S) < P)).to(S.dtype), 1 - P),
    "and": (lambda: ((torch.rand_like(S) < P) & (torch.rand_like(S) < P)).double(), P * P),
    "or": (lambda: ((torch.rand_like(S) < P) | (torch.rand_like(S) < P)).double(), P * (2 - P)),
    "1 - mask": (lambda: 1 - (torch.rand_like(S) < P).double(), 1 - P),
    "masked_fill": (lambda: S.masked_fill(torch.rand_like(S) < 0.3, 1.0), 0.7 * S + 0.3),
    "shapes": (lambda: (torch.rand(3, 3).double()[None].flatten() < P).double(), P),
    "probit": (lambda: (S + 2 * torch.randn_like(S) > 0).double(), torch.special.ndtr(S / 2)),
    "scaled in place": (
        lambda: (torch.randn_like(S).mul_(2).add_(S) > 0).double(), torch.special.ndtr(S / 2)
    ),
    "sign": (lambda: torch.sign(S + torch.randn_like(S)), 2 * torch.special.ndtr(S) - 1),
    "two gumbels": (lambda: (S + gumbel(S) - in_place(S) > 0).double(), P),
    "logit of uniform": (lambda: (S + torch.logit(torch.rand_like(S)) > 0).double(), P),
    "hard gumbel-softmax": (
        lambda: F.gumbel_softmax(torch.stack([S, 0 * S]), tau=0.1, hard=True, dim=0)[0], P
    ),
    "dropout": (lambda: F.dropout(S, 0.3, True), S),
    "torch.dropout": (lambda: torch.dropout(S, 0.3, train=True), S),
    "drop path": (lambda: dropped_path(S), S),
    "rounded at random": (lambda: torch.floor(S + torch.rand_like(S)), S),
    "dither": (lambda: torch.round(4 * S + torch.rand_like(S) - 0.5) / 4, S),
    "additive noise": (lambda: S + torch.normal(0.0, torch.ones_like(S)), S),
    "normal": (lambda: distributions.Normal(S, 1.0).rsample(), S),
    "exponential": (lambda: S * torch.empty_like(S).exponential_(4.0), S / 4),
    "poisson": (lambda: torch.poisson(P), P),
    "uniform_": (lambda: S * torch.empty_like(S).uniform_(1, 2), 1.5 * S),
    "a generator": (lambda: S + torch.randn(9, generator=GENERATOR).double(), S),
}  # fmt: skip


@pytest.mark.parametrize("draw", EXACT)
def test_random_code_is_worth_its_expectation(draw):
    compute, expected = EXACT[draw]
    with Expectation():
        found = compute()
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("draw", sorted(EXACT))
def test_these_are_the_expectations(draw):
    torch.manual_seed(0)
    compute, expected = EXACT[draw]
    mean = torch.stack([compute().double() for _ in range(1500)]).mean(0)
    torch.testing.assert_close(mean, expected, atol=0.2, rtol=0)


RELAXED = {
    "gumbel-softmax": lambda x, t: F.gumbel_softmax(torch.stack([x, 0 * x]), tau=t, dim=0)[0],
    "by hand": lambda x, t: torch.softmax(
        (torch.stack([x, 0 * x]) + gumbel(torch.stack([x, x]))) / t, 0
    )[0],
    "logistic": lambda x, t: torch.sigmoid((x + torch.logit(torch.rand_like(x))) / t),
    "distributions": lambda x, t: distributions.RelaxedBernoulli(
        torch.tensor(t, dtype=x.dtype), logits=x
    ).rsample(),
}


@pytest.mark.parametrize("temperature", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("gate", RELAXED)
def test_relaxed_gates_are_about_what_they_are_in_the_mean(gate, temperature):
    torch.manual_seed(1)
    drawn = RELAXED[gate](S.expand(20000, 9), temperature).mean(0)
    with Expectation():
        found = RELAXED[gate](S, temperature)
    torch.testing.assert_close(found, drawn, atol=0.04, rtol=0)


def test_choices_are_the_middle_and_the_likeliest():
    with Expectation():
        assert int(torch.randint(0, 5, ())) == 2
        assert torch.randint(3, (2,)).tolist() == [1, 1]
        assert torch.randint(low=2, high=5, size=(1,)).tolist() == [3]
        assert torch.randperm(4).tolist() == [0, 1, 2, 3]
        assert torch.multinomial(torch.tensor([0.2, 0.5, 0.3]), 1).tolist() == [1]
        quantiles = torch.multinomial(torch.tensor([0.5, 0.25, 0.25]), 4, replacement=True)
        assert quantiles.tolist() == [0, 0, 1, 2]


def test_nothing_is_known_of_a_tensor_that_was_written_over():
    with Expectation():
        noise = torch.rand(9).double()
        noise.copy_(S)
        assert torch.equal(noise > 0, S > 0)
        again = torch.rand(9).double()
        again.cos_()
        mask = again > 0.9
    assert not mask.any(), "cos(0.5) is compared, not a chance"


# --- Surrogates

X, Y = uniform(6, 1, 4, 4, seed=1, dtype=torch.float64), torch.zeros(6, dtype=torch.int64)
W, V = normal(16, 5, seed=2, dtype=torch.float64), normal(5, 3, seed=3, dtype=torch.float64)


class Gates(nn.Module):
    """z = (h b) V with h = x W and coins b of chance sigmoid(h)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = x.flatten(1) @ W
        p = h.sigmoid()
        if self.kind == "bernoulli":
            return h * torch.bernoulli(p) @ V
        if self.kind == "compared":
            return torch.where(torch.rand_like(h) < p, h, 0 * h) @ V
        with torch.no_grad():
            gate = torch.bernoulli(p)
        return gate @ V


def evaluated(surrogate):
    return surrogate.evaluate(X, Y, choose_objective("margin", 3), gradient=True)


def closed(answer):
    """Logits and the margin's gradient of a function of h."""
    point = X.clone().requires_grad_(True)
    z = answer(point.flatten(1) @ W) @ V
    loss = z[:, 1:].amax(1) - z[:, 0]
    return z.detach(), torch.autograd.grad(loss.sum(), point)[0]


def victim(module: nn.Module) -> Victim:
    made = Victim("random", module, precision=torch.float64)
    made.draws = 20
    made.begin("test")
    return made


@pytest.mark.parametrize("kind", ["bernoulli", "compared"])
@pytest.mark.parametrize("repair", [False, True])
def test_a_network_of_gates_has_its_expectation_and_that_ones_gradient(kind, repair):
    surrogate = naive(victim(Gates(kind))).expected()
    seen = evaluated(surrogate.repaired() if repair else surrogate)
    logits, slope = closed(lambda h: h * h.sigmoid())
    torch.testing.assert_close(seen.logits, logits)
    torch.testing.assert_close(seen.gradient, slope)
    drawn = torch.stack([surrogate.model.logits(X) for _ in range(1000)]).mean(0)
    assert (drawn - logits).abs().amax() < 1


def test_coins_under_no_grad_need_repair_as_well():
    surrogate = naive(victim(Gates("no_grad"))).expected()
    with pytest.raises(NoGradientError):
        evaluated(surrogate)
    seen = evaluated(surrogate.repaired())
    logits, slope = closed(torch.sigmoid)
    torch.testing.assert_close(seen.logits, logits)
    torch.testing.assert_close(seen.gradient, slope)


class NoisyVote(nn.Module):
    """Votes of linear models with noise on their weights; no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        votes = []
        for _ in range(3):
            weights = W[:, :3] + 0.5 * torch.randn_like(W[:, :3])
            votes.append(F.one_hot((x.flatten(1) @ weights).argmax(1), 3).to(x.dtype))
        return torch.stack(votes).mean(0)


def test_a_vote_of_noisy_networks_is_the_network_without_noise_repaired():
    surrogate = naive(victim(NoisyVote())).repaired().expected()
    seen = evaluated(surrogate)
    z = X.flatten(1) @ W[:, :3]
    assert torch.equal(seen.logits, F.one_hot(z.argmax(1), 3).double())
    point = X.clone().requires_grad_(True)
    z = point.flatten(1) @ W[:, :3]
    right = torch.zeros(6, 3, dtype=torch.bool)
    right[:, 0] = True
    rival = z.masked_fill(right, -math.inf).argmax(1)
    (slope,) = torch.autograd.grad((z[range(6), rival] - z[:, 0]).sum(), point)
    cosine = torch.cosine_similarity(seen.gradient.flatten(1), slope.flatten(1))
    assert (cosine > 0.9).all()


def test_names_and_composition():
    own = naive(victim(Gates("bernoulli")))
    mean = own.expected()
    assert mean.expected() is mean
    assert "at its randomness's mean" in mean.name
    assert "at its randomness's mean" in mean.repaired().name
    assert evaluated(mean.rescaled()).gradient.abs().amax() > 0


class Remembers(nn.Module):
    """Draws its noise at every third call, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("noise", torch.zeros(16, 5, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.calls % 3 == 0:
            self.noise.normal_()
        self.calls += 1
        return (x.flatten(1) @ (W + self.noise)) @ V


def test_the_model_remembers_nothing_of_it():
    model = victim(Remembers())
    model.logits(X)
    before = model.module.noise.clone()
    surrogate = naive(model).expected()
    for _ in range(4):
        seen = evaluated(surrogate)
    torch.testing.assert_close(seen.logits, X.flatten(1) @ W @ V)
    assert torch.equal(model.module.noise, before)
    assert model.module.calls == 1


def test_passes_are_counted_where_the_audit_counts_them():
    model = victim(Gates("bernoulli"))
    evaluated(naive(model).expected())
    assert (model.passes.forwards, model.passes.backwards) == (6, 6)
