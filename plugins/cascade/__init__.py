"""The cascade: cheap attacks on everything, and a random sample that says what they missed.

Its settings were chosen on the choosing half of `benchmarks/development_models.py`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Lt
from auditor_plugins.apgd import APGD
from auditor_plugins.cascade.battery import TARGETS, parts
from auditor_plugins.cascade.boundary import from_outside
from auditor_plugins.cascade.field import Field, Stages
from auditor_plugins.fgsm import FGSM
from auditor_plugins.square import Square

from auditor.api import (
    SCORES,
    Brief,
    ObjectiveName,
    Part,
    PositiveInt,
    Situation,
    Stage,
    StagePrecision,
    Standing,
    attack,
    hookimpl,
    param,
)

Share = Annotated[float, Gt(0), Lt(1)]

#: An image is worth aimed attacks while its shortfall is at most so much, and long ones.
_NEAR, _NEAREST = 1.0, 0.15
#: Classes that the longest ones are aimed at: those that came closest.
_FEW = 3
#: Evaluations that are averaged for a random model: a few, for its long attacks are the battery's.
_DRAWS = 4
#: Queries where there is no gradient; the battery has thousands.
_QUERIES = 500


@attack(
    name="cascade",
    norms={"linf", "l2", "l1"},
    needs=SCORES,
    reference="this project, of the attacks of arXiv:2003.01690, 1907.02044 and 1912.00049, the "
    "objectives of 1910.09338 and 2411.15210",
)
@dataclass(frozen=True)
class Cascade:
    """Cheap attacks on everything, longer ones on what came close, then a random sample.

    Its own stages go by rules of thumb. What they miss is measured: a random sample of the
    survivors is attacked with everything that AutoAttack has, and more; whatever breaks any of
    them is run on all survivors, and a new sample is drawn, until one holds. Where fewer survive
    than are drawn, all are attacked so.
    """

    sample: PositiveInt = param(40, "survivors, drawn at random, that are attacked with everything")
    confidence: Share = param(0.95, "of what the sample says about the other survivors")

    def stages(self, brief: Brief) -> Generator[Stage, Standing, None]:
        """Sweep, aim, insist."""
        field = Field(brief)
        draws = _DRAWS if brief.random else 1
        if not brief.has_gradient:
            queries = Square(queries=_QUERIES // draws, eot=draws)
            yield from field.run(Stage("queries", queries, field.alive))
            return
        if brief.coarse_search:
            yield from self._sweep(field, draws, "search")
        yield from self._sweep(field, draws, "exact")
        if brief.ball.norm.name != "linf":
            yield from from_outside(field, draws)
            return
        aimed = APGD(steps=20, loss="dlr", eot=draws)
        yield from field.run(field.aimed("aimed", aimed, field.within(_NEAR), TARGETS))
        longest = APGD(steps=100, loss="dlr", eot=draws)
        yield from field.run(field.aimed("closest", longest, field.within(_NEAREST), _FEW))

    @staticmethod
    def _sweep(field: Field, draws: int, precision: StagePrecision) -> Stages:
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
        yield from field.run(stage("second sweep", 20, "probability-margin", anew=True))
        yield from field.run(stage("third sweep", 50, "cross-entropy", anew=True))

    def battery(self, situation: Situation) -> list[Part]:
        """What a random sample of the survivors is attacked with, and what breaks any, all."""
        everything: list[Part] = parts(situation)
        return everything

    def passes(self, classes: int) -> tuple[int, int]:
        """Forward and backward passes of an image that withstands and never comes close."""
        return 1 + (1 + 1) + (10 + 1) + (20 + 1) + (50 + 1), 1 + 10 + 20 + 50


@hookimpl
def auditor_attacks() -> list[type]:
    """The cascade."""
    return [Cascade]
