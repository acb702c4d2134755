"""A comparison as one HTML page that needs nothing beside itself, in the reports' style."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from auditor.comparison.chart import dumbbells
from auditor.comparison.result import (
    Battery,
    Change,
    Comparison,
    Discordant,
    ModelChange,
)
from auditor.comparison.sentences import p_text, pair_text, points, size, threat_text, unlike
from auditor.report.html import environment, style_sheet
from auditor.report.wording import Badge, clauses, listed, sentence

CONCLUSIONS = {
    "no-drop": Badge("NO DROP", "●", "good"),
    "drop": Badge("DROP", "▲", "bad"),
    "no-limit": Badge("NO LIMIT", "○", "quiet"),
    "open": Badge("NOT JUDGED", "◊", "open"),
}
JUDGEMENTS = {
    "worse": Badge("worse", "■", "bad"),
    "better": Badge("better", "●", "good"),
    "no difference": Badge("as chance may be", "○", "quiet"),
}
_FAILS = Badge("fails", "▲", "bad")
_SAME = Badge("no difference", "○", "quiet")


def render(found: Comparison, class_names: Sequence[str]) -> str:
    """The page; a style sheet within it serves screen and paper.

    Args:
        class_names: by label, as far as they are known.
    """
    made = environment()
    made.filters |= {
        one.__name__: one
        for one in (batteries, by_class, changed, in_words, judgement, p_text, pair_text, places,
                    points, size)
    }  # fmt: skip
    made.filters["threat_of"] = threat_text
    titles = dict.fromkeys((found.a.title, found.b.title))
    return made.get_template("compare.html.j2").render(
        found=found,
        title=" → ".join(titles),
        names=class_names,
        chart=dumbbells(found.models),
        conclusions=CONCLUSIONS,
        css=Markup(style_sheet()),
    )


def judgement(change: Change) -> Badge:
    """What the test says of a change, in a word."""
    if change.fails:
        return _FAILS
    if change.lost == change.won == ():
        return _SAME
    return JUDGEMENTS[change.outcome]


def changed(model: ModelChange) -> Iterator[tuple[str, Change]]:
    """The accuracies of which images are known to have been lost or won."""
    found = [("Clean images", model.clean)]
    found += [(threat_text(one), one.robust) for one in model.threats if one.robust]
    return ((name, one) for name, one in found if one.lost or one.won)


def by_class(images: Sequence[Discordant], names: Sequence[str]) -> str:
    """How many of each class, the most first."""
    counts = Counter(one.label for one in images).most_common()
    return listed(f"{names[k] if 0 <= k < len(names) else k} {many:,}" for k, many in counts)


def places(images: Sequence[Discordant]) -> str:
    """Where they stand in the data; in A's and B's where these differ."""
    return listed(
        f"{one.id_a}" if one.id_a == one.id_b else f"{one.id_a} (B: {one.id_b})" for one in images
    )


def batteries(model: ModelChange) -> Iterator[tuple[str, Battery]]:
    """Attacks by threat, where all threats have the same once, and checks."""
    attacks = [(threat_text(one), one.attacks) for one in model.threats]
    if len({battery for _, battery in attacks}) == 1:
        attacks = [("attacks", attacks[0][1])]
    yield from attacks
    yield "checks", model.checks


def in_words(battery: Battery) -> str:
    """What was done alike, and what was not."""
    shared = f"done alike on both sides: {listed(battery.shared) or 'nothing'}"
    return sentence(clauses(part for part in (shared, unlike(battery)) if part))
