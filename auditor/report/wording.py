"""The words and number formats of the report, in one place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isclose
from typing import Any

from auditor.language import N_, NN_, Words, _, ngettext, spoken
from auditor.results import Accuracy, ClassAccuracy, GalleryItem, Masking, ThreatResult

#: No-break space: a number and its unit stay together.
NBSP = "\N{NO-BREAK SPACE}"
MISSING = "–"
#: Letters of one text that a page shows.
_LONGEST = 5_000

#: Pictures of a gallery that its chapter has room for; the appendix has the others.
GALLERY = 6

#: Marks attacks that distrust the gradient; in every common font.
MARK = "†"

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0"}

_NORM_MEANING = Words(
    {
        "linf": N_("Every value of every pixel may change at once, each by at most ε."),
        "l2": N_(
            "The Euclidean length of the change, over all values of all pixels, is at most ε."
        ),
        "l1": N_("The absolute changes of all values of all pixels add up to at most ε."),
        "l0": N_("At most ε pixels may change, each to anything."),
    }
)

EXIT_MEANING = Words(
    {
        0: N_("the audit is complete and no gate is broken"),
        1: N_("the audit is complete and a gate is broken"),
        2: N_("the configuration is wrong"),
        3: N_("the audit could not be completed or cannot be judged"),
        4: N_("the model, the data, a plugin or the environment could not be loaded"),
        5: N_("an internal error"),
        130: N_("the audit was interrupted"),
    }
)

MASKING_MEANING = Words(
    {
        "none": N_("No attack that distrusts the gradient broke more images than chance allows."),
        "possible": N_(
            "There are signs of masked gradients, too weak to doubt the number on their own."
        ),
        "suspected": N_(
            "There are strong signs of masked gradients: do not rely on the robust accuracy."
        ),
        "confirmed": N_(
            "Attacks that distrust the gradient broke images which the gradient attacks "
            "reported as robust: the number from gradient attacks alone is wrong."
        ),
        "inconclusive": N_("Masking could neither be shown nor ruled out."),
    }
)

KINDS = Words(
    {
        "shattered": N_("shattered"),
        "stochastic": N_("stochastic"),
        "vanishing": N_("vanishing"),
        "loss-level": N_("loss-level"),
        "output-level": N_("output-level"),
        "other": N_("other"),
    }
)
KIND_MEANING = Words(
    {
        "shattered": N_(
            "the gradient is cut or destroyed by an operation that cannot be differentiated"
        ),
        "stochastic": N_("the model is random, so that a single gradient misleads"),
        "vanishing": N_("the gradient shrinks or rounds to zero on its way to the image"),
        "loss-level": N_("the loss, not the network, hides the gradient"),
        "output-level": N_("the model's output is too coarse to carry a gradient"),
        "other": N_("of a kind not classified here"),
    }
)

#: Every noun that the report counts.
_COUNTED = {
    "image": NN_("{count} image", "{count} images"),
    "model": NN_("{count} model", "{count} models"),
    "parameter": NN_("{count} parameter", "{count} parameters"),
    "class": NN_("{count} class", "{count} classes"),
    "channel": NN_("{count} channel", "{count} channels"),
    "stage": NN_("{count} stage", "{count} stages"),
    "gate": NN_("{count} gate", "{count} gates"),
    "threat": NN_("{count} threat", "{count} threats"),
    "restart": NN_("{count} restart", "{count} restarts"),
    "check": NN_("{count} check", "{count} checks"),
    "pass": NN_("{count} pass", "{count} passes"),
    "survivor": NN_("{count} survivor", "{count} survivors"),
    "example": NN_("{count} example", "{count} examples"),
    "further image": NN_("{count} further image", "{count} further images"),
    "further value": NN_("{count} further value", "{count} further values"),
    "false alarm": NN_("{count} false alarm", "{count} false alarms"),
    "masked reference model": NN_(
        "{count} masked reference model", "{count} masked reference models"
    ),
    "claimed success": NN_("{count} claimed success", "{count} claimed successes"),
}

#: How the images were chosen, on page 1 and in the facts of the data.
DRAWN = Words(
    {"all": "", "uniform": N_(", drawn uniformly"), "balanced": N_(", drawn class-balanced")}
)
DRAW_MEANING = Words(
    {
        "all": "",
        "uniform": N_("; a uniform draw"),
        "balanced": N_("; as many of every class as it has"),
    }
)

STATES = Words({"complete": N_("complete"), "incomplete": N_("incomplete")})
FILES = Words(
    {
        "configuration": N_("configuration"),
        "weights": N_("weights"),
        "code": N_("code"),
        "data": N_("data"),
        "plugin": N_("plugin"),
    }
)
CONFIDENCES = Words({"low": N_("low"), "medium": N_("medium"), "high": N_("high")})


def fairness() -> str:
    """What a masking verdict does not say."""
    return _(
        "The verdict says that the evaluation by gradient attacks is unreliable, not that anybody "
        "meant to mislead."
    )


@dataclass(frozen=True)
class Badge:
    """A judgement as a word and a shape; its tone (colour) only repeats what they say."""

    name: str
    shape: str
    tone: str

    @property
    def word(self) -> str:
        """Its name in the language of the report."""
        return _(self.name)


# The shapes are in every common font (the WGL4 set), so that no glyph is ever missing.
VERDICTS = {
    "pass": Badge(N_("PASS"), "●", "good"),
    "no-requirement": Badge(N_("NO REQUIREMENT"), "○", "quiet"),
    "fail": Badge(N_("FAIL"), "▲", "bad"),
    "inconclusive": Badge(N_("INCONCLUSIVE"), "◊", "open"),
}
MASKINGS = {
    "none": Badge(N_("none found"), "○", "good"),
    "possible": Badge(N_("possible"), "●", "fair"),
    "suspected": Badge(N_("suspected"), "■", "bad"),
    "confirmed": Badge(N_("confirmed"), "▲", "bad"),
    "inconclusive": Badge(N_("inconclusive"), "◊", "open"),
}
SEVERITIES = {
    "high": Badge(N_("high"), "▲", "bad"),
    "medium": Badge(N_("medium"), "■", "fair"),
    "low": Badge(N_("low"), "●", "open"),
    "info": Badge(N_("info"), "○", "quiet"),
}
GATES = {
    True: Badge(N_("holds"), "●", "good"),
    False: Badge(N_("broken"), "▲", "bad"),
    None: Badge(N_("not judged"), "◊", "open"),
}
WAIVED = Badge(N_("waived"), "◊", "open")
STATUSES = {
    "done": Badge(N_("done"), "●", "good"),
    "skipped": Badge(N_("skipped"), "○", "quiet"),
    "error": Badge(N_("failed"), "▲", "bad"),
}
CHECKS = {
    "done": Badge(N_("clear"), "●", "good"),
    "flagged": Badge(N_("flagged"), "■", "bad"),
    "named": Badge(N_("names it"), "●", "fair"),
    "not applicable": Badge(N_("not applicable"), "○", "quiet"),
    "skipped": Badge(N_("skipped"), "○", "quiet"),
    "error": Badge(N_("failed"), "▲", "bad"),
}
#: Of the planted mask: found or not.
CONTROLS = {
    True: Badge(N_("found"), "●", "good"),
    False: Badge(N_("not found"), "▲", "bad"),
}
#: Of a self-test: the verdict is a right one or not.
AS_EXPECTED = {
    True: Badge(N_("as expected"), "●", "good"),
    False: Badge(N_("wrong"), "▲", "bad"),
}
#: Of a point of a standard.
SUPPORT = {
    "supports": Badge(N_("supports"), "●", "good"),
    "partly": Badge(N_("supports in part"), "●", "fair"),
    "tested": Badge(N_("tested"), "●", "good"),
    "open": Badge(N_("not tested"), "○", "open"),
    "other": Badge(N_("not applicable"), "○", "quiet"),
}
PLUGINS = {
    "loaded": Badge(N_("loaded"), "●", "good"),
    "blocked": Badge(N_("blocked"), "○", "quiet"),
    "broken": Badge(N_("broken"), "▲", "bad"),
}


def shorten(text: str, limit: int) -> str:
    """`text` in at most `limit` characters, the last one an ellipsis where something is cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def bounded(text: str) -> str:
    """`text`, cut where it is longer than any page needs, which is said."""
    more = len(text) - _LONGEST
    if more <= 0:
        return text
    rest = _("({count} more letters are in audit.json)").format(count=f"{more:,}")
    return f"{text[:_LONGEST]}… {rest}"


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


