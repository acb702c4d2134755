"""Intervals against SciPy's binomial test and against their own definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from auditor.stats import accuracy, clopper_pearson


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
