"""The files that an audit names as its origins, and SHA256SUMS, against `sha256sum` and hashlib."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from system_files import CONFIG, LAZY, MODEL, audit_json, auditor, only_run, pictures, process

NPZ = 'adapter = "npz"\npath    = "data.npz"'
NAMED = MODEL.replace("from torch import nn", "from torch import nn\nfrom layers import one")
READER = """
import numpy as np

def images():
    found = np.load("data.npz")
    return found["x"], found["y"]
"""


def origins(where: Path) -> list[tuple[str, str | None, str]]:
    """Role, model and name of every file, once its hash was found to be right."""
    files: list[dict[str, Any]] = audit_json(only_run(where))["provenance"]["files"]
    for one in files:
        content = (where / one["name"]).read_bytes()
        assert one["sha256"] == hashlib.sha256(content).hexdigest(), one["name"]
    return [(one["role"], one["model"], one["name"]) for one in files]


def audited(where: Path, config: str, *arguments: str) -> list[tuple[str, str | None, str]]:
    (where / "audit.toml").write_text(config, encoding="utf-8")
    status, said = auditor("run", "audit.toml", *arguments)
    assert status == 0, said
    return origins(where)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_sha256sum_finds_every_file_of_a_run(here: Path) -> None:
    said = process("run", "audit.toml", "--set", 'report.formats=["html", "markdown"]', cwd=here)
    assert said.returncode == 0, said.stderr
    run = only_run()
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    told = subprocess.run(check, cwd=run, capture_output=True, text=True, check=True).stdout
    assert sorted(line.removesuffix(": OK") for line in told.splitlines()) == [
        "adversarial.safetensors", "audit.json", "config.lock.toml", "report.html", "report.md",
        "samples.parquet",
    ]  # fmt: skip
    (run / "report.html").write_text("another")
    assert subprocess.run(check, cwd=run, capture_output=True, check=False).returncode == 1
    assert auditor("report", str(run), "--format", "html")[0] == 0
    subprocess.run(check, cwd=run, capture_output=True, check=True)


def test_weights_code_and_data(here: Path) -> None:
    (here / "model.py").write_text(NAMED, encoding="utf-8")
    (here / "layers.py").write_text("one = 1\n")
    band = torch.arange(6).repeat(6) // 2
    weight = 10 / 12 * torch.nn.functional.one_hot(band, 3).T.float().contiguous()
    save_file({"linear.weight": weight, "linear.bias": torch.zeros(3)}, here / "w.safetensors")
    config = CONFIG.replace('"model.py:make"', '"model.py:make"\nweights = "w.safetensors"')
    assert audited(here, config) == [
        ("configuration", None, "audit.toml"),
        ("weights", "bands", "w.safetensors"),
        ("code", "bands", "model.py"),
        ("code", "bands", "layers.py"),
        ("data", None, "data.npz"),
    ]


def test_paths_from_the_root_and_from_above(here: Path) -> None:
    inner = here / "inner"
    inner.mkdir()
    config = CONFIG.replace('"model.py:make"', f'"{here}/model.py:make"')
    (inner / "audit.toml").write_text(config.replace('"data.npz"', '"../data.npz"'))
    status, said = auditor("run", "inner/audit.toml")
    assert status == 0, said
    assert origins(inner) == [
        ("configuration", None, "audit.toml"),
        ("code", "bands", f"{here}/model.py"),
        ("data", None, "../data.npz"),
    ]


def test_a_users_function_that_reads_the_data(here: Path) -> None:
    (here / "reader.py").write_text(READER)
    found = audited(here, CONFIG.replace(NPZ, 'adapter = "python"\nfactory = "reader.py:images"'))
    assert found[-1] == ("code", None, "reader.py")


@pytest.mark.parametrize(("each", "listed"), [(1, True), (30, False)])
def test_a_folder_of_few_files_is_listed_and_one_of_many_is_not(
    here: Path, each: int, listed: bool
) -> None:
    from PIL import Image

    x, y = pictures()
    for label in range(3):
        folder = here / "pictures" / str(label)
        folder.mkdir(parents=True)
        for number in range(each):
            Image.fromarray(x[y == label][number % 8]).save(folder / f"{number}.png")
    found = audited(here, CONFIG.replace(NPZ, 'adapter = "image-folder"\npath = "pictures"'))
    names = [name for role, _, name in found if role == "data"]
    assert names == ([f"pictures/{label}/0.png" for label in range(3)] if listed else [])


def test_plugins_and_loaders(here: Path) -> None:
    (here / "mine.py").write_text(f"from helper import x\n{LAZY}", encoding="utf-8")
    (here / "helper.py").write_text("x = 1\n")
    bands = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3)).eval()
    sizes = {"input": {0: torch.export.Dim("batch", min=2, max=16)}}
    program = torch.export.export(bands, (torch.rand(4, 1, 6, 6),), dynamic_shapes=sizes)
    torch.export.save(program, "model.pt2")
    config = CONFIG.replace(
        'factory = "model.py:make"', 'loader = "torch-export"\npath = "model.pt2"'
    )
    (here / "audit.toml").write_text(config, encoding="utf-8")
    status, said = auditor("run", "audit.toml", "-p", "mine.py")
    assert status == 0, said
    assert origins(here) == [
        ("configuration", None, "audit.toml"),
        ("weights", "bands", "model.pt2"),
        ("data", None, "data.npz"),
        ("plugin", None, "mine.py"),
        ("plugin", None, "helper.py"),
    ]


def test_the_hash_is_of_what_was_loaded(here: Path) -> None:
    """A changed file has another hash in the next audit."""
    first = audited(here, CONFIG)
    x, y = pictures()
    np.savez(here / "data.npz", x=x[::-1], y=y[::-1])
    status, said = auditor("run", "audit.toml", "--set", "run.output=again")
    assert status == 0, said
    (again,) = (here / "again").iterdir()
    files = {one["name"]: one["sha256"] for one in audit_json(again)["provenance"]["files"]}
    before = {one["name"]: one["sha256"] for one in audit_json(only_run())["provenance"]["files"]}
    assert [name for _, _, name in first] == list(files)
    assert [name for name in files if files[name] != before[name]] == ["data.npz"]
