"""The cascade's own stages in l2 and l1: from elsewhere than the clean image, then the near ones.

Inside the ball, gradients of networks that were trained in l-infinity lead nowhere in these norms.
In l2 they lead back to the boundary from far outside, so DDN comes from there: from a sphere around
the ball, then from beyond every box, for each finds what the other does not. In l1 short ascents
from several starts and a few random queries find most, DDN some of the rest. The distance that DDN
came to is a guess of the boundary's; only the near are attacked further, and what that leaves is
the sample's to find.

Chosen on two networks of the choosing half, on all that the sweeps had left. Of 102 and 148 images
that any of twelve candidates broke in l2, the two DDN broke 96 and 141, for an eighth of
AutoAttack's passes; of 69 and 74 in l1, the three stages broke 61 and 64.
"""

from __future__ import annotations

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.cascade.field import Field, Stages
from auditor_plugins.ddn import DDN
from auditor_plugins.fab import FAB
from auditor_plugins.square import Square

from auditor.api import Stage

#: The radius of the first sphere, in units of epsilon, and one that holds every box. On the
#: development network that needs it most, DDN found as much from 10 on, an eighth less from 6.
_FAR, _BEYOND = 20, 1e6
#: Classes that are aimed at side by side, the closest ones; and with short margins.
_AIMS, _MANY_AIMS = 3, 9
#: In l1: starts of the short ascent, and queries.
_STARTS, _QUERIES = 5, 500
#: Up to which distance, in units of epsilon, an image is attacked further, stage after stage.
_NEARER, _NEAREST = 1.15, 1.1


def from_outside(field: Field, draws: int) -> Stages:
    """Several starts or DDN from outside at all survivors, then longer attacks at the near ones.

    Args:
        field: the images, of a threat in l2 or l1.
        draws: evaluations to average, for random models.
    """
    ball = field.brief.ball

    def ddn(steps: int, radius: float, gamma: float) -> DDN:
        return DDN(steps, radius, gamma, loss="margin", minimise=False, eot=draws)

    if ball.norm.name == "l1":
        yield from field.run(_starts(field, draws))
    near = ddn(60, _FAR * ball.epsilon, 0.08)
    yield from field.run(field.aimed("DDN", near, field.alive, _AIMS))
    if ball.norm.name == "l1":
        queries = Square(queries=_QUERIES // draws, eot=draws)
        yield from field.run(Stage("queries", queries, field.alive))
    else:
        beyond = ddn(100, _BEYOND, 0.05)
        yield from field.run(field.aimed("DDN from beyond", beyond, field.alive, _AIMS))
    margins = APGD(steps=20, loss="margin", eot=draws)
    yield from field.run(field.aimed("margins", margins, _near(field, _NEARER), _MANY_AIMS))
    fab = FAB(iterations=50, minimise=False, eot=draws)
    yield from field.run(field.aimed("FAB", fab, _near(field, _NEAREST), _AIMS))


def _starts(field: Field, draws: int) -> Stage:
    """A short ascent of the cross-entropy from several random points, one after another."""
    alive = field.alive
    turn = torch.arange(_STARTS, device=alive.device).repeat(len(alive))
    image = alive.repeat_interleave(_STARTS)
    attack = APGD(steps=20, loss="cross-entropy", eot=draws)
    return Stage("starts", attack, image, restart=turn, turn=turn)


def _near(field: Field, limit: float) -> torch.Tensor:
    """(m,) survivors of which an adversarial example is known within `limit` times epsilon."""
    alive = field.alive
    near: torch.Tensor = alive[field.standing.nearest[alive] <= limit * field.brief.ball.epsilon]
    return near
