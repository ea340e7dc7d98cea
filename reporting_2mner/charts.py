"""Charts in one style, each as SVG for a page and as PNG.

    def draw(axes):
        line(axes, [50, 200, 1000], [0.41, 0.63, 0.78], "pt", 0)
        line(axes, [50, 200, 1000], [0.44, 0.69, 0.81], "nl", 1)
        axes.set(xlabel="sentences", ylabel="F1", xscale="log")

    image = chart("learning-curve", "F1 against the number of sentences", draw)
    Path("learning_curve.png").write_bytes(image.png)
    image.svg    # an <svg> element for an HTML page

Lines differ by marker and dash as well as by colour. matplotlib writes fixed colours and the same
element ids into every SVG; `_inline` makes the colours CSS variables (`PALETTE`), so that they
follow the page's light or dark scheme, and the ids unique. matplotlib is imported when the first
chart is drawn, and `pyplot` is not used.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from dataset_mmnerd.schema import LANGUAGES

from .statistics import Calibration, Confusion, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "PALETTE",
    "SERIES",
    "Chart",
    "calibration_chart",
    "chart",
    "confusion_chart",
    "curve_chart",
    "interval_chart",
    "line",
    "line_chart",
    "size_chart",
]

PALETTE = {
    "ink": "#23262b",
    "muted": "#5c636d",
    "rule": "#d9d5cb",
    "accent": "#1c5d8c",
    "ochre": "#a15f0b",
    "green": "#39774a",
    "plum": "#87458a",
}
"""The colours on light paper. A page sets the CSS variable `--accent` for "accent", and so on."""

SERIES = ("accent", "ochre", "green", "plum", "muted")
"""The colours of a chart's lines, in their order; then they begin anew with another dash."""

MARKERS = "os^DvPX"
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.6)))
SIZE = (4.8, 3.0)
"""Of a chart in inches; the text stays legible at a phone's width."""

LONGEST_NAME = 24
"""Longer names are cut."""

MOST_POINTS = 60
"""Longer lines are drawn without a marker at each point."""

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": PALETTE["rule"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": PALETTE["muted"],
    "axes.labelsize": 10,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": PALETTE["muted"],
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "none",
    "legend.fontsize": 10,
    "legend.handlelength": 2.5,
    "legend.columnspacing": 1.2,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "grid.color": PALETTE["rule"],
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "2mner",
    "text.color": PALETTE["ink"],
    # A label may hold any character, a dollar sign too.
    "text.parse_math": False,
    "xtick.color": PALETTE["muted"],
    "xtick.labelsize": 10,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.color": PALETTE["muted"],
    "ytick.labelsize": 10,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
}


# The style ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chart:
    """A drawn chart.

    Attributes:
        name: what its files and the ids inside its SVG begin with.
        description: what it shows, in words.
        svg: an `<svg>` element that scales with its surroundings.
        png: the same on white paper, 200 dots an inch.
    """

    name: str
    description: str
    svg: str
    png: bytes


def chart(
    name: str,
    description: str,
    draw: Callable[[Axes], None],
    size: tuple[float, float] = SIZE,
) -> Chart:
    """Draw a chart in the common style.

    Args:
        name: letters, digits and hyphens; no two charts of a page share it.
        description: what it shows, in words, for screen readers.
        draw: puts lines and labels on the axes it is given.
        size: width and height in inches.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(STYLE), warnings.catch_warnings():
        # The PNG's font lacks some scripts; the page uses the fonts of the browser.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        svg, png = io.StringIO(), io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", metadata=nothing)
        figure.savefig(png, format="png", dpi=200, facecolor="white", metadata={"Software": None})
    return Chart(name, description, _inline(svg.getvalue(), name, description), png.getvalue())


def _inline(svg: str, name: str, description: str) -> str:
    """Make an SVG file an element of a page: unique ids, CSS colours, a description."""
    svg = svg[svg.index("<svg") :]
    svg = svg.replace("xlink:href=", "href=")
    svg = re.sub(r"(\bid=\"|\bhref=\"#|url\(#)", rf"\g<1>{name}-", svg)
    for variable, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    opening, _, content = svg.partition(">")
    (box,) = re.findall(r'viewBox="[^"]*"', opening)
    return f'<svg {box} role="img" aria-label="{escape(description)}">{content.strip()}'


def _clipped(name: str) -> str:
    """A name that leaves room for the chart."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


