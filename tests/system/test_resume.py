"""An audit that is killed, interrupted or cut off goes on, and comes to the same result."""

from __future__ import annotations

import json
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from system_example import DATA, EXAMPLE
from system_files import (
    LAZY,
    audit_json,
    auditor,
    only_run,
    process,
    run_directories,
    verdicts,
    without_times,
)
from system_sessions import LOG, finish_session, killed_after, start_session

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has neither SIGKILL nor fork")

CONFIG = f"""
schema = 1
check = []
[run]
device = "cpu"
threads = 1
batch_size = 16
[[model]]
name = "baseline"
factory = "{EXAMPLE.as_posix()}/models.py:cnn"
weights = "{EXAMPLE.as_posix()}/weights/baseline.safetensors"
precision = "PRECISION"
[data]
adapter = "npz"
path = "{DATA.as_posix()}"
samples = 24
[[threat]]
norm = "linf"
epsilon = [0.01, 0.05]
[[attack]]
use = "fgsm"
[[attack]]
use = "r-fgsm"
[[attack]]
use = "noise"
samples = 12
[[attack]]
use = "pgd"
steps = 12
[[attack]]
use = "pgd"
label = "pgd-margin"
steps = 8
restarts = 2
loss = "margin"
[[attack]]
use = "lazy"
[[gate]]
metric = "masking"
at_most = "confirmed"
[report]
formats = []
gallery = 3
[plugins]
paths = ["lazy.py"]
"""
RUN = ("run", "audit.toml")
RESUME = (*RUN, "--resume")
FILES = ("samples.parquet", "adversarial.safetensors", "config.lock.toml")


def write_config(home: Path, precision: str = "float64") -> None:
    text = CONFIG.replace("PRECISION", precision)
    (home / "audit.toml").write_text(text, encoding="utf-8")
    (home / "lazy.py").write_text(LAZY, encoding="utf-8")


def outcome(directory: Path) -> dict[str, Any]:
    """Everything that a run comes to, but for the clock."""
    files = {name: (directory / name).read_bytes() for name in FILES}
    return {"audit": without_times(audit_json(directory)), **files}


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "kills"), [("float64", 20), ("float32", 8)])
def test_killed_at_random_moments(precision: str, kills: int, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    write_config(whole, precision)
    finish_session(whole, (*RUN, "--plan"))  # the first session pays for the import
    begin = time.monotonic()
    assert finish_session(whole, RUN)[0] == 0
    duration, expected = time.monotonic() - begin, outcome(only_run(whole))

    moments = random.Random(f"{precision} {kills}")
    killed = round_ = 0
    while killed < kills:
        home = tmp_path / f"round-{round_}"
        home.mkdir()
        write_config(home, precision)
        session = start_session(home, RESUME)
        while killed < kills and killed_after(session, moments.uniform(0, duration)):
            killed += 1
            session = start_session(home, RESUME)
        session.join(timeout=120)
        assert session.exitcode == 0, (home / LOG).read_text(encoding="utf-8")
        # One that was killed when it had just finished is followed by a new run.
        for directory in run_directories(home):
            assert outcome(directory) == expected
            assert repr(verdicts(directory)) == repr(verdicts(only_run(whole)))
        round_ += 1


@pytest.mark.slow
def test_interrupted_prints_the_line_that_goes_on(tmp_path: Path) -> None:
    write_config(tmp_path)
    # Enough images that seconds of work are left when the first cell is there.
    settings = ("--set", 'title="my audit"', "--set", "data.samples=200")
    command = [sys.executable, "-m", "auditor", *RUN, *settings]
    session = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, a shell may have them ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while session.poll() is None and not list(tmp_path.glob("audits/*/cells/*.safetensors")):
        time.sleep(0.01)
    session.send_signal(signal.SIGINT)
    said, errors = session.communicate(timeout=60)
    assert (session.returncode, errors) == (130, "")
    directory = only_run(tmp_path)
    assert f"What was finished is kept in audits/{directory.name}; go on with:" in said
    line = shlex.split(said.splitlines()[-1])
    assert line[:3] == ["auditor", "run", "audit.toml"]
    assert line[-1] == "--resume"
    done = process(*line[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"going on with audits/{directory.name}" in done.stdout
    assert "kept from before" in done.stdout
    assert audit_json(only_run(tmp_path))["title"] == "my audit"


def cut_off(directory: Path, *, events: int) -> None:
    """What a crash may leave: no result, half-written files, a log cut off `events` bytes in."""
    for name in ("audit.json", "samples.parquet", "adversarial.safetensors"):
        (directory / name).unlink()
        (directory / f".{name}.tmp").write_bytes(b"half")
    (directory / ".audit.json.123.tmp").write_bytes(b"{")
    cell = sorted((directory / "cells").iterdir())[0]
    cell.rename(cell.with_suffix(".123.tmp"))
    if not events:  # killed as it began
        (directory / "config.lock.toml").unlink()
    log = directory / "events.jsonl"
    log.write_bytes(log.read_bytes()[:events])


@pytest.mark.parametrize("events", [0, 10, 200, 450])
def test_cut_off_while_writing(events: int, here: Path) -> None:
    auditor(*RUN)
    directory = only_run()
    expected = outcome(directory)
    cut_off(directory, events=events)
    status, said = auditor(*RUN)
    assert status == 0, said
    assert "going on with" in said
    assert said.count("kept from before") == 1
    assert outcome(only_run()) == expected
    log = (directory / "events.jsonl").read_text(encoding="utf-8")
    # What is written after half a line is not lost with it.
    started = [line for line in log.splitlines() if '"event": "started"' in line]
    assert started[-1].startswith('{"time": ')
    assert json.loads(started[-1])["command"] == "auditor run audit.toml"


def test_fresh_leaves_the_cut_off_run_alone(here: Path) -> None:
    auditor(*RUN)
    directory = only_run()
    cut_off(directory, events=200)
    before = sorted(directory.rglob("*"))
    status, said = auditor(*RUN, "--fresh")
    assert status == 0, said
    assert "kept from before" not in said
    assert len(run_directories()) == 2
    assert sorted(directory.rglob("*")) == before


def test_other_configuration_is_not_gone_on_with(here: Path) -> None:
    auditor(*RUN)
    cut_off(only_run(), events=200)
    status, said = auditor(*RUN, "--resume", "--set", "run.seed=1")
    assert status == 0, said
    assert "going on with" not in said
    assert len(run_directories()) == 2


def test_changed_model_is_attacked_again(here: Path) -> None:
    auditor(*RUN)
    cut_off(only_run(), events=200)
    source = here / "model.py"
    source.write_text(source.read_text().replace("10 / 12", "-10 / 12"), encoding="utf-8")
    for name in [name for name in sys.modules if name.startswith("_audited_model_")]:
        del sys.modules[name]
    status, said = auditor(*RUN)
    assert status == 0, said
    assert "kept from before" not in said
    assert audit_json(only_run())["models"][0]["clean"]["correct"] == 0
