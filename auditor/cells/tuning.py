"""Chooses device, threads and batch size, by measuring where the user leaves it open."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable

import torch
from torch import nn

from auditor.errors import LoadError, raised_at, told
from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import (
    FORMS,
    Form,
    SearchPrecision,
    Surrogate,
    agrees,
    in_form,
    naive,
)

_BATCH_SIZES = (32, 64, 128, 256, 512)
#: A device with many cores is not full before.
_GPU_BATCH_SIZES = (*_BATCH_SIZES, 1024, 2048)
#: How many images are needed to measure them.
MEASURED_IMAGES = {"cpu": _BATCH_SIZES[-1], "cuda": _GPU_BATCH_SIZES[-1]}
_REPEATS = 3
#: What doubling the threads has to gain.
_WORTH_IT = 1.4
#: What a coarser precision has to gain, for what it misses is attacked again.
_WORTH_COARSER = 1.3
#: What another form of the model has to gain: more than the noise of measuring.
_WORTH_ANOTHER_FORM = 1.15
#: Images that forms are measured on, and precisions on a CPU.
_PROBES, _FEW_PROBES = 32, 4
#: Characters of what an error says that are told.
_LONGEST = 200
#: A smaller batch is preferred when it costs at most this much more per image: images that fall
#: early then leave less of the batch empty.
_TOLERANCE = 1.05


class Left:
    """Other ways to compute a model that were left because they raised."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, what: str, error: Exception) -> None:
        """Keep for the report that `what` raised this."""
        text, place = f"{what}: {told(error)}".splitlines()[0][:_LONGEST], raised_at(error)
        self.told.append(f"{text} (at {place})" if place else text)

    def unless(
        self, own: Surrogate, make: Callable[[], Surrogate], x: torch.Tensor, what: str
    ) -> Surrogate:
        """What `make` makes if it runs on images `x`, one of them and many; else `own`.

        User code runs here in ways it was not written for, and may raise anything.
        """
        try:
            other = make()
            if other is not own:
                for part in (x[:1], x[:_PROBES]):
                    _evaluation(other, part, gradient=True)()
        except Exception as error:
            self.tell(what, error)
            return own
        return other


def choose_device(text: str) -> torch.device:
    """The device that "auto", "cpu", "cuda", "cuda:1" or "mps" means.

    Raises:
        LoadError: there is no such device here.
    """
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = "cuda:0" if text == "cuda" else text
    if name not in _devices():
        raise LoadError(f"There is no device {text!r} here.", where="[run] device",
                        expected=f"one of: {', '.join(_devices())}",
                        remedy='use device = "auto", or install a torch build for it')  # fmt: skip
    return torch.device(text)


def _devices() -> list[str]:
    cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def describe_device(device: torch.device) -> str:
    """The device with its make, for the report."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)


def make_repeatable(device: torch.device) -> None:
    """Full float32 and no choice of algorithm by timing: the same input gives the same output."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """The shortest of some repetitions, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begin)
    return best


def _attack_step(surrogate: Surrogate, x: torch.Tensor) -> Callable[[], object]:
    """One forward and, where there is a gradient, backward pass of `x`: what attacks cost."""
    try:
        _evaluation(surrogate, x[:1], gradient=True)()
        gradient = True
    except Exception:  # pre-flight says what is wrong with it
        gradient = False
    return _evaluation(surrogate, x, gradient=gradient)


def _evaluation(surrogate: Surrogate, x: torch.Tensor, *, gradient: bool) -> Callable[[], object]:
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    objective = choose_objective("margin", 2)
    return lambda: surrogate.evaluate(x, y, objective, gradient=gradient)


def measure_threads(victim: Victim, x: torch.Tensor) -> int:
    """The largest number of CPU threads that still pays on an attack step on `x`; it is then set.

    Threads that hardly help are not free: where another program wants the same cores, those that
    wait for each other are many times slower than one.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    counts = sorted({1 << k for k in range(8) if 1 << k <= cores} | {cores})
    step = _attack_step(naive(victim), x)

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        return _seconds(step, victim.device)

    threads, before = counts[0], seconds(counts[0])
    for more in counts[1:]:
        now = seconds(more)
        if before / now < _WORTH_IT ** math.log2(more / threads):
            break
        threads, before = more, now
    torch.set_num_threads(threads)
    return threads


def measure_batch_size(victim: Victim, x: torch.Tensor) -> int:
    """The batch size with which an attack step costs least per image of `x`, its upper limit."""
    choices = _BATCH_SIZES if victim.device.type == "cpu" else _GPU_BATCH_SIZES
    sizes = [size for size in choices if size <= len(x)] or [max(1, len(x))]
    return _smallest_good(
        sizes, lambda size: _seconds(_attack_step(naive(victim), x[:size]), victim.device) / size
    )


def measure_form(surrogate: Surrogate, x: torch.Tensor, left: Left | None = None) -> Form:
    """The form in which an attack step on `x` is fastest; "plain" unless another clearly wins.

    Only forms with the model's own logits and gradients count.
    """
    if surrogate.model.types != (torch.float32,) or not _has_convolutions(surrogate.model):
        return "plain"
    x = x[:_PROBES]
    costs = {form: _form_seconds(surrogate, form, x, left or Left()) for form in FORMS}
    best = min(costs, key=lambda form: costs[form])
    return best if costs[best] * _WORTH_ANOTHER_FORM <= costs["plain"] else "plain"


def _has_convolutions(victim: Victim) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in victim.module.modules())


def _form_seconds(surrogate: Surrogate, form: Form, x: torch.Tensor, left: Left) -> float:
    """Seconds of an attack step; infinite where the form cannot be had or is not the model's own.

    User code runs here in ways it was not written for, and may raise anything.
    """
    try:
        other = in_form(surrogate, form)
        if form != "plain" and not agrees(surrogate, other, x):
            return math.inf
        return _seconds(_attack_step(other, x), x.device)
    except Exception as error:
        left.tell(f"the form {form}", error)
        return math.inf


def measure_search_precision(
    surrogate: Surrogate, x: torch.Tensor, left: Left | None = None
) -> SearchPrecision:
    """The fastest precision for an attack step on `x`; float32 unless another clearly wins."""
    if surrogate.model.types != (torch.float32,):
        return "float32"
    # A CPU without such arithmetic takes a hundred times as long: few images tell as much.
    x = x[:_FEW_PROBES] if x.device.type == "cpu" else x
    choices: tuple[SearchPrecision, ...] = ("float32", "bfloat16")
    if x.device.type == "cuda":
        choices = ("float32", "tf32", "bfloat16")
    costs = {choice: _precision_seconds(surrogate, choice, x, left or Left()) for choice in choices}
    best = min(costs, key=lambda choice: costs[choice])
    return best if costs[best] * _WORTH_COARSER <= costs["float32"] else "float32"


def _precision_seconds(
    surrogate: Surrogate, precision: SearchPrecision, x: torch.Tensor, left: Left
) -> float:
    """Seconds of an attack step; infinite where the model cannot run there, or not backwards."""
    try:
        step = _evaluation(surrogate.for_search(precision), x, gradient=True)
        return _seconds(step, x.device)
    except Exception as error:  # as above
        left.tell(f"{precision}, to search", error)
        return math.inf


def _smallest_good(choices: Iterable[int], cost: Callable[[int], float]) -> int:
    """The smallest choice that costs hardly more than the cheapest."""
    costs = {choice: cost(choice) for choice in choices}
    cheapest = min(costs.values())
    return min(choice for choice, value in costs.items() if value <= cheapest * _TOLERANCE)
