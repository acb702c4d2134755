"""Adaptive attacks on survivors: a repaired gradient, an averaged one.

What they break is verified by the engine. Where they trust less than the attacks before them, it is
a hidden adversarial example; the verdict is drawn from these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from auditor_plugins.apgd import APGD

from auditor.api import (
    CheckReport,
    MaskingKind,
    NoGradientError,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    not_applicable,
    param,
)

from .averaged import NoiseAveragedPGD
from .costs import TRACE, pursued, summed
from .survivors import (
    DRAWS,
    Gap,
    decides_only,
    nothing_left,
    on_plateau,
    pursue,
    unexplained,
)

_NONE_TO_AVERAGE = "No gradient reaches the pixels, so there is none to average."
_BPDA = "Athalye, Carlini & Wagner 2018, arXiv:1802.00420"


def _report(
    gap: Gap, what: str, title: str, remedy: str, kind: MaskingKind, culprit: str | None = None
) -> CheckReport:
    """That an attack broke so many, and a symptom if these say something."""
    sentence = f"{what} broke {gap.text}."
    if not gap.telling:
        return CheckReport(sentence)
    symptom = Symptom(
        family="comparison", title=title, remedy=remedy, evidence=(sentence,), kind=kind,
        culprit=culprit,
    )  # fmt: skip
    return CheckReport(sentence, (symptom,))


def merged(reports: list[CheckReport], otherwise: str) -> CheckReport:
    """Several reports as one; without any, that the check does not apply."""
    if not reports:
        return not_applicable(otherwise)
    symptoms = tuple(symptom for report in reports for symptom in report.symptoms)
    return CheckReport(" ".join(report.sentence for report in reports), symptoms)


@check(name="bpda-gap", reference=f"{_BPDA}, section 4.1 (BPDA)")
@dataclass(frozen=True)
class BPDAGap:
    """Attacks the model with its broken operations repaired in the backward pass.

    Only where there is something to repair: operations without a useful gradient between pixels and
    scores, a gradient that is missing, one that earlier checks found at fault, or survivors whose
    scores are the same all around. A stand-in of the user is attacked likewise.
    """

    screened: PositiveInt = param(50, "survivors that it is tried on first")
    steps: PositiveInt = param(20, "gradient steps of that attempt")
    full_steps: PositiveInt = param(60, "gradient steps on all survivors, three targets each")
    rounds: PositiveInt = param(3, "how often that is repeated at most, while it breaks more")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        draws = DRAWS if random else 1
        full = APGD(steps=self.full_steps, loss="margin", targets=3, eot=draws)
        one = pursued(
            APGD(steps=self.steps, loss="margin", eot=draws),
            [full] * self.rounds,
            self.screened,
            images,
            classes,
            random=random,
        )
        return summed((TRACE, TRACE), one, one)

    def run(self, probe: Probe) -> CheckReport:
        """The repaired model, then the stand-in."""
        if few := nothing_left(probe):
            return few
        reports = []
        if self._is_broken(probe):
            reports.append(self._repaired(probe))
        if probe.stand_in is not None and len(probe.survivors()):
            gap = self._pursue(probe, "stand-in", probe.stand_in)
            reports.append(
                _report(
                    gap,
                    "An attack on your differentiable stand-in",
                    "A stand-in shows what the model's own gradient hides",
                    "attack the stand-in and verify on the model (BPDA)",
                    "shattered",
                )
            )
        return merged(reports, "Nothing on the way from pixels to scores stops the gradient.")

    @staticmethod
    def _is_broken(probe: Probe) -> bool:
        """Whether there may be something to repair."""
        broken = ("cuts", "flattens", "replaces", "leaves torch")
        trace = probe.trace
        if trace.repaired_matters or any(site.effect in broken for site in trace.sites):
            return True
        if probe.symptoms or not probe.has_gradient:
            return True
        return bool(on_plateau(probe, probe.survivors()).any())

    def _repaired(self, probe: Probe) -> CheckReport:
        try:
            gap = self._pursue(probe, "repaired", probe.surrogate.repaired())
        except NoGradientError:
            return CheckReport("Repaired, the model still has no gradient that reaches the pixels.")
        culprit = str(probe.trace.culprit or "")
        through = f"with {culprit} bypassed" if culprit else "with the gradient repaired"
        hard = gap.telling and decides_only(probe, gap.broken)
        return _report(
            gap,
            f"The same attack {through}",
            "The gradient is broken on its way through the model",
            f"attack the model with the gradient passed straight through {culprit or 'it'} (BPDA)",
            "output-level" if hard else "shattered",
            culprit or None,
        )

    def _pursue(self, probe: Probe, name: str, surrogate: Surrogate) -> Gap:
        draws = DRAWS if probe.random else 1
        full = APGD(steps=self.full_steps, loss="margin", targets=3, eot=draws)
        return pursue(
            probe,
            name,
            APGD(steps=self.steps, loss="margin", eot=draws),
            lambda place: full,
            screened=self.screened,
            rounds=self.rounds,
            surrogate=surrogate,
            trust="nothing",
            # The last few may all be of the kind that a short attempt does not reach.
            everywhere=len(probe.survivors()) <= self.screened,
        )


@check(name="eot-gap", reference=f"{_BPDA}, section 4.2 (EOT)", doubts="random models")
@dataclass(frozen=True)
class EOTGap:
    """Averages the gradient of a model whose answers vary over several evaluations."""

    draws: PositiveInt = param(16, "evaluations each gradient is averaged over")
    screened: PositiveInt = param(40, "survivors that it is tried on first")
    steps: PositiveInt = param(30, "gradient steps of that attempt; twice as many on all survivors")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        if not random:
            return 0, 0
        attack = APGD(steps=self.steps, loss="margin", eot=self.draws)
        full = [replace(attack, steps=2 * self.steps)] * 2
        return pursued(attack, full, self.screened, images, classes, random=True)

    def run(self, probe: Probe) -> CheckReport:
        """Attack the average, of the margin."""
        if not probe.random:
            return not_applicable(
                "The model's answers do not vary, so there is nothing to average."
            )
        if few := nothing_left(probe):
            return few
        if not probe.has_gradient:
            return not_applicable(_NONE_TO_AVERAGE)
        attack = APGD(steps=self.steps, loss="margin", eot=self.draws)
        gap = pursue(
            probe,
            "averaged",
            attack,
            lambda place: replace(attack, steps=2 * self.steps),
            screened=self.screened,
            rounds=2,
            trust="nothing",
        )
        return _report(
            gap,
            f"Averaging the gradient over {self.draws} evaluations",
            "Randomness hides the gradient",
            "average gradients over the model's randomness (EOT), and judge by a majority of draws",
            "stochastic",
        )


@check(
    name="noise-averaged-gap",
    reference="Tramèr et al. 2020, arXiv:2002.08347, section 5; Pintor et al. 2022, "
    "arXiv:2106.09947, section 4",
)
@dataclass(frozen=True)
class NoiseAveragedGap:
    """Averages the gradient over random points nearby, where it is there but rugged.

    Only where earlier checks found something odd, and no attack yet shows why.
    """

    samples: PositiveInt = param(16, "points each gradient is averaged over")
    screened: PositiveInt = param(30, "survivors that it is tried on first")
    steps: PositiveInt = param(40, "gradient steps")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        attack = NoiseAveragedPGD(steps=self.steps, samples=self.samples)
        return pursued(attack, [attack], self.screened, images, classes, random=random)

    def run(self, probe: Probe) -> CheckReport:
        """Attack the average, of the margin."""
        if few := nothing_left(probe):
            return few
        if not probe.has_gradient:
            return not_applicable(_NONE_TO_AVERAGE)
        if not unexplained(probe):
            return not_applicable("Nothing that earlier checks found is left to be explained.")
        attack = NoiseAveragedPGD(steps=self.steps, samples=self.samples)
        gap = pursue(
            probe,
            "noise-averaged",
            attack,
            lambda place: attack,
            screened=self.screened,
            trust="nothing",
        )
        return _report(
            gap,
            f"A gradient averaged over {self.samples} points nearby",
            "The gradient is too rugged to be followed",
            "average gradients over noise, or attack with larger steps and without gradients",
            "shattered",
        )
