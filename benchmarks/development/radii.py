"""The radius at which about half of the correctly classified images survive a strong attack.

Found on images of the training set, by bisection: an image counts as fallen at a radius where FAB,
aimed at all classes, came as near as that, or where APGD on the margin breaks it.
"""

from __future__ import annotations

import math

from subjects import Subject, subject_of_tensors
from torch import Tensor, nn

#: Correctly classified images, and how close to half of them is close enough.
IMAGES, TOLERANCE = 50, 0.1
TARGETS = 9
#: Beyond any radius of interest.
LARGE = {"linf": 1.0, "l2": 30.0, "l1": 500.0}
#: The radius lies at most so much below the median distance that FAB finds; so many are tried.
WIDEST, STEPS = 16.0, 8


def measured(name: str, model: nn.Module, x: Tensor, y: Tensor, norm: str) -> dict[str, float]:
    """The radius in a norm, two digits of it, and the share of images that survive there."""
    subject = subject_of_tensors(name, model, x, y).first(IMAGES)
    distance = _distances(subject, norm)
    high = float(distance.median().clamp(max=LARGE[norm]))
    epsilon, low = high, high / WIDEST
    for _ in range(STEPS):
        epsilon = float(f"{epsilon:.1e}")
        share = _surviving(subject, norm, epsilon, distance)
        if abs(share - 0.5) <= TOLERANCE:
            break
        low, high = (low, epsilon) if share < 0.5 else (epsilon, high)
        epsilon = math.sqrt(low * high)
    return {"epsilon": epsilon, "survive": share}


def _distances(subject: Subject, norm: str) -> Tensor:
    """(n,) distance of the nearest adversarial example that FAB finds; infinite where none."""
    parameters = {"iterations": 50, "targets": TARGETS}
    setup = subject.setup("fab", parameters, norm, LARGE[norm], 128)
    return subject.attacked(setup)[0].nearest


def _surviving(subject: Subject, norm: str, epsilon: float, distance: Tensor) -> float:
    parameters = {"steps": 50, "loss": "margin", "restarts": 2}
    outcome, _ = subject.attacked(subject.setup("apgd", parameters, norm, epsilon, 128))
    return float((~outcome.broken & (distance > epsilon)).double().mean())
