"""The charts of the report, as SVG images with their meaning in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from auditor.language import _
from auditor.report import drawing
from auditor.report.drawing import GREY, INK, Chart, Pen
from auditor.report.step_curves import BEYOND, Steps, draw_steps, step_curves
from auditor.report.threats import by_norm
from auditor.report.wording import clauses, norm, percent, prose, shorten, threat_text
from auditor.results import Accuracy, ModelResult, ThreatResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: More curves than this cannot be told apart; the tables hold the others.
SHOWN = 12

_WORST = Pen(INK, "-", "o")
_CERTIFIED = Pen(GREY, (0, (1, 1.6)), "d")


@dataclass(frozen=True)
class _Series:
    """One line of a chart: an accuracy per epsilon."""

    name: str
    pen: Pen
    points: tuple[tuple[float, Accuracy], ...]


def _series(threats: Sequence[ThreatResult]) -> list[_Series]:
    """The attacks that ran, strongest last, then the worst case and what is certified."""
    found: dict[str, list[tuple[float, Accuracy]]] = {}
    for threat in threats:
        for attack in threat.attacks:
            if attack.status == "done" and attack.robust is not None:
                found.setdefault(attack.label, []).append((threat.epsilon, attack.robust))
    strongest = sorted(found, key=lambda name: found[name][-1][1].accuracy)[:SHOWN]
    shown = [name for name in found if name in strongest]
    series = [_Series(n, Pen.at(i), tuple(found[n])) for i, n in enumerate(shown)]
    certified = tuple((t.epsilon, t.certified) for t in threats if t.certified is not None)
    worst = tuple((t.epsilon, t.robust) for t in threats if t.robust is not None)
    if certified:
        series.append(_Series(_("certified"), _CERTIFIED, certified))
    if worst:
        series.append(_Series(_("worst case"), _WORST, worst))
    return series


def whiskers(accuracies: Sequence[Accuracy]) -> list[list[float]]:
    """Distances from each accuracy to the ends of its interval, as matplotlib wants them."""
    return [
        [max(0.0, a.accuracy - a.ci95[0]) for a in accuracies],
        [max(0.0, a.ci95[1] - a.accuracy) for a in accuracies],
    ]


def _epsilon_ticks(axes: Axes, threats: Sequence[ThreatResult]) -> None:
    """Write each epsilon as the configuration does, leaving out those that would collide."""
    largest = threats[-1].epsilon
    ticks, last = [(largest, threats[-1].epsilon_text)], 0.0
    for threat in threats[:-1]:
        if threat.epsilon - last >= 0.08 * largest and largest - threat.epsilon >= 0.08 * largest:
            ticks.append((threat.epsilon, threat.epsilon_text))
            last = threat.epsilon
    axes.set_xticks([0.0, *(t[0] for t in ticks)], ["0", *(drawing.label(t[1], 12) for t in ticks)])
    axes.set_xticks([t.epsilon for t in threats], minor=True)


def _draw_curve(axes: Axes, series: _Series, clean: Accuracy) -> None:
    """One curve from the clean accuracy on, with its intervals."""
    points = ((0.0, clean), *series.points)
    x, accuracies = [p[0] for p in points], [p[1] for p in points]
    y, worst = [a.accuracy for a in accuracies], series.pen is _WORST
    if worst:
        low, high = [a.ci95[0] for a in accuracies], [a.ci95[1] for a in accuracies]
        axes.fill_between(x, low, high, color=GREY, alpha=0.22, linewidth=0)
    else:
        bars = whiskers(accuracies)
        axes.errorbar(x, y, bars, fmt="none", ecolor=series.pen.colour, elinewidth=0.6, alpha=0.55)
    axes.plot(
        x,
        y,
        color=series.pen.colour,
        linestyle=series.pen.dash,
        marker=series.pen.marker,
        linewidth=2 if worst else 1.1,
        markersize=5 if worst else 4,
        markerfacecolor=INK if worst else "white",
        zorder=4 if worst else 3,
    )


def _name_curves(
    axes: Axes, series: Sequence[_Series], steps: Sequence[Steps], right: float, gap: float
) -> None:
    """Write every curve's name at its end, `gap` apart where curves end together."""
    ends = [(*s.points[-1], s.pen, s.name) for s in series]
    marks = [(x, a.accuracy, pen, f"{drawing.label(name)}  {percent(a.accuracy)}")
             for x, a, pen, name in ends]  # fmt: skip
    marks += [(s.epsilons[-1], s.accuracies[-1], Pen(s.colour, "-", ""), _step_name(s))
              for s in steps]  # fmt: skip
    heights = drawing.spread([mark[1] for mark in marks], gap)
    for (x, y, pen, text), height in zip(marks, heights, strict=True):
        worst, line = pen is _WORST, [1.02 * right, 1.05 * right]
        axes.plot([x, *line], [y, height, height], color=pen.colour, linewidth=0.5, clip_on=False)
        axes.plot(
            [1.065 * right], [height], color=pen.colour, marker=pen.marker, clip_on=False,
            markersize=4, markerfacecolor=INK if worst else "white",
        )  # fmt: skip
        axes.text(
            1.085 * right,
            height,
            text,
            color=INK,
            fontsize=7.5,
            fontweight="bold" if worst else "normal",
            verticalalignment="center",
        )


