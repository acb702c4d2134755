"""Sentences that take several facts of a result: its verdict, its attacks, its gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from auditor.report import wording
from auditor.report.wording import MISSING, interval, percent, plural, sentence
from auditor.results import (
    Accuracy,
    Agreement,
    AttackResult,
    AuditResult,
    ClassAccuracy,
    GateResult,
    Measurement,
    PluginRecord,
    SampleEvidence,
    SampleRound,
    ThreatResult,
)


def verdict_sentence(result: AuditResult) -> str:
    """The verdict in one sentence; the reasons stand below it."""
    gates = plural(len(result.gates), "gate")
    broken = sum(gate.holds is False for gate in result.gates)
    state = f"The audit is {result.status}"
    if result.verdict == "pass":
        return f"{state} and every gate held ({gates}).{_reservation(result)}"
    if result.verdict == "fail":
        return f"{state} and {broken} of {gates} {'is' if broken == 1 else 'are'} broken."
    if result.status == "complete":
        return f"{state}, but its numbers do not allow a judgement."
    return f"{state}, so its numbers do not allow a judgement."


def _reservation(result: AuditResult) -> str:
    """What a pass does not say: gates may have been opened for models that hide their gradient."""
    good = ("none", "possible")
    doubtful = sum(model.masking.verdict not in good for model in result.models)
    if not doubtful:
        return ""
    whose = (
        "this model"
        if len(result.models) == 1
        else f"{doubtful} of the {len(result.models)} models"
    )
    return f" Whether the robust accuracy of {whose} can be believed is not established."


def in_set(accuracy: Accuracy | ClassAccuracy) -> str:
    """What a class-balanced draw says of the whole set; nothing of another, nor of one class."""
    found = accuracy.weighted if isinstance(accuracy, Accuracy) else None
    if found is None:
        return ""
    return f"balanced; set: {percent(found.accuracy)}, {interval(found.ci95)}"


def attack_notes(attack: AttackResult) -> Iterator[str]:
    """What a reader must know about an attack's run beside its numbers."""
    if attack.robust and attack.robust.weighted:
        yield f"Class-{in_set(attack.robust)}."
    if attack.status == "done" and attack.reason:
        yield sentence(attack.reason)
    if attack.evidence and attack.robust:
        yield sample(attack.evidence, attack.robust.total)
    if attack.agreement and attack.agreement.total:
        yield agreement(attack.agreement)
    if attack.rejected:
        kinds = ", ".join(f"{reason} {count:,}" for reason, count in attack.rejected.items())
        total = sum(attack.rejected.values())
        yield f"{plural(total, 'claimed success', 'claimed successes')} rejected: {kinds}."
    if attack.nonfinite_gradients:
        yield f"Gradients held NaN or infinity on {plural(attack.nonfinite_gradients, 'image')}."
    if attack.zero_gradients:
        yield f"Gradients were zero everywhere on {plural(attack.zero_gradients, 'image')}."


def sample(seen: SampleEvidence, total: int) -> str:
    """What the full battery did to a random sample of an attack's survivors.

    Args:
        total: all audited images, of which accuracies are fractions.
    """
    if not seen.survivors:
        return "Nothing survived."
    rounds = enumerate(seen.rounds, 1)
    sentences = [_sent_on(number, done) for number, done in rounds if done.sent_on]
    larger = f" ({seen.larger:,} of them at a larger ε)" if seen.larger else ""
    if seen.sampled == seen.survivors:
        who = _all_of(seen.survivors)
        sentences.append(f"{who} with the full battery{larger}, and withstood it.")
        return " ".join(sentences)
    sentences.append(
        f"{seen.sampled:,} of {plural(seen.survivors, 'survivor')}, drawn at random, were attacked "
        f"with the full battery{larger}; none fell: with {seen.confidence:.0%} confidence it would "
        f"break at most {seen.bound:.1%} of them ({100 * seen.most / total:.1f} points)."
    )
    return " ".join(sentences)


def _all_of(survivors: int) -> str:
    if survivors == 1:
        return "The one survivor was attacked"
    return f"All {survivors:,} survivors were attacked"


def _sent_on(number: int, done: SampleRound) -> str:
    """Which parts broke images of a sample, and what they did to all the others."""
    parts = [
        f"{sent.part} broke {done.broken[sent.part]:,} and was run on the other {sent.images:,} "
        f"survivors, of which {sent.broken:,} fell"
        for sent in done.sent_on
    ]
    return f"Of sample {number}, {done.sampled:,} of {done.survivors:,}, {'; '.join(parts)}."


def agreement(runs: Agreement) -> str:
    """How far two runs of an attack agree, and what that means."""
    same = f"Two independent runs agree on {runs.same:,} of {plural(runs.total, 'image')}"
    if runs.same == runs.total:
        return f"{same}: chance has no visible part in this number."
    return (
        f"{same}; the first alone broke {runs.only_first:,}, the second alone broke "
        f"{runs.only_second:,}. Where they differ, chance decided, and further runs would probably "
        "break more; this row counts what either run broke."
    )


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
    return ", ".join(parts)


def problem(plugin: PluginRecord) -> str:
    """What is wrong with a plugin, and what to do about it."""
    parts = [plugin.detail, f"remedy: {plugin.remedy}" if plugin.remedy else ""]
    return " ".join(sentence(part) for part in parts if part)
