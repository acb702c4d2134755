"""AutoAttack, as published: four attacks one after another, the worst of them image by image."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from auditor.api import GRADIENT, Brief, Stage, Standing, attack, hookimpl, param
from auditor_plugins.apgd import APGD
from auditor_plugins.fab import FAB
from auditor_plugins.square import Square

#: What the published versions aim at: the nine likeliest wrong classes; in l1 APGD at five.
_TARGETS = 9
_TARGETS_L1 = 5
_RESTARTS = 5
_DRAWS = 20
_ITERATIONS = 100
_QUERIES = 5000


@dataclass(frozen=True)
class _Part:
    """One attack of the ensemble: untargeted with `restarts`, or aimed at `targets` classes."""

    name: str
    attack: Any
    restarts: int = 1
    targets: int = 0

    def stage(self, brief: Brief, alive: torch.Tensor) -> Stage:
        """On the images `alive` (m,): restarts, or targets, one after another."""
        if not self.targets:
            turn = torch.arange(self.restarts, device=alive.device).repeat(len(alive))
            image = alive.repeat_interleave(self.restarts)
            return Stage(self.name, self.attack, image, restart=turn, turn=turn)
        rivals = brief.rivals(self.targets)[alive]
        aims = rivals.shape[1]
        note = ""
        if aims < self.targets:
            note = f"{aims} targets instead of {self.targets}, for there are no more wrong classes"
        return Stage(
            self.name,
            self.attack,
            alive.repeat_interleave(aims),
            target=rivals.flatten(),
            turn=torch.arange(aims, device=alive.device).repeat(len(alive)),
            note=note,
        )

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands."""
        runs, eot = min(self.targets, classes - 1) or self.restarts, getattr(self.attack, "eot", 1)
        if isinstance(self.attack, Square):
            return runs * (self.attack.steps + 1) * eot, 0
        # FAB evaluates one point an iteration as long as it finds nothing.
        steps = _ITERATIONS
        slopes = classes if getattr(self.attack, "jacobian", False) else 1
        return runs * (steps + 1) * eot, runs * steps * eot * slopes


@attack(
    name="autoattack",
    norms={"linf", "l2", "l1"},
    needs=GRADIENT,
    reference="Croce & Hein 2020, arXiv:2003.01690, section 6; in l1 arXiv:2103.01208",
)
@dataclass(frozen=True)
class AutoAttack:
    """The published ensemble: APGD on cross-entropy, targeted APGD, targeted FAB, Square.

    Each attack is run on the images that the ones before left. `standard` is the protocol of
    leaderboards, `plus` adds restarts, untargeted DLR and untargeted FAB, `rand` averages gradients
    over a random model's answers. With few classes, losses and targets that do not exist are
    replaced, and the report says so.
    """

    version: Literal["standard", "plus", "rand"] = param("standard", "the published version")
    second_run: bool = param(
        False, "attack all images again with other random numbers; the report compares the two"
    )

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """The ensemble's attacks in order, each on the survivors."""
        alive = torch.arange(len(brief.y), device=brief.y.device)
        for part in self._parts(brief.ball.norm.name):
            standing = yield part.stage(brief, alive)
            alive = (~standing.fallen).nonzero().flatten()
            if not len(alive):
                return

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands, the clean pass included."""
        each = [part.passes(classes) for part in self._parts("linf")]
        return 1 + sum(forwards for forwards, _ in each), sum(backwards for _, backwards in each)

    def _parts(self, norm: str) -> list[_Part]:
        if self.version == "rand":
            return [
                _Part("APGD-CE", APGD(steps=_ITERATIONS, eot=_DRAWS)),
                _Part("APGD-DLR", APGD(steps=_ITERATIONS, loss="dlr", eot=_DRAWS)),
            ]
        several = _RESTARTS if self.version == "plus" or norm == "l1" else 1
        targets = _TARGETS_L1 if norm == "l1" else _TARGETS
        ce = _Part("APGD-CE", APGD(steps=_ITERATIONS), restarts=several)
        targeted = _Part("APGD-T", APGD(steps=_ITERATIONS, loss="dlr"), targets=targets)
        fab_t = _Part("FAB-T", FAB(iterations=_ITERATIONS, minimise=False), targets=_TARGETS)
        square = _Part("Square", Square(queries=_QUERIES))
        if self.version == "standard":
            return [ce, targeted, fab_t, square]
        dlr = _Part("APGD-DLR", APGD(steps=_ITERATIONS, loss="dlr"), restarts=_RESTARTS)
        fab = _Part("FAB", FAB(iterations=_ITERATIONS, targets=0, minimise=False), _RESTARTS)
        return [ce, dlr, fab, square, targeted, fab_t]


@hookimpl
def auditor_attacks() -> list[type]:
    """AutoAttack."""
    return [AutoAttack]
