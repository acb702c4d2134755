"""What the model returns, and what stands between pixels and scores."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from auditor.api import (
    CheckReport,
    MaskingKind,
    Measurement,
    NoGradientError,
    PositiveInt,
    Probe,
    Symptom,
    check,
    not_applicable,
    param,
)

from .costs import TRACE
from .measuring import (
    ball_around,
    images,
    kind_of,
    logits_of,
    margins,
    precise,
    share,
    slope,
    some,
)
from .survivors import bounds, of

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A larger share of the images, for certain, is no accident.
_RARE = 0.05
#: So few different rows, or values, are labels or votes and no scores.
_FEW = 20
_PROBABILITY_SUM = 1e-3
#: Perturbations that leave honest scores nowhere as they are, and how many are tried.
_TINY, _TRIES = 1e-3, 8
#: Differentiable everywhere; a gradient that is lost here has vanished.
_SMOOTH = frozenset({"torch.sigmoid", "torch.tanh", "torch.softmax"})
#: Images on which gradients are compared, and the cosine from which they point the same way.
_COMPARED, _ALIKE = 16, 0.9


@check(
    name="output-kind",
    reference="Carlini & Wagner 2017, arXiv:1608.04644, section V (saturated softmax); Croce & "
    "Hein 2020, arXiv:2003.01690 (checks of AutoAttack)",
    measures=(
        "top score exactly 1",
        "tied top scores",
        "cross-entropy partly saturated",
        "cross-entropy wholly saturated",
        "distinct rows of scores",
    ),
)
@dataclass(frozen=True)
class OutputKind:
    """Logits, log-probabilities, probabilities or labels; and how far they are saturated.

    Saturation, where the cross-entropy's gradient rounds to zero, is told and no symptom: many
    honest models are as sure of clean images. `zero-gradients` looks at the consequence.
    """

    images: PositiveInt = param(200, "images whose scores are looked at")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        return min(self.images, images), 0

    def run(self, probe: Probe) -> CheckReport:
        """One forward pass."""
        rows = some(probe, self.images)
        x, y, total = probe.x[rows], probe.y[rows], len(rows)
        raw = _raw(probe, x)
        certain = int(((raw.amax(1) == 1) & _is_distribution(raw)).sum())
        distinct = len(torch.unique(raw, dim=0))
        top = raw.double().topk(2, dim=1).values
        tied = int((top[:, 0] == top[:, 1]).sum())
        partly, wholly = _saturated(probe, raw, y)
        kind = probe.victim.outputs
        measured = (
            share("top score exactly 1", certain, total, "probabilities rounded to 1", probe),
            share("tied top scores", tied, total, "largest and second score equal", probe),
            share("cross-entropy partly saturated", partly, total,
                  "its slope in the true class's score rounds to zero", probe),
            share("cross-entropy wholly saturated", wholly, total,
                  "its slope in every score rounds to zero", probe),
            Measurement("distinct rows of scores", float(distinct), None, total, "bit by bit"),
        )  # fmt: skip
        told = (
            f"On {images(total)} the model returns {kind}, tied at the top on {tied}; the "
            f"cross-entropy's slope rounds to zero partly on {partly} and wholly on {wholly}"
        )
        why = _no_scores(raw, distinct, len(torch.unique(x, dim=0)), certain, total)
        if not why:
            return CheckReport(f"{told}.", measurements=measured)
        symptom = Symptom(
            family="contract",
            title="The model returns certainties, not scores",
            remedy="audit the scores before the argmax, the vote or the softmax; else attack by "
            "decisions alone and by transfer",
            evidence=(why,),
            kind="output-level",
        )
        return CheckReport(f"{told}; {why}.", (symptom,), measured)


def _raw(probe: Probe, x: torch.Tensor) -> torch.Tensor:
    """(B, K), as the model returns it."""

    def work(part: slice) -> torch.Tensor:
        scores = probe.victim.raw(x[part])
        assert isinstance(scores, torch.Tensor)
        return scores

    with torch.no_grad():
        return torch.cat(probe.victim.pieces.run(work, len(x)))


def _is_distribution(raw: torch.Tensor) -> torch.Tensor:
    """(B,) bool: not negative, and the sum is 1."""
    p = raw.double()
    return (p.amin(1) >= 0) & ((p.sum(1) - 1).abs() < _PROBABILITY_SUM)


def _no_scores(raw: torch.Tensor, rows: int, pictures: int, certain: int, total: int) -> str:
    """Why these are labels or votes rather than scores; empty if they are not."""
    if rows <= min(_FEW, pictures // 4):
        return f"there are only {rows} different rows of scores for {pictures} different images"
    values = len(torch.unique(raw))
    if values <= _FEW and pictures * raw.shape[1] >= 20 * values:
        return f"all {raw.numel()} scores take {values} different values"
    if bounds(certain, total)[0] > _RARE:
        return f"the top probability is exactly 1 on {of(certain, total)}"
    return ""


def _saturated(probe: Probe, raw: torch.Tensor, y: torch.Tensor) -> tuple[int, int]:
    """On how many images the cross-entropy's slope is zero in the true class, and in all classes.

    In the victim's precision: the thresholds of the logits' gap come out as they do there.
    """
    with torch.enable_grad():
        scores = raw.detach().requires_grad_()
        z = scores
        if probe.victim.outputs == "probabilities":
            z = scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
        loss = torch.nn.functional.cross_entropy(z, y, reduction="sum")
        (slopes,) = torch.autograd.grad(loss, scores)
    zero = slopes == 0
    return int(zero.gather(1, y[:, None]).sum()), int(zero.all(1).sum())


@check(
    name="staircase",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 2 (shattered gradients); "
    "Buckman et al. 2018 (thermometer codes)",
    measures=("images on a plateau",),
)
@dataclass(frozen=True)
class Staircase:
    """Looks for plateaus: tiny random changes of all pixels that leave every score as it is.

    A symptom where also the gradient does not show the way off the plateau. A model that rounds and
    passes the gradient on, as training with quantised inputs does, stands on stairs and is honest.
    """

    images: PositiveInt = param(50, "images that are changed")

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        n = 0 if random else min(self.images, images)
        return (_TRIES + 4) * n, n

    def run(self, probe: Probe) -> CheckReport:
        """Eight changes of 0.001, inwards where a pixel is 0 or 1."""
        if probe.random:
            return not_applicable("Answers vary by themselves, so plateaus are not visible.")
        rows = some(probe, self.images)
        x, y, total = probe.x[rows], probe.y[rows], len(rows)
        first = logits_of(probe.victim, x)
        flat = torch.ones(total, dtype=torch.bool, device=x.device)
        for k in range(_TRIES):
            step = _TINY * probe.noise(f"change {k}", rows).signs(*x.shape[1:])
            inside = torch.where((x + step < 0) | (x + step > 1), x - step, x + step)
            flat &= (logits_of(probe.victim, inside) == first).all(1)
        count = int(flat.sum())
        measured = share(
            "images on a plateau", count, total,
            f"{_TRIES} random changes of {_TINY} leave the logits bit-identical", probe,
        )  # fmt: skip
        sentence = (
            f"{_TRIES} random changes of {_TINY} leave every score as it is on {of(count, total)}"
        )
        if bounds(count, total)[0] <= _RARE:
            return CheckReport(f"{sentence}.", measurements=(measured,))
        lost = count
        if probe.has_gradient:
            lost = int((~_leads_off(probe, x[flat], y[flat])).sum())
            sentence += f"; a step along the gradient does not lead off on {lost} of these"
        if 2 * lost <= count:
            return CheckReport(f"{sentence}.", measurements=(measured,))
        symptom = Symptom(
            family="contract",
            title="Small changes of a picture change nothing at all",
            remedy="the model rounds its input: attack it with the gradient passed straight "
            "through (BPDA), or with larger steps and without gradients",
            evidence=(sentence,),
            kind=kind_of(probe, "shattered"),
        )
        return CheckReport(f"{sentence}.", (symptom,), (measured,))


def _leads_off(probe: Probe, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(B,) bool: a step of epsilon / 4 along the gradient raises the margin."""
    ball, judge = ball_around(probe, x), precise(probe)
    ahead = ball.steepest(x, slope(probe, probe.surrogate, x, y), ball.epsilon / 4)
    return margins(probe, judge, ahead, y) > margins(probe, judge, x, y)


