"""Two audits side by side."""

from __future__ import annotations

from collections.abc import Mapping

from auditor.comparison import alike
from auditor.comparison.changes import LEVEL, Paired, judged, unpaired
from auditor.comparison.images import seen
from auditor.comparison.pairs import (
    NotComparableError,
    Pair,
    model_pairs,
    threat_pairs,
    unmatched,
)
from auditor.comparison.result import (
    SCHEMA,
    Change,
    Comparison,
    Differences,
    MaskingChange,
    ModelChange,
    Side,
    ThreatChange,
)
from auditor.comparison.sentences import cautions, ruling
from auditor.comparison.source import Source
from auditor.results import Accuracy, ModelResult, ThreatResult


def compare(
    a: Source, b: Source, limit: float | None = None, asked: Mapping[str, str] | None = None
) -> Comparison:
    """What became of A's models in B.

    Args:
        limit: a drop of an accuracy beyond it and beyond chance is told as one that fails.
        asked: names of A's models, and of B's that each is held against.

    Raises:
        NotComparableError: nothing can be compared.
        UsageError: there is no model of a name that was asked for.
        LoadError: samples.parquet is not of its audit.
    """
    pairs = model_pairs(a.result, b.result, asked or {})
    paired = _paired(a, b)
    same = paired is not None or a.result.provenance.data.sha256 == b.result.provenance.data.sha256
    models = judged(tuple(_model(pair, paired) for pair in pairs), limit if same else None)
    if not any(model.threats for model in models):
        raise NotComparableError(
            "The two audits cannot be compared: no threat is in both.",
            where=f"A: {_threats(pairs, 0)}; B: {_threats(pairs, 1)}",
            expected="a norm and an epsilon under which both were audited",
            remedy="audit one of them again under the threats of the other",
        )
    found = Comparison(
        schema=SCHEMA,
        conclusion="no-limit",
        exit_status=0,
        reasons=(),
        cautions=(),
        limit=limit,
        level=LEVEL,
        a=_side(a),
        b=_side(b),
        images=None if paired is None else paired.images,
        models=models,
        unmatched=unmatched(a.result, b.result, pairs),
        differences=_differences(a, b, pairs),
    )
    return ruling(cautions(found, a.result, b.result))


def _paired(a: Source, b: Source) -> Paired | None:
    one, other = seen(a), seen(b)
    if one is None or other is None:
        return None
    paired = Paired.of(one, other)
    if not paired.images.common:
        raise NotComparableError(
            "The two audits cannot be compared: they have no image in common.",
            where=f"A: {a.result.provenance.data.source}; B: {b.result.provenance.data.source}",
            expected="images of the same content and label; their order does not matter",
            remedy="audit both models on the same images: one data set, samples, draw and seed",
        )
    return paired


def _model(pair: Pair, paired: Paired | None) -> ModelChange:
    a, b, matched = pair
    clean = None if paired is None else paired.clean(a, b)
    return ModelChange(
        a=a.name,
        b=b.name,
        matched=matched,
        same=a.fingerprint == b.fingerprint,
        clean=clean or unpaired(a.clean, b.clean),
        threats=tuple(_threat((a, b), threats, paired) for threats in threat_pairs(a, b)),
        masking=MaskingChange(a.masking.verdict, b.masking.verdict),
        checks=alike.checks(a, b),
        findings=alike.findings(a, b),
    )


def _threat(
    models: tuple[ModelResult, ModelResult],
    threats: tuple[ThreatResult, ThreatResult],
    paired: Paired | None,
) -> ThreatChange:
    a, b = threats
    battery = alike.attacks(a, b)
    robust = shared = None
    if a.robust is not None and b.robust is not None:
        robust = _robust(models, threats, a.robust, b.robust, paired)
        if paired is not None and battery.shared and not battery.alike:
            shared = paired.robust(models, threats, battery.shared.__contains__)
    return ThreatChange(a.norm, a.epsilon, a.epsilon_text, battery, robust, shared)


def _robust(
    models: tuple[ModelResult, ModelResult],
    threats: tuple[ThreatResult, ThreatResult],
    a: Accuracy,
    b: Accuracy,
    paired: Paired | None,
) -> Change:
    if paired is None:
        return unpaired(a, b)
    return paired.robust(models, threats, lambda _: True)


def _side(source: Source) -> Side:
    result = source.result
    return Side(
        path=source.path,
        title=result.title,
        started=result.provenance.started,
        sha256=source.sha256,
        profile=result.profile,
        status=result.status,
        verdict=result.verdict,
        images=result.provenance.data.audited,
        without_samples=source.lacking,
    )


def _differences(a: Source, b: Source, pairs: list[Pair]) -> Differences:
    configuration = None
    if a.configuration is not None and b.configuration is not None:
        names = [(one.name, other.name) for one, other, _ in pairs]
        only = any(how == "asked" for *_, how in pairs)
        configuration = alike.configuration(a.configuration, b.configuration, names, only=only)
    return Differences(
        configuration,
        alike.data(a.result, b.result),
        alike.versions(a.result.provenance, b.result.provenance),
    )


def _threats(pairs: list[Pair], side: int) -> str:
    models = [pair[:2][side] for pair in pairs]
    return ", ".join(
        dict.fromkeys(f"{one.norm} {one.epsilon_text}" for model in models for one in model.threats)
    )
