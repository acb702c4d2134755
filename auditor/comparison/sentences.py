"""What a comparison comes to, and what has to be known before it is believed, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from auditor.comparison.changes import FEWEST, LEVEL, robust_changes
from auditor.comparison.result import (
    Battery,
    Change,
    Comparison,
    Conclusion,
    ModelChange,
    ThreatChange,
)
from auditor.errors import ExitStatus
from auditor.maths.paired import fewest_lost
from auditor.report.wording import NBSP, listed, norm, percent, plural
from auditor.results import AuditResult

#: Masking verdicts that leave a robust accuracy in doubt.
_DOUBTFUL = ("suspected", "confirmed", "inconclusive")


def pair_text(model: ModelChange) -> str:
    """Such as "baseline", or "baseline → hardened" where the names differ."""
    return model.a if model.a == model.b else f"{model.a} → {model.b}"


def threat_text(threat: ThreatChange) -> str:
    """Such as "L∞, ε = 8/255"."""
    return f"{norm(threat.norm)}, ε = {threat.epsilon_text}"


def p_text(p: float) -> str:
    """A p-value as people write it; 1 only where it is exact."""
    if p < 0.0001:
        return f"<{NBSP}0.0001"
    if 0.9995 <= p < 1:
        return f">{NBSP}0.999"
    return "1" if p == 1 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def points(change: float) -> str:
    """A change of accuracy in points of percentage, with its sign, such as "−3.0"."""
    sign = "−" if change < 0 else "+" if change > 0 else "±"
    return f"{sign}{100 * abs(change):.1f}"


def size(drop: float) -> str:
    """How large a drop is, or may be: "3.0 points"."""
    return f"{100 * drop:.3g}{NBSP}points"


def _failing(models: tuple[ModelChange, ...]) -> Iterator[tuple[str, Change]]:
    """The drops that fail, with what each is of."""
    for model in models:
        for threat in model.threats:
            name = f"{pair_text(model)}, {threat_text(threat)}"
            if threat.robust is not None and threat.robust.fails:
                yield name, threat.robust
            if threat.shared is not None and threat.shared.fails:
                yield f"{name}, shared attacks alone", threat.shared


def ruling(found: Comparison) -> Comparison:
    """The comparison with its conclusion, exit status and the reasons."""
    open_ = list(_open(found))
    conclusion: Conclusion
    if found.limit is None:
        reasons = ["No limit was set (--fail-on-drop), so that no drop fails."]
        conclusion, status = "no-limit", ExitStatus.OK
    elif failing := [_drop(name, one, found.limit) for name, one in _failing(found.models)]:
        reasons = [*failing, *open_]
        conclusion, status = "drop", ExitStatus.GATE_BROKEN
    elif open_:
        reasons = open_
        conclusion, status = "open", ExitStatus.INCONCLUSIVE
    else:
        beyond = size(found.limit)
        reasons = [f"No robust accuracy fell by more than {beyond} and more than chance explains."]
        conclusion, status = "no-drop", ExitStatus.OK
    return replace(found, conclusion=conclusion, exit_status=int(status), reasons=tuple(reasons))


def _drop(name: str, one: Change, limit: float) -> str:
    counted = ""
    if one.lost is not None and one.won is not None:
        counted = f" ({plural(len(one.lost), 'image')} lost, {len(one.won):,} won)"
    return (
        f"{name}: from {percent(one.a)} to {percent(one.b)}{counted}, a drop of "
        f"{size(-one.change)}, beyond the limit of {size(limit)} and beyond chance "
        f"(adjusted p {_equals(one.p_adjusted)})."
    )


def _equals(p: float) -> str:
    text = p_text(p)
    return text if text[0] in "<>" else f"= {text}"


def _open(found: Comparison) -> Iterator[str]:
    """What A measured and could not be held against B."""
    if found.unmatched.models_a:
        names = listed(found.unmatched.models_a)
        yield f"B has no model of the name {names}: not judged."
    if found.unmatched.threats_a:
        yield f"B was not audited under {listed(found.unmatched.threats_a)}: not judged."
    for model in found.models:
        for threat in model.threats:
            if threat.robust is None:
                name = f"{pair_text(model)}, {threat_text(threat)}"
                yield f"{name}: A or B has no number, since no attack was done: not judged."
    if found.images is None:
        yield "The images could not be matched, so that a drop may be unseen: not judged."
    elif found.images.common < FEWEST:
        yield (
            f"A limit is judged on {FEWEST} images in common or more; these are "
            f"{found.images.common}: not judged."
        )


def cautions(found: Comparison, a: AuditResult, b: AuditResult) -> Comparison:
    """The comparison with what has to be known before it is believed."""
    told = (
        *_images(found, a, b),
        *_matching(found),
        *_incomplete(found),
        *_batteries(found),
        *_code(found),
        *_masking(found),
        *_clean(found),
        *_power(found),
    )
    return replace(found, cautions=told)


def _images(found: Comparison, a: AuditResult, b: AuditResult) -> Iterator[str]:
    for letter, side in (("A", found.a), ("B", found.b)):
        if side.without_samples:
            yield f"{letter}'s images cannot be told apart: {side.without_samples}."
    if found.images is None:
        yield (
            "Only counts are compared, as if they were of two independent samples (Fisher's "
            "exact test): it is not known which images were lost or won, and a true difference is "
            "seen less often than image by image."
        )
        if a.provenance.data.sha256 != b.provenance.data.sha256:
            yield "The two audits are of different data: no drop is judged."
    elif found.images.only_a or found.images.only_b:
        one, other = plural(found.a.images, "image"), plural(found.b.images, "image")
        yield (
            f"Of A's {one} and B's {other}, {found.images.common:,} are the same (by content and "
            "label): all accuracies here are of these, and not those of the two reports."
        )
    if "balanced" in (a.provenance.data.draw, b.provenance.data.draw):
        yield (
            "The images are a class-balanced draw: the accuracies are those of the images, and no "
            "estimates of the set's."
        )


def _matching(found: Comparison) -> Iterator[str]:
    for model in found.models:
        if model.matched == "position":
            yield (
                f"The names differ, and each audit has one model: {model.a} (A) is compared with "
                f"{model.b} (B)."
            )
        if model.same and any(
            one.lost or one.won for one in (model.clean, *robust_changes([model]))
        ):
            yield (
                f"{pair_text(model)}: weights and code are the same on both sides; what differs "
                "comes of the attacks, the seed, the machine or the versions."
            )
    alone = found.unmatched
    for letter, models, threats in (
        ("A", alone.models_a, alone.threats_a),
        ("B", alone.models_b, alone.threats_b),
    ):
        if models:
            yield f"Only {letter} has {listed(models)}: not compared."
        if threats:
            yield f"Only {letter} was audited under {listed(threats)}: not compared."


def _incomplete(found: Comparison) -> Iterator[str]:
    for letter, side in (("A", found.a), ("B", found.b)):
        if side.status == "incomplete":
            yield f"The audit {letter} is incomplete: its accuracies may be too high."


def _batteries(found: Comparison) -> Iterator[str]:
    for model in found.models:
        under: dict[Battery, list[str]] = {}
        for threat in model.threats:
            if not threat.attacks.alike:
                under.setdefault(threat.attacks, []).append(threat_text(threat))
        for battery, threats in under.items():
            rest = (
                "Compare the rows of the shared attacks, which are the same on both sides."
                if battery.shared and found.images
                else "Audit one of them again with the attacks of the other."
            )
            name = f"{pair_text(model)}, {'; '.join(threats)}"
            yield (
                f"{name}: the attacks differ ({unlike(battery)}): a change may be of the attacks, "
                f"and not of the model. {rest}"
            )
        if not model.checks.alike:
            yield (
                f"{pair_text(model)}: the checks differ ({unlike(model.checks)}): findings may be "
                "new or gone for that reason alone, and so may images that a check broke."
            )


def unlike(battery: Battery) -> str:
    """What was not done alike on both sides; empty where all was."""
    parts = (
        ("only A", battery.only_a),
        ("only B", battery.only_b),
        ("other parameters", battery.changed),
    )
    return "; ".join(f"{name}: {listed(labels)}" for name, labels in parts if labels)


def _code(found: Comparison) -> Iterator[str]:
    unlike = [one.key for one in found.differences.versions
              if one.key == "auditor" or one.key.startswith("plugin ")]  # fmt: skip
    if unlike:
        names = listed(unlike[:8]) + (f" and {len(unlike) - 8} more" if len(unlike) > 8 else "")
        yield (
            f"The code of attacks and checks may differ (versions of {names}): a change may be of "
            "the tool, and not of the model."
        )


def _masking(found: Comparison) -> Iterator[str]:
    for model in found.models:
        verdicts = {"A": model.masking.a, "B": model.masking.b}
        doubtful = [
            f"{verdict} in {side}" for side, verdict in verdicts.items() if verdict in _DOUBTFUL
        ]
        if doubtful:
            yield (
                f"{pair_text(model)}: the masking verdict is {' and '.join(doubtful)}, so that "
                "robust accuracies there may be too high, and a comparison with them says little."
            )


def _clean(found: Comparison) -> Iterator[str]:
    for model in found.models:
        if found.limit is not None and model.clean.outcome == "worse":
            yield (
                f"{pair_text(model)}: clean accuracy fell by {size(-model.clean.change)}, and "
                "beyond chance. The limit is of robust ones: put a [[gate]] on clean_accuracy."
            )


def _power(found: Comparison) -> Iterator[str]:
    if found.images is None or found.limit is None:
        return
    tests, images = len(list(robust_changes(found.models))), found.images.common
    fewest = fewest_lost(LEVEL, tests)
    if fewest > found.limit * images:
        share = f" ({size(fewest / images)})" if fewest <= images else ""
        yield (
            f"{plural(images, 'image')} are few for the limit of {size(found.limit)}: with "
            f"{tests} {'test' if tests == 1 else 'tests'} at once it takes {fewest} images lost "
            f"and none won{share} to be beyond chance. Smaller drops do not fail: audit more."
        )