@check(
    name="operation-trace",
    reference="Athalye, Carlini & Wagner 2018, arXiv:1802.00420, section 2 (shattered gradients)",
    measures=(
        "operations that stop the gradient",
        "other operations without a gradient",
    ),
)
@dataclass(frozen=True)
class OperationTrace:
    """Follows the operations from pixels to scores, and names those that stop the gradient."""

    def cost(self, images: int, classes: int, *, random: bool) -> tuple[int, int]:
        """Forward and backward passes at most, verification apart."""
        return TRACE + 3 * _COMPARED, TRACE + 3 * _COMPARED

    def run(self, probe: Probe) -> CheckReport:
        """What cuts, flattens, replaces or hides the gradient, with file, line and module."""
        trace = probe.trace
        essential = [site for site in trace.sites if site.essential]
        others = [site for site in trace.sites if not site.essential]
        measured = (
            Measurement("operations that stop the gradient", float(len(essential)), None, 1,
                        "traced between pixels and scores"),
            Measurement("other operations without a gradient", float(len(others)),
                        None, 1, "traced between pixels and scores"),
        )  # fmt: skip
        aside = f"beside: {_listed([s.where for s in others])}" if others else ""
        where = _listed([site.where for site in essential])
        if essential and _same_direction(probe):
            sentence = f"The gradient changes its length at {where}, and not its direction"
        elif essential or not probe.has_gradient:
            told = f"the gradient stops at {where}" if where else "no gradient reaches the pixels"
            sentence = f"Between pixels and scores {told}" + (f" ({aside})" if aside else "")
            culprit = None if trace.culprit is None else trace.culprit.where
            symptom = _stopped(probe, essential, culprit, sentence)
            return CheckReport(f"{sentence}.", (symptom,), measured)
        else:
            sentence = "Nothing between pixels and scores stops the gradient of the scores"
            if others:
                sentence += f", which passes through {_listed([s.where for s in others])}; "
                sentence += "whether that of a loss does, `loss-repair` tries"
            return CheckReport(f"{sentence}.", measurements=measured)
        sentence += f" ({aside})" if aside else ""
        return CheckReport(f"{sentence}.", measurements=measured)


