"""Turns "file.py:callable" and a weights file into a victim, or says what is wrong with them."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.errors import LoadError, raised_at
from auditor.usercode import import_source

_SHOWN_KEYS = 4


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


def load_module(
    name: str, factory: Factory, kwargs: dict[str, Any], weights: Path | None
) -> nn.Module:
    """The user's model with its weights.

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
    if weights is not None:
        _load_weights(module, weights, where)
    _refuse_nonfinite(module, where)
    return module


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


def fingerprint(module: nn.Module, factory: Factory) -> str:
    """sha256 of the weights, the names of the module's classes, and the factory's source code."""
    digest = hashlib.sha256(repr([type(part).__name__ for part in module.modules()]).encode())
    for key, value in sorted(module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes())
    source = factory.source
    if isinstance(source, str):
        origin = getattr(sys.modules.get(source), "__file__", None)
        source = Path(origin) if origin else Path()
    if source.is_file():
        digest.update(source.read_bytes())
    return digest.hexdigest()


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


def _load_weights(module: nn.Module, weights: Path, where: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where = f"{where}, weights {weights.name}"
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        save = "safetensors.torch.save_file(model.state_dict(), path)"
        if _is_pickle(weights):
            why: object = "this is a file of torch.save, a pickle that could run code"
            remedy = f"where you trust it, load it with torch.load, and write it with {save}"
        else:
            why, remedy = error, f"write it with {save}"
        raise LoadError(
            f"The weights cannot be read: {why}.",
            where=where,
            expected="a .safetensors file",
            remedy=remedy,
        ) from None
    own = module.state_dict()
    faults = [
        ("missing", [key for key in own if key not in state]),
        ("unexpected", [key for key in state if key not in own]),
        (
            "of another shape",
            [
                f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
                for key in own
                if key in state and state[key].shape != own[key].shape
            ],
        ),
    ]
    wrong = [f"{kind}: {_some(keys)}" for kind, keys in faults if keys]
    if wrong:
        raise LoadError(
            f"The weights do not fit the model; {'; '.join(wrong)}.",
            where=where,
            expected="exactly the tensors of the model's state_dict()",
            remedy="check the factory's kwargs, and strip wrappers such as 'module.' from the keys",
        )
    module.load_state_dict(state)


def _is_pickle(path: Path) -> bool:
    """Whether a file looks like one of torch.save: a zip archive, or a bare pickle."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _some(keys: list[str]) -> str:
    more = len(keys) - _SHOWN_KEYS
    return ", ".join(keys[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _refuse_nonfinite(module: nn.Module, where: str) -> None:
    bad = [
        key
        for key, value in module.state_dict().items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not value.isfinite().all()
    ]
    if bad:
        raise LoadError(
            f"The model's weights hold NaN or infinity in {_some(bad)}.",
            where=where,
            expected="finite weights",
            remedy="go back to a checkpoint from before training diverged",
        )
