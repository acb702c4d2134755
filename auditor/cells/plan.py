"""The work of an audit, cut into cells: model × threat × attack × block of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.config import AttackConfig, AuditConfig, CheckConfig, Epsilon
from auditor.protocols.attack import AttackSpec, passes_of
from auditor.protocols.check import CheckSpec
from auditor.protocols.composite import Part, Situation
from auditor.registry import Registry
from auditor.subject.samples import Samples
from auditor.surrogate import SurrogateMaker

#: A block holds at most so many images and bytes of pixels: what a crash can cost, and what memory.
_BLOCK_IMAGES = 2048
_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class AttackPlan:
    """An attack of the configuration, built."""

    config: AttackConfig
    spec: AttackSpec
    attack: Any
    #: Of the data's labels.
    classes: int
    #: What it runs on, if not the victim's own autograd.
    surrogate: SurrogateMaker | None = None

    def cost(self, images: int) -> tuple[int, int]:
        """Forward and backward passes on `images` images that all withstand, as far as known."""
        try:
            forwards, backwards = passes_of(self.attack, self.classes)
        except Exception:  # the attack's own code ran: what is wrong there is told when it runs
            return 0, 0
        return images * forwards, images * backwards

    def sample_cost(self, drawn: int, norm: str) -> tuple[int, int]:
        """Passes of a sample of `drawn` images of which none falls, as far as known."""
        try:
            battery = self.attack.battery(Situation(norm, self.classes, False, True))
            each = [part.passes(self.classes) for part in battery]
        except Exception:  # as in `cost`
            return 0, 0
        return drawn * sum(one[0] for one in each), drawn * sum(one[1] for one in each)


@dataclass(frozen=True)
class CheckPlan:
    """A check of the configuration, built."""

    config: CheckConfig
    spec: CheckSpec
    check: Any

    def cost(self, images: int, classes: int, *, random: bool = False) -> tuple[int, int] | None:
        """At most so many forward and backward passes on `images` images; None: it does not say."""
        if not hasattr(self.check, "cost"):
            return None
        try:
            forwards, backwards = self.check.cost(images, classes, random=random)
        except Exception:  # the check's own code ran: what is wrong there is told when it runs
            return None
        return int(forwards), int(backwards)


@dataclass(frozen=True)
class Further:
    """One part of a composite's battery, on images that it left standing."""

    part: Part
    #: Positions among the samples.
    positions: NDArray[np.int64]
    #: What the stage is called in the report.
    stage: str


@dataclass(frozen=True)
class Cell:
    """One unit of work: `block` are positions among the samples."""

    model: str
    norm: str
    epsilon: Epsilon
    plan: AttackPlan
    block: slice
    #: What is to be done in the place of the whole attack on the block.
    further: Further | None = None

    @property
    def title(self) -> str:
        """For people: who is attacked how."""
        return f"{self.model} · {self.norm} {self.epsilon.text} · {self.plan.config.label}"


def build_attacks(
    config: AuditConfig, registry: Registry, samples: Samples
) -> tuple[AttackPlan, ...]:
    """Every attack of the configuration, with its parameters."""
    classes = max(2, int(samples.images.y.max()) + 1)
    plans = []
    for attack in config.attacks:
        spec = registry.attacks[attack.use]
        surrogate = registry.surrogates[attack.surrogate] if attack.surrogate else None
        built = spec.build(dict(attack.parameters))
        plans.append(AttackPlan(attack, spec, built, classes, surrogate))
    return tuple(plans)


def build_checks(config: AuditConfig, registry: Registry) -> tuple[CheckPlan, ...]:
    """Every check of the configuration, with its parameters."""
    plans = []
    for check in config.checks:
        spec = registry.checks[check.use]
        plans.append(CheckPlan(check, spec, spec.build(dict(check.parameters))))
    return tuple(plans)


def cut(images: int, shape: tuple[int, int, int]) -> list[slice]:
    """Blocks of images, in order."""
    channels, height, width = shape
    size = max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // (8 * channels * height * width)))
    return [slice(start, min(start + size, images)) for start in range(0, images, size)]


def cells(
    config: AuditConfig, attacks: tuple[AttackPlan, ...], blocks: list[slice]
) -> Iterator[Cell]:
    """All cells, smallest epsilon first, in the order they are run."""
    for model in config.models:
        for threat in config.threats:
            for epsilon in threat.epsilons:
                for plan in attacks:
                    if plan.spec.knows(threat.norm):
                        for block in blocks:
                            yield Cell(model.name, threat.norm, epsilon, plan, block)


@dataclass(frozen=True)
class Price:
    """A line of the plan: passes if no image falls."""

    title: str
    images: int
    forwards: int
    backwards: int


def price(cell: Cell) -> Price:
    """Of one cell."""
    images = cell.block.stop - cell.block.start
    return Price(cell.title, images, *cell.plan.cost(images))


def sample_price(cell: Cell, images: int) -> Price | None:
    """Of the sample of survivors that follows a cell; None where none does.

    Args:
        images: all audited images; the sample is drawn once the last block is in.
    """
    if not cell.plan.spec.sampled or cell.block.stop != images:
        return None
    drawn = min(images, cell.plan.attack.sample)
    cost = cell.plan.sample_cost(drawn, cell.norm)
    return Price(f"{cell.title}, sample of survivors", drawn, *cost)


def prices(cells: Iterable[Cell], images: int) -> Iterator[Price]:
    """Of all cells, and of the samples between them."""
    for cell in cells:
        yield price(cell)
        if sample := sample_price(cell, images):
            yield sample
