"""Composites of the tests, and one way to run them: the one that production uses."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from core_models import NORM, linear_victim, run_attack
from core_pool import toy

from auditor.attacking.outcome import Block, Outcome
from auditor.attacking.setup import Setup
from auditor.attacking.stages import Log, attack_block
from auditor.attacking.verify import Verifier
from auditor.cells.sampling import sampled
from auditor.protocols.attack import State, spec_of
from auditor.protocols.composite import Brief, Situation, Stage, Standing
from auditor.results import SampleEvidence
from auditor.subject.victim import Victim
from auditor.surrogate import Surrogate, naive


def bright_from(mean: float) -> Victim:
    """Answers 0, and from that mean pixel on 1; of 4 x 4 pixels."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    return linear_victim(W, torch.tensor([mean, -mean], dtype=torch.float64))


def dark(count: int = 3) -> Block:
    """Images of one grey, 0.3."""
    x = torch.full((count, 1, 4, 4), 0.3, dtype=torch.float64)
    return Block(x, torch.zeros(count, dtype=torch.int64), torch.arange(count))


@toy()
@dataclass(frozen=True)
class Scripted:
    """A composite that does what a function says, and keeps what it was sent."""

    script: Callable[[Brief], Generator[Any, Standing, Any]]
    second_run: bool = False
    sent: list[Standing] = field(default_factory=list)

    def stages(self, brief: Brief) -> Generator[Any, Standing, Any]:
        script = self.script(brief)
        standing = None
        while True:
            try:
                stage = script.send(standing)
            except StopIteration as stop:
                return stop.value
            standing = yield stage
            self.sent.append(standing)


@toy()
@dataclass(frozen=True)
class Greys:
    """Every pixel brighter by one shift after the other."""

    shifts: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.shifts) - 1

    def start(self, task: Any) -> State:
        x = task.x if task.origin is None else task.origin
        return State(x + self.shifts[0])

    def step(self, task: Any, state: State, seen: Any) -> State:
        shift = torch.tensor(self.shifts, dtype=task.x.dtype)[task.step + 1]
        return State(task.x + shift.view(-1, 1, 1, 1))


def of(stages: list[Stage], result: Any = None) -> Scripted:
    """The composite of these stages, whatever comes of them."""

    def script(brief: Brief) -> Generator[Stage, Standing, Any]:
        for stage in stages:  # noqa: UP028 - a list cannot be sent what came of it
            yield stage
        return result

    return Scripted(script)


@dataclass
class Run:
    outcome: Outcome
    log: Log
    verifier: Verifier
    progress: list[tuple[int, int]]


def run_campaign(
    victim: Victim,
    attack: Any,
    block: Block,
    norm: str,
    epsilon: float,
    *,
    batch_size: int = 64,
    exact: Surrogate | None = None,
    search: Surrogate | None = None,
    classes: int = 4,
    has_gradient: bool = True,
    key: str = "test",
) -> Run:
    verifier = Verifier(victim, NORM[norm], epsilon)
    setup = Setup(
        spec=spec_of(type(attack)),
        attack=attack,
        surrogate=exact or naive(victim),
        search=search,
        verifier=verifier,
        classes=classes,
        has_gradient=has_gradient,
        seed=0,
        key=key,
        batch_size=batch_size,
    )
    progress: list[tuple[int, int]] = []
    outcome, log = attack_block(
        setup, block, lambda finished, broken: progress.append((finished, broken))
    )
    return Run(outcome, log, verifier, progress)


def run_sampled(
    victim: Victim, attack: Any, block: Block, norm: str, epsilon: float, **options: Any
) -> tuple[Any, torch.Tensor, SampleEvidence]:
    """The stages of a composite, then samples of its survivors; who has fallen in the end.

    The order in which images are drawn is that of their ids.
    """
    run = run_attack(victim, attack, block, norm, epsilon, **options)
    fallen = run.outcome.broken.clone()
    classes = victim.logits(block.x[:1]).shape[1]
    random, has_gradient = victim.draws > 1, options.get("has_gradient", True)
    parts = {
        part.name: part for part in attack.battery(Situation(norm, classes, random, has_gradient))
    }
    steps = sampled(
        np.flatnonzero(~fallen.numpy()), tuple(parts), attack.sample, attack.confidence,
        lambda number, rows: block.image[rows].double().numpy(),
    )  # fmt: skip
    try:
        order = next(steps)
        while True:
            rows = torch.from_numpy(order.positions)
            part = Block(block.x[rows], block.y[rows], block.image[rows])
            made, spec = parts[order.part], spec_of(type(attack))
            again = run_attack(victim, made, part, norm, epsilon, spec=spec, **options)
            fallen[rows] |= again.outcome.broken
            order = steps.send(order.positions[again.outcome.broken.numpy()])
    except StopIteration as stop:
        return run, fallen, stop.value
