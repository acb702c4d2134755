"""Examples carried over: from the audit's other models, and from a copy trained on its answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from auditor_plugins.apgd import APGD

from auditor.api import (
    CheckReport,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    not_applicable,
    param,
)

from .costs import ANSWERS, pursued, summed
from .survivors import Gap, nothing_left, pursue, unexplained


@check(
    name="transfer-gap",
    reference="Papernot et al. 2017, arXiv:1602.02697; Carlini et al. 2019, arXiv:1902.06705, "
    "section 4.4",
)
@dataclass(frozen=True)
class TransferGap:
    """Attacks other models and tries on this one what is found.

    The audit's other models, and where earlier checks found something that no attack explains yet,
    a small network trained in a few seconds on the model's answers.
    """

    screened: PositiveInt = param(20, "survivors that each model is tried on first")
    steps: PositiveInt = param(20, "gradient steps of that attempt; twice as many on all survivors")
    epochs: PositiveInt = param(12, "passes over the answers that the copy is trained on")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart; of one other model."""
        attack = APGD(steps=self.steps, loss="margin")
        full = replace(attack, steps=2 * self.steps)
        tried = pursued(attack, [full], self.screened, images, classes, random=random)
        return summed((ANSWERS, 0), tried)

    def run(self, probe: Probe) -> CheckReport:
        """One model after another."""
        if few := nothing_left(probe):
            return few
        sources = dict(probe.others)
        if unexplained(probe):
            from .distilled import distilled  # a network loads torch

            sources["a copy trained on its answers"] = distilled(probe, self.epochs)
        if not sources:
            return not_applicable("There is no other model to carry examples over from.")
        told, symptoms = [], []
        for name, surrogate in sources.items():
            if not len(probe.survivors()):
                break
            gap = self._pursue(probe, name, surrogate)
            told.append(f"Examples made for {name} broke {gap.text}.")
            if gap.telling:
                symptoms.append(_symptom(name, told[-1]))
        return CheckReport(" ".join(told), tuple(symptoms))

    def _pursue(self, probe: Probe, name: str, surrogate: Surrogate) -> Gap:
        attack = APGD(steps=self.steps, loss="margin")
        return pursue(
            probe,
            f"transfer from {name}",
            attack,
            lambda place: replace(attack, steps=2 * self.steps),
            screened=self.screened,
            surrogate=surrogate,
            trust="nothing",
        )


def _symptom(name: str, sentence: str) -> Symptom:
    return Symptom(
        family="comparison",
        title=f"Examples made for {name} break images that the model's own gradient does not",
        remedy="count what transfers from other models, and find what stops the gradient",
        evidence=(sentence,),
    )
