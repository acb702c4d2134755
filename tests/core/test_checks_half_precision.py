"""Half precision: what rounding does to steps, gradients, verdicts and layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from auditor_plugins.masking.half_precision import HalfPrecision, layer_errors
from core_checks import IMAGES, Mask, battle, cnn, probe_of
from core_models import Linear, normal
from torch import nn

from auditor.protocols.check import CheckReport
from auditor.subject.victim import Victim


def value(report: CheckReport, name: str) -> float:
    return next(one.value for one in report.measurements if one.name == name)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"norm": "l2"},
        {"norm": "l1"},
        {"victim": {"precision": torch.float64}, "x": IMAGES.double()},
        {"victim": {"precision": torch.float16}},
        {"victim": {"precision": torch.bfloat16}},
        {"x": IMAGES[:1]},
        {"draws": 3},
        {"has_gradient": False},
    ],
)
def test_an_honest_model_needs_no_care(options: dict[str, Any]) -> None:
    report = HalfPrecision().run(probe_of(cnn(), **options))
    assert report.symptoms == (), report.sentence
    assert "In float16" in report.sentence
    assert "in bfloat16" in report.sentence


def test_two_classes() -> None:
    module = Linear(normal(2, 64).float(), torch.zeros(2))
    assert HalfPrecision().run(probe_of(module)).symptoms == ()


def test_rounding_swallows_short_steps_in_bfloat16() -> None:
    """Between 0.5 and 1 neighbours are 2^-8 apart: steps below half of that are lost."""
    x = 0.5 + 0.5 * IMAGES
    report = HalfPrecision().run(probe_of(cnn(), x=x, epsilon=4 / 255))
    assert value(report, "bfloat16: pixels a step of epsilon / 10 leaves as they are") > 0.9
    assert value(report, "bfloat16: pixels a step of epsilon leaves as they are") < 0.01
    assert value(report, "float16: pixels a step of epsilon / 10 leaves as they are") == 0
    assert 0.3 < value(report, "bfloat16: overshoot of the ball") <= 0.5
    assert 0.03 < value(report, "float16: overshoot of the ball") <= 0.0625


def test_small_gradients_underflow_in_float16() -> None:
    def shortened(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        if y.requires_grad:
            y.register_hook(lambda slope: 1e-9 * slope)
        return y

    report = HalfPrecision().run(probe_of(Mask(shortened)))
    assert value(report, "float16: gradients lost") == 1
    assert value(report, "bfloat16: gradients lost") == 0
    assert report.symptoms == ()  # it is deployed in float32


class Overflowing(nn.Module):
    """The network behind a detour over large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.inner = nn.Linear(8, 8, False), nn.Linear(8, 8, False), cnn()
        with torch.no_grad():
            self.up.weight.copy_(1e6 * torch.eye(8))
            self.down.weight.copy_(1e-6 * torch.eye(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.down(self.up(x)))


def test_the_layer_that_overflows_is_named() -> None:
    report = HalfPrecision().run(probe_of(Overflowing()))
    assert value(report, "float16: scores not finite") == 1
    assert value(report, "bfloat16: scores not finite") == 0
    assert "up, down overflow" in report.sentence
    assert report.symptoms == ()


def test_deployed_in_half_precision_changed_verdicts_are_a_symptom() -> None:
    """Differences of 1 beside 1000 are lost in bfloat16, where neighbours are 4 apart."""

    def coarse(z: torch.Tensor) -> torch.Tensor:
        return z + 1000

    probe = probe_of(Mask(after=coarse), victim={"precision": torch.bfloat16})
    report = HalfPrecision().run(probe)
    (symptom,) = report.symptoms
    assert (symptom.family, symptom.kind) == ("contract", "other")
    assert "bfloat16" in symptom.title
    assert "another answer" in symptom.evidence[0]


def test_found_examples_are_judged_again() -> None:
    probe = battle(probe_of(cnn()))
    report = HalfPrecision().run(probe)
    examples = [one for one in report.measurements if "adversarial" in one.name]
    assert [one.samples for one in examples] == [16, 16]
    assert [attempt.name for attempt in probe.attempts][-1] == "examples"


def test_an_error_of_a_layer_is_its_own() -> None:
    victim = Victim("model", cnn())
    errors = layer_errors(victim, victim.in_precision(torch.bfloat16), IMAGES[:4])
    assert set(errors) == {"first", "second", "last"}
    assert all(1e-4 < error < 0.05 for error in errors.values())
    assert set(layer_errors(victim, victim, IMAGES[:4]).values()) == {0.0}


def test_a_model_that_knows_float32_only_is_told() -> None:
    class Strict(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = cnn()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.dtype != torch.float32:
                raise TypeError("float32 only")
            return self.inner(x)

    report = HalfPrecision().run(probe_of(Strict()))
    assert report.symptoms == ()
    assert "it cannot be run (TypeError)" in report.sentence
