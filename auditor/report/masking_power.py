"""What a masking verdict that found nothing is able to rule out, in words."""

from __future__ import annotations

from auditor.report import wording
from auditor.results import ChallengeCount, Masking


def ruled_out(masking: Masking) -> str:
    """What finding nothing is worth, in the counts that this follows from; empty if not known."""
    seen = masking.power
    if seen is None or seen.survivors is None or masking.verdict in wording.DOUBTFUL:
        return ""
    if not seen.survivors:
        return "Every image examined fell, so that nothing was left for masking to hide."
    left = f"of the {wording.plural(seen.survivors, 'image')} that withstood"
    if not seen.challenges:
        why = (
            "was searched without the model's own gradient, on the model itself and as long as "
            "in the control with the planted mask"
            if seen.control_hidden
            else "counts as attacked without trust in the gradient, for no planted mask shows what "
            "such an attack finds"
        )
        return f"Nothing: none {left} {why}."
    ways = "; ".join(_challenge(one, seen.control_hidden) for one in seen.challenges)
    text = (
        f"{seen.challenged:,} {left} were attacked on the model itself without trust in its "
        f"gradient: {ways}. "
    )
    if seen.detectable_fraction * seen.samples > seen.survivors - 0.5:
        return (
            f"{text}That rules out nothing: hidden examples on all of those that withstood could "
            "have been missed."
        )
    share = wording.percent(seen.detectable_fraction)
    return (
        f"{text}Hidden adversarial examples on more than {share} of the "
        f"{wording.plural(seen.samples, 'image')} examined would have been seen with "
        f"95{wording.NBSP}% confidence, "
        "if they are as easy to find as those of the planted mask. What none of these attacks "
        "finds, no count of images rules out."
    )


def _challenge(one: ChallengeCount, hidden: int) -> str:
    how = "queries" if one.kind == "queries" else "steps of the repaired gradient"
    return (
        f"{one.images:,} by {one.points:,} {how}, which found {one.control_found:,} of the "
        f"{wording.plural(hidden, 'example')} that the planted mask hid"
    )
