"""Contract checks on models whose truth is known: each flags what it should and nothing else."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from auditor_plugins.masking.answers import OperationTrace, OutputKind, Staircase
from auditor_plugins.masking.contract import BatchDependence, Determinism, TrainMode
from core_checks import IMAGES, Mask, battle, blinded, cnn, decision, probe_of, stairs
from core_models import Linear, normal
from torch import nn

from auditor.masking.probe import EngineProbe
from auditor.protocols.check import CheckReport, Symptom

CHECKS = (Determinism, BatchDependence, TrainMode, OutputKind, OperationTrace, Staircase)


class Dropping(Mask):
    """Dropout that never follows eval()."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.drop.train()(x))


class Batched(Mask):
    """Normalises by the batch at hand."""

    def __init__(self, *, running: bool, used: bool = True) -> None:
        super().__init__()
        self.norm, self.used = nn.BatchNorm2d(1, track_running_stats=running), used

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm.train()(x) if self.norm.track_running_stats else self.norm(x)
        return self.inner(z if self.used else x)


class Counting(Mask):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(x)


def noisy(size: float) -> nn.Module:
    return Mask(lambda x: x + size * torch.randn_like(x))


def drawing(source: Any) -> nn.Module:
    """Draws random numbers that change nothing."""

    def idle(x: torch.Tensor) -> torch.Tensor:
        source()
        return x

    return Mask(idle)


def small_linear() -> nn.Module:
    return Linear(normal(3, 64, seed=5).float(), torch.zeros(3))


@cache
def fought(module: Any, norm: str) -> EngineProbe:
    """The probe of an honest model after the attacks."""
    return battle(probe_of(module(), norm=norm))


def value(report: CheckReport, name: str) -> float:
    return next(one.value for one in report.measurements if one.name == name)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_honest_models_have_no_symptom(check: type, norm: str) -> None:
    for module in (cnn, small_linear):
        report = check().run(fought(module, norm))
        assert report.applies
        assert report.symptoms == (), report.sentence
        assert report.measurements
        assert report.sentence.endswith(".")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("module", "options"),
    [
        (cnn, {"x": IMAGES[:1]}),
        (cnn, {"victim": {"precision": torch.float64}, "x": IMAGES.double()}),
        (lambda: Linear(normal(2, 64).float(), torch.zeros(2)), {}),
        (cnn, {"victim": {"precision": torch.bfloat16}}),
        (cnn, {"victim": {"precision": torch.float16}}),
    ],
)
def test_small_and_coarse_models_are_honest_too(check: type, module: Any, options: Any) -> None:
    assert check().run(probe_of(module(), **options)).symptoms == ()


# Determinism ---------------------------------------------------------------------------------


def test_randomness_that_turns_the_gradient_is_a_symptom() -> None:
    report = Determinism().run(probe_of(Dropping(), draws=20))
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("contract", "stochastic")
    assert value(report, "agreement of gradients between draws") < 0.8
    assert value(report, "answers that change") > 0.1


def test_noise_on_the_scores_leaves_the_gradient_and_is_none() -> None:
    module = Mask(after=lambda z: z + 0.1 * torch.randn_like(z))
    report = Determinism().run(probe_of(module, draws=20))
    assert report.symptoms == ()
    assert value(report, "answers that change") > 0
    assert value(report, "draws random numbers") == 1


def test_members_that_two_calls_may_share_are_told_apart() -> None:
    """One of two nets answers: two calls agree half of the time, five hardly ever."""

    class Members(Mask):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.flip(3) if torch.rand(()) < 0.5 else x)

    assert len(Determinism(calls=8).run(probe_of(Members(), draws=20)).symptoms) == 1


def test_a_gradient_of_zero_is_not_turned_by_noise() -> None:
    module = Mask(lambda x: blinded(x + 0.2 * torch.randn_like(x)))
    report = Determinism().run(probe_of(module, draws=20))
    assert report.symptoms == ()
    assert value(report, "answers that change") > 0


