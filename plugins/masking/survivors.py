"""What checks that attack survivors have in common: whom to attack, and what counts as a lot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.pgd import PGD

from auditor.api import CheckReport, Probe, Surrogate, Trust, clopper_pearson, not_applicable

#: Where a smaller part of the images survives, a hidden gradient could hide next to nothing.
_LEAST = 0.02
#: Levels of one-sided statements are 99.5 %.
_LEVEL = 0.995
#: A share of the images that is certainly larger than this is no accident.
_ACCIDENT = 0.005
#: Of what an attack broke, so many are attacked once more by what it is compared with.
LOOKED_AT = 20
#: Random points of an image's ball, at which its scores are compared.
_POINTS = 4
#: Fewer different margins than this part of the points are decisions, not scores.
_FEW_SCORES = 0.25
#: Evaluations averaged for a random model.
DRAWS = 8


def nothing_left(probe: Probe) -> CheckReport | None:
    """The report where too few images survive for a check to be worth its while; else None."""
    left, total = len(probe.survivors()), len(probe.y)
    if not left:
        return not_applicable("Every image fell, so there is nothing left to mask.")
    if left < _LEAST * total:
        return not_applicable(f"Only {left} of {total} images survive: nothing is left to mask.")
    return None


def bounds(count: int, total: int) -> tuple[float, float]:
    """The exact lower and upper limits of a share, each with 99.5 % confidence."""
    return clopper_pearson(count, total, 2 * _LEVEL - 1)


def of(count: int, total: int, what: str = "image") -> str:
    """Such as "3 of 17 images"."""
    return f"{count} of {total} {what}{'' if total == 1 else 's'}"


def sample(probe: Probe, rows: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` of `rows`: half those nearest to another class, half spread over the rest."""
    if len(rows) <= count:
        return rows
    near = probe.victim.judge(probe.x[rows], probe.y[rows]).margin.argsort(
        descending=True, stable=True
    )
    half = count - count // 2
    spread, _ = split(near[half:].sort().values, count // 2)
    return rows[torch.cat([near[:half], spread]).sort().values]


def followed(trust: Trust) -> tuple[Any, ...]:
    """The long attacks that follow the model's own gradient and trust it so far, easiest first.

    Of the cross-entropy it is what a robust accuracy is usually measured by, PGD with its usual
    steps: what larger steps find where these fail is hidden from most who would look.
    """
    if trust == "cross-entropy":
        return (PGD(steps=100, restarts=2),)
    return (
        APGD(steps=100, loss="margin"),
        APGD(steps=100, loss="margin", targets=3, restarts=2),
    )


def look_again(probe: Probe, rows: torch.Tensor, trust: Trust, name: str) -> torch.Tensor:
    """The part of `rows` that long attacks on the model's own gradient break as well."""
    if not probe.has_gradient:
        return rows[:0]
    found = [rows[:0]]
    for place, attack in enumerate(followed(trust)):
        if len(rows):
            attempt = probe.attack(f"{name} {place + 1}", attack, rows, trust=trust)
            found.append(rows[attempt.broken])
            rows = rows[~attempt.broken]
    return torch.cat(found)


def split(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` of them, spread evenly, and the others."""
    if len(rows) <= count:
        return rows, rows[:0]
    chosen = torch.linspace(0, len(rows) - 1, count, device=rows.device).round().long()
    rest = torch.ones_like(rows, dtype=torch.bool).index_fill(0, chosen, False)
    return rows[chosen], rows[rest]


def explained(probe: Probe) -> bool:
    """Whether an attack has already shown why earlier checks found something odd."""
    return any(symptom.family == "comparison" for symptom in probe.symptoms)


def unexplained(probe: Probe) -> bool:
    """Whether there is something odd, or no gradient, and no attack that shows why."""
    return not explained(probe) and (bool(probe.symptoms) or not probe.has_gradient)


@dataclass(frozen=True)
class Gap:
    """What an attack did to the survivors of those before it."""

    #: Survivors before it, and how many of them it was tried on.
    survivors: int
    tried: int
    #: (k,) rows that it broke.
    broken: torch.Tensor
    #: Whether too many for an accident withstand longer attacks of the kind that had missed them.
    telling: bool

    @property
    def text(self) -> str:
        """How many fell, in words."""
        many = of(len(self.broken), self.tried)
        if self.tried == self.survivors:
            return f"{many} that had withstood"
        return f"{many} tried, out of {self.survivors} that had withstood"


def is_telling(probe: Probe, broken: torch.Tensor, missed_by: Trust, name: str) -> bool:
    """Whether images that an attack broke say something of those that had missed them.

    A few of them are attacked once more, by longer attacks that trust as much as those that had
    missed them. What withstands these has to be more than an accident explains.
    """
    certain = bounds(len(broken), len(probe.y))[0]
    if certain <= _ACCIDENT:
        return False
    few, _ = split(broken[~probe.fallen(missed_by)[broken]], LOOKED_AT)
    if not len(few):
        return False
    again = look_again(probe, few, missed_by, f"{name}, compared with")
    return bounds(len(few) - len(again), len(few))[0] * certain > _ACCIDENT


def pursue(
    probe: Probe,
    name: str,
    screen: Any,
    full: Callable[[int], Any],
    *,
    screened: int,
    rounds: int = 1,
    surrogate: Surrogate | None = None,
    trust: Trust | None = None,
    everywhere: bool = False,
    enough: int = 1,
) -> Gap:
    """Screen a few survivors; where that broke `enough`, attack all, while that breaks more.

    Args:
        screen: the attack for a few; `everywhere` leaves it out.
        full: the attack for all, by round.
        trust: of `Probe.attack`.
    """
    survivors = probe.survivors()
    broken, tried = [survivors[:0]], survivors
    if not everywhere or len(survivors) <= screened:
        tried = sample(probe, survivors, screened)
        first = probe.attack(f"{name}, screening", screen, tried, surrogate=surrogate, trust=trust)
        broken.append(tried[first.broken])
    if everywhere or len(broken[-1]) >= enough:
        tried = survivors
        for place in range(rounds):
            rows = probe.survivors()
            if not len(rows):
                break
            attempt = probe.attack(
                f"{name}, round {place + 1}", full(place), rows, surrogate=surrogate, trust=trust
            )
            broken.append(rows[attempt.broken])
            if not len(broken[-1]):
                break
    found = torch.cat(broken).sort().values
    missed_by: Trust = "cross-entropy" if trust == "gradient" else "gradient"
    telling = is_telling(probe, found, missed_by, name)
    return Gap(len(survivors), len(tried), found, telling)


def decides_only(probe: Probe, rows: torch.Tensor) -> bool:
    """Whether the scores of images take so few values that they are decisions."""
    if not len(rows):
        return False
    seen = _margins_nearby(probe, rows)
    different = len(torch.unique(seen))
    return different <= max(2, _FEW_SCORES * seen.numel()) and seen.numel() > 2 * _POINTS


def on_plateau(probe: Probe, rows: torch.Tensor) -> torch.Tensor:
    """(len(rows),) bool: the margin is the same at random points of the image's ball.

    Scores that are rounded, or saturated until they round to 0 and 1, are constant over most of
    the ball: what compares points by them has nothing to go by.
    """
    if not len(rows):
        return torch.zeros_like(rows, dtype=torch.bool)
    seen = _margins_nearby(probe, rows)
    return (seen == seen[:, :1]).all(1)


def _margins_nearby(probe: Probe, rows: torch.Tensor) -> torch.Tensor:
    """(len(rows), 4) margins at random points of each image's ball."""
    x0, y = probe.x[rows], probe.y[rows]
    noise = probe.noise("scores", rows)
    points = (
        probe.ball.norm.sample(x0, probe.ball.epsilon, noise.named(str(i))) for i in range(_POINTS)
    )
    return torch.stack([probe.victim.judge(point, y).margin for point in points], 1)
