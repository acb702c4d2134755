"""What the adapters share: packages that may be missing, and a model that they can call."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from auditor.api import LoadError, Surrogate

if TYPE_CHECKING:
    import torch


def needed(package: str, extra: str) -> Any:
    """A package that only some adapters need, imported.

    Raises:
        LoadError: it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise LoadError(
            f"The package {package} cannot be imported: {error}.",
            where="[[attack]]",
            expected=f"{package.partition('.')[0]}, whose attack this is",
            remedy=f"pip install 'robustness-auditor[{extra}]'",
        ) from None


def as_module(surrogate: Surrogate) -> torch.nn.Module:
    """The surrogate as a module in evaluation mode, in the type that it is called with."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return surrogate.scores(x)

    return Module().eval()
