"""The chart of a comparison: both accuracies of every test on a line."""

from __future__ import annotations

from typing import Any

from auditor.comparison.result import Change, ModelChange
from auditor.comparison.sentences import pair_text, points, threat_text
from auditor.report import drawing
from auditor.report.charts import whiskers
from auditor.report.drawing import GREY, INK, Chart

#: More lines than these are in the table alone.
_LINES = 60


def dumbbells(models: tuple[ModelChange, ...]) -> Chart | None:
    """Both accuracies of clean images and of every threat, model by model.

    Returns:
        None where there are too many for a chart.
    """
    lines = sum(2 + len(model.threats) for model in models)
    if lines > _LINES:
        return None
    with drawing.style():
        figure, (axes,) = drawing.figure(0.8 + 0.21 * lines, left=1.75, right=1.2)
        row, ticks = 0.0, []
        for model in models:
            axes.text(-0.01, row, drawing.label(pair_text(model), 60), fontweight="bold",
                      va="center")  # fmt: skip
            changes = [("clean images", model.clean)]
            changes += [(threat_text(one), one.robust) for one in model.threats if one.robust]
            for name, change in changes:
                row += 1
                ticks.append((row, drawing.label(name)))
                _draw(axes, row, change)
            row += 1.15
        axes.set_yticks([t[0] for t in ticks], [t[1] for t in ticks])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        drawing.percent_axis(axes.xaxis)
        axes.set(xlim=(-0.01, 1.01), ylim=(row - 0.4, -0.7))
        axes.set_xlabel("images classified correctly")
        return Chart(
            drawing.data_uri(figure),
            "Accuracies in A and in B; the same numbers are in the tables above.",
            "Open circles: A. Filled squares: B. Bars are 95 % intervals.",
        )


def _draw(axes: Any, row: float, change: Change) -> None:
    common: dict[str, Any] = {"elinewidth": 1.1, "capsize": 2.2, "color": INK}
    a, b = change.a, change.b
    axes.plot([a.accuracy, b.accuracy], [row, row], color=GREY, linewidth=0.6)
    axes.errorbar([a.accuracy], [row - 0.14], xerr=whiskers([a]), marker="o", markersize=5,
                  markerfacecolor="white", **common)  # fmt: skip
    axes.errorbar([b.accuracy], [row + 0.14], xerr=whiskers([b]), marker="s", markersize=5,
                  **common)  # fmt: skip
    axes.text(1.03, row, f"{points(change.change)} points", va="center", fontsize=7.5)
