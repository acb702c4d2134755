"""What is said of a masking verdict: whether to believe it, and what it is able to rule out."""

from __future__ import annotations

from auditor.report.wording import (
    FAIRNESS,
    MASKING_MEANING,
    NBSP,
    percent,
    plural,
    sentence,
    threat_text,
)
from auditor.results import ChallengeCount, Masking


def doubtful(masking: Masking) -> bool:
    """Whether the robust accuracy of the gradient attacks is not to be believed."""
    return masking.verdict in ("suspected", "confirmed")


def believed(masking: Masking) -> str:
    """The masking verdict in a sentence or two, as far as it can honestly be said."""
    if masking.verdict == "inconclusive":
        why = masking.summary or " ".join(sentence(reason) for reason in masking.reasons)
        return " ".join([MASKING_MEANING["inconclusive"], *([sentence(why)] if why else [])])
    return masking.summary or MASKING_MEANING[masking.verdict]


def followers(masking: Masking) -> str:
    """The attacks that the verdict compares with all the others, in the plural."""
    if masking.reference == "cross-entropy":
        return "attacks on the cross-entropy"
    if masking.reference == "plain":
        return "plain attacks such as PGD"
    return "gradient attacks"


def before(masking: Masking) -> str:
    """What the number before correction is called."""
    return sentence(f"{followers(masking)} alone").removesuffix(".")


def after(masking: Masking) -> str:
    """What the number after correction is called; nothing is corrected where nothing was found."""
    if not doubtful(masking):
        return "Robust accuracy, all attacks"
    if masking.corrected_accuracy == masking.gradient_attack_accuracy:
        return "Robust accuracy, in doubt"
    return "Corrected robust accuracy"


def remark(masking: Masking) -> str:
    """What the verdict means in general, where it is not said yet; and what it does not say."""
    meaning = MASKING_MEANING[masking.verdict]
    proved = masking.verdict == "confirmed" and masking.hidden  # then the numbers say it
    parts = [] if proved or meaning in believed(masking) else [meaning]
    if doubtful(masking):
        parts.append(FAIRNESS)
    return " ".join(parts)


def correction(masking: Masking) -> str:
    """What the corrected accuracy corrects; may be empty."""
    parts = [threat_text(masking)]
    if masking.gradient_attack_accuracy is not None:
        parts.append(f"{before(masking).lower()}: {percent(masking.gradient_attack_accuracy)}")
    return "; ".join(part for part in parts if part)


def ruled_out(masking: Masking) -> str:
    """What finding nothing is worth, in the counts that this follows from; empty if not known."""
    seen = masking.power
    if seen is None or seen.survivors is None or doubtful(masking):
        return ""
    if not seen.survivors:
        return "Every image examined fell, so that nothing was left for masking to hide."
    left = f"of the {plural(seen.survivors, 'image')} that withstood"
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
    share = percent(seen.detectable_fraction)
    return (
        f"{text}Hidden adversarial examples on more than {share} of the "
        f"{plural(seen.samples, 'image')} examined would have been seen with "
        f"95{NBSP}% confidence, "
        "if they are as easy to find as those of the planted mask. What none of these attacks "
        "finds, no count of images rules out."
    )


def _challenge(one: ChallengeCount, hidden: int) -> str:
    how = "queries" if one.kind == "queries" else "steps of the repaired gradient"
    return (
        f"{one.images:,} by {one.points:,} {how}, which found {one.control_found:,} of the "
        f"{plural(hidden, 'example')} that the planted mask hid"
    )
