"""Looks at a victim before it is attacked: is it set up as its user believes?

Everything odd becomes a finding with a remedy; what makes an audit impossible raises a LoadError.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from auditor.errors import LoadError
from auditor.objectives import choose_objective
from auditor.results import Finding, Level
from auditor.samples import Samples
from auditor.stats import clopper_pearson
from auditor.surrogate import NoGradientError, naive
from auditor.victim import STOCHASTIC_DRAWS, Outputs, Victim

#: Images that the checks beside clean accuracy look at.
_PROBES = 64
#: Differences of logits, relative to their spread, that floating point does not explain.
_REPEAT_TOLERANCE = 1e-4
_BATCH_TOLERANCE = 1e-3
#: A clean accuracy this far from the expected one, and outside its interval, stops the run.
_EXPECTED_SLACK = 0.02
_PROBABILITY_SUM = 1e-3


@dataclass(frozen=True)
class Preflight:
    """What is known of a victim before it is attacked."""

    classes: int
    #: (N,) the victim's answers to the clean images, and whether they are right.
    prediction: NDArray[np.int64]
    correct: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    findings: tuple[Finding, ...]
    #: Why the audit of this model cannot go on; empty when it can.
    stop: str
    has_gradient: bool


def finding(
    victim: str,
    code: str,
    title: str,
    severity: Level,
    summary: str,
    *,
    evidence: tuple[str, ...],
    remedy: str,
) -> Finding:
    """A finding of high confidence on one model, with a fingerprint that stays across runs."""
    digest = hashlib.sha256(f"{victim}\0{code}".encode()).hexdigest()[:16]
    return Finding(code, title, severity, "high", summary, evidence, remedy, (), digest)


def preflight(
    victim: Victim,
    samples: Samples,
    batch_size: int,
    *,
    outputs: Outputs | str,
    expected_accuracy: float | None,
    training_modules: tuple[str, ...],
) -> Preflight:
    """Prove what can be proved about `victim` on the samples.

    Args:
        outputs: as configured; "auto" decides here. Sets `victim.outputs` and `victim.draws`.
        training_modules: modules the factory left in training mode.

    Raises:
        LoadError: the model fails on the data, or its output cannot be used.
    """
    classes = count_classes(victim, samples)
    probe = read_batch(victim, samples, slice(0, min(_PROBES, len(samples))))
    labels = torch.from_numpy(samples.labels[: len(probe)]).to(victim.device)
    findings = list(_output_findings(victim, probe, outputs))
    findings += _mode_findings(victim, training_modules)
    findings += _state_findings(victim, probe)
    findings += _determinism_findings(victim, probe)
    findings += _batch_findings(victim, probe)
    findings += _range_findings(victim, probe, labels)
    gradient = list(_gradient_findings(victim, probe, labels, classes))
    findings += gradient
    prediction, wrong, confidence, nonfinite = _clean(victim, samples, batch_size)
    findings += _nonfinite_findings(victim, nonfinite)
    findings += _class_findings(victim, samples, classes)
    accuracy = list(_accuracy_findings(victim, ~wrong, expected_accuracy))
    stop = accuracy[0].summary if accuracy else ""
    if nonfinite.all():
        stop = "the model's output is not finite on any image"
    return Preflight(
        classes=classes,
        prediction=prediction,
        correct=~wrong,
        confidence=confidence,
        findings=(*findings, *accuracy),
        stop=stop,
        has_gradient=not gradient,
    )


def read_batch(victim: Victim, samples: Samples, part: slice) -> torch.Tensor:
    """(n, C, H, W) images of the victim's compute type, on its device."""
    pixels = torch.from_numpy(np.ascontiguousarray(samples.read(part)))
    return pixels.to(device=victim.device, dtype=victim.compute_dtype)


