"""AutoAttack, as published: four attacks one after another, the worst of them image by image."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.fab import FAB
from auditor_plugins.square import Square

from auditor.api import GRADIENT, Brief, Part, Stage, Standing, attack, hookimpl, param

#: What the published versions aim at: the nine likeliest wrong classes; in l1 APGD at five.
_TARGETS = 9
_TARGETS_L1 = 5
_RESTARTS = 5
_DRAWS = 20
_ITERATIONS = 100
_QUERIES = 5000


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

    def _parts(self, norm: str) -> list[Part]:
        if self.version == "rand":
            return [
                Part("APGD-CE", APGD(steps=_ITERATIONS, eot=_DRAWS)),
                Part("APGD-DLR", APGD(steps=_ITERATIONS, loss="dlr", eot=_DRAWS)),
            ]
        several = _RESTARTS if self.version == "plus" or norm == "l1" else 1
        targets = _TARGETS_L1 if norm == "l1" else _TARGETS
        ce = Part("APGD-CE", APGD(steps=_ITERATIONS), restarts=several)
        targeted = Part("APGD-T", APGD(steps=_ITERATIONS, loss="dlr"), targets=targets)
        fab_t = Part("FAB-T", FAB(iterations=_ITERATIONS, minimise=False), targets=_TARGETS)
        square = Part("Square", Square(queries=_QUERIES))
        if self.version == "standard":
            return [ce, targeted, fab_t, square]
        dlr = Part("APGD-DLR", APGD(steps=_ITERATIONS, loss="dlr"), restarts=_RESTARTS)
        fab = Part("FAB", FAB(iterations=_ITERATIONS, targets=0, minimise=False), _RESTARTS)
        return [ce, dlr, fab, square, targeted, fab_t]


@hookimpl
def auditor_attacks() -> list[type]:
    """AutoAttack."""
    return [AutoAttack]
