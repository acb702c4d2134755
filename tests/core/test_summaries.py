"""What is said of an attack besides its number, against plain sums and closed forms."""

from __future__ import annotations

import random

import numpy as np
import pytest

from auditor.attacking.stages import StageRecord
from auditor.audit.summaries import agreement, curve, loss_summaries, stage_summaries
from auditor.cells.ledger import CellMeta
from auditor.results import Agreement

FIGURES = ("broken", "forwards", "backwards", "seconds")


def meta(**what) -> CellMeta:
    return CellMeta(1.0, 0, 0, "naive", "", "", **what)


def stage(name: str, objective: str = "margin", surrogate: str = "naive", **figures) -> StageRecord:
    """As an attack's log holds it."""
    figures = {"images": 0, "broken": 0, "forwards": 0, "backwards": 0, "seconds": 0.0, **figures}
    return StageRecord(name, objective, "for the attack's note", surrogate, **figures)


# Stages


def random_stages(seed: int) -> list[list[StageRecord]]:
    draw = random.Random(seed)
    return [
        [
            stage(
                draw.choice("abc"),
                draw.choice(["margin", "dlr"]),
                draw.choice(["naive", "naive in bfloat16"]),
                images=draw.randint(0, 9),
                broken=draw.randint(0, 9),
                forwards=draw.randint(0, 99),
                backwards=draw.randint(0, 99),
                seconds=draw.random(),
            )
            for _ in range(draw.randint(0, 8))
        ]
        for _ in range(draw.randint(1, 4))
    ]


def kind(one) -> tuple[str, str, str]:
    return one.name, one.objective, one.surrogate


@pytest.mark.parametrize("seed", range(10))
def test_stages_of_one_kind_are_added_up_over_blocks(seed):
    blocks = random_stages(seed)
    summaries = stage_summaries([meta(stages=stages) for stages in blocks])
    logged = [one for stages in blocks for one in stages]
    assert [kind(one) for one in summaries] == list(dict.fromkeys(map(kind, logged)))
    for one in summaries:
        for name in FIGURES:
            expected = sum(getattr(other, name) for other in logged if kind(other) == kind(one))
            assert getattr(one, name) == pytest.approx(expected)
        # Rounds that are all alike are run on the same images: those of each block's first count.
        firsts = [[other for other in stages if kind(other) == kind(one)][:1] for stages in blocks]
        assert one.images == sum(other.images for first in firsts for other in first)


def test_a_search_and_the_exact_stage_of_its_name_are_told_apart():
    """What was differentiated is part of the summary: they are no rounds that are alike."""
    coarse = stage("sweep", surrogate="naive in bfloat16", images=9, broken=5, forwards=90)
    exact = stage("sweep", images=4, broken=1, forwards=44)
    found = stage_summaries([meta(stages=[coarse, exact])])
    assert [(one.surrogate, one.images, one.broken) for one in found] == [
        ("naive in bfloat16", 9, 5),
        ("naive", 4, 1),
    ]


def test_blocks_without_stages_have_no_summaries():
    assert stage_summaries([meta(), meta()]) == ()
    assert stage_summaries([]) == ()


# Two runs


def test_agreements_are_added_up():
    one = {"total": 9, "same": 6, "only_first": 1, "only_second": 2}
    other = {"total": 5, "same": 1, "only_first": 4, "only_second": 0}
    found = agreement([meta(agreement=one), meta(), meta(agreement=other)])
    assert found == Agreement(same=7, total=14, only_first=5, only_second=2)
    assert agreement([meta()]) is None


# Curve


def brute_force(correct: list[bool], nearest: list[float], epsilon: float) -> float:
    left = [right and not far <= epsilon for right, far in zip(correct, nearest, strict=True)]
    return sum(left) / len(left)


@pytest.mark.parametrize("images", [1, 7, 60, 500])
def test_the_curve_is_the_accuracy_at_each_of_its_steps(images):
    generator = np.random.default_rng(images)
    nearest = generator.exponential(0.1, images)
    nearest[generator.random(images) < 0.2] = np.inf
    nearest[images // 2 :: 5] = nearest[0]
    correct = generator.random(images) < 0.8
    points = curve(correct, nearest)
    for point in points:
        expected = brute_force(correct.tolist(), nearest.tolist(), point.epsilon)
        assert point.accuracy == pytest.approx(expected)
    epsilons = [point.epsilon for point in points]
    assert epsilons == sorted(set(epsilons))
    assert epsilons[0] == 0
    steps = {
        far for right, far in zip(correct.tolist(), nearest.tolist(), strict=True)
        if right and far < np.inf
    }  # fmt: skip
    assert set(epsilons[1:]) <= steps
    if len(steps) < 200:
        assert set(epsilons[1:]) == steps
    else:
        assert len(points) == 200
    assert max(steps, default=0) == epsilons[-1]


def test_a_selection_of_steps_is_spread_over_all_of_them():
    nearest = np.arange(1, 5001) / 5000
    points = curve(np.ones(5000, bool), nearest)
    assert len(points) == 200
    gaps = np.diff([point.accuracy for point in points])
    assert gaps.max() < 0
    assert gaps.min() > -2 / 199


def test_nothing_found_is_a_flat_curve():
    points = curve(np.array([True, False, True]), np.full(3, np.inf))
    assert [(point.epsilon, point.accuracy) for point in points] == [(0.0, pytest.approx(2 / 3))]


def test_an_example_at_no_distance_at_all_is_no_point_twice():
    points = curve(np.array([True, True]), np.array([0.0, 0.5]))
    assert [(point.epsilon, point.accuracy) for point in points] == [(0.0, 0.5), (0.5, 0.0)]


# Losses


def test_quartiles_are_those_of_the_images_that_saw_a_restart():
    loss = np.array([[4.0, np.nan], [0.0, 7.0], [1.0, np.nan], [3.0, np.inf], [2.0, np.nan]])
    first, second = loss_summaries(loss)
    assert (first.restart, first.images, first.quantiles) == (0, 5, (0, 1, 2, 3, 4))
    assert (second.restart, second.images, second.quantiles) == (1, 1, (7, 7, 7, 7, 7))
    assert loss_summaries(np.full((3, 1), np.nan))[0].quantiles is None
    assert loss_summaries(np.zeros((4, 0))) == ()
    assert loss_summaries(None) == ()
