"""Plugins that never end, take too long, or return what nobody can use: the audit still ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from system_files import CONFIG, attack_rows, audit_json, auditor, only_run
from test_plugins_in_audits import BRIGHTER

ENDLESS_STAGES = """
from dataclasses import dataclass

import torch

from auditor.api import SCORES, Stage, State, attack, hookimpl


@attack(name="still", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Still:
    steps: int = 1

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        return state


@attack(name="brighter", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Endless:
    def passes(self, classes):
        return 2, 0

    def stages(self, brief):
        while True:
            yield Stage("again", Still(), torch.arange(ROWS), precision="exact")


@hookimpl
def auditor_attacks():
    return [Endless]
"""
CHECK = """
import time
from dataclasses import dataclass

from auditor.api import (
    SCORES, CheckReport, Measurement, State, Symptom, attack, check, hookimpl,
)


@attack(name="brighter", norms={"linf"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Still:
    steps: int = 10**9

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        return state


@check(name="odd", reference="none")
@dataclass(frozen=True)
class Odd:
    def run(self, probe):
        RUN


@hookimpl
def auditor_checks():
    return [Odd]
"""
BUDGET = "the time budget of 4 seconds was used up"


def run(plugin: str, *options: str, own: str = '[[attack]]\nuse = "brighter"\n') -> Any:
    """Exit status, what was said, and audit.json of the small audit with one plugin."""
    Path("mine.py").write_text(plugin, encoding="utf-8")
    config = CONFIG.replace("check  = []\n", "") if "[[check]]" in own else CONFIG
    Path("audit.toml").write_text(config + own, encoding="utf-8")
    formats = ("--set", 'report.formats=["html"]')
    status, said = auditor("run", "audit.toml", "-p", "mine.py", *formats, *options)
    assert (only_run() / "report.html").is_file(), said
    return status, said, audit_json(only_run())


@pytest.fixture
def warm(here: Path) -> None:
    """The first audit of a process imports for seconds; that is not to use the budget up."""
    auditor("run", "audit.toml", "--set", "run.output=warm")


@pytest.mark.parametrize(
    "plugin",
    [
        BRIGHTER.replace("param(3,", "param(10**9,"),
        ENDLESS_STAGES.replace("ROWS", "0"),
        BRIGHTER.replace(
            "return State(x=task.x)", '__import__("time").sleep(4.1)\n        return State(task.x)'
        ),
    ],
    ids=["steps without end", "stages without end", "a slow start"],
)
@pytest.mark.usefixtures("warm")
def test_the_time_budget_ends_an_attack_between_two_steps(plugin: str, here: Path) -> None:
    status, _, audit = run(plugin, "--set", 'run.time_budget="4s"')
    rows = attack_rows(audit)
    reason = f"{BUDGET} while it ran"
    assert (status, audit["status"], audit["verdict"]) == (3, "incomplete", "inconclusive")
    assert (rows["brighter"]["status"], rows["brighter"]["reason"]) == ("skipped", reason)
    assert rows["fgsm"]["robust"]["correct"] == 12
    assert audit["reasons"] == [f"bands: attack brighter has no result: {reason}."]
    assert reason in (only_run() / "report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("warm")
def test_the_time_budget_ends_the_attack_of_a_check(here: Path) -> None:
    plugin = CHECK.replace("RUN", "probe.attack('forever', Still(), probe.survivors())")
    status, _, audit = run(
        plugin, "--set", 'run.time_budget="4s"', own='[[check]]\nuse = "odd"\n'
    )  # fmt: skip
    assert status == 3
    (row,) = audit["models"][0]["checks"]
    assert (row["status"], row["sentence"]) == ("skipped", f"{BUDGET} while it ran")
    assert f"bands: check odd has no result: {BUDGET} while it ran." in audit["reasons"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("raise OSError('disk')", "OSError: disk"),
        ("return None", "TypeError: it returned NoneType, not a CheckReport"),
        ("return CheckReport(3)", "TypeError: its report has a wrong sentence: Input should be a"),
        ("return CheckReport('', symptoms=('x',))", "TypeError: its report has a wrong symptoms.0"),
        (
            "return CheckReport('', measurements=(Measurement('m', float('nan'), None, 1, ''),))",
            "ValueError: its measurement 'm' is not finite",
        ),
    ],
)
def test_a_check_that_fails_is_a_finding(line: str, reason: str, here: Path) -> None:
    status, _, audit = run(CHECK.replace("RUN", line), own='[[check]]\nuse = "odd"\n')
    (row,) = audit["models"][0]["checks"]
    assert row["status"] == "error"
    assert row["sentence"].startswith(f"It crashed: {reason}")
    (finding,) = [it for it in audit["models"][0]["findings"] if it["code"] == "check-failed"]
    assert finding["summary"].endswith(row["sentence"].removeprefix("It crashed: "))
    assert audit["models"][0]["masking"]["verdict"] == "inconclusive"
    # The gate of this audit lets every verdict through; what crashed is missing all the same.
    assert (status, audit["status"]) == (3, "incomplete")
    why = row["sentence"].removeprefix("It crashed: ").removesuffix(".")
    assert audit["reasons"] == [f"bands: check odd crashed: {why}."]


@pytest.mark.parametrize(
    ("line", "replacement", "reason"),
    [
        (
            "return State(x=task.x)",
            "return State(x=task.x.to('meta'))",
            "attack 'brighter' has x on the device meta, not on cpu",
        ),
        (
            'steps: PositiveInt = param(3, "bands to try")',
            "@property\n    def steps(self):\n        raise ValueError('how many')",
            "ValueError: how many",
        ),
        (
            'steps: PositiveInt = param(3, "bands to try")',
            "steps = 'three'",
            "TypeError: ",
        ),
    ],
)
def test_a_defect_costs_its_own_row(line: str, replacement: str, reason: str, here: Path) -> None:
    assert line in BRIGHTER
    status, _, audit = run(BRIGHTER.replace(line, replacement))
    row = attack_rows(audit)["brighter"]
    assert (status, row["status"]) == (3, "error")
    assert row["reason"].startswith(reason)
    assert attack_rows(audit)["noise"]["status"] == "done"


def test_passes_that_raise_cost_their_own_row(here: Path) -> None:
    plugin = ENDLESS_STAGES.replace("return 2, 0", "raise ValueError('unknown')")
    plugin = plugin.replace("while True:", "if 1 / 0:").replace("ROWS", "1")
    status, _, audit = run(plugin)
    row = attack_rows(audit)["brighter"]
    assert (status, row["status"]) == (3, "error")
    assert row["reason"].startswith("ZeroDivisionError: division by zero (at mine.py:")


def test_what_a_check_broke_before_it_crashed_counts(here: Path) -> None:
    """The corner of the ball that a linear model minds most; half of the pictures fall there."""
    attack = "probe.attack('corner', FGSM(), probe.survivors())"
    plugin = CHECK.replace("RUN", f"{attack}\n        raise OSError('disk')")
    plugin = f"from auditor_plugins.fgsm import FGSM\n{plugin}"
    instead = ("--set", "attack.0.use=noise", "--set", "attack.0.label=first")  # of FGSM
    own = '[[check]]\nuse = "odd"\n'
    ends = plugin.replace("raise OSError('disk')", "return CheckReport('')")
    _, _, whole = run(ends, *instead, own=own)
    only_run().rename("whole")
    status, _, audit = run(plugin, *instead, own=own)
    (row,) = audit["models"][0]["checks"]
    assert (status, row["status"]) == (3, "error")
    assert row["attempts"] == whole["models"][0]["checks"][0]["attempts"]
    robust = [one["models"][0]["threats"][0]["robust"]["correct"] for one in (whole, audit)]
    assert robust[0] == robust[1] == 12
    assert audit["models"][0]["masking"]["hidden"]["total"] == 24
