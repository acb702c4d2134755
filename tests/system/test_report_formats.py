"""The formats that other tools read, of a whole audit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from system_files import CONFIG, auditor, only_run, process

FORMATS = 'report.formats=["markdown", "junit", "sarif", "model-card"]'
FILES = {"report.md", "junit.xml", "audit.sarif", "model-card.md"}


def test_an_audit_in_a_job_of_github(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formats, annotations and summary, with places as they are in the repository."""
    (here / ".git").mkdir()
    audits = here / "audits of ours"
    audits.mkdir()
    for name in ("model.py", "data.npz"):
        (here / name).rename(audits / name)
    gate = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.9\n\n[report]'
    (audits / "audit.toml").write_text(CONFIG.replace("[report]", gate))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "page.md"))
    done = process("run", str(audits / "audit.toml"), "--set", FORMATS)
    assert done.returncode == 1, done.stderr
    (directory,) = (audits / "audits").iterdir()
    assert {one.name for one in directory.iterdir()} >= FILES
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("::error")]
    factory = (audits / "model.py").read_text().splitlines().index("def make():") + 1
    assert f"file=audits of ours/model.py,line={factory},title=A gate of the audit is" in told
    sarif = json.loads((directory / "audit.sarif").read_bytes())
    places = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
              for one in sarif["runs"][0]["results"]]  # fmt: skip
    assert set(places) == {"audits%20of%20ours/model.py"}
    assert (here / "page.md").read_text() == (directory / "report.md").read_text() + "\n"
    # The summary is another step's file once the step is over.
    (here / "page.md").unlink()
    (here / "page.md").mkdir()
    done = process("run", str(audits / "audit.toml"), "--fresh")
    assert done.returncode == 1
    assert "its sink github was switched off: on ReportsWritten it raised IsADirecto" in done.stdout


def test_formats_are_made_again_from_the_result(here: Path) -> None:
    auditor("run", "audit.toml", "--set", FORMATS)
    directory = only_run()
    before = {name: (directory / name).read_bytes() for name in FILES}
    for name in FILES:
        (directory / name).unlink()
    said = auditor(
        "report", str(directory), "--format", "markdown,junit", "--format", "sarif,model-card"
    )
    assert said[0] == 0, said
    assert {name: (directory / name).read_bytes() for name in FILES} == before


def test_an_unknown_format_is_told_with_those_there_are(here: Path) -> None:
    status, said = auditor("run", "audit.toml", "--set", 'report.formats=["sarf"]')
    assert status == 2
    assert 'did you mean "sarif"?' in said
    assert "markdown" in said
