"""Turns a factory or a loader, and perhaps weights, into a model; says what is wrong with them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from auditor.errors import LoadError
from auditor.subject.model_loader import ModelLoader
from auditor.subject.weights import load_checkpoint, load_weights, some
from auditor.usercode.calls import callable_in, import_source, raised_by_user_code
from auditor.usercode.neighbours import at_home
from auditor.usercode.reachable import code_hash


@dataclass(frozen=True)
class Factory:
    """Where a model comes from.

    Attributes:
        text: as written in the configuration, for messages.
        source: the file, or the name of the module.
        callable: the function in it.
    """

    text: str
    source: Path | str
    callable: str


@dataclass(frozen=True)
class Weights:
    """Files that a model's weights are read from, if any."""

    #: .safetensors
    file: Path | None = None
    #: of torch.save, and which of several state dicts in it.
    checkpoint: Path | None = None
    checkpoint_key: str | None = None


def load_module(
    name: str, factory: Factory, kwargs: dict[str, Any], weights: Weights
) -> tuple[nn.Module, tuple[str, ...]]:
    """The user's model with its weights, and what is to be said of how they were read.

    Raises:
        LoadError: anything about it is not as it should be.
    """
    where = f"model {name!r}, factory {factory.text}"
    source, make = _resolve(factory, where, name)
    _check_arguments(make, kwargs, where)
    with raised_by_user_code(where, "calling the factory"), at_home(source):
        module = make(**kwargs)
    if not isinstance(module, nn.Module):
        got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise LoadError(
            f"The factory returned {got}.",
            where=where,
            expected="a torch.nn.Module",
            remedy="return the model itself, not its class, output or state dict",
        )
    return module, _weighted(module, weights, where)


