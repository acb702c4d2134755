"""The pool: what happens to an image is a function of that image alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from auditor_plugins.fgsm import RandomFGSM
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_models import (
    NORM,
    Counted,
    Linear,
    block_of,
    cnn_victim,
    run_attack,
)
from core_pool import ATTACKS, EPSILON, IDS, Claims, N, X, always_wrong, assert_same, toy
from torch import nn

from auditor.attacking.pool import Block
from auditor.protocols.attack import GRADIENT, Observation, State, Task
from auditor.subject.victim import Victim
from auditor.surrogate import naive

# What happens to an image is a function of that image


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_neither_batch_size_nor_order_changes_what_happens_to_an_image(norm_name, attack):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    epsilon = EPSILON[norm_name] * (2 if isinstance(attack, Noise) else 1)
    first = run_attack(victim, attack, block, norm_name, epsilon, batch_size=1)
    fallen = int(first.outcome.broken.sum())
    assert 0 < fallen < N, "the comparison needs images of both kinds"
    for batch_size in (7, 64, 512):
        again = run_attack(victim, attack, block, norm_name, epsilon, batch_size=batch_size)
        assert_same(first.outcome, again.outcome)
        assert again.verifier.rejected == first.verifier.rejected
    order = torch.randperm(N, generator=torch.Generator().manual_seed(5))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, attack, shuffled, norm_name, epsilon, batch_size=7)
    assert_same(first.outcome, again.outcome, order)


@pytest.mark.parametrize("attack", [RandomFGSM(), PGD(steps=6), Noise(samples=10)])
def test_seed_and_image_id_do_change_the_random_start(attack):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    base = run_attack(victim, attack, block, "linf", 0.02).outcome.margin
    other_seed = run_attack(victim, attack, block, "linf", 0.02, seed=1).outcome.margin
    other_ids = run_attack(victim, attack, replace(block, image=IDS + 1), "linf", 0.02).outcome
    assert not torch.equal(base, other_seed)
    assert not torch.equal(base, other_ids.margin)


class FlatAboveHalf(nn.Module):
    """Its gradient is zero where the mean pixel is above 1/2, and only there."""

    def forward(self, x):
        score = (0.5 - x.flatten(1).mean(1)).clamp(min=0)
        return torch.stack([1 + score, -score], 1)


@toy(needs=GRADIENT)
@dataclass(frozen=True)
class OneStepUp:
    """Every pixel brighter by epsilon."""

    loss = "margin"
    steps = 1

    def start(self, task: Task) -> State:
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        return State(task.x + task.ball.epsilon)


def test_what_is_said_of_an_images_gradients_does_not_depend_on_its_batch():
    """The first image has fallen before it starts, so that the third starts as the second ends.

    The second image's gradient is zero at its last point, where the attack asks for none.
    """
    x = torch.tensor([0.2, 0.45, 0.3], dtype=torch.float64).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    victim = Victim("flat", FlatAboveHalf(), precision=torch.float64)
    block = Block(x.contiguous(), torch.tensor([1, 0, 0]), torch.arange(3))
    alone, together = (
        run_attack(victim, OneStepUp(), block, "linf", 0.08, batch_size=size).outcome
        for size in (1, 2)
    )
    assert alone.broken.tolist() == together.broken.tolist() == [True, False, False]
    assert alone.zero.tolist() == [False, False, False]
    assert together.zero.tolist() == alone.zero.tolist()


def test_an_empty_block_has_an_empty_outcome():
    victim = cnn_victim(X)
    block = Block(X[:0], torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    victim.passes.forwards = 0
    for one in ATTACKS:
        outcome = run_attack(victim, one, block, "linf", 0.1).outcome
        assert len(outcome.broken) == 0
        assert outcome.adversarial.shape == (0, 1, 8, 9)
    assert victim.passes.forwards == 0


def test_progress_ends_with_every_image_and_never_goes_back():
    from auditor.attacking.pool import Pool
    from auditor.attacking.setup import Setup
    from auditor.attacking.verify import Verifier
    from auditor.maths.objectives import choose_objective
    from auditor.protocols.attack import spec_of

    victim = cnn_victim(X)
    block, attack = block_of(victim, X, IDS), PGD(steps=5, restarts=3)
    setup = Setup(
        spec=spec_of(PGD),
        attack=attack,
        surrogate=naive(victim),
        verifier=Verifier(victim, NORM["linf"], 0.05),
        classes=4,
        seed=0,
        key="key",
        batch_size=7,
    )
    seen: list[tuple[int, int]] = []
    pool = Pool(setup, choose_objective(setup.wishes.loss, 4))
    outcome = pool.run(block, lambda finished, broken: seen.append((finished, broken)))
    assert seen == sorted(seen)
    assert seen[-1] == (N, int(outcome.broken.sum()))


# Restarts and passes


def test_only_images_that_withstood_are_started_again(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    attack = PGD(steps=2, restarts=4)
    outcome = run_attack(victim, attack, block, norm_name, 0.8 * EPSILON[norm_name]).outcome
    started = ~outcome.loss.isnan()
    assert started[:, 0].all()
    # Restarts come one after another: once an image has none, it has no later one.
    assert not (started[:, 1:] & ~started[:, :-1]).any()
    assert started[~outcome.broken].all()
    count = started.sum(1)
    fell_early = outcome.broken & (count < 4)
    assert fell_early.any()
    assert (~outcome.broken).any()
    points = attack.steps + 1
    assert (outcome.forwards[~outcome.broken] == 4 * points).all()
    # Fallen in restart r: all points of those before it, some of its own, and the verification.
    looked = outcome.forwards[outcome.broken] - 2
    assert (looked > (count[outcome.broken] - 1) * points).all()
    assert (looked <= count[outcome.broken] * points).all()


def test_restarts_start_elsewhere():
    victim = cnn_victim(X)
    outcome = run_attack(
        victim, PGD(steps=1, restarts=3), block_of(victim, X), "linf", 1e-3
    ).outcome
    assert not outcome.broken.any()
    assert (outcome.loss[:, 0] != outcome.loss[:, 1]).any()
    assert (outcome.loss[:, 1] != outcome.loss[:, 2]).any()


@toy()
@dataclass(frozen=True)
class KeepsItsNoise:
    """Draws under one name at the start and at every step."""

    drawn: list[torch.Tensor] = field(default_factory=list)
    steps = 3
    restarts = 2

    def start(self, task: Task) -> State:
        self.drawn.append(task.noise("same").uniform(5))
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.drawn.append(task.noise("same").uniform(5))
        return state


def test_noise_of_one_name_is_new_at_the_start_every_step_and_every_restart():
    victim, attack = cnn_victim(X), KeepsItsNoise()
    run_attack(victim, attack, block_of(victim, X), "linf", 1e-3)
    drawn = torch.stack(attack.drawn)
    assert len(drawn) == 2 * 4
    assert len(drawn.flatten(1).unique(dim=0)) == len(drawn)


def test_one_more_restart_never_saves_an_image(norm_name):
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    one, three = (
        run_attack(victim, PGD(steps=2, restarts=r), block, norm_name, EPSILON[norm_name]).outcome
        for r in (1, 3)
    )
    assert not (one.broken & ~three.broken).any()
    assert torch.equal(one.loss[:, 0], three.loss[:, 0])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("attack", [*ATTACKS, PGD(steps=3, eot=2)], ids=lambda a: type(a).__name__)
def test_passes_reported_are_passes_made(attack, batch_size):
    counted = Counted(cnn_victim(X).module)
    victim = Victim("counted", counted, precision=torch.float64)
    block = block_of(victim, X, IDS)
    with torch.no_grad():
        victim.logits(X[:1])  # the helper below asks once for the number of classes
    surrogate = naive(victim).averaged(getattr(attack, "eot", 1))
    counted.forwards, before = -1, victim.passes.forwards + 1
    outcome = run_attack(
        victim, attack, block, "linf", EPSILON["linf"], batch_size=batch_size, surrogate=surrogate
    ).outcome
    assert 0 < int(outcome.broken.sum()) < N
    assert counted.forwards == int(outcome.forwards.sum()) == victim.passes.forwards - before
    assert counted.backwards == int(outcome.backwards.sum()) == victim.passes.backwards


def test_scores_attacks_cost_no_backward_pass_and_the_last_point_none_either():
    victim = cnn_victim(X)
    block = block_of(victim, X)
    noise = run_attack(victim, Noise(samples=5), block, "linf", 0.001).outcome
    assert noise.backwards.sum() == 0
    assert noise.forwards.tolist() == [5] * N
    pgd = run_attack(victim, PGD(steps=5), block, "linf", 0.001, batch_size=N).outcome
    assert pgd.forwards.tolist() == [6] * N
    assert pgd.backwards.tolist() == [5] * N


def test_a_fooled_image_is_not_looked_at_again():
    """It costs one forward and one backward pass at the start, and the verification: two more."""
    victim, block = always_wrong()
    counted = Counted(Linear(victim.module.W.detach(), victim.module.b.detach()))
    victim = Victim("counted", counted, precision=torch.float64)
    outcome = run_attack(victim, Claims("clean"), block, "linf", 0.1).outcome
    assert outcome.forwards.tolist() == [3] * len(block)
    assert outcome.broken.all()


def test_gradients_that_are_zero_are_reported_by_image():
    class HalfFlat(nn.Module):
        def forward(self, x):
            total = x.flatten(1).sum(1) * (x[:, 0, 0, 0] < 0.5)
            return torch.stack([5 + total, total * 0], 1)

    x = X.clone()
    x[:, 0, 0, 0] = torch.where(torch.arange(N) % 2 == 0, 0.2, 0.8)
    victim = Victim("flat", HalfFlat(), precision=torch.float64)
    outcome = run_attack(
        victim, PGD(steps=2, loss="margin"), block_of(victim, x), "linf", 0.1
    ).outcome
    assert outcome.zero.tolist() == [False, True] * (N // 2)
    assert not outcome.nonfinite.any()
