"""Trial: imports each of the modules that are named, one after another, into one process."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auditor.doctor.trial import Attempt


def attempts(arguments: Sequence[str]) -> Iterator[Attempt]:
    """Every module."""
    return ((name, partial(imported, name)) for name in arguments)


def imported(name: str) -> dict[str, str]:
    """Import a module, of torchvision an operator too; the version it says it has."""
    module = importlib.import_module(name)
    if name == "torchvision":  # compiled for one version of torch, and of no use with another
        import torch

        box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        assert module.ops.nms(box, torch.ones(1), 0.5).tolist() == [0]
    return {"version": str(getattr(module, "__version__", ""))}
