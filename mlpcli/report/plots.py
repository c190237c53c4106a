"""Plots as SVG, coloured by CSS variables, so that they suit light and dark pages."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mlpcli.metrics import Calibration

# Colours that a page may set: those of lines, then text and grid. Each pair is (light, dark).
COLORS = {
    "--line-1": ("#0f62b4", "#6cb2ff"),
    "--line-2": ("#c2410c", "#ff9d5c"),
    "--line-3": ("#13795b", "#4fd1a5"),
    "--line-4": ("#8b2fc9", "#c99bff"),
    "--line-5": ("#a8760b", "#f2c14e"),
    "--line-6": ("#c01f5d", "#ff85b3"),
    "--line-7": ("#0c7c8c", "#56d3e3"),
    "--line-8": ("#5c6470", "#aab4c2"),
    "--ink": ("#1d2430", "#e7ebf2"),
    "--grid": ("#d5dae1", "#3a4351"),
}
DRAWN = 1e30  # values from here on are left out: a scale for them overflows
LINES = 8  # lines with a colour of their own; all others have the grid's
BACKGROUND = {"--page": ("#fbfbfa", "#12161c")}
INK, GRID = COLORS["--ink"][0], COLORS["--grid"][0]
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: to be read aloud, searched and copied
    "svg.hashsalt": "mlpcli",  # the same plot is the same file
    "font.family": "DejaVu Sans",  # which matplotlib brings, to measure text by; see svg()
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
}


@dataclass(frozen=True)
class Line:
    """One curve: values by epoch, None where there is none."""

    values: Sequence[float | None]
    color: int = 1  # as in --line-1; above LINES, the grid's
    dashed: bool = False
    label: str = ""


def line_color(number: int) -> str:
    """Return the CSS variable of a line's colour."""
    return f"--line-{number}" if number <= LINES else "--grid"


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in STYLE, and otherwise by matplotlib's defaults, whatever a matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


@styled()
def curves(lines: Sequence[Line], title: str, *, percent: bool = False) -> str:
    """Return an SVG of curves over epochs."""
    figure, axes = new_figure()
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    for line in reversed(lines):  # the first is drawn last, on top
        values = [np.nan if value is None or value >= DRAWN else value for value in line.values]
        epochs = np.arange(1, len(values) + 1)
        axes.plot(
            epochs,
            np.multiply(100.0 if percent else 1.0, values),
            color=COLORS[line_color(line.color)][0],
            linestyle=(0, (4, 2)) if line.dashed else "-",
            linewidth=1.6 if line.color <= LINES else 1.0,
            marker="o" if len(values) == 1 else "",
            markersize=3,
            label=line.label or "_nolegend_",
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if percent:
        axes.yaxis.set_major_formatter("{x:g}%")
    if any(line.label for line in lines):
        axes.legend(*(list(reversed(each)) for each in axes.get_legend_handles_labels()))
    return svg(figure, title)


@styled()
def reliability(found: Calibration, title: str) -> str:
    """Return an SVG of a reliability diagram, above the number of images in each bin."""
    figure, (axes, below) = new_figure(rows=2)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    bins = len(found.count)
    middles, width = (np.arange(bins) + 0.5) / bins, 0.9 / bins
    blue, orange = COLORS["--line-1"][0], COLORS["--line-2"][0]
    axes.bar(middles, found.accuracy, width, color=blue, alpha=0.75)
    axes.plot([0, 1], [0, 1], color=orange, linestyle=(0, (4, 2)), linewidth=1.4)
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy")
    axes.tick_params(labelbottom=False)
    below.bar(middles, found.count, width, color=blue, alpha=0.45)
    below.set_xlabel("confidence (probability of the predicted class)")
    below.set_ylabel("images")
    for each in (axes, below):
        each.set_xlim(0, 1)
    return svg(figure, title)


def new_figure(rows: int = 1, size: tuple[float, float] = (4.4, 3.0)) -> tuple[Figure, Any]:
    """Return a figure of `size` inches and its axes, plain and on a transparent background."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, height_ratios=[3, 1][:rows])
    for each in np.atleast_1d(axes):
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(GRID)
        each.grid(color=GRID, linewidth=0.6, alpha=0.6)
        each.set_axisbelow(True)
        each.tick_params(which="both", labelcolor=INK, labelsize=8.5, color=GRID)
        for axis in (each.xaxis, each.yaxis):
            axis.label.set(color=INK, fontsize=9)
        each.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return figure, axes


def svg(figure: Figure, title: str) -> str:
    """Return an SVG element, labelled `title` for screen readers."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = drawn.replace("'DejaVu Sans'", "system-ui, sans-serif")
    # Identifiers must differ from those of other plots on the same page.
    own = hashlib.sha256(drawn.encode()).hexdigest()[:8]
    drawn = re.sub(r'( id="|="#|url\(#)', rf"\g<1>{own}-", drawn)
    for variable, (light, _) in COLORS.items():
        drawn = drawn.replace(light, f"var({variable})")
    label = html.escape(title)
    return drawn.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def standing_alone(drawn: str) -> str:
    """Return an SVG as a file of its own, with colours and background, light and dark."""
    light, dark = (
        "".join(f"{variable}:{pair[i]};" for variable, pair in (COLORS | BACKGROUND).items())
        for i in (0, 1)
    )
    style = (
        f"<style>:root{{{light}background:var(--page)}}"
        f"@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    )
    return re.sub(r"(<svg[^>]*>)", rf"\1{style}", drawn, count=1)


def weights_png(weights: NDArray[Any]) -> str:
    """Return a unit's weights (3072,) as `png` does an image, where grey is 0.

    The scale is the 99th percentile of their magnitudes: a few must not hide the others.
    """
    largest = np.quantile(np.abs(weights), 0.99) or 1.0
    scaled = np.clip(weights / largest, -1, 1)
    return png(np.round(127.5 + 127.5 * scaled).astype(np.uint8))


def png(image: NDArray[np.uint8]) -> str:
    """Return a flattened image (3072,), channel-planar, as a PNG in a `data:` URL."""
    file = io.BytesIO()
    rgb = image.reshape(3, 32, 32).transpose(1, 2, 0)
    imsave(file, np.ascontiguousarray(rgb), format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
