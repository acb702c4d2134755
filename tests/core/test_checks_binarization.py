"""The binarization test: heads that surely have an adversarial example, and who finds it."""

from __future__ import annotations

import pytest
import torch
from core_checks import (
    IMAGES,
    SYMPTOM,
    Mask,
    battle,
    blinded,
    cnn,
    decision,
    flipped,
    probe_of,
    stairs,
)
from core_models import normal
from torch import nn

from auditor_plugins.masking.binarization import Binarization, last_linear, separating_heads

SOME = IMAGES[:36]
CHECK = Binarization(images=12, inner=60, steps=40)


def known(module, **options):
    return battle(probe_of(module, x=SOME, known=(SYMPTOM,), **options))


def test_an_honest_model_passes(norm_name):
    epsilon = {"linf": 0.025, "l2": 0.1, "l1": 0.3}[norm_name]
    report = CHECK.run(known(cnn(), norm=norm_name, epsilon=epsilon))
    assert report.applies
    assert not report.symptoms
    assert report.measurements[0].value > 0.7


@pytest.mark.parametrize("before", [blinded, flipped, stairs])
def test_a_mask_before_the_features_fails(before):
    probe = known(Mask(before))
    fallen = probe.fallen()
    report = CHECK.run(probe)
    (symptom,) = report.symptoms
    assert symptom.family == "binarization"
    assert report.measurements[0].value < 0.3
    assert torch.equal(probe.fallen(), fallen)


def test_a_mask_after_the_features_is_not_seen():
    assert not CHECK.run(known(Mask(after=decision))).symptoms


def test_it_is_spared_where_nothing_is_odd():
    probe = battle(probe_of(cnn(), x=SOME))
    before = probe.victim.passes.forwards
    assert not CHECK.run(probe).applies
    assert probe.victim.passes.forwards == before
    assert Binarization(images=8, inner=20, steps=5, always=True).run(probe).applies


@pytest.mark.parametrize("options", [{"draws": 3}, {"has_gradient": False}, {"epsilon": 1.0}])
def test_it_does_not_apply_everywhere(options):
    assert not CHECK.run(probe_of(cnn(), x=SOME[:20], **options)).applies


def test_a_model_without_a_last_linear_layer_has_no_features():
    class Plain(nn.Module):
        def forward(self, x):
            return torch.stack([x.flatten(1).mean(1), 1 - x.flatten(1).mean(1)], 1)

    probe = probe_of(Plain(), x=SOME[:12], known=(SYMPTOM,), epsilon=0.001)
    report = CHECK.run(probe)
    assert not report.applies
    assert "linear layer" in report.sentence


def test_the_last_layer_is_the_last_that_is_called_and_nothing_stays_hooked():
    module = cnn()
    probe = probe_of(module, x=SOME[:4])
    assert last_linear(probe, torch.arange(2)) is module.last
    assert not module.last._forward_hooks


def test_heads_have_the_widest_gap():
    """In the plane: the nearest point of a hull is on an edge that is known."""
    inner = torch.tensor([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [-2.0, 0.3]])
    f = torch.cat([torch.tensor([[3.0, 0.2]]), inner])[None].double()
    w, b, separated = separating_heads(f)
    assert separated.all()
    torch.testing.assert_close(w, torch.tensor([[1.0, 0.0]]).double(), atol=1e-2, rtol=0)
    torch.testing.assert_close(b, torch.tensor([-1.5]).double(), atol=2e-2, rtol=0)


def test_what_lies_among_the_others_is_not_separated():
    f = normal(1, 30, 2, seed=1)
    f[:, 0] = f[:, 1:].mean(1)
    assert not separating_heads(f)[2].any()
