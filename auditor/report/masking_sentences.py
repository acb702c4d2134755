"""What is said of a masking verdict: whether to believe it, and what it is able to rule out."""

from __future__ import annotations

from auditor.language import _
from auditor.report.wording import (
    MASKING_MEANING,
    clauses,
    fairness,
    percent,
    plural,
    prose,
    sentence,
    threat_text,
    unfinished,
)
from auditor.results import ChallengeCount, Masking


def doubtful(masking: Masking) -> bool:
    """Whether the robust accuracy of the gradient attacks is not to be believed."""
    return masking.verdict in ("suspected", "confirmed")


def believed(masking: Masking) -> str:
    """The masking verdict in a sentence or two, as far as it can honestly be said."""
    if masking.verdict == "inconclusive":
        why = masking.summary or prose(sentence(reason) for reason in masking.reasons)
        return prose([MASKING_MEANING["inconclusive"], *([sentence(why)] if why else [])])
    return masking.summary or MASKING_MEANING[masking.verdict]


def followers(masking: Masking) -> str:
    """The attacks that the verdict compares with all the others, in the plural."""
    if masking.reference == "cross-entropy":
        return _("attacks on the cross-entropy")
    if masking.reference == "plain":
        return _("plain attacks such as PGD")
    return _("gradient attacks")


def before(masking: Masking) -> str:
    """What the number before correction is called."""
    return unfinished(sentence(_("{attacks} alone").format(attacks=followers(masking))))


def after(masking: Masking) -> str:
    """What the number after correction is called; nothing is corrected where nothing was found."""
    if not doubtful(masking):
        return _("Robust accuracy, all attacks")
    if masking.corrected_accuracy == masking.gradient_attack_accuracy:
        return _("Robust accuracy, in doubt")
    return _("Corrected robust accuracy")


def remark(masking: Masking) -> str:
    """What the verdict means in general, where it is not said yet; and what it does not say."""
    meaning = MASKING_MEANING[masking.verdict]
    proved = masking.verdict == "confirmed" and masking.hidden  # then the numbers say it
    parts = [] if proved or meaning in believed(masking) else [meaning]
    if doubtful(masking):
        parts.append(fairness())
    return prose(parts)


def correction(masking: Masking) -> str:
    """What the corrected accuracy corrects; may be empty."""
    parts = [threat_text(masking)]
    if masking.gradient_attack_accuracy is not None:
        number = percent(masking.gradient_attack_accuracy)
        parts.append(_("{what}: {number}").format(what=before(masking).lower(), number=number))
    return clauses(part for part in parts if part)


def ruled_out(masking: Masking) -> str:
    """What finding nothing is worth, in the counts that this follows from; empty if not known."""
    seen = masking.power
    if seen is None or seen.survivors is None or doubtful(masking):
        return ""
    if not seen.survivors:
        return _("Every image examined fell, so that nothing was left for masking to hide.")
    survivors = plural(seen.survivors, "image")
    if not seen.challenges and seen.control_hidden:
        return _(
            "Nothing: none of the {images} that withstood was searched without the model's own "
            "gradient, on the model itself and as long as in the control with the planted mask."
        ).format(images=survivors)
    if not seen.challenges:
        return _(
            "Nothing: none of the {images} that withstood counts as attacked without trust in the "
            "gradient, for no planted mask shows what such an attack finds."
        ).format(images=survivors)
    searched = _(
        "{challenged} of the {images} that withstood were attacked on the model itself without "
        "trust in its gradient: {ways}."
    ).format(
        challenged=f"{seen.challenged:,}",
        images=survivors,
        ways=clauses(_challenge(one, seen.control_hidden) for one in seen.challenges),
    )
    if seen.detectable_fraction * seen.samples > seen.survivors - 0.5:
        nothing = _(
            "That rules out nothing: hidden examples on all of those that withstood could have "
            "been missed."
        )
        return prose((searched, nothing))
    seen_ = _(
        "Hidden adversarial examples on more than {share} of the {images} examined would have "
        "been seen with 95\N{NO-BREAK SPACE}% confidence, if they are as easy to find as those of "
        "the planted mask. What none of these attacks finds, no count of images rules out."
    ).format(share=percent(seen.detectable_fraction), images=plural(seen.samples, "image"))
    return prose((searched, seen_))


def _challenge(one: ChallengeCount, hidden: int) -> str:
    queries = _(
        "{images} by {points} queries, which found {found} of the {examples} that the planted mask "
        "hid"
    )
    repaired = _(
        "{images} by {points} steps of the repaired gradient, which found {found} of the "
        "{examples} that the planted mask hid"
    )
    return (queries if one.kind == "queries" else repaired).format(
        images=f"{one.images:,}",
        points=f"{one.points:,}",
        found=f"{one.control_found:,}",
        examples=plural(hidden, "example"),
    )
