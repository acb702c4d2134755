"""Paired counts against enumeration, and intervals against the likelihood itself."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import norm

from auditor.maths.paired import difference_interval, fewest_lost, fisher, holm, mcnemar


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (0, 3), (4, 4), (7, 2), (1, 11), (9, 8)])
def test_mcnemar_counts_every_way_the_coins_may_fall(lost: int, won: int) -> None:
    total = lost + won
    as_far = sum(
        abs(2 * sum(coins) - total) >= abs(lost - won) for coins in product((0, 1), repeat=total)
    )
    assert mcnemar(lost, won) == pytest.approx(as_far / 2**total, rel=1e-12)


def test_mcnemar_of_many_images_is_twice_the_smaller_tail() -> None:
    tail = sum(comb(120, k) for k in range(46)) / 2**120
    assert mcnemar(45, 75) == mcnemar(75, 45) == pytest.approx(2 * tail, rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second"), [((3, 9), (8, 10)), ((0, 6), (6, 6)), ((5, 7), (2, 5))]
)
def test_fisher_counts_every_table_with_these_margins(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    (a, n), (b, m) = first, second
    ways = {
        x: comb(n, x) * comb(m, a + b - x) for x in range(a + b + 1) if x <= n and a + b - x <= m
    }
    rare = sum(way for way in ways.values() if way <= ways[a])
    assert fisher(a, n, b, m) == pytest.approx(rare / sum(ways.values()), rel=1e-9)


def test_fisher_without_images_says_nothing() -> None:
    assert fisher(0, 0, 3, 9) == 1.0


def test_holm_by_hand() -> None:
    # 4 x 0.005, 3 x 0.01, 2 x 0.03, then the largest so far.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("tests", [1, 2, 4, 16, 17])
def test_fewest_lost_is_the_first_that_is_seen(tests: int) -> None:
    def seen(lost: int) -> bool:
        return holm([mcnemar(lost, 0)] + [1.0] * (tests - 1))[0] <= 0.05

    assert fewest_lost(0.05, tests) == next(lost for lost in range(1, 100) if seen(lost))


def _not_rejected(lost: int, won: int, total: int) -> tuple[float, float]:
    """The changes that the score test does not reject, with the likeliest share by search."""
    z, kept = norm.ppf(0.975), []
    for change in np.linspace(-1, 1, 4001):
        share = np.linspace(max(0, -change), (1 - change) / 2, 4001)
        chances = share, share + change, np.maximum(0, 1 - 2 * share - change)
        with np.errstate(divide="ignore"):
            terms = [
                count * np.log(chance)
                for count, chance in zip((lost, won, total - lost - won), chances, strict=True)
                if count
            ]
        likeliest = share[np.argmax(sum(terms))]
        variance = max(0.0, total * (2 * likeliest + change - change**2))
        if abs(won - lost - total * change) <= z * variance**0.5 + 1e-9:
            kept.append(change)
    return min(kept), max(kept)


@pytest.mark.parametrize(
    ("lost", "won", "total"),
    [(0, 0, 100), (5, 0, 100), (3, 7, 44), (0, 12, 50), (0, 1, 1), (10, 0, 10), (9, 1, 10)],
)
def test_the_interval_holds_what_the_score_test_does_not_reject(
    lost: int, won: int, total: int
) -> None:
    found = difference_interval(lost, won, total)
    assert found == pytest.approx(_not_rejected(lost, won, total), abs=1e-3)


def test_the_interval_is_that_of_the_other_direction_turned_round() -> None:
    low, high = difference_interval(3, 7, 44)
    assert difference_interval(7, 3, 44) == pytest.approx((-high, -low))
    assert difference_interval(0, 0, 0) == (-1.0, 1.0)
