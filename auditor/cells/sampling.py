"""What an attack's rules of thumb may have missed: a random sample of its survivors, in full.

A composite attack saves work by rules that some model will fool. So survivors are drawn at random
and attacked with every part of its battery, the cheapest first. If none of them falls, the rest is
like them but for chance, and how unlike it may be is a number. As soon as a part breaks any, the
sample is over: the part is given to all survivors, and a new sample is drawn. So what a cheap part
shows does not cost the dear ones twice.

Here are the order of this work and the statement at its end, without a model: `sampled` asks for
attacks and is told what they broke.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from auditor.maths.intervals import most_in_population
from auditor.results import SampleEvidence, SampleRound, SentOn

Positions = NDArray[np.int64]

#: Of what the statement may err in all, the first sample is allowed so much, and each further one
#: so much of what is left: a network on which several samples fail has had several chances to look
#: sound by accident, and all of them together must not exceed 1 - confidence.
_FIRST = 0.6

#: (number of the sample, survivors) -> a random number for each of them.
Draw = Callable[[int, Positions], NDArray[np.float64]]


@dataclass(frozen=True)
class Order:
    """An attack to be made: one part of the battery, on these images."""

    part: str
    positions: Positions
    #: The sample's number; 0 where the part is given to all survivors.
    sample: int


@dataclass
class Withstood:
    """Which parts images have withstood, at this epsilon or a larger one: none is run twice.

    What nothing was found against in a larger ball counts as withstood in a smaller one.
    """

    by: dict[str, Positions] = field(default_factory=dict)

    def without(self, part: str, positions: Positions) -> Positions:
        """Those of `positions` that are not known to withstand the part."""
        return np.setdiff1d(positions, self.by.get(part, np.zeros(0, np.int64)))

    def note(self, part: str, positions: Positions) -> None:
        """These have withstood it."""
        self.by[part] = np.union1d(self.by.get(part, positions), positions)

    def everything(self, parts: Sequence[str], positions: Positions) -> int:
        """How many of `positions` have withstood all of `parts`."""
        return sum(all(p in self.by.get(part, ()) for part in parts) for p in positions.tolist())


def level_of(number: int, confidence: float) -> float:
    """The confidence of what the sample with this number (from 1) shows, on its own."""
    return 1 - (1 - confidence) * _FIRST * (1 - _FIRST) ** (number - 1)


def sampled(
    survivors: Positions,
    parts: Sequence[str],
    sample: int,
    confidence: float,
    draw: Draw,
    had: Withstood | None = None,
) -> Generator[Order, Positions, SampleEvidence]:
    """Yields attacks to be made, is sent the positions that fell, returns what is then known.

    Args:
        survivors: positions of the images that the attack's own stages left.
        parts: names of the battery's parts, in the order in which they are run on a sample.
        sample: how many are drawn; where fewer survive, all of them are attacked.
        confidence: of the statement as a whole, however many samples it takes.
        had: what is known from larger epsilons; this one adds to it.
    """
    had = Withstood() if had is None else had
    before_all = Withstood(dict(had.by))
    rounds: list[SampleRound] = []
    alive = np.sort(survivors)
    while True:
        number, before = len(rounds) + 1, len(alive)
        rank = draw(number, alive)
        drawn = np.sort(alive[np.argsort(rank, kind="stable")[:sample]])
        everything = len(drawn) == before
        left, broke = drawn, {}
        for part in parts:
            fell = yield from _run(Order(part, had.without(part, left), number), had)
            left = np.setdiff1d(left, fell)
            if len(fell):
                broke[part] = len(fell)
                if not everything:
                    break
        alive = np.setdiff1d(alive, np.setdiff1d(drawn, left))
        if everything or not broke:
            rounds.append(SampleRound(before, len(drawn), broke))
            larger = before_all.everything(parts, left)
            return _evidence(tuple(rounds), len(alive), len(left), larger, confidence)
        (part,) = broke
        told = had.without(part, alive)
        fell = yield from _run(Order(part, told, 0), had)
        alive = np.setdiff1d(alive, fell)
        sent = SentOn(part, len(told), len(fell))
        rounds.append(SampleRound(before, len(drawn), broke, (sent,)))


def _run(order: Order, had: Withstood) -> Generator[Order, Positions, Positions]:
    if not len(order.positions):
        return order.positions
    fell = yield order
    had.note(order.part, np.setdiff1d(order.positions, fell))
    return fell


def _evidence(
    rounds: tuple[SampleRound, ...], survivors: int, held: int, larger: int, confidence: float
) -> SampleEvidence:
    """What the last sample says: all of it held, or it was everything there was."""
    level = level_of(len(rounds), confidence)
    most = 0 if held == survivors else most_in_population(0, held, survivors, level)
    return SampleEvidence(
        survivors=survivors,
        sampled=held,
        broken=0,
        confidence=confidence,
        bound=most / survivors if survivors else 0.0,
        most=most,
        larger=larger,
        rounds=rounds,
    )
