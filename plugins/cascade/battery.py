"""Everything there is: what the cascade's survivors are sampled with."""

from __future__ import annotations

from auditor_plugins.apgd import APGD
from auditor_plugins.ddn import DDN
from auditor_plugins.fab import FAB
from auditor_plugins.square import Square

from auditor.api import Part, Situation

#: As AutoAttack aims, at the likeliest wrong classes; in l1 APGD at five, from five starts.
TARGETS = 9
_TARGETS_L1, _RESTARTS_L1 = 5, 5
_QUERIES = 5000
#: Square asks for so many of its queries at once: a sample is small, and few of them help.
_AHEAD = 4
#: A first sphere outside of every box: DDN takes the smallest that holds it.
_FAR = 1e6
#: Evaluations that are averaged for a random model, in a short attack and as in AutoAttack.
_FEW_DRAWS, _DRAWS = 8, 20


def parts(situation: Situation) -> list[Part]:
    """The attacks of AutoAttack at their published budgets, and others, the cheapest first.

    Margins at all targets, as the minimum-margin attack has them, and the margin of probabilities
    (arXiv:2411.15210) cost little and find much of what the long ones find. With more classes than
    are aimed at, those that seem nearest are aimed at as well as the likeliest ones, as in MALT
    (arXiv:2407.02240). Random models get AutoAttack's version for them, and models without a
    gradient are queried.
    """
    if not situation.has_gradient:
        # A random model is asked as often in all as another; each query is several draws of it.
        draws = _DRAWS if situation.random else 1
        return [Part("Square", Square(queries=_QUERIES // draws, eot=draws))]
    if situation.random:
        return [
            Part("few draws", APGD(steps=20, loss="margin", eot=_FEW_DRAWS)),
            Part("APGD-CE", APGD(steps=100, eot=_DRAWS)),
            Part("APGD-DLR", APGD(steps=100, loss="dlr", eot=_DRAWS)),
        ]
    l1, dlr = situation.norm == "l1", APGD(steps=100, loss="dlr")
    aims, many = _TARGETS_L1 if l1 else TARGETS, situation.classes > TARGETS + 1
    from_afar = DDN(steps=100, radius=_FAR, loss="margin", minimise=False)
    return [
        Part("margins", APGD(steps=20, loss="margin"), targets=TARGETS, abreast=True),
        Part("PMA", APGD(steps=100, loss="probability-margin")),
        Part("APGD-CE", APGD(steps=100), restarts=_RESTARTS_L1 if l1 else 1),
        *([Part("MALT", dlr, targets=TARGETS, nearest=True, abreast=True)] if many else []),
        Part("APGD-T", dlr, targets=aims, abreast=True),
        *(
            []
            if situation.norm == "linf"
            else [Part("DDN", from_afar, targets=TARGETS, abreast=True)]
        ),
        Part("FAB-T", FAB(iterations=100, minimise=False), targets=TARGETS, abreast=True),
        Part("Square", Square(queries=_QUERIES, ahead=_AHEAD)),
    ]
