"""Trial: every device that torch sees computes, and is compared with the CPU in float64."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from auditor.doctor.trial import Attempt


def computed(device: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Scores of a small network, and the gradient at its input, as float64 on the CPU."""
    torch.manual_seed(0)
    x, kernel, matrix = (
        torch.randn(size, dtype=torch.float64).to(dtype).to(device)
        for size in ((16, 3, 16, 16), (8, 3, 3, 3), (8 * 14 * 14, 10))
    )
    x.requires_grad_()
    z = nn.functional.conv2d(x, kernel).relu().flatten(1) @ matrix
    (gradient,) = torch.autograd.grad(z.logsumexp(1).sum(), x)
    return [part.detach().cpu().double() for part in (z, gradient)]


def difference(device: str) -> float:
    """The largest difference from float64 on the CPU, relative to the range of the values."""
    here, right = computed(device, torch.float32), computed("cpu", torch.float64)
    apart = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(here, right, strict=True)]
    return max(apart)


def describe(device: str) -> dict[str, Any]:
    """Its make and memory, in bytes."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return {"make": torch.cuda.get_device_name(device), "memory": total, "free": free}
    if device == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        build = torch.version.cuda or torch.version.hip or ""
        return {"make": f"{cores} cores", "build": build}
    return {"make": ""}


def attempts(arguments: Sequence[str]) -> Iterator[Attempt]:
    """Every device."""
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    return ((device, partial(computes, device)) for device in devices)


def computes(device: str) -> dict[str, Any]:
    """How far off it is, and how long it took."""
    begin = time.perf_counter()
    apart = difference(device)
    seconds = time.perf_counter() - begin
    return {"difference": apart, "seconds": seconds, **describe(device)}
