"""Attacks of the checks on survivors: planted masks are caught, honest models are left in peace."""

from __future__ import annotations

import re

import pytest
import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.masking.black_box import BlackBoxGap
from auditor_plugins.masking.blinded import Blinded
from auditor_plugins.masking.distilled import distilled
from auditor_plugins.masking.gaps import BPDAGap, EOTGap, NoiseAveragedGap
from auditor_plugins.masking.loss import LossRepair
from auditor_plugins.masking.planted import PlantedMask
from auditor_plugins.masking.second_look import SecondLook
from auditor_plugins.masking.survivors import bounds, decides_only, on_plateau, sample
from auditor_plugins.masking.transfer import TransferGap
from auditor_plugins.pgd import PGD
from auditor_plugins.rays import RayS
from core_checks import (
    IMAGES,
    SYMPTOM,
    Mask,
    battle,
    blinded,
    cnn,
    decision,
    flipped,
    hidden,
    other,
    probe_of,
    stairs,
)
from core_models import block_of, linear_victim, normal, run_attack, uniform
from torch import nn

from auditor.masking.probe import EngineProbe, Fallen
from auditor.protocols.check import check_spec_of
from auditor.surrogate import Surrogate

FEW = IMAGES[:24]
#: Enough for a symptom.
SOME = IMAGES[:36]
GAPS = [
    LossRepair(screened=10, steps=10),
    BPDAGap(steps=10, full_steps=20),
    EOTGap(steps=5, draws=4),
    BlackBoxGap(screened=8, screening_queries=30, queries=50),
    NoiseAveragedGap(steps=5, samples=4),
    TransferGap(epochs=2, steps=5),
    PlantedMask(images=12, queries=60),
    SecondLook(),
]
ALL = pytest.mark.parametrize("check", GAPS, ids=lambda one: check_spec_of(type(one)).name)


# --- Honest models


def test_an_honest_model_has_no_symptom(norm_name):
    probe = battle(probe_of(cnn(), norm=norm_name, x=FEW))
    assert 2 < len(probe.survivors()) < len(FEW)
    for check in GAPS:
        assert not check.run(probe).symptoms
    assert not hidden(probe)


@pytest.mark.parametrize(
    "head",
    [lambda z: z.softmax(1), lambda z: z.softmax(1).half().float()],
    ids=["probabilities", "in half precision"],
)
def test_probabilities_that_hide_nothing_are_no_symptom(head):
    """Repaired, the attack follows the scores before the softmax, and finds no more by that."""
    options = {"victim": {"outputs": "probabilities"}, "known": (SYMPTOM,)}
    probe = battle(probe_of(Mask(after=head), x=FEW, **options))
    assert 2 < len(probe.survivors()) < len(FEW)
    assert not on_plateau(probe, probe.survivors()).any()
    report = BPDAGap(steps=10, full_steps=20).run(probe)
    assert report.applies
    assert not report.symptoms
    assert hidden(probe) <= 1


def test_an_honest_model_is_screened_and_no_more():
    probe = battle(probe_of(cnn()))
    survivors, before = len(probe.survivors()), probe.victim.passes.forwards
    report = BlackBoxGap(screened=8, screening_queries=50).run(probe)
    spent = probe.victim.passes.forwards - before
    assert spent < 8 * 50 + 5 * survivors
    assert f"0 of 8 images tried, out of {survivors}" in report.sentence


@ALL
def test_where_next_to_nothing_survives_nothing_is_spent(check):
    probe = battle(probe_of(cnn(), epsilon=1.0, x=FEW))
    before = probe.victim.passes.forwards
    report = check.run(probe)
    assert not report.symptoms
    assert not report.applies or isinstance(check, LossRepair)
    assert probe.victim.passes.forwards == before


