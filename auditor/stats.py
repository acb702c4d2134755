"""Intervals for counts of images."""

from __future__ import annotations

from auditor.results import Accuracy


def clopper_pearson(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval for a proportion (Clopper & Pearson 1934).

    Args:
        count: successes, 0 <= count <= total.
        total: trials; with none the interval is everything.
    """
    if total == 0:
        return 0.0, 1.0
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count > 0 else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def accuracy(correct: int, total: int) -> Accuracy:
    """A count of correctly classified images with its 95 % interval."""
    fraction = correct / total if total else 0.0
    return Accuracy(correct, total, fraction, clopper_pearson(correct, total))


def most_in_population(found: int, drawn: int, population: int, level: float = 0.95) -> int:
    """The exact one-sided upper limit for how many of a finite population have a property.

    Of `drawn` members, drawn at random without putting back, `found` have it. The largest number of
    the whole for which so few would not be too rare: P(X <= found) > 1 - level, X hypergeometric.
    """
    from scipy.stats import hypergeom

    low, high = found, population - drawn + found
    while low < high:  # the probability falls as the number grows
        middle = (low + high + 1) // 2
        if hypergeom.cdf(found, population, middle, drawn) > 1 - level:
            low = middle
        else:
            high = middle - 1
    return low
