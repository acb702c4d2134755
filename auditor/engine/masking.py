"""From the checks of a model to its masking verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auditor.config import AuditConfig
from auditor.engine.battery import CheckOutcome
from auditor.engine.gallery import Pick, picture
from auditor.engine.outcome import TRUSTS
from auditor.engine.outcomes import AttackOutcome, Outcomes
from auditor.engine.runner import ModelUnderAudit
from auditor.results import AttemptSummary, GalleryItem, Masking, PlantedControl
from auditor.samples import Samples
from auditor.verdict import Facts, judge_masking

#: Hidden adversarial examples that the report shows.
_EXAMPLES = 4
#: What an attack of fixed steps has to take to be told from a first try.
_MANY_STEPS = 20
_OTHERS = TRUSTS.index("nothing")


def check_label(label: str) -> str:
    """The name of a check among the attacks, in samples.parquet and adversarial.safetensors."""
    return f"check {label}"


@dataclass(frozen=True)
class Broken:
    """What broke the images of a model under the threat of its masking verdict.

    Arrays have a row per sample, (N,). `sources` are attacks and checks with what they broke.
    """

    by_cross_entropy: NDArray[np.bool_]
    by_gradient: NDArray[np.bool_]
    by_others: NDArray[np.bool_]
    #: None where no such attack was run.
    by_plain: NDArray[np.bool_] | None
    sources: tuple[tuple[str, AttackOutcome], ...]

    @property
    def by_any(self) -> NDArray[np.bool_]:
        """By whatever."""
        return self.by_gradient | self.by_others


def masking(
    config: AuditConfig,
    samples: Samples,
    model: ModelUnderAudit,
    checks: list[CheckOutcome],
    outcomes: Outcomes,
) -> Masking:
    """The verdict on one model."""
    if not checks:
        return Masking("inconclusive", "no masking checks ran")
    threat = config.threats[0]
    epsilon = threat.epsilons[-1]
    name, correct = model.victim.name, model.preflight.correct
    steps = {attack.label: attack.parameters.get("steps") for attack in config.attacks}
    broken = _broken(outcomes, name, threat.norm, epsilon.value, checks, len(samples), steps)
    looked_at = _looked_at(checks, correct)
    symptoms = [
        (outcome.result.label, symptom)
        for outcome in checks
        for symptom in (outcome.report.symptoms if outcome.report else ())
    ]
    hidden = broken.by_any & ~broken.by_gradient
    if not hidden.any():
        hidden = broken.by_any & ~broken.by_cross_entropy
    plain = broken.by_plain if threat.norm == "linf" else None
    if not hidden.any() and plain is not None:
        hidden = broken.by_any & ~plain
    verdict = judge_masking(
        Facts(
            total=len(samples),
            correct=int(correct.sum()),
            classes=model.preflight.classes,
            images=int(looked_at.sum()),
            by_cross_entropy=int((broken.by_cross_entropy & looked_at).sum()),
            by_gradient=int((broken.by_gradient & looked_at).sum()),
            by_any=int((broken.by_any & looked_at).sum()),
            by_others=int((broken.by_others & looked_at).sum()),
            by_plain=None if plain is None else int((plain & looked_at).sum()),
            all_by_any=int(broken.by_any.sum()),
            all_by_gradient=int(broken.by_gradient.sum()),
            all_by_cross_entropy=int(broken.by_cross_entropy.sum()),
            all_by_plain=0 if plain is None else int(plain.sum()),
            symptoms=tuple(symptom for _, symptom in symptoms),
            codes=tuple(code for code, _ in symptoms),
            found_by=_found_by(hidden, broken, checks),
            challenged=_challenged(checks, epsilon.value),
            control=_control(checks),
            missing=tuple(_missing(checks)),
        )
    )
    told = verdict.verdict in ("possible", "suspected", "confirmed")
    return replace(
        verdict,
        norm=threat.norm,
        epsilon_text=epsilon.text,
        directions=tuple(
            curve for outcome in checks if outcome.report for curve in outcome.report.directions
        ),
        examples=tuple(
            _examples(samples, model, threat.norm, epsilon.text, hidden, broken) if told else ()
        ),
    )


def _broken(
    outcomes: Outcomes,
    model: str,
    norm: str,
    epsilon: float,
    checks: list[CheckOutcome],
    images: int,
    steps: dict[str, Any],
) -> Broken:
    found = Broken(np.zeros(images, bool), np.zeros(images, bool), np.zeros(images, bool), None, ())
    sources, plain = [], []
    for (name, of_norm, size, label), outcome in outcomes.items():
        if (name, of_norm, size) != (model, norm, epsilon):
            continue
        sources.append((label, outcome))
        found.by_cross_entropy[outcome.broken & (outcome.trust == 0)] = True
        found.by_gradient[outcome.broken & (outcome.trust < _OTHERS)] = True
        found.by_others[outcome.broken & (outcome.trust == _OTHERS)] = True
        if _is_plain(outcome, steps.get(label)):
            plain.append(outcome.broken)
    for check in checks:
        if check.record is not None:  # of an image that several attempts broke
            columns = {key: tensor.numpy() for key, tensor in check.record.columns.items()}
            where = columns["position"]
            found.by_cross_entropy[where] |= columns["fallen to cross-entropy"]
            found.by_gradient[where] |= columns["fallen to gradient"]
    by_plain = np.any(plain, axis=0) if plain else None
    return replace(found, sources=tuple(sources), by_plain=by_plain)


def _is_plain(outcome: AttackOutcome, steps: Any) -> bool:
    """Whether an attack took many fixed steps on the cross-entropy of the model as it is."""
    if not outcome.done or not isinstance(steps, int) or steps < _MANY_STEPS:
        return False
    alone = all(meta.objective == "cross-entropy" and not meta.stages for meta in outcome.metas)
    return alone and not (outcome.trust > 0).any()


def _looked_at(checks: list[CheckOutcome], correct: NDArray[np.bool_]) -> NDArray[np.bool_]:
    looked = np.zeros_like(correct)
    for check in checks:
        if check.record is not None:
            looked[check.record.columns["position"].numpy()] = True
    return looked


def _found_by(hidden: NDArray[np.bool_], broken: Broken, checks: list[CheckOutcome]) -> str:
    """How most of the hidden examples were found, in words."""
    counts = [(int((outcome.broken & hidden).sum()), label) for label, outcome in broken.sources]
    best, label = max(counts, default=(0, ""))
    if not best:
        return ""
    for check in checks:
        if check_label(check.result.label) == label and check.result.attempts:
            most = max(check.result.attempts, key=lambda attempt: attempt.broken)
            return _worded(most)
    return f"the attack {label}"


def _worded(attempt: AttemptSummary) -> str:
    return (
        "the same attack on the repaired model" if "repaired" in attempt.surrogate else attempt.name
    )


def _challenged(checks: list[CheckOutcome], epsilon: float) -> bool:
    return any(
        attempt.trust == "nothing" and attempt.images > 0 and attempt.epsilon == epsilon
        for check in checks
        for attempt in check.result.attempts
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
        label, outcome = next(source for source in broken.sources if source[1].broken[position])
        yield picture(Pick(position, norm, epsilon, label, outcome), samples, model)
