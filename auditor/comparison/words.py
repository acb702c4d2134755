"""The sentences of a comparison, for the terminal and the page."""

from __future__ import annotations

from auditor.comparison.facts import Comparison, Line, Masking
from auditor.report.wording import Badge, norm, number, percent

OUTCOMES = {
    "no drop": Badge("NO DROP", "●", "good"),
    "drop": Badge("DROP", "▲", "bad"),
    "no limit": Badge("COMPARED", "○", "quiet"),
    "cannot be judged": Badge("CANNOT BE JUDGED", "◊", "open"),
}
STATES = {
    "new": Badge("new", "▲", "bad"),
    "fixed": Badge("fixed", "●", "good"),
    "unchanged": Badge("unchanged", "○", "quiet"),
}


def outcome(comparison: Comparison) -> str:
    """What the comparison amounts to, in one sentence."""
    if comparison.outcome == "cannot be judged":
        return "Not every robust accuracy could be compared image by image; the notes say why."
    if comparison.limit is None:
        return "No limit on a drop was given: what was lost and won is shown, and nothing fails."
    limit = percent(comparison.limit)
    if comparison.outcome == "drop":
        lines = [line for model in comparison.models for line in model.lines if line.dropped]
        dropped = ", ".join(dict.fromkeys(title(line) for line in lines))
        return (
            f"Robust accuracy fell by more than {limit}, and not by chance: {dropped} "
            f"(exact test, level {comparison.level:g} for all together)."
        )
    return f"No robust accuracy fell by more than {limit} in a way that chance does not explain."


def title(line: Line) -> str:
    """Such as "L∞ 8/255"."""
    return "clean" if line.norm is None else f"{norm(line.norm)} {line.epsilon_text}"


def change(line: Line) -> str:
    """Such as "−4.0 points"; of the images in common where they are known."""
    if line.paired is not None:
        points = -100 * line.paired.drop
    elif line.a is not None and line.b is not None:
        points = 100 * (line.b.accuracy - line.a.accuracy)
    else:
        return "–"
    return f"{'+' if points > 0 else '−' if points < 0 else '±'}{abs(points):.1f} points"


def p_value(value: float) -> str:
    """To two digits; very small ones as a limit."""
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def masking(one: Masking) -> str:
    """Such as "confirmed (vanishing), 61.8 % → 0.0 %"."""
    kind = f" ({one.kind})" if one.kind else ""
    if one.before is None or one.corrected is None:
        return f"{one.verdict}{kind}"
    return f"{one.verdict}{kind}, {percent(one.before)} → {percent(one.corrected)}"


def images(places: tuple[int, ...], limit: int = 40) -> str:
    """Positions of images, the first of them in full."""
    shown = ", ".join(map(str, places[:limit]))
    rest = len(places) - limit
    return f"{shown} and {number(rest)} more" if rest > 0 else shown
