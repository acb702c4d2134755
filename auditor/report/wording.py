"""The words and number formats of the report, in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isclose
from typing import Any

from auditor.results import (
    Accuracy,
    Agreement,
    Masking,
    SampleEvidence,
    SampleRound,
    ThreatResult,
)

#: No-break space: a number and its unit stay together.
NBSP = "\N{NO-BREAK SPACE}"
MISSING = "–"
#: Letters of one text that a page shows.
_LONGEST = 5_000

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}

_NORM_MEANING = {
    "linf": "Every value of every pixel may change at once, each by at most ε.",
    "l2": "The Euclidean length of the change, over all values of all pixels, is at most ε.",
    "l1": "The absolute changes of all values of all pixels add up to at most ε.",
    "l0": "At most ε pixels may change, each to anything.",
}

EXIT_MEANING = {
    0: "the audit is complete and every gate held",
    1: "the audit is complete and a gate is broken",
    2: "the configuration is wrong",
    3: "the audit could not be completed or cannot be judged",
    4: "the model, the data, a plugin or the environment could not be loaded",
    5: "an internal error",
    130: "the audit was interrupted",
}

MASKING_MEANING = {
    "none": "No attack that distrusts the gradient broke more images than chance allows.",
    "possible": "There are signs of masked gradients, too weak to doubt the number on their own.",
    "suspected": "There are strong signs of masked gradients: do not rely on the robust accuracy.",
    "confirmed": "Attacks that distrust the gradient broke images which the gradient attacks "
    "reported as robust: the number from gradient attacks alone is wrong.",
    "inconclusive": "Masking could neither be shown nor ruled out.",
}

#: Verdicts after which the robust accuracy of the gradient attacks is not to be believed.
DOUBTFUL = ("suspected", "confirmed")

FAIRNESS = (
    "The verdict says that the evaluation by gradient attacks is unreliable, not that anybody "
    "meant to mislead."
)

KIND_MEANING = {
    "shattered": "the gradient is cut or destroyed by an operation that cannot be differentiated",
    "stochastic": "the model is random, so that a single gradient misleads",
    "vanishing": "the gradient shrinks or rounds to zero on its way to the image",
    "loss-level": "the loss, not the network, hides the gradient",
    "output-level": "the model's output is too coarse to carry a gradient",
    "other": "of a kind not classified here",
}


@dataclass(frozen=True)
class Badge:
    """A judgement as a word and a shape; its tone (colour) only repeats what they say."""

    word: str
    shape: str
    tone: str


# The shapes are in every common font (the WGL4 set), so that no glyph is ever missing.
VERDICTS = {
    "pass": Badge("PASS", "●", "good"),
    "fail": Badge("FAIL", "▲", "bad"),
    "inconclusive": Badge("INCONCLUSIVE", "◊", "open"),
}
MASKINGS = {
    "none": Badge("none found", "○", "good"),
    "possible": Badge("possible", "●", "fair"),
    "suspected": Badge("suspected", "■", "bad"),
    "confirmed": Badge("confirmed", "▲", "bad"),
    "inconclusive": Badge("inconclusive", "◊", "open"),
}
SEVERITIES = {
    "high": Badge("high", "▲", "bad"),
    "medium": Badge("medium", "■", "fair"),
    "low": Badge("low", "●", "open"),
    "info": Badge("info", "○", "quiet"),
}
GATES = {
    True: Badge("holds", "●", "good"),
    False: Badge("broken", "▲", "bad"),
    None: Badge("not judged", "◊", "open"),
}
STATUSES = {
    "done": Badge("done", "●", "good"),
    "skipped": Badge("skipped", "○", "quiet"),
    "error": Badge("failed", "▲", "bad"),
}
CHECKS = {
    "done": Badge("clear", "●", "good"),
    "flagged": Badge("flagged", "■", "bad"),
    "named": Badge("names it", "●", "fair"),
    "not applicable": Badge("not applicable", "○", "quiet"),
    "skipped": Badge("skipped", "○", "quiet"),
    "error": Badge("failed", "▲", "bad"),
}
#: Of the planted mask: found or not.
CONTROLS = {
    True: Badge("found", "●", "good"),
    False: Badge("not found", "▲", "bad"),
}
#: Of a self-test: the verdict is a right one or not.
AS_EXPECTED = {
    True: Badge("as expected", "●", "good"),
    False: Badge("wrong", "▲", "bad"),
}
PLUGINS = {
    "loaded": Badge("loaded", "●", "good"),
    "blocked": Badge("blocked", "○", "quiet"),
    "broken": Badge("broken", "▲", "bad"),
}


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, the last one an ellipsis where something is cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def bounded(text: str) -> str:
    """`text`, cut where it is longer than any page needs, which is said."""
    more = len(text) - _LONGEST
    if more <= 0:
        return text
    return f"{text[:_LONGEST]}… ({more:,} more letters are in audit.json)"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with one decimal; 0 and 100 only where they are exact."""
    if fraction is None:
        return MISSING
    if 0 < fraction < 0.0005:
        return f"<{NBSP}0.1{NBSP}%"
    if 0.9995 <= fraction < 1:
        return f">{NBSP}99.9{NBSP}%"
    return f"{100 * fraction:.1f}{NBSP}%"


