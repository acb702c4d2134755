"""Work in pieces: nothing is lost or done twice where memory runs out, and no verdict changes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from itertools import chain

import numpy as np
import pytest
import torch
from auditor_plugins.pgd import PGD
from core_models import SmallCNN, block_of, run_attack
from core_pool import EPSILON, IDS, N, X, assert_same
from torch import nn

from auditor.maths.objectives import choose_objective
from auditor.subject.memory import Pieces, is_out_of_memory
from auditor.subject.victim import Victim
from auditor.surrogate import naive


def cuda_runs_out() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def torch_runs_out() -> None:
    """The real thing: more than any address space holds."""
    torch.empty(1 << 60, dtype=torch.uint8)


def numpy_runs_out() -> None:
    np.empty(1 << 60, dtype=np.uint8)


RUNS_OUT = [cuda_runs_out, torch_runs_out, numpy_runs_out]


class Work:
    """Returns the numbers of a piece; memory runs out above `room` images."""

    def __init__(self, room: int, run_out: Callable[[], None] = cuda_runs_out) -> None:
        self.room, self.run_out = room, run_out
        self.tried: list[int] = []

    def __call__(self, part: slice) -> list[int]:
        self.tried.append(part.stop - part.start)
        if part.stop - part.start > self.room:
            self.run_out()
        return list(range(part.start, part.stop))


@pytest.mark.parametrize("run_out", RUNS_OUT)
def test_where_memory_runs_out_half_is_tried_and_the_size_remembered(run_out):
    pieces, work = Pieces(), Work(5, run_out)
    done = pieces.run(work, 22)
    assert work.tried == [22, 11, 5, 5, 5, 5, 2]
    assert list(chain(*done)) == list(range(22))
    assert pieces.limit == 5
    work.tried.clear()
    assert list(chain(*pieces.run(work, 12))) == list(range(12))
    assert work.tried == [5, 5, 2]


def test_every_image_is_worked_on_once_whatever_fits():
    for count in range(1, 34):
        for room in range(1, 34):
            pieces, work = Pieces(), Work(room)
            done = pieces.run(work, count)
            assert list(chain(*done)) == list(range(count))
            assert max(map(len, done)) <= room
            assert len(work.tried) - len(done) <= math.ceil(math.log2(count)) + 1
            assert pieces.limit is None or pieces.limit <= room


def test_with_room_for_all_there_is_one_piece():
    pieces, work = Pieces(), Work(100)
    assert pieces.run(work, 100) == [list(range(100))]
    assert (work.tried, pieces.limit) == ([100], None)


def test_memory_that_shrinks_later_costs_no_image():
    pieces, work = Pieces(), Work(8)
    pieces.run(work, 16)
    work.room = 3
    assert list(chain(*pieces.run(work, 16))) == list(range(16))
    assert pieces.limit == 2


def test_no_result_is_a_result_too():
    assert Pieces(limit=2).run(lambda part: None, 5) == [None, None, None]


@pytest.mark.parametrize("run_out", RUNS_OUT)
def test_a_single_image_that_does_not_fit_is_an_error(run_out):
    work = Work(0, run_out)
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        Pieces().run(work, 4)
    assert is_out_of_memory(caught.value)
    assert work.tried == [4, 2, 1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("not enough memory"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_pass_through_and_nothing_is_tried_again(error):
    calls = []

    def work(part: slice) -> None:
        calls.append(part)
        raise error

    pieces = Pieces()
    with pytest.raises(type(error)) as caught:
        pieces.run(work, 8)
    assert caught.value is error
    assert (len(calls), pieces.limit) == (1, None)


def test_what_the_failed_attempt_held_is_gone_before_the_next():
    held: list[weakref.ref[torch.Tensor]] = []

    def work(part: slice) -> int:
        assert all(one() is None for one in held), "the failed attempt's tensors are still there"
        big = torch.ones(4)
        held.append(weakref.ref(big))
        if part.stop - part.start > 1:
            cuda_runs_out()
        return int(big.sum())

    assert Pieces().run(work, 4) == [4] * 4


# Whole models


class Cramped(nn.Module):
    """Runs out of memory above `room` images, on the way `there` or on the way back."""

    def __init__(self, inner: nn.Module, room: int, there: bool = True) -> None:
        super().__init__()
        self.inner, self.room, self.there = inner, room, there
        self.largest = 0

    def _back(self, grad: torch.Tensor) -> None:
        if len(grad) > self.room:
            cuda_runs_out()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.there and len(x) > self.room:
            cuda_runs_out()
        self.largest = max(self.largest, len(x))
        if x.requires_grad and not self.there:
            x = x * 1
            x.register_hook(self._back)
        return self.inner(x)


def cramped(*, there: bool = True, room: int = 5) -> Victim:
    return Victim("cramped", Cramped(SmallCNN(X), room, there), precision=torch.float64)


def roomy() -> Victim:
    return Victim("roomy", SmallCNN(X), precision=torch.float64)


def test_a_judgement_in_pieces_is_that_of_the_whole():
    y = torch.arange(N) % 4
    victim, other = roomy(), cramped()
    whole, parts = victim.judge(X, y), other.judge(X, y)
    assert 0 < int(whole.wrong.sum()) < N
    for name in ("wrong", "prediction", "margin", "confidence"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))
    # 24, 12 and 6 images do not fit.
    assert (other.module.largest, other.pieces.limit) == (3, 3)
    assert other.passes.forwards == N, "an attempt that failed is no pass"


@pytest.mark.parametrize("there", [True, False], ids=["forwards", "backwards"])
@pytest.mark.parametrize("jacobian", [False, True])
@pytest.mark.parametrize("aimed", [False, True])
def test_an_evaluation_in_pieces_is_that_of_the_whole(there, jacobian, aimed):
    y = torch.arange(N) % 4
    target = (y + 1 + torch.arange(N) % 3) % 4 if aimed else None
    objective = choose_objective("dlr", 4, targeted=aimed)
    whole, parts = (
        naive(one).averaged(2).evaluate(
            X, y, objective, gradient=True, target=target, jacobian=jacobian
        )
        for one in (roomy(), cramped(there=there))
    )  # fmt: skip
    assert whole.gradient.shape == ((N, 4, 1, 8, 9) if jacobian else (N, 1, 8, 9))
    for name in ("logits", "loss", "gradient"):
        torch.testing.assert_close(
            getattr(parts, name), getattr(whole, name), rtol=1e-10, atol=1e-12
        )


@pytest.mark.parametrize("there", [True, False], ids=["forwards", "backwards"])
@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_an_attack_on_a_model_short_of_memory_comes_to_the_same(norm, there):
    attack = PGD(steps=4, restarts=2, loss="margin")
    first, victim = roomy(), cramped(there=there)
    block = block_of(first, X, IDS)
    expected = run_attack(first, attack, block, norm, EPSILON[norm])
    run = run_attack(victim, attack, block, norm, EPSILON[norm])
    assert 0 < int(expected.outcome.broken.sum()) < N
    assert_same(expected.outcome, run.outcome)
    assert torch.equal(expected.outcome.backwards, run.outcome.backwards)
    assert run.verifier.rejected == expected.verifier.rejected
    assert victim.pieces.limit is not None
    assert victim.pieces.limit <= 5


def test_copies_of_a_model_remember_its_limit_together():
    victim = cramped()
    victim.judge(X, torch.zeros(N, dtype=torch.int64))
    coarse = naive(victim).in_precision(torch.float32)
    assert coarse.model.pieces is victim.pieces