def test_a_random_model_without_a_gradient_is_a_symptom() -> None:
    report = Determinism().run(probe_of(noisy(0.1), draws=20, has_gradient=False))
    assert [symptom.kind for symptom in report.symptoms] == ["stochastic"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("torch", lambda: torch.randn(1)),
        ("numpy", lambda: np.random.rand()),
        ("python", random.random),
        ("torch", lambda: torch.manual_seed(0) and torch.randn(1)),
    ],
)
def test_random_numbers_that_change_nothing_are_told(name: str, source: Any) -> None:
    probe = probe_of(drawing(source))
    probe.victim.seeded = True
    before = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    report = Determinism().run(probe)
    assert report.symptoms == ()
    assert f"draws random numbers ({name})" in report.sentence
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


# The batch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False])
def test_batch_statistics_are_found(running: bool) -> None:
    report = BatchDependence().run(probe_of(Batched(running=running)))
    (symptom,) = report.symptoms
    assert symptom.culprit == "module norm"
    assert "norm normalises by the batch" in symptom.evidence
    assert ("a forward pass changes" in report.sentence) == running


def test_a_mean_over_the_batch_is_found() -> None:
    report = BatchDependence().run(probe_of(Mask(lambda x: x - 0.5 * x.mean(0, keepdim=True))))
    (symptom,) = report.symptoms
    assert symptom.culprit is None


def test_state_that_changes_no_answer_is_told_and_put_back() -> None:
    probe = probe_of(Counting())
    before = int(probe.victim.module.calls)
    report = BatchDependence().run(probe)
    assert report.symptoms == ()
    assert "a forward pass changes calls" in report.sentence
    calls = int(probe.victim.module.calls) - before
    assert calls == 1 + 32 + 16 + 4 + 1 + 1  # all but the look at the state itself


def test_random_models_have_no_visible_batch() -> None:
    report = BatchDependence().run(probe_of(noisy(0.1), draws=20))
    assert (report.applies, report.symptoms) == (False, ())


# Training mode -------------------------------------------------------------------------------


class Stubborn(nn.Dropout):
    """Does not follow eval()."""

    def train(self, mode: bool = True) -> Stubborn:
        self.training = True
        return self


def test_training_mode_that_matters_is_a_symptom() -> None:
    module = Mask()
    module.inner = nn.Sequential(Stubborn(0.5), cnn())
    report = TrainMode().run(probe_of(module, draws=20))
    (symptom,) = report.symptoms
    assert (symptom.kind, symptom.culprit) == ("stochastic", "module inner.0")
    assert module.inner[0].training  # put back


def test_training_mode_that_changes_nothing_is_told() -> None:
    module = nn.Sequential(Stubborn(0.0), cnn())
    report = TrainMode().run(probe_of(module))
    assert report.symptoms == ()
    assert "stays on in 0, which changes no answer" in report.sentence
    unused = TrainMode().run(probe_of(Batched(running=True, used=False)))
    assert unused.symptoms == ()
    assert "norm" in unused.sentence


# Outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (decision, "different rows"),
        (lambda z: (5 * z.softmax(1)).round() + 0 * z, "different values"),
        (lambda z: (25 * z).softmax(1), "exactly 1"),
        (lambda z: torch.tanh(1e4 * (z - z.amax(1, keepdim=True))), "different rows"),
    ],
)
def test_labels_and_votes_are_no_scores(after: Any, why: str) -> None:
    (symptom,) = OutputKind().run(probe_of(Mask(after=after))).symptoms
    assert (symptom.family, symptom.kind) == ("contract", "output-level")
    assert why in symptom.evidence[0]


def test_saturation_is_told_and_no_symptom() -> None:
    report = OutputKind().run(probe_of(Mask(after=lambda z: 1000 * z)))
    assert report.symptoms == ()
    assert value(report, "cross-entropy wholly saturated") > 0.8


