"""What the engine costs beside the model's own passes, and what dropping fooled images saves.

The engine's share is the time of `Pool.run` less the time inside the model's forward passes (the
surrogate's and the verifier's) and inside `torch.autograd.grad`.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from common import conditions, interleaved, options, ratios, record, table
from subjects import Counted, Subject, example, plain_loop, weights_hash
from torch import nn
from torchvision.models import resnet18

from auditor.attacking.pool import Block
from auditor.subject.victim import Victim

EPSILONS = {"linf": {"8/255": 8 / 255, "0.1": 0.1}, "l2": {"1.5": 1.5}, "l1": {"12": 12.0}}
#: The requirements: the engine's largest share, in percent.
CNN_LIMIT, RESNET_LIMIT = 10.0, 3.0


class Timed(nn.Module):
    """A model with a clock on its forward passes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.seconds = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The model's logits."""
        begin = time.process_time()
        z: torch.Tensor = self.module(x)
        self.seconds += time.process_time() - begin
        return z


@contextlib.contextmanager
def timed_gradients(clock: Timed) -> Iterator[None]:
    """Let `clock` run during backward passes too."""
    grad = torch.autograd.grad

    def timed(*args: Any, **kwargs: Any) -> Any:
        begin = time.process_time()
        try:
            return grad(*args, **kwargs)
        finally:
            clock.seconds += time.process_time() - begin

    torch.autograd.grad = timed
    try:
        yield
    finally:
        torch.autograd.grad = grad


@dataclass(frozen=True)
class Case:
    """One attack whose overhead is measured."""

    subject: Subject
    norm: str
    epsilon: float
    text: str
    steps: int
    batch_size: int

    @cached_property
    def clock(self) -> Timed:
        """The clock in the subject's model."""
        victim = self.subject.victim
        if not isinstance(victim.module, Timed):
            victim.module = Timed(victim.module)
        return victim.module

    def share(self, seed: int) -> tuple[float, float, float]:
        """Seconds in all, seconds in the model, fraction of images broken."""
        pool = self.subject.pool(
            {"steps": self.steps}, self.norm, self.epsilon, self.batch_size, seed
        )
        self.clock.seconds, begin = 0.0, time.process_time()
        with timed_gradients(self.clock):
            outcome = pool.run(self.subject.block)
        return (
            time.process_time() - begin, self.clock.seconds, float(outcome.broken.double().mean()),
        )  # fmt: skip


def resnet(images: int) -> Subject:
    """ResNet-18 for 32×32 images, untrained; the labels are its own answers."""
    torch.manual_seed(0)
    module = resnet18(num_classes=10)
    module.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    module.maxpool = nn.Identity()
    victim = Victim("ResNet-18", module)
    victim.seeded = False  # as pre-flight finds: the model draws no random numbers
    x = torch.rand(images, 3, 32, 32)
    with torch.no_grad():
        y = victim.logits(x).argmax(1)
    return Subject(victim, Block(x, y, torch.arange(images)), images)


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """Every attack to measure: linf first, on which the requirements are."""
    for name in ("pgd-trained", "baseline"):
        subject = example(name, args.images)
        for norm, epsilons in EPSILONS.items():
            for text, epsilon in epsilons.items():
                yield Case(subject, norm, epsilon, text, 40, 128)
    # So small an epsilon that no image falls: all of them stay to the last step.
    subject = resnet(args.resnet_images)
    for norm in EPSILONS:
        yield Case(subject, norm, 1e-6, "1e-6", args.resnet_steps, args.resnet_images)


def overhead(args: argparse.Namespace) -> str:
    """The table of the engine's shares."""
    rows, held = [], []
    for case in cases(args):
        _, answers = interleaved({"": case.share}, args.repeats)
        found = answers[""]
        shares = [100 * (1 - model / total) for total, model, _ in found]
        limit = RESNET_LIMIT if case.subject.victim.name == "ResNet-18" else CNN_LIMIT
        share = statistics.median(shares)
        verdict = "" if case.norm != "linf" else "yes" if share < limit else "NO"
        held.append(verdict != "NO")
        rows.append(
            [case.subject.victim.name, case.norm, case.text, f"{found[0][2]:.0%}",
             f"{case.steps}", f"{case.batch_size}",
             f"{share:.1f} % ({min(shares):.1f} to {max(shares):.1f})",
             f"{limit:g} %" if verdict else "", verdict]
        )  # fmt: skip
    header = ("model", "norm", "epsilon", "broken", "steps", "batch",
              "engine's share, median (range)", "limit", "holds")  # fmt: skip
    summary = "Every requirement holds." if all(held) else "A REQUIREMENT DOES NOT HOLD."
    return f"{table(header, rows)}\n\n{summary}"


def savings(args: argparse.Namespace) -> str:
    """The table of what the pool saves against the same PGD that never drops an image."""
    rows = []
    for name in ("baseline", "pgd-trained"):
        subject = example(name, args.images)
        counted = subject.victim.module
        assert isinstance(counted, Counted)
        for text, epsilon in EPSILONS["linf"].items():
            pool = subject.pool({"steps": 40}, "linf", epsilon, 128)

            def engine(_: int, pool=pool, block=subject.block, counted=counted) -> int:
                pool.run(block)
                return sum(counted.passes())

            def loop(_: int, pool=pool, block=subject.block, counted=counted) -> int:
                plain_loop(pool, block)
                return sum(counted.passes())

            seconds, passes = interleaved({"pool": engine, "loop": loop}, args.repeats)
            rows.append(
                [name, text, f"{passes['pool'][0]:,}", f"{passes['loop'][0]:,}",
                 f"{passes['pool'][0] / passes['loop'][0]:.2f}",
                 ratios(seconds["pool"], seconds["loop"])]
            )  # fmt: skip
    header = (
        "model",
        "epsilon",
        "passes, pool",
        "passes, plain loop",
        "ratio",
        "time, pool / loop",
    )
    return table(header, rows)


def main() -> None:
    """Measure, print, perhaps write."""
    parser = options(__doc__, repeats=5)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--resnet-images", type=int, default=32)
    parser.add_argument("--resnet-steps", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = ", ".join(f"{name} {weights_hash(name)}" for name in ("pgd-trained", "baseline"))
    text = "\n\n".join(
        [
            "## The engine's own time",
            conditions(("robustness-auditor", "torch", "torchvision"), repeats=args.repeats)
            + f" {args.images} images of Fashion-MNIST, weights {weights}.",
            overhead(args),
            "The share is everything but the model's forward and backward passes: the attack's own "
            "arithmetic, random numbers, bookkeeping, the verifier's checks of box, ball and 8-bit "
            "image. The fewer images survive, the larger it is, for the passes are saved.",
            "### What dropping fooled images and refilling saves",
            "PGD-40, l-infinity, batches of 128, against the same attack without the engine, "
            "which takes every step with every image and verifies nothing.",
            savings(args),
        ]
    )
    record("engine_overhead", text, write=args.write)


if __name__ == "__main__":
    main()
