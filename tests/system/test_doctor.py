"""`auditor doctor` on sound and on broken machines.

A broken machine is made of real parts: a package that raises, libraries that are no libraries, a
configuration of fontconfig without fonts, a limit on the size of files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import get_data_path
from system_files import CLASSES, CONFIG, MODEL, pictures, process

from auditor.config import load_config
from auditor.doctor.devices import devices
from auditor.doctor.environment import environment
from auditor.doctor.examination import examine
from auditor.doctor.inputs import subject
from auditor.doctor.pdf import letters, pdf
from auditor.doctor.plugins import plugins
from auditor.doctor.proof import Proof, exit_status
from auditor.doctor.storage import storage
from auditor.doctor.trial import run_trial
from auditor.registry import load_registry

_LIBRARIES = (
    "libgobject-2.0.so.0",
    "libpango-1.0.so.0",
    "libharfbuzz.so.0",
    "libfontconfig.so.1",
    "libpangoft2-1.0.so.0",
)
_NO_FONTS = '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig></fontconfig>'


def failed(proofs: list[Proof]) -> list[Proof]:
    return [proof for proof in proofs if proof.outcome == "failed"]


def has_remedies(proofs: list[Proof]) -> bool:
    return all(proof.remedy for proof in proofs if proof.outcome in ("failed", "warning"))


def package(folder: Path, name: str, source: str) -> Path:
    """A package that stands before the installed one of that name."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    return folder


def doctored(*arguments: str, path: Path) -> tuple[int, dict[str, Any]]:
    """Status and JSON of a doctor who finds the packages in `path` first."""
    before = os.pathsep.join([str(path), *sys.path])
    environment_ = {**os.environ, "PYTHONPATH": before}
    done = subprocess.run(
        [sys.executable, "-m", "auditor", "doctor", *arguments, "--json"],
        capture_output=True, text=True, check=False, env=environment_,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def subject_of(config: str, model: str = MODEL) -> list[Proof]:
    Path("audit.toml").write_text(config, encoding="utf-8")
    Path("model.py").write_text(model, encoding="utf-8")
    return list(subject(*load_config(Path("audit.toml"))))


# --- A sound machine


@pytest.mark.slow
def test_a_sound_machine_and_a_sound_audit(here: Path) -> None:
    done = process("doctor", "audit.toml")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    for area in ("Configuration", "Environment", "Devices", "PDF", "Output", "Plugins", "Data"):
        assert f"\n{area}\n" in f"\n{done.stdout}"
    assert "clean accuracy 100.0% (24 of 24 images)" in done.stdout
    assert "Everything that is needed works." in done.stdout
    assert "\x1b" not in done.stdout
    assert not Path("audits").exists()
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(("correct", "warned"), [(49, True), (50, False)])
def test_fewer_correct_images_than_a_verdict_needs_are_told(
    here: Path, correct: int, warned: bool
) -> None:
    x, y = pictures()
    x, y = np.tile(x, (3, 1, 1)), np.tile(y, 3)
    y[correct:] = (y[correct:] + 1) % CLASSES
    np.savez("data.npz", x=x, y=y)
    proofs = subject_of(CONFIG)
    told = [one for one in proofs if "masking verdict will be inconclusive" in one.what]
    assert bool(told) is warned
    assert exit_status(proofs) == 0
    for one in told:
        assert one.outcome == "warning"
        assert "it needs 50 correctly classified images, and 49 of 72 are" in one.what
        assert one.remedy == "audit a larger set, of 96 images or more"


# --- Broken packages


def test_without_torch_everything_else_is_tried(here: Path, tmp_path: Path) -> None:
    broken = package(tmp_path / "broken", "torch", "raise OSError('libcudnn.so.9: cannot open')")
    status, said = doctored("audit.toml", path=broken)
    proofs = [Proof(**proof) for proof in said["proofs"]]
    assert status == said["exit_status"] == 4
    assert has_remedies(proofs)
    (torch_fails,) = [one for one in failed(proofs) if one.what.startswith("Importing torch fails")]
    assert "libcudnn.so.9: cannot open" in torch_fails.what
    assert "pytorch.org" in torch_fails.remedy
    outcomes = {proof.area: proof.outcome for proof in proofs}
    assert outcomes["Devices"] == "failed"
    assert outcomes["Output"] == outcomes["Plugins"] == "ok"
    pages = [proof.what for proof in proofs if proof.area == "PDF"]
    assert any("a page was set in" in what for what in pages)
    assert outcomes["Data and models"] == "not tried"


def test_a_wrong_configuration_is_told_before_a_broken_machine(here: Path, tmp_path: Path) -> None:
    broken = package(tmp_path / "broken", "torch", "raise OSError('no torch')")
    Path("audit.toml").write_text(CONFIG.replace("epsilon", "epsilonn"), encoding="utf-8")
    status, said = doctored("audit.toml", path=broken)
    assert status == 2
    wrong = [proof for proof in said["proofs"] if proof["usage"]]
    assert {proof["area"] for proof in wrong} == {"Configuration"}
    assert any('did you mean "epsilon"?' in proof["remedy"] for proof in wrong)
    assert said["proofs"][-1]["outcome"] == "not tried"


def test_a_torchvision_of_another_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "raise RuntimeError('operator torchvision::nms does not exist')"
    monkeypatch.syspath_prepend(package(tmp_path, "torchvision", source))
    proofs = list(environment())
    (broken,) = failed(proofs)
    assert "operator torchvision::nms does not exist" in broken.what
    assert "--force-reinstall torch torchvision" in broken.remedy
    assert not any("work together" in proof.what for proof in proofs)
    assert any("other packages import" in proof.what for proof in proofs)


def test_a_package_that_kills_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "killer", "import os; os.abort()"))
    tried = list(run_trial("trial_imports.py", "json", "killer", "pluggy", timeout=60))
    assert [(one.name, one.killed) for one in tried] == [
        ("json", False), ("killer", True), ("pluggy", False),
    ]  # fmt: skip
    assert "SIGABRT" in tried[1].error