@torch.no_grad()
def count_classes(victim: Victim, samples: Samples) -> int:
    """The number of classes, K.

    Raises:
        LoadError: the output is not (B, K) floating-point scores, or has no room for the labels.
    """
    probe = read_batch(victim, samples, slice(0, min(_PROBES, len(samples))))
    where = f"model {victim.name!r}"
    with _blaming_model(victim, f"images 0 to {len(probe) - 1} of shape {tuple(probe.shape[1:])}"):
        z = victim.raw(probe)
    if not isinstance(z, torch.Tensor):
        raise LoadError(f"The model returns a {type(z).__name__}.", where=where,
                        expected="one tensor of shape (B, classes)",
                        remedy="wrap it in a module whose forward returns the scores alone")  # fmt: skip
    if z.dim() != 2 or len(z) != len(probe) or z.shape[1] < 2:
        raise LoadError(f"The model returns the shape {tuple(z.shape)} for {len(probe)} images.",
                        where=where, expected=f"({len(probe)}, classes) with at least 2 classes",
                        remedy="flatten the output to one row per image; a single logit z becomes "
                               "two as torch.cat([0 * z, z], 1)")  # fmt: skip
    if not z.is_floating_point():
        raise LoadError(f"The model returns {z.dtype}, labels rather than scores.", where=where,
                        expected="floating-point scores of every class",
                        remedy="return the values before argmax")  # fmt: skip
    highest = int(samples.images.y.max())
    if highest >= z.shape[1]:
        raise LoadError(f"The model has {z.shape[1]} classes and the data has the label {highest}.",
                        where=f"{where}, {samples.images.source}",
                        expected=f"labels from 0 to {z.shape[1] - 1}",
                        remedy="check that model and data belong together; labels start at 0")  # fmt: skip
    return int(z.shape[1])


@contextlib.contextmanager
def _blaming_model(victim: Victim, images: str) -> Iterator[None]:
    """Turn an error of the model into one that says on which images it came."""
    try:
        yield
    except KeyboardInterrupt:
        raise
    except Exception as error:
        raise LoadError(
            f"The model raised {type(error).__name__}: {error}",
            where=f"model {victim.name!r}, {images}",
            expected="scores for every batch of images",
            remedy="check the images' shape and channels against what the model was trained on",
        ) from error


@torch.no_grad()
def _output_findings(victim: Victim, probe: torch.Tensor, declared: str) -> Iterator[Finding]:
    """Decide on `victim.outputs`, and say where it contradicts what was declared."""
    z = victim.raw(probe)
    assert isinstance(z, torch.Tensor)
    seen = _kind_of_output(z.double())
    victim.outputs = seen if declared == "auto" else declared  # type: ignore[assignment]
    if declared not in ("auto", seen):
        yield finding(
            victim.name, "output-kind", "The output is not of the declared kind", "high",
            f"The configuration says {declared}; what the model returns looks like {seen}.",
            evidence=(f"range {z.min():.3g} to {z.max():.3g}, "
                      f"rows sum to {z.double().sum(1).mean():.3g} on average",),
            remedy=f'set outputs = "{seen}", or let the model return {declared}',
        )  # fmt: skip
    if seen == "probabilities":
        yield finding(
            victim.name, "probabilities", "The model returns probabilities", "low",
            "The audit takes their logarithm; where a probability has rounded to 0 or 1 the score, "
            "and with it the gradient, is lost.",
            evidence=(f"every output in [0, 1], every row sums to 1 within {_PROBABILITY_SUM:g}",),
            remedy="return the values before the softmax",
        )  # fmt: skip


def _kind_of_output(z: torch.Tensor) -> Outputs:
    def sums_to_one(p: torch.Tensor) -> bool:
        return bool(((p.sum(1) - 1).abs() < _PROBABILITY_SUM).all())

    if z.min() >= 0 and z.max() <= 1 + _PROBABILITY_SUM and sums_to_one(z):
        return "probabilities"
    if z.max() <= _PROBABILITY_SUM and sums_to_one(z.exp()):
        return "log-probabilities"
    return "logits"


def _mode_findings(victim: Victim, training_modules: tuple[str, ...]) -> Iterator[Finding]:
    still = tuple(name or "(the model)" for name, part in victim.module.named_modules() if part.training)
    if still:
        yield finding(
            victim.name, "train-mode", "Parts of the model stay in training mode", "high",
            "After eval() was called, parts of the model are still in training mode, so that it "
            "may not answer as it will when deployed.",
            evidence=still[:10], remedy="do not override train(); call eval() in the factory",
        )  # fmt: skip
    elif training_modules:
        yield finding(
            victim.name, "train-mode", "The factory left the model in training mode", "low",
            "Dropout and batch normalisation behave otherwise in training; the audit has called "
            "eval(). Whoever deploys this model has to do the same.",
            evidence=training_modules[:10], remedy="call model.eval() at the end of the factory",
        )  # fmt: skip


