"""Cells that were damaged, swapped or forged between two sessions: told, set aside, done again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from system_files import CONFIG, audit_json, auditor, only_run, without_times

from auditor.cells.ledger import _sha256

ATTACKS = CONFIG.replace("samples = 4\n", 'samples = 4\n\n[[attack]]\nuse = "pgd"\nsteps = 3\n')


def unfinished(directory: Path) -> None:
    """As if the run had been killed before it wrote its result."""
    (directory / "audit.json").unlink()
    log = directory / "events.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"finished"' not in line), encoding="utf-8")


def cells(directory: Path) -> dict[str, Path]:
    """Files by the attack's name."""
    found = {}
    for line in (directory / "events.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if event["event"] == "cell":
            name = event["cell"].rpartition(" ")[2]
            found[name] = directory / "cells" / f"{event['key']}.safetensors"
    return found


def rewritten(file: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """The cell with other contents, signed anew as only a forger would."""
    with safe_open(file, "pt") as opened:
        proof = opened.metadata()
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(tensors)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    proof["sha256"] = _sha256(proof["key"], proof["cell"], tensors)
    save_file(tensors, file, metadata=proof)


def swap(found: dict[str, Path]) -> None:
    held = found["noise"].read_bytes()
    shutil.copy(found["fgsm"], found["noise"])
    found["fgsm"].write_bytes(held)


def flip(found: dict[str, Path]) -> None:
    content = bytearray(found["fgsm"].read_bytes())
    content[-9] ^= 1
    found["fgsm"].write_bytes(content)


def cut(found: dict[str, Path]) -> None:
    found["fgsm"].write_bytes(found["fgsm"].read_bytes()[:-100])


def shorten(found: dict[str, Path]) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        count = int(tensors["broken"][:5].sum())
        for name in tensors:
            tensors[name] = tensors[name][: count if name == "adversarial" else 5]

    rewritten(found["fgsm"], change)


def hide(found: dict[str, Path]) -> None:
    """Clean images in the place of the examples: a claim that no one could check."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["adversarial"] = torch.full_like(tensors["adversarial"], 0.4)

    rewritten(found["fgsm"], change)


def relabel(found: dict[str, Path]) -> None:
    """Examples that lie in the ball, of images that they do not belong to."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["adversarial"] = (tensors["adversarial"] + 0.02).clamp(0, 1)

    rewritten(found["fgsm"], change)


@pytest.mark.parametrize(("damage", "set_aside", "words"), [
    (swap, 2, "it is another cell's"),
    (flip, 1, "its contents have changed"),
    (cut, 1, "it cannot be read"),
    (shorten, 1, "it is about other images"),
    (hide, 1, "examples are not in the ball"),
    (relabel, 1, "examples are not in the ball"),
])  # fmt: skip
def test_a_cell_that_is_not_what_was_kept_is_told_and_computed_again(
    damage: Callable[[dict[str, Path]], None], set_aside: int, words: str, here: Path
) -> None:
    Path("audit.toml").write_text(ATTACKS, encoding="utf-8")
    assert auditor("run", "audit.toml")[0] == 0
    directory = only_run()
    expected = without_times(audit_json(directory))
    unfinished(directory)
    damage(cells(directory))
    status, said = auditor("run", "audit.toml")
    assert status == 0, said
    assert said.count("kept from before") == 3 - set_aside
    assert words in " ".join(said.split())
    assert len(list(directory.glob("cells/*.set-aside"))) == set_aside
    found = without_times(audit_json(directory))
    rows: list[dict[str, Any]] = found["models"][0]["threats"][0]["attacks"]
    assert sum(words in row["reason"] for row in rows) == set_aside
    for row in rows:
        row["reason"] = ""
    for row in expected["models"][0]["threats"][0]["attacks"]:
        row["reason"] = ""
    assert found == expected


def test_cells_of_a_model_that_is_never_right_are_kept(here: Path) -> None:
    source = Path("model.py").read_text(encoding="utf-8")
    Path("model.py").write_text(source.replace("10 / 12", "-10 / 12"), encoding="utf-8")
    assert auditor("run", "audit.toml")[0] == 0
    unfinished(only_run())
    status, said = auditor("run", "audit.toml")
    assert (status, said.count("kept from before")) == (0, 2), said
