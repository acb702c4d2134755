"""Batch size and the order of the images decide nothing: whole audits, verdict by verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from system_example import DATA, EXAMPLE
from system_files import attack_rows, audit_json, verdicts

from auditor.audit.audit import Audit
from auditor.config import load_config

IMAGES = 40
CONFIG = f"""
schema = 1
check = []
[run]
device = "cpu"
threads = 1
[[model]]
name = "pgd-trained"
factory = "{EXAMPLE.as_posix()}/models.py:cnn"
weights = "{EXAMPLE.as_posix()}/weights/pgd-trained.safetensors"
precision = "float64"
[data]
adapter = "npz"
path = "data.npz"
[[threat]]
norm = "linf"
epsilon = 0.1
[[threat]]
norm = "l2"
epsilon = 1.5
ATTACKS
[report]
formats = []
gallery = 0
"""
#: Everything that refills the batch: restarts, random starts, several objectives.
ATTACKS = """
[[attack]]
use = "fgsm"
[[attack]]
use = "noise"
samples = 5
[[attack]]
use = "pgd"
steps = 6
restarts = 2
[[attack]]
use = "pgd"
label = "pgd-margin"
steps = 6
loss = "margin"
[[attack]]
use = "apgd"
steps = 6
loss = "dlr"
targets = 2
[[attack]]
use = "square"
queries = 30
"""


def images() -> tuple[np.ndarray, np.ndarray]:
    """The first images of the example, no two of them the same."""
    with np.load(DATA) as archive:
        x, y = archive["x"][:IMAGES], archive["y"][:IMAGES]
    assert len({picture.tobytes() for picture in x}) == IMAGES
    return x, y


def audit(home: Path, attacks: str, order: np.ndarray, batch_size: int) -> Path:
    """The run directory of an audit of the images in this order."""
    home.mkdir()
    x, y = images()
    np.savez(home / "data.npz", x=x[order], y=y[order])
    (home / "audit.toml").write_text(CONFIG.replace("ATTACKS", attacks), encoding="utf-8")
    overrides = [f"run.batch_size={batch_size}"]
    config, registry = load_config(home / "audit.toml", overrides)
    audit = Audit(config, registry, "test", lambda event: None)
    audit.run()
    assert audit.ledger is not None
    return audit.ledger.directory


MEASURED = {"margin", "norm", "nearest"}


def by_image(directory: Path, order: np.ndarray) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of the audit by what they are about, the image by its place in `images()`."""
    rows = {}
    for row in verdicts(directory):
        image = int(order[row.pop("id")])
        # A gradient is computed for a whole batch or not at all, so an image's last point may cost
        # a backward pass more beside images that have steps to go.
        del row["passes"]
        key = row.pop("model"), row.pop("threat"), row.pop("attack"), image
        rows[key] = row
    return rows


def same(first: dict[tuple[Any, ...], Any], second: dict[tuple[Any, ...], Any]) -> None:
    """Verdicts are equal; margins and distances as far as sums in another order allow."""
    assert first.keys() == second.keys()
    for key, row in first.items():
        other = second[key]
        for name in MEASURED:
            assert row[name] == pytest.approx(other[name], rel=1e-9, abs=1e-9, nan_ok=True), key
        exact = row.keys() - MEASURED
        assert {name: row[name] for name in exact} == {name: other[name] for name in exact}, key


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("reference") / "64"
    return audit(home, ATTACKS, np.arange(IMAGES), 64)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 512])
def test_batch_size(batch_size: int, reference: Path, tmp_path: Path) -> None:
    order = np.arange(IMAGES)
    directory = audit(tmp_path / "audit", ATTACKS, order, batch_size)
    same(by_image(directory, order), by_image(reference, order))
    rows, others = attack_rows(audit_json(directory)), attack_rows(audit_json(reference))
    for label, row in rows.items():
        assert row["broken"] > 0 or label == "noise"
        for name in ("robust", "robust_8bit", "broken", "forwards", "rejected"):
            assert row[name] == others[label][name]
        for own, other in zip(row["losses"], others[label]["losses"], strict=True):
            assert own["images"] == other["images"]
            assert own["quantiles"] == pytest.approx(other["quantiles"], rel=1e-9)


def test_order_of_the_images(tmp_path: Path) -> None:
    straight = np.arange(IMAGES)
    shuffled = np.random.default_rng(5).permutation(IMAGES)
    first = audit(tmp_path / "straight", ATTACKS, straight, 7)
    second = audit(tmp_path / "shuffled", ATTACKS, shuffled, 7)
    rows = by_image(first, straight)
    assert 0 < sum(row["broken"] for row in rows.values()) < len(rows)
    same(rows, by_image(second, shuffled))


def test_random_numbers_follow_the_image_and_not_its_neighbours(tmp_path: Path) -> None:
    """Leaving the last images out changes nothing for the first ones, random starts included."""
    all_of_them, half = np.arange(IMAGES), np.arange(IMAGES // 2)
    rows = by_image(audit(tmp_path / "all", ATTACKS, all_of_them, 16), all_of_them)
    fewer = by_image(audit(tmp_path / "half", ATTACKS, half, 16), half)
    same(fewer, {key: row for key, row in rows.items() if key[3] < len(half)})
