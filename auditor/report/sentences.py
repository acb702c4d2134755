"""Sentences that take several facts of a result: its verdict, its attacks, its gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from auditor.language import _, ngettext
from auditor.report import wording
from auditor.report.wording import (
    MISSING,
    clauses,
    day,
    interval,
    listed,
    moment,
    percent,
    plural,
    prose,
    sentence,
)
from auditor.results import (
    Accuracy,
    Agreement,
    AttackResult,
    AuditResult,
    ClassAccuracy,
    GateResult,
    Measurement,
    ModelResult,
    PluginRecord,
    SampleEvidence,
    SampleRound,
    ThreatResult,
)


def verdict_sentence(result: AuditResult) -> str:
    """The verdict in one sentence, and whose numbers hold; the reasons stand below it."""
    return prose([_judged(result), *_rejudged(result), *_believed(result.models)])


def _rejudged(result: AuditResult) -> Iterator[str]:
    """That the gates are not those of the first judgement."""
    if result.judged_before:
        last = result.judged_before[-1]
        yield _(
            "Its gates are of {day}; the verdict by the gates before them was {verdict}."
        ).format(day=day(moment(last.until)), verdict=wording.VERDICTS[last.verdict].word)


def _judged(result: AuditResult) -> str:
    counted = [gate for gate in result.gates if not gate.waived]
    waived, gates = len(result.gates) - len(counted), plural(len(counted), "gate")
    state = wording.STATES[result.status]
    if result.verdict == "no-requirement":
        return _(
            "The audit is {state}, no requirement was set: nothing says how robust is robust "
            "enough."
        ).format(state=state)
    if result.verdict == "pass":
        held = _("The audit is {state} and every gate held ({gates}).")
        if waived:
            held = _("The audit is {state} and every gate held ({gates}, and {waived} waived).")
        return held.format(state=state, gates=gates, waived=waived)
    if result.verdict == "fail":
        broken = sum(gate.holds is False for gate in counted)
        lost = ngettext(
            "The audit is {state} and {broken} of {gates} is broken.",
            "The audit is {state} and {broken} of {gates} are broken.",
            broken,
        )
        return lost.format(state=state, broken=broken, gates=gates)
    if result.status == "complete":
        return _("The audit is complete, but its numbers do not allow a judgement.")
    return _("The audit is incomplete, so its numbers do not allow a judgement.")


def _believed(models: Sequence[ModelResult]) -> Iterator[str]:
    """Whose robust accuracy can be believed, where not everybody's can."""
    sound = [model for model in models if model.masking.verdict in ("none", "possible")]
    open_ = [model for model in models if model.masking.verdict == "inconclusive"]
    wrong = [model for model in models if model not in sound and model not in open_]
    if len(models) == 1 and open_:
        yield _("Whether the robust accuracy of this model can be believed is not established.")
    elif len(models) == 1 and wrong:
        yield _("The robust accuracy of this model under gradient attacks does not hold.")
    elif len(models) > 1 and (wrong or open_):
        parts = []
        if sound:
            parts.append(_("those of {models} hold").format(models=_names(sound)))
        if wrong:
            parts.append(_("those of {models} do not hold").format(models=_names(wrong)))
        if open_:
            parts.append(_("those of {models} are not established").format(models=_names(open_)))
        yield _("Of the robust accuracies under gradient attacks {which}.").format(
            which=clauses(parts)
        )


def _names(models: Sequence[ModelResult]) -> str:
    """A few names in full, of more the number."""
    if len(models) > 6:
        return plural(len(models), "model")
    return listed(wording.shorten(model.name, 40) for model in models)


def in_set(accuracy: Accuracy | ClassAccuracy) -> str:
    """What a class-balanced draw says of the whole set; nothing of another, nor of one class."""
    found = accuracy.weighted if isinstance(accuracy, Accuracy) else None
    if found is None:
        return ""
    return _("balanced; set: {share}, {interval}").format(
        share=percent(found.accuracy), interval=interval(found.ci95)
    )


def of_set(accuracy: Accuracy) -> str:
    """The same as a sentence."""
    return _("Class-{balanced}.").format(balanced=in_set(accuracy))


