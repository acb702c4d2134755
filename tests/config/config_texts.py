"""Configurations that are valid in the directory that `conftest.py` makes."""

from __future__ import annotations

from collections.abc import Callable

from auditor.config import AuditConfig

#: What the fixture `load` is: a text and overrides become a configuration.
Load = Callable[..., AuditConfig]

MINIMAL = """\
schema = 1

[model]
factory = "model.py:cnn"

[data]
adapter = "npz"
path = "images.npz"

[threat]
norm = "linf"
epsilon = "8/255"
"""

FULL = """\
schema  = 1
title   = "Classifier, release candidate 3"
profile = "thorough"

[run]
seed        = 7
device      = "cuda:1"
threads     = 4
batch_size  = 256
output      = "out/audits"
executor    = "local"
time_budget = "1h30m"

[[model]]
name      = "distilled"
factory   = "model.py:build.cnn"
kwargs    = { width = 32, stages = [1, { depth = 2 }] }
weights   = "weights/a.safetensors"
outputs   = "logits"
precision = "bfloat16"
normalize = { mean = [0.286], std = [1] }

[[model]]
name      = "plain"
factory   = "package.models:cnn"

[data]
adapter = "npz"
path    = "images.npz"
samples = 500
expected_accuracy = 0.92

[[threat]]
norm      = "linf"
epsilon   = ["8/255", 0.01, "2/255"]
rationale = "half a grey level survives the camera pipeline"

[[threat]]
norm    = "l2"
epsilon = 1

[[attack]]
use   = "pgd"
label = "pgd-100"
steps = 100
step_size = "1/255"

[[attack]]
use = "pgd"

[[gate]]
metric   = "robust_accuracy"
at_least = 0.40
model    = "distilled"
norm     = "linf"
epsilon  = "16/510"

[[gate]]
metric  = "masking"
at_most = "none"
model   = "plain"

[report]
formats   = ["pdf"]
gallery   = 0
language  = "zh"
reviewers = ["A. Reviewer", "B. Reviewer"]

[[track]]
use = "mlflow"
uri = "sqlite:///audits.db"

[plugins]
paths   = ["corner.py"]
disable = ["noise"]
"""
