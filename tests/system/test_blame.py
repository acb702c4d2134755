"""Whatever a user's code raises is told with its file and line, and its traceback is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from system_files import CONFIG, audit_json, auditor, only_run, run_directories
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
#: The plugin, what stands in audit.toml for it, and whether the result has the reason.
CASES = {
    "attack": (ATTACK, '[[attack]]\nuse = "mine"\n', True),
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
    if kind in ("attack", "check", "surrogate"):
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


def test_what_a_loader_raises_is_told_with_its_line(here: Path) -> None:
    plugin = START + LOADER
    (line,) = (n for n, text in enumerate(plugin.splitlines(), 1) if ".missing" in text)
    Path("mine.py").write_text(plugin, encoding="utf-8")
    config = CONFIG.replace('factory = "model.py:make"', 'loader = "frozen-file"')
    Path("audit.toml").write_text(config, encoding="utf-8")
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 4
    assert "The loader raised AttributeError" in said
    assert f"raised at mine.py:{line}" in said
    assert not run_directories(here)


def test_the_traceback_of_a_cell_is_the_same_file_when_it_fails_again(here: Path) -> None:
    run(START + ATTACK, own='[[attack]]\nuse = "mine"\n')
    before = sorted(path.name for path in only_run().glob("traceback-*.txt"))
    run(START + ATTACK, "--resume", own='[[attack]]\nuse = "mine"\n')
    assert sorted(path.name for path in only_run().glob("traceback-*.txt")) == before
    assert len(before) == 1
    assert audit_json(only_run())["status"] == "incomplete"
