"""Packages of plugins, the example's and new ones: built, installed elsewhere, tested and used."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader
from system_files import CONFIG, attack_rows, audit_json, auditor, only_run

ROOT = Path(__file__).parents[2]
MOMENTUM = ROOT / "examples" / "auditor-momentum"


def succeed(*command: str, cwd: Path, path: str = "") -> str:
    known = [path, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, known))}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, check=False, cwd=cwd, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def install(package: Path, target: Path) -> str:
    """Build a wheel of a copy of the package, and install it into a folder of its own."""
    source = target.with_name("source")
    shutil.copytree(
        package, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    )
    succeed("pip", "wheel", ".", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir",
            "dist", cwd=source)  # fmt: skip
    (wheel,) = (source / "dist").glob("*.whl")
    succeed(
        "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel), cwd=source
    )
    return str(target)


@pytest.mark.slow
def test_the_momentum_plugin_is_built_installed_and_used(here: Path, tmp_path: Path) -> None:
    target = install(MOMENTUM, tmp_path / "installed")
    attack = '[[attack]]\nuse = "mi-fgsm"\n'
    Path("audit.toml").write_text(
        CONFIG.replace("check  = []", "") + attack + '[[check]]\nuse = "momentum-gap"\n'
    )
    succeed(
        "auditor", "run", "audit.toml", "--set", 'report.formats=["html"]', cwd=here, path=target
    )
    audit = audit_json(only_run())
    rows = attack_rows(audit)
    assert rows["mi-fgsm"]["robust"]["correct"] == rows["fgsm"]["robust"]["correct"] == 12
    (record,) = [one for one in audit["provenance"]["plugins"] if one["name"] == "momentum"]
    assert (record["status"], record["version"]) == ("loaded", "0.1.0")
    (gap,) = audit["models"][0]["measurements"]
    assert (gap["name"], gap["value"], gap["samples"]) == ("momentum-gap", 0.0, 12)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["momentum", "attack", "check", "data", "reporter"])
def test_a_package_holds_the_kit(package: str, here: Path, tmp_path: Path) -> None:
    folder = MOMENTUM
    if package != "momentum":
        status, said = auditor("plugin", "new", "brand-new", "--kind", package)
        assert status == 0, said
        assert ("auditor plugin check auditor_brand_new" in said) == (package != "reporter")
        folder = here / "auditor-brand-new"
    target = install(folder, tmp_path / "installed")
    said = succeed("pytest", "-q", "-p", "auditor.testing", "-p", "no:cacheprovider",
                   str(folder / "tests"), cwd=tmp_path, path=target)  # fmt: skip
    assert " passed" in said


def test_a_new_attack_is_at_most_25_lines(here: Path) -> None:
    auditor("plugin", "new", "brand-new")
    source = (here / "auditor-brand-new/src/auditor_brand_new/__init__.py").read_text()
    code = [line for line in source.splitlines() if line.strip() and not line.startswith('"""')]
    assert ast.parse(source)
    assert len(code) <= 25


def test_nothing_is_overwritten_and_names_are_checked(here: Path) -> None:
    assert auditor("plugin", "new", "mine")[0] == 0
    status, said = auditor("plugin", "new", "mine")
    assert status == 2
    assert "nothing is overwritten" in said
    for name in ("Mine", "my_attack", "2fast", "../up", "a--b", ""):
        status, said = auditor("plugin", "new", name)
        assert status == 2, name
        assert "cannot be called" in said
    assert auditor("plugin", "new", "html", "--kind", "reporter")[0] == 2
    status, said = auditor("plugin", "new", "pgd")
    assert status == 2
    assert "already, of plugin pgd" in said


def test_check_of_a_file_says_what_fails(here: Path) -> None:
    auditor("plugin", "new", "mine", "--kind", "data")
    shutil.move(here / "auditor-mine/src/auditor_mine/__init__.py", here / "mine.py")
    status, said = auditor("plugin", "check", "mine.py")
    assert status == 1
    assert "FAILS built" in said
    assert "--set mine.KEY=VALUE" in said
    status, said = auditor("plugin", "check", "mine.py", "--set", "mine.folder=nowhere")
    assert status == 1
    assert "The array cannot be read" in said
    assert "holds missing-file" in said
    status, said = auditor("plugin", "check", "gone.py")
    assert status == 4
    assert "no such file: gone.py" in said
    Path("broken.py").write_text("raise RuntimeError('boom')")
    status, said = auditor("plugin", "check", "broken.py")
    assert status == 4
    assert "RuntimeError: boom" in said
    assert "broken.py:1" in said


@pytest.mark.slow
def test_the_tutorial_leads_from_nothing_to_a_row_in_the_pdf(here: Path, tmp_path: Path) -> None:
    """Its commands are typed as they stand there; pip installs into a folder of the test."""
    page = (ROOT / "docs" / "writing-a-plugin.md").read_text(encoding="utf-8")
    commands, added = re.findall(r"^```[^\n]*\n(.*?)^```$", page, re.M | re.S)[:2]
    folder, path = here, ""
    for command in commands.splitlines():
        words = shlex.split(command)
        if words[0] == "cd":
            folder = folder / words[1]
        elif words[0] == "pip":
            path = install(folder, tmp_path / "installed")
        else:
            succeed(*words, cwd=folder, path=path)
    with (here / "audit.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n{added}")
    succeed("auditor", "run", "audit.toml", "--set", 'report.formats=["pdf"]',
            cwd=here, path=path)  # fmt: skip
    assert attack_rows(audit_json(only_run()))["frank-wolfe"]["status"] == "done"
    text = " ".join(one.extract_text() for one in PdfReader(only_run() / "report.pdf").pages)
    assert "frank-wolfe" in text
