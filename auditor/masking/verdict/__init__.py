"""The masking verdict: can the robust accuracy be believed?

It rests on hidden adversarial examples: verified inputs that the attacks which follow the model's
own gradient missed and other attacks found. Symptoms say why, and alone suffice for a suspicion
only where two families of them agree or one is extreme, and only while images withstand. That
nothing was found counts only where a mask planted on purpose was, and where enough of what
withstood was attacked without trust in the gradient.

More evidence of masking, or less of what finding nothing rests on, never makes the verdict milder:
none, possible, inconclusive, suspected, confirmed.
"""

from __future__ import annotations

from auditor.masking.verdict.facts import LEAST_IMAGES, Facts, FoundBy, Gap
from auditor.masking.verdict.sentences import (
    hidden_reasons,
    next_steps,
    nothing_found,
    plain_reason,
    summary,
    too_little,
)
from auditor.protocols.check import Family, Symptom
from auditor.results import Comparison, Hidden, Masking, MaskingKind, MaskingVerdict

__all__ = ["LEAST_IMAGES", "Facts", "FoundBy", "guesses", "judge_masking"]

#: Hidden examples prove masking once so large a share of the images is hidden for certain. What
#: honest models show against AutoAttack is 0.13 points and less; gradient attacks are shorter here.
_PROVEN = 0.02
#: The same where only the cross-entropy's gradient fails: of honest robust models' images a better
#: objective breaks 8 to 11 % that the cross-entropy missed. More than the first is proven or, with
#: less certainty, suspected; more than the second is possible.
_LOSS, _POSSIBLE_LOSS = 0.10, 0.06
#: What chance explains at that length, for certain; up to it, hidden examples say nothing.
_NOISE = 0.0013
#: A sign that a second family of symptoms has to confirm.
_SOME = 0.005


def judge_masking(facts: Facts) -> Masking:
    """The verdict with everything that supports it."""
    strong, loss, plain = facts.gaps
    undecidable = _undecidable(facts)
    lacking = undecidable or _unproven(facts)
    shown, signs = ("none", []) if undecidable else _shown(facts, strong, loss, plain)
    verdict, reasons = shown, signs
    if lacking and shown in ("none", "possible"):
        verdict, reasons = "inconclusive", [*lacking, *signs]
    elif shown == "none":
        reasons = nothing_found(facts)
    # What the verdict speaks of: the network's gradient, the cross-entropy's alone, or PGD's way.
    gap, before = strong, facts.all_by_gradient
    if strong.lower <= _PROVEN and loss.likely > _POSSIBLE_LOSS:
        gap, before = loss, facts.all_by_cross_entropy
    elif strong.lower <= _PROVEN and plain.likely > _LOSS:
        gap, before = plain, facts.all_by_plain
    told = verdict in ("possible", "suspected", "confirmed")
    kind = _kind(facts, gap) if told else None
    culprit = _culprit(facts, gap) if told else None
    return Masking(
        verdict=verdict,
        summary=summary(facts, verdict, gap, culprit, reasons),
        kind=kind,
        culprit=culprit,
        gradient_attack_accuracy=_fraction(facts.correct - before, facts.total),
        corrected_accuracy=_fraction(facts.correct - facts.all_by_any, facts.total),
        hidden=Hidden(gap.found, gap.total, gap.fraction, gap.lower),
        power=facts.power,
        evidence=tuple(dict.fromkeys(facts.codes)),
        reference=gap.reference,
        reasons=tuple(reasons),
        next_steps=next_steps(facts, verdict, gap, kind, culprit),
        comparison=Comparison(
            both=facts.by_gradient + facts.by_others - facts.by_any,
            only_gradient=facts.by_any - facts.by_others,
            only_others=facts.by_any - facts.by_gradient,
            neither=facts.survivors,
        ),
        control=facts.control,
        shown=shown,
        lacking=tuple(lacking),
    )


def _shown(facts: Facts, strong: Gap, loss: Gap, plain: Gap) -> tuple[MaskingVerdict, list[str]]:
    """What was shown, whatever is missing, and by what; no sentences where that is nothing."""
    if strong.lower > _PROVEN or loss.lower > _LOSS:
        return "confirmed", hidden_reasons(strong, loss)
    if reasons := _suspicious(facts, strong, loss):
        return "suspected", reasons
    if plain.likely > _LOSS:
        return "suspected", [plain_reason(plain)]
    if signs := _odd(facts, strong, loss):
        return "possible", signs
    return "none", []


