"""The cascade: against known optima and brute force, on masked and on random models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from auditor_plugins import autoattack, cascade
from auditor_plugins.cascade import Cascade
from core_campaign import run_sampled
from core_linear import clean, distance_to_the_hyperplane, dominated, safe_radius
from core_models import (
    NORM,
    SmallCNN,
    block_of,
    cnn_victim,
    linear_victim,
    normal,
    run_attack,
    uniform,
)
from core_reference import length
from torch import nn

from auditor.attacking.outcome import Block
from auditor.attacking.stages import StageRecord
from auditor.subject.victim import Victim

X = uniform(24, 1, 8, 9, seed=1)
EPSILON = {"linf": 0.02, "l2": 0.15, "l1": 0.6}


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    """Long parts would show nothing more here, and take long."""
    real = cascade.parts

    def shortened(situation):
        shorter = {"steps": 20, "iterations": 20, "queries": 500}
        return [
            replace(part, attack=replace(part.attack, **{
                name: min(value, getattr(part.attack, name)) for name, value in shorter.items()
                if name in {field.name for field in fields(part.attack)}
            }))
            for part in real(situation)
        ]  # fmt: skip

    monkeypatch.setattr(cascade, "parts", shortened)


def unseeded(victim: Victim) -> Victim:
    """As pre-flight leaves models that draw no random numbers."""
    victim.seeded = False
    return victim


def stages_of(run) -> dict[str, StageRecord]:
    return {stage.name: stage for stage in run.log.stages}


@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_images_fall_just_beyond_the_hyperplane_and_not_before(norm_name, place):
    x, radius = clean((1, 5, 7), place), safe_radius(norm_name, place)
    victim, y = dominated(2, x, radius, norm_name)
    for row in range(2):
        block = Block(x[row : row + 1], y[row : row + 1], torch.tensor([row]))
        distance = distance_to_the_hyperplane(victim, x[row], int(y[row]), norm_name)
        before = run_attack(victim, Cascade(), block, norm_name, 0.99 * distance).outcome
        after = run_attack(victim, Cascade(), block, norm_name, 1.01 * distance).outcome
        assert not before.broken.item()
        assert after.broken.item()
        change = (after.adversarial[0] - x[row]).numpy()
        assert distance * (1 - 1e-9) <= length(change, norm_name) <= 1.01 * distance * (1 + 1e-9)


class Ripples(nn.Module):
    """Two pixels; class 1 in rings around a corner, so that the boundary is curved and not one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u, v = x.flatten(1).unbind(1)
        z = torch.sin(9 * torch.hypot(u - 0.1, v + 0.2)) + 0.5 * u
        return torch.stack([0.6 - z, z - 0.6], 1)


def test_two_pixels_agree_with_brute_force(norm_name):
    victim = unseeded(Victim("ripples", Ripples(), precision=torch.float64))
    x = uniform(20, 1, 1, 2, seed=3)
    block = block_of(victim, x)
    epsilon = {"linf": 0.06, "l2": 0.07, "l1": 0.09}[norm_name]
    broken = run_attack(victim, Cascade(), block, norm_name, epsilon).outcome.broken
    line = torch.linspace(0, 1, 1201, dtype=torch.float64)
    points = torch.cartesian_prod(line, line)
    answers = victim.logits(points.view(-1, 1, 1, 2)).argmax(1)

    def reachable(row: int, radius: float) -> bool:
        distances = NORM[norm_name].distance(points, x[row].flatten().expand_as(points))
        return bool((answers[distances <= radius] != block.y[row]).any())

    for row in range(len(x)):
        if reachable(row, 0.97 * epsilon):
            assert broken[row], "a wrong answer lies well inside the ball"
        if not reachable(row, 1.03 * epsilon):
            assert not broken[row]
    assert 3 < int(broken.sum()) < 17


