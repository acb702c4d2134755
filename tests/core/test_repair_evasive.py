"""Models that look for an auditor, keep state, write over their own tensors, or hide in torch."""

from __future__ import annotations

import pytest
import torch
from core_defenses import By, Guarded, Zero
from core_models import SmallCNN, uniform
from torch import nn
from torch.overrides import TorchFunctionMode

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import naive
from auditor.surrogate.trace import trace

X = uniform(4, 2, 6, 7, seed=1)
MARGIN = choose_objective("margin", 4)


class Suspicious(Guarded):
    """Answers at random as soon as anybody wants a gradient."""

    def guard(self, x):
        watched = x.requires_grad or torch.is_grad_enabled() or x.grad_fn is not None
        return torch.rand_like(x) if watched else x


class Counting(Guarded):
    """Honest for its first calls only, then another function."""

    calls = 0

    def guard(self, x):
        self.calls += 1
        return x.detach() if self.calls % 2 else x * 1


class Remembering(Guarded):
    """Keeps what it saw, in an attribute, a list and a buffer, and uses it the next time."""

    def __init__(self, inner):
        super().__init__(inner)
        self.seen, self.last = [], None
        self.register_buffer("mean", torch.zeros(()))

    def guard(self, x):
        previous = 0 if self.last is None else self.last
        self.last = torch.round(x * 15) / 15
        self.seen.append(self.last)
        self.mean.mul_(0.5).add_(self.last.mean().detach())
        return self.last + 1e-3 * previous + 0 * self.mean


class Overwriting(Guarded):
    """Writes over what an earlier operation would need for its gradient."""

    def guard(self, x):
        y = x * x
        x.data.clamp_(0.1, 0.9)
        x.mul_(2)
        y.round_()
        return (y.sqrt() * 0 + x) / 2


class Hidden(Guarded):
    """Its own torch-function mode, a vmap, chunks written in place."""

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    def guard(self, x):
        with self.Mode():
            x = torch.round(x * 15) / 15
        for part in x.unbind(0):
            part.add_(0.01)
        first, second = x.chunk(2, 1)
        first.copy_(Zero.apply(first.clone()))
        return torch.cat([first, second], 1)


def run(kind, times: int = 3):
    victim = Victim("evasive", kind(SmallCNN(X)), precision=torch.float64)
    honest = Victim("honest", SmallCNN(X), precision=torch.float64)
    y = honest.logits(X).argmax(1)
    for _ in range(times):
        seen = naive(victim).repaired().evaluate(X, y, MARGIN, gradient=True)
    truth = naive(honest).evaluate(X, y, MARGIN, gradient=True).gradient
    return seen, torch.cosine_similarity(seen.gradient.flatten(1), truth.flatten(1))


@pytest.mark.parametrize("kind", [Suspicious, Counting, Remembering, Overwriting, Hidden])
def test_evasive_models_are_repaired_all_the_same(kind):
    seen, cosine = run(kind)
    assert float(cosine.median()) > 0.6
    with torch.no_grad():
        victim = Victim("evasive", kind(SmallCNN(X)), precision=torch.float64)
        expected = [victim.logits(X.clone()) for _ in range(3)][-1]
    assert torch.equal(seen.logits, expected)


class ThroughScript(nn.Module):
    def __init__(self, scripted) -> None:
        super().__init__()
        self.inner, self.scripted = SmallCNN(X), scripted

    def forward(self, x):
        return self.inner(self.scripted(torch.round(x * 15) / 15))


def rounded(x):
    return torch.round(x * 15) / 15


def doubled(x):
    return x * 2.0


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_scripted_function_keeps_its_own_gradient_and_is_named():
    script = torch.jit.script(doubled)
    victim = Victim("s", ThroughScript(script), precision=torch.float64)
    y = victim.logits(X).argmax(1)
    seen = naive(victim).repaired().evaluate(X, y, MARGIN, gradient=True)
    honest = Victim("h", SmallCNN(X), precision=torch.float64)
    truth = naive(honest).evaluate(2 * rounded(X), y, MARGIN, gradient=True).gradient
    assert float(torch.cosine_similarity(seen.gradient.flatten(1), truth.flatten(1)).min()) > 0.9
    assert trace(victim, X).opaque == ("doubled",)
    assert torch.equal(script(X), doubled(X))


@pytest.mark.filterwarnings("ignore")
def test_compiled_code_is_seen_through():
    honest = Victim("h", SmallCNN(X), precision=torch.float64)
    compiled = torch.compile(By(SmallCNN(X), rounded), backend="eager")
    victim = Victim("c", compiled, precision=torch.float64)
    y = honest.logits(X).argmax(1)
    seen = naive(victim).repaired().evaluate(X, y, MARGIN, gradient=True)
    truth = naive(honest).evaluate(rounded(X), y, MARGIN, gradient=True).gradient
    assert float(torch.cosine_similarity(seen.gradient.flatten(1), truth.flatten(1)).min()) > 0.9
    assert trace(victim, X).culprit.operation == "torch.round"


class Mapped(Guarded):
    def guard(self, x):
        return torch.vmap(lambda one: one * 1.0)(x)


def test_a_graph_that_is_lost_altogether_is_autograds_own():
    victim = Victim("m", Mapped(SmallCNN(X)), precision=torch.float64)
    y = victim.logits(X).argmax(1)
    first, second = (
        s.evaluate(X, y, MARGIN, gradient=True).gradient
        for s in (naive(victim), naive(victim).repaired())
    )
    torch.testing.assert_close(first, second)
