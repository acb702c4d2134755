"""What a composite is told after each stage, what is logged, two runs, the search's surrogate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_campaign import Greys, Scripted, of, run_campaign
from core_lanes import Aimed, margins
from core_models import Counted, block_of, cnn_victim, linear_victim, uniform
from core_pool import IDS as ALL_IDS
from core_pool import X as ALL
from torch import nn

from auditor.composite import Evidence, Stage
from auditor.engine.outcome import Block
from auditor.surrogate import naive
from auditor.victim import Victim

N = 8
X, IDS = ALL[:N], ALL_IDS[:N]
ROWS = torch.arange(N)


def bright_from(mean: float) -> Victim:
    W = torch.cat([-torch.ones(1, 16), torch.ones(1, 16)]).double() / 16
    return linear_victim(W, torch.tensor([mean, -mean], dtype=torch.float64))


def dark(count: int = 3) -> Block:
    x = torch.full((count, 1, 4, 4), 0.3, dtype=torch.float64)
    return Block(x, torch.zeros(count, dtype=torch.int64), torch.arange(count))


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


@pytest.mark.parametrize("result", [Evidence(3, 12, 1), None, "no evidence"])
def test_evidence_is_kept_where_there_is_any(result):
    stages = [Stage("one", Greys((0.1,)), torch.arange(3))]
    log = run_campaign(bright_from(0.5), of(stages, result), dark(), "linf", 0.2, classes=2).log
    expected = {"rounds": 3, "candidates": 12, "broken": 1}
    assert log.evidence == (expected if isinstance(result, Evidence) else None)


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
    assert [one["objective"] for one in log.stages] == ["margin"] * 4


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


# Two runs


def noisy_stages(brief):
    standing = yield Stage("one", Noise(samples=1), torch.arange(len(brief.y)))
    alive = (~standing.fallen).nonzero().flatten()
    yield Stage("two", Noise(samples=1), alive)


@dataclass(frozen=True)
class NoiseTwice(Noise):
    second_run: bool = True


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.12), ("l2", 0.8)])
@pytest.mark.parametrize(
    ("once", "twice"),
    [
        (Scripted(noisy_stages), Scripted(noisy_stages, second_run=True)),
        (Noise(samples=2), NoiseTwice(samples=2)),
    ],
    ids=["composite", "plain"],
)
def test_two_runs_are_the_union_of_one_and_another(norm, epsilon, once, twice):
    x = uniform(60, 1, 8, 9, seed=1)
    victim = cnn_victim(x)
    block = block_of(victim, x)
    both = run_campaign(victim, twice, block, norm, epsilon, key="k")
    one, other = (
        run_campaign(victim, once, block, norm, epsilon, key=key).outcome
        for key in ("k", "k second run")
    )
    found = both.outcome
    a, b = one.broken.tolist(), other.broken.tolist()
    pairs = list(zip(a, b, strict=True))
    assert both.log.agreement == {
        "total": len(pairs),
        "same": sum(x == y for x, y in pairs),
        "only_first": pairs.count((True, False)),
        "only_second": pairs.count((False, True)),
    }
    assert pairs.count((False, True)) > 0, "the comparison needs images that only one run broke"
    assert pairs.count((True, False)) > 0
    assert pairs.count((False, False)) > 0
    assert found.broken.tolist() == [x or y for x, y in pairs]
    assert torch.equal(found.forwards, one.forwards + other.forwards)
    assert torch.equal(found.backwards, one.backwards + other.backwards)
    for row, (x, y) in enumerate(pairs):
        source = other if y and not x else one
        for name in ("adversarial", "prediction", "confidence", "distance", "broken_8bit"):
            expected, got = getattr(source, name)[row], getattr(found, name)[row]
            torch.testing.assert_close(got, expected, equal_nan=True, rtol=0, atol=0)
        margin = source.margin[row] if x or y else torch.maximum(one.margin, other.margin)[row]
        assert found.margin[row] == margin
    assert torch.equal(found.nearest, torch.minimum(one.nearest, other.nearest))
    assert (found.distance[found.broken] <= epsilon * (1 + 1e-9)).all()


def test_an_attack_that_does_not_ask_for_it_is_run_once():
    victim = cnn_victim(X)
    for attack in (PGD(steps=1), replace(Scripted(noisy_stages), second_run=False)):
        assert run_campaign(victim, attack, block_of(victim, X), "linf", 0.01).log.agreement is None


# The search's surrogate


def test_search_stages_run_on_the_search_surrogate_and_the_victim_judges():
    """The victim's boundary is 0.2 away, and so is that of exact stages; the search sees 0.1."""
    seen = {name: Counted(bright_from(mean).module) for name, mean in
            (("victim", 0.5), ("exact", 0.5), ("search", 0.4))}  # fmt: skip
    victim, exact, search = (
        Victim(name, module, precision=torch.float64) for name, module in seen.items()
    )
    rows = torch.arange(3)
    stages = [
        Stage("search", Greys((0.05, 0.15)), rows, precision="search"),
        Stage("exact", Greys((0.05, 0.15)), rows),
        Stage("found by the search", Greys((0.25,)), rows[:1], precision="search"),
        Stage("found by the other", Greys((0.22,)), rows[1:2], precision="exact"),
    ]
    coarse = []

    def script(brief):
        coarse.append(brief.coarse_search)
        return (yield from of(stages).stages(brief))

    composite = Scripted(script)
    run = run_campaign(
        victim, composite, dark(), "linf", 0.3, exact=naive(exact), classes=2,
        search=replace(naive(search), name="naive in bfloat16"),
    )  # fmt: skip
    assert coarse == [True]
    assert [one["surrogate"] for one in run.log.stages] == [
        "naive in bfloat16", "naive", "naive in bfloat16", "naive",
    ]  # fmt: skip
    # 0.15 looks adversarial to the search alone, and the victim does not confirm it.
    assert run.verifier.rejected == {"not confirmed by the victim": 3}
    assert [standing.fallen.tolist() for standing in composite.sent] == [
        [False] * 3, [False] * 3, [True, False, False], [True, True, False],
    ]  # fmt: skip
    assert seen["search"].forwards == 3 * 2 + 1
    assert seen["exact"].forwards == 3 * 2 + 1
    assert seen["victim"].forwards == 2 * 3 + 2 + 2  # claims, each with its 8-bit version
    assert run.outcome.margin[:2].tolist() == pytest.approx([0.1, 0.04]), "the victim's own"


def test_without_a_coarser_precision_the_search_is_as_exact_as_the_rest():
    coarse = []

    def script(brief):
        coarse.append(brief.coarse_search)
        yield Stage("search", Greys((0.25,)), torch.arange(3), precision="search")

    run = run_campaign(bright_from(0.5), Scripted(script), dark(), "linf", 0.3, classes=2)
    assert coarse == [False]
    assert run.log.stages[0]["surrogate"] == "naive"
    assert run.outcome.broken.all()
