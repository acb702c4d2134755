"""A mask put before the audited model on purpose: would these checks find it?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.square import Square

from auditor.api import (
    CheckReport,
    ControlTrial,
    NoGradientError,
    PlantedControl,
    PositiveInt,
    Probe,
    Surrogate,
    check,
    not_applicable,
    param,
)

from .costs import spent, summed
from .survivors import DRAWS, bounds, nothing_left, split

#: A mask counts as found where hidden examples are certainly more than this share.
_FOUND = 0.02


@check(
    name="planted-mask",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 4.5 (attack a model broken on "
    "purpose)",
)
@dataclass(frozen=True)
class PlantedMask:
    """Blinds the audited model's gradient, and looks whether attacks that distrust it still find.

    The wrapped model answers as the model does, but its gradient is zero. On images that some
    attack has broken; nothing found here counts for the audit, nor as a challenge of the model. How
    many of the examples so hidden each attack finds is what it may be trusted to find of others: so
    `queries` and `steps` are what `black-box-gap` and `bpda-gap` try first, and `more_queries` is
    what the former spends where there is reason to.
    """

    images: PositiveInt = param(20, "broken images that are attacked")
    queries: PositiveInt = param(200, "queries of Square for each of these")
    more_queries: PositiveInt = param(
        2000, "queries where these were too few; not of a random model, which needs several draws"
    )
    steps: PositiveInt = param(10, "gradient steps; twice as many with the repaired gradient")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n, draws = min(self.images, images), DRAWS if random else 1
        attacks = (
            APGD(steps=self.steps, loss="margin", eot=draws),
            APGD(steps=2 * self.steps, loss="margin", eot=draws),
            Square(queries=self.queries, eot=draws),
        )
        return summed(*(spent(attack, n, classes) for attack in attacks))

    def run(self, probe: Probe) -> CheckReport:
        """The blinded gradient, the repaired one, and queries."""
        if few := nothing_left(probe):
            return few
        fallen = probe.fallen().nonzero().flatten()
        if not len(fallen):
            return not_applicable(
                "No attack broke any image, so a mask would have nothing to hide."
            )
        from .blinded import Blinded  # a module loads torch

        rows, draws = split(fallen, self.images)[0], DRAWS if probe.random else 1
        model = probe.surrogate.model
        masked = replace(
            probe.surrogate, name="planted mask", model=model.with_module(Blinded(model.module))
        )
        hidden = rows
        if probe.has_gradient:
            plain = APGD(steps=self.steps, loss="margin", eot=draws)
            hidden = rows[~_broken(probe, "gradient", plain, rows, masked)]
        repaired = APGD(steps=2 * self.steps, loss="margin", eot=draws)
        by_repair = _broken(probe, "repaired", repaired, hidden, masked.repaired())
        trials = [ControlTrial("repaired", repaired.steps + 1, int(by_repair.sum()))]
        by_queries = torch.zeros_like(by_repair)
        for queries in (self.queries,) if probe.random else (self.queries, self.more_queries):
            # Under the same name a longer search begins as the shorter one does.
            attack = Square(queries=queries, eot=draws)
            by_queries[~by_queries] = _broken(probe, "queries", attack, hidden[~by_queries], masked)
            trials.append(ControlTrial("queries", queries, int(by_queries.sum())))
        sentence = (
            f"With its gradient blinded on purpose, {len(hidden)} of {len(rows)} broken images "
            f"withstood the gradient; the repaired one broke {int(by_repair.sum())} of these, "
            + ", ".join(f"{one.points:,} queries {one.found}" for one in trials[1:])
            + "."
        )
        detected = bounds(int((by_repair | by_queries).sum()), len(rows))[0] > _FOUND
        control = PlantedControl(detected, sentence, len(hidden), tuple(trials))
        return CheckReport(sentence, control=control)


def _broken(
    probe: Probe, name: str, attack: APGD | Square, rows: torch.Tensor, masked: Surrogate
) -> torch.Tensor:
    """(m,) bool: which of the images `rows` an attack on the masked copy breaks."""
    if len(rows):
        with contextlib.suppress(NoGradientError):
            attempt = probe.attack(f"planted, {name}", attack, rows, surrogate=masked, control=True)
            return attempt.broken
    return torch.zeros_like(rows, dtype=torch.bool)
