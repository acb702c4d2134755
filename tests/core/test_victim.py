"""The victim: what it is given, what it says, and what asking it leaves untouched."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from core_models import Linear, cnn_victim, linear_victim, normal, uniform
from torch import nn

from auditor.subject.victim import STOCHASTIC_DRAWS, UNANIMOUS, Normalize, Victim

X = uniform(5, 3, 4, 6, seed=1)


class Remember(nn.Module):
    """Keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        self.given = x
        return torch.stack([x.flatten(1).sum(1), x.flatten(1).amax(1)], 1) * self.weight


@pytest.mark.parametrize(
    ("precision", "compute"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
    ],
)
def test_images_reach_the_model_normalised_and_in_its_precision(precision, compute):
    module, mean, std = Remember(), (0.5, 0.25, 0.1), (0.2, 0.5, 1.0)
    victim = Victim("v", module, precision=precision, normalize=Normalize(mean, std))
    assert victim.compute_dtype == compute
    z = victim.logits(X.to(compute))
    assert z.dtype == compute
    assert module.given.dtype == precision
    expected = (X.numpy() - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    tolerance = 4 * torch.finfo(precision).eps * np.abs(expected).max()
    np.testing.assert_allclose(module.given.double(), expected, rtol=0, atol=tolerance)
    assert module.weight.dtype == precision


def test_the_model_is_in_evaluation_mode_and_frozen():
    module = nn.Sequential(nn.Flatten(), nn.Linear(72, 7), nn.Dropout(), nn.Linear(7, 3))
    victim = Victim("v", module.train())
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert victim.parameters == 72 * 7 + 7 + 7 * 3 + 3


def test_probabilities_become_logits_by_their_logarithm():
    exact = cnn_victim(X)
    victim = Victim(
        "p", nn.Sequential(exact.module, nn.Softmax(1)), precision=torch.float64,
        outputs="probabilities",
    )  # fmt: skip
    torch.testing.assert_close(victim.logits(X), exact.logits(X).log_softmax(1))


def test_a_probability_of_zero_is_a_finite_logit():
    class Sure(nn.Module):
        def forward(self, x):
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(x), 3)

    victim = Victim("p", Sure(), outputs="probabilities")
    z = victim.logits(X.float())
    assert z.isfinite().all()
    assert (z[:, 0] == 0).all()
    assert (z[:, 1:] < -80).all()


def test_judgement_is_what_the_logits_say():
    victim = cnn_victim(X)
    with torch.no_grad():
        z = victim.module(X)
    y = torch.tensor([0, 1, 2, 3, 0])
    judged = victim.judge(X, y)
    assert torch.equal(judged.prediction, z.argmax(1))
    assert torch.equal(judged.wrong, z.argmax(1) != y)
    torch.testing.assert_close(judged.confidence, z.softmax(1).amax(1))
    for row in range(5):
        rivals = [float(z[row, k]) for k in range(4) if k != y[row]]
        assert float(judged.margin[row]) == pytest.approx(max(rivals) - float(z[row, y[row]]))


