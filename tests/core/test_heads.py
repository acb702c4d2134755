"""Heads that hide their scores: attacks are as strong as on the scores before the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from auditor_plugins.apgd import APGD
from core_linear import clean, optimum
from core_models import Linear, SmallCNN, block_of, normal, run_attack, uniform
from torch import nn

from auditor.attacking.pool import Block
from auditor.maths.objectives import choose_objective
from auditor.subject.victim import Victim
from auditor.surrogate import naive
from auditor.surrogate.scores import deciding

MARGIN = choose_objective("margin", 4)
RADIUS = 0.03
#: So large that the model is sure of itself all over the ball.
SCALE = 60.0


class Headed(nn.Module):
    """A function of the scores W x + b."""

    def __init__(self, inner: nn.Module, head) -> None:
        super().__init__()
        self.inner, self.head = inner, head

    def forward(self, x):
        return self.head(self.inner(x))


def by_hand(z):
    e = (z - z.amax(1, keepdim=True)).exp()
    return (e / e.sum(1, keepdim=True)).half().float()


def in_place(z):
    return z.softmax(1).mul_(255).round_().div_(255)


def written_over(z):
    return z.mul_(1).round_()


def squashed_in_place(z):
    return (z - z.amax(1, keepdim=True)).exp_().half()


def normalised_again(z):
    p = torch.round(z.softmax(1).clamp(1e-3, 1 - 1e-3), decimals=2)
    return p / p.sum(1, keepdim=True)


def left_torch(z):
    rounded = np.round(z.softmax(1).detach().numpy(), 2)
    return torch.from_numpy(rounded)


def negated(z):
    return 1 - torch.round(1 - z.softmax(1), decimals=3)


def one_against_the_rest(z):
    middle = z.topk(2, 1).values.mean(1, keepdim=True)
    return torch.round(torch.sigmoid(z - middle), decimals=2)


def in_lists(z):
    return torch.tensor([[round(p, 2) for p in row] for row in z.softmax(1).tolist()])


#: Heads by name, and what they return.
HEADS = {
    "half": (lambda z: z.softmax(1).half().float(), "probabilities"),
    "bfloat16": (lambda z: z.softmax(1).to(torch.bfloat16), "probabilities"),
    "byte": (lambda z: (z.softmax(1) * 255).to(torch.uint8).float() / 255, "probabilities"),
    "decimals": (lambda z: torch.round(z.softmax(1), decimals=2), "probabilities"),
    "clamped": (lambda z: z.softmax(1).clamp(1e-3, 1 - 1e-3), "probabilities"),
    "by hand": (by_hand, "probabilities"),
    "in place": (in_place, "probabilities"),
    "written over": (written_over, "logits"),
    "squashed in place": (squashed_in_place, "probabilities"),
    "normalised again": (normalised_again, "probabilities"),
    "left torch": (left_torch, "probabilities"),
    "lists": (in_lists, "probabilities"),
    "negated": (negated, "probabilities"),
    "half logarithms": (lambda z: F.log_softmax(z, 1).half().float(), "log-probabilities"),
    "whole logits": (lambda z: z.round(), "logits"),
    "floor of logits": (lambda z: z // 2 * 2, "logits"),
    "sigmoid": (one_against_the_rest, "logits"),
    "undeclared": (lambda z: (4 * z).softmax(1).half().float(), "logits"),
}


def linear() -> tuple[Victim, Block]:
    """W x + b and images that it gets right, with leads of 25 to 126."""
    x = clean((1, 5, 7), "inside")
    W, b = SCALE * normal(4, 35, seed=7), SCALE * normal(4, seed=27)
    victim = Victim("linear", Linear(W, b), precision=torch.float64)
    return victim, block_of(victim, x)


def behind(head, outputs: str = "logits") -> Victim:
    module = Headed(linear()[0].module, head)
    return Victim("head", module, precision=torch.float64, outputs=outputs)


def losses(victim: Victim, x: torch.Tensor, y: torch.Tensor, **options) -> torch.Tensor:
    options.setdefault("gradient", False)
    return naive(victim).repaired().evaluate(x, y, MARGIN, **options).loss


@pytest.mark.parametrize("name", HEADS)
def test_an_attack_breaks_what_can_be_broken_before_the_head(name):
    plain, block = linear()
    best = torch.from_numpy(optimum(plain, block.x, block.y, RADIUS, "linf"))
    assert 0 < (best > 0).sum() < len(best)
    assert (best.abs() > 2).all()  # rounding decides none of them
    victim = behind(*HEADS[name])
    attack, surrogate = APGD(steps=10, loss="margin", targets=3), naive(victim).repaired()
    run = run_attack(victim, attack, block, "linf", RADIUS, surrogate=surrogate)
    assert torch.equal(run.outcome.broken, best > 0)


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_that_of_the_scores_before_the_head(name):
    plain, block = linear()
    x = block.x + RADIUS * (2 * uniform(*block.x.shape, seed=9) - 1)
    z = plain.logits(x).detach()
    expected = (4 if name == "undeclared" else 1) * MARGIN(z, block.y)
    victim = behind(*HEADS[name])
    torch.testing.assert_close(losses(victim, x, block.y), expected)
    seen = naive(victim).repaired().evaluate(x, block.y, MARGIN, gradient=True)
    assert torch.equal(seen.logits, victim.logits(x))
    assert seen.gradient.flatten(1).any(1).all()


class Steps(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.round(z.softmax(1) * 255) / 255


def steps(z: torch.Tensor) -> torch.Tensor:
    return torch.round(z.softmax(1) * 255) / 255


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("before", [lambda z: z, lambda z: z.half()], ids=["logits", "half"])
@pytest.mark.parametrize("head", [steps, Steps()], ids=["function", "module"])
def test_a_compiled_head_is_one_by_what_it_does(head, before):
    plain, block = linear()
    script = torch.jit.script(head)
    victim = behind(lambda z: script(before(z)), "probabilities")
    expected = MARGIN(plain.logits(block.x).detach(), block.y)
    torch.testing.assert_close(losses(victim, block.x, block.y), expected)


class Weights(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z * torch.arange(4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_code_that_changes_the_order_is_no_head():
    _, block = linear()
    script = torch.jit.script(Weights())
    victim = behind(script)
    expected = MARGIN(victim.logits(block.x).detach(), block.y)
    torch.testing.assert_close(losses(victim, block.x, block.y), expected)


def test_without_it_the_loss_is_the_same_all_around():
    _, block = linear()
    victim = behind(*HEADS["decimals"])
    x = block.x + RADIUS / 10 * (2 * uniform(*block.x.shape, seed=9) - 1)
    own = naive(victim)
    first, second = (
        own.evaluate(one, block.y, MARGIN, gradient=False).loss for one in (block.x, x)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("outputs", ["logits", "probabilities"])
def test_one_sigmoid_stands_for_two_classes(outputs):
    def head(z):
        return torch.round((z[:, :1] - z[:, 1:2]).sigmoid(), decimals=2)

    plain, block = linear()
    z = plain.logits(block.x).detach()
    lead = z[:, 0] - z[:, 1]
    victim = behind(head, outputs)
    y = (lead > 0).long()
    found = losses(victim, block.x, y)
    # As probabilities 1 - p and p become -lead and lead; as logits 0 and p hide no scores.
    expected = -2 * lead.abs() if outputs == "probabilities" else MARGIN(victim.logits(block.x), y)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "head",
    [
        lambda z: z.softmax(1) * torch.tensor([1.0, 2.0, 3.0, 4.0]),
        lambda z: z.softmax(1) + torch.tensor([0.0, 2.0, 0.0, 0.0]),
        lambda z: 1 / (1 + z.sigmoid()),
        lambda z: z.softmax(1)[:, [1, 0, 3, 2]],
        lambda z: z.softmax(0),
        lambda z: z.softmax(1).mul_(-1).add_(torch.arange(4)),
    ],
    ids=["weights", "bias", "reciprocal", "permuted", "over images", "in place"],
)
def test_scores_in_another_order_are_not_taken_for_the_answers(head):
    _, block = linear()
    victim = behind(head)
    expected = MARGIN(victim.logits(block.x), block.y)
    torch.testing.assert_close(losses(victim, block.x, block.y), expected)


def test_scores_that_do_not_decide_the_answer_give_way():
    scores = torch.tensor([[3.0, 1.0, 2.0]]).expand(5, 3)
    answers = torch.tensor(
        [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [5.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 1.0]]
    )
    own = torch.zeros(5, 3)
    expected = torch.cat([scores[:3], own[3:]])
    assert torch.equal(deciding(scores, answers, own), expected)
    assert torch.equal(deciding(scores[:, :1], answers, own), own)


@pytest.mark.parametrize("name", ["half", "by hand", "decimals"])
def test_an_image_depends_on_no_other(name):
    x = uniform(4, 2, 6, 7, seed=1)
    head, outputs = HEADS[name]
    # The first image's softmax is saturated, the second one's is not.
    factors = torch.tensor([1e3, 1.0, 5.0, 30.0])

    class Uneven(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = SmallCNN(x)

        def forward(self, batch):
            z = self.inner(batch)
            at = (batch[:, None] == x).flatten(2).all(2).long().argmax(1)
            return head(z * factors[at, None])

    victim = Victim("uneven", Uneven(), precision=torch.float64, outputs=outputs)
    y = torch.tensor([0, 1, 2, 3])
    surrogate = naive(victim).repaired()
    whole = surrogate.evaluate(x, y, MARGIN, gradient=True)
    for row in range(4):
        one = surrogate.evaluate(x[row : row + 1], y[row : row + 1], MARGIN, gradient=True)
        torch.testing.assert_close(one.loss, whole.loss[row : row + 1])
        torch.testing.assert_close(one.gradient, whole.gradient[row : row + 1])
