"""Parameters of plugins: described, checked, and refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from auditor.maths.objectives import OBJECTIVE_NAMES, ObjectiveName
from auditor.parameters import NonNegativeInt, PixelLength, PositiveInt, Spec, param, parse_number
from auditor.protocols.attack import SCORES, attack, lane_passes_of, passes_of, spec_of


@dataclass(frozen=True)
class Thing:
    """The first line.

    More of it.
    """

    path: str = param(doc="required")
    steps: PositiveInt = param(10, "how many")
    skip: NonNegativeInt = param(0, "how few")
    size: PixelLength | None = param(None, "how long")
    loss: ObjectiveName = param("margin", "what")
    fast: bool = param(False, "whether")


class Starts(Thing):
    def start(self, task):
        raise NotImplementedError


SPEC = Spec("thing", Thing, "a paper")
DECORATE = attack(name="n", norms=["l2", "l2"], needs=SCORES, reference="r")


def test_description():
    assert SPEC.summary == "The first line."
    assert "More of it." in SPEC.doc
    described = {one.name: one for one in SPEC.parameters}
    assert list(described) == ["path", "steps", "skip", "size", "loss", "fast"]
    assert described["path"].required
    assert not described["steps"].required
    assert described["steps"].default == 10
    assert described["steps"].type == "int > 0"
    assert described["skip"].type == "int >= 0"
    assert described["size"].type == "float > 0 | none"
    assert described["loss"].type == " | ".join(repr(name) for name in OBJECTIVE_NAMES)
    assert described["steps"].doc == "how many"


def test_build_fills_in_defaults():
    assert SPEC.build({"path": "p"}) == Thing("p", 10, 0, None, "margin", False)
    assert SPEC.build({"path": "p", "steps": 3, "size": "2/255"}) == Thing("p", 3, 0, 2 / 255)
    assert SPEC.build({"path": "p", "size": 1}).size == 1.0


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"path": 3},
        {"path": "p", "steps": 0},
        {"path": "p", "steps": "7"},
        {"path": "p", "steps": 2.0},
        {"path": "p", "steps": True},
        {"path": "p", "skip": -1},
        {"path": "p", "size": 0},
        {"path": "p", "size": "1/0"},
        {"path": "p", "size": "a lot"},
        {"path": "p", "size": "nan"},
        {"path": "p", "size": float("nan")},
        {"path": "p", "size": float("inf")},
        {"path": "p", "loss": "hinge"},
        {"path": "p", "fast": 1},
        {"path": "p", "stpes": 3},
    ],
    ids=str,
)
def test_build_refuses_what_is_not_a_value_of_the_parameter(wrong):
    with pytest.raises(ValidationError) as raised:
        SPEC.build(wrong)
    culprit = list(wrong)[-1] if wrong else "path"
    assert next(error["loc"][0] for error in raised.value.errors()) == culprit


def test_every_fault_is_reported_at_once():
    with pytest.raises(ValidationError) as raised:
        SPEC.build({"steps": 0, "unknown": 1, "loss": "x"})
    places = {error["loc"][0] for error in raised.value.errors()}
    assert places == {"path", "steps", "unknown", "loss"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("8/255", 8 / 255), (" 1 / 3 ", 1 / 3), ("0.1", 0.1), ("1e-3", 1e-3), (0.5, 0.5), (2, 2)],
)
def test_numbers_may_be_fractions(text, value):
    assert parse_number(text) == value


def test_only_decorated_classes_are_attacks():
    with pytest.raises(TypeError, match="decorate"):
        spec_of(Starts)
    decorated = DECORATE(Starts)
    assert spec_of(decorated).norms == {"l2"}
    assert decorated is Starts
    del Starts.attack_spec


def test_a_class_without_the_methods_of_any_kind_is_no_attack():
    with pytest.raises(TypeError, match="neither `start` and `step`, nor `stages`, nor `perturb`"):
        DECORATE(Thing)


def offering(*names: str, **more: Any) -> type:
    return type("Offers", (), {name: lambda self, *given: (3, 4) for name in names} | more)


@pytest.mark.parametrize(
    ("names", "kind", "has"),
    [
        (("start", "step"), "steps", set()),
        (("start", "step", "passes", "lane_passes"), "steps", {"passes", "lane_passes"}),
        (("perturb", "start", "passes"), "own loop", {"passes"}),
        (("stages", "perturb", "start", "passes", "battery"), "stages", {"passes", "battery"}),
    ],
)
def test_the_kind_of_an_attack_is_told_by_its_methods(names, kind, has):
    spec = spec_of(DECORATE(offering(*names)))
    assert (spec.kind, spec.has, spec.sampled) == (kind, has, "battery" in names)


def test_a_parameter_of_a_method_s_name_is_no_method():
    assert spec_of(DECORATE(offering("start", stages=3, battery="full"))).kind == "steps"


def test_what_inherits_from_an_attack_is_told_by_its_own_methods():
    parent = DECORATE(offering("start", "lane_passes"))
    child = type(
        "Child", (parent,), {"stages": lambda self, brief: iter(()), "passes": parent.start}
    )
    spec = spec_of(child)
    assert (spec.cls, spec.name, spec.kind) == (child, "n", "stages")
    assert spec.has == {"passes", "lane_passes"}
    assert spec_of(parent).kind == "steps"
    assert spec_of(parent()) is spec_of(parent)


def test_what_wraps_an_attack_is_told_by_what_it_wraps():
    class Wraps:
        attack_spec = spec_of(DECORATE(offering("stages", "passes", "lane_passes")))

        def __getattr__(self, name: str) -> Any:
            return getattr(self.attack_spec.cls(), name)

    assert spec_of(Wraps).kind == "stages"
    assert passes_of(Wraps(), 10) == lane_passes_of(Wraps(), 10) == (3, 4)
