"""The margin along lines from clean images: does the gradient lead anywhere?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf, isfinite, nan
from typing import TYPE_CHECKING

from auditor.language import N_, Words, _, ngettext
from auditor.report import drawing
from auditor.report.drawing import COLOURS, GREY, INK, Chart
from auditor.report.threats import under
from auditor.report.wording import listed, number, plural, prose
from auditor.results import DirectionCurve, Masking, ModelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Images whose panels fit beside one another.
_PANELS = 3
#: Colour, line and marker of each direction; any one of the three tells them apart.
_PENS = {"gradient": (COLOURS[0], "-", "o"), "random": (COLOURS[1], "--", "s")}
_NAMES = Words({"gradient": N_("gradient"), "random": N_("random")})


def directions(model: ModelResult) -> Chart | None:
    """A panel per image with the margin along the gradient and along random directions.

    Returns:
        None where no curve has two points.
    """
    masking = model.masking
    threat = under(model, masking.norm, masking.epsilon_text)
    epsilon = None if threat is None else threat.epsilon
    curves = [c for c in masking.directions if len(_points(c)) > 1]
    images = list(dict.fromkeys(c.image for c in curves))
    shown = images[:_PANELS]
    if not shown:
        return None
    with drawing.style():
        figure, panels = drawing.figure(1.5, left=0.55, right=0.95, columns=_PANELS)
        for axes, image in zip(panels, shown, strict=False):
            _draw(axes, [c for c in curves if c.image == image], epsilon, masking)
            axes.set_title(_("image {number}").format(number=f"{image:,}"))
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        panels[0].set_ylabel(_("margin (> 0: wrong)"), fontsize=7)
        _name(panels[len(shown) - 1], [c for c in curves if c.image == shown[-1]])
        found = _found(curves, epsilon)
        alt = _("Margin of the images {images} of {model} along straight lines.").format(
            images=listed(f"{image:,}" for image in shown), model=model.name
        )
        return Chart(
            drawing.data_uri(figure), prose((alt, found)), _caption(found, len(images) - len(shown))
        )


def _points(curve: DirectionCurve) -> list[tuple[float, float]]:
    return [
        (x, y if isfinite(y) else nan)
        for x, y in zip(curve.distances, curve.margins, strict=False)
        if isfinite(x)
    ]


def _draw(
    axes: Axes, curves: Sequence[DirectionCurve], epsilon: float | None, masking: Masking
) -> None:
    """One image: its curves, where it turns wrong, and how far the threat reaches."""
    right = max(curve.distances[-1] for curve in curves) or 1.0
    for curve in curves:
        colour, line, marker = _PENS[curve.direction]
        x, y = zip(*_points(curve), strict=True)
        axes.plot(x, y, color=colour, linestyle=line, marker=marker, markersize=3.2, linewidth=1.3,
                  markerfacecolor="white" if line == "--" else colour,
                  markevery=max(1, len(x) // 6), zorder=3)  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    ticks = [(0.0, "0"), (right, number(right))]
    if epsilon is not None and epsilon <= right:
        axes.axvline(epsilon, color=GREY, linewidth=0.8, linestyle=":")
        if epsilon < 0.98 * right:
            axes.axvspan(epsilon, right, color=GREY, alpha=0.1, linewidth=0)
        text = drawing.label(f"ε = {masking.epsilon_text or number(epsilon)}", 14)
        ticks = [(0.0, "0"), (epsilon, text)]
        ticks += [(right, f"{number(right / epsilon)} ε")] if right >= 1.7 * epsilon else []
    axes.set_xticks([t[0] for t in ticks], [t[1] for t in ticks])
    axes.set_xlim(0, right)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(_("distance from the clean image"), fontsize=7)


def _name(axes: Axes, curves: Sequence[DirectionCurve]) -> None:
    """Name the directions at the ends of the last panel's curves."""
    low, high = axes.get_ylim()
    ends = {c.direction: _points(c)[-1] for c in reversed(curves)}
    places = [min(1.0, max(0.0, (y - low) / (high - low))) if isfinite(y) else 0.5
              for _, y in ends.values()]  # fmt: skip
    across = axes.get_yaxis_transform()
    for direction, place in zip(ends, drawing.spread(places, 0.13), strict=True):
        height = low + place * (high - low)
        colour, line, marker = _PENS[direction]
        axes.plot([1.05], [height], color=colour, marker=marker, markersize=4, clip_on=False,
                  markerfacecolor="white" if line == "--" else colour,
                  transform=across)  # fmt: skip
        axes.text(1.1, height, _NAMES[direction], fontsize=7.5, va="center", transform=across)


def _found(curves: Iterable[DirectionCurve], epsilon: float | None) -> str:
    """How many images turn wrong, direction by direction."""
    parts = []
    for direction in _PENS:
        wrong: dict[int, bool] = {}
        for curve in curves:
            if curve.direction == direction:
                reach = inf if epsilon is None else epsilon * (1 + 1e-6)
                falls = any(y > 0 for x, y in _points(curve) if x <= reach)
                wrong[curve.image] = wrong.get(curve.image, False) or falls
        if wrong:
            text = _turned(direction, sum(wrong.values()))
            parts.append(text.format(wrong=sum(wrong.values()), images=plural(len(wrong), "image")))
    text = listed(parts)
    text = f"{text[:1].upper()}{text[1:]}"
    return (_("{found}.") if epsilon is None else _("{found} within ε.")).format(found=text)


def _turned(direction: str, wrong: int) -> str:
    """The pattern that says how many images turn wrong along a direction."""
    if direction == "gradient":
        return ngettext(
            "along the gradient {wrong} of {images} turns wrong",
            "along the gradient {wrong} of {images} turn wrong",
            wrong,
        )
    return ngettext(
        "along a random direction {wrong} of {images} turns wrong",
        "along a random direction {wrong} of {images} turn wrong",
        wrong,
    )


def _caption(found: str, more: int) -> str:
    texts = [
        found,
        _(
            "Margin: the best wrong score less the true one's. Shaded: outside the threat. Where a "
            "random direction raises the margin as fast, the gradient leads nowhere."
        ),
    ]
    if more:
        further = ngettext("{images} is in audit.json.", "{images} are in audit.json.", more)
        texts.append(further.format(images=plural(more, "further image")))
    return prose(texts)