@pytest.mark.parametrize(
    ("precision", "partly", "wholly"),
    [
        (torch.float32, 16.75, 104.0),
        (torch.float16, 10.0, 17.5),
        (torch.bfloat16, 7.75, 92.75),
        (torch.float64, 37.5, 745.5),
    ],
)
def test_saturation_begins_where_rounding_does(
    precision: torch.dtype, partly: float, wholly: float
) -> None:
    """Of ten classes, all but one at 0: the gaps at which slopes round to zero."""
    dtype = torch.float64 if precision == torch.float64 else torch.float32
    x = torch.rand(30, 1, 4, 4, dtype=dtype)
    for gap, which in ((partly, "partly"), (wholly, "wholly")):
        for factor, expected in ((0.9, 0.0), (1.15, 1.0)):
            z = torch.zeros(10, dtype=precision)
            z[3] = gap * factor
            constant = Mask(lambda x: x, lambda z: z)
            constant.forward = lambda x, z=z: z + 0 * x.flatten(1).sum(1, keepdim=True)
            probe = probe_of(constant, x=x, victim={"precision": precision})
            name = f"cross-entropy {which} saturated"
            assert value(OutputKind().run(probe), name) == expected, (gap, factor)


# Operations ----------------------------------------------------------------------------------


def fine_stairs(x: torch.Tensor) -> torch.Tensor:
    return (x * 4).round() / 4


class Through(torch.autograd.Function):
    """Rounds, and passes the gradient on."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x * 16).round() / 16

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope


#: Grey levels in the middle of their stairs.
LEVELS = ((IMAGES * 16).round() / 16).clamp(0, 1)


def test_plateaus_without_a_way_off_are_a_symptom() -> None:
    report = Staircase().run(probe_of(Mask(fine_stairs), x=(IMAGES * 4).round() / 4))
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("contract", "shattered")
    assert value(report, "images on a plateau") == 1


def test_plateaus_that_the_gradient_knows_are_honest() -> None:
    probe = probe_of(Mask(Through.apply), x=LEVELS, epsilon=0.2)
    report = Staircase().run(probe)
    assert value(report, "images on a plateau") == 1
    assert report.symptoms == (), report.sentence


def test_without_a_gradient_every_plateau_is_a_symptom() -> None:
    module = Mask(Through.apply)
    report = Staircase().run(probe_of(module, x=LEVELS, has_gradient=False))
    assert len(report.symptoms) == 1


def test_the_operation_is_named() -> None:
    report = OperationTrace().run(probe_of(Mask(stairs)))
    (symptom,) = report.symptoms
    assert symptom.kind == "shattered"
    assert symptom.culprit is not None
    assert "torch.round at" in symptom.culprit
    assert "core_checks.py" in symptom.culprit
    assert symptom.culprit in report.sentence


def test_a_saturated_sigmoid_is_vanishing() -> None:
    module = Mask(lambda x: torch.sigmoid(1000 * (x - 0.5)))
    (symptom,) = OperationTrace().run(probe_of(module)).symptoms
    assert symptom.kind == "vanishing"
    assert "torch.sigmoid" in str(symptom.culprit)


def test_decisions_are_output_level_once_that_is_known() -> None:
    known = Symptom("contract", "labels", "look", kind="output-level")
    for check in (OperationTrace, Staircase):
        (symptom,) = check().run(probe_of(Mask(after=decision), known=(known,))).symptoms
        assert symptom.kind == "output-level"


def test_a_branch_that_feeds_nothing_is_no_symptom() -> None:
    def watched(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            x.round().mean()
        return x

    assert OperationTrace().run(probe_of(Mask(watched))).symptoms == ()


def test_a_hook_that_shortens_the_gradient_is_no_symptom() -> None:
    def shortened(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        if y.requires_grad:
            y.register_hook(lambda slope: 1e-3 * slope)
        return y

    assert OperationTrace().run(probe_of(Mask(shortened))).symptoms == ()


def test_no_gradient_at_all_is_a_symptom() -> None:
    module = Mask(lambda x: torch.from_numpy(x.detach().numpy().copy()))
    report = OperationTrace().run(probe_of(module, has_gradient=False))
    assert [symptom.kind for symptom in report.symptoms] == ["shattered"]
    assert OperationTrace().run(probe_of(Mask(blinded))).symptoms
