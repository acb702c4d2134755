"""Checks of random models: the expectation first, then draws; and what checks say they cost."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from auditor_plugins.apgd import APGD
from auditor_plugins.masking import auditor_checks
from auditor_plugins.masking.black_box import BlackBoxGap
from auditor_plugins.masking.expected import ExpectationGap
from auditor_plugins.pgd import PGD
from auditor_plugins.square import Square
from core_checks import IMAGES, SYMPTOM, battle, cnn, hidden, probe_of
from core_models import linear_victim, normal
from torch import nn

from auditor.attacking.verify import Verifier
from auditor.masking.probe import EngineProbe
from auditor.maths.norms import Ball
from auditor.protocols.attack import passes_of
from auditor.subject.victim import STOCHASTIC_DRAWS

SOME = IMAGES[:30]


class Coins(nn.Module):
    """A network that sees every pixel with a chance of its grey level, the mean of 50 coins.

    A coin passes no gradient on; in the mean the network sees the image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.bernoulli(x.expand(50, *x.shape)).mean(0)
        return self.inner(seen) + 0 * self.inner(x)


@pytest.mark.slow
def test_gates_without_a_gradient_are_attacked_at_their_mean():
    probe = battle(probe_of(Coins(), draws=STOCHASTIC_DRAWS, x=SOME, epsilon=0.05))
    left = len(probe.survivors())
    assert left > 20
    report = ExpectationGap(steps=10).run(probe)
    assert len(probe.survivors()) < left / 2
    assert hidden(probe) > 10
    (symptom,) = report.symptoms
    assert symptom.kind == "stochastic"
    assert probe.attempts[2].surrogate == "naive, at its randomness's mean"


def test_an_honest_random_model_has_no_symptom():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            z = self.inner(x)
            return z + 1e-3 * torch.randn_like(z)

    probe = battle(probe_of(Noisy(), draws=STOCHASTIC_DRAWS, x=SOME))
    assert len(probe.survivors()) > 2
    assert not ExpectationGap(steps=10).run(probe).symptoms


def test_it_is_not_for_models_that_answer_the_same():
    assert not ExpectationGap().run(battle(probe_of(cnn(), x=SOME))).applies


def test_a_module_that_cannot_be_copied_is_told_of():
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = cnn()

        def forward(self, x):
            return self.inner(x + 0.01 * torch.randn_like(x))

        def __deepcopy__(self, memo):
            raise RuntimeError("there is only one")

    probe = battle(probe_of(Single(), draws=STOCHASTIC_DRAWS, x=SOME))
    report = ExpectationGap().run(probe)
    assert not report.applies
    assert "there is only one" in report.sentence


def test_a_query_of_a_random_model_is_several_draws_and_there_are_fewer():
    check = BlackBoxGap()
    plain, random = (
        passes_of(check._square(2000, random=random), 10)[0] for random in (False, True)
    )
    assert plain == random == 2000


# --- Verification


class Flips(nn.Module):
    """Answers 1 with the chance of the first pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = (torch.rand(len(x)) < x[:, 0, 0, 0]).to(x.dtype)
        return torch.stack([1 - one, one], 1)


def test_a_claim_that_does_not_hold_is_not_asked_about_as_an_8_bit_image():
    probe = probe_of(Flips(), draws=STOCHASTIC_DRAWS, x=torch.zeros(4, 1, 2, 2), epsilon=1.0)
    verifier = Verifier(probe.victim, probe.norm, 1.0)
    x = probe.x.clone()
    x[:2] = 1.0
    seen = verifier.check(x, probe.x, probe.y)
    assert seen.confirmed.tolist() == [True, True, False, False]
    assert seen.confirmed_8bit.tolist() == seen.confirmed.tolist()
    assert seen.asked.tolist() == [22, 22, 6, 6]


def test_of_a_model_that_answers_the_same_both_are_asked_at_once():
    victim = linear_victim(normal(3, 16, dtype=torch.float32), torch.zeros(3))
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    norm = probe_of(cnn(), x=SOME).norm
    seen = Verifier(victim, norm, 0.1).check(
        x, x, victim.judge(x, torch.zeros(5).long()).prediction
    )
    assert seen.asked.tolist() == [2] * 5
    assert victim.passes.forwards == 15
    assert Ball(norm, 0.1, x).distance(x).max() == 0


# --- What is said beforehand


def test_attempts_are_announced_and_followed():
    said: list[tuple] = []
    probe = replace_listeners(probe_of(cnn(), x=SOME), said)
    rows = probe.survivors()
    probe.attack("first", PGD(steps=5, loss="margin"), rows)
    assert said[0] == ("begins", "first", len(rows), len(rows) * (6 + 5))
    assert said[-1] == ("progress", len(rows), int(probe.fallen().sum()))


def replace_listeners(probe: EngineProbe, said: list[tuple]) -> EngineProbe:
    probe.begins = lambda *what: said.append(("begins", *what))
    probe.progress = lambda *what: said.append(("progress", *what))
    return probe


CHECKS = auditor_checks()


class Stubborn(nn.Module):
    """Never wrong within the ball, with a gradient that leads nowhere: everything is tried."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.linear, self.noise = nn.Linear(64, 3), noise
        with torch.no_grad():
            self.linear.weight.copy_(normal(3, 64, dtype=torch.float32) * 1e-4)
            self.linear.bias.copy_(torch.tensor([5.0, 0.0, 0.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z: torch.Tensor = self.linear(x.flatten(1))
        return z + self.noise * torch.randn_like(z) if self.noise else z


def shortened(check):
    """The same with no parameter above 5."""
    values = {field.name: getattr(check, field.name) for field in fields(check)}
    numbers = {name: value for name, value in values.items() if type(value) is int}
    return replace(check, **{name: min(value, 5) for name, value in numbers.items()})


@pytest.mark.parametrize("noise", [0.0, 1e-2], ids=["fixed", "random"])
@pytest.mark.parametrize("kind", CHECKS, ids=lambda kind: kind.check_spec.name)
def test_no_check_takes_more_than_it_says(kind, noise):
    x = IMAGES[:12]
    draws = STOCHASTIC_DRAWS if noise else 1
    probe = probe_of(Stubborn(noise), draws=draws, x=x, epsilon=0.01, known=(SYMPTOM,))
    check, passes = shortened(kind()), probe.victim.passes
    before = passes.forwards, passes.backwards
    check.run(probe)
    forwards, backwards = check.cost(len(x), 3, random=bool(noise))
    assert passes.forwards - before[0] <= forwards
    assert passes.backwards - before[1] <= backwards


def test_passes_of_an_attack_are_those_of_an_image_that_withstands():
    assert passes_of(PGD(steps=5, restarts=2), 10) == (12, 10)
    assert passes_of(Square(queries=30, eot=4), 10) == (120, 0)
    assert passes_of(APGD(steps=10, loss="margin", targets=9), 4) == (3 * 11, 3 * 10)
    assert passes_of(replace(PGD(steps=5), steps=7), 10) == (8, 7)
