"""SHA256SUMS against `sha256sum` itself, odd names and what grows included."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from auditor.errors import ExitStatus
from auditor.manifest import read_manifest, results_manifest, sha256_of, write_manifest
from auditor.storage import StorageError

ODD = (
    "plain",
    "with space",
    "ünï",
    "back\\slash",
    "new\nline",
    "trailing ",
    "-dash",
    "\\n",
    "a\\\nb",
)

needs_sha256sum = pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")


def made(directory: Path) -> Path:
    """A directory with files of odd names and contents of their own."""
    for number, name in enumerate(ODD):
        (directory / name).write_bytes(b"x" * number)
    for other in (".hidden", "events.jsonl", "SHA256SUMS"):
        (directory / other).write_text("not listed")
    (directory / "cells").mkdir()
    (directory / "cells" / "one").write_text("not listed")
    return directory


@needs_sha256sum
def test_sha256sum_reads_what_is_written(tmp_path: Path) -> None:
    write_manifest(made(tmp_path))
    said = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stdout.count(": OK") == len(ODD)


@needs_sha256sum
def test_what_sha256sum_writes_is_read(tmp_path: Path) -> None:
    made(tmp_path)
    for mode in ("--text", "--binary"):
        said = subprocess.run(
            ["sha256sum", mode, "--", *ODD], cwd=tmp_path, capture_output=True, check=True
        )
        found = read_manifest(os.fsdecode(said.stdout))
        assert found == {name: sha256_of(tmp_path / name) for name in ODD}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read_manifest(write_manifest(made(tmp_path)).read_text(encoding="utf-8"))
    assert found == {name: sha256_of(tmp_path / name) for name in sorted(ODD)}


def test_the_manifest_of_a_report_knows_no_report(tmp_path: Path) -> None:
    for name in ("audit.json", "samples.parquet", "report.html", "report.pdf"):
        (tmp_path / name).write_text(name)
    found = read_manifest(results_manifest(tmp_path, b"the audit"))
    assert list(found) == ["audit.json", "samples.parquet"]
    assert found["samples.parquet"] == sha256_of(tmp_path / "samples.parquet")
    (tmp_path / "audit.json").write_bytes(b"the audit")
    assert found["audit.json"] == sha256_of(tmp_path / "audit.json")


@pytest.mark.parametrize("line", ["", "abc  name", "0" * 64, f"{'0' * 64}name", f"{'0' * 64}  "])
def test_what_is_no_manifest(line: str) -> None:
    if not line:
        assert read_manifest("\n\n") == {}
        return
    with pytest.raises(ValueError, match="no line of SHA256SUMS"):
        read_manifest(f"{'1' * 64}  fine\n{line}\n")


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error:
        sha256_of(tmp_path / "gone")
    assert error.value.exit_status == ExitStatus.LOAD
    assert "gone could not be read" in error.value.what
