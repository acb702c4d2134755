"""Plugins: found, vetted and named; a broken one is recorded, never fatal, never silent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auditor.registry import Registry, load_registry

ATTACK = '''
from dataclasses import dataclass
from auditor.api import SCORES, PositiveInt, State, attack, hookimpl, param


@attack(name="{name}", norms={{"linf"}}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Mine:
    """A toy."""

    steps: PositiveInt = param(1, "steps")

    def start(self, task):
        return State(task.x)

    def step(self, task, state, seen):
        return state


@hookimpl
def auditor_attacks():
    return [Mine]
'''


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def record(registry: Registry, origin: str):
    (found,) = [record for record in registry.plugins if record.origin == origin]
    return found


def test_built_ins_load_and_offer_what_they_should(registry):
    assert registry.broken == []
    assert {"fgsm", "r-fgsm", "pgd", "noise"} <= set(registry.attacks)
    assert "npz" in registry.data
    assert {"quick", "standard", "thorough"} <= set(registry.profiles)
    assert {"linf", "l2", "l1"} <= set(registry.norms)
    for one in registry.plugins:
        assert one.status == "loaded"
        assert len(one.sha256) == 64


def test_profiles_name_attacks_and_parameters_that_exist(registry):
    batteries = {name: list(one.attacks) for name, one in registry.profiles.items()}
    for battery in batteries.values():
        labels = [entry.get("label", entry["use"]) for entry in battery]
        assert len(set(labels)) == len(labels)
        for entry in battery:
            parameters = {key: entry[key] for key in entry if key not in ("use", "label")}
            registry.attacks[entry["use"]].build(parameters)
    assert batteries["quick"] == batteries["standard"][: len(batteries["quick"])]
    assert batteries["standard"] == batteries["thorough"][: len(batteries["standard"])]


def test_built_in_attacks_say_where_they_come_from(registry):
    for spec in registry.attacks.values():
        assert spec.summary
        assert "arXiv" in spec.reference
        assert spec.norms <= set(registry.norms)
        assert all(parameter.doc for parameter in spec.parameters)


def test_a_file_is_a_plugin_and_is_recorded_with_its_hash(write):
    path = write("mine.py", ATTACK.format(name="mine"))
    registry = load_registry([path])
    assert registry.attacks["mine"].summary == "A toy."
    assert registry.origins["attacks", "mine"] == "mine"
    found = record(registry, "mine.py")
    assert found.status == "loaded"
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


BROKEN = {
    "an error at import": ("raise RuntimeError('boom')", "RuntimeError: boom"),
    "an exit at import": ("import sys; sys.exit(3)", "SystemExit"),
    "a syntax error": ("def", "SyntaxError"),
    "a missing module": ("import no_such_module_at_all", "no_such_module_at_all"),
    "nothing offered": ("x = 1", "it offers nothing: it has no hook"),
    "a hook without its mark": (
        ATTACK.format(name="m").replace("@hookimpl\n", ""),
        "auditor_attacks is not marked",
    ),
    "an empty offer": (ATTACK.format(name="m").replace("[Mine]", "[]"), "offers nothing"),
    "a misspelt hook": (
        ATTACK.format(name="m").replace("def auditor_attacks", "def auditor_atacks"),
        "auditor_atacks",
    ),
    "an error in the hook": (ATTACK.format(name="m").replace("[Mine]", "[1 / 0]"), "ZeroDivision"),
    "an exit in the hook": (ATTACK.format(name="m").replace("[Mine]", "exit(3)"), "SystemExit"),
    "a class without its decorator": (
        ATTACK.format(name="m").replace("[Mine]", "[State]"),
        "decorate it",
    ),
    "no list": (ATTACK.format(name="m").replace("[Mine]", "None"), "returned None"),
    "a field of unknown type": (
        ATTACK.format(name="m").replace(": PositiveInt", ": 'Unheard'"),
        "Unheard",
    ),
    "no dataclass": (ATTACK.format(name="m").replace("@dataclass(frozen=True)\n", ""), "dataclass"),
    "a name that is taken": (ATTACK.format(name="pgd"), "already taken by plugin 'pgd'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_recorded_and_harms_no_other(write, registry, kind):
    text, detail = BROKEN[kind]
    bad, good = write("bad.py", text), write("good.py", ATTACK.format(name="good"))
    loaded = load_registry([bad, good])
    found = record(loaded, "bad.py")
    assert found.status == "broken"
    assert detail in found.detail
    assert [one.name for one in loaded.broken] == ["bad"]
    assert set(loaded.attacks) == {*registry.attacks, "good"}
    assert loaded.attacks["pgd"].cls is registry.attacks["pgd"].cls


def test_a_plugin_that_offers_one_taken_name_offers_nothing(write):
    text = ATTACK.format(name="fresh") + (
        "\n\n@attack(name='fgsm', norms={'linf'}, needs=SCORES, reference='')\n"
        "@dataclass(frozen=True)\nclass Other(Mine):\n    pass\n"
    )
    path = write("bad.py", text.replace("[Mine]", "[Mine, Other]"))
    registry = load_registry([path])
    assert "fresh" not in registry.attacks
    assert "already taken" in record(registry, "bad.py").detail


def test_a_file_that_is_not_there_is_a_broken_plugin(tmp_path):
    found = record(load_registry([tmp_path / "gone.py"]), "gone.py")
    assert found.status == "broken"
    assert "no such file" in found.detail
    assert found.sha256 == ""


def test_an_interruption_is_not_swallowed(write):
    with pytest.raises(KeyboardInterrupt):
        load_registry([write("slow.py", "raise KeyboardInterrupt")])


def test_a_whole_plugin_or_one_thing_of_it_can_be_disabled(write):
    whole = load_registry(disable=["fgsm"])
    # Both the plugin and its first attack have that name; the plugin goes as a whole.
    assert not {"fgsm", "r-fgsm"} & set(whole.attacks)
    assert record_of(whole, "fgsm").status == "blocked"
    part = load_registry(disable=["r-fgsm"])
    assert "fgsm" in part.attacks
    assert "r-fgsm" not in part.attacks
    assert part.blocked == {"r-fgsm"}
    path = write("mine.py", "raise RuntimeError('never run')")
    assert record(load_registry([path], ["mine"]), "mine.py").status == "blocked"


def record_of(registry: Registry, name: str):
    (found,) = [record for record in registry.plugins if record.name == name]
    return found


def test_a_disabled_name_is_free_for_another_plugin(write):
    path = write("mine.py", ATTACK.format(name="noise"))
    registry = load_registry([path], ["noise"])
    assert "noise" not in registry.attacks or registry.origins["attacks", "noise"] == "mine"
    assert record(registry, "mine.py").status == "loaded"


@pytest.mark.parametrize("stem", ["pgd", "torch"])
def test_a_files_name_may_be_that_of_a_module_or_of_a_built_in(write, stem):
    import torch

    registry = load_registry([write(f"{stem}.py", ATTACK.format(name="mine"))])
    assert record(registry, f"{stem}.py").detail == ""
    assert "mine" in registry.attacks
    assert "pgd" in registry.attacks
    import torch as again

    assert again is torch


def test_two_files_of_one_name_in_two_folders_both_load(write):
    paths = [write(f"{name}/plugin.py", ATTACK.format(name=name)) for name in ("one", "two")]
    registry = load_registry(paths)
    assert registry.broken == []
    assert {"one", "two"} <= set(registry.attacks)
