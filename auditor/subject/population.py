"""Accuracies of the chosen images, and what they say of the whole set."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.maths.intervals import accuracy, clopper_pearson, stratified
from auditor.results import Accuracy, ClassAccuracy, Weighted
from auditor.subject.samples import Samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def counted(samples: Samples, correct: NDArray[np.bool_]) -> Accuracy:
    """The accuracy of the chosen images; of a class-balanced draw with what it says of the set.

    Args:
        correct: (N,) of the chosen images.
    """
    own = accuracy(int(correct.sum()), len(samples))
    if samples.draw != "balanced":
        return own
    return replace(own, weighted=Weighted(*in_set(samples, correct)))


def in_set(
    samples: Samples, correct: NDArray[np.bool_], level: float = 0.95
) -> tuple[float, tuple[float, float]]:
    """The whole set's accuracy and its interval, estimated from the chosen images."""
    if samples.draw != "balanced":
        count, total = int(correct.sum()), len(samples)
        return count / total, clopper_pearson(count, total, level)
    rows = _by_class(samples, correct)
    return stratified([row[1:] for row in rows], level)


def by_class(samples: Samples, correct: NDArray[np.bool_]) -> tuple[ClassAccuracy, ...]:
    """Accuracies class by class, of a class-balanced draw; else nothing."""
    if samples.draw != "balanced":
        return ()
    found = []
    for label, available, right, total in _by_class(samples, correct):
        one = accuracy(right, total)
        found.append(
            ClassAccuracy(
                label, samples.class_name(label), available, right, total, one.accuracy, one.ci95
            )
        )
    return tuple(found)


def _by_class(samples: Samples, correct: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """(label, images in the set, right, chosen) of every class of the set."""
    import numpy as np

    labels = samples.labels
    present, available = np.unique(samples.images.y, return_counts=True)
    return [
        (int(label), int(count), int(correct[labels == label].sum()), int((labels == label).sum()))
        for label, count in zip(present, available, strict=True)
    ]
