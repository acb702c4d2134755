"""Faster forms of a model: the same logits and gradients, or they are not used."""

from __future__ import annotations

import copy

import pytest
import torch
from core_forms import NORMALIZE, BatchNormCNN, X, randomised, seen_by, surrogate_of
from core_models import Linear, SmallCNN, normal
from torch import nn
from torch.nn import functional as F

from auditor.surrogate import FORMS, agrees, in_form


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalize", [None, NORMALIZE])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=str)
def test_a_form_has_the_models_logits_and_gradients(form, normalize, precision):
    surrogate = surrogate_of(randomised(BatchNormCNN()), normalize=normalize, precision=precision)
    plain, other = seen_by(surrogate), seen_by(in_form(surrogate, form))
    tolerance = 1e-4 if precision == torch.float32 else 1e-12
    assert plain.gradient.abs().amax() > 1e-3
    for name in ("logits", "loss", "gradient"):
        expected = getattr(plain, name)
        scale = float(expected.abs().amax())
        torch.testing.assert_close(
            getattr(other, name), expected, rtol=tolerance, atol=tolerance * scale
        )


@pytest.mark.parametrize("form", ["channels-last", "folded"])
def test_the_model_itself_is_left_as_it_was(form):
    module = randomised(BatchNormCNN())
    module.train()
    surrogate = surrogate_of(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    kinds = [type(part) for part in module.modules()]
    other = in_form(surrogate, form)
    with torch.no_grad():
        for parameter in other.model.module.parameters():
            parameter.zero_()
    assert surrogate.model.module is module
    assert [type(part) for part in module.modules()] == kinds
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert tensor.is_contiguous()
    assert not any(part.training for part in other.model.module.modules())
    assert not any(parameter.requires_grad for parameter in other.model.module.parameters())


def test_each_form_is_what_it_is_called():
    surrogate = surrogate_of(randomised(BatchNormCNN()))
    assert in_form(surrogate, "plain") is surrogate
    for form in ("channels-last", "folded"):
        module = in_form(surrogate, form).model.module
        convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
        assert len(convolutions) == 4
        for part in convolutions:
            assert part.weight.is_contiguous(memory_format=torch.channels_last)
        norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        assert len(norms) == (0 if form == "folded" else 3)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_form_costs_is_counted_on_the_same_victim(form):
    surrogate = surrogate_of(randomised(BatchNormCNN())).averaged(2)
    other = in_form(surrogate, form)
    assert (other.name, other.draws) == (surrogate.name, 2)
    seen_by(other)
    passes = surrogate.model.passes
    assert (passes.forwards, passes.backwards) == (2 * len(X), 2 * len(X))
    assert other.model.pieces is surrogate.model.pieces


# What agrees


def test_a_model_agrees_with_itself_and_its_forms():
    surrogate = surrogate_of(randomised(BatchNormCNN()), normalize=NORMALIZE)
    for form in FORMS:
        assert agrees(surrogate, in_form(surrogate, form), X)


class Altered(nn.Module):
    """Another model's logits or gradients, altered, perhaps in one image alone."""

    def __init__(self, inner: nn.Module, what: str) -> None:
        super().__init__()
        self.inner, self.what = inner, what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.what == "longer gradient":
            x = 1.01 * x - (0.01 * x).detach()
        if self.what == "other gradient in one image":
            other = x.detach() + 1.1 * (x - x.detach())
            x = torch.where(torch.arange(len(x)).view(-1, 1, 1, 1) == 3, other, x)
        z = self.inner(x)
        one = F.one_hot(torch.tensor(3), len(z)).to(z.dtype)[: len(z), None]
        third = torch.tensor([0, 0, 1, 0])
        return {
            "nan in one image": lambda: torch.where(one > 0, torch.nan, z),
            "infinity in one class": lambda: torch.where(one * third > 0, -torch.inf, z),
            "nan in all": lambda: z * torch.nan,
            "one logit off": lambda: z + one * torch.tensor([0, 0, 0, 0.01]) * z.abs().amax(),
            "no gradient": lambda: z.detach() + 0 * x.detach().sum(),
        }.get(self.what, lambda: z)()


@pytest.mark.parametrize(
    "what",
    [
        "longer gradient",
        "other gradient in one image",
        "nan in one image",
        "nan in all",
        "infinity in one class",
        "one logit off",
        "no gradient",
    ],
)
def test_what_is_not_the_models_own_does_not_agree(what):
    module = SmallCNN(X)
    surrogate = surrogate_of(module)
    assert agrees(surrogate, surrogate_of(Altered(copy.deepcopy(module), "nothing")), X)
    altered = surrogate_of(Altered(copy.deepcopy(module), what))
    assert not agrees(surrogate, altered, X)
    assert not agrees(altered, surrogate, X)


def test_another_model_does_not_agree():
    one, other = (surrogate_of(randomised(BatchNormCNN(), seed)) for seed in (1, 2))
    assert not agrees(one, other, X)


def test_a_model_that_answers_nan_agrees_with_nothing_not_even_itself():
    altered = surrogate_of(Altered(SmallCNN(X), "nan in one image"))
    assert not agrees(altered, altered, X)


def test_rounding_is_no_disagreement_and_is_measured_by_each_images_own_scale():
    """Logits of 1 and of 1000 in one batch, each off by a ten-thousandth of itself, or by 1 %."""
    W, b = normal(4, X[0].numel(), seed=3), torch.zeros(4, dtype=torch.float64)
    x = X.double() * torch.tensor([1e-3, 1, 1e-3, 1, 1e-3, 1]).view(-1, 1, 1, 1)
    surrogate = surrogate_of(Linear(W, b), precision=torch.float64)
    for error, close in ((1e-4, True), (1e-2, False)):
        other = surrogate_of(Linear(W * (1 + error), b), precision=torch.float64)
        assert agrees(surrogate, other, x) is close
    # Off by as much, whatever the image: little beside the large logits, much beside the small.
    shift = 1e-4 * float((x[1].flatten() @ W.T).abs().amax())
    other = surrogate_of(Linear(W, b + torch.tensor([shift, 0, 0, 0])), precision=torch.float64)
    assert agrees(surrogate, other, x[1::2])
    assert not agrees(surrogate, other, x)