def attack_notes(attack: AttackResult) -> Iterator[str]:
    """What a reader must know about an attack's run beside its numbers."""
    if attack.robust and attack.robust.weighted:
        yield of_set(attack.robust)
    if attack.status == "done" and attack.reason:
        yield sentence(attack.reason)
    if attack.evidence and attack.robust:
        yield sample(attack.evidence, attack.robust.total)
    if attack.agreement and attack.agreement.total:
        yield agreement(attack.agreement)
    if attack.rejected:
        yield _("{successes} rejected: {kinds}.").format(
            successes=plural(sum(attack.rejected.values()), "claimed success"),
            kinds=listed(f"{reason} {count:,}" for reason, count in attack.rejected.items()),
        )
    if attack.nonfinite_gradients:
        text = _("Gradients held NaN or infinity on {images}.")
        yield text.format(images=plural(attack.nonfinite_gradients, "image"))
    if attack.zero_gradients:
        text = _("Gradients were zero everywhere on {images}.")
        yield text.format(images=plural(attack.zero_gradients, "image"))


def sample(seen: SampleEvidence, total: int) -> str:
    """What the full battery did to a random sample of an attack's survivors.

    Args:
        total: all audited images, of which accuracies are fractions.
    """
    if not seen.survivors:
        return _("Nothing survived.")
    rounds = enumerate(seen.rounds, 1)
    sentences = [_sent_on(number, done) for number, done in rounds if done.sent_on]
    larger = ""
    if seen.larger:
        larger = _(" ({count} of them at a larger ε)").format(count=f"{seen.larger:,}")
    if seen.sampled == seen.survivors:
        all_of = ngettext(
            "The one survivor was attacked with the full battery{larger}, and withstood it.",
            "All {survivors} survivors were attacked with the full battery{larger}, and withstood "
            "it.",
            seen.survivors,
        )
        sentences.append(all_of.format(survivors=f"{seen.survivors:,}", larger=larger))
        return prose(sentences)
    some = _(
        "{sampled} of {survivors}, drawn at random, were attacked with the full battery{larger}; "
        "none fell: with {confidence} confidence it would break at most {bound} of them ({points} "
        "points)."
    )
    sentences.append(
        some.format(
            sampled=f"{seen.sampled:,}",
            survivors=plural(seen.survivors, "survivor"),
            larger=larger,
            confidence=f"{seen.confidence:.0%}",
            bound=f"{seen.bound:.1%}",
            points=f"{100 * seen.most / total:.1f}",
        )
    )
    return prose(sentences)


def _sent_on(number: int, done: SampleRound) -> str:
    """Which parts broke images of a sample, and what they did to all the others."""
    part = _(
        "{attack} broke {broken} and was run on the other {images} survivors, of which {fell} fell"
    )
    parts = [
        part.format(
            attack=sent.part,
            broken=f"{done.broken[sent.part]:,}",
            images=f"{sent.images:,}",
            fell=f"{sent.broken:,}",
        )
        for sent in done.sent_on
    ]
    return _("Of sample {number}, {sampled} of {survivors}, {parts}.").format(
        number=number,
        sampled=f"{done.sampled:,}",
        survivors=f"{done.survivors:,}",
        parts=clauses(parts),
    )


def agreement(runs: Agreement) -> str:
    """How far two runs of an attack agree, and what that means."""
    same, images = f"{runs.same:,}", plural(runs.total, "image")
    if runs.same == runs.total:
        return _(
            "Two independent runs agree on {same} of {images}: chance has no visible part in this "
            "number."
        ).format(same=same, images=images)
    return _(
        "Two independent runs agree on {same} of {images}; the first alone broke {first}, the "
        "second alone broke {second}. Where they differ, chance decided, and further runs would "
        "probably break more; this row counts what either run broke."
    ).format(same=same, images=images, first=f"{runs.only_first:,}", second=f"{runs.only_second:,}")


def measured(gate: GateResult) -> str:
    """The value that a gate was put to; accuracies are fractions."""
    if not isinstance(gate.value, float | int):
        return gate.value or MISSING
    share = gate.metric.endswith("accuracy")
    return percent(gate.value) if share else wording.number(gate.value)


def scope(one: GateResult | Measurement, threats: Iterable[ThreatResult]) -> str:
    """The norm and epsilon that something applies to, as far as it names them.

    Args:
        threats: of which one may have written this epsilon in another way.
    """
    parts = [wording.norm(one.norm)] if one.norm else []
    if one.epsilon is not None:
        parts.append(f"ε = {wording.epsilon(one.epsilon, threats)}")
    return listed(parts)


def problem(plugin: PluginRecord) -> str:
    """What is wrong with a plugin, and what to do about it."""
    remedy = _("remedy: {remedy}").format(remedy=plugin.remedy) if plugin.remedy else ""
    return prose(sentence(part) for part in (plugin.detail, remedy) if part)
