"""Programs of torch.export."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.api import FilePath, LoadError, model_loader, param

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram


@model_loader(name="torch-export")
@dataclass(frozen=True, kw_only=True)
class TorchExport:
    """A .pt2 file of `torch.export.save`, differentiated as it is.

    torch reads parts of such a file with pickle: name only files that you trust. Whether layers
    behave as in training was decided when the model was exported. A program for one size of a
    batch is asked in batches of that size, which is slower than one with a dynamic batch.
    """

    path: FilePath = param(doc="the file, relative to audit.toml")

    def load(self) -> nn.Module:
        """The program as a module."""
        from .batches import AnyBatch
        from .frozen import Frozen

        program = self._read()
        least, most = _batch(program, self.path)
        return AnyBatch(Frozen(program.module()), least, most)

    def _read(self) -> ExportedProgram:
        import torch

        logger = logging.getLogger("torch.export")
        before = logger.disabled
        logger.disabled = True  # of a broken file it prints a traceback
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own, of its buffers
                return torch.export.load(self.path)
        except Exception as error:  # whatever its readers meet in a file of another kind
            raise LoadError(
                f"The file cannot be read: {type(error).__name__}: {error}",
                where=self.path,
                expected="a file of torch.export.save",
                remedy="export the model again with this version of torch; TorchScript archives "
                'are read with loader = "torchscript"',
            ) from None
        finally:
            logger.disabled = before


def _batch(program: ExportedProgram, path: str) -> tuple[int, int | None]:
    """The smallest and the largest batch that the program takes."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1 or getattr(inputs[0], "dim", lambda: 0)() != 4:
        raise LoadError(
            f"The program takes {len(names)} arguments.",
            where=path,
            expected="one argument, images (B, C, H, W)",
            remedy="export a module whose forward takes images alone",
        )
    size: Any = inputs[0].shape[0]
    if isinstance(size, int):
        return size, size
    allowed = program.range_constraints.get(size.node.expr)
    if allowed is None:
        return 1, None
    finite = allowed.upper.is_finite and int(allowed.upper) < 2**31
    return max(int(allowed.lower), 1), int(allowed.upper) if finite else None
