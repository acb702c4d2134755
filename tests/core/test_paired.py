"""Paired tests against their definitions."""

from __future__ import annotations

from itertools import product
from math import comb

import pytest

from auditor.maths.paired import drop_by_chance, holm, mcnemar


@pytest.mark.parametrize(("lost", "won"), list(product(range(9), range(9))))
def test_exact_values_are_counts_of_coin_tosses(lost: int, won: int) -> None:
    tosses = lost + won
    weights = [comb(tosses, heads) for heads in range(tosses + 1)]
    # Two-sided: all outcomes that are no likelier than the one seen.
    both = sum(weight for weight in weights if weight <= weights[lost])
    assert mcnemar(lost, won) == pytest.approx(both / 2**tosses, abs=1e-12)
    assert drop_by_chance(lost, won) == pytest.approx(sum(weights[lost:]) / 2**tosses, abs=1e-12)


def test_nothing_changed() -> None:
    assert (mcnemar(0, 0), drop_by_chance(0, 0)) == (1.0, 1.0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