def test_a_package_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "sleeper", "import time; time.sleep(600)"))
    tried = list(run_trial("trial_imports.py", "sleeper", "pluggy", timeout=3))
    assert [one.name for one in tried if not one.error] == ["pluggy"]
    assert tried[0].error == "no answer in 3 s"


# --- Devices


def test_an_nvidia_driver_that_torch_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n", encoding="utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    cpu, *others = devices()
    assert cpu.outcome == "ok"
    assert cpu.what.startswith("cpu (")
    warning = others[-1]
    assert (warning.outcome, "torch sees no CUDA device" in warning.what) == ("warning", True)
    assert "nvidia-smi" in warning.remedy


# --- PDF


@pytest.mark.skipif(sys.platform != "linux", reason="other loaders look elsewhere")
@pytest.mark.parametrize("needed", [True, False])
def test_without_pango(needed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _LIBRARIES:
        (tmp_path / name).write_text("no library", encoding="utf-8")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (proof,) = pdf(needed=needed)
    assert proof.outcome == ("failed" if needed else "warning")
    assert "cannot load library" in proof.what
    for word in ("libpango-1.0-0", "dnf install pango", "apk add pango", "brew install", "MSYS2"):
        assert word in proof.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="others ask the system for fonts")
def test_without_any_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fonts.conf").write_text(_NO_FONTS, encoding="utf-8")
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    (proof,) = pdf(needed=True)
    assert proof.outcome != "ok"
    assert "fonts-liberation" in proof.remedy


