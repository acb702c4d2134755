"""A small audit in a directory of its own: pictures of three bands, and a linear model of them.

The brightest of three vertical bands is the class, by a contrast that is known for every picture,
so that what an attack of a given epsilon has to find is known too: it takes 2 epsilon > contrast.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typer.testing import CliRunner

from auditor.cli import app

CLASSES, SIDE = 3, 6
#: In grey levels; with epsilon 0.1 the first half of each class falls, the other cannot.
CONTRASTS = (26, 26, 38, 38, 64, 64, 76, 76)

MODEL = '''
import torch
from torch import nn


class Bands(nn.Module):
    """Ten times the mean of each band, by a linear layer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(36, 3)
        band = torch.arange(6).repeat(6) // 2
        with torch.no_grad():
            self.linear.weight.copy_(10 / 12 * nn.functional.one_hot(band, 3).T)
            self.linear.bias.zero_()

    def forward(self, x):
        return self.linear(x.flatten(1))


def make():
    return Bands()
'''

CONFIG = """
schema = 1
title  = "three bands"
check  = []
[run]
device     = "cpu"
threads    = 1
batch_size = 8

[[model]]
name    = "bands"
factory = "model.py:make"

[data]
adapter = "npz"
path    = "data.npz"

[[threat]]
norm    = "linf"
epsilon = 0.1

[[attack]]
use = "fgsm"

[[attack]]
use     = "noise"
samples = 4

[[gate]]
metric  = "masking"
at_most = "confirmed"

[report]
formats = []
"""

#: An attack that tries next to nothing, and has all it takes in its battery.
LAZY = '''
from dataclasses import dataclass

import torch
from auditor_plugins.fgsm import FGSM
from auditor_plugins.noise import Noise

from auditor.api import SCORES, Part, PositiveInt, Stage, attack, hookimpl, param


@attack(name="lazy", norms={"linf", "l2"}, needs=SCORES, reference="none")
@dataclass(frozen=True)
class Lazy:
    """Looks at a random point of each ball, and leaves the rest to the sample."""

    sample: PositiveInt = param(4, "drawn")
    confidence: float = param(0.9, "of the statement")

    def stages(self, brief):
        yield Stage("a look", Noise(samples=1), torch.arange(len(brief.y)))

    def battery(self, situation):
        return [Part("noise", Noise(samples=1)), Part("FGSM", FGSM())]

    def passes(self, classes):
        return 2, 1


@hookimpl
def auditor_attacks():
    return [Lazy]
'''


def pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """24 pictures (24, 6, 6) with their labels; no two are the same."""
    y = np.arange(len(CONTRASTS) * CLASSES) % CLASSES
    x = np.full((len(y), SIDE, SIDE), 100) + np.random.default_rng(0).integers(-2, 3, (24, 6, 6))
    for picture, label, contrast in zip(x, y, np.repeat(CONTRASTS, CLASSES), strict=True):
        picture[:, 2 * label : 2 * label + 2] += contrast
    return x.astype(np.uint8), y.astype(np.int64)


def write_audit(directory: Path, *, model: str = MODEL, config: str = CONFIG) -> None:
    """model.py, data.npz and audit.toml."""
    (directory / "model.py").write_text(model, encoding="utf-8")
    (directory / "audit.toml").write_text(config, encoding="utf-8")
    x, y = pictures()
    np.savez(directory / "data.npz", x=x, y=y)


def auditor(*arguments: str) -> tuple[int, str]:
    """Exit status, and what a command prints on both streams, run in this process."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, through the installed entry point."""
    command = [sys.executable, "-m", "auditor", *arguments]
    environment = {**os.environ, "COLUMNS": "100"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **options
    )


def run_directories(where: Path = Path()) -> list[Path]:
    """The run directories, oldest first."""
    return sorted((where / "audits").glob("*-*"))


def only_run(where: Path = Path()) -> Path:
    """The one run directory."""
    (directory,) = run_directories(where)
    return directory


def audit_json(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "audit.json").read_text(encoding="utf-8"))
    return found


def without_times(audit: dict[str, Any]) -> dict[str, Any]:
    """audit.json without what the clock and the command line alone decide."""
    provenance = audit["provenance"]
    for key in ("started", "seconds", "command"):
        del provenance[key]
    for model in audit["models"]:
        for check in model["checks"]:
            del check["seconds"]
        for threat in model["threats"]:
            for attack in threat["attacks"]:
                del attack["seconds"]
                for stage in attack["stages"]:
                    del stage["seconds"]
    return audit


def attack_rows(audit: dict[str, Any], model: int = 0, threat: int = 0) -> dict[str, Any]:
    """Rows of audit.json by label."""
    rows = audit["models"][model]["threats"][threat]["attacks"]
    return {row["label"]: row for row in rows}


def verdicts(directory: Path) -> list[dict[str, Any]]:
    """A row per image and attack of samples.parquet, passes included."""
    rows: list[dict[str, Any]] = pq.read_table(directory / "samples.parquet").to_pylist()
    return rows


def settled(text: str, directory: Path) -> str:
    """What a command printed, without paths, times and hashes of this one run."""
    text = text.replace(str(directory.resolve()), "<directory>").replace(
        str(directory), "<directory>"
    )
    text = re.sub(r"audits/\d{4}-\d\d-\d\dT\d{6}Z-([a-z0-9-]+)-[0-9a-f]{6}", r"audits/<\1>", text)
    text = re.sub(r", \d+\.\d s$", ", <seconds> s", text, flags=re.MULTILINE)
    text = re.sub(r"traceback-\w{8}\.txt", "traceback-<hash>.txt", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"
