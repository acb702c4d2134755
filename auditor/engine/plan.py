"""The work of an audit, cut into cells: model × threat × attack × block of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from auditor.attack import (
    GRADIENT,
    Attack,
    AttackSpec,
    draws_of,
    points_of,
    restarts_of,
)
from auditor.config import AttackConfig, AuditConfig, Epsilon
from auditor.registry import Registry

#: A block holds at most so many images and bytes of pixels: what a crash can cost, and what memory.
_BLOCK_IMAGES = 2048
_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class AttackPlan:
    """An attack of the configuration, built."""

    config: AttackConfig
    spec: AttackSpec
    attack: Attack

    def cost(self, images: int) -> tuple[int, int]:
        """Forward and backward passes on `images` images that all withstand."""
        steps = self.attack.steps
        each = images * restarts_of(self.attack) * draws_of(self.attack) * points_of(self.attack)
        return each * (steps + 1), each * steps if self.spec.needs == GRADIENT else 0


@dataclass(frozen=True)
class Cell:
    """One unit of work: `block` are positions among the samples."""

    model: str
    norm: str
    epsilon: Epsilon
    plan: AttackPlan
    block: slice

    @property
    def title(self) -> str:
        """For people: who is attacked how."""
        return f"{self.model} · {self.norm} {self.epsilon.text} · {self.plan.config.label}"


def build_attacks(config: AuditConfig, registry: Registry) -> tuple[AttackPlan, ...]:
    """Every attack of the configuration, with its parameters."""
    plans = []
    for attack in config.attacks:
        spec = registry.attacks[attack.use]
        plans.append(AttackPlan(attack, spec, spec.build(dict(attack.parameters))))
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
                    if threat.norm in plan.spec.norms:
                        for block in blocks:
                            yield Cell(model.name, threat.norm, epsilon, plan, block)
