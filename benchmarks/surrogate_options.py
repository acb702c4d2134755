"""What each form and precision of a surrogate gains, torch.compile and CUDA graphs beside them.

Every option evaluates the same batch as an attack does, forwards alone and with a backward pass to
the images, in turns in this process; on the CPU on one thread, in CPU time. What is given is a
quotient to the model as it is, in float32. Nothing here decides anything: an audit measures forms
and precisions itself (`auditor.cells.tuning`), and uses neither torch.compile nor CUDA graphs.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from common import conditions, interleaved, options, record, table
from subjects import Counted, example, weights_hash
from torchvision.models import resnet18

from auditor.cells.tuning import choose_device, describe_device, make_repeatable
from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import FORMS, Form, SearchPrecision, Surrogate, agrees, in_form, naive

#: The batches that are measured, by device.
BATCHES = {
    "cpu": {"example CNN": (128,), "ResNet-18": (32,)},
    "cuda": {"example CNN": (512, 2048), "ResNet-18": (512, 2048)},
}
#: An option's forms and precisions; compiled ones are float32.
PRECISIONS: dict[str, tuple[SearchPrecision, ...]] = {
    "cpu": ("float32", "bfloat16"),
    "cuda": ("float32", "tf32", "bfloat16"),
}
COMPILED: dict[str, tuple[Form, ...]] = {"cpu": ("plain",), "cuda": ("plain", "folded")}
#: torch.compile's modes, and what the table calls them; CUDA graphs are one of them.
MODES = {
    "cpu": {"default": "compiled"},
    "cuda": {"default": "compiled", "reduce-overhead": "compiled, CUDA graphs"},
}
#: Evaluations before anything is timed: CUDA graphs are recorded in the second.
WARM_UP = 3
REFERENCE = "plain, float32"


@dataclass(frozen=True)
class Case:
    """A model and the images (B, C, H, W) that it is measured on."""

    name: str
    surrogate: Surrogate
    x: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.x.device

    def clock(self) -> float:
        """Seconds: of this process's CPU time, or, once the device has finished, of wall time."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def work(self, surrogate: Surrogate, *, gradient: bool) -> Callable[[int], None]:
        """One evaluation of the batch, as an attack makes it."""
        y = torch.zeros(len(self.x), dtype=torch.int64, device=self.device)
        objective = choose_objective("margin", 2)

        def evaluate(repeat: int) -> None:
            surrogate.evaluate(self.x, y, objective, gradient=gradient)

        return evaluate


@dataclass(frozen=True)
class Option:
    """A surrogate that is as good as the model, or nearly, and perhaps faster."""

    form: Form
    precision: SearchPrecision = "float32"
    mode: str | None = None

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.form}, {MODES['cuda'][self.mode] if self.mode else self.precision}"

    def of(self, surrogate: Surrogate) -> Surrogate:
        """The surrogate in this form and precision; compiled on its first evaluations."""
        other = in_form(surrogate, self.form).for_search(self.precision)
        if self.mode is None:
            return other
        module = other.model.module
        if module is surrogate.model.module:
            module = copy.deepcopy(module)
        compiled = torch.compile(module, mode=self.mode, dynamic=False)
        model = other.model.with_module(compiled)
        return Surrogate(f"{other.name}, compiled", model)


def options_on(device: torch.device) -> Iterator[Option]:
    """All of them, the reference first."""
    for precision in PRECISIONS[device.type]:
        for form in FORMS:
            yield Option(form, precision)
    for mode in MODES[device.type]:
        for form in COMPILED[device.type]:
            yield Option(form, mode=mode)


