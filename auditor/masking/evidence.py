"""From the checks of a model to its masking verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.cells.audited import Audited, CheckOutcome
from auditor.cells.cell import ModelUnderAudit
from auditor.cells.columns import AttackOutcome, Key
from auditor.cells.gallery import Pick, picture
from auditor.cells.plan import cut
from auditor.masking.challenge import challenges, shortened
from auditor.masking.verdict import Facts, FoundBy, judge_masking
from auditor.protocols.attack import GRADIENT
from auditor.results import AttemptSummary, GalleryItem, Masking, PlantedControl, Reference
from auditor.subject.samples import Samples

#: Hidden adversarial examples that the report shows.
_EXAMPLES = 4
#: What an attack of fixed steps has to take to be told from a first try.
_MANY_STEPS = 20


@dataclass(frozen=True)
class Broken:
    """What broke the images of a model under the threat of its masking verdict.

    Where no attack of a kind was run, what the next kind broke stands in its place. Arrays have a
    row per sample, (N,). `sources` are attacks and checks with what they broke.
    """

    by_cross_entropy: NDArray[np.bool_]
    by_gradient: NDArray[np.bool_]
    by_others: NDArray[np.bool_]
    #: None where no such attack was run.
    by_plain: NDArray[np.bool_] | None
    #: (N,) int64, points that the longest search by scores alone, and the longest ascent of the
    #: repaired gradient, looked at.
    queries: NDArray[np.int64]
    repaired: NDArray[np.int64]
    sources: tuple[tuple[Key, AttackOutcome], ...]

    @property
    def by_any(self) -> NDArray[np.bool_]:
        """By whatever."""
        return self.by_gradient | self.by_others


def masking(audited: Audited, model: ModelUnderAudit) -> Masking:
    """The verdict on one model."""
    samples, checks = audited.samples, audited.checks_of(model)
    if not checks:
        return Masking("inconclusive", "no masking checks ran")
    threat, correct = audited.config.threats[0], model.preflight.correct
    epsilon = threat.epsilons[-1]
    broken, missing = _compared(audited, model)
    looked_at = _looked_at(checks, correct, samples)
    verdict = judge_masking(_facts(audited, model, broken, looked_at, missing))
    # Checks know images by the keys of their random numbers; readers by their places in the set.
    place = dict(zip(samples.keys.tolist(), samples.index.tolist(), strict=True))
    told = verdict.verdict in ("possible", "suspected", "confirmed")
    reference = verdict.reference if told else None
    shown = _hidden(broken)[reference] if reference else np.zeros_like(correct)
    return replace(
        verdict,
        norm=threat.norm,
        epsilon_text=epsilon.text,
        directions=tuple(
            replace(curve, image=place.get(curve.image, curve.image))
            for outcome in checks
            if outcome.report
            for curve in outcome.report.directions
        ),
        examples=tuple(
            _examples(samples, model, threat.norm, epsilon.text, shown & looked_at, broken)
        ),
    )


def _compared(audited: Audited, model: ModelUnderAudit) -> tuple[Broken, list[str]]:
    """What was broken by whom, as far as it can be compared, and what is missing for a verdict."""
    broken, missing = _broken(audited, model), list(_missing(audited.checks_of(model)))
    if audited.config.threats[0].norm != "linf":
        broken = replace(broken, by_plain=None)
    trusted, failure = _trusted(audited, model), model.preflight.gradient_failure
    if (model.preflight.has_gradient or failure) and not trusted:
        # Then nothing was compared with the gradient, and it is not proved that there is none.
        broken = replace(broken, by_gradient=broken.by_any)
        missing.append("No attack that follows the model's gradient was run.")
        missing += [f"Its gradient could not be computed: {failure}."] if failure else []
    if "cross-entropy" not in trusted:
        broken = replace(broken, by_cross_entropy=broken.by_gradient)
    return broken, missing


def _facts(
    audited: Audited,
    model: ModelUnderAudit,
    broken: Broken,
    looked_at: NDArray[np.bool_],
    missing: list[str],
) -> Facts:
    """The counts that the verdict is drawn from; those without `all_` are of images looked at."""
    checks, plain = audited.checks_of(model), broken.by_plain
    control, random = _control(checks), model.victim.draws > 1
    symptoms = [
        (symptom.fact or outcome.result.label, symptom)
        for outcome in checks
        for symptom in (outcome.report.symptoms if outcome.report else ())
    ]

    def count(rows: NDArray[np.bool_]) -> int:
        return int((rows & looked_at).sum())

    return Facts(
        total=len(audited.samples),
        correct=int(model.preflight.correct.sum()),
        classes=model.preflight.classes,
        images=int(looked_at.sum()),
        by_cross_entropy=count(broken.by_cross_entropy),
        by_gradient=count(broken.by_gradient),
        by_any=count(broken.by_any),
        by_others=count(broken.by_others),
        by_plain=None if plain is None else count(plain),
        all_by_any=int(broken.by_any.sum()),
        all_by_gradient=int(broken.by_gradient.sum()),
        all_by_cross_entropy=int(broken.by_cross_entropy.sum()),
        all_by_plain=0 if plain is None else int(plain.sum()),
        symptoms=tuple(symptom for _, symptom in symptoms),
        codes=tuple(code for code, _ in symptoms),
        found_by={
            reference: found
            for reference, rows in _hidden(broken).items()
            if (found := _found_by(rows & looked_at, broken, checks))
        },
        challenges=challenges(broken.queries, broken.repaired, looked_at & ~broken.by_any, control),
        control=control,
        shortened=shortened(audited.config, audited.registry, random=random),
        missing=tuple(missing),
    )


def _hidden(broken: Broken) -> dict[Reference, NDArray[np.bool_]]:
    """(N,) images that each reference missed and something broke."""
    missed: dict[Reference, NDArray[np.bool_]] = {
        "gradient": ~broken.by_gradient,
        "cross-entropy": ~broken.by_cross_entropy,
    }
    if broken.by_plain is not None:
        missed["plain"] = ~broken.by_plain
    return {reference: broken.by_any & rows for reference, rows in missed.items()}


def _broken(audited: Audited, model: ModelUnderAudit) -> Broken:
    threat, images = audited.config.threats[0], len(audited.samples)
    steps = {plan.config.label: plan.config.parameters.get("steps") for plan in audited.attacks}
    none, never = np.zeros(images, bool), np.zeros(images, np.int64)
    found = Broken(none, none.copy(), none.copy(), None, never, never.copy(), ())
    sources, plain = [], []
    for key, outcome in audited.outcomes.under(
        model.victim.name, threat.norm, threat.epsilons[-1].value
    ):
        sources.append((key, outcome))
        fell = audited.fell(key, outcome)
        found.by_cross_entropy[fell.to_cross_entropy] = True
        found.by_gradient[fell.to_gradient] = True
        found.by_others[fell.to_others] = True
        np.maximum(found.queries, outcome.queries, out=found.queries)
        np.maximum(found.repaired, outcome.repaired, out=found.repaired)
        if key.kind == "attack" and _is_plain(outcome, steps.get(key.label)):
            plain.append(outcome.broken)
    by_plain = np.any(plain, axis=0) if plain else None
    return replace(found, sources=tuple(sources), by_plain=by_plain)


def _trusted(audited: Audited, model: ModelUnderAudit) -> set[str]:
    """What the attacks that were run on the model itself trusted, beside those that trust nothing.

    A composite attack trusts the gradient, and the cross-entropy's where one of its stages does.
    """
    threat = audited.config.threats[0]
    epsilon = threat.epsilons[-1].value
    found = {
        attempt.trust
        for check in audited.checks_of(model)
        for attempt in check.result.attempts
        if attempt.on == "model" and attempt.epsilon == epsilon
    }
    for plan in audited.attacks:
        attack, spec = plan.config, plan.spec
        outcome = audited.outcomes.get(model.victim.name, threat.norm, epsilon, attack.label)
        follows = spec.needs == GRADIENT or spec.kind == "stages"
        if outcome is None or not outcome.metas or attack.surrogate or not follows:
            continue
        found.add("gradient")
        objectives = {meta.objective for meta in outcome.metas}
        objectives |= {stage.objective for meta in outcome.metas for stage in meta.stages}
        found |= objectives & {"cross-entropy"}
    return found - {"nothing"}


def _is_plain(outcome: AttackOutcome, steps: Any) -> bool:
    """Whether an attack took many fixed steps on the cross-entropy of the model as it is."""
    if not outcome.done or not isinstance(steps, int) or steps < _MANY_STEPS:
        return False
    alone = all(meta.objective == "cross-entropy" and not meta.stages for meta in outcome.metas)
    return alone and not (outcome.trust > 0).any()


def _looked_at(
    checks: list[CheckOutcome], correct: NDArray[np.bool_], samples: Samples
) -> NDArray[np.bool_]:
    """(N,) the first block's, once a check was begun: one that crashed takes no image away."""
    looked = np.zeros_like(correct)
    if any(check.result.status != "skipped" for check in checks):
        first = cut(len(samples), samples.shape)[0]
        looked[first] = correct[first]
    return looked


