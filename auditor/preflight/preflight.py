"""Pre-flight as a whole: the order of the checks, and the answers to the clean images."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from auditor.errors import LoadError
from auditor.preflight import findings as checks
from auditor.preflight.asking import settle
from auditor.results import Finding
from auditor.subject.outputs import Outputs, described, remedy_for
from auditor.subject.samples import Samples
from auditor.subject.victim import Victim
from auditor.usercode.calls import raised_by_user_code

#: Images that the checks beside clean accuracy look at.
_PROBES = 64


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
    #: Why a gradient could not be computed though it may be there: what torch said. Else empty.
    gradient_failure: str = ""


def preflight(
    victim: Victim,
    samples: Samples,
    batch_size: int,
    *,
    outputs: Outputs | str,
    expected_accuracy: float | None,
    training_modules: tuple[str, ...],
    maker: checks.Maker = "factory",
    remarks: tuple[str, ...] = (),
) -> Preflight:
    """Prove what can be proved about `victim` on the samples.

    Args:
        outputs: as configured; "auto" decides here. Sets `victim.outputs` and `victim.draws`.
        training_modules: modules that were left in training mode.
        maker: who left them so.
        remarks: what is to be said of how the model was loaded.

    Raises:
        LoadError: the model fails on the data, or its output cannot be used.
    """
    victim.begin("pre-flight")
    classes = count_classes(victim, samples)
    probe = read_batch(victim, samples, slice(0, min(_PROBES, len(samples))))
    labels = torch.from_numpy(samples.labels[: len(probe)]).to(victim.device)
    with blaming_model(victim, f"images 0 to {len(probe) - 1}, asked several times"):
        findings = list(checks.output_findings(victim, probe, outputs))
        findings += checks.mode_findings(victim, probe, training_modules, maker)
        findings += checks.loading_findings(victim, remarks)
        findings += checks.precision_findings(victim)
        findings += checks.size_findings(victim, probe)
        findings += checks.state_findings(victim, probe)
        findings += checks.determinism_findings(victim, probe)
        findings += checks.batch_findings(victim, probe)
        findings += checks.range_findings(victim, probe, labels)
        gradient = checks.look_for_gradient(victim, probe, labels, classes)
    findings += checks.gradient_findings(victim, gradient)
    prediction, wrong, confidence, nonfinite = _clean(victim, samples, batch_size)
    findings += checks.nonfinite_findings(victim, nonfinite)
    findings += checks.class_findings(victim, samples, classes)
    findings += checks.guessing_findings(victim, ~wrong, classes)
    accuracy = list(checks.accuracy_findings(victim, samples, ~wrong, expected_accuracy))
    stop = accuracy[0].summary if accuracy else ""
    if nonfinite.all():
        stop = "The model's output is not finite on any image."
    return Preflight(
        classes=classes,
        prediction=prediction,
        correct=~wrong,
        confidence=confidence,
        findings=(*findings, *accuracy),
        stop=stop,
        has_gradient=gradient == "there",
        gradient_failure="" if gradient in ("there", "absent") else gradient,
    )


def read_batch(victim: Victim, samples: Samples, part: slice | NDArray[np.int64]) -> torch.Tensor:
    """(n, C, H, W) images of the victim's compute type, on its device."""
    pixels = torch.from_numpy(np.ascontiguousarray(samples.read(part)))
    return pixels.to(device=victim.device, dtype=victim.compute_dtype)


@torch.no_grad()
def count_classes(victim: Victim, samples: Samples) -> int:
    """The number of classes, K; finds out how the victim can be asked.

    Raises:
        LoadError: the output is not (B, K) floating-point scores, or has no room for the labels.
    """
    probe = read_batch(victim, samples, slice(0, min(_PROBES, len(samples))))
    where = f"model {victim.name!r}"
    with blaming_model(victim, f"images 0 to {len(probe) - 1} of shape {tuple(probe.shape[1:])}"):
        z, asked = settle(victim, probe)
    if not isinstance(z, torch.Tensor):
        raise LoadError(
            f"The model returns {described(z)}, not a tensor.",
            where=where,
            expected="one tensor of shape (B, classes)",
            remedy=remedy_for(z),
        )
    if not z.is_floating_point():
        raise LoadError(
            f"The model returns {z.dtype}, labels rather than scores.",
            where=where,
            expected="floating-point scores of every class",
            remedy="return the values before argmax",
        )
    if z.dim() != 2 or len(z) != asked or z.shape[1] < 2:
        raise LoadError(
            f"The model returns the shape {tuple(z.shape)} for {asked} images.",
            where=where,
            expected=f"({asked}, classes), or one number per image for two classes",
            remedy="return one row of scores per image; do not mix the images of a batch",
        )
    highest = int(samples.images.y.max())
    if highest >= z.shape[1]:
        raise LoadError(
            f"The model has {z.shape[1]} classes and the data has the label {highest}.",
            where=f"{where}, {samples.images.source}",
            expected=f"labels from 0 to {z.shape[1] - 1}",
            remedy="check that model and data belong together; labels start at 0",
        )
    return int(z.shape[1])


@contextlib.contextmanager
def blaming_model(victim: Victim, images: str) -> Iterator[None]:
    """Turn an error of the model into one that says on which images it came."""
    with raised_by_user_code(
        f"model {victim.name!r}, {images}",
        "the model",
        "scores for every batch of images",
        "run the model on such a batch by itself; check the images' shape and channels "
        "against what it was trained on",
    ):
        yield


def _clean(
    victim: Victim, samples: Samples, batch_size: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """(N,) predictions, wrong, confidences, non-finite, over all samples."""
    labels = torch.from_numpy(samples.labels)
    prediction = np.empty(len(samples), np.int64)
    wrong, nonfinite = np.empty(len(samples), bool), np.empty(len(samples), bool)
    confidence = np.empty(len(samples))
    for start in range(0, len(samples), batch_size):
        part = slice(start, min(start + batch_size, len(samples)))
        x = read_batch(victim, samples, part)
        with blaming_model(victim, f"images {part.start} to {part.stop - 1}"):
            judged = victim.judge(x, labels[part].to(victim.device))
        prediction[part] = judged.prediction.cpu()
        wrong[part] = judged.wrong.cpu()
        confidence[part] = judged.confidence.double().cpu()
        nonfinite[part] = judged.confidence.isnan().cpu().numpy()
    return prediction, wrong, confidence, nonfinite
