"""What is known of a masking verdict before an audit: that it will be inconclusive."""

from __future__ import annotations

import math
from dataclasses import dataclass

from auditor.masking.verdict import LEAST_IMAGES, guesses

#: Of a draw of so many times as many as needed hardly any has fewer correct images than needed.
_SPARE = 1.3


@dataclass(frozen=True)
class Forecast:
    """Why the verdict will be inconclusive, in a sentence, and what to do about it."""

    what: str
    remedy: str


def foretell(correct: int, drawn: int, classes: int, images: int) -> Forecast | None:
    """What will keep the masking verdict open; None where nothing that is known now will.

    Args:
        correct: images of the draw that are classified correctly, or about so many.
        drawn: images of the draw.
        classes: of the model.
        images: those of the whole set.
    """
    so = (
        "The masking verdict will be inconclusive (exit status 3, unless a [[gate]] on masking "
        "lets everything through):"
    )
    if correct < LEAST_IMAGES:
        return Forecast(
            f"{so} it needs {LEAST_IMAGES} correctly classified images, and {correct} of "
            f"{drawn} are.",
            _more(correct / drawn, drawn, images),
        )
    if guesses(correct / drawn, classes):
        return Forecast(
            f"{so} {correct} of {drawn} images are classified correctly, which is less than twice "
            f"what guessing among {classes} classes reaches.",
            "look for wrong weights, another normalisation, or labels in another order",
        )
    return None


def _more(accuracy: float, drawn: int, images: int) -> str:
    """How many images to draw, where there are so many."""
    if not accuracy:
        return "look for wrong weights, another normalisation, or labels in another order"
    needed = math.ceil(_SPARE * LEAST_IMAGES / accuracy)
    if needed <= images:
        return f"draw more images, with [data] samples = {needed}"
    if drawn < images and accuracy * images >= LEAST_IMAGES:
        return f"draw all {images} images: leave [data] samples out"
    return f"audit a larger set, of {needed} images or more"