# Lines --------------------------------------------------------------------------------------------


def line(axes: Axes, x: Sequence[float], y: Sequence[float], name: str, place: int) -> None:
    """Draw a line whose colour, marker and dash come from its place among the chart's lines."""
    few = len(x) <= MOST_POINTS
    axes.plot(
        x,
        y,
        label=_clipped(name),
        color=PALETTE[SERIES[place % len(SERIES)]],
        linestyle=DASHES[place // len(SERIES) % len(DASHES)],
        marker=MARKERS[place % len(MARKERS)] if few else "",
        linewidth=1.6 if few else 1.1,
        clip_on=False,
    )


def _legend(axes: Axes) -> None:
    """Name the lines above the axes, left to right; call it when all lines are drawn."""
    axes.figure.legend(loc="outside upper left", ncols=3, frameon=False, borderaxespad=0.2)


def line_chart(
    name: str,
    description: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    xlabel: str,
    ylabel: str,
    mark: float | None = None,
    percent: bool = False,
) -> Chart:
    """Lines over steps, from a name to its x and y; those that span two orders of magnitude get a
    logarithmic scale.

    Args:
        name: of the chart.
        description: what it shows.
        lines: from each line's name to its x and y.
        xlabel: what x is.
        ylabel: what y is.
        mark: an x to mark, such as the step of the checkpoint that was kept.
        percent: y are fractions, to be shown as percentages.
    """

    def draw(axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, ScalarFormatter

        axes.set(xlabel=xlabel)
        axes.set_title(ylabel)
        for place, (label, (x, y)) in enumerate(lines.items()):
            line(axes, x, [100 * value for value in y] if percent else y, label, place)
        values = [value for _, y in lines.values() for value in y]
        if not percent and min(values) > 0 and max(values) > 30 * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
            axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())
        elif not percent and min(values) >= 0:
            axes.set_ylim(bottom=0)
        if mark is not None:
            axes.axvline(mark, color=PALETTE["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        _legend(axes)

    return chart(name, description, draw)


def size_chart(
    name: str,
    description: str,
    sizes: Sequence[int],
    lines: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    ylabel: str,
) -> Chart:
    """Fractions, in percent, against sizes that grow by factors and may begin with 0.

    Args:
        name: of the chart.
        description: what it shows.
        sizes: ascending; each is a tick of the axis.
        lines: from each line's name to a fraction for each size.
        xlabel: what the sizes count.
        ylabel: what the fractions are.
    """

    def draw(axes: Axes) -> None:
        for place, (label, fractions) in enumerate(lines.items()):
            line(axes, sizes, [100 * fraction for fraction in fractions], label, place)
        # Logarithmic, and with a place for 0.
        axes.set_xscale("symlog", linthresh=max(1, *sizes[:2]))
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set(xlabel=xlabel)
        axes.set_title(ylabel)
        _legend(axes)

    return chart(name, description, draw)


def curve_chart(points: Sequence[dict[str, Any]]) -> Chart:
    """F1 by the number of new sentences: a line for each new language, and one for the old
    languages together.

    Args:
        points: as in `learning_curve.json`.
    """
    sizes = [point["sentences"] for point in points]
    lines = {
        LANGUAGES.get(code, code): [point["new"]["by_language"][code]["f1"] for point in points]
        for code in points[0]["new"]["by_language"]
    }
    if points[0]["old"] is not None:
        lines["old ones"] = [point["old"]["overall"]["f1"] for point in points]
    words = "; ".join(
        f"{name} "
        + ", ".join(
            f"{100 * f1:.1f} after {size:,}" for size, f1 in zip(sizes, scores, strict=True)
        )
        for name, scores in lines.items()
    )
    return size_chart(
        "learning-curve",
        f"Line chart. F1, in percent, by the number of new sentences: {words}.",
        sizes,
        lines,
        xlabel="new sentences",
        ylabel="F1, %",
    )


# Figures of a run ---------------------------------------------------------------------------------


def interval_chart(
    name: str,
    description: str,
    groups: Sequence[Mapping[str, Interval]],
    *,
    xlabel: str = "F1, %",
    mark: float | None = None,
) -> Chart:
    """Fractions as dots with their intervals, in percent: one row a name, the groups set apart.

    Args:
        name: of the chart.
        description: what it shows.
        groups: from each name to its fraction.
        xlabel: what the fractions are.
        mark: a fraction to mark, such as the chance level.
    """
    names = [label for group in groups for label in group]
    height = 0.75 + 0.24 * len(names) + 0.1 * (len(groups) - 1)

    def draw(axes: Axes) -> None:
        places: list[float] = []
        for group in groups:
            first = places[-1] + 1.4 if places else 0.0
            places += [first + number for number in range(len(group))]
        scores = [score for group in groups for score in group.values()]
        values = np.array([(score.value, score.low, score.high) for score in scores]) * 100
        value, low, high = values.T
        errors = (value - low, high - value)
        axes.errorbar(
            value,
            places,
            xerr=errors,
            fmt="o",
            color=PALETTE["accent"],
            linewidth=1.4,
            clip_on=False,
        )
        axes.set_yticks(places, [_clipped(label) for label in names])
        axes.tick_params(axis="y", labelcolor=PALETTE["ink"])
        axes.set_ylim(places[-1] + 0.6, -0.6)
        if mark is not None:
            axes.axvline(100 * mark, color=PALETTE["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
        axes.set_xlim(right=min(axes.get_xlim()[1], 100))
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=xlabel)

    return chart(name, description, draw, (SIZE[0], height))


def confusion_chart(name: str, description: str, confusion: Confusion) -> Chart:
    """A confusion matrix: counts, each cell as dark as its share of its row."""
    types = tuple(map(_clipped, confusion.types))
    rows, columns = (*types, "spurious"), (*types, "missed")
    matrix, shares = confusion.matrix, confusion.shares

    def draw(axes: Axes) -> None:
        from matplotlib.colors import ListedColormap

        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        # What is neither there nor predicted cannot be counted.
        hidden = np.zeros_like(shares, dtype=bool)
        hidden[-1, -1] = True
        axes.pcolormesh(
            np.ma.masked_array(shares, hidden),
            cmap=ListedColormap([PALETTE["accent"]]),
            alpha=cast(float, np.where(hidden, 0, 0.05 + 0.4 * shares)),  # one for each cell
            edgecolors="none",
        )
        for row, column in np.argwhere(~hidden):
            axes.text(column + 0.5, row + 0.5, str(matrix[row, column]), ha="center", va="center")
        axes.invert_yaxis()
        rotation = 0 if len(columns) < 7 else 60
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=rotation)
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.xaxis.set_label_position("top")
        axes.xaxis.tick_top()
        axes.set(xlabel="predicted", ylabel="gold")

    side = max(2.8, 0.42 * len(columns))
    return chart(name, description, draw, (side * 1.4, side))


def calibration_chart(name: str, description: str, calibration: Calibration) -> Chart:
    """A reliability diagram: per bin the fraction that is right against the mean confidence, a dot
    as large as the bin has many; on the diagonal confidence means what it says."""
    filled = [part for part in calibration.bins if part.count]
    x = [100 * part.confidence for part in filled]
    y = [100 * part.accuracy for part in filled]
    most = max(part.count for part in filled)
    sizes = [(3 + 8 * math.sqrt(part.count / most)) ** 2 for part in filled]

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=PALETTE["muted"], linewidth=0.9, linestyle=DASHES[1])
        axes.vlines(x, x, y, color=PALETTE["accent"], linewidth=0.9, clip_on=False)
        axes.scatter(x, y, s=sizes, color=PALETTE["accent"], clip_on=False, zorder=3)
        axes.set(xlim=(0, 100), ylim=(0, 100), xlabel="confidence, %")
        axes.set_title("of them right, %")
        axes.set_xticks(range(0, 101, 20))
        axes.set_yticks(range(0, 101, 20))

    return chart(name, description, draw)
