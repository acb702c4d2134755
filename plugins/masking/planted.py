"""A mask put before the audited model on purpose: would these checks find it?"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.square import Square

from auditor.api import (
    CheckReport,
    NoGradientError,
    PlantedControl,
    PositiveInt,
    Probe,
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
    attack has broken; nothing found here counts for the audit.
    """

    images: PositiveInt = param(20, "broken images that are attacked")
    queries: PositiveInt = param(300, "queries of Square for each of these")
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

        rows = split(fallen, self.images)[0]
        draws, epsilon = DRAWS if probe.random else 1, probe.ball.epsilon
        model = probe.surrogate.model
        blinded = replace(
            probe.surrogate, name="planted mask", model=model.with_module(Blinded(model.module))
        )
        plain = APGD(steps=self.steps, loss="margin", eot=draws)
        hidden = rows
        if probe.has_gradient:
            seen = probe.attack(
                "planted, gradient", plain, rows, surrogate=blinded, epsilon=epsilon
            )
            hidden = rows[~seen.broken]
        repaired = APGD(steps=2 * self.steps, loss="margin", eot=draws)
        found = []
        for name, attack, surrogate in (
            ("repaired", repaired, blinded.repaired()),
            ("queries", Square(queries=self.queries, eot=draws), blinded),
        ):
            broken = torch.zeros_like(hidden, dtype=torch.bool)
            if len(hidden):
                with contextlib.suppress(NoGradientError):
                    broken = probe.attack(
                        f"planted, {name}", attack, hidden, surrogate=surrogate, epsilon=epsilon
                    ).broken
            found.append(broken)
        by_repair, by_queries = found
        sentence = (
            f"With its gradient blinded on purpose, {len(hidden)} of {len(rows)} broken images "
            f"withstood the gradient; the repaired one broke {int(by_repair.sum())} of these, "
            f"queries alone {int(by_queries.sum())}."
        )
        detected = bounds(int((by_repair | by_queries).sum()), len(rows))[0] > _FOUND
        return CheckReport(sentence, control=PlantedControl(detected, sentence))
