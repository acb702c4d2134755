"""Every built-in attack, check and data adapter holds what the kit asks of everybody's."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from auditor.testing import conformance_cases

#: Shorter runs of those whose defaults take thousands of passes.
SHORTER = {"square": {"queries": 300}, "spsa": {"samples": 8}, "rays": {"queries": 500}}
QUICK = ["fgsm"]
LONG = [
    "pgd",
    "noise",
    "apgd",
    "fab",
    "ddn",
    "square",
    "spsa",
    "rays",
    "autoattack",
    "cascade",
    "masking",
]


def run_all(name: str, parameters: dict) -> None:
    for case in conformance_cases(importlib.import_module(f"auditor_plugins.{name}"), parameters):
        case.run()


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]
)
def test_built_ins_conform(name):
    run_all(name, {key: value for key, value in SHORTER.items() if key == name})


def test_the_npz_adapter_conforms(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(4 * 36, dtype=np.uint8).reshape(4, 6, 6), y=np.arange(4) % 2)
    run_all("npz", {"npz": {"path": str(path)}})


@pytest.mark.parametrize(
    ("change", "prop", "message"),
    [
        ({"x": np.full((4, 6, 6), 3.0)}, "images", "pixels from 3 to 3"),
        ({"y": np.zeros(3, int)}, "images", "for 4 images"),
        ({"class_names": np.array(["one"])}, "named", "1 class names, and the label 1"),
    ],
)
def test_what_is_wrong_with_a_set_is_named(tmp_path, change, prop, message):
    path = tmp_path / "data.npz"
    np.savez(path, **{"x": np.zeros((4, 6, 6), np.uint8), "y": np.arange(4) % 2, **change})
    module = importlib.import_module("auditor_plugins.npz")
    cases = conformance_cases(module, {"npz": {"path": str(path)}})
    (case,) = [one for one in cases if one.property == prop]
    with pytest.raises(AssertionError, match=message):
        case.run()