def test_it_breaks_what_autoattack_breaks(norm_name, monkeypatch):
    monkeypatch.setattr(autoattack, "_QUERIES", 200)
    monkeypatch.setattr(autoattack, "_ITERATIONS", 20)
    victim = unseeded(cnn_victim(X))
    block, epsilon = block_of(victim, X), EPSILON[norm_name]
    _, fallen, evidence = run_sampled(victim, Cascade(), block, norm_name, epsilon)
    theirs = run_attack(victim, autoattack.AutoAttack(), block, norm_name, epsilon).outcome
    assert 0 < int(theirs.broken.sum()) < len(X)
    assert not (theirs.broken & ~fallen).any()
    # Fewer survive than a sample holds, so that it is AutoAttack and more.
    assert evidence.sampled == evidence.survivors == int((~fallen).sum())
    assert evidence.most == 0


def test_neither_batch_size_nor_order_changes_a_verdict(norm_name):
    """Nor how the lanes of one image share batches: with 2 places, three targets overflow them."""
    victim, attack = unseeded(cnn_victim(X)), Cascade(sample=2)
    block = block_of(victim, X[:9], torch.arange(9) * 7)
    epsilon = 0.6 * EPSILON[norm_name]
    first = run_sampled(victim, attack, block, norm_name, epsilon, batch_size=2)
    assert 0 < int(first[1].sum()) < 9
    again = run_sampled(victim, attack, block, norm_name, epsilon, batch_size=64)
    assert torch.equal(again[1], first[1])
    assert again[2] == first[2]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_sampled(victim, attack, shuffled, norm_name, epsilon, batch_size=9)
    assert torch.equal(again[1], first[1][order])
    assert again[2] == first[2]


class Hidden(nn.Module):
    """A classifier behind an operation that changes nothing but the gradient."""

    def __init__(self, inner: nn.Module, mask: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self.mask = inner, mask

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.mask(x))


MASKS = {
    "zero": lambda x: x.detach() + 0 * x,
    "not a number": lambda x: x.detach() + (x - x).sqrt(),
    "the wrong way": lambda x: 2 * x.detach() - x,
}


@pytest.mark.parametrize("mask", MASKS)
def test_where_gradients_mislead_a_sample_shows_it(mask):
    plain = unseeded(cnn_victim(X))
    hidden = Victim("hidden", Hidden(plain.module, MASKS[mask]), precision=torch.float64)
    hidden.seeded = False
    block = block_of(plain, X)
    honest = run_attack(plain, Cascade(), block, "linf", 0.03).outcome.broken
    _, fallen, evidence = run_sampled(hidden, Cascade(sample=6), block, "linf", 0.03)
    first = evidence.rounds[0]
    assert first.broken
    assert sum(sent.broken for sent in first.sent_on) > 0
    assert int((fallen & honest).sum()) >= 0.6 * int(honest.sum())


def test_without_a_gradient_it_asks_the_black_box_alone():
    plain = unseeded(cnn_victim(X))
    hidden = Victim("hidden", Hidden(plain.module, lambda x: x.detach()), precision=torch.float64)
    hidden.seeded = False
    block = block_of(plain, X)
    run, fallen, evidence = run_sampled(hidden, Cascade(), block, "linf", 0.03, has_gradient=False)
    assert [stage.name for stage in run.log.stages] == ["queries"]
    assert fallen.any()
    assert int(run.outcome.backwards.sum()) == 0
    assert set(evidence.rounds[0].broken) <= {"Square"}


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10, 100])
def test_any_number_of_classes(classes):
    victim = unseeded(Victim("cnn", SmallCNN(X[:8], classes), precision=torch.float64))
    epsilon = 0.01 if classes < 100 else 1e-4
    run = run_attack(victim, Cascade(), block_of(victim, X[:8]), "linf", epsilon)
    assert not run.outcome.broken.all()
    if (aimed := stages_of(run).get("aimed")) and aimed.broken == 0:
        assert aimed.backwards == aimed.images * min(9, classes - 1) * 20


