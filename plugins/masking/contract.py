"""Does the model answer as it will when deployed: the same every time, each image by itself?"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from auditor.api import (
    CheckReport,
    Measurement,
    PositiveInt,
    Probe,
    Symptom,
    Victim,
    check,
    not_applicable,
    param,
)

from .measuring import (
    apart,
    images,
    logits_of,
    median,
    median_limit,
    share,
    slope,
    some,
)
from .survivors import of

#: Differences of logits, relative to their range, that floating point does not explain.
_REPEATED, _BATCHED = 1e-4, 1e-3
#: Gradients of two draws that agree less than this hide the way from an attack that sees one.
_COHERENT = 0.9


@check(
    name="determinism",
    reference="Croce & Hein 2020, arXiv:2003.01690 (checks of AutoAttack); Athalye, Carlini & "
    "Wagner 2018, arXiv:1802.00420, section 2 (stochastic gradients)",
    measures=(
        "answers that change",
        "change of logits",
        "draws random numbers",
        "agreement of gradients between draws",
    ),
)
@dataclass(frozen=True)
class Determinism:
    """Asks the same images several times, and looks whether random numbers are drawn.

    Randomness hides a gradient only where it turns the gradient: two draws are compared. Noise that
    leaves it as it is, or random numbers that change no answer, are told and no symptom.
    """

    calls: PositiveInt = param(5, "how often each image is asked")
    images: PositiveInt = param(64, "images that are asked")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = min(self.images, images)
        slopes = n * self.calls if random else 0
        return n * self.calls + slopes + 1, slopes

    def run(self, probe: Probe) -> CheckReport:
        """Repeat, then compare answers, logits and gradients."""
        victim, rows = probe.victim, some(probe, self.images)
        x, total = probe.x[rows], len(rows)
        drawn = victim.generators_used(x[:1])
        first = logits_of(victim, x)
        again = [logits_of(victim, x) for _ in range(self.calls - 1)]
        difference = max((apart(first, other) for other in again), default=0.0)
        changed = torch.zeros(total, dtype=torch.bool, device=x.device)
        for other in again:
            changed |= other.argmax(1) != first.argmax(1)
        count = int(changed.sum())
        measured = [
            share("answers that change", count, total, f"{self.calls} identical calls", probe),
            Measurement("change of logits", difference, None, total,
                        "largest difference between identical calls, relative to their range"),
            Measurement("draws random numbers", float(bool(drawn)), None, 1,
                        "state of the generators before and after a call"),
        ]  # fmt: skip
        if difference <= _REPEATED:
            idle = f", though it draws random numbers ({', '.join(drawn)})" if drawn else ""
            sentence = f"{self.calls} identical calls gave the same answers on {images(total)}"
            return CheckReport(f"{sentence}{idle}.", measurements=tuple(measured))
        sentence = (
            f"{self.calls} identical calls changed the answer on {of(count, total)} and the "
            f"logits by up to {difference:.2g} of their range"
        )
        return self._random(probe, rows, sentence, measured)

    def _random(
        self, probe: Probe, rows: torch.Tensor, sentence: str, measured: list[Measurement]
    ) -> CheckReport:
        """The report on a model whose answers vary."""
        turned, told = not probe.has_gradient, ""
        cosines = self._agreement(probe, rows) if probe.has_gradient else []
        if cosines:
            measured.append(
                median("agreement of gradients between draws", cosines,
                       f"mean cosine of the margin's gradients of {self.calls} calls", probe)
            )  # fmt: skip
            turned = median_limit(cosines, 0.995) < _COHERENT
            told = f"; gradients of different calls have a cosine of {measured[-1].value:.2f}"
        if not turned:
            return CheckReport(f"{sentence}{told}.", measurements=tuple(measured))
        symptom = Symptom(
            family="contract",
            title="The same picture gets different answers, and different gradients",
            remedy="attack the average over the randomness (EOT), judge by a majority of draws, "
            "and report the model with its randomness switched off beside it",
            evidence=(f"{sentence}{told}",),
            kind="stochastic",
            fact="nondeterministic",
        )
        return CheckReport(f"{sentence}{told}.", (symptom,), tuple(measured))

    def _agreement(self, probe: Probe, rows: torch.Tensor) -> list[float]:
        """The mean cosine of the first call's gradient with the others', where it is not zero."""
        x, y = probe.x[rows], probe.y[rows]
        first, *others = (
            slope(probe, probe.surrogate, x, y, draw=f"draw {k}").double().flatten(1)
            for k in range(self.calls)
        )
        if not others:
            return []
        there = first.abs().amax(1) > 0
        cosines = [torch.cosine_similarity(first, other, eps=1e-300) for other in others]
        return [float(cosine) for cosine in torch.stack(cosines).mean(0)[there]]


@check(
    name="batch-dependence",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 5; Ioffe & Szegedy 2015, "
    "arXiv:1502.03167 (batch statistics)",
    measures=(
        "change of logits alone",
        "change of logits in pairs",
        "change of logits in eights",
        "change of logits reversed",
        "change of logits among negatives",
    ),
)
@dataclass(frozen=True)
class BatchDependence:
    """Scores of the same images alone, in pairs, in eights, reversed and in other company."""

    images: PositiveInt = param(32, "images that are asked")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        return 8 * min(self.images, images), 0

    def run(self, probe: Probe) -> CheckReport:
        """Compare each company with the full batch."""
        victim, rows = probe.victim, some(probe, self.images)
        x, total = probe.x[rows], len(rows)
        with victim.put_back() as changed:
            logits_of(victim, x)
        odd = tuple(
            name for name, part in victim.module.named_modules() if _takes_batch_statistics(part)
        )
        evidence = tuple(f"{name or 'the model'} normalises by the batch" for name in odd[:5])
        evidence += tuple(f"{name} is changed by a forward pass" for name in changed[:5])
        told = f"; a forward pass changes {', '.join(changed[:3])}" if changed else ""
        if probe.random:
            return not_applicable(
                f"Answers vary by themselves, so the batch's part in it is not visible{told}."
            )
        full = logits_of(victim, x)
        differences = {
            "alone": apart(full, _in_parts(victim, x, 1)),
            "in pairs": apart(full, _in_parts(victim, x, 2)),
            "in eights": apart(full, _in_parts(victim, x, 8)),
            "reversed": apart(full, logits_of(victim, x.flip(0)).flip(0)),
            "among negatives": apart(full, logits_of(victim, torch.cat([x, 1 - x]))[:total]),
        }
        company, worst = max(differences.items(), key=lambda pair: pair[1])
        # Coarse types round otherwise in another batch shape; ten units in the last place are this.
        tolerance = max(_BATCHED, 10 * torch.finfo(victim.precision).eps)
        measured = tuple(
            Measurement(f"change of logits {name}", value, None, total,
                        "against the full batch, relative to the logits' range")
            for name, value in differences.items()
        )  # fmt: skip
        if worst <= tolerance:
            sentence = f"The scores of {images(total)} do not depend on the images beside them"
            return CheckReport(f"{sentence}{told}.", measurements=measured)
        sentence = (
            f"The scores of {images(total)} change by up to {worst:.2g} of their range with the "
            f"images beside them ({company})"
        )
        symptom = Symptom(
            family="contract",
            title="An answer depends on the rest of the batch",
            remedy="put batch normalisation into evaluation mode and keep its running statistics; "
            "attack images one by one",
            evidence=(sentence, *evidence),
            kind="other",
            culprit=f"module {odd[0]}" if odd and odd[0] else None,
            fact="batch-dependence",
        )
        return CheckReport(f"{sentence}{told}.", (symptom,), measured)


def _in_parts(victim: Victim, x: torch.Tensor, size: int) -> torch.Tensor:
    return torch.cat([logits_of(victim, part) for part in torch.split(x, size)])


def _takes_batch_statistics(part: torch.nn.Module) -> bool:
    """Whether it is a BatchNorm that uses the batch at hand."""
    if not isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
        return False
    return part.training or part.running_mean is None


@check(
    name="train-mode",
    reference="Carlini et al. 2019, arXiv:1902.06705, section 5",
    measures=("modules in training mode",),
)
@dataclass(frozen=True)
class TrainMode:
    """Modules that stay in training mode after eval(), and whether that changes anything."""

    images: PositiveInt = param(32, "images that are asked with and without training mode")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        return 3 * min(self.images, images), 0

    def run(self, probe: Probe) -> CheckReport:
        """Switch the flags off for a moment, and compare."""
        victim, rows = probe.victim, some(probe, self.images)
        x = probe.x[rows]
        as_it_is = logits_of(victim, x)  # a forward pass may set the flags
        with victim.evaluating() as training:
            matters = bool(training) and _matter(victim, x, as_it_is, varies=probe.random)
        measured = (
            Measurement("modules in training mode", float(len(training)), None, len(rows),
                        "after eval() and a forward pass"),
        )  # fmt: skip
        if not training:
            return CheckReport("Every module follows eval().", measurements=measured)
        names = [name or "the model itself" for name in training]
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        sentence = f"After eval() training mode stays on in {told}"
        if not matters:
            return CheckReport(f"{sentence}, which changes no answer.", measurements=measured)
        symptom = Symptom(
            family="contract",
            title="The model is evaluated in training mode",
            remedy="do not override train() or set training mode in forward; dropout and batch "
            "normalisation behave otherwise there",
            evidence=(f"{sentence}, and the scores are others without it",),
            kind="stochastic" if probe.random else "other",
            culprit=f"module {names[0]}" if names[0] != "the model itself" else None,
            fact="train-mode",
        )
        return CheckReport(f"{sentence}, and answers depend on it.", (symptom,), measured)


def _matter(victim: Victim, x: torch.Tensor, as_it_is: torch.Tensor, *, varies: bool) -> bool:
    """Whether scores are others with the flags off; of random ones, whether they stop to vary."""
    once, twice = logits_of(victim, x), logits_of(victim, x)
    if varies:
        return apart(once, twice) <= _REPEATED
    return apart(as_it_is, once) > _REPEATED