def left_in_training(module: nn.Module) -> tuple[str, ...]:
    """Names of the modules in training mode that behave otherwise there."""
    kinds = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    return tuple(
        f"{name or '(the model)'}: {type(part).__name__}"
        for name, part in module.named_modules()
        if part.training and isinstance(part, kinds)
    )


@torch.no_grad()
def _state_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    before = {name: value.clone() for name, value in victim.module.state_dict().items()}
    victim.raw(probe)
    after = victim.module.state_dict()
    changed = tuple(name for name, value in before.items() if not value.equal(after[name]))
    victim.module.load_state_dict(before)
    if changed:
        yield finding(
            victim.name, "state-changes", "Looking at images changes the model", "high",
            "A forward pass changes the model's own state, so that its answers depend on what it "
            "was asked before, and this audit cannot be repeated exactly.",
            evidence=changed[:10], remedy="put batch normalisation into evaluation mode; keep no "
            "running state in forward",
        )  # fmt: skip


def _relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    spread = (a.amax() - a.amin()).clamp(min=torch.finfo(a.dtype).tiny)
    return float(((a - b).abs().amax() / spread).nan_to_num(0))


@torch.no_grad()
def _determinism_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    first = victim.logits(probe)
    repeats = [victim.logits(probe) for _ in range(4)]
    difference = max(_relative_difference(first, again) for again in repeats)
    if difference > _REPEAT_TOLERANCE:
        victim.draws = STOCHASTIC_DRAWS
        flips = sum(int((first.argmax(1) != again.argmax(1)).sum()) for again in repeats)
        yield finding(
            victim.name, "nondeterministic", "The same picture gets different answers", "medium",
            f"Repeated calls differ. Every judgement in this audit is therefore the majority of "
            f"{STOCHASTIC_DRAWS} draws.",
            evidence=(f"largest difference {difference:.2g} of the logits' range",
                      f"{flips} changed answers in {4 * len(probe)} repeated ones"),
            remedy="switch the randomness off if it is not part of the deployed model; attack it "
                   "with eot of 10 or more if it is",
        )  # fmt: skip


