"""An audit with checks and reports that is killed at any file operation is repaired by the next."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
from system_files import (
    CONFIG,
    LAZY,
    audit_json,
    run_directories,
    without_times,
    write_audit,
)
from system_kills import KILLED, killed_session

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no fork")

CHECK = """
from dataclasses import dataclass

from auditor_plugins.noise import Noise

from auditor.api import CheckReport, check, hookimpl

@check(name="looks", reference="none")
@dataclass(frozen=True)
class Looks:
    def run(self, probe):
        found = probe.attack("noise", Noise(samples=8), probe.survivors())
        return CheckReport(f"{int(found.broken.sum())} fell.")

@hookimpl
def auditor_checks():
    return [Looks]
"""
TABLES = """
[[attack]]
use = "lazy"
[[check]]
use = "looks"
[plugins]
paths = ["lazy.py", "mine.py"]
"""
RUN = ["run", "audit.toml"]
FILES = ("samples.parquet", "adversarial.safetensors", "config.lock.toml", "report.html")
NEVER = 10**9


def write(home: Path) -> None:
    home.mkdir()
    config = CONFIG.replace("check  = []", "").replace("formats = []", 'formats = ["html"]')
    config = config.replace("epsilon = 0.1", "epsilon = [0.03, 0.04, 0.06, 0.08, 0.1]")
    write_audit(home, config=config + TABLES)
    (home / "mine.py").write_text(CHECK, encoding="utf-8")
    (home / "lazy.py").write_text(LAZY, encoding="utf-8")


def session(home: Path, at: int = NEVER) -> int:
    """Exit status of an audit that is killed at its file operation number `at`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "auditor.audit.audit", "auditor.cli"])
    process = context.Process(target=killed_session, args=(str(home), RUN, at))
    process.start()
    process.join(timeout=300)
    assert process.exitcode is not None, "the session hangs"
    return process.exitcode


def said(home: Path) -> str:
    return (home / "session.txt").read_text(encoding="utf-8")


def result(directory: Path) -> dict[str, Any]:
    """audit.json but for the clock, and which files there are."""
    assert not [name for name in FILES if not (directory / name).is_file()]
    return without_times(audit_json(directory))


def repaired(home: Path, at: int, expected: dict[str, Any]) -> bool:
    """Kill an audit at an operation and run it again; False where it ended before that one."""
    write(home)
    status = session(home, at)
    if status == 0:
        return False
    assert status == KILLED, said(home)
    assert session(home) == 0, said(home)
    runs = run_directories(home)
    # One that was killed before it was locked is taken up as well; none is left half done.
    assert len(runs) == 1, runs
    assert result(runs[0]) == expected
    return True


def undisturbed(home: Path) -> tuple[dict[str, Any], int]:
    """The result of an audit that nothing disturbs, and how many file operations that took."""
    write(home)
    assert session(home) == 0, said(home)
    (directory,) = run_directories(home)
    return result(directory), int((home / "operations.txt").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_killed_at_some_file_operations(tmp_path: Path) -> None:
    expected, operations = undisturbed(tmp_path / "whole")
    assert operations >= 80
    for at in range(3, operations, operations // 3):
        assert repaired(tmp_path / f"at-{at}", at, expected)


@pytest.mark.exhaustive
def test_killed_at_every_file_operation(tmp_path: Path) -> None:
    expected, operations = undisturbed(tmp_path / "whole")
    for at in range(1, operations + 1):
        if not repaired(tmp_path / f"at-{at}", at, expected):
            break
    assert at > 80
