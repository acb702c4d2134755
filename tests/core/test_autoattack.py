"""AutoAttack: the published protocol, stage by stage, with any number of classes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.autoattack import AutoAttack
from core_models import SmallCNN, block_of, run_attack, uniform

from auditor.attacking.outcome import Block
from auditor.maths.norms import NORMS, Ball
from auditor.protocols.attack import spec_of
from auditor.protocols.composite import Brief, Part, Stage, Standing
from auditor.subject.victim import Victim

NORM = {norm.name: norm for norm in NORMS}
X = uniform(12, 1, 8, 9, seed=1)


def brief(classes: int, norm: str, images: int = 3) -> Brief:
    x = uniform(images, 1, 4, 4, seed=2)
    logits = uniform(images, classes, seed=3)
    y = logits.argmax(1)
    return Brief(x, y, Ball(NORM[norm], 0.1, x), classes, False, True, False, lambda: logits)


def stages_of(attack: AutoAttack, situation: Brief, fallen: list[int] | None = None) -> list[Stage]:
    """The stages if nothing falls, but for the images `fallen`, which do in the first."""
    n = len(situation.y)
    standing = Standing(
        fallen=torch.tensor([row in (fallen or ()) for row in range(n)]),
        margin=torch.full((n,), -1.0, dtype=torch.float64),
        best=situation.x,
        untrusted=torch.zeros(n, dtype=torch.bool),
        lane_margin=torch.zeros(0, dtype=torch.float64),
        nearest=torch.full((n,), torch.inf, dtype=torch.float64),
    )
    generator, stages = attack.stages(situation), []
    try:
        stage = next(generator)
        while True:
            stages.append(stage)
            stage = generator.send(standing)
    except StopIteration:
        return stages


def summary(stage: Stage, images: int) -> tuple[str, str, str, int, int]:
    """Name, attack, loss, lanes an image, points an image and lane."""
    loss = getattr(stage.attack, "loss", "")
    name = type(stage.attack).__name__
    return stage.name, name, loss, len(stage.image) // images, stage.attack.steps + 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_standard_is_the_published_ensemble(norm: str) -> None:
    stages = stages_of(AutoAttack(), brief(12, norm))
    assert [summary(stage, 3)[:4] for stage in stages] == [
        ("APGD-CE", "APGD", "cross-entropy", 1),
        ("APGD-T", "APGD", "dlr", 9),
        ("FAB-T", "FAB", "margin", 9),
        ("Square", "Square", "margin", 1),
    ]
    assert [stage.attack.steps for stage in stages[:2]] == [100, 100]
    assert stages[2].attack.iterations == 100
    assert stages[3].attack.queries == 5000


def test_in_l1_apgd_has_five_restarts_and_five_targets() -> None:
    stages = stages_of(AutoAttack(), brief(12, "l1"))
    assert [summary(stage, 3)[3] for stage in stages] == [5, 5, 9, 1]


def test_plus_adds_restarts_and_untargeted_attacks() -> None:
    stages = stages_of(AutoAttack("plus"), brief(12, "linf"))
    assert [(stage.name, len(stage.image) // 3) for stage in stages] == [
        ("APGD-CE", 5), ("APGD-DLR", 5), ("FAB", 5), ("Square", 1), ("APGD-T", 9), ("FAB-T", 9),
    ]  # fmt: skip
    assert stages[2].target is None
    assert stages[2].attack.jacobian


def test_rand_averages_over_twenty_draws() -> None:
    stages = stages_of(AutoAttack("rand"), brief(12, "linf"))
    assert [(stage.name, stage.attack.eot) for stage in stages] == [
        ("APGD-CE", 20), ("APGD-DLR", 20),
    ]  # fmt: skip


def test_targets_are_the_likeliest_wrong_classes_in_order() -> None:
    situation = brief(12, "linf")
    stage = stages_of(AutoAttack(), situation)[1]
    assert stage.target is not None
    for row in range(3):
        own = stage.target[stage.image == row].tolist()
        ranked = sorted(range(12), key=lambda k: -float(situation.logits[row, k]))
        assert own == ranked[1:10]
        assert stage.turn is not None
        assert stage.turn[stage.image == row].tolist() == list(range(9))


def test_fallen_images_are_not_attacked_again() -> None:
    first, *later = stages_of(AutoAttack(), brief(12, "linf"), fallen=[1])
    assert sorted(first.image.tolist()) == [0, 1, 2]
    assert later
    for stage in later:
        assert set(stage.image.tolist()) == {0, 2}


def test_passes_are_those_of_the_published_protocol() -> None:
    """7,864 forward and 1,910 backward passes, less the 929 that test FAB's points again."""
    forwards, backwards = AutoAttack().passes(10)
    assert forwards == 1 + 101 + 9 * 101 + 9 * 101 + 5000
    assert backwards == 100 + 9 * 100 + 9 * 100


