"""What machine, screen and the user's code do to an audit is told, and changes no result."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from system_files import (
    MODEL,
    audit_json,
    auditor,
    only_run,
    run_directories,
    without_times,
)
from system_sessions import finish_session

from auditor.audit import audit as engine_audit
from auditor.cli import terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such locks and signals")

RUN = ("run", "audit.toml")
HTML = (*RUN, "--set", 'report.formats=["html"]')
#: A gate that this model breaks.
BROKEN = ("--set", 'gate.1={metric = "robust_accuracy", at_least = 0.99}')


def plugin(text: str) -> tuple[str, str]:
    """A plugin file, as options."""
    Path("mine.py").write_text(text, encoding="utf-8")
    return "-p", "mine.py"


def numbers(directory: Path) -> dict[str, Any]:
    """audit.json without times and the plugins and files."""
    audit = without_times(audit_json(directory))
    del audit["provenance"]["plugins"], audit["provenance"]["files"]
    return audit


def events(directory: Path) -> list[str]:
    lines = (directory / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines]


# --- The lock, and what is repaired


REPORTER = """
from auditor.api import hookimpl, reporter

@reporter(name="mine")
def mine(result, directory):
    BODY
    path = directory / "mine.txt"
    path.write_text(text)
    return path

@hookimpl
def auditor_reports():
    return [mine]
"""


def test_the_lock_holds_until_the_reports_are_written(here: Path) -> None:
    looks = "from auditor.cells.ledger import Ledger; text = str(Ledger(directory).try_lock())"
    options = plugin(REPORTER.replace("BODY", looks))
    status, said = auditor(*RUN, *options, "--set", 'report.formats=["mine"]')
    assert status == 0, said
    assert (only_run() / "mine.txt").read_text() == "False"


def test_a_run_that_is_killed_among_its_reports_is_repaired_by_the_next(here: Path) -> None:
    formats = ("--set", 'report.formats=["html", "mine"]')
    options = plugin(REPORTER.replace("BODY", "raise KeyboardInterrupt"))
    status, said = auditor(*RUN, *options, *formats, "--set", "title=first")
    assert status == 130, said
    directory = only_run()
    before = numbers(directory)
    options = plugin(REPORTER.replace("BODY", 'text = "written"'))
    for name in [name for name in sys.modules if name.startswith("_audited_mine_")]:
        del sys.modules[name]
    status, said = auditor(*RUN, *options, *formats, "--set", "title=second")
    assert status == 0, said
    assert only_run() == directory
    assert (directory / "mine.txt").read_text() == "written"
    assert "second" in (directory / "report.html").read_text(encoding="utf-8")
    # The lock file is that of the session which wrote the result.
    assert 'title = "second"' in (directory / "config.lock.toml").read_text(encoding="utf-8")
    assert numbers(directory) == {**before, "title": "second"}


def test_a_session_after_an_incomplete_one_is_gone_on_with_too(here: Path) -> None:
    """It ended incomplete, was resumed, and killed: that it once ended says nothing."""
    auditor(*RUN)
    log = only_run() / "events.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines()
    ended = lines[-1].replace('"complete"', '"incomplete"')
    assert ended != lines[-1]
    log.write_text("\n".join([*lines[:-1], ended]) + "\n", encoding="utf-8")
    status, said = auditor(*RUN)
    assert (status, "going on with" in said) == (0, False)
    (new,) = set(run_directories()) - {log.parent}
    (new / "events.jsonl").unlink()
    new.rename(here / "elsewhere")
    (started,) = [line for line in lines if '"started"' in line]
    log.write_text("\n".join([*lines[:-1], ended, started]) + "\n", encoding="utf-8")
    status, said = auditor(*RUN)
    assert (status, "going on with" in said) == (0, True)
    assert only_run() == log.parent


def test_a_clock_that_is_set_back_or_forth_changes_no_budget_and_no_duration(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor(*RUN, "--set", "run.output=warm")
    jumps, now = iter(range(10**6)), time.time()
    monkeypatch.setattr(time, "time", lambda: now + (-1) ** next(jumps) * 86_400)
    status, said = auditor(*RUN, "--set", "run.time_budget=1h")
    assert status == 0, said
    assert 0 < audit_json(only_run())["provenance"]["seconds"] < 60


def test_strays_and_damaged_lines_are_ignored_and_told(here: Path) -> None:
    auditor(*RUN)
    directory = only_run()
    expected = numbers(directory)
    key = directory.name[-6:]
    (directory.parent / f"notes-{key}").write_text("a file")
    (directory.parent / f"copy-{key}").mkdir()
    log = directory / "events.jsonl"
    lines = [
        line for line in log.read_text(encoding="utf-8").splitlines() if "finished" not in line
    ]
    odd = ['{"event": "started"}', '{"time": 1}', "[]", '{"time": "x", "event": "cell"}',
           '{"time": 1e300, "event": "cell"}', "[" * 5000, "1" * 5000]  # fmt: skip
    log.write_text("\n".join(odd + lines) + "\n", encoding="utf-8")
    status, said = auditor(*RUN)
    assert status == 0, said
    assert "going on with" in said
    said = said.replace("\n", "")
    for name in ("notes", "copy"):
        assert f"audits/{name}-{key} is not a run directory, and is ignored" in said
    assert "events.jsonl: 7 lines are cut off or damaged, and left out" in said
    assert list((directory.parent / f"copy-{key}").iterdir()) == []
    assert numbers(directory) == expected


@pytest.mark.parametrize("damage", ['"threads": -1', '"threads": 1e99', '"threads": "many"'])
def test_damaged_measurements_are_measured_again(damage: str, here: Path) -> None:
    auditor(*RUN)
    log = only_run() / "events.jsonl"
    lines = [
        line for line in log.read_text(encoding="utf-8").splitlines() if "finished" not in line
    ]
    assert any('"threads": 1' in line for line in lines)
    text = "\n".join(lines).replace('"threads": 1', damage) + "\n"
    log.write_text(text, encoding="utf-8")
    status, said = auditor(*RUN, "--set", "run.threads=auto")
    assert status == 0, said
    assert "what was measured of the machine is damaged" in said.replace("\n", " ")


# --- The screen, and exceptions that cannot be told


def test_the_screen_cannot_end_an_audit(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise OSError(errno.EIO, "the terminal has gone")

    for name in ("__call__", "line", "__enter__"):
        with monkeypatch.context() as patch:
            patch.setattr(terminal.Screen, name, gone)
            status, said = auditor(*HTML, "--fresh")
        assert status == 0, said
        assert said.count("the screen was switched off") == 1
        newest = run_directories()[-1]
        assert (newest / "report.html").is_file()
        assert events(newest)[-1] == "finished"
        if name != "__enter__":
            assert "Verdict: no-requirement; exit status 0." in said


SPEECHLESS = """
class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")
"""
HOOKS = """
from auditor.api import hookimpl, section, sink

