"""Devices: each one computes, and agrees with the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from auditor.doctor.proof import Proof
from auditor.doctor.trial import Tried, run_trial

AREA = "Devices"
_TIMEOUT = 300.0
#: Far above what float32 rounds away, far below what changes a prediction.
_TOLERANCE = 1e-3
_GIB = 2**30


def devices() -> Iterator[Proof]:
    """A forward and a backward pass on every device, compared with float64 on the CPU."""
    tried = list(run_trial("trial_devices.py", timeout=_TIMEOUT))
    for one in tried:
        yield _proof(one)
    cpu = next((one for one in tried if one.name == "cpu" and not one.error), None)
    unseen = not any(one.name.startswith("cuda") for one in tried)
    if cpu is not None and unseen and shutil.which("nvidia-smi"):
        yield _unseen(str(cpu.said.get("build", "")))


def _proof(tried: Tried) -> Proof:
    name = tried.name or "torch"
    remedy = (
        f'leave it out with device = "cpu" in [run], or mend its driver; {name} needs a build of '
        "torch for it (pytorch.org says which)"
        if name not in ("cpu", "torch")
        else "install torch again, in a build for this machine (pytorch.org says which)"
    )
    expected = "a forward and a backward pass that agree with float64 on the CPU"
    if tried.error:
        text = " ".join(tried.error.split())
        return Proof(
            AREA, "failed", f"{name} cannot compute: {text}", expected=expected, remedy=remedy
        )
    apart = float(tried.said["difference"])
    if not apart <= _TOLERANCE:  # NaN is no agreement
        return Proof(
            AREA,
            "failed",
            f"{name} computes something else than the CPU: {apart:.2g} of the values' range.",
            expected=expected,
            remedy=remedy,
        )
    make = f" ({tried.said['make']})" if tried.said.get("make") else ""
    memory = tried.said.get("memory")
    room = f"; {tried.said['free'] / _GIB:.1f} of {memory / _GIB:.1f} GiB free" if memory else ""
    return Proof(AREA, "ok", f"{name}{make} computes, within {apart:.0e} of float64{room}")


def _unseen(build: str) -> Proof:
    """An NVIDIA driver whose devices torch does not see."""
    why = f"its build is for CUDA {build}" if build else "its build is for the CPU alone"
    return Proof(
        AREA,
        "warning",
        f"An NVIDIA driver is installed and torch sees no CUDA device: {why}.",
        expected="torch.cuda.is_available()",
        remedy="see whether nvidia-smi lists a device and which CUDA version the driver supports; "
        "then install the torch build for it (pytorch.org says which)",
    )
