"""The masking verdict: can the robust accuracy be believed?

It rests on hidden adversarial examples: verified inputs that the attacks which follow the model's
own gradient missed and other attacks found. Symptoms say why, and alone suffice for a suspicion
only where two families of them agree or one is extreme, and only while images withstand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.checks import Symptom
from auditor.results import (
    Comparison,
    Hidden,
    Masking,
    MaskingKind,
    MaskingVerdict,
    PlantedControl,
    Power,
    Reference,
)
from auditor.stats import clopper_pearson

#: Fewer correctly classified images than this say nothing either way.
LEAST_IMAGES = 50
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
#: Levels of the two-sided intervals whose lower ends count: what is proven, what is likely.
_PROOF, _LIKELY = 0.99, 0.80
#: With fewer survivors there is nothing to mask.
_SURVIVORS = 0.02


@dataclass(frozen=True)
class Facts:
    """What is known of one model, at the largest epsilon of the first threat.

    Counts are of the images that the model classifies correctly and the checks looked at, unless
    they say otherwise.
    """

    #: All audited images, and those of them that are classified correctly.
    total: int
    correct: int
    classes: int
    #: What the checks looked at.
    images: int
    #: Broken by attacks that follow the cross-entropy's gradient, any gradient of the model, or
    #: whatever; each holds the one before it.
    by_cross_entropy: int
    by_gradient: int
    by_any: int
    #: By the audit's own attacks of many fixed steps on the cross-entropy, such as PGD; None where
    #: there was none, or under another norm than l-infinity, where such attacks are weak anyway.
    by_plain: int | None
    #: Broken by attacks that do not trust the gradient, whatever else broke them.
    by_others: int
    #: Broken by any attack, and by each of the two gradient references, of all audited images.
    all_by_any: int
    all_by_gradient: int
    all_by_cross_entropy: int
    all_by_plain: int
    symptoms: tuple[Symptom, ...]
    #: Codes of the findings, in the order of the symptoms.
    codes: tuple[str, ...]
    #: How most of the hidden examples were found, in words; empty where there are none.
    found_by: str
    #: Whether an attack that distrusts the gradient was run on the survivors.
    challenged: bool
    control: PlantedControl | None
    #: Why something is missing, one sentence each.
    missing: tuple[str, ...]


@dataclass(frozen=True)
class _Gap:
    """How many images only the others broke, and what is certain of their share."""

    reference: Reference
    found: int
    total: int

    @property
    def fraction(self) -> float:
        return self.found / self.total if self.total else 0.0

    @property
    def lower(self) -> float:
        return clopper_pearson(self.found, self.total, _PROOF)[0]

    @property
    def likely(self) -> float:
        return clopper_pearson(self.found, self.total, _LIKELY)[0]


def judge_masking(facts: Facts) -> Masking:
    """The verdict with everything that supports it."""
    strong = _Gap("gradient", facts.by_any - facts.by_gradient, facts.images)
    loss = _Gap("cross-entropy", facts.by_any - facts.by_cross_entropy, facts.images)
    missed = 0 if facts.by_plain is None else facts.by_any - facts.by_plain
    plain = _Gap("plain", missed, facts.images)
    verdict, reasons = _decide(facts, strong, loss, plain)
    # What the verdict speaks of: the network's gradient, the cross-entropy's alone, or PGD's way.
    gap, before = strong, facts.all_by_gradient
    if strong.lower <= _PROVEN and loss.likely > _POSSIBLE_LOSS:
        gap, before = loss, facts.all_by_cross_entropy
    elif strong.lower <= _PROVEN and plain.likely > _LOSS:
        gap, before = plain, facts.all_by_plain
    told = verdict in ("possible", "suspected", "confirmed")
    kind = _kind(facts, gap) if told else None
    culprit = _culprit(facts) if told else None
    return Masking(
        verdict=verdict,
        summary=_summary(facts, verdict, gap, kind, culprit, reasons),
        kind=kind,
        culprit=culprit,
        gradient_attack_accuracy=_fraction(facts.correct - before, facts.total),
        corrected_accuracy=_fraction(facts.correct - facts.all_by_any, facts.total),
        hidden=Hidden(gap.found, gap.total, gap.fraction, gap.lower),
        power=Power(facts.images, detectable(facts.images)) if facts.images else None,
        evidence=tuple(dict.fromkeys(facts.codes)),
        reference=gap.reference,
        reasons=tuple(reasons),
        next_steps=_next_steps(facts, verdict, gap),
        comparison=Comparison(
            both=facts.by_gradient + facts.by_others - facts.by_any,
            only_gradient=facts.by_any - facts.by_others,
            only_others=facts.by_any - facts.by_gradient,
            neither=facts.images - facts.by_any,
        ),
        control=facts.control,
    )


def detectable(images: int) -> float:
    """The share of hidden examples that none among `images` rules out with 95 % confidence."""
    return float(1 - 0.05 ** (1 / images))


def _decide(
    facts: Facts, strong: _Gap, loss: _Gap, plain: _Gap
) -> tuple[MaskingVerdict, list[str]]:
    """The verdict, and what led to it."""
    if reasons := list(_undecidable(facts)):
        return "inconclusive", reasons
    if strong.lower > _PROVEN or loss.lower > _LOSS:
        return "confirmed", _hidden_reasons(strong, loss)
    survivors = facts.images - facts.by_any
    masking_pays = survivors > _SURVIVORS * facts.images
    if reasons := _suspicious(facts, strong, loss, masking_pays=masking_pays):
        return "suspected", reasons
    if plain.likely > _LOSS:
        return "suspected", [_plain_reason(plain)]
    if reasons := _odd(facts, strong, loss, masking_pays=masking_pays):
        return "possible", reasons
    if masking_pays and (reasons := list(_unproven(facts))):
        return "inconclusive", reasons
    return "none", _nothing_found(facts, survivors, masking_pays=masking_pays)


def _undecidable(facts: Facts) -> Sequence[str]:
    if facts.images < LEAST_IMAGES:
        return [
            f"Only {facts.images} correctly classified images were looked at; the verdict needs "
            f"{LEAST_IMAGES}."
        ]
    if facts.correct / facts.total < 2 / facts.classes and facts.classes > 3:
        return ["The clean accuracy is less than twice what guessing reaches."]
    return []


def _unproven(facts: Facts) -> list[str]:
    """Why nothing found is not yet "none", while images withstand."""
    reasons = list(facts.missing)
    if not facts.challenged:
        reasons.append(
            "No attack that distrusts the gradient was run on the images that withstood."
        )
    if facts.control is not None and not facts.control.detected:
        reasons.append(f"The planted mask was not found: {facts.control.sentence}")
    return reasons


def _hidden_reasons(strong: _Gap, loss: _Gap) -> list[str]:
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


def _plain_reason(plain: _Gap) -> str:
    return (
        f"{plain.found} of {plain.total} images withstood PGD and fell to another attack; at least "
        f"{plain.lower:.1%} for certain. Of honest robust models up to 11% do."
    )


def _of(facts: Facts, *families: str) -> list[Symptom]:
    return [symptom for symptom in facts.symptoms if symptom.family in families]


def _suspicious(facts: Facts, strong: _Gap, loss: _Gap, *, masking_pays: bool) -> list[str]:
    if loss.likely > _LOSS:
        return _hidden_reasons(strong, loss)
    gradient, unbounded = _of(facts, "gradient"), _of(facts, "unbounded")
    # Statistics of the gradient, or an operation that stops it: either explains what was hidden.
    causes = [*gradient, *(one for one in _of(facts, "contract", "comparison") if one.culprit)]
    if causes and (strong.lower > _SOME or loss.likely > _POSSIBLE_LOSS):
        return [*_hidden_reasons(strong, loss), *(f"{symptom.title}." for symptom in causes)]
    if not masking_pays:
        return []
    extreme = [symptom for symptom in (*gradient, *unbounded) if symptom.strong]
    if extreme:
        return [f"{symptom.title}." for symptom in extreme]
    support = [*unbounded, *_of(facts, "binarization")]
    if gradient and support:
        return [f"{symptom.title}." for symptom in (*gradient, *support)]
    return []


def _odd(facts: Facts, strong: _Gap, loss: _Gap, *, masking_pays: bool) -> list[str]:
    reasons = []
    if strong.lower > _NOISE or loss.likely > _POSSIBLE_LOSS:
        reasons += _hidden_reasons(strong, loss)
    if masking_pays:
        reasons += [f"{symptom.title}." for symptom in facts.symptoms]
    return reasons


def _nothing_found(facts: Facts, survivors: int, *, masking_pays: bool) -> list[str]:
    if not masking_pays:
        fell = f"all but {survivors} of {facts.images}" if survivors else f"all {facts.images}"
        return [f"Attacks broke {fell} images, so that a hidden gradient could hide nothing."]
    return [
        f"None of {facts.images} images fell only to attacks that distrust the gradient."
        if facts.by_any == facts.by_gradient
        else f"{facts.by_any - facts.by_gradient} of {facts.images} images fell only to attacks "
        "that distrust the gradient, no more than chance explains."
    ]


def _kind(facts: Facts, gap: _Gap) -> MaskingKind:
    """What the symptoms say, those first that found hidden examples."""
    if gap.reference == "cross-entropy":
        of_operations = [s.kind for s in _of(facts, "comparison") if s.culprit and s.kind]
        return of_operations[0] if of_operations else "loss-level"
    kinds: list[MaskingKind] = [
        symptom.kind
        for family in ("comparison", "contract", "gradient", "unbounded", "binarization")
        for symptom in _of(facts, family)
        if symptom.kind and symptom.kind != "loss-level"
    ]
    return kinds[0] if kinds else "other"


def _culprit(facts: Facts) -> str | None:
    families = ("comparison", "contract", "gradient")
    found = [s.culprit for family in families for s in _of(facts, family) if s.culprit]
    return found[0] if found else None


def _summary(
    facts: Facts,
    verdict: MaskingVerdict,
    gap: _Gap,
    kind: MaskingKind | None,
    culprit: str | None,
    reasons: list[str],
) -> str:
    if verdict == "inconclusive":
        return reasons[0]
    if verdict == "none":
        if facts.by_any == facts.images:
            return reasons[0]
        return (
            f"{reasons[0]} A share above {detectable(facts.images):.1%} would have been seen with "
            "95 % confidence."
        )
    if gap.found and verdict != "possible":
        followed, broke = {
            "plain": ("PGD", facts.by_plain or 0),
            "cross-entropy": ("the gradient of the cross-entropy", facts.by_cross_entropy),
            "gradient": ("the model's gradient", facts.by_gradient),
        }[gap.reference]
        resisted = gap.total - broke
        how = facts.found_by or "another attack"
        bypassed = culprit is not None and "repaired" in how
        if bypassed:
            how = f"the same attack once {culprit} is bypassed"
        sentence = f"{gap.found} of {resisted} images that resisted {followed} fall to {how}."
        return f"{sentence} It is lost at {culprit}." if culprit and not bypassed else sentence
    return reasons[0]


def _next_steps(facts: Facts, verdict: MaskingVerdict, gap: _Gap) -> tuple[str, ...]:
    steps = [symptom.remedy for symptom in facts.symptoms if verdict != "none"]
    if verdict in ("suspected", "confirmed"):
        steps.insert(
            0,
            "Report the corrected robust accuracy, not the one of the gradient attacks.",
        )
        if gap.reference == "plain":
            steps.insert(1, "Attack with step sizes that adapt and with restarts (`apgd`, "
                            "`cascade`): PGD is led astray.")  # fmt: skip
        if gap.reference == "cross-entropy":
            steps.insert(1, "Attack with a margin loss: the loss, not the network, hides the "
                            "gradient.")  # fmt: skip
    if verdict == "inconclusive" and facts.images < LEAST_IMAGES:
        steps.insert(0, f"Audit more images: at least {LEAST_IMAGES} classified correctly.")
    return tuple(dict.fromkeys(step[0].upper() + step[1:] for step in steps if step))


def _fraction(count: int, total: int) -> float | None:
    return count / total if total else None
