"""Other losses on the model's own gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from auditor_plugins.apgd import APGD

from auditor.api import (
    CheckReport,
    ObjectiveName,
    PositiveInt,
    Probe,
    Surrogate,
    Symptom,
    check,
    choose_objective,
    not_applicable,
    param,
)

from .costs import TRACE, looked_again, pursued, spent, summed
from .survivors import Gap, bounds, is_telling, nothing_left, pursue, split

#: A larger share missed by the cross-entropy is looked into.
_MISSED = 0.05
#: Honest adversarially trained models lose up to 8.7 points beyond what the cross-entropy's attacks
#: find, models with a masked loss 11 and more (RobustBench, accuracy claimed against AutoAttack).
_LOSS_LEVEL = 0.10
#: What an operation does that costs a gradient; `Site.effect`.
_LOSING = ("cuts", "flattens", "replaces", "leaves torch")
#: Slopes that have vanished in a small type are back once the loss is so many times larger.
_LARGER = 2.0**12
#: Rounding to float16 leaves cosines above 0.999; below this one, slopes are missing.
_ALIKE = 0.9


@check(
    name="loss-repair",
    reference="Carlini & Wagner 2017, arXiv:1608.04644, section V-A (f_6)",
)
@dataclass(frozen=True)
class LossRepair:
    """Follows the model's gradient with losses that do not vanish where the model is sure.

    The margin and the cross-entropy of rescaled logits: first on a few survivors, then, the margin
    with three targets, on all of them where that broke some. What falls here and not to the
    cross-entropy was hidden by the loss, not by the network. Not DLR: it may also be lowered by
    raising a third class, so that a gradient of the wrong sign would pass for a good one.
    """

    screened: PositiveInt = param(40, "survivors that each loss is tried on first")
    steps: PositiveInt = param(20, "gradient steps of those attempts; four times as many later")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        losses: tuple[ObjectiveName, ...] = ("margin", "cross-entropy")
        each = []
        for attack in (APGD(steps=self.steps, loss=loss) for loss in losses):
            full = [self._longer(attack, place) for place in range(2)]
            tried = (self.screened, images, classes)
            each.append(pursued(attack, full, *tried, random=random, missed_by="cross-entropy"))
        # The operation or, where there is none, the margin once more.
        culprit = spent(APGD(steps=self.steps, loss="cross-entropy"), self.screened, classes)
        again = looked_again("cross-entropy", images, classes)
        return summed(*each, culprit, culprit, again, (TRACE, TRACE))

    def run(self, probe: Probe) -> CheckReport:
        """Try the losses on survivors, then look at all that the cross-entropy missed."""
        if not probe.has_gradient:
            return not_applicable("No gradient reaches the pixels, so no loss can repair it.")
        before = probe.survivors()
        told, broken = [], [before[:0]]
        if nothing_left(probe) is None:
            for name, attack, surrogate in self._losses(probe):
                if not len(probe.survivors()):
                    break
                gap = self._pursue(probe, name, attack, surrogate)
                broken.append(gap.broken)
                told.append(f"{name} {len(gap.broken)}")
        count = sum(map(len, broken))
        sentence = ""
        if told:
            sentence = f"Of {len(before)} images that had withstood, other losses broke {count} "
            sentence += f"({', '.join(told)}). "
        missed = (probe.fallen() & ~probe.fallen("cross-entropy")).nonzero().flatten()
        if len(missed) <= _MISSED * len(probe.y):
            if not told:
                return nothing_left(probe) or not_applicable("There was nothing to try.")
            return CheckReport(sentence.strip())
        return self._loss_level(probe, sentence, missed)

    def _losses(self, probe: Probe) -> list[tuple[str, APGD, Surrogate]]:
        def attack(loss: ObjectiveName) -> APGD:
            return APGD(steps=self.steps, loss=loss)

        naive = probe.surrogate
        return [
            ("margin", attack("margin"), naive),
            ("rescaled cross-entropy", attack("cross-entropy"), naive.rescaled()),
        ]

    def _pursue(self, probe: Probe, name: str, attack: APGD, surrogate: Surrogate) -> Gap:
        return pursue(
            probe,
            name,
            attack,
            lambda place: self._longer(attack, place),
            screened=self.screened,
            rounds=2,
            surrogate=surrogate,
            trust="gradient",
            everywhere=_vanishes(probe),
            enough=2,
        )

    def _longer(self, attack: APGD, place: int) -> APGD:
        """What follows where `attack` broke some of a few."""
        targets = 0 if attack.loss == "cross-entropy" else 3 * place
        return replace(attack, steps=self.steps * (2 + 2 * place), targets=targets)

    def _loss_level(self, probe: Probe, sentence: str, missed: torch.Tensor) -> CheckReport:
        """The report where attacks on the cross-entropy had missed many images that fell.

        It tells of the images that were tried here: how many the cross-entropy misses is the
        verdict's to say, after whatever else is tried on them.
        """
        total = len(probe.y)
        telling = is_telling(probe, missed, "cross-entropy", "cross-entropy")
        left = int((probe.fallen("gradient") & ~probe.fallen("cross-entropy")).sum())
        if not telling or bounds(left, total)[0] <= _LOSS_LEVEL:
            sentence += "That attacks on the cross-entropy missed images which others broke is "
            return CheckReport(f"{sentence}no more than honest models show.")
        sentence += "Attacks on the cross-entropy, longer ones too, miss images that others break"
        narrow = _narrowing(probe, missed[: self.screened])
        culprit = narrow or self._culprit(probe, missed)
        remedy = (
            "attack the margin instead of the cross-entropy, or divide the logits by a "
            "constant before the loss"
        )
        if narrow:
            sentence += f"; its slopes are too small for the type after {narrow}"
            remedy = "attack in a larger floating-point type, or a multiple of the loss"
        elif culprit:
            sentence += f", and which it breaks once {culprit} is bypassed"
            remedy = (
                f"attack the model with the gradient passed straight through {culprit} "
                '(BPDA, `surrogate = "repaired"`)'
            )
        elif not self._by_the_loss(probe, missed):
            title = "Ascent from where the images are fails where attacks from elsewhere succeed"
            sentence += ", and so do attacks on the margin that start where they do"
            remedy = (
                "attack from outside the ball and from several starts (`ddn`, `fab`, `cascade`): "
                "near the images the gradient leads nowhere, whatever the loss"
            )
            symptom = Symptom("comparison", title, remedy, (f"{sentence}.",), kind="other")
            return CheckReport(f"{sentence}.", (symptom,))
        symptom = Symptom(
            family="comparison",
            title="Attacks on the cross-entropy fail where the same attacks on the margin succeed",
            remedy=remedy,
            evidence=(f"{sentence}.",),
            kind="vanishing" if culprit else "loss-level",
            culprit=culprit,
        )
        return CheckReport(f"{sentence}.", (symptom,))

    def _by_the_loss(self, probe: Probe, missed: torch.Tensor) -> bool:
        """Whether the margin breaks most of a few of them, from where the cross-entropy started."""
        tried, _ = split(missed, self.screened // 2)
        attempt = probe.attack("margin, once more", APGD(steps=self.steps, loss="margin"), tried)
        return 2 * int(attempt.broken.sum()) > len(tried)

    def _culprit(self, probe: Probe, missed: torch.Tensor) -> str | None:
        """The operation that costs the cross-entropy its gradient, if repairing it helps."""
        sites = [site for site in probe.trace.sites if site.effect in _LOSING]
        if not sites:
            return None
        tried, _ = split(missed, self.screened // 2)
        attack = APGD(steps=self.steps, loss="cross-entropy")
        repaired = probe.surrogate.repaired()
        attempt = probe.attack("cross-entropy, repaired", attack, tried, surrogate=repaired)
        helps = 2 * int(attempt.broken.sum()) > len(tried)
        return str(probe.trace.culprit or sites[0]) if helps else None


def _narrowing(probe: Probe, rows: torch.Tensor) -> str | None:
    """The cast to a smaller type in which most gradients of these images are lost, if any is.

    Autograd is linear in the loss: only a type too small for the slopes makes the gradient another
    once the loss is larger.
    """
    casts = [site for site in probe.trace.sites if site.effect == "narrows"]
    if not casts:
        return None
    small, large = (_slopes(probe, rows, factor) for factor in (1.0, _LARGER))
    told = (large != 0).any(1)
    lost = torch.cosine_similarity(small, large) < _ALIKE
    return str(casts[0]) if 2 * int((lost & told).sum()) > len(rows) else None


def _slopes(probe: Probe, rows: torch.Tensor, factor: float) -> torch.Tensor:
    """(m, pixels): of the cross-entropy times `factor`."""
    plain = choose_objective("cross-entropy", probe.classes)
    loss = replace(plain, loss=lambda z, y, target: factor * plain(z, y, target))
    seen = probe.surrogate.evaluate(probe.x[rows], probe.y[rows], loss, gradient=True)
    assert seen.gradient is not None
    return seen.gradient.double().flatten(1)


def _vanishes(probe: Probe) -> bool:
    """Whether earlier checks saw the gradient of the cross-entropy vanish."""
    return any(symptom.kind in ("vanishing", "loss-level") for symptom in probe.symptoms)
