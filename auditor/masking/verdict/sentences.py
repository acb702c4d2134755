"""What the masking verdict says: every number in it is one of the facts."""

from __future__ import annotations

from auditor.masking.verdict.facts import LEAST_IMAGES, Facts, FoundBy, Gap
from auditor.results import MaskingKind, MaskingVerdict


def hidden_reasons(strong: Gap, loss: Gap) -> list[str]:
    """How many images fell to other attacks alone."""
    reasons = []
    if strong.found:
        reasons.append(
            f"{strong.found} of {strong.total} images withstood every attack that follows the "
            f"model's gradient and fell to another; at least {strong.lower:.1%} for certain."
        )
    if loss.found > strong.found:
        reasons.append(
            f"{loss.found} of {loss.total} images withstood the gradient of the cross-entropy and "
            f"fell to another attack; at least {loss.lower:.1%} for certain. Honest robust models "
            "lose up to 11% so."
        )
    return reasons


def plain_reason(plain: Gap) -> str:
    """Likewise where PGD alone failed."""
    return (
        f"{plain.found} of {plain.total} images withstood PGD and fell to another attack; at least "
        f"{plain.lower:.1%} for certain. Of honest robust models up to 11% do."
    )


def too_little(facts: Facts) -> str:
    """That too few survivors were attacked without trust in the gradient."""
    if not facts.survivors:
        return (
            f"All images fell, {facts.withstood} of them only to attacks that distrust the "
            "gradient: too few to tell masking from chance, and none is left to search."
        )
    if not facts.challenged:
        return (
            f"None of the {facts.survivors} images that withstood was searched without the model's "
            "own gradient, on the model itself and as long as in the control."
        )
    return (
        f"{facts.challenged} of the {facts.survivors} images that withstood were attacked without "
        "trust in the gradient, which is too little: hidden examples on all of them could have "
        "been missed."
    )


def nothing_found(facts: Facts) -> list[str]:
    """Why there is nothing."""
    if not facts.masking_pays:
        left, all_ = facts.survivors, facts.images
        fell = f"all but {left} of {all_}" if left else f"all {all_}"
        return [f"Attacks broke {fell} images, so that a hidden gradient could hide nothing."]
    found = facts.by_any - facts.by_gradient
    return [
        f"{found} of {facts.images} images fell only to attacks that distrust the gradient, no "
        "more than chance explains."
        if found
        else f"None of {facts.images} images fell only to attacks that distrust the gradient."
    ]


def summary(
    facts: Facts, verdict: MaskingVerdict, gap: Gap, culprit: str | None, reasons: list[str]
) -> str:
    """The verdict in a sentence or two."""
    if verdict == "none" and facts.masking_pays:
        share = "further share" if facts.by_any > facts.by_gradient else "share"
        return (
            f"{reasons[0]} A {share} above {facts.detectable_fraction:.1%} would have been seen "
            "with 95 % confidence."
        )
    if not gap.found or verdict in ("none", "possible", "inconclusive"):
        return reasons[0]
    followed = {
        "plain": "PGD",
        "cross-entropy": "the gradient of the cross-entropy",
        "gradient": "the model's gradient",
    }[gap.reference]
    resisted = gap.found + facts.survivors
    found = facts.found_by.get(gap.reference, FoundBy("another attack", gap.found))
    how, bypassed = found.words, culprit is not None and "repaired" in found.words
    if bypassed:
        how = f"the same attack once {culprit} is bypassed"
    if found.count < gap.found:
        how = f"other attacks, {found.count} of them to {how}"
    sentence = f"{gap.found} of {resisted} images that resisted {followed} fall to {how}."
    return f"{sentence} It is lost at {culprit}." if culprit and not bypassed else sentence


def next_steps(
    facts: Facts,
    verdict: MaskingVerdict,
    gap: Gap,
    kind: MaskingKind | None,
    culprit: str | None,
) -> tuple[str, ...]:
    """What to do, in order."""
    steps = [] if verdict == "none" else _remedies(facts, culprit)
    if verdict in ("suspected", "confirmed"):
        steps.insert(
            0,
            "Report the corrected robust accuracy, not the one of the gradient attacks.",
        )
        if gap.reference == "plain":
            steps.insert(1, "Attack with step sizes that adapt and with restarts (`apgd`, "
                            "`cascade`): PGD is led astray.")  # fmt: skip
        if kind == "loss-level":
            steps.insert(1, "Attack with a margin loss: the loss, not the network, hides the "
                            "gradient.")  # fmt: skip
    if verdict == "inconclusive":
        steps = [*_completions(facts), *steps]
    return tuple(dict.fromkeys(step[0].upper() + step[1:] for step in steps if step))


def _remedies(facts: Facts, culprit: str | None) -> list[str]:
    """What the checks advise; where an operation is to blame, not what they say of the loss."""
    return [
        symptom.remedy
        for symptom in facts.symptoms
        if not (culprit and symptom.kind == "loss-level")
    ]


def _completions(facts: Facts) -> list[str]:
    """What the audit lacks for a verdict."""
    steps = []
    if facts.images < LEAST_IMAGES:
        steps.append(f"Audit more images: at least {LEAST_IMAGES} classified correctly.")
    elif facts.shortened:
        steps.append(
            'Run all checks of the profile: leave [[check]] out, or write battery = "extend" above '
            "all tables, so that yours stand beside them."
        )
    elif not facts.survivors:
        steps.append("Audit more images: the share of hidden examples is uncertain.")
    elif facts.control is None and not facts.by_any:
        steps.append("Audit a larger epsilon as well, at which images fall.")
    return steps
