"""A random model without its randomness: what falls there, before anything is drawn for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from auditor_plugins.apgd import APGD

from auditor.api import (
    CheckReport,
    NoGradientError,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    not_applicable,
    param,
)

from .costs import TRACE, looked_again, spent, summed
from .survivors import is_telling, nothing_left, of


@check(
    name="expectation-gap",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 4.2 (EOT); here "
    "the expectation is taken inside of the model",
)
@dataclass(frozen=True)
class ExpectationGap:
    """Attacks a random model with every random number replaced by what it is worth in the mean.

    One evaluation a step is enough where nothing is drawn, so it costs a small part of averaging
    over draws, which comes after it for what it leaves. Where that has no gradient, or leaves
    images, the same with broken operations repaired. The model at its mean is another one than the
    model: everything that is found counts by the majority of the model's own draws.
    """

    steps: PositiveInt = param(20, "gradient steps on all survivors")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        if not random:
            return 0, 0
        one = spent(APGD(steps=self.steps, loss="margin"), images, classes)
        return summed(one, one, looked_again("gradient", images, classes), (TRACE, TRACE))

    def run(self, probe: Probe) -> CheckReport:
        """At the mean, then repaired too."""
        if not probe.random:
            return not_applicable("The model's answers do not vary.")
        if few := nothing_left(probe):
            return few
        total = len(probe.survivors())
        try:
            mean = probe.surrogate.expected()
        except Exception as error:  # the user's module may refuse to be copied
            return not_applicable(f"The model could not be copied: {type(error).__name__}: {error}")
        plain = self._broken(probe, "at the mean", mean)
        repaired = self._broken(probe, "at the mean, repaired", mean.repaired())
        rows = torch.cat([plain, repaired]).sort().values
        sentence = (
            f"Attacked as it is in the mean of its random numbers, the model fell on "
            f"{of(len(rows), total)} that had withstood"
        )
        sentence += (
            f", {len(repaired)} of these with its operations repaired." if len(repaired) else "."
        )
        if not is_telling(probe, rows, "gradient", "at the mean"):
            return CheckReport(sentence)
        symptom = Symptom(
            family="comparison",
            title="Randomness hides the gradient",
            remedy="report the model with its randomness replaced by its mean beside it, average "
            "gradients over draws (EOT), and judge by a majority of draws",
            evidence=(sentence,),
            kind="stochastic",
            culprit=self._culprit(probe, plain, repaired),
        )
        return CheckReport(sentence, (symptom,))

    def _broken(self, probe: Probe, name: str, surrogate: Surrogate) -> torch.Tensor:
        """The survivors that fall on this surrogate."""
        rows = probe.survivors()
        if not len(rows):
            return rows
        attack = APGD(steps=self.steps, loss="margin")
        try:
            attempt = probe.attack(name, attack, rows, surrogate=surrogate, trust="nothing")
        except NoGradientError:
            return rows[:0]
        return rows[attempt.broken]

    @staticmethod
    def _culprit(probe: Probe, plain: torch.Tensor, repaired: torch.Tensor) -> str | None:
        """What had to be repaired, where that and not the mean alone broke most."""
        if len(repaired) <= len(plain):
            return None
        found = probe.trace.culprit
        return None if found is None else str(found)
