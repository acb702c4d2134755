"""Checks with one planted defect each: the kit names it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import pytest
import torch

from auditor.api import CheckReport, Symptom, check, hookimpl
from auditor.testing import NonConformance, conformance_cases

SAID = "Of the images, all kept their class."
CLOCK = itertools.count()


@dataclass(frozen=True)
class Honest:
    """Looks at the model's answers."""

    names: ClassVar[dict] = {"name": "mine", "reference": "none"}

    def run(self, probe):
        probe.victim.judge(probe.x, probe.y)
        return CheckReport(SAID)


def with_run(run) -> type:
    return check(**Honest.names)(type("Mine", (Honest,), {"__doc__": "Mine.", "run": run}))


def raises(self, probe):
    return CheckReport(SAID) if probe.has_gradient else probe.nothing


def cries_wolf(self, probe):
    return CheckReport(SAID, symptoms=(Symptom("gradient", "Odd", "look"),))


def mutates(self, probe):
    probe.x.clamp_(0.2, 0.8)
    return CheckReport(SAID)


def trains(self, probe):
    probe.victim.module.train()
    return CheckReport(SAID)


def draws(self, probe):
    torch.rand(3)
    return CheckReport(SAID)


def goes_past_the_count(self, probe):
    probe.victim.module(probe.x)
    return CheckReport(SAID)


DEFECTS = {
    "raises": (raises, "runs", "on a model without a gradient: AttributeError"),
    "no report": (lambda self, probe: None, "runs", "it returned NoneType"),
    "false alarm": (cries_wolf, "no-false-alarm", 'it flags "Odd"'),
    "says nothing": (lambda self, probe: CheckReport("ok"), "sentence", "it says 'ok'"),
    "changes the images": (mutates, "inputs", "changed in place"),
    "changes the mode": (trains, "model", "the mode (training or evaluation)"),
    "draws": (draws, "global-state", "probe.noise"),
    "hides its cost": (goes_past_the_count, "cost", "use probe.victim.logits"),
    "says something else": (
        lambda self, probe: CheckReport(f"This is look number {next(CLOCK)}."),
        "repeatable",
        "the same report",
    ),
}


def cases_of(run):
    module = ModuleType("plugin_of_the_tests")
    module.auditor_checks = hookimpl(specname="auditor_checks")(lambda: [with_run(run)])
    return conformance_cases(module)


def test_an_honest_check_holds_every_property():
    cases = cases_of(Honest.run)
    assert len(cases) == 9
    for case in cases:
        case.run()


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found_and_named(name):
    run, prop, message = DEFECTS[name]
    (case,) = [one for one in cases_of(run) if one.property == prop]
    with pytest.raises(NonConformance) as raised:
        case.run()
    assert message in str(raised.value)
