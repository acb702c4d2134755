"""Two counts on the same images: exact tests, an interval of their difference, many at once."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947).

    Under the hypothesis that neither direction is the likelier one, each of the discordant images
    is lost with the chance 1/2. Without any the value is 1.

    Args:
        lost: images that the first has right and the second wrong.
        won: images that the second has right and the first wrong.
    """
    if lost + won == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + won, 0.5).pvalue)


def fisher(first: int, first_total: int, second: int, second_total: int) -> float:
    """The exact two-sided p-value of Fisher's test that two shares are the same.

    It takes the two for independent samples, and so sees less than a paired test of the same
    images would.
    """
    if first_total == 0 or second_total == 0:
        return 1.0
    from scipy.stats import fisher_exact

    table = [[first, first_total - first], [second, second_total - second]]
    return min(1.0, float(fisher_exact(table).pvalue))


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values of several tests (Holm 1979), in the order given.

    To reject where the adjusted value is at most `level` rejects a true hypothesis with a chance of
    at most `level`, over all tests together, however these depend on each other.
    """
    adjusted = [1.0] * len(values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def fewest_lost(level: float, tests: int) -> int:
    """How few images, lost with none won, can show a difference in the first of several tests.

    The smallest k with `tests` * 2 ** (1 - k) <= `level`: what `mcnemar` and `holm` come to.
    """
    return math.ceil(1 + math.log2(tests / level))


def difference_interval(
    lost: int, won: int, total: int, level: float = 0.95
) -> tuple[float, float]:
    """The score interval of the change (won - lost) / total on the same images (Tango 1998).

    It holds the changes d that the score test does not reject: |won - lost - total d| is at most z
    times its deviation, sqrt(total (2 q + d (1 - d))), with q the likeliest share of lost images if
    the change is d: the larger root of

        2 total q^2 + (-won - lost + (2 total - won + lost) d) q - lost d (1 - d) = 0.
    """
    if total == 0:
        return -1.0, 1.0
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf((1 + level) / 2))
    seen = (won - lost) / total

    def excess(change: float) -> float:
        linear = -won - lost + (2 * total - won + lost) * change
        rest = -lost * change * (1 - change)
        root = (math.sqrt(max(0.0, linear**2 - 8 * total * rest)) - linear) / (4 * total)
        variance = max(0.0, total * (2 * root + change * (1 - change)))
        return abs(won - lost - total * change) - z * math.sqrt(variance)

    # What was seen is in it; there the excess may be 0, which must not be taken for an end.
    inside = 1e-9
    low = -1.0 if excess(-1.0) <= 0 else float(brentq(excess, -1.0, seen - inside))
    high = 1.0 if excess(1.0) <= 0 else float(brentq(excess, seen + inside, 1.0))
    return low, high
