"""The pool believes no attack: what counts has been verified on the victim."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_models import (
    NORM,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from core_pool import ATTACKS, EPSILON, IDS, Claims, N, X, always_wrong, toy
from torch import nn

from auditor.attacking.verify import Verifier, to_8bit
from auditor.maths.norms import Ball, Linf
from auditor.protocols.attack import Observation, State, Task
from auditor.subject.victim import Victim
from auditor.surrogate import naive

# Verified facts


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_every_adversarial_example_is_one(norm_name, attack):
    """Recomputed here from the tensors alone."""
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    outcome = run_attack(victim, attack, block, norm_name, 2 * EPSILON[norm_name]).outcome
    fell = outcome.broken
    assert fell.any()
    x, delta = outcome.adversarial[fell], (outcome.adversarial - X)[fell].flatten(1)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm_name]
    distance = torch.linalg.vector_norm(delta, order, dim=1)
    with torch.no_grad():
        z = victim.module(x)
    y = block.y[fell]
    torch.testing.assert_close(outcome.distance[fell], distance)
    assert (distance <= 2 * EPSILON[norm_name] * (1 + 1e-9)).all()
    assert x.min() >= 0
    assert x.max() <= 1
    assert (z.argmax(1) != y).all()
    assert torch.equal(outcome.prediction[fell], z.argmax(1))
    torch.testing.assert_close(outcome.confidence[fell], z.softmax(1).amax(1))
    torch.testing.assert_close(outcome.margin[fell], z.amax(1) - z.gather(1, y[:, None])[:, 0])
    assert torch.equal(outcome.adversarial[~fell], X[~fell])
    assert (outcome.prediction[~fell] == -1).all()
    assert outcome.distance[~fell].isnan().all()
    assert (outcome.margin[~fell] < 0).all()


@pytest.mark.parametrize("on_grid", [True, False])
def test_8bit_images_are_on_the_grid_and_in_the_ball(norm_name, on_grid):
    x0 = torch.round(X * 255) / 255 if on_grid else X
    for dtype in (torch.float64, torch.float32):
        ball = Ball(NORM[norm_name], 1.3 * EPSILON[norm_name], x0.to(dtype))
        x = ball.project(ball.x0 + 0.2 * normal(N, 1, 8, 9, seed=6, dtype=dtype))
        rounded = to_8bit(x, ball)
        levels = rounded.double() * 255
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
        assert rounded.min() >= 0
        assert rounded.max() <= 1
        if on_grid:
            assert ball.contains(rounded)[1].all()
            assert not torch.equal(rounded, ball.x0)


def test_8bit_is_the_nearest_grid_point_where_that_is_in_the_ball(norm_name):
    x0 = torch.round(X * 255) / 255
    ball = Ball(NORM[norm_name], 50.0, x0)
    x = ball.project(x0 + 0.3 * normal(N, 1, 8, 9, seed=7))
    torch.testing.assert_close(to_8bit(x, ball), torch.round(x * 255) / 255, rtol=0, atol=1e-12)


def test_8bit_of_a_whole_number_of_grey_levels_loses_none_of_them():
    """Epsilon of 8/255 on 8-bit images: a corner of the ball is an 8-bit image already."""
    for dtype in (torch.float32, torch.float64):
        x0 = (torch.arange(256, dtype=torch.float64) / 255).to(dtype).view(1, 1, 16, 16)
        ball = Ball(NORM["linf"], 8 / 255, x0)
        for sign in (1, -1):
            corner = ball.project(x0 + sign)
            expected = (torch.arange(256) + sign * 8).clamp(0, 255)
            got = (to_8bit(corner, ball).double() * 255).round().flatten().long()
            assert torch.equal(got, expected)


def test_a_norm_that_projects_wrongly_gets_no_8bit_image_outside_its_ball():
    """The nearest grey level of 0.5009 is 128/255, 0.00196 from 0.5."""

    class Unprojected(Linf):
        def project(self, x, x0, radius):
            return x

    x0 = torch.full((1, 1, 4, 4), 0.5, dtype=torch.float64)
    y = torch.ones(1, dtype=torch.int64)
    victim, _ = always_wrong()
    seen = Verifier(victim, Unprojected(), 0.001).check(x0 + 0.0009, x0, y)
    assert seen.confirmed.all()
    assert not seen.confirmed_8bit.any()


def test_success_as_an_8bit_image_is_what_it_says(norm_name):
    x = torch.round(X * 255) / 255
    victim = cnn_victim(x)
    block = block_of(victim, x, IDS)
    epsilon = EPSILON[norm_name]
    outcome = run_attack(victim, PGD(steps=10), block, norm_name, epsilon).outcome
    fell = outcome.broken
    assert not (outcome.broken_8bit & ~fell).any()
    ball = Ball(NORM[norm_name], epsilon, x)
    rounded = to_8bit(outcome.adversarial, ball)
    with torch.no_grad():
        wrong = victim.module(rounded).argmax(1) != block.y
    assert torch.equal(outcome.broken_8bit, fell & wrong & ball.contains(rounded)[1])


# Believes nobody


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("outside the ball", "outside the ball"),
        ("outside the box", "outside the box"),
        ("nan", "outside the box"),
        ("one nan", "outside the box"),
        ("infinite", "outside the box"),
    ],
)
def test_points_outside_ball_or_box_are_rejected_and_counted(norm_name, what, reason):
    victim, block = always_wrong()
    run = run_attack(victim, Claims(what), block, norm_name, 0.1)
    assert not run.outcome.broken.any()
    assert not run.outcome.broken_8bit.any()
    assert run.verifier.rejected == {reason: len(block)}
    assert torch.equal(run.outcome.adversarial, block.x)
    # The same victim does fall to a point inside.
    assert run_attack(victim, Claims("clean"), block, norm_name, 0.1).outcome.broken.all()


@toy()
@dataclass(frozen=True)
class Mutates:
    """Writes into what it was given, so that its ball moves and its labels lie."""

    what: str
    steps = 3

    def start(self, task: Task) -> State:
        return self.step(task, State(task.x), None)

    def step(self, task: Task, state: State, seen: Observation | None) -> State:
        if self.what == "x":
            task.x.add_(0.3).clamp_(max=1)
        if self.what == "ball":
            task.ball.x0.add_(0.3).clamp_(max=1)
        if self.what == "labels":
            task.y.add_(1).remainder_(2)
        if self.what == "logits" and seen is not None:
            seen.logits.zero_()
        return State(task.ball.project(task.x.clone()))


@pytest.mark.parametrize("what", ["x", "ball", "labels", "logits"])
def test_an_attack_that_writes_into_its_inputs_gains_nothing(norm_name, what):
    """The victim is right as long as the mean pixel is below 1/2; in the true ball it always is."""
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    victim = linear_victim(W, torch.tensor([0.5, -0.5], dtype=torch.float64))
    x = 0.1 + 0.2 * uniform(6, 1, 4, 4, seed=9)
    block = block_of(victim, x)
    assert (block.y == 0).all()
    kept = [tensor.clone() for tensor in (block.x, block.y, block.image)]
    run = run_attack(victim, Mutates(what), block, norm_name, 0.05)
    assert not run.outcome.broken.any()
    if what in ("x", "ball"):
        assert run.verifier.rejected["outside the ball"] > 0
    if what == "labels":  # these are a copy: nothing is even claimed
        assert run.verifier.rejected == {}
    for now, before in zip((block.x, block.y, block.image), kept, strict=True):
        assert torch.equal(now, before)


@toy()
@dataclass(frozen=True)
class TurnsBackTheClock:
    """Sets its step count to zero whenever it can, and gives up after a hundred calls."""

    calls: list[int] = field(default_factory=list)
    steps = 3

    def start(self, task: Task) -> State:
        return State(task.x)

    def step(self, task: Task, state: State, seen: Observation) -> State:
        self.calls.append(len(task.y))
        if len(self.calls) > 100:
            raise RuntimeError("it would have gone on for ever")
        task.step.fill_(-1)
        return State(state.x)


def test_an_attack_cannot_make_the_pool_run_for_ever():
    victim = cnn_victim(X)
    attack = TurnsBackTheClock()
    run_attack(victim, attack, block_of(victim, X), "linf", 0.01)
    assert len(attack.calls) == 3


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_surrogate_that_lies_leaves_no_unconfirmed_success(norm_name, attack):
    """On the surrogate everything is adversarial at once; the victim can be fooled nowhere."""
    W = normal(3, 72, seed=10)
    honest = linear_victim(W, torch.tensor([1e3, 0, 0], dtype=torch.float64))
    liar = linear_victim(-W, torch.tensor([-1e3, 0, 0], dtype=torch.float64))
    block = block_of(honest, X)
    run = run_attack(honest, attack, block, norm_name, EPSILON[norm_name], surrogate=naive(liar))
    assert not run.outcome.broken.any()
    assert set(run.verifier.rejected) == {"not confirmed by the victim"}
    points = getattr(attack, "restarts", 1) * (attack.steps + 1)
    assert run.verifier.rejected["not confirmed by the victim"] == N * points


def test_a_surrogate_that_resembles_the_victim_transfers():
    """Successes on a slightly different model count exactly where the victim confirms them."""
    victim = cnn_victim(X)
    other = cnn_victim(X)
    with torch.no_grad():
        other.module.last.weight.add_(0.1 * normal(*other.module.last.weight.shape, seed=11))
    block = block_of(victim, X)
    outcome = run_attack(victim, PGD(steps=10), block, "linf", 0.1, surrogate=naive(other)).outcome
    assert outcome.broken.any()
    with torch.no_grad():
        wrong = victim.module(outcome.adversarial).argmax(1) != block.y
    assert torch.equal(outcome.broken, wrong)


class NanFarAway(nn.Module):
    """Scores for a rule, and NaN as soon as one pixel has moved by more than a tenth."""

    def __init__(self, x0: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("x0", x0)

    def forward(self, x):
        nearest = (x[:, None] - self.x0[None]).flatten(2).abs().amax(2).amin(1)
        z = torch.stack([x.flatten(1).sum(1) * 0 + 1, x.flatten(1).sum(1) * 0], 1)
        return torch.where(nearest[:, None] > 0.1, torch.nan, z)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_model_that_answers_nan_is_not_called_robust(attack):
    victim = Victim("nan", NanFarAway(X[:4]), precision=torch.float64)
    block = block_of(victim, X[:4])
    outcome = run_attack(victim, Noise(samples=10), block, "linf", 0.3).outcome
    assert outcome.broken.all()
    small = run_attack(victim, attack, block, "linf", 0.05).outcome
    assert not small.broken.any()
