"""The weights of a model from a file: safetensors, or a checkpoint of torch.save without code."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from auditor.errors import LoadError

_SHOWN_KEYS = 4
_SAVE = "safetensors.torch.save_file(model.state_dict(), path)"
#: What training wrappers put before every key.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
#: What averaging wrappers keep beside the weights.
_COUNTERS = ("n_averaged",)

State = Mapping[str, torch.Tensor]


def load_weights(module: nn.Module, file: Path, where: str) -> None:
    """Put the tensors of a .safetensors file into the model.

    Raises:
        LoadError: it cannot be read, or does not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where = f"{where}, weights {file.name}"
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        if is_pickle(file):
            why: object = "this is a file of torch.save, a pickle that could run code"
            remedy = (
                f'write checkpoint = "{file.name}" in its place, which is read without running '
                f"code; or load it where you trust it and write it with {_SAVE}"
            )
        else:
            why, remedy = error, f"write it with {_SAVE}"
        raise LoadError(
            f"The weights cannot be read: {why}.",
            where=where,
            expected="a .safetensors file",
            remedy=remedy,
        ) from None
    _put(module, state, where)


def load_checkpoint(module: nn.Module, file: Path, key: str | None, where: str) -> str:
    """Put the tensors of a file of torch.save into the model; no code in it is run.

    Args:
        key: which of several state dicts in the file; None where there is one.

    Returns:
        What was undone on the way, in words; empty if nothing.

    Raises:
        LoadError: it cannot be read without running code, or does not fit.
    """
    where = f"{where}, checkpoint {file.name}"
    found, name = _chosen(_read(file, where), key, where, module)
    state, prefix = _unwrapped(found, module)
    _put(module, state, where)
    undone = [f"the entry {name!r} was taken"] if name else []
    undone += [f"{prefix!r} was taken off its keys"] if prefix else []
    return f"Of the checkpoint {file.name}, {' and '.join(undone)}." if undone else ""


def is_pickle(path: Path) -> bool:
    """Whether a file looks like one of torch.save: a zip archive, or a bare pickle."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def some(keys: list[str]) -> str:
    """The first few of a list, in words."""
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _read(file: Path, where: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_pickle(file):
            raise _unreadable(file, where, error) from None
        raise LoadError(
            "The file holds more than tensors: reading it could run code.",
            where=where,
            expected="a state dict, or a dict of state dicts and numbers",
            remedy=f"where you trust it, load it with torch.load(..., weights_only=False), and "
            f"write it with {_SAVE}",
        ) from None
    except Exception as error:  # torch raises whatever its reader meets in a broken file
        raise _unreadable(file, where, error) from None


def _unreadable(file: Path, where: str, error: Exception) -> LoadError:
    why = "it is no file of torch.save" if not is_pickle(file) else f"{error}"
    return LoadError(
        f"The file cannot be read: {why}.",
        where=where,
        expected="a file of torch.save",
        remedy=f"a .safetensors file belongs after `weights`; or write it with {_SAVE}",
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(one, torch.Tensor) for one in value.values())
    )


def _chosen(content: Any, key: str | None, where: str, module: nn.Module) -> tuple[State, str]:
    """The state dict in a checkpoint, and its name there; empty where it is the whole."""
    # That of a quantised model holds more than tensors.
    own = isinstance(content, Mapping) and content.keys() == module.state_dict().keys()
    if key is None and (own or _is_state(content)):
        return content, ""
    inside = content if isinstance(content, Mapping) else {}
    states = {str(name): value for name, value in inside.items() if _is_state(value)}
    if key in states:
        return states[key], key
    if key is None and len(states) == 1:
        ((name, state),) = states.items()
        return state, name
    if key is not None:
        what = f"The checkpoint has no state dict called {key!r}."
    elif states:
        what = f"The checkpoint has several state dicts: {', '.join(states)}."
    else:
        what = "The checkpoint has no state dict."
    names = ", ".join(states) or some([str(name) for name in inside]) or type(content).__name__
    raise LoadError(
        what,
        where=where,
        expected="a dict of tensors, or one such dict in a dict",
        remedy=f'choose one: checkpoint_key = "{next(iter(states))}"'
        if states
        else f"the file has: {names}; save model.state_dict()",
    )


def _unwrapped(state: State, module: nn.Module) -> tuple[State, str]:
    """The state dict without what training wrappers put around it, and the prefix taken off."""
    own, taken = module.state_dict().keys(), ""
    state = {key: value for key, value in state.items() if key not in _COUNTERS or key in own}
    while not own & state.keys():
        prefix = next((p for p in _PREFIXES if state and all(k.startswith(p) for k in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        taken += prefix
    return state, taken


def kind_of(tensor: torch.Tensor) -> str:
    """How a tensor keeps its values: "dense", "sparse", "quantised", or "meta", not at all."""
    if tensor.is_meta:
        return "meta"
    if tensor.is_quantized:
        return "quantised"
    return "dense" if tensor.layout == torch.strided else "sparse"


def _put(module: nn.Module, state: State, where: str) -> None:
    own = module.state_dict()
    both = [
        (key, state[key], own[key])
        for key in own
        if isinstance(own[key], torch.Tensor)
        and isinstance(state.get(key), torch.Tensor)
        and not is_lazy(own[key])
    ]
    faults = [
        ("missing", [key for key in own if key not in state]),
        ("unexpected", [key for key in state if key not in own]),
        (
            "of another kind",
            [
                f"{key} is {kind_of(given)} instead of {kind_of(mine)}"
                for key, given, mine in both
                if kind_of(given) not in (kind_of(mine), "dense")
            ],
        ),
        (
            "of another shape",
            [
                f"{key} {tuple(given.shape)} instead of {tuple(mine.shape)}"
                for key, given, mine in both
                if given.shape != mine.shape
            ],
        ),
    ]
    wrong = [f"{kind}: {some(keys)}" for kind, keys in faults if keys]
    if wrong:
        odd = bool(faults[2][1])
        raise LoadError(
            f"The weights do not fit the model; {'; '.join(wrong)}.",
            where=where,
            expected="dense tensors with values, as in the model's state_dict()"
            if odd
            else "exactly the tensors of the model's state_dict()",
            remedy="save tensors with values: tensor.to_dense() of sparse ones, "
            "tensor.dequantize() of quantised ones, weights loaded before they are saved of meta "
            "ones; or let the factory make a model of such weights"
            if odd
            else "check `kwargs` in [[model]], such as num_classes, and strip wrappers such as "
            "'module.' from the keys",
        )
    try:
        module.load_state_dict(state)
    except Exception as error:  # a module may load in a way of its own
        raise LoadError(
            f"The model does not take the weights: {error}",
            where=where,
            expected="what load_state_dict() of the factory's model takes",
            remedy="load the file into the factory's model by itself and mend what it reports",
        ) from error
