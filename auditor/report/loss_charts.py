"""How the attacks' losses ended, restart by restart, as box plots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditor.language import _
from auditor.report import drawing
from auditor.report.charts import SHOWN
from auditor.report.drawing import INK, Chart
from auditor.report.threats import by_norm
from auditor.report.wording import clauses, listed, plural, prose, threat_text
from auditor.results import AttackResult, ModelResult, ThreatResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def losses(model: ModelResult) -> Iterator[tuple[str, Chart]]:
    """At the largest epsilon of each norm, where the attacks should have the least trouble."""
    for threats in by_norm(model).values():
        chart = final_losses(model, threats[-1])
        if chart is not None:
            yield threat_text(threats[-1]), chart


def final_losses(model: ModelResult, threat: ThreatResult) -> Chart | None:
    """Box plots of each attack's loss at the end of its restarts; None where none had several."""
    several = [a for a in threat.attacks if len(a.losses) > 1]
    attacks = [a for a in several if any(s.quantiles for s in a.losses)]
    shown = attacks[:SHOWN]
    if not shown:
        return None
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    with drawing.style():
        figure, panels = drawing.figure(0.1 + 1.45 * rows, left=0.55, rows=rows, columns=columns)
        for axes, attack in zip(panels, shown, strict=False):
            _draw_boxes(axes, attack)
        for axes in panels[len(shown) :]:
            axes.set_axis_off()
        for axes in panels[::columns]:
            axes.set_ylabel(_("final loss"))
        text = _(
            "Boxes span the quartiles over the images, whiskers the minimum and maximum, the line "
            "is the median; each attack has its own scale. A restart is run on the images that "
            "withstood those before it, so later boxes hold fewer and harder images. A cross marks "
            "a restart without a finite loss."
        )
        if len(attacks) > len(shown):
            more = _("{count} more attacks are in audit.json.")
            text = prose((text, more.format(count=len(attacks) - len(shown))))
        restarts = clauses(listed((a.label, plural(len(a.losses), "restart"))) for a in shown)
        alt = _("Final losses against {model}, {threat}: {restarts}.").format(
            model=model.name, threat=threat_text(threat), restarts=restarts
        )
        return Chart(drawing.data_uri(figure), alt, text)


def _draw_boxes(axes: Axes, attack: AttackResult) -> None:
    """One attack's boxes, a cross on the axis for a restart without a finite loss."""
    names = ("whislo", "q1", "med", "q3", "whishi")
    seen = [(i, s.quantiles) for i, s in enumerate(attack.losses, 1) if s.quantiles]
    boxes = [{**dict(zip(names, quantiles, strict=True)), "fliers": []} for _, quantiles in seen]
    thin = {"linewidth": 0.7, "color": INK}
    axes.bxp(
        boxes,
        positions=[i for i, _ in seen],
        widths=0.55,
        patch_artist=True,
        boxprops={"linewidth": 0.7, "facecolor": "#dde6ee", "edgecolor": INK},
        medianprops={"linewidth": 1.6, "color": "#0072b2"},
        whiskerprops=thin,
        capprops=thin,
        manage_ticks=False,
    )
    values = [abs(v) for _, quantiles in seen for v in quantiles]
    typical = max(1e-9, sorted(values)[len(values) // 2])
    if max(values) > 1e4 * typical:
        axes.set_yscale("symlog", linthresh=typical)
        # One tick a decade would not fit; the ends and zero tell how far it reaches.
        ends = {min(v for _, quantiles in seen for v in quantiles), 0.0, max(values)}
        axes.set_yticks(sorted(ends), [f"{end:.3g}" for end in sorted(ends)])
        axes.minorticks_off()
    lost = [i for i, s in enumerate(attack.losses, 1) if not s.quantiles]
    axes.plot(lost, [0] * len(lost), "x", color=INK, transform=axes.get_xaxis_transform(),
              clip_on=False, markersize=4)  # fmt: skip
    objective = f" ({attack.objective})" if attack.objective else ""
    axes.set_title(drawing.label(attack.label + objective, 34))
    axes.grid(visible=False, axis="x")
    restarts = len(attack.losses)
    # With few restarts the boxes would be as wide as the panel; the room stays, unlabelled.
    axes.set_xlim(0.4, max(restarts, 5) + 0.6)
    step = -(-restarts // 10)
    axes.set_xticks(range(1, restarts + 1, step))
    images = dict.fromkeys((attack.losses[0].images, attack.losses[-1].images))
    counts = _(" to ").join(f"{n:,}" for n in images)
    axes.set_xlabel(_("restart ({counts} images)").format(counts=counts), fontsize=7)