@pytest.mark.skipif(sys.platform != "linux", reason="others ask the system for fonts")
def test_a_language_that_no_font_can_write(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = f"<fontconfig><dir>{get_data_path()}/fonts/ttf</dir></fontconfig>"
    (tmp_path / "fonts.conf").write_text(_NO_FONTS.replace("<fontconfig></fontconfig>", only))
    monkeypatch.setenv("FONTCONFIG_FILE", str(tmp_path / "fonts.conf"))
    text = CONFIG.replace("[report]", '[report]\nlanguage = "zh"')
    Path("audit.toml").write_text(text, encoding="utf-8")
    config, _ = load_config(Path("audit.toml"))
    (proof,) = letters(config)
    assert proof.outcome == "warning"
    assert 'the letters of the language "zh", so that the PDF is in English' in proof.what
    assert "fonts-noto-cjk" in proof.remedy


# --- The output directory


def test_an_output_that_does_not_exist_yet_is_not_made(tmp_path: Path) -> None:
    (proof,) = storage(tmp_path / "a" / "audits")
    assert f"would be made in {tmp_path}" in proof.what + proof.where
    assert not list(tmp_path.iterdir())


def test_an_output_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (proof,) = storage(tmp_path / "file" / "audits")
    assert proof.outcome == "failed"
    assert "output" in proof.remedy


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on files there")
def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from auditor.doctor.storage import storage;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "print(*[(one.outcome, one.what) for one in storage(Path(sys.argv[1]))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "('failed', 'Nothing can be written: File too large.')" in done.stdout


# --- Plugins


def test_plugins_loaded_broken_and_blocked(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import a_package_of_2019\n", encoding="utf-8")
    proofs = list(plugins(load_registry([path], disable=["spsa"])))
    (broken,) = failed(proofs)
    assert "No module named 'a_package_of_2019'" in broken.what
    assert 'disable = ["mine"]' in broken.remedy
    assert any(proof.what.startswith("spsa is blocked") for proof in proofs)
    assert "built-in plugins are loaded" in proofs[0].what


# --- What is audited


def test_a_sound_model(here: Path) -> None:
    x, y = pictures()
    np.savez("data.npz", x=np.tile(x, (3, 1, 1)), y=np.tile(y, 3))
    data, *model = subject_of(CONFIG)
    assert "72 of 72 images, 1 × 6 × 6" in data.what
    assert {proof.outcome for proof in model} == {"ok"}
    assert "images a second forwards" in model[-1].what


def test_findings_are_warnings_with_remedies(here: Path) -> None:
    scaled = MODEL.replace("return self.linear(x.flatten(1))",
                           "return self.linear(x.flatten(1)).softmax(1)")  # fmt: skip
    proofs = subject_of(CONFIG, scaled)
    warnings = [proof for proof in proofs if proof.outcome == "warning"]
    assert any("(probabilities)" in proof.what for proof in warnings)
    assert has_remedies(proofs)
    assert exit_status(proofs) == 0


def test_a_broken_model_beside_a_sound_one(here: Path) -> None:
    second = '[[model]]\nname = "broken"\nfactory = "broken.py:make"\n\n[data]'
    Path("broken.py").write_text("def make():\n    raise KeyError('checkpoint')\n", "utf-8")
    proofs = subject_of(CONFIG.replace("[data]", second))
    (broken,) = failed(proofs)
    assert (broken.area, "KeyError" in broken.what) == ("Model broken", True)
    assert "broken.py:2" in broken.where
    sound = [proof for proof in proofs if proof.area == "Model bands"]
    assert [proof.outcome for proof in sound if "masking verdict" not in proof.what] == ["ok"] * 3
    assert exit_status(proofs) == 4


def test_data_that_do_not_load_leave_the_models_untried(here: Path) -> None:
    Path("data.npz").write_bytes(b"no archive")
    data, model = subject_of(CONFIG)
    assert (data.outcome, model.outcome) == ("failed", "not tried")
    assert data.remedy


def test_an_accuracy_that_stops_the_audit_fails(here: Path) -> None:
    proofs = subject_of(CONFIG.replace("[data]", "[data]\nexpected_accuracy = 0.1"))
    assert "would not be carried out" in failed(proofs)[0].what


def test_a_configuration_that_is_not_there(here: Path) -> None:
    first = next(examine(Path("audit.tml")))
    assert (first.area, first.outcome, first.usage) == ("Configuration", "failed", True)
