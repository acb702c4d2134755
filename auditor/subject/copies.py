"""Copies of a user's module."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch


def duplicate(module: torch.nn.Module) -> torch.nn.Module:
    """A deep copy. What the module keeps of a pass is copied without its graph.

    `copy.deepcopy` alone refuses tensors that are part of a graph, and a model may well keep its
    last features.

    Raises:
        Exception: whatever `copy.deepcopy` raises on a module that holds what cannot be copied.
    """
    memo: dict[int, Any] = {
        id(tensor): tensor.detach().clone()
        for part in module.modules()
        for tensor in _tensors(vars(part))
        if not tensor.is_leaf
    }
    return copy.deepcopy(module, memo)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _tensors(one)
