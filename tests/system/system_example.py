"""A whole audit of two of the shipped example's models, on 60 images."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from auditor.report import FORMATS

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion_mnist"
DATA = EXAMPLE / "data" / "test-1000.npz"
FACTORIES = {"baseline": "cnn", "gradient-mask-toy": "gradient_mask_toy"}
THREATS = {"linf": (0.02, 0.1), "l2": (1.0,)}
ATTACKS = ("fgsm", "r-fgsm", "noise", "pgd", "cascade")
IMAGES = 60

_MODEL = """
[[model]]
name    = "{name}"
factory = "{example}/models.py:{factory}"
kwargs  = {{ width = 32 }}
weights = "{example}/weights/{name}.safetensors"
"""


def example_config(*, masking: str = "confirmed", formats: tuple[str, ...] = ()) -> str:
    """audit.toml with absolute paths; `masking` is the limit of its gate, "" for the default."""
    models = "".join(
        _MODEL.format(name=name, factory=factory, example=EXAMPLE.as_posix())
        for name, factory in FACTORIES.items()
    )
    gate = f'[[gate]]\nmetric = "masking"\nat_most = "{masking}"\n' if masking else ""
    known = [name for name in formats if name in FORMATS]
    return f"""
schema  = 1
title   = "two of four"
profile = "quick"
battery = "extend"
[run]
device = "cpu"
threads = 1
batch_size = 60
{models}
[data]
adapter = "npz"
path = "{DATA.as_posix()}"
samples = {IMAGES}
draw = "balanced"
[[threat]]
norm = "linf"
epsilon = [0.02, 0.1]
rationale = "a small one and a large one"
[[threat]]
norm = "l2"
epsilon = 1
[[attack]]
use = "cascade"
sample = 8
{gate}
[report]
formats = {known}
gallery = 4
"""


def example_model(name: str) -> nn.Module:
    """The model as its own code makes it, without anything of auditor."""
    module: nn.Module = getattr(_source(), FACTORIES[name])(width=32)
    module.load_state_dict(load_file(EXAMPLE / "weights" / f"{name}.safetensors"))
    return module.eval()


def _source() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_models", EXAMPLE / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example_images() -> tuple[torch.Tensor, torch.Tensor]:
    """All images (1000, 1, 28, 28) in float64, and labels; an id is a position here."""
    with np.load(DATA) as archive:
        x = torch.from_numpy(archive["x"]).double().div(255)[:, None]
        return x, torch.from_numpy(archive["y"].astype(np.int64))