@ALL
@pytest.mark.parametrize(
    "options",
    [
        {"x": FEW[:1]},
        {"x": FEW[:1], "draws": 3, "known": (SYMPTOM,)},
        {"x": FEW[:3], "norm": "l1", "known": (SYMPTOM,)},
        {"x": FEW[:3], "norm": "l2", "known": (SYMPTOM,), "others": {"other": other(cnn())}},
    ],
    ids=["one image", "random", "l1", "l2"],
)
def test_every_check_survives_odd_circumstances(check, options):
    assert check.run(probe_of(cnn(), **options)).sentence


@ALL
def test_every_check_survives_two_classes_and_no_gradient(check):
    class Without(nn.Module):
        @torch.no_grad()
        def forward(self, x):
            return torch.stack([x.flatten(1).mean(1), 1 - x.flatten(1).mean(1)], 1)

    probe = probe_of(Without(), x=FEW[:4], has_gradient=False)
    assert check.run(probe).sentence


# --- Masks


@pytest.mark.parametrize("before", [blinded, flipped, stairs])
def test_the_repaired_gradient_finds_what_a_mask_hides(before):
    probe = battle(probe_of(Mask(before), x=SOME))
    report = BPDAGap(full_steps=20, rounds=1).run(probe)
    assert hidden(probe) > 8
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("comparison", "shattered")
    assert symptom.culprit
    assert "core_checks.py" in symptom.culprit
    assert symptom.culprit in report.sentence


def test_the_repaired_head_is_told_from_a_repaired_input():
    probe = battle(probe_of(Mask(after=decision), x=SOME))
    (symptom,) = BPDAGap(full_steps=20, rounds=1).run(probe).symptoms
    assert symptom.kind == "output-level"


def test_a_stand_in_finds_what_a_mask_hides(monkeypatch):
    monkeypatch.setattr(Surrogate, "repaired", lambda self: self)
    stand_in = other(cnn())
    probe = battle(probe_of(Mask(blinded), x=SOME, stand_in=stand_in))
    report = BPDAGap(full_steps=20, rounds=1).run(probe)
    assert "your differentiable stand-in broke" in report.sentence
    assert hidden(probe) > 8


def test_queries_alone_find_what_a_mask_hides():
    probe = battle(probe_of(Mask(blinded), x=SOME, epsilon=0.05))
    report = BlackBoxGap(screening_queries=60, queries=120).run(probe)
    assert hidden(probe) > 8
    (symptom,) = report.symptoms
    assert symptom.family == "comparison"


def test_a_model_that_only_decides_is_searched_by_its_decisions():
    probe = battle(probe_of(Mask(after=decision), x=SOME, epsilon=0.05))
    assert decides_only(probe, probe.survivors())
    report = BlackBoxGap(screening_queries=60, queries=200).run(probe)
    assert report.sentence.startswith("RayS and SPSA, which ask for no gradient")
    assert hidden(probe) > 5


def partly(z: torch.Tensor) -> torch.Tensor:
    """Scores where the first two classes are close, else a decision."""
    top = z.topk(2, 1).values
    return torch.where(top[:, :1] - top[:, 1:] > 0.3, 10 * decision(z), z)


def test_a_plateau_is_where_scores_are_the_same_all_around():
    plain, probe = probe_of(cnn(), x=SOME), probe_of(Mask(after=partly), x=SOME)
    rows = probe.survivors()
    assert not on_plateau(plain, rows).any()
    flat = on_plateau(probe, rows)
    assert 5 < flat.sum() < len(rows) - 5
    lead = -plain.victim.judge(plain.x, plain.y).margin
    assert (lead[rows[flat]] > 0.3).all()
    assert not flat[lead[rows] < 0.2].any()
    assert torch.equal(on_plateau(probe, rows[3:5]), flat[3:5])
    assert not on_plateau(probe, rows[:0]).numel()


