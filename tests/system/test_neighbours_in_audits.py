"""Audits whose models share names, arguments or folders: each gets its own number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from system_files import (
    CONFIG,
    MODEL,
    attack_rows,
    audit_json,
    auditor,
    only_run,
    run_directories,
)
from test_plugins_in_audits import BRIGHTER

FACTORY = '[[model]]\nname    = "bands"\nfactory = "model.py:make"\n'
#: Behind a rounding that hides the gradient, or not: no weight says which.
ROUNDS = MODEL.replace(
    "def forward(self, x):\n",
    "defended = False\n\n    def forward(self, x):\n"
    "        x = (x * 255).round() / 255 if self.defended else x\n",
).replace(
    "def make():\n    return Bands()",
    """def make(defended=False):
    model = Bands()
    model.defended = defended
    return model


def other():
    return make(True)""",
)
#: The same, and all that says which is a variable of the module.
GLOBAL = ROUNDS.replace("self.defended", "DEFENDED").replace(
    "model.defended = defended", "global DEFENDED\n    DEFENDED = defended"
)


def models(**tables: str) -> str:
    return CONFIG.replace(
        FACTORY, "".join(f'[[model]]\nname = "{name}"\n{keys}\n' for name, keys in tables.items())
    )


def audited(text: str) -> dict[str, Any]:
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    assert "kept from before" not in said
    return {model["name"]: model for model in audit_json(only_run())["models"]}


def counts(model: dict[str, Any]) -> tuple[int, int]:
    """Images right, and right under FGSM."""
    return model["clean"]["correct"], model["threats"][0]["attacks"][0]["robust"]["correct"]


@pytest.mark.parametrize("second", [
    'factory = "model.py:make"\nkwargs = { defended = true }', 'factory = "model.py:other"',
])  # fmt: skip
@pytest.mark.parametrize("text", [ROUNDS, GLOBAL], ids=["attribute", "global"])
def test_models_of_one_file_and_the_same_weights_share_no_result(
    text: str, second: str, here: Path
) -> None:
    Path("model.py").write_text(text, encoding="utf-8")
    first = 'factory = "model.py:make"'
    # FGSM finds no gradient through the rounding, and everything it needs without it.
    found = audited(models(rounded=second, plain=first))
    assert counts(found["rounded"]) == (24, 24)
    assert counts(found["plain"]) == (24, 12)


def test_models_whose_files_have_neighbours_of_one_name(here: Path) -> None:
    ordered = "from layers import ORDER\n" + MODEL.replace(
        "x.flatten(1))", "x.flatten(1))[:, ORDER]"
    )
    for name, order in (("repo_a", [0, 1, 2]), ("repo_b", [1, 2, 0])):
        (here / name).mkdir()
        (here / name / "model.py").write_text(ordered, encoding="utf-8")
        (here / name / "layers.py").write_text(f"ORDER = {order}\n", encoding="utf-8")
    a, b = ('factory = "repo_a/model.py:make"', 'factory = "repo_b/model.py:make"')
    found = audited(models(a=a, b=b))
    assert counts(found["a"]) == (24, 12)
    assert found["b"]["clean"]["correct"] == 0


def test_a_model_in_a_package_by_file_and_by_name(here: Path) -> None:
    (here / "net").mkdir()
    scaled = MODEL.replace("import torch\n", "from .parts import SCALE\nimport torch\n", 1)
    (here / "net" / "model.py").write_text(
        scaled.replace("10 / 12", "SCALE / 12"), encoding="utf-8"
    )
    (here / "net" / "parts.py").write_text("SCALE = 10\n", encoding="utf-8")
    (here / "net" / "__init__.py").write_text("", encoding="utf-8")
    file, name = ('factory = "net/model.py:make"', 'factory = "net.model:make"')
    found = audited(models(file=file, name=name))
    assert [counts(model) for model in found.values()] == [(24, 12), (24, 12)]


def test_a_module_that_is_nowhere_is_told_with_the_form_that_works(here: Path) -> None:
    text = CONFIG.replace("model.py:make", "net.model:make")
    Path("audit.toml").write_text(text, encoding="utf-8")
    status, said = auditor("run", "audit.toml")
    assert status == 4
    assert "No module named 'net'" in said
    assert "folder/model.py:make" in said


def test_a_plugin_in_a_file_has_its_neighbours_however_it_is_named(here: Path) -> None:
    """As a model's file has: by -p, by [plugins] paths, and where the kit looks at it."""
    (here / "mine").mkdir()
    plugin = "from helper import STEPS\n" + BRIGHTER.replace("param(3,", "param(STEPS,")
    assert plugin.count("STEPS") == 2
    (here / "mine" / "plugin.py").write_text(plugin, encoding="utf-8")
    (here / "mine" / "helper.py").write_text("STEPS = 5\n", encoding="utf-8")
    (here / "helper.py").write_text("raise ImportError('the wrong helper')\n", encoding="utf-8")
    text = CONFIG.replace('use = "fgsm"', 'use = "brighter"')
    assert text != CONFIG
    steps = []
    for more, options in (("", ("-p", "mine/plugin.py")),
                          ('\n[plugins]\npaths = ["mine/plugin.py"]\n', ())):  # fmt: skip
        Path("audit.toml").write_text(text + more, encoding="utf-8")
        status, said = auditor("run", "audit.toml", "--fresh", *options)
        assert status == 0, said
        newest = max(run_directories(here), key=lambda path: path.stat().st_mtime_ns)
        steps.append(attack_rows(audit_json(newest))["brighter"]["parameters"]["steps"])
    assert steps == [5, 5]
    status, said = auditor("plugin", "check", "mine/plugin.py")
    assert status in (0, 1), said
    assert "attack 'brighter'" in said
