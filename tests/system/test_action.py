"""action.yml and the pipelines of the documentation: their schemas, and the scripts they run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from system_files import CONFIG, audit_json, run_directories

ROOT = Path(__file__).resolve().parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = ACTION["runs"]["steps"]
PAGE = ROOT / "docs" / "continuous-integration.md"
BROKEN = '[[gate]]\nmetric = "robust_accuracy"\nat_least = 0.51\n'
OPEN = '[[gate]]\nmetric = "masking"\nat_most = "possible"\nmodel = "bands"\n'


def fits(schema: str, *files: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def pipelines(folder: Path) -> dict[str, list[Path]]:
    """The YAML blocks of the page as files, by the schema that they have to fit."""
    found: dict[str, list[Path]] = {"github-workflows": [], "gitlab-ci": []}
    blocks = re.findall(
        r'^```yaml title="([^"]+)"\n(.*?)^```$', PAGE.read_text("utf-8"), re.M | re.S
    )
    for number, (title, text) in enumerate(blocks):
        file = folder / f"{number}.yml"
        file.write_text(text, encoding="utf-8")
        found["github-workflows" if title.startswith(".github") else "gitlab-ci"].append(file)
    return found


def test_the_action_fits_its_schema() -> None:
    fits("github-actions", ROOT / "action.yml")


@pytest.mark.parametrize("schema", ["github-workflows", "gitlab-ci"])
def test_the_pipelines_of_the_page_fit_their_schemas(schema: str, tmp_path: Path) -> None:
    files = pipelines(tmp_path)[schema]
    assert files
    fits(schema, *files)


def test_the_pipelines_give_the_action_inputs_that_it_has(tmp_path: Path) -> None:
    used = 0
    for file in pipelines(tmp_path)["github-workflows"]:
        for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
            for step in job["steps"]:
                if "/auditor@" in step.get("uses", ""):
                    used += 1
                    assert set(step.get("with", {})) <= set(ACTION["inputs"])
    assert used


def test_every_name_in_the_action_is_known() -> None:
    """Inputs, and outputs of steps that come before."""
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    steps = {step["id"]: step["run"] for step in STEPS if "id" in step}
    for step, output in re.findall(r"steps\.(\w+)\.outputs\.(\w+)", text):
        named = output in ("directory", "verdict") and 'print(f"{name}=' in steps[step]
        assert named or f'"{output}=' in steps[step], (step, output)
    # What was written by strangers reaches a script as a variable, never as a part of it.
    assert not any("${{" in step.get("run", "") for step in STEPS)


@pytest.fixture
def job(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a job whose checkout is the small audit."""
    tools = here / "bin"
    tools.mkdir()
    for name, words in (("auditor", "-m auditor"), ("python", "")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n', encoding="utf-8")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_ACTION_PATH", str(ROOT))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(here))
    monkeypatch.setenv("GITHUB_OUTPUT", str(here / "outputs"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(here / "summary.md"))
    return here


def step(name: str, **variables: str) -> tuple[int, str, dict[str, str]]:
    """A step of the action as the runner runs it: exit status, what is printed, its outputs."""
    (found,) = [one for one in STEPS if one.get("id") == name]
    assert set(variables) == set(found.get("env", {}))
    outputs = Path(os.environ["GITHUB_OUTPUT"])
    outputs.write_text("", encoding="utf-8")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
        env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = outputs.read_text(encoding="utf-8").splitlines()
    said = done.stdout + done.stderr
    return done.returncode, said, dict(line.split("=", 1) for line in lines)


@pytest.mark.parametrize(
    ("gates", "status", "verdict"),
    [("", "0", "no-requirement"), (BROKEN, "1", "fail"), (OPEN, "3", "inconclusive")],
)
def test_an_audit_in_a_job(gates: str, status: str, verdict: str, job: Path) -> None:
    Path("audit.toml").write_text(CONFIG + gates, encoding="utf-8")
    arguments = """--set 'title="in a job"' --set run.seed=3"""
    done, said, found = step("audit", CONFIG="audit.toml", ARGS=arguments, OUTPUT="kept/here")
    assert done == 0, said
    directory = Path(found["directory"])
    assert directory.parent == job / "kept" / "here"
    assert found == {"status": status, "verdict": verdict, "directory": str(directory)}
    result = audit_json(directory)
    assert (result["title"], result["provenance"]["seed"]) == ("in a job", 3)
    # The job's page has the summary, and the log the annotations.
    assert "in a job" in Path("summary.md").read_text(encoding="utf-8")
    assert ("::error " in said) is (status == "1")
    assert step("sarif", DIRECTORY=str(directory))[0] == 0
    assert (directory / "audit.sarif").is_file()


def test_what_cannot_be_audited_has_no_directory(job: Path) -> None:
    _, said, found = step("audit", CONFIG="nowhere.toml", ARGS="", OUTPUT="audits")
    assert found == {"status": "2", "verdict": "", "directory": ""}, said


@pytest.mark.parametrize(
    ("fail_on", "passing"), [("any", [0]), ("gate", [0, 3]), ("error", [0, 1, 3])]
)
def test_what_fails_the_job(fail_on: str, passing: list[int], job: Path) -> None:
    for status in (0, 1, 2, 3, 4, 5, 130):
        done, said, _ = step("judge", FAIL_ON=fail_on, STATUS=str(status))
        assert done == (0 if status in passing else status)
        assert (f"status {status}" in said) is (status != 0)
    assert step("judge", FAIL_ON=fail_on, STATUS="")[0] == 5  # the audit did not come to an end


def test_a_word_that_fail_on_does_not_know_is_told_first(job: Path) -> None:
    status, said, _ = step("keys", CONFIG="audit.toml", FAIL_ON="gates", PACKAGES="")
    assert (status, "fail-on has to be any, gate or error" in said) == (2, True)


def test_keys_are_those_of_what_is_installed_and_audited(job: Path) -> None:
    def keys(config: str, packages: str) -> dict[str, str]:
        status, said, found = step("keys", CONFIG=config, FAIL_ON="any", PACKAGES=packages)
        assert status == 0, said
        return found

    first = keys("audit.toml", "onnx")
    assert all(re.fullmatch("[0-9a-f]{16}", key) for key in first.values())
    assert keys("audit.toml", "onnx") == first
    assert keys("audit.toml", "timm")["packages"] != first["packages"]
    assert keys("other.toml", "onnx")["config"] != first["config"]


def test_the_newest_run_alone_is_kept(job: Path) -> None:
    assert step("keep", OUTPUT="audits")[0] == 0  # there is none
    for name in ("2026-01-02T000000Z-b", "2026-01-03T000000Z-a b", "2026-01-01T000000Z-c"):
        (Path("audits") / name / "cells").mkdir(parents=True)
    assert step("keep", OUTPUT="audits")[0] == 0
    assert [one.name for one in run_directories()] == ["2026-01-03T000000Z-a b"]