@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9, 10, 100])
@pytest.mark.parametrize("version", ["standard", "plus"])
def test_any_number_of_classes(classes: int, version: str, monkeypatch) -> None:
    import auditor_plugins.autoattack as module

    monkeypatch.setattr(module, "_ITERATIONS", 2)
    monkeypatch.setattr(module, "_QUERIES", 8)
    victim = Victim("cnn", SmallCNN(X, classes), precision=torch.float64)
    block = block_of(victim, X)
    run = run_attack(victim, AutoAttack(version), block, "linf", 0.01)
    assert run.outcome.broken.any() or classes == 2
    assert not run.outcome.broken.all()
    aims = {stage.name: stage for stage in run.log.stages}
    assert aims["APGD-T"].objective == ("dlr" if classes >= 4 else "margin")
    few = classes - 1 < 9
    assert ("no more wrong classes" in run.log.note) == few
    assert ("targeted DLR needs 4 classes" in run.log.note) == (classes < 4)
    if version == "plus":
        assert aims["APGD-DLR"].objective == ("dlr" if classes >= 3 else "margin")


@pytest.mark.parametrize("norm_name", ["linf", "l2", "l1"])
def test_neither_batch_size_nor_order_changes_a_verdict(norm_name: str, monkeypatch) -> None:
    import auditor_plugins.autoattack as module

    monkeypatch.setattr(module, "_ITERATIONS", 6)
    monkeypatch.setattr(module, "_QUERIES", 20)
    epsilon = {"linf": 0.02, "l2": 0.12, "l1": 0.5}[norm_name]
    victim = Victim("cnn", SmallCNN(X), precision=torch.float64)
    block = block_of(victim, X, torch.arange(12) * 7)
    first = run_attack(victim, AutoAttack(), block, norm_name, epsilon, batch_size=1).outcome
    assert 0 < first.broken.sum() < 12
    for size in (5, 64):
        again = run_attack(victim, AutoAttack(), block, norm_name, epsilon, batch_size=size).outcome
        assert torch.equal(again.broken, first.broken)
        torch.testing.assert_close(again.adversarial, first.adversarial, rtol=0, atol=1e-9)
    order = torch.tensor([3, 1, 11, 0, 2, 10, 9, 4, 8, 5, 7, 6])
    shuffled = Block(block.x[order], block.y[order], block.image[order])
    again = run_attack(victim, AutoAttack(), shuffled, norm_name, epsilon).outcome
    assert torch.equal(again.broken, first.broken[order])


def test_a_second_run_is_compared_with_the_first(monkeypatch) -> None:
    import auditor_plugins.autoattack as module

    monkeypatch.setattr(module, "_ITERATIONS", 2)
    monkeypatch.setattr(module, "_QUERIES", 4)
    victim = Victim("cnn", SmallCNN(X), precision=torch.float64)
    block = block_of(victim, X)
    single = run_attack(victim, AutoAttack(), block, "linf", 0.015)
    double = run_attack(victim, AutoAttack(second_run=True), block, "linf", 0.015)
    assert single.log.agreement is None
    counts = double.log.agreement
    assert counts is not None
    assert counts["total"] == 12
    assert counts["same"] + counts["only_first"] + counts["only_second"] == 12
    assert (
        int(double.outcome.broken.sum()) == int(single.outcome.broken.sum()) + counts["only_second"]
    )
    assert (double.outcome.forwards >= single.outcome.forwards).all()
    assert (double.outcome.broken | ~single.outcome.broken).all()


def test_aiming_abreast_breaks_the_same_images() -> None:
    victim = Victim("cnn", SmallCNN(X), precision=torch.float64)
    block = block_of(victim, X)
    one_by_one = Part("aimed", APGD(steps=6, loss="margin"), targets=3)
    spec = spec_of(AutoAttack)
    first = run_attack(victim, one_by_one, block, "linf", 0.015, spec=spec)
    abreast = replace(one_by_one, abreast=True)
    second = run_attack(victim, abreast, block, "linf", 0.015, spec=spec)
    assert torch.equal(first.outcome.broken, second.outcome.broken)
    assert 0 < int(first.outcome.broken.sum()) < len(X)
