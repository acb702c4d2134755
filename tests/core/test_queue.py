"""Which lanes start when: written-out examples, and every rule on random plans."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from auditor.attacking.lanes import LanePlan
from auditor.attacking.queue import LaneQueue


def queue_of(row: Sequence[int], turn: Sequence[int]) -> LaneQueue:
    rows = torch.tensor(row, dtype=torch.int64)
    turns = torch.tensor(turn, dtype=torch.int64)
    return LaneQueue(LanePlan(rows, None, torch.zeros_like(rows), turns))


def test_rows_start_as_the_plan_names_them_and_no_more_than_are_free():
    queue = queue_of([5, 3, 9, 4], [0, 0, 0, 0])
    assert queue.take(3, idle=True) == [0, 1, 2]
    assert queue.take(0, idle=False) == []
    assert queue.take(3, idle=False) == [3]
    assert not queue
    assert queue.take(3, idle=False) == []


def test_lanes_of_one_row_and_turn_start_together_wherever_the_plan_names_them():
    queue = queue_of([1, 2, 1, 2, 1], [0, 0, 0, 0, 0])
    assert queue.take(3, idle=True) == [0, 2, 4]
    assert queue.take(2, idle=False) == [1, 3]


def test_a_group_that_does_not_fit_waits_and_so_do_those_behind_it():
    queue = queue_of([1, 2, 2, 3], [0, 0, 0, 0])
    assert queue.take(2, idle=True) == [0]
    assert queue
    assert queue.take(1, idle=False) == []
    assert queue.take(3, idle=False) == [1, 2, 3]


def test_only_an_idle_pool_takes_a_group_larger_than_it_has_room_for():
    queue = queue_of([1, 1, 1, 2], [0, 0, 0, 0])
    assert queue.take(2, idle=False) == []
    assert queue.take(2, idle=True) == [0, 1, 2]
    assert queue.take(2, idle=False) == [3]


def test_turns_follow_their_numbers_and_not_the_order_of_the_plan():
    queue = queue_of([7, 7, 7], [4, -2, 0])
    for lane, finished in ((1, 0), (2, 0), (0, 1)):
        assert queue.take(9, idle=True) == [lane]
        assert not queue
        assert queue.end([7], [False]) == finished
    assert not queue


def test_a_later_turn_waits_for_every_lane_of_the_earlier_one():
    queue = queue_of([1, 1, 1], [0, 0, 1])
    assert queue.take(9, idle=True) == [0, 1]
    assert queue.end([1], [False]) == 0
    assert not queue
    assert queue.end([1], [False]) == 0
    assert queue.take(9, idle=True) == [2]
    assert queue.end([1], [False]) == 1


def test_a_row_that_fell_is_finished_and_its_later_turns_never_start():
    queue = queue_of([1, 1, 2, 2], [0, 1, 0, 1])
    assert queue.take(9, idle=True) == [0, 2]
    assert queue.end([1, 2], [True, False]) == 1
    assert queue.take(9, idle=True) == [3]
    assert queue.end([2], [True]) == 1
    assert not queue


def test_lanes_that_fall_together_finish_their_row_once():
    queue = queue_of([1, 1, 1, 1], [0, 0, 0, 1])
    assert queue.take(9, idle=True) == [0, 1, 2]
    assert queue.end([1, 1, 1], [True, True, True]) == 1
    assert not queue


def test_rows_come_round_again_behind_those_that_have_not_started():
    queue = queue_of([1, 1, 2, 3], [0, 1, 0, 0])
    assert queue.take(1, idle=True) == [0]
    assert queue.end([1], [False]) == 0
    assert [queue.take(1, idle=True) for _ in range(3)] == [[2], [3], [1]]


def test_an_empty_plan_has_nothing_to_start():
    queue = queue_of([], [])
    assert not queue
    assert queue.take(4, idle=True) == []


def random_plan(draw: random.Random) -> tuple[list[int], list[int]]:
    lanes = [
        (row, turn)
        for row in draw.sample(range(50), draw.randint(1, 8))
        for turn in draw.sample(range(-3, 9), draw.randint(1, 3))
        for _ in range(draw.randint(1, 4))
    ]
    draw.shuffle(lanes)
    return [row for row, _ in lanes], [turn for _, turn in lanes]


@pytest.mark.parametrize("seed", range(40))
def test_every_rule_holds_on_random_plans(seed):
    """Plays a pool: lanes end in any order, rows fall at random; counts in plain dictionaries."""
    draw = random.Random(seed)
    row, turn = random_plan(draw)
    capacity = draw.randint(1, 6)
    queue = queue_of(row, turn)
    running: list[int] = []
    started: set[int] = set()
    ended: set[int] = set()
    fallen: set[int] = set()
    finished = 0
    while queue or running:
        free = capacity - len(running)
        taken = queue.take(free, idle=not running)
        if len(taken) > max(0, free):
            assert not running
            assert len({row[lane] for lane in taken}) == 1, "one group, however large"
        for lane in taken:
            assert lane not in started
            assert row[lane] not in fallen
            group = [i for i in range(len(row)) if (row[i], turn[i]) == (row[lane], turn[lane])]
            assert set(group) <= set(taken)
            before = [i for i in range(len(row)) if row[i] == row[lane] and turn[i] < turn[lane]]
            assert set(before) <= ended
        started |= set(taken)
        running += taken
        assert running, "something may always start or is running"
        # One lane ends; if it is a success, its siblings end with it.
        lane = draw.choice(running)
        leaving = [lane]
        if draw.random() < 0.3:
            fallen.add(row[lane])
            leaving = [other for other in running if row[other] == row[lane]]
        running = [other for other in running if other not in leaving]
        ended |= set(leaving)
        rows = [row[other] for other in leaving]
        finished += queue.end(rows, [one in fallen for one in rows])
    assert finished == len(set(row))
    assert started == ended
    assert {lane for lane in range(len(row)) if row[lane] not in fallen} <= started
