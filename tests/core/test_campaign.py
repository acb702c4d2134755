"""Composites: which lanes run, what they cost, what the composite is told, what is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from core_campaign import Greys, Scripted, of, run_campaign
from core_lanes import Aimed
from core_models import Counted, block_of, cnn_victim, linear_victim
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from core_pool import toy

from auditor.attacking.outcome import Block
from auditor.attacking.stages import StageRecord
from auditor.protocols.attack import GRADIENT, Observation, State, Task
from auditor.protocols.composite import Stage
from auditor.subject.victim import Victim

N = 8
X, IDS = ALL[:N], ALL_IDS[:N]
TINY = 1e-4
W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16), torch.zeros(1, 16)]).double() / 16


def bright_from_half() -> tuple[Victim, Counted]:
    """Answers 1 from a mean pixel of 1/2 on, 0.2 brighter than `dark` images; never 2."""
    counted = Counted(linear_victim(W, torch.tensor([0.5, -0.5, -5.0]).double()).module)
    return Victim("counted", counted, precision=torch.float64), counted


def dark(count: int = 3) -> Block:
    x = 0.3 + 0.001 * torch.arange(count).double().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
    return Block(x.contiguous(), torch.zeros(count, dtype=torch.int64), torch.arange(count))


# Which lanes


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_stage_runs_on_the_lanes_it_names(batch_size):
    victim = cnn_victim(X)
    block, image = block_of(victim, X), torch.tensor([2, 0, 2, 5, 2])
    target = (block.y[image] + torch.tensor([1, 2, 3, 1, 2])) % 4
    turn = torch.tensor([0, 0, 1, 7, 0])
    origin = X[image] + 0.1 * TINY * torch.arange(5).view(-1, 1, 1, 1)
    attack = Aimed(steps=1, images=X)
    restart = torch.tensor([3, 0, 0, 1, 1])
    stage = Stage("one", attack, image, target, restart, turn, origin)
    run = run_campaign(victim, of([stage]), block, "linf", TINY, batch_size=batch_size)
    assert not run.outcome.broken.any()
    starts = [line for line in attack.diary if line.origin is not None]
    found = [
        (line.row, line.target, line.restart, line.origin.flatten().tolist()) for line in starts
    ]
    columns = (image.tolist(), target.tolist(), restart.tolist(), origin.flatten(1).tolist())
    expected = list(zip(*columns, strict=True))
    assert sorted(found) == sorted(expected)
    # Of image 2 the lanes of turn 0 come before that of turn 1.
    of_two = [line.target for line in starts if line.row == 2]
    assert of_two == [int(target[0]), int(target[4]), int(target[2])]
    assert [one.images for one in run.log.stages] == [3]


def test_random_numbers_are_those_of_stage_image_target_and_restart():
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)

    def numbers(name: str, restart: int, target: int | None) -> list[tuple[float, ...]]:
        attack = Aimed(steps=1, images=X)
        rows = torch.arange(N)
        aim = None if target is None else (block.y + target) % 4
        stage = Stage(name, attack, rows, aim, torch.full_like(rows, restart))
        run_campaign(victim, of([stage]), block, "linf", TINY)
        return [line.noise for line in attack.diary]

    lanes = [("one", 0, None), ("two", 0, None), ("one", 1, None), ("one", 65535, None)]
    lanes += [("one", 0, 1), ("one", 0, 2), ("one", 65535, 1)]
    drawn = [number for lane in lanes for number in numbers(*lane)]
    assert len(set(drawn)) == len(drawn) == len(lanes) * N * 2
    assert numbers("one", 0, 1) == numbers("one", 0, 1)


@toy()
@dataclass(frozen=True)
class OneAims:
    """Five points; a lane that aims at class 1 is adversarial at the second, the others never."""

    steps = 4

    def start(self, task: Task) -> State:
        return State(task.x.clone())

    def step(self, task: Task, state: State, seen: Observation) -> State:
        bright = (task.target == 1) & (task.step == 0)
        return State(task.x + torch.where(bright, 0.25, 0.1).view(-1, 1, 1, 1))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_siblings_of_a_fallen_image_leave_with_it_and_later_turns_never_start(batch_size):
    victim, counted = bright_from_half()
    # Image 0 is aimed at three times: twice side by side, and in a later turn.
    image, target = torch.tensor([0, 1, 0, 0, 2]), torch.tensor([1, 2, 2, 1, 2])
    composite = of([Stage("s", OneAims(), image, target, turn=torch.tensor([0, 0, 0, 1, 0]))])
    run = run_campaign(victim, composite, dark(), "linf", 0.3, batch_size=batch_size)
    assert run.outcome.broken.tolist() == [True, False, False]
    # Two looks of two lanes, a verification of two images; five looks of the others.
    assert run.outcome.forwards.tolist() == [2 * 2 + 2, 5, 5]
    assert counted.forwards == 6 + 5 + 5
    # A margin is 2 (mean - 0.5). The sibling was looked at twice, the later lane never.
    lane = composite.sent[0].lane_margin.tolist()
    assert lane == pytest.approx([0.1, -0.198, -0.2, -torch.inf, -0.196])
    assert composite.sent[0].fallen.tolist() == [True, False, False]


def test_images_that_fell_in_one_stage_stay_fallen_in_the_next():
    victim, _ = bright_from_half()
    rows = torch.arange(3)
    first = Stage("first", Greys((0.1, 0.21)), rows[:1])
    second = Stage("second", Greys((0.25,)), rows[:1])
    third = Stage("third", Greys((0.05, 0.15)), rows)
    composite = of([first, second, third])
    run = run_campaign(victim, composite, dark(), "linf", 0.3)
    assert [one.fallen.tolist() for one in composite.sent] == [[True, False, False]] * 3
    assert run.outcome.broken.tolist() == [True, False, False]
    # The example of the first stage is the nearer one.
    torch.testing.assert_close(run.outcome.adversarial[0], dark().x[0] + 0.21)
    assert [one.broken for one in run.log.stages] == [1, 0, 0]


# Batches


def insisting(brief):
    """Three targets side by side; then, where the survivors are, two more in turn."""
    rows = torch.arange(len(brief.y))
    rivals = brief.rivals(3)
    standing = yield Stage("aimed", Aimed(steps=2), rows.repeat_interleave(3), rivals.flatten())
    alive = (~standing.fallen).nonzero().flatten()
    lanes = alive.repeat_interleave(2)
    yield Stage(
        "again", Aimed(steps=3), lanes, rivals[alive, :2].flatten(),
        restart=torch.arange(2).repeat(len(alive)), turn=torch.arange(2).repeat(len(alive)),
        origin=standing.best[lanes],
    )  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_lanes_side_by_side_come_to_the_same_in_batches_of_any_size(norm):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    epsilon = {"linf": 0.02, "l2": 0.12}[norm]
    composite = Scripted(insisting)
    first = run_campaign(victim, composite, block, norm, epsilon, batch_size=64)
    assert 0 < int(first.outcome.broken.sum()) < N
    assert composite.sent[0].fallen.any()
    for batch_size in (1, 3):
        other = Scripted(insisting)
        again = run_campaign(victim, other, block, norm, epsilon, batch_size=batch_size)
        for name in ("broken", "broken_8bit", "prediction", "forwards"):
            assert torch.equal(getattr(again.outcome, name), getattr(first.outcome, name)), name
        for name in ("margin", "distance", "confidence", "adversarial", "best_point", "nearest"):
            torch.testing.assert_close(
                getattr(again.outcome, name), getattr(first.outcome, name), equal_nan=True
            )
        for one, two in zip(composite.sent, other.sent, strict=True):
            assert torch.equal(one.fallen, two.fallen)
            assert torch.equal(one.untrusted, two.untrusted)
            torch.testing.assert_close(one.margin, two.margin)
            torch.testing.assert_close(one.lane_margin, two.lane_margin)
            torch.testing.assert_close(one.best, two.best)
        assert [replace_time(one) for one in again.log.stages] == [
            replace_time(one) for one in first.log.stages
        ]


def replace_time(stage: StageRecord) -> StageRecord:
    """Backward passes are those of whole batches."""
    return replace(stage, seconds=0, backwards=0)


# What it costs


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_passes_of_all_stages_are_passes_made(batch_size):
    counted = Counted(cnn_victim(X).module)
    victim = Victim("counted", counted, precision=torch.float64)
    block = block_of(victim, X, IDS)
    counted.forwards = 0
    run = run_campaign(victim, Scripted(insisting), block, "linf", 0.02, batch_size=batch_size)
    clean_logits = N
    assert counted.forwards == int(run.outcome.forwards.sum())
    assert counted.backwards == int(run.outcome.backwards.sum()) > 0
    assert sum(one.forwards for one in run.log.stages) + clean_logits == counted.forwards
    assert sum(one.backwards for one in run.log.stages) == counted.backwards
    assert sum(one.broken for one in run.log.stages) == int(run.outcome.broken.sum())
    survivors = N - run.log.stages[0].broken
    assert [one.images for one in run.log.stages] == [N, survivors]


def test_clean_logits_cost_a_pass_only_where_they_are_asked_for():
    victim, counted = bright_from_half()

    def asks_twice(brief):
        brief.rivals(1)
        torch.testing.assert_close(brief.logits, counted.inner(brief.x))
        brief.rivals(1)
        yield from ()

    for script, cost in ((asks_twice, 3), (lambda brief: iter(()), 0)):
        counted.forwards = 0
        run = run_campaign(victim, Scripted(lambda b, s=script: (yield from s(b))), dark(),
                           "linf", 0.1)  # fmt: skip
        assert counted.forwards == int(run.outcome.forwards.sum()) == cost


def test_gradients_and_losses_of_a_stage_are_averaged_over_its_draws():
    victim, counted = bright_from_half()

    @toy(needs=GRADIENT)
    @dataclass(frozen=True)
    class Averaged(Aimed):
        eot: int = 3

    stage = Stage("averaged", Averaged(steps=2), torch.arange(3))
    counted.forwards = 0
    run = run_campaign(victim, of([stage]), dark(), "linf", 0.01)
    assert counted.forwards == 3 * 3 * 3
    assert run.outcome.forwards.tolist() == [9] * 3
    assert run.outcome.backwards.tolist() == [6] * 3
    assert run.log.stages[0].surrogate == "naive, averaged over 3 draws"


# No images


def test_without_images_a_composite_is_not_asked():
    victim, counted = bright_from_half()

    def never(brief):
        raise AssertionError("there is nothing to attack")
        yield

    run = run_campaign(victim, Scripted(never), dark(0), "linf", 0.1)
    assert (counted.forwards, run.log.stages, run.progress) == (0, [], [(0, 0)])
    assert run.outcome.adversarial.shape == (0, 1, 4, 4)
    twice = run_campaign(victim, replace(Scripted(never), second_run=True), dark(0), "linf", 0.1)
    assert twice.log.agreement == {"total": 0, "same": 0, "only_first": 0, "only_second": 0}


def test_a_stage_without_lanes_is_a_stage_in_which_nothing_happens():
    victim, counted = bright_from_half()
    composite = of([Stage("none", Greys((0.1,)), torch.zeros(0, dtype=torch.int64))])
    run = run_campaign(victim, composite, dark(), "linf", 0.1)
    assert counted.forwards == 0
    (standing,) = composite.sent
    assert standing.margin.tolist() == [-torch.inf] * 3
    assert torch.equal(standing.best, dark().x)
    assert standing.lane_margin.shape == (0,)
    assert (run.log.stages[0].images, run.log.stages[0].forwards) == (0, 0)
