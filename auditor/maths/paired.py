"""Tests for two classifiers that answered the same images."""

from __future__ import annotations

from collections.abc import Sequence


def mcnemar(lost: int, won: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947): is a loss as likely as a gain?

    Only images on which the two differ count; each is a loss with probability 1/2 if nothing
    changed. 1 where there are none.

    Args:
        lost: images that the first alone has right.
        won: images that the second alone has right.
    """
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def drop_by_chance(lost: int, won: int) -> float:
    """The exact one-sided p-value of the same test: so many losses, or more, by chance alone."""
    from scipy.stats import binom

    return float(binom.sf(lost - 1, lost + won, 0.5)) if lost + won else 1.0


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given.

    At the level alpha, the chance that any adjusted value below alpha is one of a true null
    hypothesis is at most alpha, whatever depends on what.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted
