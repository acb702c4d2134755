"""The words and number formats of the report, in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isclose
from typing import Any

from auditor.results import Accuracy, ClassAccuracy, GalleryItem, Masking, ThreatResult

#: No-break space: a number and its unit stay together.
NBSP = "\N{NO-BREAK SPACE}"
MISSING = "–"
#: Letters of one text that a page shows.
_LONGEST = 5_000

#: Marks attacks that distrust the gradient; in every common font.
MARK = "†"

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

#: How the images were chosen, on page 1 and in the facts of the data.
DRAWN = {"all": "", "uniform": ", drawn uniformly", "balanced": ", drawn class-balanced"}
DRAW_MEANING = {
    "all": "",
    "uniform": "; a uniform draw",
    "balanced": "; as many of every class as it has",
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


def percent(value: float | Accuracy | ClassAccuracy | None) -> str:
    """A fraction or an accuracy as a percentage; 0 and 100 only where they are exact."""
    fraction = value.accuracy if isinstance(value, Accuracy | ClassAccuracy) else value
    if fraction is None:
        return MISSING
    if 0 < fraction < 0.0005:
        return f"<{NBSP}0.1{NBSP}%"
    if 0.9995 <= fraction < 1:
        return f">{NBSP}99.9{NBSP}%"
    return f"{100 * fraction:.1f}{NBSP}%"


def interval(bounds: tuple[float, float]) -> str:
    """Two fractions as a range of percentages."""
    return f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}{NBSP}%"


def number(value: float) -> str:
    """A measured number with four significant digits; integers in full."""
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.4g}"


def count(many: int) -> str:
    """An integer in full, with commas: "12,345"."""
    return f"{many:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """ "1 image", "12 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def ratio(amount: float, whole: int) -> str:
    """`amount` for each of `whole`, to one decimal where that tells."""
    if not whole:
        return MISSING
    each = amount / whole
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


def exit_meaning(status: int) -> str:
    """What an exit status says."""
    return EXIT_MEANING.get(status, "see the documentation")


def moment(text: str) -> datetime:
    """An ISO 8601 time in UTC; the epoch where `text` is not one: the report is still made."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def day(when: datetime) -> str:
    """A date as people write it: "2 January 2026"."""
    return f"{when.day} {when:%B %Y}"


def norm(name: str) -> str:
    """The norm as the field writes it."""
    return _NORMS.get(name, name)


def threat_text(one: ThreatResult | GalleryItem | Masking) -> str:
    """The norm and epsilon that something is about; empty where they are not known."""
    if one.norm is None or one.epsilon_text is None:
        return ""
    return f"{norm(one.norm)}, ε = {one.epsilon_text}"


def norm_meaning(name: str, measured: str = "") -> str:
    """What the norm allows, in a sentence or two.

    Args:
        measured: what the plugin that offers it says that it measures.
    """
    if name in _NORM_MEANING:
        return _NORM_MEANING[name]
    what = f"{sentence(measured)} This is at most ε; " if measured else ""
    return sentence(f"{what}the plugin that provides this norm defines it")


def grey_levels(distance: float) -> str:
    """A distance in l-infinity as a part of 255."""
    return f"{255 * distance:.2f}/255"


def png(picture: str) -> str:
    """A picture in base64 as the address of an image."""
    return f"data:image/png;base64,{picture}"


def value_text(value: Any) -> str:
    """A parameter value as it would stand in a configuration file."""
    return "not set" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def epsilon(value: float, threats: Iterable[ThreatResult]) -> str:
    """An epsilon as the configuration wrote it, else as a decimal number."""
    return next((t.epsilon_text for t in threats if isclose(t.epsilon, value)), f"{value:.4g}")
