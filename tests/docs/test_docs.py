"""Every code block of the documentation does what the text around it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from blocks import SHOWN, TRIALS, blocks_of, try_block

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "fashion_mnist"
PAGES = sorted((ROOT / "docs").glob("*.md"))

#: What the pages take for granted: a model, its weights and a few images of it.
MODEL = '''"""The reader's model."""
import torch
from models import cnn


def make() -> torch.nn.Module:
    return cnn(width=32)


class Rounded(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = cnn(width=32)

    def forward(self, x):
        return self.network(torch.round(x * 8) / 8)


def rounded() -> torch.nn.Module:
    return Rounded()
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_model.py").write_text(MODEL, encoding="utf-8")
    shutil.copy(EXAMPLE / "models.py", tmp_path)
    shutil.copy(EXAMPLE / "weights" / "baseline.safetensors", tmp_path / "my_model.safetensors")
    with np.load(EXAMPLE / "data" / "test-1000.npz") as data:
        np.savez(tmp_path / "test.npz", x=data["x"][:200], y=data["y"][:200])
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_blocks_of_a_page_work_in_order(page: Path, folder: Path) -> None:
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.kind in SHOWN:
            continue
        try:
            try_block(block, folder)
        except AssertionError as error:
            raise AssertionError(f"{page.name}:{block.line} ({block.kind}): {error}") from error


def test_every_block_is_of_a_kind_that_is_tried() -> None:
    kinds = {block.kind for page in PAGES for block in blocks_of(page.read_text(encoding="utf-8"))}
    assert kinds <= {*TRIALS, *SHOWN}


def test_a_block_that_fails_is_noticed(folder: Path) -> None:
    page = '```toml\n[threat]\nnorm = "linf"\nepsilon = -1\n```\n'
    with pytest.raises(AssertionError, match="epsilon"):
        try_block(blocks_of(page)[0], folder)
    page = "```console\n$ auditor show no-such-attack\n```\n"
    with pytest.raises(AssertionError, match="exit status 2"):
        try_block(blocks_of(page)[0], folder)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    site = str(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", site],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stdout + done.stderr
    for name in ("configuration", "attacks", "checks", "profiles"):
        text = (tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8")
        assert len(re.findall("<h2", text)) > 2
