"""The cascade: the cheapest attack that could succeed first, effort where an image is close.

Its settings were chosen on the development models of `benchmarks/development_models.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.fab import FAB
from auditor_plugins.fgsm import FGSM
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

#: An image is worth further effort while its shortfall is at most so much: before the targeted
#: sweep, before the long attacks, and in the rounds at the end.
_NEAR, _NEARER, _NEAREST = 1.0, 0.3, 0.15
#: The rounds take at least so large a part of the survivors, the closest ones, ...
_AT_LEAST = 1 / 20
#: ... and reach out so much further after a round that broke an image at the outer edge.
_FURTHER = 1.5
#: Classes that are aimed at side by side, the closest ones.
_TARGETS = 3
#: The rounds aim at the second closest class too where it lacks at most so much more than the
#: closest, as a part of what the image has lost.
_ABOUT = 0.1
#: As many as AutoAttack's FAB aims at.
_MANY_TARGETS = 9
#: Evaluations that are averaged for a random model.
_DRAWS = 20
#: Queries of the black-box probe, and of the attack where it shows that gradients mislead.
_PROBE, _QUERIES = 25, 5000

_Stages = Generator[Stage, Standing, None]


class _Field:
    """The images as the cascade sees them; `run` hands a stage to the engine."""

    def __init__(self, brief: Brief) -> None:
        n, device = len(brief.y), brief.y.device
        self.brief = brief
        #: (n,) bool, the gradient of the margin was zero or not finite.
        self.distrusted = torch.zeros(n, dtype=torch.bool, device=device)
        self.standing = Standing(
            fallen=torch.zeros(n, dtype=torch.bool, device=device),
            margin=torch.full((n,), -torch.inf, dtype=torch.float64, device=device),
            best=brief.x,
            untrusted=torch.zeros(n, dtype=torch.bool, device=device),
            lane_margin=torch.zeros(0, dtype=torch.float64, device=device),
        )

    def run(self, stage: Stage) -> _Stages:
        """Yield a stage, unless it has no lanes, and keep what came of it."""
        if not len(stage.image):
            return
        self.standing = yield stage
        if stage.target is not None:
            place = stage.image * self.brief.classes + stage.target
            self._reach.view(-1).scatter_reduce_(0, place, self.standing.lane_margin, "amax")

    @property
    def alive(self) -> torch.Tensor:
        """(m,) rows of the survivors."""
        return (~self.standing.fallen).nonzero().flatten()

    @cached_property
    def _reach(self) -> torch.Tensor:
        """(n, K) float64, the largest z_k - z_y that is known to be within reach."""
        z = self.brief.logits.double()
        return z - z.gather(1, self.brief.y[:, None])

    @cached_property
    def _clean_margin(self) -> torch.Tensor:
        """(n,) float64, negative."""
        return self._reach.scatter(1, self.brief.y[:, None], -torch.inf).amax(1)

    def shortfall(self, rows: torch.Tensor) -> torch.Tensor:
        """(m,) how much more these images have to lose, as a part of what they have lost so far.

        With the clean margin M < 0 and the best m so far, -m / (m - M): it does not depend on the
        scale of the logits. Infinite where nothing was gained.
        """
        margin = self.standing.margin[rows]
        gain = margin - self._clean_margin[rows]
        return torch.where(gain > 0, -margin / gain, torch.inf)

    def within(self, limit: float, at_least: float = 0.0) -> torch.Tensor:
        """(m,) rows of the survivors whose shortfall is at most `limit`, in their order.

        If these are fewer than the part `at_least` of all survivors, so many, the closest ones.
        """
        alive = self.alive
        if not len(alive):
            return alive
        shortfall = self.shortfall(alive)
        few = torch.tensor(at_least * len(alive)).ceil().int()
        count = max(int((shortfall <= limit).sum()), int(few))
        return alive[shortfall.argsort(stable=True)[:count].sort().values]

    def aimed(self, name: str, attack: Any, image: torch.Tensor, targets: int = _TARGETS) -> Stage:
        """`attack` side by side at the wrong classes that came closest to winning."""
        rivals = likeliest_rivals(self._reach, self.brief.y, targets)[image]
        image = image.repeat_interleave(rivals.shape[1])
        return Stage(name, attack, image, target=rivals.flatten())

    def insistent(self, name: str, attack: Any, image: torch.Tensor, restart: int) -> Stage:
        """`attack` at the class that came closest, and at the second where it is about as close."""
        rivals = likeliest_rivals(self._reach, self.brief.y, 2)[image]
        reach = self._reach[image].gather(1, rivals)
        gain = reach[:, :1] - self._clean_margin[image, None]
        promising = reach[:, :1] - reach <= _ABOUT * gain
        promising[:, 0] = True
        image = image[:, None].expand_as(rivals)[promising]
        restarts = torch.full_like(image, restart)
        return Stage(name, attack, image, target=rivals[promising], restart=restarts)


@attack(
    name="cascade",
    norms={"linf", "l2", "l1"},
    needs=SCORES,
    reference="this project, of the attacks of arXiv:2003.01690, 1907.02044 and 1912.00049, the "
    "objectives of 1910.09338 and 2411.15210",
)
@dataclass(frozen=True)
class Cascade:
    """Cheap attacks on everything, then long ones on the images that came close.

    Stops once rounds of the strongest attack on the closest survivors find nothing more, and says
    what a further round would be expected to find. It needs no gradient, but uses it where there is
    one; black-box queries are spent only on images whose gradients cannot be trusted.
    """

    patience: PositiveInt = param(5, "rounds without a success after which it stops")
    max_rounds: PositiveInt = param(20, "rounds after which it stops in any case")

    def stages(self, brief: Brief) -> Generator[Stage, Standing, Evidence | None]:
        """Sweep, probe, aim, insist."""
        field = _Field(brief)
        draws = _DRAWS if brief.random else 1
        if not brief.has_gradient:
            yield from field.run(Stage("queries", _square(_QUERIES, draws), field.alive))
            return None
        if brief.coarse_search:
            yield from self._sweep(field, draws, "search")
        yield from self._sweep(field, draws, "exact")
        yield from self._probe(field, draws)
        for name, steps, limit in (("aimed", 20, _NEAR), ("aimed longer", 50, _NEARER)):
            attack = APGD(steps=steps, loss="margin", eot=draws)
            yield from field.run(field.aimed(name, attack, field.within(limit)))
        yield from self._boundary(field, draws)
        return (yield from self._insist(field, draws))

    @staticmethod
    def _sweep(field: _Field, draws: int, precision: StagePrecision) -> _Stages:
        """A few steps on everything; a single one breaks most of what has no defense."""

        def stage(name: str, steps: int, loss: ObjectiveName, *, anew: bool) -> Stage:
            alive = field.alive
            origin = None if anew else field.standing.best[alive]
            attack = APGD(steps=steps, loss=loss, eot=draws)
            return Stage(name, attack, alive, origin=origin, precision=precision)

        if field.brief.ball.norm.name == "l1":  # the first step of APGD changes few pixels there
            step = Stage("one step", FGSM(loss="margin"), field.alive, precision=precision)
        else:
            step = stage("one step", 1, "margin", anew=True)
        yield from field.run(step)
        yield from field.run(stage("sweep", 10, "margin", anew=False))
        # The gradient of the probability margin also vanishes where a model is merely sure.
        field.distrusted = field.standing.untrusted
        yield from field.run(stage("second sweep", 20, "probability-margin", anew=True))

    @staticmethod
    def _probe(field: _Field, draws: int) -> _Stages:
        """Where a few random queries do better than gradients, or there were none, spend many."""
        before = field.standing.margin
        yield from field.run(Stage("probe", _square(_PROBE, draws), field.alive))
        alive = field.alive
        misled = field.distrusted | (field.standing.margin > before)
        yield from field.run(Stage("queries", _square(_QUERIES, draws), alive[misled[alive]]))

    @staticmethod
    def _boundary(field: _Field, draws: int) -> _Stages:
        """FAB, which does not climb but goes from boundary to boundary.

        In l2 and l1 it breaks images of l-infinity-trained models on which ascent stalls far from
        success; so there it is tried on all survivors. Where it broke any, ascent is not to be
        trusted: then it is given as much as in AutoAttack, and queries are spent.
        """
        fab = FAB(iterations=50, minimise=False, eot=draws)
        if field.brief.ball.norm.name == "linf":
            yield from field.run(field.aimed("FAB", fab, field.within(_NEAREST, _AT_LEAST)))
            return
        before = len(field.alive)
        yield from field.run(field.aimed("FAB", fab, field.alive))
        if len(field.alive) < before:
            fab = FAB(iterations=100, minimise=False, eot=draws)
            yield from field.run(field.aimed("FAB, longer", fab, field.alive, _MANY_TARGETS))
            yield from field.run(Stage("queries", _square(_QUERIES, draws), field.alive))

    def _insist(self, field: _Field, draws: int) -> Generator[Stage, Standing, Evidence]:
        """Rounds of the strongest attack on the closest survivors, while they find something."""
        strongest = APGD(steps=100, loss="margin", eot=draws)
        broken: list[int] = []
        tried: list[int] = []
        limit = _NEAREST
        while len(broken) < self.max_rounds:
            closest = field.within(limit, _AT_LEAST)
            if not len(closest) or (
                len(broken) >= self.patience and not any(broken[-self.patience :])
            ):
                break
            tried.append(len(closest))
            edge = field.shortfall(closest) > limit / _FURTHER
            yield from field.run(field.insistent("rounds", strongest, closest, len(broken)))
            fallen = field.standing.fallen[closest]
            broken.append(int(fallen.sum()))
            limit *= _FURTHER if (fallen & edge).any() else 1
        last = broken[-self.patience :]
        return Evidence(len(last), max(tried[-self.patience :], default=0), sum(last))

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands and never comes close."""
        return 1 + (1 + 1) + (10 + 1) + (20 + 1) + _PROBE, 1 + 10 + 20


def _square(queries: int, draws: int) -> Square:
    """A random model is asked as often in all as another; each query is `draws` of it."""
    return Square(queries=max(_PROBE, queries // draws), eot=draws)


@hookimpl
def auditor_attacks() -> list[type]:
    """The cascade."""
    return [Cascade]
