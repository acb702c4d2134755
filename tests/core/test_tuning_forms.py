"""Which form and which precision is chosen, with the stopwatch in the test's hand."""

from __future__ import annotations

import math
import time

import pytest
import torch
from core_forms import BatchNormCNN, X, randomised, seen_by, surrogate_of
from core_models import Linear, SmallCNN, normal, uniform
from torch import nn
from torch.nn import functional as F

from auditor.cells import tuning
from auditor.cells.tuning import measure_form, measure_search_precision
from auditor.surrogate import in_form


@pytest.fixture
def seconds(monkeypatch):
    """What each measurement says, in order; the work is done once, so that it may fail."""
    said: list[float] = []

    def measure(work, device):
        work()
        return said.pop(0)

    monkeypatch.setattr(tuning, "_seconds", measure)
    return said


class Truncated(torch.autograd.Function):
    """Tanh, whose slope is said to be 0 wherever it is below 1/2."""

    @staticmethod
    def forward(ctx, x):
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        slope = 1 - y * y
        return grad * torch.where(slope < 0.5, 0, slope)


class Straight(torch.autograd.Function):
    """A rounding that passes its gradient through, and remembers nothing."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 16) / 16

    @staticmethod
    def backward(ctx, grad):
        return grad


class Odd(nn.Module):
    """A BatchNorm CNN of one peculiarity."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.first, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.other = nn.BatchNorm2d(6)
        self.last = nn.Linear(6 * 10 * 12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.first(x))
        if self.what == "truncates its gradient":
            h = Truncated.apply(h)
        if self.what == "straight-through rounding":
            h = Straight.apply(h) + torch.tanh(h)
        if self.what == "looks at its data":
            h = h * 2 if x.mean() > 0.5 else torch.tanh(h)
        if self.what == "one convolution, two norms":
            h = h + self.other(self.first(x))
        if self.what == "draws at random":
            h = h + torch.randn(6, 1, 1)
        if self.what == "counts its calls":
            self.calls = getattr(self, "calls", 0) + 1
        if self.what == "asks for contiguous":
            assert h.is_contiguous()
        if self.what == "view":
            return self.last(h.view(len(h), -1))
        return self.last(torch.flatten(h, 1))


#: The fastest form that is the model's own; the stopwatch says that folded is, then channels-last.
ODD = {
    "nothing odd": "folded",
    "truncates its gradient": "channels-last",
    "straight-through rounding": "channels-last",
    "looks at its data": "channels-last",
    "one convolution, two norms": "channels-last",
    "counts its calls": "folded",
    "asks for contiguous": "plain",
    "view": "plain",
}


@pytest.mark.parametrize("what", ODD)
def test_the_fastest_form_that_is_the_models_own_is_chosen(what, seconds):
    seconds.extend([4.0, 2.0, 1.0])
    surrogate = surrogate_of(randomised(Odd(what)))
    form = measure_form(surrogate, X)
    assert form == ODD[what]
    # Compared here too, with another objective.
    one, other = seen_by(surrogate), seen_by(in_form(surrogate, form))
    for name in ("logits", "gradient"):
        expected = getattr(one, name)
        torch.testing.assert_close(
            getattr(other, name), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().amax())
        )


def test_a_random_model_does_not_have_its_noise_folded_into_a_constant(seconds):
    seconds.extend([4.0, 2.0, 1.0])
    surrogate = surrogate_of(randomised(Odd("draws at random")))
    other = in_form(surrogate, measure_form(surrogate, X))
    first, second = seen_by(other), seen_by(other)
    assert not torch.equal(first.logits, second.logits)


@pytest.mark.parametrize(
    ("costs", "form"),
    [
        ([1.0, 1.0, 1.0], "plain"),
        ([1.0, 0.5, 2.0], "channels-last"),
        ([1.0, 0.5, 0.4], "folded"),
        ([1.15, 1.02, 1.001], "plain"),
        ([1.1501, 1.2, 1.0], "folded"),
        ([1.0, 5.0, 9.0], "plain"),
    ],
)
def test_another_form_has_to_win_clearly(costs, form, seconds):
    seconds.extend(costs)
    assert measure_form(surrogate_of(randomised(BatchNormCNN())), X) == form
    assert seconds == []