def test_images_on_a_plateau_are_searched_by_decisions_and_the_others_by_scores():
    probe = probe_of(Mask(after=partly), x=FEW, epsilon=0.05)
    survivors = probe.survivors()
    flat = survivors[on_plateau(probe, survivors)]
    assert not decides_only(probe, survivors)
    report = BlackBoxGap(screened=60, screening_queries=60, queries=200).run(probe)
    assert report.sentence.startswith("Square, RayS and SPSA, which ask for no gradient")
    assert probe.fallen()[flat].sum() > 3


def test_few_survivors_on_a_plateau_get_the_whole_attack(monkeypatch):
    """What a short attempt on them does not break is no reason to leave it at that."""
    lengths = []
    attack = EngineProbe.attack

    def noted(self, name, attacker, rows, **options):
        if "repaired" in name:
            lengths.append(attacker.steps)
        return attack(self, name, attacker, rows, **options)

    probe = probe_of(Mask(after=partly), x=SOME[:12], epsilon=0.001)
    monkeypatch.setattr(EngineProbe, "attack", noted)
    report = BPDAGap(steps=5, full_steps=15).run(probe)
    assert lengths == [5, 15]
    assert "broke 0 of 12 images" in report.sentence


def test_logits_so_large_that_the_cross_entropy_vanishes_are_of_the_loss():
    probe = battle(probe_of(Mask(after=lambda z: 1000 * z), x=SOME))
    report = LossRepair().run(probe)
    (symptom,) = report.symptoms
    assert symptom.kind == "loss-level"
    assert not hidden(probe)


def test_where_the_margin_finds_no_more_from_there_the_loss_is_not_to_blame():
    """Something that trusts the gradient broke them, but neither loss does from the images."""
    everywhere = Fallen.nothing(len(SOME), SOME.device)
    for trust in ("gradient", "nothing"):
        everywhere.by[trust] |= True
    report = LossRepair().run(probe_of(cnn(), x=SOME, epsilon=1e-4, fallen=everywhere))
    (symptom,) = report.symptoms
    assert symptom.kind == "other"
    assert "from elsewhere" in symptom.title
    assert "`ddn`" in symptom.remedy
    assert "loss" not in symptom.title


@pytest.mark.parametrize("divisor", [1, 1e6])
def test_slopes_that_are_lost_in_float16_are_told_by_the_line_of_the_cast(divisor):
    """The same cast is told of only where slopes are so small that it costs the gradient."""
    mask = Mask(lambda x: (x.half() * 2**15).float() / 2**15, lambda z: z / divisor)
    probe = battle(probe_of(mask, x=SOME))
    lost = LossRepair().run(probe).symptoms
    if divisor == 1:
        assert not lost
        return
    (symptom,) = lost
    assert symptom.kind == "vanishing"
    assert "half at test_checks_gaps.py" in symptom.culprit


def test_a_missing_margin_attack_is_made_up_for():
    probe = probe_of(cnn(), x=SOME)
    report = LossRepair().run(probe)
    assert probe.fallen("gradient").sum() > 15
    assert torch.equal(probe.fallen("gradient"), probe.fallen())
    assert not report.symptoms  # the second look finds most of it with the cross-entropy


def test_an_average_leads_through_randomness():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            return self.inner(x + 0.05 * torch.randn_like(x))

    probe = probe_of(Noisy(), x=FEW[:12], draws=9)
    report = EOTGap(steps=8, draws=8).run(probe)
    assert int(probe.fallen().sum()) > 3
    assert "Averaging the gradient over 8 evaluations broke" in report.sentence


def test_examples_are_carried_over_from_other_models():
    probe = battle(probe_of(Mask(blinded), x=SOME, others={"plain": other(cnn())}))
    report = TransferGap().run(probe)
    assert "Examples made for plain broke" in report.sentence
    (symptom,) = report.symptoms
    assert "plain" in symptom.title
    assert hidden(probe) > 8