def cases(device: torch.device, sizes: set[int]) -> Iterator[Case]:
    """The models, in batches of the sizes for the device or, if there are any, of `sizes`."""
    subject = example("pgd-trained", 1000)
    module = subject.victim.module
    assert isinstance(module, Counted)
    contiguous = copy.deepcopy(module.module).to(memory_format=torch.contiguous_format)
    torch.manual_seed(0)
    untrained = resnet18(num_classes=10)
    models = [
        ("example CNN", "as it comes: channels-last", module.module, subject.block.x),
        ("example CNN", "contiguous weights", contiguous, subject.block.x),
        ("ResNet-18", "", untrained, torch.rand(64, 3, 32, 32)),
    ]
    for name, remark, model, images in models:
        victim = Victim(name, model, device=device)
        victim.seeded = False  # as pre-flight finds: the model draws no random numbers
        for size in sizes or BATCHES[device.type][name]:
            x = images[torch.arange(size) % len(images)].contiguous().to(device)
            yield Case(f"{name}, {remark}" if remark else name, naive(victim), x)


def measure(case: Case, repeats: int) -> list[list[str]]:
    """One row of the table per option."""
    found: dict[str, Surrogate] = {}
    notes: dict[str, tuple[str, str]] = {}
    for option in options_on(case.device):
        print(f"{case.name}, {len(case.x)} images: {option.name}", flush=True)
        begin = time.perf_counter()
        try:
            other = option.of(case.surrogate)
            for _ in range(WARM_UP if option.mode else 1):
                case.work(other, gradient=False)(0)
                case.work(other, gradient=True)(0)
            case.clock()  # the device has finished
            took = f"{time.perf_counter() - begin:.0f} s" if option.mode else ""
            same = agrees(case.surrogate, other, case.x)
            found[option.name], notes[option.name] = other, ("yes" if same else "no", took)
        except Exception as error:  # no compiler, no kernel, not enough memory: whatever it is
            notes[option.name] = (f"cannot be had: {type(error).__name__}", "")
    times = {}
    for gradient in (False, True):
        works = {name: case.work(other, gradient=gradient) for name, other in found.items()}
        times[gradient], _ = interleaved(works, repeats, case.clock)
    rows = []
    for name, (same, took) in notes.items():
        line = [case.name, str(len(case.x)), name]
        for gradient in (False, True):
            if name not in found:
                line += ["", ""]
                continue
            own, reference = times[gradient][name], times[gradient][REFERENCE]
            quotient = f"{min(reference) / min(own):.2f}"
            median = f"{statistics.median(reference) / statistics.median(own):.2f}"
            line += [f"{1000 * min(own) / len(case.x):.4f}", f"{quotient} ({median})"]
        rows.append([*line, same, took])
    return rows


HEADER = (
    "model", "batch", "option", "forward, ms per image", "times as fast",
    "forward + backward, ms per image", "times as fast", "agrees", "time to compile",
)  # fmt: skip


def main() -> None:
    """Measure, print, perhaps write."""
    parser = options((__doc__ or "").splitlines()[0], repeats=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (%(default)s)")
    parser.add_argument("--batch-size", type=int, nargs="*", default=[], help="in place of ours")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch._inductor.config.compile_threads = 1  # type: ignore[attr-defined]
    device = choose_device(args.device)
    make_repeatable(device)
    rows = []
    for case in cases(device, set(args.batch_size)):
        torch.compiler.reset()
        rows += measure(case, args.repeats)
    record("surrogate_options", _text(rows, args, device), write=args.write)


def _text(rows: list[list[str]], args: argparse.Namespace, device: torch.device) -> str:
    where = "" if device.type == "cpu" else f" Wall time on {describe_device(device)}."
    packages = ("robustness-auditor", "torch", "torchvision")
    return f"""## Forms and precisions of a surrogate

{conditions(packages, repeats=args.repeats)}{where} Weights of the example: pgd-trained \
{weights_hash("pgd-trained")}; ResNet-18 is torchvision's, with random weights, on images of 32×32.

{table(HEADER, rows)}

Times are minima; quotients are of minima, in brackets of medians, to the same model plain in \
float32. "Agrees": logits and gradients are the model's own within a thousandth of an image's \
largest. A form has to agree to be used; a coarser precision need not, for what it misses is \
attacked again. The time to compile is that of all graphs, forwards and backwards, on one thread.
"""


if __name__ == "__main__":
    main()
