"""Pictures of verified adversarial examples, small enough to live in audit.json."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from auditor.cells.archive import read_examples
from auditor.cells.audited import Audited
from auditor.cells.cell import ModelUnderAudit
from auditor.cells.columns import AttackOutcome
from auditor.config import Epsilon
from auditor.results import GalleryItem
from auditor.subject.samples import Samples

#: The perturbation's largest pixel is shown at this distance from mid-grey.
_SHOWN_SWING = 0.5


@dataclass(frozen=True)
class Pick:
    """An image, by its position among the samples, and the attack whose example is shown."""

    position: int
    norm: str
    epsilon_text: str
    label: str
    outcome: AttackOutcome


def gallery(audited: Audited, model: ModelUnderAudit) -> tuple[GalleryItem, ...]:
    """Up to `report.gallery` examples: every threat in turn, each image once, in their order."""
    per_threat = [
        _broken(audited, model, threat.norm, epsilon)
        for threat in audited.config.threats
        for epsilon in threat.epsilons
    ]
    chosen: dict[int, Pick] = {}
    most = audited.config.report.gallery
    while per_threat and len(chosen) < most:
        # One of every threat in turn; a threat without a further image drops out.
        found = [next((pick for pick in picks if pick.position not in chosen), None)
                 for picks in per_threat]  # fmt: skip
        per_threat = [picks for picks, pick in zip(per_threat, found, strict=True) if pick]
        for pick in found:
            if pick is not None and len(chosen) < most:
                chosen.setdefault(pick.position, pick)
    return tuple(picture(pick, audited.samples, model) for pick in chosen.values())


def _broken(
    audited: Audited, model: ModelUnderAudit, norm: str, epsilon: Epsilon
) -> Iterator[Pick]:
    """Each image broken under one threat, in order, by the first attack that broke it."""
    under = audited.outcomes.under(model.victim.name, norm, epsilon.value)
    tried = [(key.label, outcome) for key, outcome in under if key.kind == "attack"]
    if not tried:
        return
    for position in np.flatnonzero(np.any([outcome.broken for _, outcome in tried], axis=0)):
        label, outcome = next(pair for pair in tried if pair[1].broken[position])
        yield Pick(int(position), norm, epsilon.text, label, outcome)


def picture(pick: Pick, samples: Samples, model: ModelUnderAudit) -> GalleryItem:
    """The example as pictures."""
    position, outcome, seen = pick.position, pick.outcome, model.preflight
    clean = samples.read(slice(position, position + 1))[0]
    adversarial = read_examples(outcome, [position])[0].astype(np.float64)
    delta = adversarial - clean
    magnification = _SHOWN_SWING / max(float(np.abs(delta).max()), 1e-12)
    return GalleryItem(
        image=int(samples.index[position]),
        norm=pick.norm,
        epsilon_text=pick.epsilon_text,
        attack=pick.label,
        label=samples.class_name(int(samples.labels[position])),
        clean_prediction=samples.class_name(int(seen.prediction[position])),
        clean_confidence=float(seen.confidence[position]),
        adversarial_prediction=samples.class_name(int(outcome.prediction[position])),
        adversarial_confidence=float(np.nan_to_num(outcome.confidence[position])),
        distance=float(outcome.distance[position]),
        magnification=magnification,
        survives_8bit=bool(outcome.broken_8bit[position]),
        clean_png=_png(clean),
        perturbation_png=_png(0.5 + magnification * delta),
        adversarial_png=_png(adversarial),
    )


def _png(pixels: NDArray[np.float64]) -> str:
    """(C, H, W) pixels in [0, 1] as a base64 PNG; a fourth channel is opacity.

    Of two channels the first is shown, of more than four the first three.
    """
    shown = {2: 1}.get(len(pixels), len(pixels) if len(pixels) <= 4 else 3)
    levels = np.rint(pixels[:shown].clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
