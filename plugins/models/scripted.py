"""TorchScript archives."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.api import FilePath, LoadError, model_loader, param

if TYPE_CHECKING:
    from torch import nn


@model_loader(name="torchscript")
@dataclass(frozen=True, kw_only=True)
class TorchScript:
    """An archive of `torch.jit.save`.

    Such an archive holds a program: name only files that you trust. It is differentiated as it is,
    and the operation trace cannot see into it: where a gradient is masked, the verdict has no line.
    """

    path: FilePath = param(doc="the file, relative to audit.toml")

    def load(self) -> nn.Module:
        """The scripted or traced module."""
        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that torch.export is to be preferred
                module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
                    self.path, map_location="cpu"
                )
        except Exception as error:  # whatever its reader meets in a file of another kind
            raise LoadError(
                f"The file cannot be read: {str(error).strip().splitlines()[0]}",
                where=self.path,
                expected="an archive of torch.jit.save",
                remedy='a .pt2 file is read with loader = "torch-export"; a state dict belongs '
                "after `checkpoint`, beside a factory",
            ) from None
        return module