def _undecidable(facts: Facts) -> list[str]:
    if facts.correct and not facts.images:
        return ["No attack ended, so that there is nothing to judge."]
    if facts.images < LEAST_IMAGES:
        return [
            f"Only {facts.images} correctly classified images were looked at; the verdict needs "
            f"{LEAST_IMAGES}."
        ]
    if guesses(facts.correct / facts.total, facts.classes):
        return ["The clean accuracy is less than twice what guessing reaches."]
    return []


def guesses(accuracy: float, classes: int) -> bool:
    """Whether a model knows so little that its gradient decides nothing."""
    return accuracy < 2 / classes and classes > 3


def _unproven(facts: Facts) -> list[str]:
    """Why that nothing was found, or little, says nothing yet; not where next to no image is left.

    Where more images withstood than honest models lose to a better loss, the attacks on them have
    to have been such that at least hidden examples on all of them would have been seen.
    """
    if not facts.masking_pays:
        return []
    reasons = [facts.shortened] if facts.shortened else []
    reasons += facts.missing
    if facts.control is None:
        reasons.append(
            "No mask was planted, so that nothing shows whether these checks would find one."
            if facts.by_any
            else "No image fell, so that a planted mask would have had nothing to hide: whether "
            "these checks would find one is not known."
        )
    elif not facts.control.detected:
        reasons.append(f"The planted mask was not found: {facts.control.sentence}")
    blind = facts.withstood > _LOSS * facts.images and facts.blind
    if facts.control and facts.control.detected and (blind or not facts.challenged):
        reasons.append(too_little(facts))
    return reasons


def _of(facts: Facts, *families: str) -> list[Symptom]:
    return [symptom for symptom in facts.symptoms if symptom.family in families]


def _suspicious(facts: Facts, strong: Gap, loss: Gap) -> list[str]:
    if loss.likely > _LOSS:
        return hidden_reasons(strong, loss)
    gradient, unbounded = _of(facts, "gradient"), _of(facts, "unbounded")
    # Statistics of the gradient, or an operation that stops it: either explains what was hidden.
    causes = [*gradient, *(one for one in _of(facts, "contract", "comparison") if one.culprit)]
    if causes and (strong.lower > _SOME or loss.likely > _POSSIBLE_LOSS):
        return [*hidden_reasons(strong, loss), *(f"{symptom.title}." for symptom in causes)]
    if not facts.masking_pays:
        return []
    extreme = [symptom for symptom in (*gradient, *unbounded) if symptom.strong]
    if extreme:
        return [f"{symptom.title}." for symptom in extreme]
    support = [*unbounded, *_of(facts, "binarization")]
    if gradient and support:
        return [f"{symptom.title}." for symptom in (*gradient, *support)]
    return []


def _odd(facts: Facts, strong: Gap, loss: Gap) -> list[str]:
    reasons = []
    if strong.lower > _NOISE or loss.likely > _POSSIBLE_LOSS:
        reasons += hidden_reasons(strong, loss)
    if facts.masking_pays:
        reasons += [f"{symptom.title}." for symptom in facts.symptoms]
    return reasons


def _kind(facts: Facts, gap: Gap) -> MaskingKind:
    """What the symptoms say, those first that found hidden examples.

    Where other gradients of the model work, the loss is at fault, or what the comparison with other
    losses showed: an operation that costs the cross-entropy its gradient, or where it starts.
    """
    if gap.reference == "cross-entropy":
        compared = _of(facts, "comparison")
        to_blame = [symptom for symptom in compared if symptom.culprit] or compared
        return to_blame[0].kind or "other" if to_blame else "loss-level"
    kinds: list[MaskingKind] = [
        symptom.kind
        for family in ("comparison", "contract", "gradient", "unbounded", "binarization")
        for symptom in _of(facts, family)
        if symptom.kind and symptom.kind != "loss-level"
    ]
    return kinds[0] if kinds else "other"


def _culprit(facts: Facts, gap: Gap) -> str | None:
    families: tuple[Family, ...] = ("comparison", "contract", "gradient")
    if gap.reference == "cross-entropy":
        families = ("comparison",)
    found = [s.culprit for family in families for s in _of(facts, family) if s.culprit]
    return found[0] if found else None


def _fraction(count: int, total: int) -> float | None:
    return count / total if total else None
