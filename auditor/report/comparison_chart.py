"""The chart that puts the models of an audit side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from auditor.language import _
from auditor.report import drawing
from auditor.report.charts import whiskers
from auditor.report.drawing import GREY, INK, Chart
from auditor.report.threats import Budget, budgets, under
from auditor.report.wording import MASKINGS, NBSP, listed, norm, percent, plural
from auditor.results import ModelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compare_models(models: Sequence[ModelResult]) -> Chart | None:
    """Clean and worst-case accuracy of every model, threat by threat.

    Returns:
        None where there is a single model, or no threat was judged.
    """
    if len(models) < 2 or not any(t.robust for m in models for t in m.threats):
        return None
    keys = budgets(models)
    with drawing.style():
        figure, (axes,) = drawing.figure(
            0.8 + 0.19 * len(keys) * (len(models) + 1), left=1.75, right=1.75
        )
        row, ticks = 0.0, []
        for key in keys:
            axes.text(-0.01, row, drawing.label(listed((norm(key[0]), f"ε = {key[1]}")), 60),
                      fontweight="bold", va="center")  # fmt: skip
            for model in models:
                row += 1
                ticks.append((row, drawing.label(model.name)))
                _draw_pair(axes, row, model, key)
            row += 1.15
        axes.set_yticks([t[0] for t in ticks], [t[1] for t in ticks])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        drawing.percent_axis(axes.xaxis)
        axes.set(xlim=(-0.01, 1.01), ylim=(row - 0.4, -0.7))
        axes.set_xlabel(_("images classified correctly"))
        alt = _(
            "Clean and worst-case accuracy of {models} under {threats}; the same numbers are in "
            "the table above."
        )
        return Chart(
            drawing.data_uri(figure),
            alt.format(models=listed(m.name for m in models), threats=plural(len(keys), "threat")),
            _(
                "Open circles: clean images. Filled squares: worst case over all attacks. Bars are "
                "95 % intervals. Words name signs of gradient masking."
            ),
        )


def _draw_pair(axes: Axes, row: float, model: ModelResult, key: Budget) -> None:
    """One model's clean and worst-case accuracy under one threat, and the doubt in them."""
    common: dict[str, Any] = {"elinewidth": 1.1, "capsize": 2.2, "color": INK}
    threat = under(model, *key)
    robust = None if threat is None else threat.robust
    if robust is not None:
        axes.plot([robust.accuracy, model.clean.accuracy], [row, row], color=GREY, linewidth=0.6)
        axes.errorbar([robust.accuracy], [row], xerr=whiskers([robust]), marker="s",
                      markersize=5, **common)  # fmt: skip
    axes.errorbar([model.clean.accuracy], [row], xerr=whiskers([model.clean]), marker="o",
                  markersize=5, markerfacecolor="white", **common)  # fmt: skip
    text, masking = percent(robust), model.masking.verdict
    if masking != "none":
        doubt = _("masking {verdict}").format(verdict=MASKINGS[masking].word)
        text = f"{text}{NBSP}{NBSP}{doubt}"
    axes.text(1.03, row, text, va="center", fontsize=7.5)
