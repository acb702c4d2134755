"""Two finished audits, line by line: what was lost, what was won, and whether by chance."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from auditor.comparison.differences import attacks_differ, differences
from auditor.comparison.facts import (
    SCHEMA,
    Comparison,
    FindingChange,
    Line,
    Masking,
    ModelPair,
    Outcome,
    Paired,
    Side,
)
from auditor.comparison.images import Common, Images
from auditor.errors import AuditorError, ExitStatus
from auditor.maths.paired import drop_by_chance, holm, mcnemar
from auditor.reading import Run
from auditor.results import Accuracy, Finding, ModelResult, ThreatResult

#: Of the test of a drop, all lines of a comparison taken together.
LEVEL = 0.05
#: Images in both audits below which nothing is judged: on fewer, hardly any drop would be seen.
FEWEST = 50


def compare(a: Run, b: Run, limit: float | None = None) -> Comparison:
    """A, the earlier audit, beside B.

    Args:
        limit: the largest drop of a robust accuracy that is let pass, a fraction of the images
            that both audited; None lets every drop pass.
    """
    notes: list[str] = []
    images = {side: _images(run, side, notes) for side, run in (("A", a), ("B", b))}
    pairs = list(_pairs(a, b, notes))
    models = [
        _model(one, other, images["A"].get(one.name), images["B"].get(other.name), notes)
        for one, other in pairs
    ]
    models = _tested(models, limit)
    lines = [line for model in models for line in model.lines]
    outcome = _outcome(lines, limit)
    return Comparison(
        schema=SCHEMA,
        a=_side(a, images["A"]),
        b=_side(b, images["B"]),
        models=tuple(models),
        differences=tuple(differences(a, b, notes)),
        notes=tuple(dict.fromkeys(notes)),
        limit=limit,
        level=LEVEL,
        outcome=outcome,
        exit_status=int(_STATUS[outcome]),
    )


_STATUS: dict[Outcome, ExitStatus] = {
    "no drop": ExitStatus.OK,
    "no limit": ExitStatus.OK,
    "drop": ExitStatus.GATE_BROKEN,
    "cannot be judged": ExitStatus.INCONCLUSIVE,
}


def _outcome(lines: Sequence[Line], limit: float | None) -> Outcome:
    lines = [line for line in lines if line.norm is not None]
    if not any(line.a and line.b for line in lines):
        return "cannot be judged"
    if limit is None:
        return "no limit"
    if any(line.dropped for line in lines):
        return "drop"
    known = all(line.paired and line.paired.images >= FEWEST for line in lines)
    return "no drop" if known else "cannot be judged"


def _side(run: Run, images: dict[str, Images]) -> Side:
    result = run.result
    return Side(
        title=result.title,
        sha256=hashlib.sha256(run.raw).hexdigest(),
        started=result.provenance.started,
        verdict=result.verdict,
        exit_status=result.exit_status,
        samples=bool(images),
    )


def _images(run: Run, side: str, notes: list[str]) -> dict[str, Images]:
    """The images of each model; empty where they are not known one by one."""
    try:
        table = run.samples
        return {model.name: Images.of(table, model.name) for model in run.result.models}
    except (AuditorError, KeyError):  # none, or one that lacks a column
        notes.append(
            f"{side} has no samples.parquet that can be read: its images cannot be matched, and "
            "only its counts are shown."
        )
        return {}


def _pairs(a: Run, b: Run, notes: list[str]) -> Iterator[tuple[ModelResult, ModelResult]]:
    """Models of the same name; two that stand alone belong together whatever they are called."""
    first, second = a.result.models, b.result.models
    if len(first) == len(second) == 1:
        if first[0].name != second[0].name:
            notes.append(
                f"{first[0].name} in A is compared with {second[0].name} in B: each is the only "
                "model of its audit."
            )
        yield first[0], second[0]
        return
    others = {model.name: model for model in second}
    for model in first:
        if model.name in others:
            yield model, others.pop(model.name)
        else:
            notes.append(f"{model.name} is in A alone, and is not compared.")
    for name in others:
        notes.append(f"{name} is in B alone, and is not compared.")


def _model(
    a: ModelResult, b: ModelResult, left: Images | None, right: Images | None, notes: list[str]
) -> ModelPair:
    common = None if left is None or right is None else Common.of(left, right)
    if common is not None:
        notes += _in_common(common)
    lines = [_line(None, a.clean, b.clean, common, ())]
    others = {(threat.norm, threat.epsilon): threat for threat in b.threats}
    for threat in a.threats:
        other = others.pop((threat.norm, threat.epsilon), None)
        if other is None:
            notes.append(f"{a.name}: {_named(threat)} was audited in A alone.")
            continue
        differ = tuple(attacks_differ(threat, other))
        lines.append(_line(threat, threat.robust, other.robust, common, differ))
    notes += [f"{b.name}: {_named(threat)} was audited in B alone." for threat in others.values()]
    return ModelPair(
        a=a.name,
        b=b.name,
        same_model=a.fingerprint == b.fingerprint,
        lines=tuple(lines),
        masking_a=_masking(a),
        masking_b=_masking(b),
        findings=tuple(_findings(a, b)),
    )


def _named(threat: ThreatResult) -> str:
    return f"{threat.norm} {threat.epsilon_text}"


def _in_common(common: Common) -> Iterator[str]:
    """What to say of audits of which only a part of the images is the same."""
    count, sizes = len(common.rows), (len(common.a.ids), len(common.b.ids))
    if count < max(sizes):
        few = f": too few to rule a drop out, which takes {FEWEST}" if count < FEWEST else ""
        yield (
            f"{count:,} of the {sizes[0]:,} images of A and the {sizes[1]:,} of B are in both "
            f"audits; lost and won are counted on them{few}."
        )


def _line(
    threat: ThreatResult | None,
    first: Accuracy | None,
    second: Accuracy | None,
    common: Common | None,
    attacks: tuple[str, ...],
) -> Line:
    norm, epsilon, text = (
        (threat.norm, threat.epsilon, threat.epsilon_text) if threat else (None, None, "")
    )
    line = Line(norm, epsilon, text, first, second, None, attacks=attacks)
    if first is None or second is None:
        return replace(line, unpaired="in one of the audits no attack ended")
    if common is None:
        return replace(line, unpaired="the images of one of the audits are not known one by one")
    if not len(common.rows):
        return replace(line, unpaired="no image is in both audits")
    mine, theirs = common.right(norm, epsilon)
    lost, won = mine & ~theirs, theirs & ~mine
    counts = int(lost.sum()), int(won.sum())
    paired = Paired(
        images=len(mine),
        both=int((mine & theirs).sum()),
        lost=counts[0],
        lost_images=tuple(common.a.ids[common.rows[lost]].tolist()),
        won=counts[1],
        won_images=tuple(common.b.ids[common.others[won]].tolist()),
        neither=int((~mine & ~theirs).sum()),
        drop=(counts[0] - counts[1]) / len(mine),
        p_value=mcnemar(*counts),
        p_drop=drop_by_chance(*counts),
        p_drop_adjusted=1.0,
    )
    return replace(line, paired=paired)


def _tested(models: list[ModelPair], limit: float | None) -> list[ModelPair]:
    """The same with p-values adjusted for the number of lines, and drops judged."""
    pairs = [line.paired for model in models for line in model.lines if line.paired and line.norm]
    adjusted = iter(holm([paired.p_drop for paired in pairs]))

    def judged(line: Line) -> Line:
        if line.paired is None or line.norm is None:
            return line
        paired = replace(line.paired, p_drop_adjusted=next(adjusted))
        beyond = limit is not None and paired.drop > limit and paired.p_drop_adjusted < LEVEL
        return replace(line, paired=paired, dropped=beyond)

    return [replace(model, lines=tuple(map(judged, model.lines))) for model in models]


def _masking(model: ModelResult) -> Masking:
    masking = model.masking
    return Masking(
        masking.verdict, masking.kind, masking.gradient_attack_accuracy, masking.corrected_accuracy
    )


def _findings(a: ModelResult, b: ModelResult) -> Iterator[FindingChange]:
    """New ones first, then fixed ones.

    The model's name is a part of a fingerprint: of models called otherwise, code and title count.
    """

    def key(finding: Finding) -> str:
        same = a.name == b.name
        return finding.fingerprint if same else f"{finding.code} {finding.title}"

    before = {key(finding): finding for finding in a.findings}
    after = {key(finding): finding for finding in b.findings}
    for state, several in (
        ("new", [after[one] for one in after if one not in before]),
        ("fixed", [before[one] for one in before if one not in after]),
        ("unchanged", [after[one] for one in after if one in before]),
    ):
        for one in several:
            yield FindingChange(state, one.code, one.title, one.severity, one.fingerprint)  # type: ignore[arg-type]
