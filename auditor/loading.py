"""Turns a factory or a loader, and perhaps weights, into a model; says what is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from auditor.errors import LoadError, raised_at
from auditor.loaders import ModelLoader
from auditor.usercode import import_source
from auditor.weights import load_checkpoint, load_weights, some


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
    make = _resolve(factory, where)
    _check_arguments(make, kwargs, where)
    with _blaming_user_code(where, "calling the factory raised"):
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
    try:
        module = loader.load()
    except (KeyboardInterrupt, LoadError):
        raise
    except BaseException as error:  # a loader is a plugin, and may raise anything
        raise LoadError(
            f"The loader raised {type(error).__name__}: {error}",
            where=where,
            expected="a model",
            remedy="check the keys of [[model]]; if they are right, the loader is at fault",
        ) from error
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
    make = _resolve(factory, where)
    with _blaming_user_code(where, "calling it with the model raised"):
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
    """sha256 of the weights, the names of the module's classes, and what it was made from.

    Args:
        sources: files, folders (every file directly in them) and names of imported modules.
    """
    digest = hashlib.sha256(repr([type(part).__name__ for part in module.modules()]).encode())
    for key, value in sorted(module.state_dict().items()):
        for part in _dense_parts(value):
            digest.update(f"{key} {tuple(part.shape)} {part.dtype}".encode())
            flat = part.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    for source in sources:
        if isinstance(source, str):
            origin = getattr(sys.modules.get(source), "__file__", None)
            source = Path(origin) if origin else Path(source)
        files = sorted(source.iterdir()) if source.is_dir() else [source]
        for file in files:
            if file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


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


def _resolve(factory: Factory, where: str) -> Callable[..., Any]:
    with _blaming_user_code(where, "importing the factory's module raised"):
        module = import_source(factory.source)
    make = getattr(module, factory.callable, None)
    if not callable(make):
        offered = sorted(
            key
            for key, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", None) == module.__name__
        )
        raise LoadError(
            f"There is no function called {factory.callable!r}.",
            where=where,
            expected="a callable that returns a torch.nn.Module",
            remedy=f"the module has: {', '.join(offered)}" if offered else "define it there",
        )
    return make  # type: ignore[no-any-return]


@contextlib.contextmanager
def _blaming_user_code(where: str, what: str) -> Iterator[None]:
    """Turn any error of the user's code into one that shows its last line."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code may raise anything, SystemExit included
        place = raised_at(error)
        raise LoadError(
            f"{what[0].upper()}{what[1:]} {type(error).__name__}: {error}",
            where=f"{where}, raised at {place}" if place else where,
            expected="a model without an error",
            remedy="run the factory by itself in Python and mend what it reports",
        ) from error


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
