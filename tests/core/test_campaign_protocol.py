"""What a composite may yield, and that it gains nothing by cheating."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from core_campaign import Greys, Scripted, of, run_campaign
from core_models import linear_victim
from core_pool import toy

from auditor.attacking.outcome import Block
from auditor.attacking.pool import AttackDefectError
from auditor.protocols.attack import State
from auditor.protocols.composite import Stage
from auditor.subject.victim import Victim

N = 4
ROWS = torch.arange(N)
GREYS = Greys((0.01, 0.02))


def victim() -> Victim:
    """Answers 1 from a mean pixel of 1/2 on; 2 and 3 never."""
    W = torch.zeros(4, 16, dtype=torch.float64)
    W[0], W[1] = -1 / 16, 1 / 16
    return linear_victim(W, torch.tensor([0.5, -0.5, -5.0, -5.0]).double())


def dark() -> Block:
    x = torch.full((N, 1, 4, 4), 0.3, dtype=torch.float64)
    return Block(x, torch.zeros(N, dtype=torch.int64), torch.arange(N))


def stage(**what) -> Stage:
    return Stage(**{"name": "odd", "attack": GREYS, "image": ROWS, **what})


@toy()
@dataclass(frozen=True)
class NoState:
    steps = 1

    def start(self, task):
        return task.x

    def step(self, task, state, seen):
        raise AssertionError


@toy()
@dataclass(frozen=True)
class WrongShape:
    steps = 1

    def start(self, task):
        return State(task.x[:, :, 1:])

    def step(self, task, state, seen):
        raise AssertionError


#: What is yielded, and what the message says of it.
GARBAGE = {
    "text": ("APGD", "yielded str, not a Stage"),
    "nothing": (None, "yielded NoneType, not a Stage"),
    "an attack": (GREYS, "yielded Greys, not a Stage"),
    "targets of fewer lanes": (stage(target=ROWS[1:]), "columns of different lengths"),
    "targets in a table": (stage(target=ROWS[:, None]), "columns of different lengths"),
    "restarts of more lanes": (stage(restart=torch.arange(9)), "columns of different lengths"),
    "one turn for all": (stage(turn=torch.tensor(0)), "columns of different lengths"),
    "images in a table": (stage(image=ROWS[:, None]), "columns of different lengths"),
    "too few points": (stage(origin=dark().x[:3]), "3 starting points for 4 lanes"),
    "an image too many": (stage(image=ROWS + 1), "images that are not there"),
    "an image before the first": (stage(image=ROWS - 1), "images that are not there"),
    "an attack that returns no state": (stage(attack=NoState()), "not a State"),
    "an attack of another shape": (stage(attack=WrongShape()), "proposed x as"),
}


def error_of(composite: Scripted) -> str:
    with pytest.raises(AttackDefectError) as caught:
        run_campaign(victim(), composite, dark(), "linf", 0.1)
    return str(caught.value)


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_stage_of_this_block_is_a_defect_of_the_attack(what):
    yielded, said = GARBAGE[what]
    message = error_of(of([yielded]))
    assert said in message
    assert "'toy'" in message
    if isinstance(yielded, Stage) and yielded.attack is GREYS:
        assert "stage 'odd'" in message


WRONG_KIND = {
    "images in a list": stage(image=[0, 1, 2]),
    "images that are no whole numbers": stage(image=ROWS.double()),
    "images as a mask": stage(image=torch.ones(N, dtype=torch.bool)),
    "targets that are no whole numbers": stage(target=ROWS.double() * 0 + 1),
    "a class that is not there": stage(target=ROWS * 0 + 4),
    "a class before the first": stage(target=ROWS * 0 - 1),
    "a restart before the first": stage(restart=ROWS * 0 - 1),
    "a restart that a target's numbers begin at": stage(restart=ROWS * 0 + 65536),
    "points of another shape": stage(origin=dark().x[:, :, 1:]),
    "points of another type": stage(origin=dark().x.float()),
    "a precision that is none": stage(precision="fast"),
    "an attack that is none": stage(attack="apgd"),
}


@pytest.mark.parametrize("what", WRONG_KIND)
def test_columns_and_attacks_of_the_wrong_kind_are_a_defect_too(what):
    message = error_of(of([WRONG_KIND[what]]))
    assert "odd" in message or "'toy'" in message


def test_a_good_stage_before_a_bad_one_does_not_excuse_it():
    composite = of([stage(), stage(image=ROWS + 1)])
    assert "images that are not there" in error_of(composite)
    assert len(composite.sent) == 1


def test_an_error_of_the_composite_is_its_own():
    def raises(brief):
        yield stage()
        raise ZeroDivisionError("in the composite")

    with pytest.raises(ZeroDivisionError, match="in the composite"):
        run_campaign(victim(), Scripted(raises), dark(), "linf", 0.1)


# Cheating


def spoil(brief, what: str) -> None:
    if what == "x":
        brief.x.add_(0.3)
    if what == "the ball":
        brief.ball.x0.add_(0.3)
    if what == "labels":
        brief.y.fill_(1)
    if what == "logits":
        brief.logits.fill_(9)


@pytest.mark.parametrize("what", ["x", "the ball", "labels", "logits"])
def test_a_composite_that_writes_into_its_brief_gains_nothing(what):
    """In the true ball the victim is right everywhere."""

    def cheats(brief):
        spoil(brief, what)
        yield stage()

    block = dark()
    run = run_campaign(victim(), Scripted(cheats), block, "linf", 0.1)
    assert not run.outcome.broken.any()
    assert torch.equal(block.x, dark().x)
    assert torch.equal(block.y, dark().y)


@pytest.mark.parametrize("what", ["fallen", "margin", "untrusted", "lane_margin", "best"])
def test_a_composite_that_writes_into_its_standing_gains_nothing(what):
    def cheats(brief):
        standing = yield stage()
        getattr(standing, what).fill_(1)
        yield stage()

    def honest(brief):
        yield stage()
        yield stage()

    one, other = (
        run_campaign(victim(), Scripted(script), dark(), "linf", 0.1) for script in (honest, cheats)
    )
    assert not other.outcome.broken.any()
    for name in ("margin", "best_point", "zero", "adversarial", "forwards"):
        assert torch.equal(getattr(one.outcome, name), getattr(other.outcome, name)), name


def test_what_a_composite_was_told_does_not_change_afterwards():
    composite = of([stage(), stage(attack=Greys((0.05,))), stage(attack=Greys((0.25,)))])
    run = run_campaign(victim(), composite, dark(), "linf", 0.3)
    assert run.outcome.broken.all()
    assert [standing.fallen.any().item() for standing in composite.sent] == [False, False, True]
    for standing, shift in zip(composite.sent, (0.02, 0.05, 0.25), strict=True):
        assert standing.margin.tolist() == pytest.approx([2 * (0.3 + shift - 0.5)] * N)
        torch.testing.assert_close(standing.best, dark().x + shift)


def test_points_outside_the_ball_are_rejected_whoever_proposes_them():
    composite = of([stage(attack=Greys((0.25,))), stage(origin=dark().x + 0.2)])
    run = run_campaign(victim(), composite, dark(), "linf", 0.1)
    assert not run.outcome.broken.any()
    assert run.verifier.rejected == {"outside the ball": 2 * N}
