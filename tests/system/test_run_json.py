"""`auditor run --json`: one line on standard output, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from system_files import CONFIG, MODEL, auditor, only_run, process

RUN = ("run", "audit.toml", "--json")
BROKEN = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.9\n'
#: Prints by Python, and past it, as native code and child processes do.
TALKS = (
    MODEL
    + """
import os
print("made by python")
os.write(1, b"made by the system\\n")
os.system("echo made by a child")
"""
)


@pytest.mark.parametrize(
    ("gates", "verdict", "status"), [("", "no-requirement", 0), (BROKEN, "fail", 1)]
)
def test_one_line_and_everything_else_elsewhere(
    gates: str, verdict: str, status: int, here: Path
) -> None:
    Path("audit.toml").write_text(CONFIG + gates)
    Path("model.py").write_text(TALKS, encoding="utf-8")
    done = process(*RUN)
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == {
        "directory": str(only_run().absolute()),
        "verdict": verdict,
        "status": status,
    }
    assert done.returncode == status
    for who in ("python", "the system", "a child"):
        assert f"made by {who}" in done.stderr
    assert f"Verdict: {verdict}; exit status {status}." in done.stderr


@pytest.mark.parametrize(
    ("broken", "by", "status", "said"),
    [
        ("audit.toml", "[]", 2, "This is not TOML"),
        ("model.py", "raise ValueError('no licence')", 4, "ValueError: no licence"),
    ],
)
def test_what_did_not_run_is_told_too(
    broken: str, by: str, status: int, said: str, here: Path
) -> None:
    Path(broken).write_text(by, encoding="utf-8")
    done = process(*RUN)
    assert json.loads(done.stdout) == {"directory": None, "verdict": None, "status": status}
    assert done.returncode == status
    assert said in done.stderr


def test_a_plan_is_no_run(here: Path) -> None:
    status, said = auditor(*RUN, "--plan")
    assert status == 2
    assert "--plan runs nothing" in said