def _found_by(
    hidden: NDArray[np.bool_], broken: Broken, checks: list[CheckOutcome]
) -> FoundBy | None:
    """How most of the hidden examples were found, in words; None where there are none."""
    counts = {key: int((outcome.broken & hidden).sum()) for key, outcome in broken.sources}
    best = max(counts, key=lambda key: (counts[key], key.shown), default=None)
    if best is None or not counts[best]:
        return None
    if best.kind == "attack":
        return FoundBy(f"the attack {best.label}", counts[best])
    (check,) = (check for check in checks if check.result.label == best.label)
    counted = [attempt for attempt in check.result.attempts if attempt.on == "model"]
    most = max(counted, key=lambda attempt: attempt.broken)
    return FoundBy(_worded(most), counts[best])


def _worded(attempt: AttemptSummary) -> str:
    return (
        "the same attack on the repaired model" if "repaired" in attempt.surrogate else attempt.name
    )


def _control(checks: list[CheckOutcome]) -> PlantedControl | None:
    found = [check.report.control for check in checks if check.report and check.report.control]
    return found[-1] if found else None


def _missing(checks: list[CheckOutcome]) -> Iterator[str]:
    for check in checks:
        if check.result.status in ("error", "skipped"):
            what = "crashed" if check.result.status == "error" else "has no result"
            yield f"The check {check.result.label} {what}."


def _examples(
    samples: Samples,
    model: ModelUnderAudit,
    norm: str,
    epsilon: str,
    hidden: NDArray[np.bool_],
    broken: Broken,
) -> Iterator[GalleryItem]:
    """Pictures of hidden adversarial examples, by the attack or check that found each."""
    for position in np.flatnonzero(hidden)[:_EXAMPLES].tolist():
        key, outcome = next(source for source in broken.sources if source[1].broken[position])
        yield picture(Pick(position, norm, epsilon, key.shown, outcome), samples, model)
