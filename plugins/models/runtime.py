"""A module that asks onnxruntime."""

from __future__ import annotations

from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn


class OnnxRuntime(nn.Module):
    """Answers of onnxruntime on the CPU, without a gradient.

    Args:
        path: of the ONNX file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __deepcopy__(self, memo: dict[int, Any]) -> OnnxRuntime:
        """Itself: a session has no state, and cannot be copied."""
        return self

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The graph's output for (B, C, H, W), or a tuple of several."""
        pixels = x.detach().float().cpu().numpy()
        found = self._session.run(None, {self._input: pixels})
        outputs = tuple(torch.from_numpy(one).to(x.device) for one in found)
        return outputs[0] if len(outputs) == 1 else outputs