@sink(name="mine")
def mine(event):
    raise Speechless

@section(name="first", title="First")
def first(result):
    raise Speechless

@section(name="second", title=Speechless())
def second(result):
    return "<p>nothing</p>"

@hookimpl
def auditor_sinks():
    return [mine]

@hookimpl
def auditor_sections():
    return [first, second]
"""


def test_exceptions_without_words(here: Path) -> None:
    status, said = auditor(*HTML, *plugin(SPEECHLESS + HOOKS))
    assert status == 0, said
    told = "Speechless: its text cannot be told: __str__ raised RuntimeError"
    assert told in said.replace("\n", " ")
    page = (only_run() / "report.html").read_text(encoding="utf-8")
    assert page.count(told) >= 2  # the sink's, the first section's


def test_a_model_without_words(here: Path) -> None:
    text = SPEECHLESS + MODEL.replace("return self.linear", "raise Speechless\n        return 1; ")
    (here / "model.py").write_text(text, encoding="utf-8")
    status, said = auditor(*RUN)
    assert status == 4
    assert "Speechless: its text cannot be told" in said


# --- The machine


Refuse = Callable[[str, int], Any]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Refuse]:
    """Lets no file be put in place whose name holds a word."""
    replace = os.replace
    with monkeypatch.context() as patch:

        def make(word: str, number: int) -> Any:
            def refused(source: Any, target: Any, **options: Any) -> None:
                if word in Path(target).name:
                    raise OSError(number, os.strerror(number))
                replace(source, target, **options)

            patch.setattr(os, "replace", refused)
            return patch

        yield make


@pytest.mark.parametrize(
    ("word", "number", "status", "remedy"),
    [
        (".safetensors", errno.ENOSPC, 4, "make room on the disk"),
        ("config.lock.toml", errno.EROFS, 4, "name a folder that can be written to"),
        ("samples.parquet", errno.EFBIG, 3, "ulimit -f"),
        ("adversarial.safetensors", errno.EDQUOT, 3, "the quota is used up"),
        ("audit.json", errno.ENOSPC, 3, "make room on the disk"),
        ("report.html", errno.EACCES, 3, "give yourself the right to write there"),
    ],
)
@pytest.mark.parametrize("broken", [False, True])
def test_a_full_disk_is_no_defect(
    word: str, number: int, status: int, remedy: str, broken: bool, here: Path, refuse: Refuse
) -> None:
    gates = BROKEN if broken else ()
    if status == 3 and broken:
        status = 1
    patch = refuse(word, number)
    found, said = auditor(*HTML, *gates)
    patch.undo()
    said = " ".join(said.split())
    assert found == status, said
    assert os.strerror(number) in said
    assert remedy in said
    assert "a defect of auditor" not in said
    if broken and status == 1:
        assert "Gate on robust_accuracy is broken" in said
    directory = only_run()
    if "samples" in word or "adversarial" in word:
        audit = audit_json(directory)
        assert (audit["status"], audit["exit_status"]) == ("incomplete", status)
        assert any(word in reason for reason in audit["reasons"])
        again = (*HTML, *gates, "--resume")
    else:
        assert "What was finished is kept in" in said
        again = (*HTML, *gates)
    found, said = auditor(*again)
    assert found == int(broken), said
    assert "going on with" in said
    assert only_run() == directory
    assert audit_json(directory)["status"] == "complete"
    assert (directory / "report.html").is_file()


SINK = """
import shutil
from pathlib import Path
from auditor.api import CellDone, hookimpl, sink

