"""Looks at model and data as an audit would, at a few images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auditor.cells.inputs import load_images, load_victim
from auditor.cells.tuning import choose_device, make_repeatable
from auditor.config import AuditConfig
from auditor.maths.intervals import accuracy
from auditor.registry import Registry
from auditor.results import Accuracy, Finding
from auditor.subject.samples import choose_samples

#: Images that are looked at, and how many at a time.
_FEW, _BATCH = 200, 64


@dataclass(frozen=True)
class Seen:
    """What was seen of model and data.

    Attributes:
        images: how many there are in the set.
        shape: channels, height, width.
        dtype: of the pixels as they are stored.
        labels: how many different ones.
        between: the share of pixels from 0.1 to 0.9.
        clean: clean accuracy on the images looked at.
        findings: what pre-flight says of the model.
        stop: why an audit could not go on; empty where it can.
    """

    images: int
    shape: tuple[int, int, int]
    dtype: str
    labels: int
    between: float
    device: str
    parameters: int
    classes: int
    outputs: str
    clean: Accuracy
    findings: tuple[Finding, ...]
    stop: str
    #: Of images and labels, as `Samples.notes`.
    notes: tuple[str, ...] = ()


def survey(config: AuditConfig, registry: Registry) -> Seen:
    """Load the data and the first model, and ask the model about some images.

    Raises:
        LoadError: something cannot be loaded, or model and data do not go together.
    """
    device = choose_device(config.run.device)
    make_repeatable(device)
    images = load_images(config, registry)
    few = _FEW if len(images.x) > _FEW else None
    samples = choose_samples(images, few, config.run.seed)
    loaded = load_victim(config.models[0], device, registry, config.run.batch_size)
    victim = loaded.victim
    seen = loaded.look(samples, _BATCH, expected_accuracy=None)
    pixels = samples.read(slice(0, len(samples)))
    return Seen(
        images=len(images.x),
        shape=samples.shape,
        dtype=str(images.x.dtype),
        labels=len(np.unique(images.y)),
        between=float(((pixels > 0.1) & (pixels < 0.9)).mean()),
        device=str(device),
        parameters=victim.parameters,
        classes=seen.classes,
        outputs=victim.outputs,
        clean=accuracy(int(seen.correct.sum()), len(samples)),
        findings=seen.findings,
        stop=seen.stop,
        notes=samples.notes,
    )
