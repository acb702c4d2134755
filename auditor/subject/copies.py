"""Copies of a user's module, and of its state."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def put_back(module: torch.nn.Module) -> Iterator[list[str]]:
    """Parameters and buffers are afterwards as they were; the list names then what had changed."""
    before = {name: value.clone() for name, value in _state(module).items()}
    changed: list[str] = []
    try:
        yield changed
    finally:
        after = _state(module)
        changed += [name for name, value in before.items() if not _same(value, after.get(name))]
        with torch.no_grad():
            for name in changed:
                if name in after and after[name].shape == before[name].shape:
                    after[name].copy_(before[name])


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    every = {**module.state_dict(), **dict(module.named_buffers())}
    return {name: one.detach() for name, one in every.items() if isinstance(one, torch.Tensor)}


def _same(first: torch.Tensor, second: torch.Tensor | None) -> bool:
    """Whether a tensor of the state, of whatever kind, is as it was; NaN is NaN."""
    if second is None or any(
        getattr(first, one) != getattr(second, one) for one in ("layout", "shape", "dtype")
    ):
        return False
    if first.layout != torch.strided:
        first, second = first.to_dense(), second.to_dense()
    same = first.equal(second)
    if same or not first.is_floating_point():
        return same
    return torch.allclose(first.double(), second.double(), rtol=0, atol=0, equal_nan=True)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _tensors(one)
