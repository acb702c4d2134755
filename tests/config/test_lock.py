from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from config_texts import FULL, MINIMAL, Load

from auditor.config import config_hash, load_config, lock_text
from auditor.registry import load_registry

#: `kwargs` is the loader's own key.
LOADED = MINIMAL.replace(
    'factory = "model.py:cnn"',
    'loader = "timm"\nkwargs = { num_classes = 10 }\narchitecture = "resnet18"',
)


@pytest.mark.parametrize("text", [MINIMAL, FULL, LOADED, "attack = []\n" + MINIMAL])
def test_lock_reads_back_as_the_same_configuration(directory: Path, text: str) -> None:
    path = directory / "other.toml"
    path.write_text(text)
    config, registry = load_config(path)
    lock = directory / "config.lock.toml"
    lock.write_text(lock_text(config, registry))
    again, registry = load_config(lock)
    assert again == config
    assert config_hash(again) == config_hash(config)
    # Only the name of the file it came from differs.
    assert lock_text(again, registry).replace(lock.name, path.name) == lock.read_text()


def test_lock_writes_every_default(directory: Path) -> None:
    config, registry = load_config(directory / "audit.toml")
    text = lock_text(config, registry)
    tree = tomllib.loads(text)
    assert tree["run"].keys() == {
        "seed", "device", "threads", "batch_size", "search_precision", "output", "executor",
    }  # fmt: skip
    assert tree["attack"][-1] == {
        "use": "pgd", "label": "pgd-margin", "steps": 40, "restarts": 1, "loss": "margin", "eot": 1
    }  # fmt: skip
    assert tree["gate"] == [{"metric": "masking", "at_most": "possible"}]
    checks = load_registry().profiles["standard"].checks
    assert [check["use"] for check in tree["check"]] == [check["use"] for check in checks]
    assert {"use": "determinism", "label": "determinism", "calls": 5, "images": 64} in tree["check"]
    assert str(directory) not in text


CHANGES = [
    "run.seed=8",
    "run.device=cpu",
    "model.0.name=other",
    "model.1.factory=package.models:mlp",
    "model.0.kwargs.width=64",
    "model.0.weights=weights/b.safetensors",
    "model.0.outputs=auto",
    "model.0.precision=float64",
    "model.0.normalize.mean=[0.287]",
    "data.path=corner.py",
    "data.samples=501",
    "data.draw=balanced",
    "data.expected_accuracy=0.93",
    "threat.0.epsilon=1/255",
    "threat.1.norm=l1",
    "attack.0.steps=101",
    "attack.0.label=pgd-101",
    "attack=[]",
]
REMAINS = [
    "title=other",
    "run.output=elsewhere",
    "run.time_budget=1m",
    "run.threads=1",
    "run.batch_size=1",
    "threat.0.rationale=none",
    'threat.0.epsilon=["16/510", "1/100", "2/255"]',
    "gate=[]",
    "report.gallery=1",
    "report.reviewers=[]",
    "report.language=en",
]


@pytest.mark.parametrize("override", CHANGES)
def test_hash_changes_with_what_changes_numbers(load: Load, override: str) -> None:
    text = FULL[: FULL.index("[[gate]]")]
    assert config_hash(load(text, override)) != config_hash(load(text))


@pytest.mark.parametrize("override", REMAINS)
def test_hash_remains_with_what_does_not(load: Load, override: str) -> None:
    text = FULL if override.startswith("report") else FULL[: FULL.index("[[gate]]")]
    assert config_hash(load(text, override)) == config_hash(load(text))


def test_hash_does_not_depend_on_the_profile_being_written_out(load: Load) -> None:
    listed = MINIMAL + "".join(
        f"\n[[attack]]\n{keys}\n"
        for keys in (
            'use="fgsm"',
            'use="r-fgsm"',
            'use="noise"',
            'use="pgd"\nsteps=40',
            'use="cascade"\nsample=20',
        )
    )
    listed += "".join(
        f'\n[[check]]\nuse = "{check["use"]}"\n'
        for check in load_registry().profiles["quick"].checks
    )
    assert config_hash(load(listed)) == config_hash(load(MINIMAL, "profile=quick"))
