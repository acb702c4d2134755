"""Samples of survivors: what is asked for in which order, and what may be said at the end."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from auditor.cells.sampling import Order, Withstood, level_of, sampled
from auditor.maths.intervals import most_in_population
from auditor.results import SampleEvidence

PARTS = ("cheap", "middle", "dear")


def in_order(number: int, positions: np.ndarray) -> np.ndarray:
    """Draws the first ones."""
    return positions.astype(float)


def at_random(seed: int) -> Callable[[int, np.ndarray], np.ndarray]:
    generator = np.random.default_rng(seed)
    return lambda number, positions: generator.random(len(positions))


def drive(
    survivors: list[int],
    breaks: dict[str, set[int]],
    sample: int,
    draw: Callable[[int, np.ndarray], np.ndarray] = in_order,
    confidence: float = 0.95,
    had: Withstood | None = None,
) -> tuple[SampleEvidence, list[Order]]:
    """The whole procedure, if each part breaks the images `breaks` names."""
    steps = sampled(np.array(survivors), PARTS, sample, confidence, draw, had)
    orders: list[Order] = []
    try:
        order = next(steps)
        while True:
            orders.append(order)
            fell = sorted(breaks.get(order.part, set()) & set(order.positions.tolist()))
            order = steps.send(np.array(fell, np.int64))
    except StopIteration as stop:
        return stop.value, orders


def test_a_sample_that_holds_is_attacked_with_everything_once() -> None:
    seen, orders = drive(list(range(100, 300)), {}, 60)
    assert [(order.part, order.sample) for order in orders] == [(part, 1) for part in PARTS]
    assert all(order.positions.tolist() == list(range(100, 160)) for order in orders)
    assert (seen.survivors, seen.sampled, seen.broken, seen.confidence) == (200, 60, 0, 0.95)
    # P(none of 60 of 200 | K breakable) = C(200 - K, 60) / C(200, 60) > 0.03.
    chance = [math.comb(200 - k, 60) / math.comb(200, 60) for k in range(30)]
    assert seen.most == max(k for k in range(30) if chance[k] > 0.03)
    assert seen.bound == seen.most / 200


def test_what_breaks_an_image_of_the_sample_is_given_to_all() -> None:
    seen, orders = drive(list(range(200)), {"middle": {3, 4, 70, 150}}, 60)
    told = [(order.part, order.sample, len(order.positions)) for order in orders]
    assert told == [
        ("cheap", 1, 60), ("middle", 1, 60),  # the sample is over
        ("middle", 0, 140),  # all survivors but those of the sample, which have had it
        ("cheap", 2, 2), ("dear", 2, 60),  # the second sample's images that are new to them
    ]  # fmt: skip
    first, second = seen.rounds
    assert first.broken == {"middle": 2}
    assert (first.sent_on[0].images, first.sent_on[0].broken) == (140, 2)
    assert (second.survivors, second.sampled, second.broken, second.sent_on) == (196, 60, {}, ())
    assert (seen.survivors, seen.sampled) == (196, 60)
    assert seen.most == most_in_population(0, 60, 196, level_of(2, 0.95))


def test_few_survivors_are_all_attacked_and_nothing_is_left_to_say() -> None:
    seen, orders = drive(list(range(40)), {"dear": {1, 2}, "cheap": {5}}, 60)
    assert [len(order.positions) for order in orders] == [40, 39, 39]
    assert (seen.survivors, seen.sampled, seen.broken, seen.most, seen.bound) == (37, 37, 0, 0, 0)
    assert seen.rounds[0].broken == {"cheap": 1, "dear": 2}


def test_what_withstood_a_larger_epsilon_is_not_attacked_again() -> None:
    had = Withstood()
    larger, _ = drive(list(range(50, 200)), {"cheap": {60}}, 40, had=had)
    assert (larger.sampled, larger.larger) == (40, 0)
    seen, orders = drive(list(range(200)), {"middle": {190}}, 60, had=had)
    # Images 50 to 89 and 90 were drawn there, 60 fell; everybody else had the cheap part.
    told = [(order.part, order.positions.tolist()) for order in orders]
    new = list(range(50))
    assert told == [("cheap", [*new]), ("middle", [*new]), ("dear", [*new])]
    assert (seen.sampled, seen.larger) == (60, 10)


def test_nothing_to_sample() -> None:
    seen, orders = drive([], {}, 60)
    assert not orders
    assert (seen.survivors, seen.sampled, seen.most, seen.bound) == (0, 0, 0, 0)


def test_the_levels_of_all_samples_together_are_the_confidence() -> None:
    for confidence in (0.5, 0.9, 0.95, 0.99):
        missed = sum(1 - level_of(number, confidence) for number in range(1, 60))
        assert missed == pytest.approx(1 - confidence)


@pytest.mark.parametrize("found", [0, 1, 3])
@pytest.mark.parametrize(("drawn", "population"), [(1, 1), (5, 12), (20, 23), (30, 200)])
def test_the_limit_for_a_finite_population_is_the_exact_one(
    found: int, drawn: int, population: int
) -> None:
    if found > drawn:
        return

    def seen_so_few(having: int) -> float:
        ways = [
            math.comb(having, k) * math.comb(population - having, drawn - k)
            for k in range(found + 1)
        ]
        return sum(ways) / math.comb(population, drawn)

    possible = range(found, population - drawn + found + 1)
    expected = max(k for k in possible if k == found or seen_so_few(k) > 0.05)
    assert most_in_population(found, drawn, population, 0.95) == expected


WORLDS = {
    "one rare kind": {"dear": set(range(0, 200, 25))},
    "just under the first bound": {"dear": set(range(9))},
    "two kinds": {"cheap": set(range(6)), "dear": set(range(100, 112))},
    "three rare kinds": {"cheap": {0, 1, 2, 3}, "middle": {50, 51, 52, 53}, "dear": {90, 91, 92}},
    "common": {"middle": set(range(0, 200, 3)), "dear": set(range(1, 200, 20))},
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_statement_is_true_as_often_as_it_says(world: str) -> None:
    """Whatever is sent on: of 500 audits at most 1 - confidence end with a false statement."""
    breaks, false, audits = WORLDS[world], 0, 500
    for seed in range(audits):
        seen, orders = drive(list(range(200)), breaks, 40, at_random(seed), confidence=0.9)
        left = set().union(*breaks.values())
        for order in orders:
            left -= breaks.get(order.part, set()) & set(order.positions.tolist())
        false += len(left) > seen.most
    # Three standard deviations above what is allowed.
    assert false <= 0.1 * audits + 3 * math.sqrt(audits * 0.1 * 0.9)
