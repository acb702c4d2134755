"""Adversarial examples as pictures."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.report import wording
from auditor.report.wording import shorten
from auditor.results import GalleryItem


@dataclass(frozen=True)
class GalleryView:
    """One adversarial example as three pictures."""

    image: str
    threat: str
    attack: str
    label: str
    clean: str
    adversarial: str
    distance: str
    short_distance: str
    magnification: str
    eight_bit: str
    survives: bool
    clean_uri: str
    perturbation_uri: str
    adversarial_uri: str


def picture(item: GalleryItem) -> GalleryView:
    """`item`, worded."""
    short = distance = f"{item.distance:.4g}"
    if item.norm == "linf":
        short = f"{255 * item.distance:.2f}/255"
        distance += f" ({short})"
    png = "data:image/png;base64,"
    return GalleryView(
        image=f"{item.image:,}",
        threat=f"{wording.norm(item.norm)}, ε = {item.epsilon_text}",
        attack=item.attack,
        label=shorten(item.label, 48),
        clean=f"{shorten(item.clean_prediction, 48)}, {wording.percent(item.clean_confidence)}",
        adversarial=f"{shorten(item.adversarial_prediction, 48)}, "
        f"{wording.percent(item.adversarial_confidence)}",
        distance=distance,
        short_distance=short,
        magnification=f"×{wording.number(item.magnification)}",
        eight_bit="also as an 8-bit image" if item.survives_8bit else "not as an 8-bit image",
        survives=item.survives_8bit,
        clean_uri=png + item.clean_png,
        perturbation_uri=png + item.perturbation_png,
        adversarial_uri=png + item.adversarial_png,
    )
