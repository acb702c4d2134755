"""The masking page of a model: the verdict, its proof, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from auditor.report import masking_charts, wording
from auditor.report.drawing import Chart
from auditor.report.gallery_view import GalleryView, picture
from auditor.report.masking_power import ruled_out
from auditor.report.wording import MASKINGS, Badge, percent, plural
from auditor.results import Comparison, Masking, ModelResult

#: Pictures that leave room for the rest of the page.
_EXAMPLES = 4


@dataclass(frozen=True)
class Figure:
    """A number that the page leads with."""

    name: str
    value: str
    note: str
    #: Whether it is the number to remember.
    leads: bool = False


@dataclass(frozen=True)
class Cells:
    """Images by what broke them: attacks that follow the gradient, attacks that do not."""

    both: str
    only_gradient: str
    only_others: str
    neither: str
    hidden: bool
    note: str


@dataclass(frozen=True)
class MaskingView:
    """Whether the robust accuracy can be believed, and why."""

    badge: Badge
    sentence: str
    #: What the verdict means in general, where the sentence does not say it; what it does not say.
    remark: str
    kind: str
    kind_meaning: str
    culprit: str
    threat: str
    figures: tuple[Figure, ...]
    examples: tuple[GalleryView, ...]
    examples_note: str
    directions: Chart | None
    cells: Cells | None
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]
    #: (finding code, anchor or "").
    evidence: tuple[tuple[str, str], ...]
    rules_out: str
    control: tuple[Badge, str] | None


def masking_view(model: ModelResult, anchors: Mapping[str, str]) -> MaskingView:
    """The masking page of `model`.

    Args:
        anchors: of the findings, by code.
    """
    masking = model.masking
    found_nothing = masking.verdict == "none" and masking.summary
    told = masking.summary if found_nothing else wording.believed(masking)
    reasons = [wording.sentence(reason) for reason in masking.reasons]
    return MaskingView(
        badge=MASKINGS[masking.verdict],
        sentence=told,
        remark=_remark(masking, told),
        kind=masking.kind or "",
        kind_meaning=wording.KIND_MEANING[masking.kind] if masking.kind else "",
        culprit=masking.culprit or "",
        threat=wording.masking_threat(masking),
        figures=tuple(_figures(model)),
        examples=tuple(picture(item) for item in masking.examples[:_EXAMPLES]),
        examples_note=_examples_note(masking),
        directions=masking_charts.directions(model, _epsilon(model)),
        cells=_cells(masking.comparison, masking) if masking.comparison else None,
        reasons=tuple(reason for reason in reasons if reason not in told),
        next_steps=tuple(wording.sentence(step) for step in masking.next_steps),
        evidence=tuple((code, anchors.get(code, "")) for code in masking.evidence),
        rules_out=ruled_out(masking),
        control=(wording.CONTROLS[masking.control.detected], masking.control.sentence)
        if masking.control
        else None,
    )


def _remark(masking: Masking, told: str) -> str:
    meaning = wording.MASKING_MEANING[masking.verdict]
    proved = masking.verdict == "confirmed" and masking.hidden  # then the numbers say it
    parts = [] if proved or meaning in told else [meaning]
    if masking.verdict in wording.DOUBTFUL:
        parts.append(wording.FAIRNESS)
    return " ".join(parts)


def _epsilon(model: ModelResult) -> float | None:
    """The epsilon of the verdict as a number."""
    masking = model.masking
    same = (t.epsilon for t in model.threats
            if (t.norm, t.epsilon_text) == (masking.norm, masking.epsilon_text))  # fmt: skip
    return next(same, None)


def _figures(model: ModelResult) -> Iterator[Figure]:
    """Believed, corrected, hidden: none of them where the verdict has no number."""
    masking = model.masking
    before, after, hidden = (
        masking.gradient_attack_accuracy,
        masking.corrected_accuracy,
        masking.hidden,
    )
    if before is not None:
        yield Figure("Clean images", percent(model.clean.accuracy), "classified correctly")
        yield Figure(wording.before(masking), percent(before), "what would be believed")
    if after is not None:
        yield Figure(wording.after(masking), percent(after),
                     "over all that ran, the checks included", leads=True)  # fmt: skip
    if hidden is not None:
        sure = f"; at least {percent(hidden.lower_bound)} for certain" if hidden.found else ""
        yield Figure(
            "Hidden adversarial examples",
            f"{hidden.found:,} of {hidden.total:,}",
            f"{percent(hidden.fraction)} of the images examined{sure}",
        )


def _examples_note(masking: Masking) -> str:
    count = min(len(masking.examples), _EXAMPLES)
    if not count:
        return ""
    found = masking.hidden.found if masking.hidden else 0
    whole = f"{count} of {found:,}" if found > count else f"{count}"
    return (
        f"{whole}, each verified on the model as deployed; missed by {wording.followers(masking)}, "
        "found by the attack or check named. Left to right: the image, the change, magnified, and "
        "the adversarial example. All of them: adversarial.safetensors in the run directory."
    )


def _cells(comparison: Comparison, masking: Masking) -> Cells:
    of_loss = (
        " What the cross-entropy alone missed and another loss broke counts as broken by the "
        "model's own gradient."
        if masking.reference == "cross-entropy"
        else ""
    )
    counts = (
        comparison.both,
        comparison.only_gradient,
        comparison.only_others,
        comparison.neither,
    )
    total = sum(counts)
    both, only_gradient, only_others, neither = (
        f"{count:,} ({wording.share(count, total)})" if count else "0" for count in counts
    )
    return Cells(
        both=both,
        only_gradient=only_gradient,
        only_others=only_others,
        neither=neither,
        hidden=comparison.only_others > 0,
        note=f"{plural(total, 'image')} classified correctly. The others (queries alone, averaged "
        "or repaired gradients, other models) ran mostly on what gradient attacks had left."
        + of_loss,
    )
