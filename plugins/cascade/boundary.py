"""The cascade's own stages in l2 and l1: a distance for every survivor, then effort on the near.

Inside the ball, gradients of networks that were trained in l-infinity lead nowhere in these norms;
from far outside they lead back to the boundary. So DDN comes from there. It finds what neither
ascent nor FAB finds, and where it finds nothing in the ball, the distance it came to is a guess of
the boundary's: on two development networks in l2 images that something longer broke were hardly
ever further than `_NEAR` by then, in l1 some were. Only those are attacked further; what that
leaves is the sample's to find.
"""

from __future__ import annotations

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.cascade.field import Field, Stages
from auditor_plugins.ddn import DDN
from auditor_plugins.fab import FAB

#: The radius of the first sphere, in units of epsilon. On the development network that needs it
#: most, DDN found as much from 10 on, an eighth less from 6.
_FAR = 20
#: Classes that are aimed at side by side, the closest ones; and with short margins.
_AIMS, _MANY_AIMS = 3, 9
#: Up to which distance, in units of epsilon, an image is attacked further, stage after stage.
_NEAR, _NEARER, _NEAREST = 1.25, 1.15, 1.1


def from_outside(field: Field, draws: int) -> Stages:
    """DDN from far outside the ball at all survivors, then longer attacks at the near ones.

    Args:
        field: the images, of a threat in l2 or l1.
        draws: evaluations to average, for random models.
    """

    def ddn(steps: int, gamma: float) -> DDN:
        far = _FAR * field.brief.ball.epsilon
        return DDN(steps, far, gamma, loss="margin", minimise=False, eot=draws)

    yield from field.run(field.aimed("DDN", ddn(60, 0.08), field.alive, _AIMS))
    yield from field.run(field.aimed("DDN, longer", ddn(200, 0.05), _near(field, _NEAR), _AIMS))
    margins = APGD(steps=20, loss="margin", eot=draws)
    yield from field.run(field.aimed("margins", margins, _near(field, _NEARER), _MANY_AIMS))
    fab = FAB(iterations=50, minimise=False, eot=draws)
    yield from field.run(field.aimed("FAB", fab, _near(field, _NEAREST), _AIMS))


def _near(field: Field, limit: float) -> torch.Tensor:
    """(m,) survivors of which an adversarial example is known within `limit` times epsilon."""
    alive = field.alive
    near: torch.Tensor = alive[field.standing.nearest[alive] <= limit * field.brief.ball.epsilon]
    return near
