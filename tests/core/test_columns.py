"""The one list of columns: what two runs make of each, in the pool and in results alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auditor.attacking.outcome import COLUMNS, Block, Outcome
from auditor.cells.columns import Key, Outcomes
from auditor.cells.ledger import CellMeta, CellRecord, record_of

N = 40
EXAMPLE = ("broken", "trust", "broken_8bit", "prediction", "confidence", "distance")
KEY = Key("model", "linf", 0.1, "transfer")


def block(images: int = N) -> Block:
    x = torch.zeros(images, 1, 2, 2)
    return Block(x, torch.zeros(images, dtype=torch.int64), torch.arange(images))


def a_run(seed: int, images: int = N) -> Outcome:
    """An outcome such as a run leaves: of what withstood there is no example."""
    draw = torch.Generator().manual_seed(seed)

    def some(low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, (images,), generator=draw)

    made = Outcome.empty(block(images), 0)
    fell = some(0, 2).bool()
    made.broken |= fell
    made.trust[fell], made.prediction[fell] = some(0, 3)[fell], some(1, 9)[fell]
    made.broken_8bit[fell] = some(0, 2).bool()[fell]
    made.confidence[fell] = some(0, 9)[fell].double() / 9
    made.distance[fell] = some(1, 9)[fell].double() / 9
    made.margin = some(-9, 0).double()
    made.margin[fell] = some(0, 9)[fell].double()
    made.nearest = torch.where(fell, made.distance, torch.inf)
    for name in ("forwards", "backwards", "queries", "repaired"):
        setattr(made, name, some(0, 99))
    made.nonfinite, made.zero = some(0, 2).bool(), some(0, 2).bool()
    made.adversarial[fell] += seed
    return made


def row(outcome: Any, i: int) -> dict[str, float]:
    return {name: getattr(outcome, name)[i].item() for name in COLUMNS}


def by_hand(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    """Image by image, what two runs of one attack come to."""
    expected = dict(first)
    if second["broken"] and not first["broken"]:
        expected |= {name: second[name] for name in (*EXAMPLE, "margin")}
    elif not first["broken"]:
        expected["margin"] = max(first["margin"], second["margin"])
    expected["nearest"] = min(first["nearest"], second["nearest"])
    for name in ("forwards", "backwards"):
        expected[name] = first[name] + second[name]
    for name in ("nonfinite", "zero", "queries", "repaired"):
        expected[name] = max(first[name], second[name])
    return expected


def assert_rows(found: Any, expected: list[dict[str, float]]) -> None:
    for i, one in enumerate(expected):
        assert row(found, i) == pytest.approx(one, nan_ok=True)


def cell(outcome: Outcome, position: torch.Tensor) -> CellRecord:
    return record_of(outcome, position, CellMeta(1.0, 2, 3))


def test_nothing_known_has_the_dtypes_and_fills_of_the_list():
    outcome, results = Outcome.empty(block(), 0), Outcomes(N).at(KEY)
    for name, column in COLUMNS.items():
        assert str(getattr(outcome, name).dtype) == f"torch.{column.dtype}"
        assert getattr(results, name).dtype == column.dtype
        np.testing.assert_array_equal(getattr(results, name), np.full(N, column.fill))
        if name != "margin":
            np.testing.assert_array_equal(getattr(outcome, name), np.full(N, column.fill))
    assert outcome.margin.isneginf().all(), "any point is better"


@pytest.mark.parametrize("seed", range(5))
def test_two_runs_are_joined_image_by_image(seed):
    first, second = a_run(2 * seed + 1), a_run(2 * seed + 2)
    before = [row(first, i) for i in range(N)]
    expected = [by_hand(one, row(second, i)) for i, one in enumerate(before)]
    results = Outcomes(N).at(KEY)
    results.add(cell(first, torch.arange(N)), Path("first"))
    assert_rows(results, before)
    fell = results.add(cell(second, torch.arange(N)), Path("second"))
    assert fell.tolist() == (~first.broken & second.broken).nonzero().flatten().tolist()
    pictures = torch.where(first.broken, 2 * seed + 1, (2 * seed + 2) * second.broken)
    first.merge(second)
    assert_rows(first, expected)
    assert_rows(results, expected)
    assert first.adversarial.amax((1, 2, 3)).tolist() == pictures.tolist()


def test_a_run_on_some_images_changes_no_others():
    whole, part, rows = a_run(1), a_run(2, 3), torch.tensor([7, 0, 30])
    expected = [row(whole, i) for i in range(N)]
    for i, place in enumerate(rows.tolist()):
        expected[place] = by_hand(expected[place], row(part, i))
    whole.merge(part, rows)
    assert_rows(whole, expected)


def test_images_that_no_cell_is_about_stay_unknown():
    results = Outcomes(N).at(KEY)
    results.add(cell(a_run(1, 3), torch.tensor([4, 2, 7])), Path("some"))
    assert np.flatnonzero(~np.isnan(results.margin)).tolist() == [2, 4, 7]
    assert results.passes.sum() == a_run(1, 3).forwards.sum() + a_run(1, 3).backwards.sum()


def test_a_column_that_an_earlier_version_did_not_keep_is_unknown():
    record, results = cell(a_run(1), torch.arange(N)), Outcomes(N).at(KEY)
    del record.columns["queries"]
    results.add(record, Path("old"))
    assert not results.queries.any()
    np.testing.assert_array_equal(results.repaired, a_run(1).repaired)


def test_an_attack_and_a_check_of_one_label_are_told_apart():
    outcomes, check = Outcomes(N), Key(*KEY[:4], "check")
    other = KEY._replace(epsilon=0.2)
    for key in (KEY, check, other):
        outcomes.at(key)
    assert outcomes.get(*KEY[:4]) is outcomes.at(KEY) is not outcomes.at(check)
    assert [key for key, _ in outcomes.under("model", "linf", 0.1)] == [KEY, check]
    assert (KEY.shown, check.shown) == ("transfer", "check transfer")
