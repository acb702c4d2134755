"""The kit finds every planted defect and names it, and lets an honest attack pass."""

from __future__ import annotations

import pytest
import torch
from core_defects import Honest, HonestWhole, defects, plugin

from auditor.testing import NonConformance, conformance_cases


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
