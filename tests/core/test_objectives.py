"""Objectives against loops in plain Python, and their gradients against finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from core_models import normal

from auditor.maths.objectives import OBJECTIVE_NAMES, choose_objective, margin


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    powers = [math.exp(value - top) for value in z]
    return [power / sum(powers) for power in powers]


def naive_margin(z: list[float], y: int, target: int | None) -> float:
    rivals = [value for k, value in enumerate(z) if k != y] if target is None else [z[target]]
    return max(rivals) - z[y]


def naive_cross_entropy(z: list[float], y: int, target: int | None) -> float:
    return -math.log(softmax(z)[y]) if target is None else math.log(softmax(z)[target])


def naive_probability_margin(z: list[float], y: int, target: int | None) -> float:
    return naive_margin(softmax(z), y, target)


def naive_dlr(z: list[float], y: int, target: int | None) -> float:
    """Croce & Hein 2020, equations 6 and 7, with the sign of a loss to be maximised."""
    first, _, third, *rest = sorted(z, reverse=True)
    if target is None:
        return -(z[y] - max(value for k, value in enumerate(z) if k != y)) / (first - third)
    return -(z[y] - z[target]) / (first - (third + rest[0]) / 2)


NAIVE = {
    "cross-entropy": naive_cross_entropy,
    "margin": naive_margin,
    "probability-margin": naive_probability_margin,
    "dlr": naive_dlr,
}


def logits_and_labels(classes: int, count: int = 40) -> tuple[torch.Tensor, ...]:
    z = 3 * normal(count, classes, seed=classes)
    y = torch.arange(count) % classes
    target = (y + 1 + torch.arange(count) // classes % (classes - 1)) % classes
    assert (target != y).all()
    return z, y, target


def test_every_objective_has_a_naive_counterpart():
    assert set(NAIVE) == set(OBJECTIVE_NAMES)


DEFINED = [
    (name, classes, targeted)
    for name in OBJECTIVE_NAMES
    for classes in (2, 3, 4, 10)
    for targeted in (False, True)
    if name != "dlr" or classes >= (4 if targeted else 3)
]


@pytest.mark.parametrize(("name", "classes", "targeted"), DEFINED)
def test_values_agree_with_loops(name, classes, targeted):
    z, y, target = logits_and_labels(classes)
    objective = choose_objective(name, classes, targeted=targeted)
    assert (objective.name, objective.note) == (name, "")
    got = objective(z, y, target if targeted else None)
    expected = [
        NAIVE[name](row, label, goal if targeted else None)
        for row, label, goal in zip(z.tolist(), y.tolist(), target.tolist(), strict=True)
    ]
    torch.testing.assert_close(got, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(
    ("classes", "targeted", "name"),
    [
        (2, False, "margin"),
        (3, False, "dlr"),
        (4, False, "dlr"),
        (2, True, "margin"),
        (3, True, "margin"),
        (4, True, "dlr"),
        (10, True, "dlr"),
    ],
)
def test_dlr_gives_way_to_the_margin_where_it_is_undefined(classes, targeted, name):
    objective = choose_objective("dlr", classes, targeted=targeted)
    assert objective.name == name
    assert bool(objective.note) == (name == "margin")
    if objective.note:
        assert str(classes) in objective.note
        z, y, target = logits_and_labels(classes)
        goal = target if targeted else None
        assert torch.equal(objective(z, y, goal), margin(z, y, goal))


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_gradients_agree_with_finite_differences(name, classes, targeted):
    z, y, target = logits_and_labels(classes, 12)
    objective = choose_objective(name, classes, targeted=targeted)
    z = z.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: objective(z, y, target if targeted else None), (z,))


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("name", ["margin", "probability-margin", "dlr"])
def test_sign_says_whether_the_image_is_misclassified(name, classes):
    z, y, _ = logits_and_labels(classes, 400)
    loss = choose_objective(name, classes)(z, y)
    wrong = z.argmax(1) != y
    assert wrong.any()
    assert not wrong.all()
    assert torch.equal(loss > 0, wrong)


@pytest.mark.parametrize("name", ["cross-entropy", "margin", "probability-margin"])
def test_targeted_losses_grow_with_the_targets_logit(name):
    z, y, target = logits_and_labels(10)
    objective = choose_objective(name, 10, targeted=True)
    raised = z.scatter_add(1, target[:, None], torch.full((len(z), 1), 0.01, dtype=z.dtype))
    assert (objective(raised, y, target) > objective(z, y, target)).all()


@pytest.mark.parametrize("name", OBJECTIVE_NAMES)
def test_untargeted_losses_fall_with_the_labels_logit(name):
    z, y, _ = logits_and_labels(10)
    objective = choose_objective(name, 10)
    correct = z.scatter_add(1, y[:, None], torch.full((len(z), 1), 20.0, dtype=z.dtype))
    less = z.scatter_add(1, y[:, None], torch.full((len(z), 1), 19.0, dtype=z.dtype))
    assert (objective(less, y) >= objective(correct, y)).all()
    assert (objective(less, y) > objective(correct, y)).any()


def test_dlr_does_not_change_when_logits_are_shifted_or_scaled():
    z, y, _ = logits_and_labels(10)
    objective = choose_objective("dlr", 10)
    torch.testing.assert_close(objective(7 * z + 100, y), objective(z, y))


def test_dlr_of_equal_logits_is_finite():
    z, y = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2])
    loss = choose_objective("dlr", 5)(z, y)
    assert loss.tolist() == [0, 0, 0]
    (gradient,) = torch.autograd.grad(loss.sum(), z)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["cross-entropy", "margin", "dlr"])
def test_huge_logits_stay_finite(name):
    z = torch.tensor([[1e4, -1e4, 0.0, 5.0], [-1e4, 1e4, 3.0, 0.0]])
    assert choose_objective(name, 4)(z, torch.tensor([0, 0])).isfinite().all()
