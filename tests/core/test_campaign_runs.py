"""Two runs of one attack, and stages on the search's surrogate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from auditor_plugins.noise import Noise
from auditor_plugins.pgd import PGD
from core_campaign import Greys, Scripted, bright_from, dark, of, run_campaign
from core_models import Counted, block_of, cnn_victim, uniform
from core_pool import X

from auditor.protocols.composite import Stage
from auditor.subject.victim import Victim
from auditor.surrogate import naive

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
    assert [one.surrogate for one in run.log.stages] == [
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
    assert run.log.stages[0].surrogate == "naive"
    assert run.outcome.broken.all()