class Fixed(nn.Module):
    def __init__(self, z: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("z", z)

    def forward(self, x):
        return self.z.expand(len(x), -1).to(x.dtype)


@pytest.mark.parametrize(
    "z",
    [
        [torch.nan, 0.0, 0.0],
        [1.0, torch.nan, 0.0],
        [torch.nan] * 3,
        [torch.inf, 0.0, 0.0],
        [torch.inf, torch.inf, 0.0],
        [-torch.inf] * 3,
    ],
    ids=str,
)
def test_scores_without_a_softmax_are_no_right_answer(z):
    """The pre-flight says of scores that are not finite that they count as misclassified."""
    victim = Victim("nan", Fixed(torch.tensor([z])))
    assert victim.judge(X[:2].float(), torch.zeros(2, dtype=torch.int64)).wrong.all()


def test_a_class_that_is_ruled_out_does_not_make_an_answer_wrong():
    victim = Victim("masked", Fixed(torch.tensor([[1.0, 0.0, -torch.inf]])))
    y = torch.tensor([0, 1])
    assert victim.judge(X[:2].float(), y).wrong.tolist() == [False, True]


class Biased(nn.Module):
    """Answers 1 with the chance that the first pixel gives, else 0."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        draw = {
            "torch": lambda: float(torch.rand(())),
            "numpy": lambda: float(np.random.rand()),
            "python": random.random,
        }[self.source]()
        one = (x[:, 0, 0, 0] > draw).to(x.dtype)
        return torch.stack([1 - one, one], 1)


def stochastic(source: str = "torch") -> Victim:
    victim = Victim("random", Biased(source), precision=torch.float64)
    victim.draws = STOCHASTIC_DRAWS
    return victim


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_a_random_model_is_judged_by_the_majority_of_its_draws(source):
    victim = stochastic(source)
    x = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    x[:, 0, 0, 0] = torch.tensor([0.02, 0.5, 0.98])
    y = torch.zeros(3, dtype=torch.int64)
    victim.begin("stream")
    # The same model drawn by hand: half of the draws or fewer are no majority.
    answers = torch.stack([victim.logits(x).argmax(1) for _ in range(STOCHASTIC_DRAWS)])
    victim.begin("stream")
    judged = victim.judge(x, y)
    share = answers.double().mean(0)
    assert 0 < share[1] < 1
    assert torch.equal(judged.wrong, share > 0.5)
    assert judged.wrong.tolist()[::2] == [False, True]
    assert judged.prediction.tolist()[::2] == [0, 1]
    for row, asked in enumerate(judged.asked.tolist()):  # what it saw until it was settled
        seen = answers[:asked, row].double().mean()
        assert float(judged.margin[row]) == pytest.approx(float(2 * seen - 1))
    assert victim.passes.forwards == 3 * STOCHASTIC_DRAWS + int(judged.asked.sum())


class Scripted(nn.Module):
    """Image i is misclassified in the draws that `wrong[i]` says."""

    def __init__(self, wrong: torch.Tensor) -> None:
        super().__init__()
        self.wrong, self.asked = wrong, torch.zeros(len(wrong), dtype=torch.int64)

    def forward(self, x):
        rows = x[:, 0, 0, 0].round().long()
        one = self.wrong[rows, self.asked[rows]].to(x.dtype)
        self.asked[rows] += 1
        return torch.stack([1 - one, one], 1)


def judged_by_script(wrong: torch.Tensor):
    victim = Victim("scripted", Scripted(wrong), precision=torch.float64)
    victim.draws = STOCHASTIC_DRAWS
    x = torch.arange(len(wrong), dtype=torch.float64)[:, None, None, None].expand(-1, 1, 2, 2)
    return victim.judge(x, torch.zeros(len(wrong), dtype=torch.int64)), victim


def test_a_majority_is_not_asked_once_it_is_settled():
    n = STOCHASTIC_DRAWS
    cases = {  # the draws that go wrong: how often it is asked, and the verdict
        "never": ([], UNANIMOUS, False),
        "always": (range(n), n // 2 + 1, True),
        "once": ([2], n // 2 + 1, False),
        "at the end": (range(UNANIMOUS - 1, n), n - n // 2 + UNANIMOUS - 1 + 1, True),
        "every other time": (range(0, n, 2), n, False),
    }
    wrong = torch.zeros(len(cases), n, dtype=torch.bool)
    for row, (draws, _, _) in enumerate(cases.values()):
        wrong[row, list(draws)] = True
    judged, victim = judged_by_script(wrong)
    assert judged.wrong.tolist() == [verdict for _, _, verdict in cases.values()]
    at_most = [asked for _, asked, _ in cases.values()]
    assert all(a <= b for a, b in zip(judged.asked.tolist(), at_most, strict=True))
    assert judged.asked.tolist()[:2] == at_most[:2]
    assert victim.passes.forwards == int(judged.asked.sum())


def test_a_verdict_is_that_of_all_draws_unless_the_first_were_all_right():
    generator = torch.Generator().manual_seed(0)
    chance = torch.rand(3000, 1, generator=generator)
    wrong = torch.rand(3000, STOCHASTIC_DRAWS, generator=generator) < chance
    judged, _ = judged_by_script(wrong)
    majority = wrong.sum(1) > STOCHASTIC_DRAWS / 2
    trusted = ~wrong[:, :UNANIMOUS].any(1)
    assert torch.equal(judged.wrong[~trusted], majority[~trusted])
    assert not judged.wrong[trusted].any()
    assert not (judged.wrong & ~majority).any(), "nothing is called adversarial that is not"


def test_how_rarely_unanimous_answers_are_wrong():
    left = STOCHASTIC_DRAWS - UNANIMOUS
    most = STOCHASTIC_DRAWS // 2 + 1

    def chance(p: float) -> float:
        late = (math.comb(left, k) * p**k * (1 - p) ** (left - k) for k in range(most, left + 1))
        return (1 - p) ** UNANIMOUS * sum(late)

    worst = max(chance(k / 1000) for k in range(1001))
    assert 1 / 2000 < worst < 1 / 1800


def test_draws_depend_on_stream_and_call_alone():
    def answers(stream: str) -> list[float]:
        victim.begin(stream)
        return [float(victim.logits(x)[0, 1]) for _ in range(40)]

    victim, x = stochastic(), torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    first = answers("a")
    torch.rand(7)
    assert answers("a") == first
    assert answers("b") != first
    assert len(set(first)) == 2, "calls of one stream differ"


def states() -> tuple:
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), kind, keys.tolist(), rest, random.getstate()


@pytest.mark.parametrize("source", ["torch", "numpy", "python"])
def test_the_programs_own_random_numbers_are_left_alone(source):
    victim = stochastic(source)
    before = states()
    victim.judge(uniform(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64))
    assert states() == before


def test_random_numbers_are_restored_when_the_model_raises():
    class Raises(nn.Module):
        def forward(self, x):
            torch.rand(3), np.random.rand(3), random.random()
            raise RuntimeError("boom")

    victim = Victim("raises", Raises())
    victim.draws = STOCHASTIC_DRAWS
    before = states()
    with pytest.raises(RuntimeError, match="boom"):
        victim.logits(X.float())
    assert states() == before


def test_images_that_pass_are_counted_one_by_one():
    victim = cnn_victim(X)
    victim.logits(X)
    victim.judge(X[:2], torch.zeros(2, dtype=torch.int64))
    assert (victim.passes.forwards, victim.passes.backwards) == (7, 0)


def test_a_copy_in_another_precision_is_a_copy():
    W, b = normal(3, 72, seed=2, dtype=torch.float32), torch.zeros(3)
    victim = linear_victim(W, b, precision=torch.float32, normalize=Normalize((0.5,), (0.5,)))
    clone = victim.in_precision(torch.float64)
    with torch.no_grad():
        clone.module.W.zero_()
    assert torch.equal(victim.module.W, W)
    assert victim.module.W.dtype == torch.float32
    assert (clone.normalize, clone.outputs) == (victim.normalize, victim.outputs)
    clone.logits(X)
    assert victim.passes.forwards == len(X)


def test_logits_can_be_differentiated():
    victim = Victim(
        "l", Linear(normal(3, 72, seed=3), torch.zeros(3).double()), precision=torch.float64
    )
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(victim.logits(x)[:, 1].sum(), x)
    torch.testing.assert_close(slope[0].flatten(), victim.module.W[1].double())
