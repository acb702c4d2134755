"""The cascade: the cheapest attack that could succeed first, effort where an image is close."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.square import Square

from auditor.api import (
    SCORES,
    Brief,
    Evidence,
    ObjectiveName,
    PositiveInt,
    Stage,
    StagePrecision,
    Standing,
    attack,
    hookimpl,
    likeliest_rivals,
    param,
)

#: What is run on everything: name, steps, objective, and whether it starts at a new random point or
#: goes on from the best one. A single step breaks most of what has no defense.
_SWEEPS: tuple[tuple[str, int, ObjectiveName, bool], ...] = (
    ("one step", 1, "margin", True),
    ("sweep", 10, "margin", False),
    ("second sweep", 20, "probability-margin", True),
)
#: An image is worth further effort while its shortfall is at most so much: before the targeted
#: sweep, before the long attacks, and in the final rounds.
_NEAR, _NEARER, _NEAREST = 1.0, 0.3, 0.15
#: The final rounds take at least so large a part of the survivors, the closest ones.
_AT_LEAST = 1 / 20
#: Draws that gradients of a random model are averaged over.
_DRAWS = 20
#: Queries of the black-box probe, and of the attack where it shows that gradients mislead.
_PROBE, _QUERIES = 50, 5000
_TARGETS = 3

_Stages = Generator[Stage, Standing, None]


@dataclass
class _Field:
    """The images as the cascade sees them."""

    brief: Brief
    standing: Standing | None = None

    @cached_property
    def reach(self) -> torch.Tensor:
        """(n, K) float64, the largest z_k - z_y that is known to be within reach."""
        z = self.brief.logits.double()
        return z - z.gather(1, self.brief.y[:, None])

    @property
    def alive(self) -> torch.Tensor:
        """(m,) rows of the survivors."""
        if self.standing is None:
            return torch.arange(len(self.brief.y), device=self.brief.y.device)
        return (~self.standing.fallen).nonzero().flatten()

    def shortfall(self) -> torch.Tensor:
        """(n,) how much more an image has to lose, as a part of what the attacks have taken so far.

        The best margin so far is m < 0 and the clean one M < m: m / (M - m). It does not depend on
        the scale of the logits. Infinite where nothing was gained.
        """
        assert self.standing is not None
        clean = self.brief.logits.double()
        clean = clean.scatter(1, self.brief.y[:, None], -torch.inf).amax(1) - clean.gather(
            1, self.brief.y[:, None]
        ).squeeze(1)
        gain = self.standing.margin - clean
        return torch.where(gain > 0, -self.standing.margin / gain, torch.inf)

    def within(self, limit: float) -> torch.Tensor:
        """(m,) rows of the survivors whose shortfall is at most `limit`."""
        alive = self.alive
        return alive[self.shortfall()[alive] <= limit] if len(alive) else alive

    def closest(self) -> torch.Tensor:
        """(m,) rows of the survivors that the final rounds are about."""
        alive = self.alive
        if not len(alive):
            return alive
        shortfall = self.shortfall()[alive]
        count = max(int((shortfall <= _NEAREST).sum()), -(-len(alive) // round(1 / _AT_LEAST)))
        return alive[shortfall.argsort(stable=True)[:count].sort().values]

    def run(self, stage: Stage) -> _Stages:
        """Yield a stage, unless it has no lanes, and remember what came of it."""
        if len(stage.image):
            self.standing = yield stage
            if stage.target is not None:
                reached = self.standing.lane_margin
                place = stage.image * self.brief.classes + stage.target
                self.reach.view(-1).scatter_reduce_(0, place, reached, "amax")

    def targeted(self, name: str, attack: Any, image: torch.Tensor, restart: int = 0) -> Stage:
        """`attack` side by side on the wrong classes closest to winning."""
        rivals = likeliest_rivals(self.reach, self.brief.y, _TARGETS)[image]
        image = image.repeat_interleave(rivals.shape[1])
        restarts = torch.full_like(image, restart)
        return Stage(name, attack, image, target=rivals.flatten(), restart=restarts)


@attack(
    name="cascade",
    norms={"linf", "l2", "l1"},
    needs=SCORES,
    reference="this project; objectives of arXiv:2003.01690, 1910.09338 and 2411.15210",
)
@dataclass(frozen=True)
class Cascade:
    """Cheap attacks on everything, then long ones on the images that came close.

    Stops once rounds of the strongest attack on the closest survivors find nothing more, and says
    what a further round would be expected to find. Needs no gradient, but uses it where there is
    one; black-box queries are spent only on images whose gradients cannot be trusted.
    """

    patience: PositiveInt = param(3, "final rounds without a success after which it stops")
    max_rounds: PositiveInt = param(20, "final rounds after which it stops in any case")

    def stages(self, brief: Brief) -> Generator[Stage, Standing, Evidence | None]:
        """Sweep, probe, aim, insist."""
        field = _Field(brief)
        draws = _DRAWS if brief.random else 1
        if not brief.has_gradient:
            yield from field.run(Stage("queries", Square(queries=_QUERIES, eot=draws), field.alive))
            return None
        yield from self._sweep(field, draws, "search")
        if brief.coarse_search:
            yield from self._sweep(field, draws, "exact")
        yield from self._probe(field, draws)
        aimed = APGD(steps=20, loss="margin", eot=draws)
        yield from field.run(field.targeted("aimed", aimed, field.within(_NEAR)))
        longer = APGD(steps=50, loss="margin", eot=draws)
        yield from field.run(field.targeted("longer", longer, field.within(_NEARER)))
        return (yield from self._insist(field, draws))

    @staticmethod
    def _sweep(field: _Field, draws: int, precision: StagePrecision) -> _Stages:
        """A few steps on everything."""
        for name, steps, loss, anew in _SWEEPS:
            attack, alive = APGD(steps=steps, loss=loss, eot=draws), field.alive
            origin = None if anew or field.standing is None else field.standing.best[alive]
            yield from field.run(Stage(name, attack, alive, origin=origin, precision=precision))

    @staticmethod
    def _probe(field: _Field, draws: int) -> _Stages:
        """Where a few random queries do better than gradients, spend many."""
        alive = field.alive
        if not len(alive):
            return
        before = field.standing.margin.clone()
        yield from field.run(Stage("probe", Square(queries=_PROBE, eot=draws), alive))
        misled = field.standing.untrusted | (field.standing.margin > before)
        alive = field.alive
        yield from field.run(
            Stage("queries", Square(queries=_QUERIES, eot=draws), alive[misled[alive]])
        )

    def _insist(self, field: _Field, draws: int) -> Generator[Stage, Standing, Evidence]:
        """Rounds of the strongest attack on the closest survivors, while they find something."""
        attack = APGD(steps=100, loss="margin", eot=draws)
        fell: list[int] = []
        tried = 0
        while len(fell) < self.max_rounds and sum(fell[-self.patience :]) + (
            len(fell) < self.patience
        ):
            closest = field.closest()
            if not len(closest):
                break
            yield from field.run(field.targeted("rounds", attack, closest, restart=len(fell)))
            tried = len(closest)
            fell.append(int(field.standing.fallen[closest].sum()))
        last = fell[-self.patience :]
        return Evidence(len(last), tried, sum(last))

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands and never comes close."""
        sweeps = 1 + 11 + 21 + _PROBE + 1
        return sweeps, 30


@hookimpl
def auditor_attacks() -> list[type]:
    """The cascade."""
    return [Cascade]
