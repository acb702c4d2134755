"""The cascade's stages in l2 and l1: which images and classes they are given, without a model."""

from __future__ import annotations

import pytest
import torch
from auditor_plugins.cascade.boundary import from_outside
from auditor_plugins.cascade.field import Field
from auditor_plugins.ddn import DDN
from core_models import NORM, normal, uniform

from auditor.maths.norms import Ball
from auditor.protocols.composite import Brief, Stage, Standing

K, EPSILON = 6, 0.5
#: Distances, in units of epsilon, that the first stage leaves; the first image falls.
DISTANCES = [1.0, 1.02, 1.12, 1.2, 1.24, 1.3, torch.inf]


@pytest.fixture
def brief(norm_name) -> Brief:
    n = len(DISTANCES)
    x, z = uniform(n, 1, 4, 4, seed=1), normal(n, K, seed=2)
    y = z.argmax(1)
    ball = Ball(NORM[norm_name], EPSILON, x)
    return Brief(x, y, ball, K, False, True, False, lambda: z)


def stages_of(brief: Brief, nearest: torch.Tensor) -> list[Stage]:
    """What is asked for where the first stage leaves these distances, and the others no others."""
    work, found = from_outside(Field(brief), draws=3), []
    try:
        found.append(next(work))
        while True:
            lanes = torch.full((len(found[-1].image),), -1.0, dtype=torch.float64)
            fallen, margin = nearest <= EPSILON, torch.full_like(nearest, -1.0)
            untrusted = torch.zeros_like(fallen)
            found.append(work.send(Standing(fallen, margin, brief.x, untrusted, lanes, nearest)))
    except StopIteration:
        return found


def images(stage: Stage) -> list[int]:
    return sorted(set(stage.image.tolist()))


FIRST = {"l2": ["DDN", "DDN from beyond"], "l1": ["starts", "DDN", "queries"]}


@pytest.mark.parametrize("norm_name", ["l2", "l1"])
def test_only_images_near_the_boundary_are_attacked_further(brief, norm_name):
    nearest = EPSILON * torch.tensor(DISTANCES, dtype=torch.float64)
    *first, margins, fab = stages_of(brief, nearest)
    assert [stage.name for stage in first] == FIRST[norm_name]
    assert images(first[0]) == [0, 1, 2, 3, 4, 5, 6]
    assert all(images(stage) == [1, 2, 3, 4, 5, 6] for stage in first[1:])
    assert images(margins) == [1, 2]
    assert images(fab) == [1]


@pytest.mark.parametrize("norm_name", ["l2", "l1"])
def test_nothing_long_is_asked_of_images_that_are_far_away(brief, norm_name):
    stages = stages_of(brief, torch.full((len(DISTANCES),), torch.inf, dtype=torch.float64))
    assert [stage.name for stage in stages] == FIRST[norm_name]
    ddn = [stage.attack for stage in stages if isinstance(stage.attack, DDN)]
    assert all(attack.radius > 5 * EPSILON for attack in ddn), "they come from outside"
    assert [stage.attack.eot for stage in stages] == [3] * len(stages)


@pytest.mark.parametrize("norm_name", ["l2", "l1"])
def test_the_likeliest_classes_are_aimed_at(brief):
    nearest = EPSILON * torch.tensor(DISTANCES, dtype=torch.float64)
    stages = {stage.name: stage for stage in stages_of(brief, nearest)}
    wrong = brief.logits.scatter(1, brief.y[:, None], -torch.inf)
    likeliest = wrong.topk(3).indices[stages["DDN"].image[::3]]
    assert torch.equal(stages["DDN"].target.view(-1, 3), likeliest)
    assert stages["margins"].target.view(-1, K - 1).sort(1).values.tolist() == [
        [k for k in range(K) if k != y] for y in brief.y[1:3].tolist()
    ]


@pytest.mark.parametrize("norm_name", ["l1"])
def test_starts_follow_one_another_and_are_random_each(brief):
    starts = stages_of(brief, torch.full((len(DISTANCES),), torch.inf, dtype=torch.float64))[0]
    assert starts.turn.view(-1, 5).tolist() == [[0, 1, 2, 3, 4]] * len(DISTANCES)
    assert torch.equal(starts.restart, starts.turn)