class Coin(nn.Module):
    """Right with probability 0.9 whatever the image, but wrong above a mean pixel of 0.7."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.flatten(1).mean(1)
        flipped = torch.rand(len(x), dtype=x.dtype) < 0.1
        z = torch.where(flipped, 1.0, mean - 0.7 + 1e-3 * (mean - 0.7))
        return torch.stack([-z, z], 1)


def test_a_random_model_is_judged_by_the_majority_of_its_answers():
    victim = Victim("coin", Coin(), precision=torch.float64)
    victim.draws = 20
    x = torch.tensor([0.4, 0.5, 0.66, 0.68]).double().view(4, 1, 1, 1).expand(4, 1, 3, 3)
    block = Block(x.contiguous(), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    run = run_attack(victim, Cascade(), block, "linf", 0.05)
    assert run.outcome.broken.tolist() == [False, False, True, True]


def test_nothing_is_left_to_do_once_everything_has_fallen():
    victim = unseeded(cnn_victim(X))
    run, fallen, evidence = run_sampled(victim, Cascade(), block_of(victim, X), "linf", 0.5)
    assert fallen.all()
    assert (evidence.survivors, evidence.sampled) == (0, 0)
    assert [stage.name for stage in run.log.stages][:1] == ["one step"]


def test_effort_goes_to_the_images_that_are_close():
    """Along one direction, four images lie 2 % beyond the reach of epsilon, and sixty far away."""
    w = normal(1, 16, seed=5)
    W = torch.cat([torch.zeros_like(w), w])
    victim = linear_victim(W, torch.stack([torch.zeros(()), -0.5 * w.sum()]).double())
    epsilon = 0.02
    away = torch.tensor([1.02] * 4 + [9.0] * 60, dtype=torch.float64)
    x = 0.5 - epsilon * away[:, None] * w.sign()
    block = Block(x.view(64, 1, 4, 4), torch.zeros(64, dtype=torch.int64), torch.arange(64))
    run, fallen, evidence = run_sampled(victim, Cascade(sample=10), block, "linf", epsilon)
    assert not fallen.any()
    stages = stages_of(run)
    assert [stages[name].images for name in ("sweep", "third sweep", "aimed", "closest")] == [
        64, 64, 4, 4,
    ]  # fmt: skip
    sweeps = 1 + (1 + 1) + (10 + 1) + (20 + 1) + (50 + 1)
    assert run.outcome.forwards[4:].tolist() == [sweeps] * 60
    assert (run.outcome.forwards[:4] > 2 * sweeps).all()
    assert Cascade().passes(2)[0] == sweeps
    assert (evidence.survivors, evidence.sampled, len(evidence.rounds)) == (64, 10, 1)


class Islands(nn.Module):
    """Class 1 in small squares of pixel space, which no slope points to."""

    def __init__(self, centres: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("centres", centres.flatten(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = (x.flatten(1)[:, None] - self.centres).abs().amax(2).amin(1) < 0.04
        z = -1 + 0.1 * (x - 0.5).flatten(1).mean(1)
        return torch.stack([torch.zeros_like(z), torch.where(near, 1.0, z)], 1)


def test_what_every_slope_misses_is_sent_on_to_all():
    """Of forty images on a line half have an island in reach, which only queries find."""
    x = torch.full((40, 1, 1, 2), 0.5, dtype=torch.float64)
    x[:, 0, 0, 0] = torch.linspace(0.05, 0.95, 40, dtype=torch.float64)
    centres = x[::2] + torch.tensor([0.0, -0.05], dtype=torch.float64)
    victim = unseeded(Victim("islands", Islands(centres), precision=torch.float64))
    block = Block(x, torch.zeros(40, dtype=torch.int64), torch.arange(40))
    run, fallen, evidence = run_sampled(victim, Cascade(sample=12), block, "linf", 0.08)
    assert not run.outcome.broken.all()
    assert evidence.rounds[0].broken
    assert int(fallen.sum()) > int(run.outcome.broken.sum()) + 6
