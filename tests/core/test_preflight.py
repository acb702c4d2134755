"""Pre-flight: each finding on a model made for it, none on a clean one, errors that name images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from auditor.errors import LoadError
from auditor.preflight import Preflight, left_in_training, preflight
from auditor.subject.samples import Images, Samples, choose_samples
from auditor.subject.victim import STOCHASTIC_DRAWS, Victim

CLASSES = 3
N = 150


def data(classes: int = CLASSES, n: int = N) -> Samples:
    """Dark images on which one of the first pixels, that of the label, is bright."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % classes
    x = rng.uniform(0.05, 0.35, (n, 1, 6, 7))
    x[np.arange(n), 0, 0, y] = rng.uniform(0.6, 0.95, n)
    return choose_samples(Images(x, y, source="set"), None, 0)


SAMPLES = data()


class Right(nn.Module):
    """The clean model: right on every image."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.classes = classes

    def forward(self, x):
        return x[:, 0, 0, : self.classes] * self.scale


class Changed(Right):
    """A clean model of which one thing is changed."""

    def __init__(self, forward, **attributes) -> None:
        super().__init__()
        self.change = forward
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.change(self, x, super().forward)


def fly(module: nn.Module, **options) -> tuple[Preflight, Victim]:
    settings = {"outputs": "logits", "expected_accuracy": None, "training_modules": ()}
    made = {name: options.pop(name) for name in ("precision", "normalize") if name in options}
    samples, batch_size = options.pop("samples", SAMPLES), options.pop("batch_size", 64)
    victim = Victim("m", module, **made)
    return preflight(victim, samples, batch_size, **{**settings, **options}), victim


def codes(result: Preflight) -> list[str]:
    return [finding.code for finding in result.findings]


def test_nothing_is_found_on_a_clean_model():
    result, victim = fly(Right(), expected_accuracy=1.0)
    assert result.findings == ()
    assert result.stop == ""
    assert result.classes == CLASSES
    assert result.has_gradient
    assert result.correct.all()
    np.testing.assert_array_equal(result.prediction, SAMPLES.labels)
    x = torch.from_numpy(SAMPLES.read(slice(None))).float()
    np.testing.assert_allclose(result.confidence, victim.module(x).softmax(1).amax(1), rtol=1e-6)
    assert (victim.outputs, victim.draws) == ("logits", 1)


@pytest.mark.parametrize("batch_size", [1, 64, 1000])
def test_every_image_is_judged_whatever_the_batches(batch_size):
    def wrong_on_some(self, x, right):
        z = right(x)
        return torch.where((x[:, 0, 3, 3] < 0.1)[:, None], -z, z)

    result, _ = fly(Changed(wrong_on_some), batch_size=batch_size)
    expected = SAMPLES.read(slice(None))[:, 0, 3, 3].astype(np.float32) >= np.float32(0.1)
    assert 0 < expected.sum() < N
    np.testing.assert_array_equal(result.correct, expected)


# One model for every finding


class StaysInTraining(Right):
    """With a layer that answers otherwise there, if it is given one."""

    def __init__(self, layer: nn.Module | None = None):
        super().__init__()
        self.layer = nn.Identity() if layer is None else layer

    def train(self, mode: bool = True):
        return self

    def forward(self, x):
        return super().forward(self.layer(x))


def answers_otherwise():
    """Scales what it is given in training mode, and draws nothing."""

    class Scales(nn.Module):
        def forward(self, x):
            return x * 0.9 if self.training else x

    return Scales()


def nondeterministic(self, x, right):
    z = right(x)
    return z + 0.3 * nn.functional.dropout(torch.ones_like(z), 0.5, training=True)


def slightly_noisy(self, x, right):
    return right(x) + 0.05 * torch.randn_like(right(x))


def batch_dependent(self, x, right):
    z = right(x)
    return z + 0.2 * z.mean(0, keepdim=True) * torch.tensor([0.0, 1.0, -1.0])


def depends_on_order(self, x, right):
    return right(x) + torch.linspace(0, 1, len(x))[:, None] * torch.tensor([0.0, 1.0, -1.0])


class Counts(Right):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += len(x)
        return super().forward(x)


def nan_on_bright(self, x, right):
    return torch.where((x[:, 0, 3, 3] > 0.3)[:, None], torch.nan, right(x))


def scaled(factor: float, shift: float):
    """Right on pixels factor x - shift: thresholds a pixel in that range."""

    def forward(self, x, right):
        bright = torch.sigmoid((x[:, 0, 0, :CLASSES] - (factor * 0.5 - shift)) * 20 / factor)
        wrong = torch.tensor([0.6, 0.0, 0.0])  # with other pixels it says 0
        return bright + wrong

    return forward


@pytest.mark.parametrize(
    ("module", "code"),
    [
        (StaysInTraining(answers_otherwise()), "train-mode"),
        (Changed(nondeterministic), "nondeterministic"),
        (Changed(slightly_noisy), "nondeterministic"),
        (Changed(batch_dependent), "batch-dependence"),
        (Changed(depends_on_order), "batch-dependence"),
        (Counts(), "state-changes"),
        (Changed(nan_on_bright), "non-finite"),
        (Right(5), "class-count"),
        (Changed(lambda self, x, right: right(x).detach()), "no-gradient"),
        (Changed(lambda self, x, right: right(x.detach())), "no-gradient"),
        (
            Changed(lambda self, x, right: right(torch.from_numpy(x.detach().numpy()))),
            "no-gradient",
        ),
    ],
)
def test_each_finding_comes_on_the_model_made_for_it_and_alone(module, code):
    result, _ = fly(module)
    assert codes(result) == [code]
    (finding,) = result.findings
    assert finding.remedy
    assert finding.evidence
    assert finding.summary
    assert finding.fingerprint


def test_two_models_and_two_findings_have_four_fingerprints():
    found = set()
    for name in ("a", "b"):
        for module in (Right(5), Counts()):
            victim = Victim(name, module)
            result = preflight(
                victim, SAMPLES, 64, outputs="logits", expected_accuracy=None, training_modules=()
            )
            found.add(result.findings[0].fingerprint)
    assert len(found) == 4


def test_a_factory_that_left_batch_statistics_on_is_told():
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(42, 3))
    names = left_in_training(module)
    assert names == ("0: BatchNorm2d", "2: Dropout")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    result, _ = fly(module, training_modules=names)
    assert "train-mode" in codes(result)
    assert result.findings[0].severity != "high"
    assert all(value.equal(before[key]) for key, value in module.state_dict().items())
    assert left_in_training(module.eval()) == ()


def test_training_mode_that_changes_no_answer_is_no_finding():
    idle = nn.Sequential(nn.Dropout(0.0), nn.BatchNorm2d(1, track_running_stats=False), Right())
    assert left_in_training(idle) == ()

    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.right = nn.BatchNorm2d(1), Right()

        def forward(self, x):
            self.norm(x)
            return self.right(x)

    unused = Unused()
    names = left_in_training(unused)
    assert names == ("norm: BatchNorm2d",)
    assert codes(fly(unused, training_modules=names)[0]) == []
    assert codes(fly(StaysInTraining(nn.Dropout(0.0)))[0]) == []


@pytest.mark.parametrize("left", [True, False])
def test_the_remedy_for_training_mode_is_one_that_the_user_has(left):
    """A model of a loader has no factory to change."""
    module = nn.Sequential(nn.BatchNorm2d(1), Right()) if left else StaysInTraining(nn.Dropout())
    names = left_in_training(module) if left else ()
    for maker in ("factory", "loader"):
        result, _ = fly(module.train(), training_modules=names, maker=maker)
        (finding,) = [one for one in result.findings if one.code == "train-mode"]
        words = f"{finding.title} {finding.summary} {finding.remedy}"
        assert ("factory" in words) == (maker == "factory")
        assert "eval()" in finding.remedy


def test_batch_statistics_in_use_are_found_three_times_over():
    class Stubborn(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.right = nn.BatchNorm2d(1), Right()

        def train(self, mode=True):
            return self

        def forward(self, x):
            return self.right(self.norm(x))

    result, _ = fly(Stubborn())
    assert {"train-mode", "state-changes", "batch-dependence"} <= set(codes(result))


def test_looking_for_changes_of_state_leaves_the_state_as_it_was():
    _, victim = fly(Right())
    assert victim.module.scale.item() == 8.0


def test_state_of_any_kind_is_compared_and_put_back():
    class Odd(Right):
        def __init__(self):
            super().__init__()
            self.register_buffer("unknown", torch.tensor([1.0, torch.nan]))
            self.register_buffer("coarse", torch.ones(3).to(torch.float8_e4m3fn))
            self.register_buffer("sparse", torch.eye(3).to_sparse())
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    result, victim = fly(Odd())
    assert codes(result) == ["state-changes"]
    assert result.findings[0].evidence == ("calls",)
    before = victim.module.calls.item()
    with victim.put_back() as changed:
        victim.logits(torch.rand(2, 1, 6, 7))
    assert (changed, victim.module.calls.item()) == (["calls"], before)


def test_state_that_is_no_tensor_is_no_obstacle():
    class Extra(Right):
        def get_extra_state(self):
            return {"version": 3}

        def set_extra_state(self, state):
            assert state == {"version": 3}

    result, _ = fly(Extra())
    assert result.findings == ()


def test_a_random_model_is_judged_by_many_draws_from_then_on():
    _, victim = fly(Changed(nondeterministic))
    assert victim.draws == STOCHASTIC_DRAWS


@pytest.mark.parametrize(
    ("factor", "shift", "words"), [(255.0, 0.0, "[0, 255]"), (2.0, 1.0, "[-1, 1]")]
)
def test_a_model_of_another_range_of_pixels_is_found(factor, shift, words):
    result, _ = fly(Changed(scaled(factor, shift)))
    assert "input-range" in codes(result)
    (finding,) = [one for one in result.findings if one.code == "input-range"]
    assert words in finding.summary


@pytest.mark.parametrize(("factor", "shift"), [(255.0, 0.0), (2.0, 1.0)])
def test_the_remedy_for_the_range_of_pixels_works(factor, shift):
    import re

    from auditor.subject.victim import Normalize

    result, _ = fly(Changed(scaled(factor, shift)))
    (finding,) = [one for one in result.findings if one.code == "input-range"]
    mean, std = (float(text) for text in re.findall(r"\[([-\d.]+)\]", finding.remedy))
    again, _ = fly(Changed(scaled(factor, shift)), normalize=Normalize((mean,), (std,)))
    assert again.correct.all()
    assert "input-range" not in codes(again)


def test_a_model_that_refuses_other_pixels_is_not_harmed_by_the_question():
    def strict(self, x, right):
        if x.min() < 0 or x.max() > 1:
            raise ValueError("pixels outside [0, 1]")
        return right(x)

    result, _ = fly(Changed(strict))
    assert result.findings == ()


# The kind of output

KINDS = {
    "logits": lambda z: z,
    "log-probabilities": lambda z: z.log_softmax(1),
    "probabilities": lambda z: z.softmax(1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_auto_tells_the_kinds_of_output_apart(kind, precision):
    module = Changed(lambda self, x, right: KINDS[kind](right(x)))
    result, victim = fly(module, outputs="auto", precision=precision)
    assert victim.outputs == kind
    assert "output-kind" not in codes(result)


@pytest.mark.parametrize("returned", KINDS)
@pytest.mark.parametrize("declared", KINDS)
def test_what_is_declared_is_used_and_a_contradiction_is_found(returned, declared):
    module = Changed(lambda self, x, right: KINDS[returned](right(x)))
    result, victim = fly(module, outputs=declared)
    assert victim.outputs == declared
    assert ("output-kind" in codes(result)) is (returned != declared)
    assert ("probabilities" in codes(result)) is (returned == "probabilities")


def test_small_scores_between_0_and_1_are_logits():
    result, victim = fly(Changed(lambda self, x, right: x[:, 0, 0, :CLASSES]), outputs="auto")
    assert victim.outputs == "logits"
    assert result.findings == ()


# Accuracy


def right_on_half(self, x, right):
    z = right(x)
    return torch.where((x[:, 0, 3, 3] < 0.2)[:, None], z, -z)


@pytest.mark.parametrize(
    ("expected", "stops"), [(None, False), (0.5, False), (0.95, True), (0.1, True)]
)
def test_an_accuracy_far_from_the_expected_one_stops_the_run(expected, stops):
    result, _ = fly(Changed(right_on_half), expected_accuracy=expected)
    assert 0.4 < result.correct.mean() < 0.6
    assert ("clean-accuracy" in codes(result)) is stops
    assert bool(result.stop) is stops


def test_an_accuracy_that_chance_explains_does_not_stop_the_run():
    """8 of 10 images, where 95 % are expected: 8 or fewer come once in twelve times."""

    def wrong_on_two(self, x, right):
        z = right(x)
        return torch.where((x[:, 0, 3, 3] < self.limit)[:, None], -z, z)

    samples = data(n=10)
    pixels = np.sort(samples.read(slice(None))[:, 0, 3, 3])
    module = Changed(wrong_on_two, limit=float(pixels[1] + pixels[2]) / 2)
    result, _ = fly(module, samples=samples, expected_accuracy=0.95)
    assert result.correct.sum() == 8
    assert result.stop == ""


def test_a_model_that_never_answers_stops_the_run():
    result, _ = fly(Changed(lambda self, x, right: right(x) * torch.nan))
    assert "non-finite" in codes(result)
    assert result.stop
    assert not result.correct.any()


def test_nan_counts_as_misclassified():
    result, _ = fly(Changed(nan_on_bright))
    bright = SAMPLES.read(slice(None))[:, 0, 3, 3].astype(np.float32) > 0.3
    np.testing.assert_array_equal(result.correct, ~bright)
    assert 0 < bright.sum() < N


# What cannot be audited


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        (lambda self, x, right: (right(x), x), "tuple"),
        (lambda self, x, right: {"logits": right(x)}, "dict"),
        (lambda self, x, right: right(x)[:, :1], "2 classes and the data has the label 2"),
        (lambda self, x, right: right(x)[:, 0], "2 classes and the data has the label 2"),
        (lambda self, x, right: right(x).argmax(1), "labels rather than scores"),
        (lambda self, x, right: right(x)[:1], "shape"),
        (lambda self, x, right: right(x)[:, :, None].expand(-1, -1, 2), "shape"),
        (lambda self, x, right: (100 * right(x)).long(), "int64"),
        (lambda self, x, right: right(x)[:, :2], "2 classes and the data has the label 2"),
        (lambda self, x, right: right(x[:, :, :99]) @ x, "images 0 to 63"),
    ],
)
def test_outputs_that_cannot_be_used_are_errors_with_a_remedy(forward, words):
    with pytest.raises(LoadError) as raised:
        fly(Changed(forward))
    assert words in str(raised.value)
    assert raised.value.remedy
    assert "'m'" in raised.value.where


def test_a_crash_in_the_middle_names_the_images():
    """The last pixel marks the 130th image, which is in the third batch of 64."""
    x, y = SAMPLES.images.x.copy(), SAMPLES.images.y
    x[130, 0, 5, 6] = 1

    def crashes(self, x, right):
        if (x[:, 0, 5, 6] == 1).any():
            raise RuntimeError("boom")
        return right(x)

    samples = choose_samples(Images(x, y), None, 0)
    with pytest.raises(LoadError, match="boom") as raised:
        fly(Changed(crashes), samples=samples)
    assert "images 128 to 149" in raised.value.where


@pytest.mark.parametrize("limit", [None, 1, 3])
def test_a_batch_of_one_that_fails_is_filled_up(limit):
    victim = Victim("m", Changed(lambda self, x, right: right(x).squeeze()))
    victim.pieces.limit = limit
    result = preflight(victim, SAMPLES, 64, outputs="logits", expected_accuracy=None,
                       training_modules=())  # fmt: skip
    assert codes(result) == ["small-batches"]
    assert victim.least == 2
    assert result.correct.all()
    assert victim.logits(torch.rand(1, 1, 6, 7)).shape == (1, CLASSES)


def test_a_model_of_one_batch_size_only_is_asked_in_batches_of_that_size():
    """Attacks refill their batches, so that any size up to the largest comes."""

    def only_64(self, x, right):
        return right(x.view(64, 1, 6, 7))

    result, victim = fly(Changed(only_64), batch_size=1000)
    assert codes(result) == ["small-batches"]
    assert result.correct.all()
    assert result.has_gradient
    assert (victim.least, victim.pieces.limit) == (64, 64)


def test_one_image_is_enough():
    samples = Samples(SAMPLES.images, SAMPLES.index[:1], "", SAMPLES.layout)
    result, _ = fly(Right(), samples=samples)
    assert codes(result) == ["guessing"]  # of one right answer nobody can tell
    assert result.correct.tolist() == [True]


class AlwaysFirst(nn.Module):
    """Answers class 0 whatever it sees."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])


def test_a_model_that_might_as_well_guess_is_told():
    assert "guessing" in codes(fly(AlwaysFirst())[0])
    assert "guessing" not in codes(fly(Right())[0])