@sink(name="mine")
def mine(event):
    if isinstance(event, CellDone):
        BODY

@hookimpl
def auditor_sinks():
    return [mine]
"""


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ('shutil.rmtree("audits")', "Nothing was kept."),
        ('shutil.move("audits", "moved")', "Nothing was kept."),
        ('shutil.rmtree("audits"); Path("audits").touch()', "Nothing was kept."),
    ],
)
def test_an_output_folder_that_goes_away(body: str, kept: str, here: Path) -> None:
    status, said = auditor(*RUN, *plugin(SINK.replace("BODY", body)))
    assert status == 4, said
    assert kept in said
    assert "remedy:" in said


def test_an_output_that_is_no_folder(here: Path) -> None:
    os.symlink("nowhere/at/all", here / "dangling")
    (here / "file").write_text("")
    for name, why in (("dangling", "File exists"), ("file/audits", "Not a directory")):
        status, said = auditor(*RUN, "--set", f"run.output={name}")
        assert status == 4, said
        assert why in said
        assert "--set run.output=FOLDER" in said


def test_a_file_system_without_locks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    status, said = auditor(*RUN)
    assert status == 4
    assert "cells could not be locked: No locks available." in said
    assert "name a folder on a local disk" in said


def test_memory_that_runs_out(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine_audit, "assemble", too_large)
        status, said = auditor(*RUN)
    assert (status, "The memory ran out." in said) == (4, True)
    with monkeypatch.context() as patch:
        patch.setattr("auditor.cli.run.write_reports", too_large)
        status, said = auditor(*RUN)
    assert (status, "The memory ran out." in said) == (3, True)
    assert "The audit is complete, and no requirement was set" in said
    status, said = auditor(*RUN)
    assert (status, "going on with" in said) == (0, True)


def test_user_code_cannot_end_the_audit_as_if_all_were_well(here: Path) -> None:
    leaving = "import os; os._exit(0) if x.requires_grad else None\n        return self.linear"
    (here / "model.py").write_text(MODEL.replace("return self.linear", leaving), encoding="utf-8")
    status, said = finish_session(here, RUN)
    assert status == 4, said
    assert "os._exit(0) was called at model.py:18" in said


# --- Results that were changed


def changed(path: Path, *keys: Any, value: str) -> None:
    """Put JSON text in the place of a value of audit.json."""
    data = json.loads(path.read_text(encoding="utf-8"))
    node = data
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = "PLACE"
    path.write_text(json.dumps(data).replace('"PLACE"', value), encoding="utf-8")


def test_a_result_that_was_changed_is_not_reported_on(here: Path) -> None:
    auditor(*HTML)
    directory = only_run()
    page = (directory / "report.html").read_bytes()
    assert auditor("report", str(directory), "--format", "html")[0] == 0
    assert (directory / "report.html").read_bytes() == page
    changed(directory / "audit.json", "models", 0, "clean", "accuracy", value="0.25")
    status, said = auditor("report", str(directory), "--format", "html")
    assert status == 2
    assert "audit.json is not what the audit wrote" in said
    assert (directory / "report.html").read_bytes() == page


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "1" * 5000, "[" * 900])
def test_numbers_that_no_audit_holds_are_told_with_their_field(value: str, here: Path) -> None:
    auditor(*RUN)
    alone = here / "alone"
    alone.mkdir()
    for keys in (("models", 0, "threats", 0, "epsilon"),
                 ("models", 0, "threats", 0, "attacks", 1, "parameters", "samples")):  # fmt: skip
        (alone / "audit.json").write_bytes((only_run() / "audit.json").read_bytes())
        changed(alone / "audit.json", *keys, value=value)
        status, said = auditor("report", str(alone), "--format", "html")
        assert status == 2, said
        assert "There is no audit to report on." in said
        if len(value) < 100:  # else the reader of JSON gives up, and says the column
            assert ".".join(map(str, keys)) in said
        assert len(said) < 3000