def _same_direction(probe: Probe) -> bool:
    """Whether the gradient, repaired, points where it does as it is, at every call."""
    if not probe.has_gradient:
        return False
    rows = some(probe, _COMPARED)
    x, y = probe.x[rows], probe.y[rows]
    try:
        own, again, repaired = (
            slope(probe, surrogate, x, y).double().flatten(1)
            for surrogate in (probe.surrogate, probe.surrogate, probe.surrogate.repaired())
        )
    except NoGradientError:
        return False
    medians = (
        statistics.median(torch.cosine_similarity(one, repaired, eps=1e-300).tolist())
        for one in (own, again)
    )
    return bool(min(medians) > _ALIKE)


def _stopped(
    probe: Probe, essential: Sequence[Site], culprit: str | None, sentence: str
) -> Symptom:
    kind: MaskingKind = kind_of(probe, "shattered")
    if essential and all(site.effect == "random" for site in essential):
        kind = "stochastic"
    elif essential and all(site.operation in _SMOOTH for site in essential):
        kind = kind_of(probe, "vanishing")
    return Symptom(
        family="contract",
        title="An operation of the model stops the gradient",
        remedy="pass the gradient straight through it (BPDA) for the audit, or audit the model "
        "without it beside it",
        evidence=tuple(f"{site.where}: it {_effect(site.effect)}" for site in essential[:5])
        or (sentence,),
        kind=kind,
        culprit=culprit,
    )


class Site(Protocol):
    """What is told of an operation that the trace found."""

    @property
    def operation(self) -> str:
        """As a reader knows it from the source."""

    @property
    def where(self) -> str:
        """Operation, file, line and module."""

    @property
    def effect(self) -> str:
        """What it does to the gradient."""


def _effect(effect: str) -> str:
    words = {
        "cuts": "cuts the gradient off",
        "flattens": "has a gradient of zero",
        "replaces": "replaces the gradient by its own",
        "hides": "hides what the gradient is",
        "random": "draws random numbers",
        "leaves torch": "leaves torch, where no gradient can follow",
    }
    return words.get(effect, effect)


def _listed(places: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(places) - 3} more" if len(places) > 3 else ""
    return ", ".join(places[:3]) + more
