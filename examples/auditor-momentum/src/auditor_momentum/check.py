"""What momentum breaks that all attacks before it left."""

from __future__ import annotations

from dataclasses import dataclass

from auditor.api import (
    CheckReport,
    Measurement,
    PositiveInt,
    Probe,
    check,
    clopper_pearson,
    not_applicable,
    param,
)

from .attack import MomentumIterative


@check(name="momentum-gap", reference="Dong et al. 2018, arXiv:1710.06081, section 3")
@dataclass(frozen=True)
class MomentumGap:
    """Attacks what withstood once more, with momentum; what falls counts in the worst case.

    It raises no suspicion: what falls to a further gradient attack was missed, not masked.
    """

    images: PositiveInt = param(100, "survivors that it is tried on, at most")
    steps: PositiveInt = param(20, "gradient steps")

    def run(self, probe: Probe) -> CheckReport:
        """One attack on the survivors."""
        rows = probe.survivors(self.images)
        if not probe.has_gradient:
            return not_applicable("No gradient reaches the pixels, so there is none to accumulate.")
        if not len(rows):
            return not_applicable("No image is left to be attacked.")
        attempt = probe.attack("momentum", MomentumIterative(self.steps, loss="margin"), rows)
        fell, tried = int(attempt.broken.sum()), len(rows)
        gap = Measurement(
            name="momentum-gap",
            value=fell / tried,
            ci95=clopper_pearson(fell, tried),
            samples=tried,
            method=f"mi-fgsm of {self.steps} steps on what all attacks before it left",
        )
        sentence = f"Of {tried} images that withstood, gradient steps with momentum broke {fell}."
        return CheckReport(sentence, measurements=(gap,))