def _step_name(curve: Steps) -> str:
    """The name beside a step curve, without a number: it ends beyond the last epsilon."""
    return _("{attack}, from its distances").format(attack=drawing.label(curve.attack, 14))


def curves(model: ModelResult) -> Iterator[tuple[str, Chart]]:
    """The charts of each norm, with their titles."""
    for name, threats in by_norm(model).items():
        if len({threat.epsilon for threat in threats}) > 1:
            yield norm(name), accuracy_curves(model, threats)
        else:
            yield threat_text(threats[0]), attack_points(model, threats[0])
            steps = distance_curves(model, threats[0])
            if steps:
                yield norm(name), steps


def accuracy_curves(model: ModelResult, threats: Sequence[ThreatResult]) -> Chart:
    """Accuracy against epsilon under one norm: a curve per attack and the worst case.

    Args:
        threats: of one norm, at least two epsilons, ascending.
    """
    series = _series(threats)
    steps = step_curves(threats, {s.name: s.pen.colour for s in series})
    right = threats[-1].epsilon * (1 + BEYOND if steps else 1)
    with drawing.style():
        figure, (axes,) = drawing.figure(2.6, left=0.7, right=2.0)
        for curve in steps:
            draw_steps(axes, curve)
        for one in series:
            _draw_curve(axes, one, model.clean)
        _name_curves(axes, series, steps, right, gap=0.076)
        _accuracy_axes(axes, threats, right)
        return Chart(drawing.data_uri(figure), _alt(model, threats), _caption(threats, steps))


def attack_points(model: ModelResult, threat: ThreatResult) -> Chart:
    """Accuracy under each attack at the only epsilon of a norm, with its interval."""
    clean = _Series(_("clean images"), Pen(INK, "-", "o"), ((0.0, model.clean),))
    series = [clean, *_series([threat])]
    with drawing.style():
        figure, (axes,) = drawing.figure(0.8 + 0.2 * len(series), left=1.75, right=0.7)
        for row, one in enumerate(series):
            accuracy, worst = one.points[-1][1], one.pen is _WORST
            axes.errorbar(
                [accuracy.accuracy], [row], xerr=whiskers([accuracy]), color=one.pen.colour,
                marker=one.pen.marker, markersize=6 if worst else 5, capsize=2.5,
                elinewidth=1.8 if worst else 1.1, markerfacecolor=INK if worst else "white",
            )  # fmt: skip
            axes.text(1.03, row, percent(accuracy.accuracy), va="center", fontsize=7.5,
                      fontweight="bold" if worst else "normal")  # fmt: skip
        axes.set_yticks(range(len(series)), [drawing.label(one.name) for one in series])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        drawing.percent_axis(axes.xaxis)
        axes.set(xlim=(-0.01, 1.01), ylim=(len(series) - 0.5, -0.5))
        correct = _("images classified correctly, {threat}")
        axes.set_xlabel(correct.format(threat=drawing.label(threat_text(threat))))
        return Chart(drawing.data_uri(figure), _alt(model, [threat]), _caption([threat]))


