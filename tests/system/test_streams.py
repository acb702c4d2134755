"""Standard output and error of whole commands: any encoding, and a reader that goes away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from system_files import audit_json, only_run


def piped(*arguments: str, lines: int, **environment: str) -> tuple[int, str]:
    """Status and output of a command whose reader leaves after some lines."""
    process = subprocess.Popen(
        [sys.executable, "-m", "auditor", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
    )
    assert process.stdout is not None
    read = b"".join(process.stdout.readline() for _ in range(lines))
    process.stdout.close()
    return process.wait(), read.decode()


@pytest.mark.parametrize("arguments", [("schema", "result"), ("list", "attacks"), ("--help",)])
def test_a_closed_pipe_has_a_status_of_its_own(arguments: tuple[str, ...]) -> None:
    assert piped(*arguments, lines=0)[0] == 141
    assert piped(*arguments, lines=0, PYTHONIOENCODING="ascii")[0] == 141
    assert piped(*arguments, lines=100_000)[0] == 0


def test_an_audit_goes_on_when_its_reader_leaves(here: Path) -> None:
    status, line = piped("run", "audit.toml", lines=1)
    assert (status, line) == (141, "bands: clean accuracy 100.0% (85.8% to 100.0%)\n")
    assert (only_run() / "audit.json").is_file()


def test_names_as_written_on_a_terminal_that_lacks_them(here: Path) -> None:
    """`nets[/best]` ended the run with status 5, as did a name beyond the code page."""
    config = Path("audit.toml").read_text(encoding="utf-8")
    config = config.replace('"three bands"', '"release [draft 3] :100:"')
    config = config.replace('"bands"', '"nets[/best] 分类器"')
    Path("audit.toml").write_text(config, encoding="utf-8")
    folder = os.fsencode(here) + b"/caf\xe9 [x]"
    os.mkdir(folder)
    for name in ("model.py", "data.npz"):
        shutil.move(name, os.fsdecode(folder))
    os.rename(b"audit.toml", folder + b"/\xe4udit.toml")
    command = [sys.executable, "-m", "auditor", "run", os.fsdecode(folder + b"/\xe4udit.toml")]
    refused, done = (
        subprocess.run(
            [*command, *more],
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )
        for more in ((), ("--set", f"run.output={here}/audits"))
    )
    assert refused.returncode == 2
    said = refused.stderr.decode("ascii")
    assert r"caf\xe9 [x]/audits" in said
    assert "The path of the output directory is no UTF-8 text" in said
    said = done.stdout.decode("ascii")
    assert done.returncode == 0, done.stderr
    assert "nets[/best] \\u5206\\u7c7b\\u5668: clean accuracy 100.0%" in said
    assert "release [draft 3] :100:" in said
    assert r"caf\xe9 [x]" in audit_json(only_run())["provenance"]["command"]