def plural(number: int, noun: str) -> str:
    """ "1 image", "12 images"; the noun is one of `_COUNTED`."""
    return ngettext(*_COUNTED[noun], number).format(count=f"{number:,}")


def listed(texts: Iterable[str]) -> str:
    """ "a, b, c"."""
    return _(", ").join(texts)


def clauses(texts: Iterable[str]) -> str:
    """ "a; b; c"."""
    return _("; ").join(texts)


def prose(sentences: Iterable[str]) -> str:
    """Sentences one after another."""
    return gap().join(sentences)


def gap() -> str:
    """What stands between two sentences; nothing in a language that is written without spaces."""
    return _("{first} {second}").format(first="", second="")


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
        return _("{seconds}\N{NO-BREAK SPACE}s").format(seconds=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        text = _("{minutes}\N{NO-BREAK SPACE}min {seconds}\N{NO-BREAK SPACE}s")
        return text.format(minutes=minutes, seconds=f"{rest:02d}")
    hours, minutes = divmod(minutes, 60)
    text = _("{hours}\N{NO-BREAK SPACE}h {minutes}\N{NO-BREAK SPACE}min")
    return text.format(hours=hours, minutes=f"{minutes:02d}")


def sentence(text: str) -> str:
    """A remark as a sentence: a capital first, a full stop last."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "!", "?", "。", "！", "？")) else whole + _(".")


def unfinished(text: str) -> str:
    """A sentence without its full stop."""
    return text.removesuffix(".").removesuffix("。")


def exit_meaning(status: int) -> str:
    """What an exit status says."""
    return EXIT_MEANING[status] if status in EXIT_MEANING else _("see the documentation")


def moment(text: str) -> datetime:
    """An ISO 8601 time in UTC; the epoch where `text` is not one: the report is still made."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def day(when: datetime) -> str:
    """A date as people write it: "2 January 2026"."""
    from babel.dates import format_date

    return format_date(when, _("d MMMM y"), locale=spoken())


def norm(name: str) -> str:
    """The norm as the field writes it."""
    return _NORMS.get(name, name)


def threat_text(one: ThreatResult | GalleryItem | Masking) -> str:
    """The norm and epsilon that something is about; empty where they are not known."""
    if one.norm is None or one.epsilon_text is None:
        return ""
    return listed((norm(one.norm), f"ε = {one.epsilon_text}"))


def norm_meaning(name: str, measured: str = "") -> str:
    """What the norm allows, in a sentence or two.

    Args:
        measured: what the plugin that offers it says that it measures.
    """
    if name in _NORM_MEANING:
        return _NORM_MEANING[name]
    if not measured:
        return _("The plugin that provides this norm defines it.")
    limit = _("This is at most ε; the plugin that provides this norm defines it.")
    return prose((sentence(measured), limit))


def grey_levels(distance: float) -> str:
    """A distance in l-infinity as a part of 255."""
    return f"{255 * distance:.2f}/255"


def png(picture: str) -> str:
    """A picture in base64 as the address of an image."""
    return f"data:image/png;base64,{picture}"


def value_text(value: Any) -> str:
    """A parameter value as it would stand in a configuration file."""
    return _("not set") if value is None else json.dumps(value, ensure_ascii=False, default=str)


def epsilon(value: float, threats: Iterable[ThreatResult]) -> str:
    """An epsilon as the configuration wrote it, else as a decimal number."""
    return next((t.epsilon_text for t in threats if isclose(t.epsilon, value)), f"{value:.4g}")