def distance_curves(model: ModelResult, threat: ThreatResult) -> Chart | None:
    """The step curves up to the only epsilon of a norm; None where no attack has one.

    Args:
        threat: judged, so that it has a worst case.
    """
    series = _series([threat])
    steps = step_curves([threat], {s.name: s.pen.colour for s in series})
    if not steps:
        return None
    right = threat.epsilon * (1 + BEYOND)
    worst = series[-1]
    accuracy = worst.points[-1][1]
    with drawing.style():
        figure, (axes,) = drawing.figure(2.2, left=0.7, right=2.0)
        for curve in steps:
            draw_steps(axes, curve)
        axes.errorbar([threat.epsilon], [accuracy.accuracy], whiskers([accuracy]), color=INK,
                      marker="o", markersize=5, capsize=2.5, zorder=4)  # fmt: skip
        _name_curves(axes, [worst], steps, right, gap=0.1)
        _accuracy_axes(axes, [threat], right)
        fall = _("Between 0 and there, steps fall where images fell.")
        return Chart(
            drawing.data_uri(figure),
            prose((_alt(model, [threat]), fall)),
            prose((_steps_text(steps), _("The mark is the worst case over all attacks."))),
        )


def _accuracy_axes(axes: Axes, threats: Sequence[ThreatResult], right: float) -> None:
    """Epsilon to the right, accuracy upwards."""
    _epsilon_ticks(axes, threats)
    drawing.percent_axis(axes.yaxis)
    axes.set(xlim=(0, right), ylim=(-0.01, 1.01), ylabel=_("images classified correctly"))
    axes.set_xlabel(f"ε ({drawing.label(norm(threats[0].norm))})")


def _alt(model: ModelResult, threats: Sequence[ThreatResult]) -> str:
    """What a chart of accuracies shows, for readers who do not see it."""
    end = _("{accuracy} at ε = {epsilon}")
    ends = clauses(
        end.format(accuracy=percent(t.robust.accuracy), epsilon=t.epsilon_text)
        for t in threats
        if t.robust
    )
    return _(
        "Accuracy of {model} against ε in {norm}: {clean} on clean images; worst case {ends}."
    ).format(
        model=model.name,
        norm=norm(threats[0].norm),
        clean=percent(model.clean.accuracy),
        ends=ends or _("not known"),
    )


def _caption(threats: Sequence[ThreatResult], steps: Sequence[Steps] = ()) -> str:
    """What the marks mean, and what is left out."""
    several = len(threats) > 1
    texts = [
        _("The band is the 95 % interval of the worst case, thin bars those of single attacks.")
        if several
        else _("Bars are 95 % intervals.")
    ]
    labels = {a.label for t in threats for a in t.attacks if a.status == "done" and a.robust}
    if len(labels) > SHOWN:
        some = _("The {shown} strongest attacks are drawn; {more} more are in the tables.")
        texts.append(some.format(shown=SHOWN, more=len(labels) - SHOWN))
    return prose([*texts, _steps_text(steps)] if steps else texts)


def _steps_text(steps: Sequence[Steps]) -> str:
    """What the thin lines of these step curves mean."""
    return _(
        "Thin steps: what is left at every ε, also between those audited, going by the smallest "
        "perturbation of each image that {attacks} found."
    ).format(attacks=_(" and ").join(shorten(curve.attack, 40) for curve in steps))
