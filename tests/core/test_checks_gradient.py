"""Gradient checks on models whose truth is known: each flags what it should and nothing else."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from auditor_plugins.masking.curvature import SecondOrder
from auditor_plugins.masking.gradient import RankTest, ZeroGradients
from auditor_plugins.masking.measuring import median_limit
from auditor_plugins.masking.slopes import FiniteDifferences, LossDirections, NoiseGradient
from core_checks import IMAGES, Mask, battle, blinded, cnn, decision, flipped, probe_of, stairs
from core_models import Linear, normal
from torch import nn

from auditor.masking.probe import EngineProbe
from auditor.protocols.check import CheckReport, Symptom

CHECKS = (ZeroGradients, RankTest, FiniteDifferences, NoiseGradient, SecondOrder)
#: Forward and backward passes, a backward being two forwards, per image looked at.
MOST = {ZeroGradients: 19, RankTest: 24, FiniteDifferences: 19, NoiseGradient: 31, SecondOrder: 4}


class Linears(nn.Module):
    """One fixed linear layer, its gradient distorted."""

    def __init__(self, before: Any = lambda x: x) -> None:
        super().__init__()
        self.before = before
        self.linear = Linear(normal(3, 64, seed=5).float(), torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.before(x))


class Backward(torch.autograd.Function):
    """The identity with another backward pass."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, change: Any) -> torch.Tensor:
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> Any:
        return ctx.change(slope), None


def backward(change: Any) -> nn.Module:
    return Mask(lambda x: Backward.apply(x, change))


def not_a_number(slope: torch.Tensor) -> torch.Tensor:
    return slope * float("nan")


def sparse(slope: torch.Tensor) -> torch.Tensor:
    """One entry in 64."""
    keep = torch.zeros_like(slope)
    keep[..., 0, 0] = 1
    return slope * keep


def noise(slope: torch.Tensor) -> torch.Tensor:
    """Of the gradient's size, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(slope.shape, generator=generator) * slope.abs().mean()


@cache
def fought(module: Any, norm: str) -> EngineProbe:
    """The probe of an honest model after the attacks."""
    epsilon = {"linf": 0.01, "l2": 0.08, "l1": 0.3}[norm]
    return battle(probe_of(module(), norm=norm, epsilon=epsilon))


@cache
def beaten() -> EngineProbe:
    """The probe of a model whose every image fell."""
    return battle(probe_of(cnn(), epsilon=0.5))


def value(report: CheckReport, name: str) -> float:
    return next(one.value for one in report.measurements if one.name.startswith(name))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("module", [cnn, Linears])
def test_honest_models_have_no_symptom(check: type, norm: str, module: Any) -> None:
    probe = fought(module, norm)
    looked, passes = len(probe.survivors()), probe.victim.passes
    assert looked > 20
    before = passes.forwards + 2 * passes.backwards
    report = check().run(probe)
    assert report.symptoms == (), report.sentence
    assert report.applies or check is SecondOrder
    assert passes.forwards + 2 * passes.backwards - before <= MOST[check] * looked


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("module", "options"),
    [
        (cnn, {"x": IMAGES[:1], "epsilon": 1e-4}),
        (cnn, {"victim": {"precision": torch.float64}, "x": IMAGES.double()}),
        (lambda: Linear(normal(2, 64).float(), torch.zeros(2)), {}),
        (cnn, {"victim": {"precision": torch.bfloat16}}),
        (cnn, {"victim": {"precision": torch.float16}}),
        (lambda: Mask(lambda x: x + 0.1 * torch.randn_like(x)), {"draws": 5}),
        (lambda: Mask(after=lambda z: z + torch.randn_like(z)), {"draws": 5}),
        (lambda: Mask(after=lambda z: z.softmax(1)), {"victim": {"outputs": "probabilities"}}),
    ],
)
def test_small_coarse_and_random_models_have_no_symptom(
    check: type, module: Any, options: Any
) -> None:
    probe = probe_of(module(), **options)
    report = check().run(probe)
    assert report.symptoms == (), report.sentence


@pytest.mark.parametrize("check", CHECKS)
def test_where_nothing_withstood_there_is_nothing_to_see(check: type) -> None:
    assert not len(beaten().survivors())
    report = check().run(beaten())
    assert (report.applies, report.symptoms) == (False, ())
    assert "very image fell" in report.sentence


@pytest.mark.parametrize("check", [*CHECKS, LossDirections])
def test_models_without_a_gradient_are_left_alone(check: type) -> None:
    module = Mask(lambda x: x.detach())
    report = check().run(probe_of(module, has_gradient=False))
    assert (report.applies, report.symptoms) == (False, ())


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (lambda: Mask(blinded), ("shattered", "shattered", "shattered", None)),
        (lambda: Mask(stairs), ("shattered", "shattered", "shattered", None)),
        (lambda: Mask(after=decision), ("shattered", "shattered", "shattered", None)),
        (lambda: backward(not_a_number), ("shattered", "shattered", "shattered", None)),
        (lambda: Mask(flipped), (None, "shattered", "shattered", None)),
        (lambda: backward(noise), (None, "shattered", "shattered", None)),
        (lambda: backward(sparse), (None, "shattered", "shattered", None)),
        (lambda: Mask(after=lambda z: 1000 * z), ("loss-level", None, None, None)),
        (lambda: backward(lambda slope: 1e-46 * slope), ("vanishing", ..., ..., ...)),
        (lambda: backward(lambda slope: 1e-3 * slope), (None, None, None, None)),
    ],
)
def test_masks_are_told_by_their_kind(module: Any, kinds: tuple[Any, ...]) -> None:
    for check, kind in zip((ZeroGradients, RankTest, FiniteDifferences, NoiseGradient), kinds,
                           strict=True):  # fmt: skip
        if kind is ...:
            continue
        report = check().run(probe_of(module()))
        found = [symptom.kind for symptom in report.symptoms]
        assert found == ([] if kind is None else [kind]), (check, report.sentence)
        assert all(symptom.family == "gradient" for symptom in report.symptoms)


def test_an_exact_gradient_wins_always_and_agrees_exactly() -> None:
    probe = probe_of(Linears(), epsilon=1e-3)
    assert value(RankTest().run(probe), "gradient steps that win") == 1
    report = FiniteDifferences().run(probe)
    assert value(report, "agreement with finite differences") == pytest.approx(1, abs=1e-3)


def test_an_inverted_gradient_is_called_so() -> None:
    probe = probe_of(Mask(flipped))
    report = RankTest().run(probe)
    (symptom,) = report.symptoms
    assert symptom.title == "The gradient points the wrong way"
    assert symptom.strong
    assert value(report, "steps against the gradient that win") == 1
    report = FiniteDifferences().run(probe)
    assert report.symptoms[0].title == "The gradient has the wrong sign"
    assert value(report, "agreement with finite differences") < -0.95


def test_a_gradient_of_noise_wins_by_chance() -> None:
    report = RankTest().run(probe_of(backward(noise)))
    assert value(report, "gradient steps that win") < 0.2


def test_decisions_are_output_level_once_that_is_known() -> None:
    known = (Symptom("contract", "labels", "look", kind="output-level"),)
    for check in (ZeroGradients, RankTest, FiniteDifferences):
        (symptom,) = check().run(probe_of(Mask(after=decision), known=known)).symptoms
        assert symptom.kind == "output-level"


def test_a_few_images_prove_nothing() -> None:
    for check in (ZeroGradients, RankTest, FiniteDifferences, NoiseGradient):
        assert check().run(probe_of(Mask(blinded), x=IMAGES[:1])).symptoms == ()


class Rugged(Mask):
    """The network plus a ripple: small, and steeper than everything else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ripple = 2e-3 * torch.sin(4000 * x).flatten(1).sum(1, keepdim=True)
        return self.inner(x) + ripple * torch.tensor([1.0, -1.0, 1.0, -1.0])


