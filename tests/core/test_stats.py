"""Intervals against SciPy's binomial test and against their own definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, hypergeom

from auditor.maths.intervals import accuracy, clopper_pearson, detectable


@given(st.integers(1, 3000), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99, 0.999]))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_interval_is_scipys_exact_one(total, share, level):
    count = round(share * total)
    low, high = clopper_pearson(count, total, level)
    expected = binomtest(count, total).proportion_ci(level, method="exact")
    assert low == pytest.approx(expected.low, abs=1e-9)
    assert high == pytest.approx(expected.high, abs=1e-9)


@pytest.mark.parametrize(("count", "total"), [(1, 10), (460, 500), (5, 5), (0, 7), (17, 40)])
def test_at_its_ends_the_tails_have_half_the_level(count, total):
    low, high = clopper_pearson(count, total, 0.95)
    if count > 0:
        assert binom.sf(count - 1, total, low) == pytest.approx(0.025, rel=1e-6)
    if count < total:
        assert binom.cdf(count, total, high) == pytest.approx(0.025, rel=1e-6)


def test_extremes():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    low, high = clopper_pearson(0, 50)
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 50))  # (1 - p)^n = 2.5 %
    assert clopper_pearson(50, 50) == pytest.approx((0.025 ** (1 / 50), 1.0))


def test_accuracy_holds_count_fraction_and_interval():
    one = accuracy(30, 40)
    assert (one.correct, one.total, one.accuracy) == (30, 40, 0.75)
    assert one.ci95 == clopper_pearson(30, 40, 0.95)
    assert accuracy(0, 0).accuracy == 0.0


def simulated(hidden: int, survivors: int, attacked: int, chance: float) -> float:
    """How often nothing is found of `hidden` examples, exactly: the hypergeometric mixture."""
    drawn = hypergeom(survivors, hidden, attacked)
    return float(sum(drawn.pmf(k) * (1 - chance) ** k for k in range(hidden + 1)))


@pytest.mark.parametrize(("survivors", "attacked"), [(205, 30), (205, 205), (40, 12)])
def test_what_would_have_been_seen_would_have_been_seen(survivors: int, attacked: int) -> None:
    """At the sensitivity's lower limit nothing is found with at most 2.5 %, exactly counted."""
    surely = beta.ppf(0.025, 16, 5)
    count = detectable(survivors, [(attacked, 16)], 20)
    assert 0 < count < survivors
    assert simulated(count, survivors, attacked, surely) <= 0.025
    rate = surely * attacked / survivors
    assert (1 - rate) ** (count - 1) > 0.025


def test_ways_of_attacking_share_the_error_of_their_sensitivities() -> None:
    surely = beta.ppf(0.0125, 16, 5), beta.ppf(0.0125, 8, 13)
    rate = (surely[0] * 60 + surely[1] * 30) / 344
    count = math.ceil(math.log(0.025) / math.log(1 - rate))
    assert detectable(344, [(60, 16), (30, 8)], 20) == count


@pytest.mark.parametrize(
    ("survivors", "challenges", "hidden", "count"),
    [
        (0, [], 0, 0),
        (50, [], 20, 50),
        (50, [(50, 0)], 20, 50),
        (50, [(1, 20)], 20, 50),
        (3, [(3, 16)], 20, 3),
    ],
)
def test_nothing_is_ruled_out_beyond_what_is_left(
    survivors: int, challenges: list[tuple[int, int]], hidden: int, count: int
) -> None:
    assert detectable(survivors, challenges, hidden) == count
