"""Attacks against one another: what a trustworthy gradient would not allow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from auditor_plugins.fgsm import FGSM, RandomFGSM
from auditor_plugins.pgd import PGD

from auditor.api import (
    CheckReport,
    MaskingKind,
    Measurement,
    PositiveInt,
    Probe,
    Symptom,
    check,
    clopper_pearson,
    not_applicable,
    param,
)

from .costs import judged, spent, summed
from .ray import FromImage, GradientRay
from .survivors import DRAWS, bounds, nothing_left, of, sample

#: One-step attacks that certainly break a larger share of the images contradict the iterative ones.
_ONE_STEP = 0.01
#: Unbounded attacks that certainly leave a larger share are in trouble, or blind.
_LEFT, _BLIND = 0.02, 0.10
#: How unlikely by chance it has to be that a larger epsilon breaks fewer images.
_CHANCE = 1e-3


@check(
    name="one-step",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 3.1; Tramèr et al. 2018, "
    "arXiv:1705.07204; Kim et al. 2021, arXiv:2010.01799",
)
@dataclass(frozen=True)
class OneStep:
    """Looks for images that one step breaks though iterative attacks had not.

    FGSM and its randomised form on all survivors, and ten lengths of the FGSM step on some.
    """

    rays: PositiveInt = param(30, "survivors on which ten lengths of the step are tried")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = min(self.rays, images)
        steps = (spent(attack, images, classes) for attack in (FGSM(), RandomFGSM()))
        return summed(judged(images, random=random), *steps, spent(GradientRay(), n, classes))

    def run(self, probe: Probe) -> CheckReport:
        """Three attacks of one step."""
        if reason := _nothing_to_compare(probe):
            return reason
        survivors = probe.survivors()
        attacks = (("FGSM", FGSM()), ("R-FGSM", RandomFGSM()), ("FGSM ray", GradientRay()))
        told = []
        for name, attack in attacks:
            rows = probe.survivors()
            rows = sample(probe, rows, self.rays) if name == "FGSM ray" else rows
            if len(rows):
                broken = int(probe.attack(name, attack, rows).broken.sum())
                told.append(f"{name} {broken}")
        broken = len(survivors) - len(probe.survivors())
        sentence = (
            f"Of {len(survivors)} images that withstood the iterative attacks, one step "
            f"broke {broken} ({', '.join(told)})."
        )
        if bounds(broken, len(probe.y))[0] <= _ONE_STEP:
            return CheckReport(sentence)
        symptom = Symptom(
            family="comparison",
            title="One step succeeds where many steps fail",
            remedy="iterative attacks lose their way: more restarts, other step sizes, and attacks "
            "without gradients",
            evidence=(sentence,),
        )
        return CheckReport(sentence, (symptom,))


@check(
    name="unbounded",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 3.1; Carlini et al. 2019, "
    "arXiv:1902.06705, section 4.2",
    measures=("withstood unbounded attacks",),
)
@dataclass(frozen=True)
class Unbounded:
    """Attacks without a bound: an image may become any other, so that nothing withstands.

    What does withstand shows that the gradient does not lead anywhere. On survivors; what the
    cross-entropy leaves is attacked on the margin too, the last of it by a longer attack.
    """

    images: PositiveInt = param(50, "survivors that are attacked")
    steps: PositiveInt = param(20, "gradient steps")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        draws, n = DRAWS if random else 1, min(self.images, images)
        attacks = (FromImage(steps=steps, loss="margin", eot=draws)
                   for steps in (self.steps, self.steps, 5 * self.steps))  # fmt: skip
        return summed(judged(images, random=random), *(spent(one, n, classes) for one in attacks))

    def run(self, probe: Probe) -> CheckReport:
        """Cross-entropy, margin, and longer."""
        if reason := _nothing_to_compare(probe):
            return reason
        rows = sample(probe, probe.survivors(), self.images)
        tried, draws = len(rows), DRAWS if probe.random else 1
        radius = largest_radius(probe)
        left = []
        for name, attack in (
            ("cross-entropy", FromImage(steps=self.steps, eot=draws)),
            ("margin", FromImage(steps=self.steps, loss="margin", eot=draws)),
            ("longer", FromImage(steps=5 * self.steps, loss="margin", eot=draws)),
        ):
            if len(rows):
                attempt = probe.attack(f"unbounded, {name}", attack, rows, epsilon=radius)
                rows = rows[~attempt.broken]
            left.append(len(rows))
        return self._report(probe, left, tried, radius)

    @staticmethod
    def _report(probe: Probe, left: list[int], tried: int, radius: float) -> CheckReport:
        """`left` are how many images the cross-entropy, then the margin, then both left."""
        blind, by_loss = left[-1], left[0]
        sentence = f"Without a bound, an attack on the cross-entropy left {of(by_loss, tried)}"
        sentence += f", one on the margin {blind} of these." if by_loss else "."
        low = bounds(blind, tried)[0]
        measured = Measurement(
            "withstood unbounded attacks", blind / tried, clopper_pearson(blind, tried), tried,
            "images that PGD on cross-entropy and margin left",
            probe.ball.norm.name, radius,
        )  # fmt: skip
        kind: MaskingKind | None = None
        if low > _LEFT:
            title = "Images withstand attacks without any bound"
            remedy = (
                "nothing can withstand an attack that may change every pixel: the gradient "
                "leads nowhere, so repair it (BPDA) or attack without it"
            )
        elif bounds(by_loss, tried)[0] > _LEFT:
            title = (
                "Attacks on the cross-entropy fail without any bound, those on the margin do not"
            )
            remedy, kind = "attack the margin, not the cross-entropy", "loss-level"
        else:
            return CheckReport(sentence, measurements=(measured,))
        symptom = Symptom("unbounded", title, remedy, (sentence,), low > _BLIND, kind)
        return CheckReport(sentence, (symptom,), (measured,))


@check(
    name="epsilon-monotone",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 3.1; McNemar 1947 (exact)",
)
@dataclass(frozen=True)
class EpsilonMonotone:
    """Attacks survivors at epsilon, twice and four times that: success has to grow."""

    images: PositiveInt = param(30, "survivors that are attacked")
    steps: PositiveInt = param(10, "gradient steps")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        attack = PGD(steps=self.steps, loss="margin", eot=DRAWS if random else 1)
        each = spent(attack, min(self.images, images), classes)
        return summed(judged(images, random=random), each, each, each)

    def run(self, probe: Probe) -> CheckReport:
        """The same attack at three radii, compared image by image."""
        if reason := _nothing_to_compare(probe):
            return reason
        rows = sample(probe, probe.survivors(), self.images)
        attack = PGD(steps=self.steps, loss="margin", eot=DRAWS if probe.random else 1)
        factors = [f for f in (1, 2, 4) if f * probe.ball.epsilon <= largest_radius(probe)]
        broken = [
            probe.attack(f"epsilon x {f}", attack, rows, epsilon=f * probe.ball.epsilon).broken
            for f in factors
        ]
        counts = [int(one.sum()) for one in broken]
        told = ", ".join(f"{n} at {f} epsilon" for f, n in zip(factors, counts, strict=True))
        sentence = f"Of {len(rows)} images, the same short attack broke {told}."
        unlikely = [
            mcnemar(int((small & ~large).sum()), int((large & ~small).sum()))
            for small, large in pairwise(broken)
        ]
        if min(unlikely, default=1.0) >= _CHANCE:
            return CheckReport(sentence)
        symptom = Symptom(
            family="comparison",
            title="A larger epsilon breaks fewer images",
            remedy="a larger ball holds every example of a smaller one: the attack is misled, so "
            "distrust the gradient",
            evidence=(sentence, f"by chance with a probability of {min(unlikely):.1g}"),
        )
        return CheckReport(sentence, (symptom,))


@check(
    name="convergence",
    reference="Carlini et al. 2019, arXiv:1902.06705, sections 4.1 and 4.2; Mosbach et al. 2018, "
    "arXiv:1810.12042",
)
@dataclass(frozen=True)
class Convergence:
    """Would more steps, more restarts or other step sizes break more? Then attacks were weak.

    On the survivors nearest to another class, and on all with each variant that broke any. What
    falls here fell to the gradient: it is no sign of masking, but the number was too good.
    """

    images: PositiveInt = param(12, "survivors that are attacked")
    steps: PositiveInt = param(20, "gradient steps that the variants start from")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = images + min(self.images, images)
        steps = (3 * self.steps, 3 * self.steps + 2, self.steps, self.steps)
        each = (spent(PGD(steps=count, loss="margin"), n, classes) for count in steps)
        return summed(judged(images, random=random), *each)

    def run(self, probe: Probe) -> CheckReport:
        """Four variants of one attack."""
        if reason := _nothing_to_compare(probe):
            return reason
        survivors, told = probe.survivors(), []
        rows = sample(probe, survivors, self.images)
        epsilon, steps = probe.ball.epsilon, self.steps
        step = (5.0 if probe.ball.norm.name == "l2" else 2.5) * epsilon / steps
        for name, attack in (
            ("more steps", PGD(steps=3 * steps, loss="margin")),
            ("more restarts", PGD(steps=steps, restarts=3, loss="margin")),
            ("longer steps", PGD(steps=steps, step_size=4 * step, loss="margin")),
            ("shorter steps", PGD(steps=steps, step_size=step / 4, loss="margin")),
        ):
            rows = rows[~probe.fallen()[rows]]
            if not len(rows):
                break
            broken = int(probe.attack(name, attack, rows).broken.sum())
            everyone = probe.survivors()
            if broken and len(everyone):
                again = probe.attack(f"{name}, all", attack, everyone)
                broken += int(again.broken.sum())
            told.append(f"{name} {broken}")
        broken = len(survivors) - len(probe.survivors())
        sentence = (
            f"Of {len(survivors)} images that had withstood, variants of one attack "
            f"broke {broken} ({', '.join(told)})"
        )
        weak = bounds(broken, len(probe.y))[0] > _ONE_STEP
        return CheckReport(
            f"{sentence}: the attacks before were too weak." if weak else f"{sentence}."
        )


def _nothing_to_compare(probe: Probe) -> CheckReport | None:
    """The report where no gradient attack could say anything; else None."""
    if few := nothing_left(probe):
        return few
    if not probe.has_gradient:
        return not_applicable(
            "No gradient reaches the pixels, so there is no gradient attack to compare."
        )
    return None


def largest_radius(probe: Probe) -> float:
    """The distance between opposite corners of the box [0, 1]."""
    corners = torch.zeros_like(probe.x[:1])
    distance = probe.ball.norm.distance(corners + 1, corners)
    return float(distance)


def mcnemar(against: int, expected: int) -> float:
    """The exact one-sided probability of at least `against` of all discordant pairs, by chance."""
    pairs = against + expected
    ways = sum(math.comb(pairs, k) for k in range(against, pairs + 1))
    return ways * 0.5**pairs