def test_a_ripple_is_averaged_away() -> None:
    probe = probe_of(Rugged(), epsilon=0.1)
    report = NoiseGradient(points=32).run(probe)
    (symptom,) = report.symptoms
    assert symptom.kind == "shattered"
    assert value(report, "coherence of gradients") < 0.3


class Saddle(nn.Module):
    """Flat at every pixel of 0.5; the second class wins along the first pixel, both ways."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        d = x.flatten(1) - 0.5
        return torch.stack([0.01 + 0 * d[:, 0], 5 * d[:, 0] ** 2 + 0.01 * (d**2).mean(1)], 1)


def test_where_there_is_no_slope_curvature_shows_the_way() -> None:
    probe = probe_of(Saddle(), x=torch.full((20, 1, 4, 4), 0.5), epsilon=0.1)
    report = SecondOrder().run(probe)
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("gradient", "vanishing")
    assert value(report, "survivors with next to no gradient") == 1
    assert probe.fallen("gradient").all()


def test_directions_are_drawn_from_the_clean_image_to_twice_epsilon() -> None:
    probe = probe_of(Linears(), epsilon=1e-3)
    report = LossDirections().run(probe)
    assert [curve.direction for curve in report.directions] == ["gradient"] * 3 + ["random"] * 3
    y, z = probe.y, probe.victim.logits(probe.x)
    for curve in report.directions:
        assert curve.distances[0] == 0
        assert curve.distances[-1] == pytest.approx(2e-3)
        assert list(curve.distances) == sorted(curve.distances)
        others = z[curve.image].index_fill(0, y[curve.image], -torch.inf)
        margin = float(others.amax() - z[curve.image, y[curve.image]])
        assert curve.margins[0] == pytest.approx(margin, rel=1e-5)  # float32
        if curve.direction == "gradient":
            assert list(curve.margins) == sorted(curve.margins)


def test_directions_are_drawn_where_every_image_fell() -> None:
    report = LossDirections().run(beaten())
    assert report.applies
    assert len(report.directions) == 6


def test_the_limit_of_a_median_is_exact() -> None:
    """P(the largest of 7 is below the median) = 2^-7."""
    assert median_limit([1.0] * 3, 0.99) == float("inf")
    assert median_limit([float(k) for k in range(7)], 0.99) == 6
    draws = torch.randn(4000, 20, generator=torch.Generator().manual_seed(0)).tolist()
    below = sum(median_limit(values, 0.95) < 0 for values in draws) / len(draws)
    assert 0.01 < below <= 0.055
