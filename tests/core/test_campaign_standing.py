"""What a composite is told after each stage, and what is logged."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from auditor_plugins.noise import Noise
from core_campaign import Greys, Scripted, bright_from, dark, of, run_campaign
from core_lanes import Aimed, margins
from core_models import block_of, cnn_victim
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from torch import nn

from auditor.attacking.outcome import Block
from auditor.protocols.composite import Stage
from auditor.subject.victim import Victim

N = 8
X, IDS = ALL[:N], ALL_IDS[:N]
ROWS = torch.arange(N)


# Standing


def three_stages(brief):
    rivals = brief.rivals(2)
    yield Stage("half", Aimed(steps=2, images=X), ROWS[:4])
    yield Stage("aimed", Aimed(steps=2, images=X), ROWS.repeat_interleave(2), rivals.flatten())
    yield Stage("noise", Noise(samples=3), ROWS)


def test_the_best_point_has_the_margin_that_is_said_of_it(norm_name):
    """Of the images that fell too: there it is the example."""
    victim = cnn_victim(X)
    block, composite = block_of(victim, X, IDS), Scripted(three_stages)
    epsilon = {"linf": 0.015, "l2": 0.1, "l1": 0.4}[norm_name]
    kept = []

    def keeping(brief):
        script = three_stages(brief)
        stage = next(script)
        while True:
            standing = yield stage
            kept.append((standing.margin.clone(), standing.best.clone(), standing.fallen.clone()))
            try:
                stage = script.send(standing)
            except StopIteration:
                return

    composite = Scripted(keeping)
    outcome = run_campaign(victim, composite, block, norm_name, epsilon).outcome
    assert 0 < int(outcome.broken.sum()) < N
    assert len(kept) == 3
    first, best, _ = kept[0]
    assert first[4:].tolist() == [-torch.inf] * 4
    assert torch.equal(best[4:], X[4:])
    for margin, best, fallen in kept:
        seen = margin > -torch.inf
        expected = margins(victim.module, best[seen], block.y[seen])
        assert margin[seen].tolist() == pytest.approx(expected)
        assert ((margin >= 0) == fallen).all()
    for (before, _, fell), (after, _, _) in pairwise(kept):
        assert (after >= before)[~fell].all()
    assert torch.equal(outcome.broken, kept[-1][2])


def test_margins_are_the_largest_of_all_points_lane_by_lane():
    victim = cnn_victim(X)
    block = block_of(victim, X, IDS)
    rivals = (block.y[:, None] + torch.tensor([1, 2])) % 4
    attack = Aimed(steps=3, images=X)
    composite = of([Stage("aimed", attack, ROWS.repeat_interleave(2), rivals.flatten())])
    outcome = run_campaign(victim, composite, block, "linf", 1e-4).outcome
    (standing,) = composite.sent
    assert not outcome.broken.any()
    lanes = []
    for row in range(N):
        for target in rivals[row].tolist():
            points = [a.x for a in attack.diary if (a.row, a.target) == (row, target)]
            assert len(points) == 4
            lanes.append(max(margins(victim.module, torch.stack(points), block.y[row].expand(4))))
    assert standing.lane_margin.tolist() == pytest.approx(lanes)
    by_image = [max(lanes[2 * row : 2 * row + 2]) for row in range(N)]
    assert standing.margin.tolist() == pytest.approx(by_image)
    assert outcome.margin.tolist() == pytest.approx(by_image)


def test_of_points_as_good_the_one_of_the_first_lane_is_kept():
    """All numbers are sums of powers of two, so that the margins are equal to the last bit."""
    block = Block(dark().x * 0 + 0.25, dark().y, torch.arange(3))
    origin = block.x[[1, 1, 1]]
    for lane in range(3):
        origin[lane, 0, 0, lane] = 0.5
    stage = Stage("one", Greys((0.0,)), torch.tensor([1, 1, 1]), origin=origin)
    composite = of([stage])
    run_campaign(bright_from(0.5), composite, block, "linf", 0.5, classes=2)
    (standing,) = composite.sent
    assert len(set(standing.lane_margin.tolist())) == 1
    assert torch.equal(standing.best[1], origin[0])
    assert torch.equal(standing.best[0], block.x[0])


class OddGradients(nn.Module):
    """Flat where the first pixel is above 1/2, of infinite slope where it is 0."""

    def forward(self, x):
        flat = x.flatten(1)
        score = (flat.sum(1) + flat[:, 0].sqrt()) * (flat[:, 0] <= 0.5)
        return torch.stack([100 + score, -score], 1)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_images_whose_gradients_are_zero_or_not_finite_are_not_to_be_trusted(batch_size):
    victim = Victim("odd", OddGradients(), precision=torch.float64)
    block = dark(4)
    block.x[:, 0, 0, 0] = torch.tensor([0.9, 0.3, 0.0, 0.9])
    attack = Aimed(targets=0, steps=1)
    first = Stage("first", attack, torch.arange(3), origin=block.x[:3])
    second = Stage("second", attack, torch.tensor([1, 3]), origin=block.x[[1, 3]])
    composite = of([first, second])
    run = run_campaign(victim, composite, block, "linf", 1e-6, batch_size=batch_size, classes=2)
    assert [standing.untrusted.tolist() for standing in composite.sent] == [
        [True, False, True, False],
        [True, False, True, True],
    ]
    assert run.outcome.zero.tolist() == [True, False, False, True]
    assert run.outcome.nonfinite.tolist() == [False, False, True, False]


# Log


def test_each_note_is_said_once():
    """DLR needs a third class, and a fourth where it aims."""
    rows, dlr = torch.arange(3), Aimed(steps=1, loss="dlr")
    stages = [
        Stage("one", dlr, rows, note="said twice"),
        Stage("two", dlr, rows, target=rows * 0 + 1, note="said twice"),
        Stage("three", dlr, rows),
        Stage("four", Aimed(steps=1), rows, note="said once"),
    ]
    log = run_campaign(bright_from(0.5), of(stages), dark(), "linf", 0.01, classes=2).log
    assert log.note.split("; ") == [
        "DLR needs 3 classes and the model has 2: margin is used instead",
        "said twice",
        "targeted DLR needs 4 classes and the model has 2: margin is used instead",
        "said once",
    ]
    assert [one.objective for one in log.stages] == ["margin"] * 4


def test_more_targets_than_there_are_wrong_classes_are_mentioned():
    victim = cnn_victim(X)
    for targets, said in ((3, ""), (9, "9 targets are asked for and there are 3 wrong classes")):
        attack = Aimed(targets=targets, steps=1)
        log = run_campaign(victim, attack, block_of(victim, X), "linf", 1e-4).log
        assert (log.note, log.objective, log.stages) == (said, "margin", [])


def test_progress_ends_with_every_image():
    victim = cnn_victim(X)
    run = run_campaign(victim, Scripted(three_stages), block_of(victim, X), "linf", 0.015)
    assert run.progress == sorted(run.progress)
    assert run.progress[-1] == (N, int(run.outcome.broken.sum()))
