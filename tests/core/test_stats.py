"""Intervals against SciPy's binomial test and against their own definition."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, poisson

from auditor.stats import accuracy, clopper_pearson, poisson_upper


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


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("count", [0, 1, 2, 10, 250])
def test_at_the_upper_limit_of_a_mean_so_few_are_as_rare_as_the_level_says(count, level):
    upper = poisson_upper(count, level)
    assert poisson.cdf(count, upper) == pytest.approx(1 - level, rel=1e-6)


def test_upper_limits_of_a_mean_that_are_known():
    """e^-m = 5 %; and Garwood's table: 0 to 4 events, one-sided 95 %."""
    assert poisson_upper(0) == pytest.approx(-math.log(0.05))
    for count, limit in enumerate([2.996, 4.744, 6.296, 7.754, 9.154]):
        assert poisson_upper(count) == pytest.approx(limit, abs=5e-4)
