"""Targets in order of distance: the closed form on linear models, cost, and any batch."""

from __future__ import annotations

import core_reference as reference
import numpy as np
import pytest
import torch
from core_campaign import Scripted, run_campaign
from core_models import Counted, Linear, block_of, cnn_victim, linear_victim, normal, uniform
from torch import nn

from auditor.attacking.outcome import Block
from auditor.subject.victim import Victim
from auditor.surrogate import NoGradientError

DUAL = {"linf": 1, "l2": 2, "l1": np.inf}
EPSILON = {"linf": 0.05, "l2": 0.2, "l1": 0.3}
K, IMAGES = 12, 5


def asked(victim: Victim, block: Block, norm: str, rows=None, count: int = 9, **options):
    """What `rivals_by_distance` says of these rows, and the outcome."""
    rows = torch.arange(len(block)) if rows is None else rows
    wanted = {key: options.pop(key) for key in ("candidates",) if key in options}
    found = []

    def script(brief):
        found.append(brief.rivals_by_distance(rows, count, **wanted))
        yield from ()

    run = run_campaign(victim, Scripted(script), block, norm, EPSILON[norm], **options)
    return found[0], run.outcome


def unequal(seed: int = 2) -> torch.Tensor:
    """(K, 42) weights whose lengths differ by class, and between norms."""
    W = normal(K, 42, seed=seed) * torch.logspace(-1, 1, K, dtype=torch.float64)[:, None]
    W[::2, 5:] *= 0.05
    return W


def expected_order(victim: Victim, image: torch.Tensor, y: int, norm: str, *, box: bool):
    W, b = victim.module.W.detach().numpy(), victim.module.b.detach().numpy()
    x = image.numpy().ravel()
    z = W @ x + b
    distances = {}
    for k in range(len(b)):
        if k != y:
            w = W[k] - W[y]
            rise = (
                reference.best_gain(w, x, EPSILON[norm], norm)
                if box
                else EPSILON[norm] * np.linalg.norm(w, DUAL[norm])
            )
            distances[k] = (z[y] - z[k]) / rise
    return sorted(distances, key=distances.__getitem__)


@pytest.mark.parametrize("place", ["inside", "at the box"])
def test_linear_models_have_a_closed_form(norm_name, place):
    """Inside the box it is MALT's, the gap over the dual norm of the weights' difference."""
    spread = 0.4 if place == "inside" else 1.6
    x = (0.5 + spread * (uniform(IMAGES, 2, 3, 7, seed=1) - 0.5)).clamp(0, 1)
    victim = linear_victim(unequal(), normal(K, seed=3))
    block = block_of(victim, x)
    found, _ = asked(victim, block, norm_name, count=K)
    by_logits = 0
    for i in range(IMAGES):
        expected = expected_order(victim, x[i], int(block.y[i]), norm_name, box=place != "inside")
        assert found[i].tolist() == expected
        z = victim.logits(x[i : i + 1])[0]
        by_logits += expected == sorted(expected, key=lambda k, z=z: -float(z[k]))
    assert by_logits < IMAGES / 2, "the order by logits is another one"


def test_candidates_are_those_with_the_largest_logits():
    x = uniform(IMAGES, 2, 3, 7, seed=4)
    victim = linear_victim(unequal(), normal(K, seed=3))
    block = block_of(victim, x)
    found, _ = asked(victim, block, "l2", count=3, candidates=5)
    every, _ = asked(victim, block, "l2", count=K)
    for i in range(IMAGES):
        z = victim.logits(x[i : i + 1])[0].scatter(0, block.y[i], -torch.inf)
        likeliest = set(z.topk(5).indices.tolist())
        assert found[i].tolist() == [k for k in every[i].tolist() if k in likeliest][:3]


