"""Models that cannot be audited, or of which the audit has something to say: Python as text.

A source is put below the sound `Bands` of `system_files.MODEL`, whose `make` it replaces; one that
is not meant to see it says `alone`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BrokenModel:
    """A model.py, what audit.toml says of it, and what the audit has to come to."""

    source: str
    exit_status: int = 4
    #: For [[model]] in audit.toml.
    keys: str = 'factory = "model.py:make"'
    #: Codes of the findings that the result has to have; none where there is no result.
    findings: tuple[str, ...] = ()
    #: Status of each attack in the result.
    fgsm: str = "done"
    noise: str = "done"
    #: Without `Bands`.
    alone: bool = False


def _forward(body: str) -> str:
    """A model with the forward pass `body`, in which `z` are the scores of `Bands`."""
    lines = "\n        ".join(body.splitlines())
    return f"""
class Odd(Bands):
    calls = 0

    def forward(self, x):
        z = super().forward(x)
        {lines}


def make():
    return Odd()
"""


_RGB = """
def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3))
"""
_FUNCTIONAL_DROPOUT = "return z + 0.01 * nn.functional.dropout(z.detach(), 0.5, training=True)"
_CRASHES_ON_THE_THIRD = """type(self).calls += 1
if type(self).calls == 3:
    raise RuntimeError("out of luck on batch 3")
return z"""
_CRASHES_WHEN_ATTACKED = """if x.requires_grad and len(x) > 2:
    raise RuntimeError("no gradients on this device")
return z"""
_BATCH_NORM = """
def make():
    first = nn.BatchNorm2d(1, affine=False)
    return nn.Sequential(first, Bands())
"""
_STAYS_IN_TRAINING = """
class Odd(Bands):
    def train(self, mode=True):
        return super().train(True)


def make():
    return Odd()
"""

FACTORIES = {
    "factory-raises": BrokenModel(
        'def make():\n    raise KeyError("checkpoint")\n',
    ),
    "factory-without-callable": BrokenModel("", keys='factory = "model.py:build"'),
    "factory-empty-file": BrokenModel("", alone=True),
    "factory-not-callable": BrokenModel("make = Bands()\nmake = 3\n"),
    "factory-returns-state-dict": BrokenModel("def make():\n    return Bands().state_dict()\n"),
    "factory-returns-class": BrokenModel("def make():\n    return Bands\n"),
    "factory-returns-nothing": BrokenModel("def make():\n    Bands()\n"),
    "factory-unknown-argument": BrokenModel(
        "", keys='factory = "model.py:make"\nkwargs = { width = 32 }'
    ),
    "factory-missing-argument": BrokenModel("def make(width):\n    return Bands()\n"),
    "factory-import-error": BrokenModel(
        "from torch import nn\nimport my_layers_of_2019\n", alone=True
    ),
    "factory-syntax-error": BrokenModel("def make()\n    return 3\n", alone=True),
    "factory-system-exit": BrokenModel("import sys\n\nsys.exit(0)\n", alone=True),
    "factory-asks-for-input": BrokenModel('def make():\n    raise EOFError("no terminal")\n'),
    "factory-module-missing": BrokenModel("", keys='factory = "a_package_of_mine.models:make"'),
}
OUTPUTS = {
    "model-wants-colour": BrokenModel(_RGB),
    "model-normalized-as-colour": BrokenModel(
        "",
        keys='factory = "model.py:make"\n'
        "normalize = { mean = [0.5, 0.5, 0.5], std = [0.2, 0.2, 0.2] }",
    ),
    "model-crashes-on-third-batch": BrokenModel(_forward(_CRASHES_ON_THE_THIRD)),
    "model-too-few-classes": BrokenModel(_forward("return z[:, :2]")),
    "model-returns-tuple": BrokenModel(_forward("return z, x")),
    "model-returns-dict": BrokenModel(_forward('return {"logits": z}')),
    "model-returns-nothing": BrokenModel(_forward("self.scores = z")),
    "model-returns-numpy": BrokenModel(_forward("return z.detach().numpy()")),
    "model-returns-one-axis": BrokenModel(_forward("return z[:, 0]")),
    "model-returns-one-column": BrokenModel(_forward("return z[:, :1]")),
    "model-returns-labels": BrokenModel(_forward("return z.argmax(1)")),
    "model-returns-integers": BrokenModel(_forward("return z.long()")),
    "model-returns-a-map": BrokenModel(_forward("return z[:, :, None, None].expand(-1, -1, 2, 2)")),
    "model-returns-one-row": BrokenModel(_forward("return z.mean(0, keepdim=True)")),
    "model-system-exit": BrokenModel(_forward("raise SystemExit(0)")),
}
AUDITED = {
    "model-nan-on-all": BrokenModel(
        _forward("return z * float('nan')"),
        3,
        findings=("non-finite",),
        fgsm="skipped",
        noise="skipped",
    ),
    "model-nan-on-some": BrokenModel(
        _forward("return z.masked_fill((z.argmax(1) == 2)[:, None], torch.nan)"),
        0,
        findings=("non-finite",),
    ),
    "model-without-gradient": BrokenModel(
        _forward("return z.detach()"), 3, findings=("no-gradient",), fgsm="error"
    ),
    "model-under-no-grad": BrokenModel(
        _forward("with torch.no_grad():\n    return self.linear(x.flatten(1))"),
        3,
        findings=("no-gradient",),
        fgsm="error",
    ),
    "model-crashes-when-attacked": BrokenModel(_forward(_CRASHES_WHEN_ATTACKED), 3, fgsm="error"),
    "model-random": BrokenModel(_forward(_FUNCTIONAL_DROPOUT), 0, findings=("nondeterministic",)),
    "model-left-in-training": BrokenModel(_BATCH_NORM, 0, findings=("train-mode",)),
    "model-stays-in-training": BrokenModel(_STAYS_IN_TRAINING, 0),
    "model-depends-on-the-batch": BrokenModel(
        _forward("return z - z.mean(0, keepdim=True)"), 0, findings=("batch-dependence",)
    ),
    "model-returns-probabilities": BrokenModel(
        _forward("return z.softmax(1)"),
        0,
        keys='factory = "model.py:make"\noutputs = "logits"',
        findings=("output-kind", "probabilities"),
    ),
    "model-wants-255": BrokenModel(
        _forward("return z.new_tensor([2.0, 0, 0]) * (x.amax() < 2) + z * (x.amax() >= 2)"),
        0,
        findings=("input-range",),
    ),
    "model-more-classes-than-data": BrokenModel(
        _forward("return torch.cat([z, z[:, :1] - 50], 1)"), 0, findings=("class-count",)
    ),
    "model-all-wrong": BrokenModel(_forward("return z.roll(1, 1)"), 0),
}
BROKEN_MODELS: dict[str, BrokenModel] = {**FACTORIES, **OUTPUTS, **AUDITED}
