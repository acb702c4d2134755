"""Weights that do not belong to the model, or are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class BrokenWeights:
    """Writes the file that [[model]] names."""

    write: Callable[[Path, State], None]
    file: str = "weights.safetensors"
    exit_status: int = 4


def _saving(change: Callable[[State], State]) -> BrokenWeights:
    return BrokenWeights(lambda path, state: save_file(change(state), path))


def _nan(state: State) -> State:
    state["linear.weight"][0, 0] = torch.nan
    return state


def _half(path: Path, state: State) -> None:
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:200])


def _several_ways(state: State) -> State:
    weight = state.pop("linear.weight")
    return {**state, "model.linear.weight": weight, "linear.bias": torch.zeros(10)}


def _renamed(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


BROKEN_WEIGHTS: dict[str, BrokenWeights] = {
    "weights-missing-key": _saving(lambda state: {"linear.weight": state["linear.weight"]}),
    "weights-unexpected-key": _saving(lambda state: {**state, "extra": torch.zeros(1)}),
    "weights-other-shape": _saving(lambda state: {**state, "linear.bias": torch.zeros(10)}),
    "weights-of-a-wrapper": _saving(_renamed),
    "weights-wrong-in-several-ways": _saving(_several_ways),
    "weights-with-nan": _saving(_nan),
    "weights-truncated": BrokenWeights(_half),
    "weights-empty-file": BrokenWeights(lambda path, state: path.touch()),
    "weights-text": BrokenWeights(lambda path, state: path.write_text("w = 3\n") and None),
    "weights-renamed-pickle": BrokenWeights(lambda path, state: torch.save(state, path)),
    "weights-pickle": BrokenWeights(
        lambda path, state: torch.save(state, path), file="weights.pt", exit_status=2
    ),
    "weights-missing-file": BrokenWeights(lambda path, state: None, exit_status=2),
}
