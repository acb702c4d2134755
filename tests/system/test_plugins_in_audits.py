"""A user's own attack in an audit: one that works, and ones that break in every way."""

from __future__ import annotations

from pathlib import Path

import pytest
from system_files import CONFIG, attack_rows, audit_json, auditor, only_run, run_directories

#: What the documents promise: an attack in some fifteen lines.
BRIGHTER = """
from dataclasses import dataclass
from auditor.api import SCORES, PositiveInt, State, attack, hookimpl, param

@attack(name="brighter", norms={"linf"}, needs=SCORES, reference="none: one band brighter")
@dataclass(frozen=True)
class Brighter:
    steps: PositiveInt = param(3, "bands to try")

    def start(self, task):
        return State(x=task.x)

    def step(self, task, state, seen):
        band = (task.step % 3)[:, None, None, None]
        column = __import__("torch").arange(6) // 2
        return State(x=task.ball.project(task.x + task.ball.epsilon * (2 * (column == band) - 1)))

@hookimpl
def auditor_attacks():
    return [Brighter]
"""
START, STEP = "return State(x=task.x)", "band = (task.step"
#: What replaces a line of the plugin, and the reason that the report has to give.
DEFECTS = {
    "start-raises": (START, 'raise ValueError("no start")', "ValueError: no start (at mine.py:11)"),
    "step-raises": (
        STEP,
        'raise OSError("disk")\n        band = (task.step',
        "OSError: disk (at mine.py:14)",
    ),
    "wrong-shape": (
        START,
        "return State(x=task.x[:, :, 1:])",
        "attack 'brighter' proposed x as (8, 1, 5, 6) torch.float32, not as (8, 1, 6, 6) "
        "torch.float32",
    ),
    "wrong-type": (
        START,
        "return State(x=task.x.double())",
        "attack 'brighter' proposed x as (8, 1, 6, 6) torch.float64, not as (8, 1, 6, 6) "
        "torch.float32",
    ),
    "no-tensor": (
        START,
        "return State(x=None)",
        "attack 'brighter' proposed NoneType as x, not a tensor",
    ),
    "no-state": (
        START,
        "return None",
        "attack 'brighter' returned NoneType, not a State",
    ),
    "loses-images-in-step": (
        STEP,
        "return State(x=state.x[1:])\n        band = (task.step",
        "attack 'brighter' proposed x as (7, 1, 6, 6) torch.float32, not as (8, 1, 6, 6) "
        "torch.float32",
    ),
    "system-exit": (START, "raise SystemExit(0)", "SystemExit: 0 (at mine.py:11)"),
}


def write_config(attack: str = '[[attack]]\nuse = "brighter"\n') -> None:
    plugin = '[plugins]\npaths = ["mine.py"]\n'
    Path("audit.toml").write_text(CONFIG + attack + plugin, encoding="utf-8")


def test_own_attack_gets_its_row(here: Path) -> None:
    Path("mine.py").write_text(BRIGHTER, encoding="utf-8")
    write_config()
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    audit = audit_json(only_run())
    row = attack_rows(audit)["brighter"]
    # It finds what fgsm finds: the linear model's optimum.
    assert row["robust"]["correct"] == attack_rows(audit)["fgsm"]["robust"]["correct"] == 12
    assert row["parameters"] == {"steps": 3}
    (record,) = [it for it in audit["provenance"]["plugins"] if it["name"] == "mine"]
    assert record["status"] == "loaded"
    assert len(record["sha256"]) == 64


@pytest.mark.parametrize("name", DEFECTS)
def test_defect_costs_its_own_row_alone(name: str, here: Path) -> None:
    line, replacement, reason = DEFECTS[name]
    assert line in BRIGHTER
    Path("mine.py").write_text(BRIGHTER.replace(line, replacement), encoding="utf-8")
    write_config()
    status, said = auditor("run", "audit.toml", "--set", 'report.formats=["html"]')
    directory = only_run()
    audit = audit_json(directory)
    rows = attack_rows(audit)
    assert (status, audit["status"], audit["verdict"]) == (3, "incomplete", "inconclusive")
    assert (rows["brighter"]["status"], rows["brighter"]["reason"]) == ("error", reason)
    assert rows["brighter"]["robust"] is None
    assert (rows["fgsm"]["robust"]["correct"], rows["noise"]["status"]) == (12, "done")
    assert audit["reasons"] == [f"bands: attack brighter failed: {reason}."]
    assert f"attack brighter failed: {reason}" in said
    assert (directory / "report.html").is_file()


def test_lies_are_not_believed(here: Path) -> None:
    lie = BRIGHTER.replace(STEP, "return State(x=1 - task.x)\n        band = (task.step")
    Path("mine.py").write_text(lie, encoding="utf-8")
    write_config()
    status, _ = auditor("run", "audit.toml")
    row = attack_rows(audit_json(only_run()))["brighter"]
    assert (status, row["broken"], row["robust"]["correct"]) == (0, 0, 24)
    assert row["rejected"]["outside the ball"] > 0


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('not today')\n", "RuntimeError: not today"),
        ("def broken(:\n", "SyntaxError"),
        ("import sys\nsys.exit(0)\n", "SystemExit: 0"),
        ("x = 1\n", "it offers nothing"),
        (BRIGHTER.replace('name="brighter"', 'name="pgd"'), "already taken by plugin 'pgd'"),
        (BRIGHTER.replace("@attack(", "dict("), "is not an attack"),
    ],
)
def test_broken_file_is_a_load_error(source: str, says: str, here: Path) -> None:
    Path("mine.py").write_text(source, encoding="utf-8")
    write_config(attack="")
    status, said = auditor("run", "audit.toml")
    assert status == 4, said
    assert says in said
    assert "audit.toml:" in said
    assert "plugins.paths" in said
    assert not run_directories()
