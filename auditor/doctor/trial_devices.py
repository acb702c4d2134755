"""Trial: every device that torch sees computes, and is compared with the CPU in float64."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import torch
from torch import nn


def say(name: str, **what: Any) -> None:
    """A line for `auditor.doctor.trial`."""
    print(json.dumps({"trial": name, **what}), flush=True)


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


def main(arguments: list[str]) -> None:
    """Try every device that is not in `arguments`."""
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    devices = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    for device in devices:
        if device in arguments:
            continue
        say(device, begins=True)
        try:
            begin = time.perf_counter()
            apart = difference(device)
            seconds = time.perf_counter() - begin
            say(device, difference=apart, seconds=seconds, **describe(device))
        except BaseException as error:  # drivers may raise anything
            say(device, error=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
