"""Everything there is: what the cascade's survivors are sampled with."""

from __future__ import annotations

from auditor_plugins.apgd import APGD
from auditor_plugins.fab import FAB
from auditor_plugins.square import Square

from auditor.api import Part, Situation

#: As AutoAttack aims, at the likeliest wrong classes; in l1 APGD at five.
_TARGETS, _TARGETS_L1 = 9, 5
#: Evaluations that are averaged for a random model.
DRAWS = 20


def battery(situation: Situation) -> list[Part]:
    """The attacks of AutoAttack at their published budgets, and others, the cheapest first.

    Margins at all targets, as the minimum-margin attack has them, and the margin of probabilities
    (arXiv:2411.15210) cost little and find most of what the long ones find. Random models get
    AutoAttack's version for them, and models without a gradient are queried.
    """
    queries = Part("Square", Square(queries=5000))
    if not situation.has_gradient:
        return [Part("Square", Square(queries=5000, eot=DRAWS if situation.random else 1))]
    if situation.random:
        return [
            Part("APGD-CE", APGD(steps=100, eot=DRAWS)),
            Part("APGD-DLR", APGD(steps=100, loss="dlr", eot=DRAWS)),
        ]
    l1 = situation.norm == "l1"
    targets = _TARGETS_L1 if l1 else _TARGETS
    return [
        Part("margins", APGD(steps=20, loss="margin"), targets=_TARGETS),
        Part("FAB, short", FAB(iterations=20, minimise=False), targets=_TARGETS),
        Part("PMA", APGD(steps=100, loss="probability-margin")),
        Part("APGD-CE", APGD(steps=100), restarts=5 if l1 else 1),
        Part("APGD-T", APGD(steps=100, loss="dlr"), targets=targets),
        Part("FAB-T", FAB(iterations=100, minimise=False), targets=_TARGETS),
        queries,
    ]
