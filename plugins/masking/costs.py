"""What checks cost at most: passes of single images forwards and backwards, if all withstand."""

from __future__ import annotations

from typing import Any

from auditor.api import STOCHASTIC_DRAWS, Trust, passes_of

from .survivors import LOOKED_AT, followed

#: Passes of the trace, each way: of eight images, the gradient as it is and repaired, and once more
#: for every operation that it examines.
TRACE = 8 * (3 + 32)
#: Images and noisy copies that a model is asked about, together, to train a copy of it.
ANSWERS = 2000


def summed(*costs: tuple[int, int]) -> tuple[int, int]:
    """Forward and backward passes added up."""
    return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)


def spent(attack: Any, images: int, classes: int) -> tuple[int, int]:
    """Passes of an attack on so many images that all withstand."""
    forwards, backwards = passes_of(attack, classes)
    return images * forwards, images * backwards


def judged(images: int, *, random: bool) -> tuple[int, int]:
    """Passes at most to judge so many images once."""
    return images * (STOCHASTIC_DRAWS if random else 1), 0


def looked_again(trust: Trust, images: int, classes: int) -> tuple[int, int]:
    """Passes of `is_telling` at most."""
    return summed(*(spent(one, min(LOOKED_AT, images), classes) for one in followed(trust)))


def pursued(
    screen: Any,
    full: list[Any],
    screened: int,
    images: int,
    classes: int,
    *,
    random: bool,
    missed_by: Trust = "gradient",
) -> tuple[int, int]:
    """Passes of `pursue` at most, `full` being the attacks of its rounds."""
    return summed(
        judged(images, random=random),
        spent(screen, min(screened, images), classes),
        *(spent(attack, images, classes) for attack in full),
        looked_again(missed_by, images, classes),
    )
