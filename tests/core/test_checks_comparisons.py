"""Attacks against one another: contradictions are seen, honest models have none."""

from __future__ import annotations

from math import comb, sqrt

import pytest
import torch
from auditor_plugins.fgsm import FGSM
from auditor_plugins.masking.comparisons import (
    Convergence,
    EpsilonMonotone,
    OneStep,
    Unbounded,
    largest_radius,
    mcnemar,
)
from auditor_plugins.masking.ray import FromImage, GradientRay
from core_checks import (
    IMAGES,
    Mask,
    battle,
    blinded,
    cnn,
    decision,
    flipped,
    hidden,
    probe_of,
)
from core_models import block_of, cnn_victim, run_attack
from torch import nn

from auditor.protocols.check import check_spec_of

FEW, SOME = IMAGES[:24], IMAGES[:36]
CHECKS = [
    OneStep(rays=8),
    Unbounded(images=12, steps=10),
    EpsilonMonotone(images=12, steps=5),
    Convergence(images=6, steps=5),
]
ALL = pytest.mark.parametrize("check", CHECKS, ids=lambda one: check_spec_of(type(one)).name)


def test_an_honest_model_has_no_symptom(norm_name):
    probe = battle(probe_of(cnn(), norm=norm_name, x=FEW))
    assert len(probe.survivors()) > 2
    for check in CHECKS:
        report = check.run(probe)
        assert report.applies
        assert not report.symptoms, report
    assert not hidden(probe)


@ALL
def test_where_next_to_nothing_survives_nothing_is_spent(check):
    probe = battle(probe_of(cnn(), epsilon=1.0, x=FEW))
    before = probe.victim.passes.forwards
    assert not check.run(probe).applies
    assert probe.victim.passes.forwards == before


@ALL
@pytest.mark.parametrize("options", [{}, {"draws": 3}, {"norm": "l1"}, {"norm": "l2"}])
def test_every_check_survives_one_image(check, options):
    assert check.run(probe_of(cnn(), x=FEW[:1], **options)).applies


@ALL
def test_without_a_gradient_there_is_nothing_to_compare(check):
    report = check.run(probe_of(Mask(torch.detach), x=FEW[:3], has_gradient=False))
    assert not report.applies
    assert "No gradient" in report.sentence


# --- Unbounded


@pytest.mark.parametrize(("mask", "kind"), [
    ({"before": blinded}, None),
    ({"before": flipped}, None),
    ({"after": decision}, None),
    ({"after": lambda z: 1000 * z}, "loss-level"),
])  # fmt: skip
def test_a_mask_withstands_even_without_a_bound(mask, kind):
    probe = battle(probe_of(Mask(**mask), x=SOME))
    before = probe.fallen()
    report = Unbounded().run(probe)
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("unbounded", kind)
    assert symptom.strong == (kind is None)
    (measured,) = report.measurements
    assert measured.value == (1.0 if kind is None else 0.0)
    assert torch.equal(probe.fallen(), before), "examples outside the threat count for nothing"


def test_without_a_bound_is_from_corner_to_corner():
    radii = [largest_radius(probe_of(cnn(), norm=norm, x=FEW[:1])) for norm in ("linf", "l2", "l1")]
    assert radii == pytest.approx([1.0, sqrt(64), 64.0])


# --- One step


class Bent(torch.autograd.Function):
    """The identity; away from the grey levels its gradient has the wrong sign."""

    @staticmethod
    def forward(ctx, x, clean):
        ctx.save_for_backward(x, clean)
        return x * 1

    @staticmethod
    def backward(ctx, grad):
        x, clean = ctx.saved_tensors
        near = (x[:, None] - clean).flatten(2).abs().amax(2).amin(1) < 1e-6
        sign = torch.where(near, 1.0, -1.0)
        return grad * sign[:, None, None, None], None


class Overfitted(nn.Module):
    """Its gradient is good at clean images and leads astray everywhere else."""

    def __init__(self, x):
        super().__init__()
        self.inner = cnn()
        self.register_buffer("clean", x)

    def forward(self, x):
        return self.inner(Bent.apply(x, self.clean[None]))


def test_one_step_that_succeeds_where_many_fail_is_a_contradiction():
    probe = battle(probe_of(Overfitted(SOME), x=SOME))
    survivors = len(probe.survivors())
    report = OneStep().run(probe)
    fell = survivors - len(probe.survivors())
    assert fell > 5
    assert f"Of {survivors} images" in report.sentence
    assert f"one step broke {fell} " in report.sentence
    (symptom,) = report.symptoms
    assert symptom.family == "comparison"


def test_the_ray_looks_at_equal_parts_of_the_step_from_its_end():
    x = IMAGES[:5].double()
    victim = cnn_victim(x)
    block = block_of(victim, x)
    whole = run_attack(victim, FGSM(), block, "linf", 0.02).outcome
    ray = run_attack(victim, GradientRay(), block, "linf", 0.02).outcome
    assert (ray.broken | ~whole.broken).all()
    still = ~ray.broken
    assert (ray.margin[still] >= whole.margin[still]).all()
    assert (ray.forwards[still] == 11).all()


def test_from_the_image_there_is_no_random_start():
    x = IMAGES[:6].double()
    victim = cnn_victim(x)
    block = block_of(victim, x)
    one, two = (
        run_attack(victim, FromImage(steps=3), block, "linf", 0.01, seed=seed).outcome
        for seed in (0, 1)
    )
    assert torch.equal(one.margin, two.margin)


# --- A larger epsilon, and longer attacks


def test_a_larger_epsilon_that_breaks_less_is_a_contradiction():
    class Narrow(nn.Module):
        """Wrong where the image is brighter by a little, right again where by more."""

        def forward(self, x):
            brighter = x.flatten(1).mean(1) - 0.5
            wrong = 0.003 - (brighter - 0.021).abs()
            return torch.stack([torch.zeros_like(wrong), wrong], 1)

    x = torch.full((24, 1, 8, 8), 0.5)
    probe = probe_of(Narrow(), x=x, epsilon=0.02)
    report = EpsilonMonotone(steps=1).run(probe)
    assert "broke 24 at 1 epsilon, 0 at 2 epsilon, 0 at 4 epsilon" in report.sentence
    (symptom,) = report.symptoms
    assert symptom.family == "comparison"
    assert not probe.fallen().any()


@pytest.mark.parametrize(("against", "expected"), [(0, 0), (3, 0), (10, 2), (2, 10), (12, 0)])
def test_the_probability_of_discordant_pairs_is_exact(against, expected):
    pairs = against + expected
    by_counting = sum(comb(pairs, k) for k in range(against, pairs + 1)) / 2**pairs
    assert mcnemar(against, expected) == pytest.approx(by_counting)


def test_attacks_that_were_too_weak_are_said_to_be_and_are_no_symptom():
    probe = probe_of(cnn(), x=SOME)
    report = Convergence().run(probe)
    assert report.sentence.endswith("the attacks before were too weak.")
    assert not report.symptoms
    assert not hidden(probe)
    assert probe.fallen("gradient").sum() > 10
