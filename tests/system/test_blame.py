"""Whatever a user's code raises is told with its file and line, and its traceback is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from system_files import CONFIG, MODEL, attack_rows, audit_json, auditor, only_run, run_directories
from test_plugins_that_misbehave import run

START = """
from dataclasses import dataclass

import torch

from auditor.api import (
    SCORES, CheckReport, State, attack, check, hookimpl, model_loader, reporter, section, sink,
    surrogate,
)
"""

ATTACK = """
@attack(name="mine", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Mine:
    steps: int = 2

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        return State(x=task.x + self.missing)

@hookimpl
def auditor_attacks():
    return [Mine]
"""
CHECK = """
@check(name="looks", reference="none")
@dataclass(frozen=True)
class Looks:
    def run(self, probe):
        return CheckReport(str(probe.missing))

@hookimpl
def auditor_checks():
    return [Looks]
"""
SURROGATE = """
@surrogate(name="other")
def other(own):
    return own.missing

@hookimpl
def auditor_surrogates():
    return [other]
"""
SECTION = """
@section(name="notes", title="Notes")
def notes(result):
    return result.missing

@hookimpl
def auditor_sections():
    return [notes]
"""
REPORT = """
@reporter(name="csv")
def csv(result, directory):
    return result.missing

@hookimpl
def auditor_reports():
    return [csv]
"""
SINK = """
@sink(name="tracker")
def tracker(event):
    if type(event).__name__ == "CellDone":
        event.missing

@hookimpl
def auditor_sinks():
    return [tracker]
"""
COMPOSITE = """
@attack(name="mine", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Mine:
    sample: int = 2
    confidence: float = 0.95

    def stages(self, brief):
        return
        yield

    def battery(self, situation):
        return self.missing

@hookimpl
def auditor_attacks():
    return [Mine]
"""
#: The plugin, what stands in audit.toml for it, and whether the result has the reason.
CASES = {
    "attack": (ATTACK, '[[attack]]\nuse = "mine"\n', True),
    "composite": (COMPOSITE, '[[attack]]\nuse = "mine"\n', True),
    "check": (CHECK, '[[check]]\nuse = "looks"\n', True),
    "surrogate": (SURROGATE, '[[attack]]\nuse = "fgsm"\nlabel = "it"\nsurrogate = "other"\n', True),
    "section": (SECTION, "", False),
    "report": (REPORT, "", False),
    "sink": (SINK, "", True),
}


@pytest.mark.parametrize("kind", CASES)
def test_what_a_plugin_raises_is_told_with_its_line_and_traceback(kind: str, here: Path) -> None:
    body, table, in_the_result = CASES[kind]
    plugin = START + body
    (line,) = (n for n, text in enumerate(plugin.splitlines(), 1) if ".missing" in text)
    formats = ("--set", 'report.formats=["html","csv"]') if kind == "report" else ()
    _, said, result = run(plugin, *formats, own=table)
    flat = " ".join(said.split())
    assert "AttributeError" in flat
    assert f"(at mine.py:{line})" in flat
    name = re.search(r"the traceback is in (traceback-\w+\.txt)", flat)
    assert name, said
    trace = (only_run() / name[1]).read_text(encoding="utf-8")
    assert f'mine.py", line {line}, in' in trace
    assert trace.rstrip().splitlines()[-1].startswith("AttributeError")
    assert (f"mine.py:{line}" in str(result)) == in_the_result
    log = (only_run() / "events.jsonl").read_text("utf-8")
    assert f"mine.py:{line}" in log
    assert name[1] in log
    page = (only_run() / "report.html").read_text(encoding="utf-8")
    if kind != "report":
        assert f"mine.py:{line}" in page


LOADER = """
@model_loader(name="frozen-file")
@dataclass(frozen=True)
class FrozenFile:
    def load(self):
        return self.missing

@hookimpl
def auditor_models():
    return [FrozenFile]
"""
LOADER_OF_FILES = LOADER.replace(
    "        return self.missing",
    "        return torch.nn.Linear(1, 3)\n\n    def files(self):\n        return self.missing",
)


@pytest.mark.parametrize("body", [LOADER, LOADER_OF_FILES])
def test_what_a_loader_raises_is_told_with_its_line(body: str, here: Path) -> None:
    plugin = START + body
    (line,) = (n for n, text in enumerate(plugin.splitlines(), 1) if ".missing" in text)
    Path("mine.py").write_text(plugin, encoding="utf-8")
    config = CONFIG.replace('factory = "model.py:make"', 'loader = "frozen-file"')
    Path("audit.toml").write_text(config, encoding="utf-8")
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 4
    assert "he loader" in said
    assert "raised AttributeError" in said
    assert f"raised at mine.py:{line}" in said
    assert not run_directories(here)


def test_the_traceback_of_a_cell_is_the_same_file_when_it_fails_again(here: Path) -> None:
    run(START + ATTACK, own='[[attack]]\nuse = "mine"\n')
    before = sorted(path.name for path in only_run().glob("traceback-*.txt"))
    run(START + ATTACK, "--resume", own='[[attack]]\nuse = "mine"\n')
    assert sorted(path.name for path in only_run().glob("traceback-*.txt")) == before
    assert len(before) == 1
    assert audit_json(only_run())["status"] == "incomplete"


def test_what_ends_a_run_under_way_leaves_its_traceback_there(here: Path) -> None:
    """The stand-in is made when the attacks are through."""
    stand_in = "\n\ndef stand_in(model):\n    return model.missing\n"
    Path("model.py").write_text(MODEL + stand_in, encoding="utf-8")
    line = len(MODEL.splitlines()) + 4
    key = 'factory = "model.py:make"'
    Path("audit.toml").write_text(
        CONFIG.replace(key, f'{key}\nbpda = "model.py:stand_in"'), encoding="utf-8"
    )
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "AttributeError" in said
    assert f"raised at model.py:{line}" in said
    name = re.search(r"the traceback is in \S*(traceback-\w+\.txt)", " ".join(said.split()))
    assert name, said
    trace = (only_run() / name[1]).read_text(encoding="utf-8")
    assert f'model.py", line {line}, in stand_in' in trace
    log = (only_run() / "events.jsonl").read_text("utf-8")
    assert f"model.py:{line}" in log
    assert name[1] in log


def test_the_traceback_of_a_plugin_that_cannot_be_loaded_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an installed one that nobody needs: the audit goes on without it."""
    site = here / "site"
    (site / "broken-1.dist-info").mkdir(parents=True)
    (site / "broken-1.dist-info" / "METADATA").write_text("Name: broken\nVersion: 1\n")
    (site / "broken-1.dist-info" / "entry_points.txt").write_text("[auditor]\nbroken = broken\n")
    (site / "broken.py").write_text("import json\n\njson.missing\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(site))
    status, said = auditor("run", "audit.toml", "--set", 'report.formats=["html"]')
    assert status == 0, said
    name = re.search(r"the traceback is in (traceback-\w+\.txt)", " ".join(said.split()))
    assert name, said
    trace = (only_run() / name[1]).read_text(encoding="utf-8")
    assert 'broken.py", line 3, in' in trace
    log = (only_run() / "events.jsonl").read_text("utf-8")
    assert "AttributeError" in log
    assert "broken.py:3" in log
    assert name[1] in log


def test_a_model_that_raises_at_what_was_found_before_is_no_defect_of_ours(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Examples of finished cells are given to it again; here it raises at any but clean images."""
    late = (
        "import os\n        if 'LATE' in os.environ and (x * 255 % 1).gt(1e-3).any():\n"
        "            raise OSError('gone')\n        return self.linear"
    )
    Path("model.py").write_text(MODEL.replace("return self.linear", late), encoding="utf-8")
    run(START + ATTACK, own='[[attack]]\nuse = "mine"\n')  # which leaves it incomplete
    monkeypatch.setenv("LATE", "1")
    status, said, result = run(START + ATTACK, "--resume", own='[[attack]]\nuse = "mine"\n')
    assert status == 3, said
    assert attack_rows(result)["fgsm"]["reason"].startswith("OSError: gone (at model.py:")
    monkeypatch.delenv("LATE")
    _, said, result = run(START + ATTACK, "--resume", own='[[attack]]\nuse = "mine"\n')
    assert attack_rows(result)["fgsm"]["status"] == "done"
    assert "fgsm: robust 50.0%, kept from before" in said


def test_a_parameter_check_that_crashes_is_told_with_its_line(here: Path) -> None:
    crash = "steps: int = 2\n\n    def __post_init__(self):\n        self.missing\n"
    plugin = START + ATTACK.replace("steps: int = 2\n", crash)
    (line, _) = (n for n, text in enumerate(plugin.splitlines(), 1) if ".missing" in text)
    Path("mine.py").write_text(plugin, encoding="utf-8")
    Path("audit.toml").write_text(CONFIG + '[[attack]]\nuse = "mine"\n', encoding="utf-8")
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 2
    assert "refuses its parameters: AttributeError" in said
    assert f"(at mine.py:{line})" in " ".join(said.split())