def test_a_copy_trained_on_the_answers_is_the_same_every_time_and_resembles_the_model():
    first, second = (distilled(probe_of(cnn(), x=FEW), epochs=6) for _ in range(2))
    probe = probe_of(cnn(), x=FEW)
    with torch.no_grad():
        z = first.model.logits(probe.x)
        assert torch.equal(z, second.model.logits(probe.x))
    assert (z.argmax(1) == probe.y).double().mean() > 0.6


# --- The second look, and the control


def test_the_second_look_takes_back_what_a_longer_attack_finds():
    probe = probe_of(cnn(), x=FEW)
    probe.attack("others", PGD(loss="margin"), torch.arange(len(FEW)), trust="nothing")
    seeming = hidden(probe)
    assert seeming > 10
    report = SecondLook().run(probe)
    assert hidden(probe) == 0
    assert f"Of {seeming} images that attacks on the cross-entropy had missed" in report.sentence


def test_the_second_look_gives_up_where_hardly_any_falls():
    probe = battle(probe_of(Mask(flipped), x=SOME))
    repaired = probe.surrogate.repaired()
    probe.attack("repaired", APGD(steps=20, loss="margin"), probe.survivors(), surrogate=repaired)
    before = hidden(probe)
    report = SecondLook(sample=before - 5).run(probe)
    tried = re.search(r"Of (\d+) of (\d+) images that only", report.sentence)
    assert tried is None or int(tried[1]) == before - 5


def test_a_planted_mask_is_found_and_counts_for_nothing():
    probe = battle(probe_of(cnn()))
    before = probe.fallen()
    report = PlantedMask().run(probe)
    assert report.control is not None
    assert report.control.detected
    assert torch.equal(probe.fallen(), before)


def test_nothing_broken_leaves_no_control():
    report = PlantedMask().run(probe_of(cnn(), epsilon=1e-4, x=FEW))
    assert not report.applies
    assert report.control is None


# --- What they share


def test_a_sample_holds_the_nearest_and_some_of_the_others():
    probe = probe_of(cnn())
    rows = torch.arange(5, 55)
    chosen = sample(probe, rows, 11)
    assert len(chosen.unique()) == 11
    assert set(chosen.tolist()) <= set(rows.tolist())
    near = rows[probe.victim.judge(probe.x[rows], probe.y[rows]).margin.argsort(descending=True)]
    assert set(near[:6].tolist()) <= set(chosen.tolist())
    assert torch.equal(sample(probe, rows, 100), rows)


def test_bounds_are_exact():
    low, high = bounds(0, 20)
    assert low == 0
    assert (1 - high) ** 20 == pytest.approx(0.005)


# --- RayS


def test_rays_finds_the_corner_of_a_linear_model_by_decisions():
    x = 0.3 + 0.4 * uniform(6, 1, 4, 4, seed=2)
    weights = normal(2, 16, seed=4)
    weights[0] = 0
    reach = 0.05 * weights[1].abs().sum()
    bias = torch.stack([(x.flatten(1) @ weights[1]).max() + 0.5 * reach, torch.zeros(())])
    victim = linear_victim(weights, bias)
    block = block_of(victim, x)
    assert (block.y == 0).all()
    run = run_attack(victim, RayS(queries=200), block, "linf", 0.05)
    within = x.flatten(1) @ weights[1] + 0.9 * reach > bias[0]
    assert within.any()
    assert run.outcome.broken[within].all()
    assert not run.verifier.rejected


def test_a_mask_can_be_planted_before_a_model_that_writes_into_its_input():
    class Clamping(nn.Module):
        def forward(self, x):
            return x.clamp_(0, 1).flatten(1)[:, :3]

    x = (2 * IMAGES[:2] - 0.5).requires_grad_()
    z = Blinded(Clamping())(x + 0)
    assert torch.equal(z, x.detach().clamp(0, 1).flatten(1)[:, :3])
    (slope,) = torch.autograd.grad(z.sum(), x)
    assert not slope.any()
