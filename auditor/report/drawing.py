"""How charts look and how they become SVG: the same bytes for the same numbers.

Text stays text, so that it can be found and copied; its font is the page's own.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditor.lazy import unseen
from auditor.printable import printable
from auditor.report.wording import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Width of the text block in inches: A4 less its margins.
WIDTH = 6.85
INK = "#16202b"
GREY = "#5b6672"
RULE = "#d5dae0"
#: Okabe and Ito's palette without its yellow, which paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0548a", "#a87400", "#3591c4", "#5b6672")
DASHES: tuple[Any, ...] = ("--", "-.", ":", (0, (6, 1.5, 1.5, 1.5, 1.5, 1.5)), (0, (2.5, 1)))
MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h")

_FONTS = ("Liberation Sans", "Arial", "Helvetica", "DejaVu Sans")
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.unicode_minus": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "auditor",
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 7.5,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Chart:
    """A picture as a data URI, and the same in words."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Pen:
    """One curve's colour, dash pattern and marker; no two curves share all three."""

    colour: str
    dash: Any
    marker: str

    @classmethod
    def at(cls, index: int) -> Pen:
        """The pen of the curve at `index`."""
        return cls(
            COLOURS[index % len(COLOURS)],
            DASHES[index % len(DASHES)],
            MARKERS[index % len(MARKERS)],
        )


@contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style, whatever the reader's own matplotlib settings are."""
    import matplotlib
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    family = next(name for name in _FONTS if name in installed)
    with unseen("torch"), matplotlib.rc_context():
        matplotlib.rcdefaults()
        parameters: Any = matplotlib.rcParams
        parameters.update(_STYLE | {"font.family": [family, "sans-serif"]})
        yield


def figure(
    height: float, *, left: float, right: float = 0.1, rows: int = 1, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """A figure of the text's width, and its axes row by row; all lengths in inches.

    The margins are given rather than found, so that charts below one another line up.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(WIDTH, height))
    gap = 0.6  # of a row's ticks and label and the next row's title
    panel = (height - 0.25 - 0.45 - gap * (rows - 1)) / rows
    grid = {
        "left": left / WIDTH,
        "right": 1 - right / WIDTH,
        "bottom": 0.45 / height,
        "top": 1 - 0.25 / height,
        "hspace": gap / panel,
        "wspace": 0.28,
    }
    axes = drawn.subplots(rows, columns, squeeze=False, gridspec_kw=grid)
    return drawn, [axis for row in axes for axis in row]


def label(text: str, limit: int = 26) -> str:
    """`text` on one short line."""
    return shorten(" ".join(printable(text).split()), limit)


def data_uri(drawn: Figure) -> str:
    """The figure as an SVG image that needs no file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Text stays text: what sets the page finds a font for letters that the chart's lacks.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def percent_axis(axis: Any) -> None:
    """Scale one axis from 0 to 100 %, with room for the marks at both ends."""
    from matplotlib.ticker import PercentFormatter

    axis.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move `positions` apart to at least `gap`, in order and, if they fit, within 0 to 1."""
    order = sorted(range(len(positions)), key=lambda i: (positions[i], i))
    moved = list(positions)
    floor = 0.0
    for i in order:
        moved[i] = floor = max(moved[i], floor)
        floor += gap
    ceiling = 1.0
    for i in reversed(order):
        moved[i] = ceiling = min(moved[i], ceiling)
        ceiling -= gap
    return moved
