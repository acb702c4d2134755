"""Repair changes nothing about an honest model, and leaves nothing behind."""

from __future__ import annotations

import pytest
import torch
import torchvision
from core_defenses import By, Identity, Zero, halved
from core_models import SmallCNN, uniform
from torch import nn
from torch.nn.modules import module as modules

from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import naive
from auditor.surrogate.trace import trace

OBJECTIVE = choose_objective("cross-entropy", 4)
Y = torch.tensor([0, 1, 2])


def plain() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Dropout(),
        nn.Conv2d(8, 8, 3),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


class Stable(nn.Module):
    """log-softmax by hand, its largest logit taken off as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        z = self.inner(x)
        z = z - z.max(1, keepdim=True).values.detach()
        return z - z.exp().sum(1, keepdim=True).log()


class Branched(nn.Module):
    """Reports its answers beside the logits, which do not depend on them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        z = self.inner(x)
        self.answers = z.argmax(1).detach()
        assert not bool((z != z).any())
        return z


class ByHand(nn.Module):
    """ReLU by comparisons, clipping, a function and an operator of its own with true gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, x):
        h = self.first(x.clamp(0, 1))
        h = h * (h > 0)
        h = torch.where(h > 0.1, h, 0.5 * h)
        h = halved(Square.apply(h)).mean((2, 3))
        return self.last(h.masked_fill(h < 0, 0.0))


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


HONEST = {
    "plain": plain,
    "log-softmax": lambda: nn.Sequential(plain(), nn.LogSoftmax(1)),
    "softmax": lambda: nn.Sequential(plain(), nn.Softmax(1)),
    "stable": Stable,
    "branched": Branched,
    "by hand": ByHand,
    "resnet": lambda: torchvision.models.resnet18(num_classes=4),
    "transformer": lambda: torchvision.models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=4),
}


def honest(name: str, dtype: torch.dtype = torch.float64) -> tuple[Victim, torch.Tensor]:
    torch.manual_seed(0)
    module = HONEST[name]()
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    size = (32, 32) if name == "transformer" else (32, 24)
    outputs = "probabilities" if name == "softmax" else "logits"
    victim = Victim(name, module, precision=dtype, outputs=outputs)
    return victim, uniform(3, 3, *size, seed=2, dtype=dtype)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_gradient_stays_what_it_is(name):
    victim, x = honest(name)
    first, second = (
        surrogate.evaluate(x, Y, OBJECTIVE, gradient=True)
        for surrogate in (naive(victim), naive(victim).repaired())
    )
    assert torch.equal(first.logits, second.logits)
    torch.testing.assert_close(first.gradient, second.gradient, rtol=1e-7, atol=1e-12)
    assert first.gradient.any()


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_has_no_culprit(name):
    victim, x = honest(name)
    seen = trace(victim, x)
    assert seen.culprit is None
    assert seen.reaches_input
    assert not any(
        (seen.repaired_matters, seen.draws_random, seen.leaves_torch, seen.differentiates)
    )
    assert not any(site.essential for site in seen.sites)
    if name in ("plain", "branched", "resnet", "transformer", "softmax"):
        assert seen.sites == ()
    if name == "stable":
        assert [site.effect for site in seen.sites] == ["hides"]


class Failing(By):
    def forward(self, x):
        with torch.no_grad():
            self.guard(x)
            raise ValueError("the model's own")


def _state() -> tuple[object, ...]:
    return (
        torch.is_grad_enabled(),
        Identity.__dict__["forward"],
        Zero.__dict__.get("forward"),
        dict(modules._global_forward_hooks),
        dict(modules._global_forward_pre_hooks),
        torch.overrides._get_current_function_mode(),
        torch.is_inference_mode_enabled(),
        torch.autograd.Function.__dict__.get("apply"),
    )


@pytest.mark.parametrize("fails", [True, False])
def test_everything_is_as_before_even_if_the_model_fails(fails):
    x = uniform(3, 2, 6, 7, seed=1)
    kind = Failing if fails else By
    victim = Victim("v", kind(SmallCNN(x), Zero.apply), precision=torch.float64)
    before, parameters = _state(), [p.clone() for p in victim.module.parameters()]
    if fails:
        with pytest.raises(ValueError, match="own"):
            naive(victim).repaired().evaluate(x, Y, OBJECTIVE, gradient=True)
    else:
        naive(victim).repaired().evaluate(x, Y, OBJECTIVE, gradient=True)
        trace(victim, x)
    assert _state() == before
    for parameter, was in zip(victim.module.parameters(), parameters, strict=True):
        assert torch.equal(parameter, was)
        assert not parameter.requires_grad
        assert parameter.grad is None
    assert not x.requires_grad


def test_nested_passes_do_not_mix():
    x = uniform(3, 2, 6, 7, seed=1)
    inner = naive(Victim("i", By(SmallCNN(x), torch.round), precision=torch.float64)).repaired()
    alone = inner.evaluate(x, Y, OBJECTIVE, gradient=True).gradient
    seen = []

    def guard(z):
        seen.append(inner.evaluate(x, Y, OBJECTIVE, gradient=True).gradient)
        return z.detach()

    outer = naive(Victim("o", By(SmallCNN(x), guard), precision=torch.float64)).repaired()
    gradient = outer.evaluate(x, Y, OBJECTIVE, gradient=True).gradient
    torch.testing.assert_close(seen[0], alone)
    own = naive(Victim("h", SmallCNN(x), precision=torch.float64))
    torch.testing.assert_close(gradient, own.evaluate(x, Y, OBJECTIVE, gradient=True).gradient)