def interval(bounds: tuple[float, float] | None) -> str:
    """Two fractions as a range of percentages."""
    return MISSING if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}{NBSP}%"


def number(value: float) -> str:
    """A measured number with four significant digits; integers in full."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.4g}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """ "1 image", "12 images"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def ratio(amount: float, count: int) -> str:
    """`amount` for each of `count`, to one decimal where that tells."""
    if not count:
        return MISSING
    each = amount / count
    return f"{each:.1f}" if 0 < each < 9.95 else f"{each:,.0f}"


def share(part: float, whole: float) -> str:
    """A part as a whole percentage; 0 only where it is exact."""
    if not whole:
        return MISSING
    percentage = 100 * part / whole
    return f"<{NBSP}1{NBSP}%" if 0 < percentage < 0.5 else f"{percentage:.0f}{NBSP}%"


def duration(seconds: float) -> str:
    """Wall time in the unit a reader would use."""
    if seconds < 60:
        return f"{seconds:.1f}{NBSP}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min {rest:02d}{NBSP}s"
    return f"{minutes // 60}{NBSP}h {minutes % 60:02d}{NBSP}min"


def sentence(text: str) -> str:
    """A remark as a sentence: a capital first, a full stop last."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "!", "?")) else whole + "."


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
    return "The one survivor was attacked" if survivors == 1 else (
        f"All {survivors:,} survivors were attacked"
    )  # fmt: skip


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


def believed(masking: Masking) -> str:
    """The masking verdict in a sentence or two, as far as it can honestly be said."""
    if masking.verdict == "inconclusive":
        why = masking.summary or " ".join(sentence(reason) for reason in masking.reasons)
        return " ".join([MASKING_MEANING["inconclusive"], *([sentence(why)] if why else [])])
    return masking.summary or MASKING_MEANING[masking.verdict]


def masking_threat(masking: Masking) -> str:
    """The threat that a masking verdict speaks of; empty where it is not known."""
    if masking.norm is None or masking.epsilon_text is None:
        return ""
    return f"{norm(masking.norm)}, ε = {masking.epsilon_text}"


def followers(masking: Masking) -> str:
    """The attacks that the verdict compares with all the others, in the plural."""
    if masking.reference == "cross-entropy":
        return "attacks on the cross-entropy"
    if masking.reference == "plain":
        return "plain attacks such as PGD"
    return "gradient attacks"


def before(masking: Masking) -> str:
    """What the number before correction is called."""
    return sentence(f"{followers(masking)} alone").removesuffix(".")


def after(masking: Masking) -> str:
    """What the number after correction is called; nothing is corrected where nothing was found."""
    if masking.verdict not in DOUBTFUL:
        return "Robust accuracy, all attacks"
    if masking.corrected_accuracy == masking.gradient_attack_accuracy:
        return "Robust accuracy, in doubt"
    return "Corrected robust accuracy"


def moment(text: str) -> datetime:
    """An ISO 8601 time in UTC; the epoch where `text` is not one: the report is still made."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def norm(name: str) -> str:
    """The norm as the field writes it."""
    return _NORMS.get(name, name)


def norm_meaning(name: str, measured: str = "") -> str:
    """What the norm allows, in a sentence or two.

    Args:
        measured: what the plugin that offers it says that it measures.
    """
    if name in _NORM_MEANING:
        return _NORM_MEANING[name]
    what = f"{sentence(measured)} This is at most ε; " if measured else ""
    return sentence(f"{what}the plugin that provides this norm defines it")


def value_text(value: Any) -> str:
    """A parameter value as it would stand in a configuration file."""
    return "not set" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def parameters_text(parameters: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Names and values of an attack's parameters, in their own order."""
    return tuple((name, value_text(value)) for name, value in parameters.items())


@dataclass(frozen=True)
class Number:
    """An accuracy, ready to print."""

    percent: str
    interval: str
    count: str
    #: Of a class-balanced draw, what it says of the whole set.
    in_set: str = ""

    @classmethod
    def of(cls, accuracy: Accuracy | None) -> Number:
        """Format `accuracy`; dashes where there is none."""
        if accuracy is None:
            return cls(MISSING, "", "")
        count = f"{accuracy.correct:,} of {accuracy.total:,}"
        return cls(percent(accuracy.accuracy), interval(accuracy.ci95), count, in_set(accuracy))


def in_set(accuracy: Accuracy) -> str:
    """What a class-balanced draw says of the whole set; nothing of another."""
    if accuracy.weighted is None:
        return ""
    found = accuracy.weighted
    return f"balanced; set: {percent(found.accuracy)}, {interval(found.ci95)}"


def epsilon(value: float, threats: Iterable[ThreatResult]) -> str:
    """An epsilon as the configuration wrote it, else as a decimal number."""
    return next((t.epsilon_text for t in threats if isclose(t.epsilon, value)), f"{value:.4g}")