def test_more_are_wanted_than_there_are_candidates_or_classes():
    x = uniform(IMAGES, 2, 3, 7, seed=4)
    victim = linear_victim(unequal(), normal(K, seed=3))
    block = block_of(victim, x)
    seven, _ = asked(victim, block, "l2", count=7, candidates=2)
    assert seven.shape == (IMAGES, 7)
    every, outcome = asked(victim, block, "l2", count=40)
    assert every.sort(1).values.tolist() == [
        [k for k in range(K) if k != y] for y in block.y.tolist()
    ]
    assert outcome.backwards.tolist() == [K - 1] * IMAGES
    two, _ = asked(
        linear_victim(unequal()[:2], normal(2)), Block(x, block.y * 0, block.image), "l2"
    )
    assert two.tolist() == [[1]] * IMAGES


def test_passes_are_counted_for_the_rows_asked_for():
    x = uniform(IMAGES, 2, 3, 7, seed=5)
    counted = Counted(Linear(unequal(), normal(K, seed=3)))
    victim = Victim("counted", counted, precision=torch.float64)
    block = block_of(victim, x)
    counted.forwards = counted.backwards = 0
    _, outcome = asked(victim, block, "l2", torch.tensor([3, 1]), candidates=6, count=4)
    # With the one by which candidates are chosen.
    assert outcome.forwards.tolist() == [1, 2, 1, 2, 1]
    assert outcome.backwards.tolist() == [0, 6, 0, 6, 0]
    assert counted.forwards == outcome.forwards.sum()
    assert counted.backwards == outcome.backwards.sum()


def test_neither_the_batch_nor_the_other_rows_change_the_order(norm_name):
    x = uniform(13, 2, 6, 5, seed=6)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    together, _ = asked(victim, block, norm_name)
    apart, _ = asked(victim, block, norm_name, batch_size=3)
    rows = torch.tensor([12, 4, 4, 0])
    some, _ = asked(victim, block, norm_name, rows, batch_size=1)
    assert torch.equal(apart, together)
    assert torch.equal(some, together[rows])
    none, outcome = asked(victim, block, norm_name, rows[:0])
    assert none.shape == (0, 3)
    assert outcome.backwards.sum() == 0


def test_no_more_images_than_a_batch_holds_are_looked_at_together():
    sizes = []

    class Sized(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.requires_grad:
                sizes.append(len(x))
            return super().forward(x)

    x = uniform(IMAGES, 2, 3, 7, seed=10)
    victim = Victim("sized", Sized(unequal(), normal(K, seed=3)), precision=torch.float64)
    block = block_of(victim, x)
    asked(victim, block, "l2", batch_size=2)
    assert sizes == [2, 2, 1]
    victim.pieces.limit = 1  # what the memory has been found to hold
    asked(victim, block, "l2", batch_size=2)
    assert sizes[3:] == [1] * IMAGES


class PartlyFlat(nn.Module):
    """Class 1 has no slope, class 2 one that is not finite, classes 3 and 4 ordinary ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.flatten(1).sum(1)
        flat = 0 * total
        wild = 3 + 1e200 * (1e200 * (total - total.detach()))
        return torch.stack([flat + 9, flat + 8, wild, flat + 2 + 0.1 * total, flat + 1 + total], 1)


def test_classes_without_a_slope_come_last_by_their_logits(norm_name):
    x = 0.1 + 0.1 * uniform(3, 1, 2, 2, seed=7)
    block = Block(x, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    victim = Victim("partly flat", PartlyFlat(), precision=torch.float64)
    found, _ = asked(victim, block, norm_name, classes=5)
    assert found.tolist() == [[4, 3, 1, 2]] * 3


def test_without_a_gradient_the_order_is_that_of_the_logits():
    x = uniform(IMAGES, 2, 3, 7, seed=8)
    victim = linear_victim(unequal(), normal(K, seed=3))
    block = block_of(victim, x)
    found, outcome = asked(victim, block, "l2", count=4, has_gradient=False)
    wrong = victim.logits(x).scatter(1, block.y[:, None], -torch.inf)
    assert torch.equal(found, wrong.topk(4).indices)
    assert outcome.backwards.sum() == 0


def test_that_there_is_none_after_all_is_said():
    class Cut(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.detach())

    x = uniform(IMAGES, 2, 3, 7, seed=9)
    victim = Victim("cut", Cut(unequal(), normal(K)), precision=torch.float64)
    with pytest.raises(NoGradientError):
        asked(victim, block_of(victim, x), "l2")
