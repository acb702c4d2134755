"""The kit finds every planted defect and names it, and lets an honest attack pass."""

from __future__ import annotations

import re

import pytest
import torch
from core_defects import Honest, HonestWhole, defects, plugin

from auditor.errors import LoadError
from auditor.testing import NonConformance, conformance_cases
from auditor.testing.offered import load_plugin


@pytest.fixture(autouse=True)
def gradients_on():
    """Some defects switch them off."""
    yield
    torch.set_grad_enabled(True)


def case_of(cls: type, prop: str):
    (found,) = [one for one in conformance_cases(plugin(cls)) if one.property == prop]
    return found


def test_an_honest_attack_holds_every_property():
    cases = conformance_cases(plugin(Honest))
    assert len(cases) == 21
    for case in cases:
        case.run()


def test_an_honest_attack_with_a_loop_of_its_own_holds_what_it_can():
    cases = conformance_cases(plugin(HonestWhole))
    names = {case.property for case in cases}
    assert {"ball", "inputs", "repeatable", "optimum", "noise"} <= names
    assert not names & {"batch", "state-rows", "empty-batch", "seed"}
    for case in cases:
        case.run()


@pytest.mark.parametrize("name", defects)
def test_a_planted_defect_is_found_and_named(name):
    prop, message, cls = defects[name]
    with pytest.raises(NonConformance) as raised:
        case_of(cls, prop).run()
    text = str(raised.value)
    assert f'does not hold the property "{prop}"' in text
    assert message in text, text
    assert all(line in text for line in ("  seen:      ", "  expected:  ", "  likely:    "))


def test_there_are_at_least_fifteen_defects():
    assert len(defects) >= 15


# --- The kit reads plugins as an audit does


OFFER = """
from dataclasses import dataclass
from auditor.api import SCORES, PositiveInt, State, attack, hookimpl, param

@attack(name="mine", norms={{{norms}}}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Mine:
    "Stays where it is."
    steps: PositiveInt = param(1, "points")

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        {step}

{extra}
@hookimpl
def auditor_attacks():
    return [Mine]
"""
STAYS = "return State(x=task.x)"


def module_of(tmp_path, norms='"linf"', step=STAYS, extra="", change=("", "")):
    path = tmp_path / "mine.py"
    path.write_text(OFFER.format(norms=norms, step=step, extra=extra).replace(*change))
    return load_plugin(str(path))


def failing(module) -> set[str]:
    found = set()
    for case in conformance_cases(module):
        try:
            case.run()
        except NonConformance:
            found.add(case.property)
    return found


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("@hookimpl\ndef auditor_attacks", "def auditor_attacks"), "write @hookimpl above"),
        (("def auditor_attacks", "def auditor_atacks"), "did you mean auditor_attacks?"),
        (("@attack", "AUDITOR_API = (1, 99)\n\n@attack"), "it needs version 1.99"),
    ],
    ids=["unmarked", "misspelt", "of a later version"],
)
def test_what_an_audit_refuses_the_kit_refuses_in_the_same_words(tmp_path, change, told):
    with pytest.raises(LoadError, match=re.escape(told)):
        conformance_cases(module_of(tmp_path, change=change))


NORM = """
from auditor.maths.norms import Linf

class Own(Linf):
    name = "own"

@hookimpl
def auditor_norms():
    return [Own()]
"""


def test_a_plugins_own_norm_is_known_to_its_attacks(tmp_path):
    assert not failing(module_of(tmp_path, norms='"own"', extra=NORM))


def test_an_attack_of_which_nothing_could_be_seen_holds_nothing(tmp_path):
    everything = {case.property for case in conformance_cases(module_of(tmp_path))}
    assert failing(module_of(tmp_path, step="raise ValueError('no')")) >= everything - {
        "described",
        "protocol",
    }
    assert failing(module_of(tmp_path, norms='"nowhere"')) == everything
