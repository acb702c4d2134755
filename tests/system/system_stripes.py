"""Odd but honest classifiers of three stripes, whose every number is known.

The brightest of three stripes is the class, by 26 or by 64 grey levels: clean accuracy is 100 %,
and at an l-infinity epsilon of 0.1 the first half falls (2 epsilon is 51 levels), so robust
accuracy is 50 %, whatever is done to the network that leaves the function as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from system_files import audit_json, auditor, only_run

IMAGES = 60

STRIPES = '''
import torch
from torch import nn
from torch.nn import functional as F


class Stripes(nn.Module):
    """Twenty times the brightness of each of three vertical stripes."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, x):
        return self.scale * x.mean(1).reshape(len(x), 9, 3, 3).mean((1, 3))

'''

CONFIG = """
schema = 1
title  = "three stripes"
check  = []
[run]
device           = "cpu"
threads          = 1
batch_size       = 64
search_precision = "float32"

[[model]]
name    = "m"
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
use   = "pgd"
steps = 5

[report]
formats = []
"""


def write_stripes(model: str, config: str = CONFIG, *, low: int = IMAGES // 2) -> None:
    """model.py, data.npz with `low` images of the smaller contrast, and audit.toml."""
    y = np.arange(IMAGES) % 3
    contrast = np.where(np.arange(IMAGES) * low % IMAGES < low, 26, 64)
    x = np.full((IMAGES, 9, 9), 90, np.uint8)
    for picture, label, levels in zip(x, y, contrast, strict=True):
        picture[:, 3 * label : 3 * label + 3] += np.uint8(levels)
    np.savez("data.npz", x=x, y=y)
    Path("model.py").write_text(STRIPES + model, encoding="utf-8")
    Path("audit.toml").write_text(config, encoding="utf-8")


def audited(model: str, config: str = CONFIG, **images: int) -> tuple[dict[str, Any], str]:
    """The model in audit.json, and what was printed, of an audit that was not refused."""
    write_stripes(model, config, **images)
    status, output = auditor("run", "audit.toml")
    assert status in (0, 1, 3), output
    (found,) = audit_json(only_run())["models"]
    return found, output


def numbers(model: dict[str, Any]) -> list[float]:
    """Clean accuracy, and what each attack that was run leaves of it."""
    rows = model["threats"][0]["attacks"]
    assert [row["status"] for row in rows] == ["done"] * len(rows), rows
    return [model["clean"]["accuracy"], *(row["robust"]["accuracy"] for row in rows)]


def codes(model: dict[str, Any]) -> list[str]:
    """Codes of the findings that pre-flight has."""
    return [finding["code"] for finding in model["findings"]]


def told(model: dict[str, Any], code: str) -> str:
    """What a finding says, with its evidence."""
    (found,) = (one for one in model["findings"] if one["code"] == code)
    return " ".join([found["summary"], *found["evidence"], found["remedy"]])
