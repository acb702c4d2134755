"""Classifiers of timm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.api import import_extra, model_loader, param

from .architectures import known, without

if TYPE_CHECKING:
    from torch import nn


_WHERE = 'loader = "timm"'


@model_loader(name="timm")
@dataclass(frozen=True, kw_only=True)
class Timm:
    """An architecture of timm by name; its weights come from `weights` or `checkpoint`.

    Nothing is downloaded. The library's models want normalised images: write `normalize` with what
    `timm.data.resolve_data_config` says of the model.
    """

    architecture: str = param(doc="its name, such as convnext_tiny; a tag after a dot is ignored")
    kwargs: dict[str, Any] | None = param(None, "its arguments, such as num_classes")

    def load(self) -> nn.Module:
        """The architecture with the library's own initial weights."""
        timm = import_extra("timm", "timm", _WHERE)
        architecture = self.architecture.partition(".")[0]
        known(architecture, timm.list_models(), "timm")
        kwargs = without(self.kwargs, "pretrained")
        module: nn.Module = timm.create_model(architecture, pretrained=False, **kwargs)
        return module
