"""What is installed from the wheel is the whole of the tool, and nothing else."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from system_example import DATA, EXAMPLE
from system_files import audit_json, only_run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
#: Directories of the checkout, and the packages they are installed as.
PACKAGES = {
    "auditor": "auditor",
    "plugins": "auditor_plugins",
    "report_templates": "auditor_report_templates",
}
SUFFIXES = {".py", ".typed", ".j2", ".css", ".po", ".npz", ".safetensors", ".md"}
CONFIG = """
schema = 1
check = []
title = "from the wheel"
[run]
device = "cpu"
threads = 1
batch_size = 32
[[model]]
name = "baseline"
factory = "models.py:cnn"
weights = "baseline.safetensors"
[data]
adapter = "npz"
path = "test-1000.npz"
samples = 20
[[threat]]
norm = "linf"
epsilon = "8/255"
[[attack]]
use = "fgsm"
[[gate]]
metric = "masking"
at_most = "confirmed"
"""


def succeed(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=environment
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def can_build_here() -> bool:
    """Whether the build requirements are installed, so that none need be fetched."""
    if importlib.util.find_spec("setuptools") is None:
        return False
    return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: building leaves files behind."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    isolation = ["--no-build-isolation"] if can_build_here() else []
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--wheel-dir", "dist"]
    succeed(*command, *isolation, cwd=source)
    (built,) = (source / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that has the wheel installed."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    succeed(sys.executable, "-m", "venv", venv, cwd=venv.parent)
    python = venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(succeed(python, "-c", ask, cwd=venv).strip())
    # The dependencies are those of this environment: torch is too large to be installed twice.
    # .pth files in a folder that is itself added by a .pth are not read, so that an editable
    # installation over there stays out of sight.
    here = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (own / "dependencies.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    # The version over there would count as installed already.
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    succeed(*install, wheel, cwd=venv)
    return python


def test_contents(wheel: Path) -> None:
    expected = {
        f"{package}/{path.relative_to(ROOT / name).as_posix()}"
        for name, package in PACKAGES.items()
        for path in (ROOT / name).rglob("*")
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    information = {name for name in names if ".dist-info/" in name}
    assert names - information == expected
    assert {"auditor/py.typed", "auditor_report_templates/report.css"} <= expected
    assert {name.split("/", 1)[1] for name in information} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
        "top_level.txt",
    }


def test_audit_with_the_installed_wheel(python: Path, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "models.py", tmp_path)
    shutil.copy(EXAMPLE / "weights" / "baseline.safetensors", tmp_path)
    shutil.copy(DATA, tmp_path)
    (tmp_path / "audit.toml").write_text(CONFIG, encoding="utf-8")
    ask = "import auditor, auditor_plugins as p, auditor_report_templates as t\n" \
          "for module in (auditor, p, t): print(module.__file__)"  # fmt: skip
    environment = python.parents[1].resolve()
    for file in succeed(python, "-c", ask, cwd=tmp_path).split():
        assert Path(file).resolve().is_relative_to(environment), file
    said = succeed(python.with_name("auditor"), "run", "audit.toml", cwd=tmp_path)
    assert "Verdict: no-requirement; exit status 0." in said
    directory = only_run(tmp_path)
    assert audit_json(directory)["title"] == "from the wheel"
    assert (directory / "report.pdf").read_bytes().startswith(b"%PDF-")
    assert "from the wheel" in (directory / "report.html").read_text(encoding="utf-8")
