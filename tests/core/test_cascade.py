"""The cascade: against known optima and brute force, on masked and on random models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
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

from auditor.composite import Brief, Evidence, Stage, Standing
from auditor.engine.outcome import Block
from auditor.threat import Ball
from auditor.victim import Victim
from auditor_plugins import autoattack, cascade
from auditor_plugins.cascade import Cascade

X = uniform(24, 1, 8, 9, seed=1)
EPSILON = {"linf": 0.02, "l2": 0.15, "l1": 0.6}


@pytest.fixture(autouse=True)
def few_queries(monkeypatch):
    """Thousands of queries would show nothing more here, and take long."""
    monkeypatch.setattr(cascade, "_QUERIES", 500)


def unseeded(victim: Victim) -> Victim:
    """As pre-flight leaves models that draw no random numbers."""
    victim.seeded = False
    return victim


def stages_of(run) -> dict[str, dict]:
    return {stage["name"]: stage for stage in run.log.stages}


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
    monkeypatch.setattr(autoattack, "_QUERIES", 300)
    monkeypatch.setattr(autoattack, "_ITERATIONS", 40)
    victim = unseeded(cnn_victim(X))
    block, epsilon = block_of(victim, X), EPSILON[norm_name]
    ours = run_attack(victim, Cascade(), block, norm_name, epsilon)
    theirs = run_attack(victim, autoattack.AutoAttack(), block, norm_name, epsilon).outcome
    assert 0 < int(theirs.broken.sum()) < len(X)
    assert not (theirs.broken & ~ours.outcome.broken).any()
    assert "queries" not in stages_of(ours), "its gradients can be trusted"


def test_neither_batch_size_nor_order_changes_a_verdict(norm_name):
    """Nor how the lanes of one image share batches: with 2 places, three targets overflow them."""
    victim, short = unseeded(cnn_victim(X)), Cascade(patience=1, max_rounds=1)
    block = block_of(victim, X[:14], torch.arange(14) * 7)
    epsilon = EPSILON[norm_name]
    first = run_attack(victim, short, block, norm_name, epsilon, batch_size=2).outcome
    assert 0 < int(first.broken.sum()) < 14
    again = run_attack(victim, short, block, norm_name, epsilon, batch_size=64).outcome
    assert torch.equal(again.broken, first.broken)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(4))
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, short, shuffled, norm_name, epsilon, batch_size=9).outcome
    assert torch.equal(again.broken, first.broken[order])


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
def test_where_gradients_mislead_it_asks_the_black_box(mask):
    plain = unseeded(cnn_victim(X))
    hidden = Victim("hidden", Hidden(plain.module, MASKS[mask]), precision=torch.float64)
    hidden.seeded = False
    block = block_of(plain, X)
    honest = run_attack(plain, Cascade(), block, "linf", 0.03).outcome.broken
    run = run_attack(hidden, Cascade(), block, "linf", 0.03)
    assert stages_of(run)["queries"]["broken"] > 0
    assert int((run.outcome.broken & honest).sum()) >= 0.6 * int(honest.sum())


def test_without_a_gradient_it_asks_the_black_box_alone():
    plain = unseeded(cnn_victim(X))
    hidden = Victim("hidden", Hidden(plain.module, lambda x: x.detach()), precision=torch.float64)
    run = run_attack(hidden, Cascade(), block_of(plain, X), "linf", 0.03, has_gradient=False)
    assert [stage["name"] for stage in run.log.stages] == ["queries"]
    assert run.outcome.broken.any()
    assert int(run.outcome.backwards.sum()) == 0


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10, 100])
def test_any_number_of_classes(classes):
    victim = unseeded(Victim("cnn", SmallCNN(X[:8], classes), precision=torch.float64))
    epsilon = 0.01 if classes < 100 else 1e-4
    run = run_attack(victim, Cascade(), block_of(victim, X[:8]), "linf", epsilon)
    assert not run.outcome.broken.all()
    if (aimed := stages_of(run).get("aimed")) and aimed["broken"] == 0:
        assert aimed["backwards"] == aimed["images"] * min(3, classes - 1) * 20


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
    run = run_attack(victim, Cascade(patience=1, max_rounds=1), block, "linf", 0.05)
    assert run.outcome.broken.tolist() == [False, False, True, True]


def drive(attack: Cascade, falls: list[int], images: int) -> tuple[list[str], Evidence | None]:
    """Names of the stages, and the evidence, if in the i-th round `falls[i]` images fall.

    Every survivor is as close to the boundary as any other.
    """
    x = torch.full((images, 1, 2, 2), 0.5)
    y, logits = torch.zeros(images, dtype=torch.int64), torch.tensor([[1.0, 0.0, -1.0]])
    ball = Ball(NORM["linf"], 0.1, x)
    brief = Brief(x, y, ball, 3, False, True, False, lambda: logits.repeat(images, 1))
    fallen, names, generator = torch.zeros(images, dtype=torch.bool), [], attack.stages(brief)
    margin = torch.full((images,), -0.1, dtype=torch.float64)
    stage: Stage = next(generator)
    try:
        while True:
            names.append(stage.name)
            if stage.name == "rounds" and (count := falls.pop(0) if falls else 0):
                fallen[(~fallen).nonzero().flatten()[:count]] = True
            standing = Standing(
                fallen.clone(), margin, x, torch.zeros_like(fallen),
                torch.full((len(stage.image),), -0.1, dtype=torch.float64),
            )  # fmt: skip
            stage = generator.send(standing)
    except StopIteration as stop:
        return names, stop.value


@pytest.mark.parametrize(
    ("falls", "rounds", "broken"),
    [([], 3, 0), ([1], 4, 0), ([0, 0, 2], 6, 0), ([1] * 5, 5, 3), ([0, 1, 0, 1], 5, 1)],
)
def test_it_goes_on_while_rounds_find_something(falls, rounds, broken):
    names, evidence = drive(Cascade(3, 6 if len(falls) < 4 else 5), list(falls), 10)
    assert names.count("rounds") == rounds
    assert evidence is not None
    assert (evidence.rounds, evidence.broken) == (3, broken)
    assert evidence.candidates > 0


def test_nothing_is_left_to_do_once_everything_has_fallen():
    victim = unseeded(cnn_victim(X))
    run = run_attack(victim, Cascade(), block_of(victim, X), "linf", 0.5)
    assert run.outcome.broken.all()
    assert run.log.evidence == {"rounds": 0, "candidates": 0, "broken": 0}


def test_effort_goes_to_the_images_that_are_close():
    """Along one direction, four images lie 2 % beyond the reach of epsilon, and sixty far away."""
    w = normal(1, 16, seed=5)
    W = torch.cat([torch.zeros_like(w), w])
    victim = linear_victim(W, torch.stack([torch.zeros(()), -0.5 * w.sum()]).double())
    epsilon = 0.02
    away = torch.tensor([1.02] * 4 + [9.0] * 60, dtype=torch.float64)
    x = 0.5 - epsilon * away[:, None] * w.sign()
    block = Block(x.view(64, 1, 4, 4), torch.zeros(64, dtype=torch.int64), torch.arange(64))
    run = run_attack(victim, Cascade(), block, "linf", epsilon)
    assert not run.outcome.broken.any()
    stages = stages_of(run)
    assert [stages[name]["images"] for name in ("sweep", "probe", "aimed", "rounds")] == [
        64, 64, 4, 4,
    ]  # fmt: skip
    sweeps = (1 + 1) + (10 + 1) + (20 + 1) + 25 + 1
    assert run.outcome.forwards[4:].tolist() == [sweeps] * 60
    assert (run.outcome.forwards[:4] > 5 * sweeps).all()
    assert run.log.evidence == {"rounds": 5, "candidates": 4, "broken": 0}
    assert Cascade().passes(2)[0] == sweeps
