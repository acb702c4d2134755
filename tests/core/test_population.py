"""What a class-balanced draw says of the whole set."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.maths.intervals import clopper_pearson, stratified
from auditor.subject.population import by_class, counted, in_set
from auditor.subject.samples import Images, choose_samples

#: 95 % of one class, of which the model is right on all, and on two in five of the other.
Y = np.r_[np.zeros(950, int), np.ones(50, int)]
RIGHT = (Y == 0) | (np.arange(1000) % 5 >= 3)
IMAGES = Images(np.zeros((1000, 2, 2), np.uint8), Y, ("healthy", "ill"))


def test_the_estimate_is_that_of_the_set_and_not_of_the_draw() -> None:
    samples = choose_samples(IMAGES, 100, 0, "balanced")
    found = counted(samples, RIGHT[samples.index])
    assert (found.correct, found.total, found.accuracy) == (70, 100, 0.7)
    assert found.weighted is not None
    assert found.weighted.accuracy == pytest.approx(0.97)
    low, high = found.weighted.ci95
    assert low < 0.97 < high
    assert low > 0.87, "about that of 55 images"
    rows = by_class(samples, RIGHT[samples.index])
    assert [(row.name, row.available, row.correct, row.total) for row in rows] == [
        ("healthy", 950, 50, 50), ("ill", 50, 20, 50),
    ]  # fmt: skip
    assert rows[1].ci95 == clopper_pearson(20, 50)


def test_a_uniform_draw_speaks_for_itself() -> None:
    samples = choose_samples(IMAGES, 100, 0)
    found = counted(samples, RIGHT[samples.index])
    assert found.weighted is None
    assert by_class(samples, RIGHT[samples.index]) == ()
    assert in_set(samples, RIGHT[samples.index])[1] == found.ci95


def test_one_stratum_is_the_exact_interval() -> None:
    for found in (0, 3, 20):
        estimate, interval = stratified([(500, found, 20)])
        assert estimate == found / 20
        assert interval == pytest.approx(clopper_pearson(found, 20))


def test_of_a_stratum_that_was_not_sampled_nothing_is_known() -> None:
    estimate, (low, high) = stratified([(900, 50, 50), (100, 0, 0)])
    assert estimate == 1
    assert low == pytest.approx(0.9 * clopper_pearson(50, 50)[0])
    assert high == 1


@pytest.mark.parametrize(
    ("members", "shares", "drawn"),
    [
        ((950, 50), (0.98, 0.4), (40, 40)),
        ((500, 300, 200), (0.5, 0.9, 0.99), (15, 15, 15)),
        ((800, 100, 100), (0.3, 0.6, 0.95), (20, 20, 20)),
        ((900, 100), (0.999, 0.05), (25, 25)),
    ],
)
def test_the_interval_holds_as_often_as_it_says(members, shares, drawn) -> None:  # type: ignore[no-untyped-def]
    truth = np.average(shares, weights=members)
    made = np.random.default_rng(0)
    trials = 300
    held = 0
    for _ in range(trials):
        strata = [
            (m, int(made.binomial(n, p)), n) for m, p, n in zip(members, shares, drawn, strict=True)
        ]
        low, high = stratified(strata)[1]
        held += low <= truth <= high
    assert held / trials >= 0.93
