"""Classifiers of torchvision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.api import model_loader, param

from .architectures import known, without

if TYPE_CHECKING:
    from torch import nn


@model_loader(name="torchvision")
@dataclass(frozen=True, kw_only=True)
class Torchvision:
    """An architecture of torchvision by name; its weights come from `weights` or `checkpoint`.

    Nothing is downloaded. The library's models want normalised images: write `normalize`.
    """

    architecture: str = param(doc="its name, such as resnet50")
    kwargs: dict[str, Any] | None = param(None, "its arguments, such as num_classes")

    def load(self) -> nn.Module:
        """The architecture with the library's own initial weights."""
        from torchvision import models

        known(self.architecture, models.list_models(module=models), "torchvision")
        kwargs = without(self.kwargs, "weights")
        module: nn.Module = models.get_model(self.architecture, weights=None, **kwargs)
        return module