def load_with(
    name: str, loader: ModelLoader, weights: Weights, where: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The same for what a plugin's loader makes.

    Args:
        where: what the loader is called.

    Raises:
        LoadError: anything about it is not as it should be.
    """
    where = f"model {name!r}, {where}"
    remedy = "check the keys of [[model]]; if they are right, the loader is at fault"
    with raised_by_user_code(where, "the loader", "a model", remedy):
        module = loader.load()
    if not isinstance(module, nn.Module):
        raise LoadError(
            f"The loader returned {type(module).__name__}.",
            where=where,
            expected="a torch.nn.Module",
            remedy="tell the plugin's author",
        )
    remark = getattr(module, "remark", "")
    said = (remark,) if isinstance(remark, str) and remark else ()
    return module, (*said, *_weighted(module, weights, where))


def _weighted(module: nn.Module, weights: Weights, where: str) -> tuple[str, ...]:
    """Read the weights, and say what had to be undone for it."""
    undone = ""
    if weights.file is not None:
        load_weights(module, weights.file, where)
    if weights.checkpoint is not None:
        undone = load_checkpoint(module, weights.checkpoint, weights.checkpoint_key, where)
    _refuse_valueless(module, where)
    return (*((undone,) if undone else ()), *_said_of_lazy(module))


def load_stand_in(name: str, factory: Factory, model: nn.Module) -> nn.Module:
    """What the user's `bpda` makes of a copy of the model: a differentiable stand-in for it.

    Raises:
        LoadError: anything about it is not as it should be.
    """
    where = f"model {name!r}, bpda {factory.text}"
    source, make = _resolve(factory, where, name)
    with raised_by_user_code(where, "calling it with the model"), at_home(source):
        module = make(model)
    if not isinstance(module, nn.Module):
        raise LoadError(
            f"It returned {type(module).__name__}.",
            where=where,
            expected="a torch.nn.Module that takes the model's images and returns its scores",
            remedy="def surrogate(model): return a differentiable module like it",
        )
    return module


def fingerprint(module: nn.Module, sources: Iterable[Path | str]) -> str:
    """sha256 of the weights, the module's classes and plain attributes, and what it was made from.

    Args:
        sources: Python files and names of imported modules, with the code that they reach; other
            files, and folders (every file directly in them).
    """
    digest = hashlib.sha256()
    for name, part in module.named_modules():
        digest.update(f"{name} {type(part).__name__} {_settings(part)}\n".encode())
    for key, value in sorted(_tensors(module), key=lambda one: one[0]):
        for dense in _dense_parts(value):
            digest.update(f"{key} {tuple(dense.shape)} {dense.dtype}".encode())
            flat = dense.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    for source in sources:
        if isinstance(source, str) or source.suffix == ".py":
            digest.update(code_hash(source).encode())
            continue
        files = sorted(source.iterdir()) if source.is_dir() else [source]
        for file in files:
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


def _settings(part: nn.Module) -> list[tuple[str, str]]:
    """A module's own attributes that are plain values, but for the mode, which an audit sets."""
    found = ((key, _plain(value)) for key, value in vars(part).items() if key != "training")
    return sorted((key, text) for key, text in found if text is not None)


def _plain(value: object, depth: int = 3) -> str | None:
    """A value in words, if it is made of numbers, texts, arrays and containers of these."""
    if value is None or type(value) in (bool, int, float, complex, str, bytes):
        return repr(value)
    if isinstance(value, np.ndarray):
        kind = f"{value.dtype} {value.shape}"
        return None if value.dtype.hasobject else f"{kind} {value.tobytes().hex()}"
    if depth == 0 or isinstance(value, (nn.Module, type)):
        return None
    if isinstance(value, (tuple, list)):
        parts = [_plain(one, depth - 1) for one in value]
        return None if None in parts else f"{parts}"
    if not isinstance(value, dict):
        value = vars(value) if hasattr(value, "__dict__") and not callable(value) else None
    if not isinstance(value, dict):
        return None
    pairs = [(repr(key), _plain(one, depth - 1)) for key, one in value.items()]
    return None if any(one is None for _, one in pairs) else f"{sorted(pairs)}"


def _tensors(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The weights, packed ones too, and all other tensors that the module's parts hold."""
    named = {**module.state_dict(), **dict(module.named_buffers())}
    for name, part in module.named_modules():
        named |= {f"{name}.{key}": value for key, value in vars(part).items()
                  if isinstance(value, torch.Tensor)}  # fmt: skip
    yield from named.items()


def _dense_parts(value: Any) -> Iterator[torch.Tensor]:
    """What a value of a state dict consists of, as dense tensors."""
    if isinstance(value, tuple | list):  # packed weights
        for one in value:
            yield from _dense_parts(one)
    if not isinstance(value, torch.Tensor) or is_lazy(value):
        return
    if value.is_quantized:
        yield from (value.int_repr(), value.dequantize())
    elif value.layout != torch.strided:
        yield value.to_dense()
    else:
        yield value.resolve_conj().resolve_neg()


def _check_arguments(make: Callable[..., Any], kwargs: dict[str, Any], where: str) -> None:
    """Refuse `kwargs` that the factory does not take, or lacks."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some builtins have none; calling them will tell
        return
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        raise LoadError(
            f"The factory cannot be called with these kwargs: {error}.",
            where=f"{where}, [[model]] kwargs",
            expected=f"arguments of {make.__name__}{signature}",
            remedy="correct kwargs, or give the factory's arguments defaults",
        ) from None


def _resolve(factory: Factory, where: str, owner: str) -> tuple[ModuleType, Callable[..., Any]]:
    """The module and the function in it; each model has modules of its own."""
    with raised_by_user_code(where, "importing the factory's module"):
        module = import_source(factory.source, f"model {owner}", where)
    return module, callable_in(
        module, factory.callable, where, "a callable that returns a torch.nn.Module"
    )


def _refuse_valueless(module: nn.Module, where: str) -> None:
    """Weights that are nowhere, or not finite."""
    every = [*module.named_parameters(), *module.named_buffers()]
    nowhere = [key for key, value in every if value.is_meta]
    if nowhere:
        raise LoadError(
            f"The model has no values in {some(nowhere)}: they are on the device meta.",
            where=where,
            expected="weights with values",
            remedy="let the factory load them, or make it on the CPU and name a file in `weights` "
            "or `checkpoint`",
        )
    kept, learned = module.state_dict().keys(), {key for key, _ in module.named_parameters()}
    bad = [
        key
        for key, value in every
        if key in kept and not is_lazy(value) and not _finite(value, mask=key not in learned)
    ]
    if bad:
        raise LoadError(
            f"The model's weights hold NaN or infinity in {some(bad)}.",
            where=where,
            expected="finite weights",
            remedy="go back to a checkpoint from before training diverged",
        )


def _finite(value: torch.Tensor, *, mask: bool) -> bool:
    """Whether there is no NaN or infinity; a `mask` may hold negative infinity."""
    if value.is_quantized or not (value.is_floating_point() or value.is_complex()):
        return True
    dense = value if value.layout == torch.strided else value.to_dense()
    fine = dense.isfinite()
    if mask and not dense.is_complex():
        fine |= dense.isneginf()
    return bool(fine.all())


def _said_of_lazy(module: nn.Module) -> tuple[str, ...]:
    """That weights are still to be made, which the first images do."""
    lazy = [key for key, value in module.named_parameters() if is_lazy(value)]
    if not lazy:
        return ()
    return (
        f"Its factory left {some(lazy)} without values: they are made when the first images come, "
        "at random where the layers draw them.",
    )