def test_forms_are_for_convolutions_in_float32(seconds):
    """Nothing is measured elsewhere."""
    double = surrogate_of(SmallCNN(X).double(), precision=torch.float64)
    assert measure_form(double, X.double()) == "plain"
    linear = Linear(normal(4, X[0].numel(), seed=1).float(), torch.zeros(4))
    assert measure_form(surrogate_of(linear), X) == "plain"


class Fails(nn.Module):
    """A convolution that always fails, or that cannot be copied."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.conv = what, nn.Conv2d(3, 4, 3)

    def __deepcopy__(self, memo):
        if self.what == "cannot be copied":
            raise NotImplementedError("no copies")
        return Fails(self.what)

    def forward(self, x):
        if self.what == "always":
            raise ValueError("I never work")
        return self.conv(x).mean((2, 3))


@pytest.mark.parametrize("what", ["always", "cannot be copied"])
def test_a_model_that_fails_is_left_plain(what, seconds):
    seconds.extend([4.0, 2.0, 1.0])
    assert measure_form(surrogate_of(Fails(what)), X) == "plain"


# Precision


class NoHalf(nn.Module):
    """Cannot run in bfloat16: at all, or not backwards, or not in more than one image."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what, self.last = what, nn.Linear(X[0].numel(), 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coarse = x.dtype == torch.bfloat16
        if coarse and self.what == "at all":
            raise RuntimeError('"linalg_qr" not implemented for "BFloat16"')
        if coarse and self.what == "a type of its own":
            raise KeyError(x.dtype)
        if coarse and self.what == "in batches" and len(x) > 1:
            raise RuntimeError("not implemented for 'BFloat16'")
        x = x.flatten(1)
        if coarse and self.what == "backwards":
            x = NoWayBack.apply(x)
        return self.last(x)


class NoWayBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise RuntimeError("\"_backward\" not implemented for 'BFloat16'")


@pytest.mark.parametrize("what", ["at all", "a type of its own", "in batches", "backwards"])
def test_a_model_that_cannot_run_in_bfloat16_costs_for_ever_there(what, seconds):
    surrogate = surrogate_of(NoHalf(what))
    seconds.extend([1.0, 0.01])
    assert tuning._precision_seconds(surrogate, "float32", X, tuning.Left()) == 1.0
    assert tuning._precision_seconds(surrogate, "bfloat16", X, tuning.Left()) == math.inf
    seconds[:] = [1.0, 0.01]
    assert measure_search_precision(surrogate, X) == "float32"


@pytest.mark.parametrize(
    ("costs", "precision"),
    [([1.0, 1.0], "float32"), ([1.2, 1.0], "float32"), ([1.31, 1.0], "bfloat16")],
)
def test_bfloat16_has_to_win_clearly(costs, precision, seconds):
    seconds.extend(costs)
    assert measure_search_precision(surrogate_of(SmallCNN(X)), X) == precision
    assert seconds == []


@pytest.mark.parametrize("precision", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_only_float32_has_a_coarser_search(precision, seconds):
    """Nothing is measured, and the search runs in what the attack runs in."""
    surrogate = surrogate_of(SmallCNN(X), precision=precision)
    assert measure_search_precision(surrogate, X) == "float32"
    for choice in ("float32", "tf32", "bfloat16"):
        assert surrogate.for_search(choice) is surrogate


def test_a_model_slow_in_float32_is_searched_in_bfloat16():
    """The stopwatch itself: the shortest of some repetitions, backward pass included."""

    class Slow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(X[0].numel(), 4)

        def forward(self, x):
            time.sleep(0.05 if x.dtype == torch.float32 else 0)
            return self.last(x.flatten(1))

    assert measure_search_precision(surrogate_of(Slow()), X) == "bfloat16"


def test_at_most_a_few_images_are_measured(monkeypatch):
    sizes = []

    class Sizes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            sizes.append(len(x))
            return F.relu(self.conv(x)).mean((2, 3))

    x = uniform(100, 3, 6, 6, seed=2, dtype=torch.float32)
    measure_form(surrogate_of(Sizes()), x)
    measure_search_precision(surrogate_of(Sizes()), x)
    assert max(sizes) == 32
