"""`auditor list runs`: what lies in a folder of audits, whatever became of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from system_files import CONFIG, auditor, only_run, process, run_directories

RUN = ("run", "audit.toml")
GATE = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.51\n'


def copied(run: Path, name: str) -> Path:
    """A run that began a second later for each copy there is."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    later = len(list(run.parent.iterdir()))
    log = copy / "events.jsonl"
    events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**event, "time": event["time"] + later}) for event in events]
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return copy


@pytest.fixture
def runs(here: Path) -> Path:
    """A finished run, and what may become of one, each newer than the one before."""
    Path("audit.toml").write_text(CONFIG + GATE, encoding="utf-8")
    assert auditor(*RUN)[0] == 1
    run = only_run()
    cut_off = copied(run, "cut-off") / "events.jsonl"
    cut_off.write_text("".join(cut_off.read_text().splitlines(keepends=True)[:3]))
    (cut_off.parent / "audit.json").unlink()
    again = copied(run, "being-judged-again") / "events.jsonl"
    with again.open("a") as log:
        log.write(json.dumps({"time": 4e9, "event": "judged again", "since": 0}) + "\n")
    changed = copied(run, "changed") / "audit.json"
    changed.write_text(changed.read_text().replace('"correct": 12', '"correct": 24'))
    (copied(run, "gone") / "audit.json").unlink()
    torn = copied(run, "torn")
    (torn / "audit.json").write_text("{")
    (torn / "events.jsonl").unlink()
    os.utime(torn, (5e9, 5e9))
    Path("audits", "notes").mkdir()
    Path("audits", "notes", "to-do.txt").touch()
    return run


def test_newest_first_with_verdict_and_headline(runs: Path) -> None:
    done = process("list", "runs", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {Path(row["directory"]).name: row for row in json.loads(done.stdout)}
    assert [*rows] == ["torn", "gone", "changed", "being-judged-again", "cut-off", runs.name]
    assert {name: row["state"] for name, row in rows.items()} == {
        "torn": "damaged", "gone": "damaged", "changed": "damaged",
        "being-judged-again": "unfinished", "cut-off": "unfinished", runs.name: "finished",
    }  # fmt: skip
    whole = rows[runs.name]
    assert (whole["title"], whole["verdict"], whole["exit_status"]) == ("three bands", "fail", 1)
    # 12 of 24 pictures have a contrast that 2 epsilon goes beyond; no check ran.
    assert whole["headline"] == "bands 50.0 % (masking inconclusive) at linf 0.1"
    assert rows["cut-off"]["headline"] == "cut off, or under way; 2 finished cells"
    assert rows["changed"]["headline"].startswith("audit.json is not what the audit wrote")
    assert rows["gone"]["headline"].startswith("There is no audit.json.")
    assert "audit.json of this version" in rows["torn"]["headline"]
    assert {row["verdict"] for row in rows.values()} == {None, "fail"}


def test_a_line_for_each(runs: Path) -> None:
    done = process("list", "runs", "audits")
    lines = done.stdout.splitlines()
    assert len(lines) == 6
    assert [line.split()[0] for line in lines][-2:] == ["cut-off", runs.name]
    assert "fail (1)" in lines[-1]
    assert lines[-1].endswith("three bands; bands 50.0 % (masking inconclusive) at linf 0.1")
    # One run alone, by its name.
    assert auditor("list", "runs", str(runs))[1].split()[0] == runs.name


def test_listing_runs_takes_no_torch(here: Path) -> None:
    assert auditor(*RUN)[0] == 0
    script = (
        "import sys; from auditor.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: print(end.code, 'torch._C' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "list", "runs"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert done.stdout.splitlines()[0].startswith(run_directories()[0].name)


def test_where_there_are_none(here: Path) -> None:
    status, said = auditor("list", "runs")
    assert (status, "There is no folder audits." in said) == (2, True)
    Path("audits").mkdir()
    assert auditor("list", "runs") == (0, "There are no runs in audits.\n")
    assert auditor("list", "runs", "--json") == (0, "[]\n")
    status, said = auditor("list", "attacks", "audits")
    assert (status, "attacks are in no folder." in said) == (2, True)
