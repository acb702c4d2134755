"""The trace names the line that costs a model its gradient."""

from __future__ import annotations

import inspect

import pytest
import torch
from core_defenses import HEADS, SOFT, STRAIGHT, By, Guarded, Headed
from core_models import SmallCNN, uniform
from torch import nn

from auditor.subject.victim import Victim
from auditor.surrogate.trace import Site, Trace, trace

X = uniform(4, 2, 6, 7, seed=1)


def traced(module: nn.Module, **options) -> Trace:
    return trace(Victim("defended", module, precision=torch.float64, **options), X)


def lines_of(function) -> range:
    source, first = inspect.getsourcelines(inspect.unwrap(function))
    return range(first, first + len(source))


def is_named_function(function) -> bool:
    return inspect.isfunction(function) and function.__name__ != "<lambda>"


@pytest.mark.parametrize("name", [*STRAIGHT, *SOFT, *HEADS])
def test_every_defense_has_its_culprit_in_its_own_lines(name):
    function = {**STRAIGHT, **SOFT, **HEADS}[name]
    module = (Headed if name in HEADS else By)(SmallCNN(X), function)
    seen = traced(module)
    if name == "own straight-through" or name.startswith("hard threshold"):
        # most of the gradient is what it should be
        assert seen.culprit is None
        assert "flattens" in [site.effect for site in seen.sites]
        return
    assert seen.repaired_matters
    culprit = seen.culprit
    assert culprit is not None
    assert culprit.file.endswith("core_defenses.py")
    assert not culprit.file.startswith("/")
    assert f"core_defenses.py:{culprit.line}" in culprit.where
    assert str(culprit) == culprit.where
    if is_named_function(function):
        assert culprit.line in lines_of(function)
    assert culprit.effect != "hides"


def line_with(text: str, owner) -> int:
    source, first = inspect.getsourcelines(owner)
    return first + next(i for i, line in enumerate(source) if text in line)


class Quantizer(nn.Module):
    def forward(self, x):
        levels = x * 7
        return torch.round(levels) / 7


class Deep(Guarded):
    def __init__(self, inner):
        super().__init__(inner)
        self.stem = nn.Sequential(nn.Identity(), Quantizer())

    def guard(self, x):
        return self.stem(x)


def test_a_culprit_has_operation_file_line_module_and_effect():
    line = line_with("torch.round", Quantizer)
    culprit = traced(Deep(SmallCNN(X))).culprit
    file = culprit.file
    where = f"torch.round at {file}:{line}, module stem.1"
    assert culprit == Site("torch.round", file, line, "stem.1", "flattens", where, essential=True)


class Twice(Guarded):
    def guard(self, x):
        x = x.detach()
        return torch.round(x * 7) / 7


def test_of_several_cuts_in_a_row_all_are_essential_and_the_first_is_named():
    seen = traced(Twice(SmallCNN(X)))
    assert [(s.operation, s.essential) for s in seen.sites] == [
        ("Tensor.detach", True),
        ("torch.round", True),
    ]
    assert seen.culprit.operation == "Tensor.detach"


class Beside(Guarded):
    """Three branches: one honest, one cut but small, one that leads nowhere."""

    def guard(self, x):
        self.unused = torch.round(x) + x.argmax()
        return x + 1e-3 * x.detach()


def test_a_cut_beside_an_honest_path_hides_and_is_no_culprit():
    seen = traced(Beside(SmallCNN(X)))
    assert [(s.operation, s.effect, s.essential) for s in seen.sites] == [
        ("Tensor.detach", "hides", False)
    ]
    assert seen.culprit is None
    assert not seen.repaired_matters


class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = SmallCNN(X)

    @torch.no_grad()
    def forward(self, x):
        x = x * 1
        return self.inner(x)


def test_a_decorated_method_is_named_by_its_first_operation():
    culprit = traced(Whole()).culprit
    assert culprit.operation == "torch.no_grad"
    assert culprit.line == line_with("x = x * 1", Whole)


class Hooked(Guarded):
    def __init__(self, inner):
        super().__init__(inner)
        self.inner.second.register_full_backward_hook(lambda module, given, _: (given[0] * 0,))

    def guard(self, x):
        return x


def test_a_modules_backward_hook_is_found_and_passed_by():
    culprit = traced(Hooked(SmallCNN(X))).culprit
    assert culprit.operation == "backward hook"
    assert culprit.module == "inner.second"
    assert culprit.file.endswith("core_models.py")
    assert culprit.line == line_with("self.second(h)", SmallCNN)


class Scaled(Guarded):
    def guard(self, x):
        if x.requires_grad:
            x = x * 1
            x.register_hook(lambda grad: 1e-3 * grad)
        return x


def test_a_hook_that_only_scales_is_no_culprit():
    seen = traced(Scaled(SmallCNN(X)))
    assert seen.culprit is None
    assert not seen.repaired_matters
    assert [site.operation for site in seen.sites] == ["Tensor.register_hook"]


class Alternating(Guarded):
    calls = 0

    def guard(self, x):
        if x.requires_grad:
            x, sign = x * 1, (-1) ** self.calls
            self.calls += 1
            x.register_hook(lambda grad: sign * grad)
        return x


@pytest.mark.parametrize("called_before", [0, 1])
def test_a_hook_that_works_at_every_other_call_is_a_culprit(called_before):
    module = Alternating(SmallCNN(X))
    module.calls = called_before
    seen = traced(module)
    assert seen.repaired_matters
    assert seen.culprit is not None
    assert seen.culprit.operation == "Tensor.register_hook"


def test_a_cast_to_a_smaller_type_is_seen_and_is_no_culprit():
    victim = Victim("defended", By(SmallCNN(X.float()), lambda x: x.half().float()))
    seen = trace(victim, X.float())
    assert [(site.operation, site.effect) for site in seen.sites] == [("Tensor.half", "narrows")]
    assert seen.culprit is None


class Random(Guarded):
    def guard(self, x):
        return x + 0.01 * torch.randn_like(x)


def test_random_numbers_are_seen_and_are_no_culprit():
    seen = traced(Random(SmallCNN(X)))
    assert seen.draws_random
    assert [(s.operation, s.effect) for s in seen.sites] == [("torch.randn_like", "random")]
    assert seen.culprit is None


def test_purifiers_images_and_training_mode_are_seen():
    purifier = traced(By(SmallCNN(X), STRAIGHT["purifier"]))
    assert (purifier.differentiates, purifier.leaves_torch) == (True, False)
    images = traced(By(SmallCNN(X), STRAIGHT["images"]))
    assert (images.differentiates, images.leaves_torch) == (False, True)
    assert images.culprit.effect == "leaves torch"

    class Awake(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.inner = nn.BatchNorm2d(2), SmallCNN(X)

        def forward(self, x):
            self.norm.train()
            return self.inner(self.norm(x))

    assert traced(Awake()).training_modules == ("norm",)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_scripted_modules_are_opaque_and_keep_their_own_gradient():
    module = Deep(SmallCNN(X))
    module.inner = torch.jit.script(module.inner)
    seen = traced(module)
    assert seen.opaque == ("inner",)
    assert seen.culprit.module == "stem.1"
    honest = By(torch.jit.script(SmallCNN(X)), lambda x: x)
    assert not traced(honest).repaired_matters


def test_tracing_leaves_the_victims_random_stream_alone():
    victim = Victim("random", Random(SmallCNN(X)), precision=torch.float64)
    victim.begin("mine")
    first = victim.logits(X)
    victim.begin("mine")
    trace(victim, X)
    assert torch.equal(victim.logits(X), first)