@torch.no_grad()
def _batch_findings(victim: Victim, probe: torch.Tensor) -> Iterator[Finding]:
    if victim.draws > 1 or len(probe) < 2:
        return
    together, reverse = victim.logits(probe), victim.logits(probe.flip(0)).flip(0)
    half = victim.logits(probe[: len(probe) // 2])
    difference = max(
        _relative_difference(together, reverse), _relative_difference(together[: len(half)], half)
    )
    # Coarse types round otherwise in another batch shape; ten units in the last place are theirs.
    if difference > max(_BATCH_TOLERANCE, 10 * torch.finfo(victim.precision).eps):
        yield finding(
            victim.name, "batch-dependence", "An answer depends on the rest of the batch", "high",
            "The scores of a picture change with the pictures beside it. Accuracies then hold for "
            "this audit's batches only.",
            evidence=(f"largest difference {difference:.2g} of the logits' range when the batch is "
                      "reversed or halved",),
            remedy="put batch normalisation into evaluation mode; remove operations across the batch",
        )  # fmt: skip


@torch.no_grad()
def _range_findings(
    victim: Victim, probe: torch.Tensor, labels: torch.Tensor
) -> Iterator[Finding]:
    def right(x: torch.Tensor) -> float:
        z = victim.raw(x)
        assert isinstance(z, torch.Tensor)
        return float((z.argmax(1) == labels).double().mean())

    here = right(probe)
    for name, x in (("[0, 255]", probe * 255), ("[-1, 1]", probe * 2 - 1)):
        there = right(x)
        if there > here + 0.2:
            yield finding(
                victim.name, "input-range", "The model expects another range of pixels", "high",
                f"It classifies far more images correctly when pixels are given in {name} rather "
                "than in [0, 1].",
                evidence=(f"{there:.0%} against {here:.0%} of {len(probe)} images",),
                remedy="let the factory's model scale its input, or set `normalize` = "
                       + ("{ mean = [0], std = [0.00392157] }" if "255" in name
                          else "{ mean = [0.5], std = [0.5] }"),
            )  # fmt: skip


def _gradient_findings(
    victim: Victim, probe: torch.Tensor, labels: torch.Tensor, classes: int
) -> Iterator[Finding]:
    try:
        naive(victim).evaluate(
            probe[:2], labels[:2], choose_objective("cross-entropy", classes), gradient=True
        )
    except (NoGradientError, RuntimeError) as error:
        detail = "" if isinstance(error, NoGradientError) else f": {error}"
        yield finding(
            victim.name, "no-gradient", "The model gives no gradient", "high",
            "Autograd cannot follow the computation from the scores back to the pixels, so no "
            "gradient attack can run. What such an audit calls robust may be nothing of the kind.",
            evidence=(f"backward pass of the cross-entropy fails{detail}",),
            remedy="keep the computation in differentiable torch operations: no detach, no_grad, "
                   "numpy or argmax between input and output",
        )  # fmt: skip


def _clean(
    victim: Victim, samples: Samples, batch_size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) predictions, wrong, confidences, non-finite, over all samples."""
    labels = torch.from_numpy(samples.labels)
    prediction = np.empty(len(samples), np.int64)
    wrong, nonfinite = np.empty(len(samples), bool), np.empty(len(samples), bool)
    confidence = np.empty(len(samples))
    victim.begin("clean")
    for start in range(0, len(samples), batch_size):
        part = slice(start, min(start + batch_size, len(samples)))
        x = read_batch(victim, samples, part)
        with _blaming_model(victim, f"images {part.start} to {part.stop - 1}"):
            judged = victim.judge(x, labels[part].to(victim.device))
        prediction[part] = judged.prediction.cpu()
        wrong[part] = judged.wrong.cpu()
        confidence[part] = judged.confidence.double().cpu()
        nonfinite[part] = ~judged.margin.isfinite().cpu().numpy()
    return prediction, wrong, confidence, nonfinite


def _nonfinite_findings(victim: Victim, nonfinite: NDArray[np.bool_]) -> Iterator[Finding]:
    if nonfinite.any():
        first = np.flatnonzero(nonfinite)[:5].tolist()
        yield finding(
            victim.name, "non-finite", "The model returns NaN or infinity", "high",
            f"On {int(nonfinite.sum())} of {len(nonfinite)} clean images the scores are not finite. "
            "They count as misclassified.",
            evidence=(f"first at positions {first}",),
            remedy="look for an overflow in half precision, a division by zero or a logarithm of 0",
        )  # fmt: skip


def _class_findings(victim: Victim, samples: Samples, classes: int) -> Iterator[Finding]:
    present = len(np.unique(samples.images.y))
    if present < classes:
        yield finding(
            victim.name, "class-count", "The data does not have all of the model's classes", "info",
            f"The model tells {classes} classes apart and the data has images of {present}.",
            evidence=(f"labels present: {present}", f"outputs: {classes}"),
            remedy="check that model and data belong together, and that labels are not shifted",
        )  # fmt: skip


def _accuracy_findings(
    victim: Victim, correct: NDArray[np.bool_], expected: float | None
) -> Iterator[Finding]:
    if expected is None:
        return
    count, total = int(correct.sum()), len(correct)
    low, high = clopper_pearson(count, total, 0.999)
    seen = count / total
    if abs(seen - expected) > _EXPECTED_SLACK and not low <= expected <= high:
        yield finding(
            victim.name, "clean-accuracy", "Clean accuracy is far from what is expected", "high",
            f"The clean accuracy is {seen:.1%} and {expected:.1%} was expected, so model, weights, "
            "normalisation or data are not what they should be.",
            evidence=(f"{count} of {total} images, 99.9 % interval {low:.1%} to {high:.1%}",),
            remedy="check weights, `normalize`, the order of the labels, and `expected_accuracy`",
        )  # fmt: skip
