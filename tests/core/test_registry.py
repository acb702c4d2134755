"""Plugins: found, vetted and named; a broken one is recorded, never fatal, never silent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from auditor.protocols.hookspecs import API_VERSION
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
    drawn = [entry.pop("sample", None) for entry in batteries["quick"] if entry["use"] == "cascade"]
    assert drawn == [20]  # the others draw the cascade's default, which is more
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
    "no method of an attack": (
        ATTACK.format(name="m").replace("def start", "def begin"),
        "is not an attack: it has neither",
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


API = ATTACK.format(name="m")
DATA = """
from dataclasses import dataclass
from auditor.api import data_adapter, hookimpl, param


@data_adapter(name="m")
@dataclass(frozen=True)
class Mine:
    draw: str = param("", "a key of [data] itself")

    def load(self): ...


@hookimpl
def auditor_data():
    return [Mine]
"""
#: What is wrong, and what the remedy has to say.
REMEDIES = {
    "an error at import": ("x = 1\nraise RuntimeError('boom')", "boom", "mend it, at bad.py:2"),
    "a missing package": ("import no_such.part", "no_such", "install what provides 'no_such'"),
    "a name that auditor.api does not have": (
        "from auditor.api import Telepathy",
        "cannot import name 'Telepathy'",
        "upgrade auditor, or install the version of the plugin that was made for this one",
    ),
    "a misspelt hook": (
        API.replace("def auditor_attacks", "def auditor_atacks"),
        "there is no hook called auditor_atacks",
        "did you mean auditor_attacks?",
    ),
    "no mark": (
        API.replace("@hookimpl\n", ""),
        "auditor_attacks is not marked",
        "write @hookimpl above def auditor_attacks",
    ),
    "a hook with arguments": (
        API.replace("auditor_attacks()", "auditor_attacks(config)"),
        "auditor_attacks takes arguments",
        "write def auditor_attacks():",
    ),
    "no list": (API.replace("[Mine]", "Mine"), "auditor_attacks returned type", "return a list"),
    "a newer minor version": (
        f"AUDITOR_API = ({API_VERSION[0]}, {API_VERSION[1] + 1})\n{API}",
        "it needs version",
        "upgrade auditor, or install an older version of the plugin",
    ),
    "a newer major version": (
        f"AUDITOR_API = ({API_VERSION[0] + 1}, 0)\n{API}",
        "it needs version",
        "upgrade auditor, or install an older version of the plugin",
    ),
    "an older major version": (
        f"AUDITOR_API = ({API_VERSION[0] - 1}, 9)\n{API}",
        "it needs version",
        "install a newer version of the plugin, or an older auditor",
    ),
    "no version": (f"AUDITOR_API = '1.0'\n{API}", "its AUDITOR_API is '1.0'", "(major, minor)"),
    "a name that is taken": (
        ATTACK.format(name="pgd"),
        "attack name 'pgd' is already taken by plugin 'pgd'",
        "give it another name",
    ),
    "a name that cannot be one": (
        ATTACK.format(name="my attack"),
        "auditor_attacks: 'my attack' cannot be a name",
        "begin with a letter or digit",
    ),
    "a parameter that is a key already": (
        API.replace("steps: PositiveInt", "label: PositiveInt"),
        "'m' cannot have a parameter called 'label'",
        "mend it",
    ),
    "a parameter that is a key of the data": (
        DATA,
        "'m' cannot have a parameter called 'draw'",
        "mend it",
    ),
}


@pytest.mark.parametrize("kind", REMEDIES)
def test_what_is_wrong_comes_with_a_remedy(write, kind):
    text, detail, remedy = REMEDIES[kind]
    found = record(load_registry([write("bad.py", text)]), "bad.py")
    assert found.status == "broken"
    assert detail in found.detail
    assert remedy in found.remedy


@pytest.mark.parametrize("wanted", [API_VERSION, (API_VERSION[0], 0)])
def test_a_plugin_for_this_version_or_an_older_minor_one_loads(write, wanted):
    path = write("good.py", f"AUDITOR_API = {wanted}\n{API}")
    assert load_registry([path]).broken == []


#: Hooks that return one thing, and names that auditor itself has, by hook.
OTHER_HOOKS = {
    "auditor_norms": ("type('N', (type(LINF),), {'name': 'NAME'})()", "linf"),
    "auditor_surrogates": ("surrogate(name='NAME')(lambda own: own)", None),
    "auditor_reports": ("reporter(name='NAME')(lambda result, directory: directory)", "pdf"),
    "auditor_sections": ("section(name='NAME', title='Any')(lambda result: '')", None),
    "auditor_sinks": ("sink(name='NAME')(lambda event: None)", None),
    "auditor_commands": ("command('NAME')", "doctor"),
}
PREAMBLE = """
import typer
from auditor.api import hookimpl, reporter, section, sink, surrogate
from auditor.maths.norms import NORMS

LINF = NORMS[0]

def command(name):
    app = typer.Typer(name=name)
    app.command()(lambda: None)
    return app

@hookimpl
def HOOK():
    return [THING]
"""


@pytest.mark.parametrize("hook", OTHER_HOOKS)
def test_other_hooks(write, hook):
    thing, taken = OTHER_HOOKS[hook]
    text = PREAMBLE.replace("HOOK", hook)
    good = text.replace("THING", thing).replace("NAME", "mine")
    wrong = text.replace("THING", "object()")
    loaded = load_registry([write("good.py", good), write("wrong.py", wrong)])
    assert record(loaded, "good.py").detail == ""
    kind = hook.removeprefix("auditor_")
    (offered,) = [name for of, name in loaded.origins if loaded.origins[of, name] == "good"]
    assert offered in getattr(loaded, kind)
    assert record(loaded, "wrong.py").detail.startswith(f"{hook}: <object object")
    assert "is not a" in record(loaded, "wrong.py").detail
    if taken:
        loaded = load_registry([write("good.py", good.replace("mine", taken))])
        assert f"name '{taken}' is already taken by auditor itself" in loaded.broken[0].detail


def test_a_module_is_a_plugin_and_of_a_package_every_file_counts(write, monkeypatch, tmp_path):
    write("a_package/__init__.py", "from a_package.part import *")
    part = write("a_package/part.py", ATTACK.format(name="mine"))
    monkeypatch.syspath_prepend(tmp_path)
    before = record(load_registry(["a_package"]), "module a_package")
    assert before.status == "loaded"
    part.write_text(ATTACK.format(name="mine") + "# changed\n")
    assert record(load_registry(["a_package"]), "module a_package").sha256 != before.sha256


def test_a_plugin_that_is_named_twice_is_loaded_once(write, monkeypatch, tmp_path):
    write("named_twice.py", ATTACK.format(name="mine"))
    monkeypatch.syspath_prepend(tmp_path)
    loaded = load_registry(["named_twice", "named_twice"])
    assert loaded.broken == []
    assert loaded.plugins[-1].detail == "the same as plugin 'named_twice', loaded before"


def test_what_a_broken_plugin_would_have_offered_is_known_by_its_code(write):
    text = "raise RuntimeError\n" + ATTACK.format(name="mine")
    loaded = load_registry([write("bad.py", text), write("worse.py", "raise RuntimeError")])
    assert [one.name for one in loaded.suspects("mine")] == ["bad"]
    assert loaded.suspects("other") == []


def test_the_hash_of_an_attack_is_that_of_its_own_plugin(write):
    paths = [write(f"{name}/plugin.py", ATTACK.format(name=name)) for name in ("one", "two")]
    hashes = load_registry(paths).hashes
    assert hashes["attacks", "one"] != hashes["attacks", "two"]


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
