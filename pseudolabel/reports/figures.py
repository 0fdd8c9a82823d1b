"""Drawing of all figures; the learning curve of `train` and the class frequencies of `balance`.

The same numbers give the same PNG and SVG bytes, whatever the user's matplotlib settings. Colours are Okabe and Ito's,
which colour-blind readers can tell apart. No canvas needs a display.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.reports.inline_svg import GRID, INK, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pseudolabel.labels.balancing import Oversampled

BLUE, GREEN, ORANGE, VERMILION, PURPLE, GREY = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#8a8a8a"
SKY, YELLOW, BLACK = "#56B4E9", "#F0E442", INK
SET_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)
LIST_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)
MARKERS = "osD^vPX"
WIDTH_IN, DPI = 9.0, 150  # 1350 pixels, sharp when shown 900 wide
MANY_POINTS = 60  # a line with more points is drawn without markers
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
CURVE = "learning_curve.png"
VALIDATION = (("validation_map", "mAP", BLUE), ("validation_d_prime", "d'", GREEN))


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure: file name without suffix, heading, caption, and the drawing, which is written when first asked for."""

    name: str
    title: str
    caption: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The figure as PNG."""
        from matplotlib.style import context

        buffer = io.BytesIO()
        with context(["default", STYLE]):
            self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")
        return buffer.getvalue()

    @cached_property
    def svg(self) -> str:
        """The figure as an SVG element, for a page that holds it itself."""
        from matplotlib.style import context

        with context(["default", STYLE]):
            return inline_svg(self.figure, self.name)


def draw_picture(name: str, draw: Callable[..., tuple[Figure, str, str]], *arguments: object) -> Picture:
    """Return the picture of a figure; `draw(*arguments)` returns the figure, its title and its caption."""
    from matplotlib.style import context

    with context(["default", STYLE]):
        figure, title, caption = draw(*arguments)
    return Picture(name, title, caption, figure)


def panels_of(height_in: float, n_columns: int = 1, n_rows: int = 1, **options: object) -> tuple[Figure, list[Axes]]:
    """Return a figure of the common width, and its panels row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_columns, squeeze=False, **options).flat)


def learning_curve(history: Sequence[Mapping[str, object]], selected_step: int) -> Picture:
    """Draw loss and validation metrics of history.csv over the steps, and mark the step whose weights were kept."""
    return draw_picture("learning_curve", _curves, history, selected_step)


def _curves(history: Sequence[Mapping[str, object]], selected_step: int) -> tuple[Figure, str, str]:
    drawn = [metric for metric in VALIDATION if any(row[metric[0]] != "" for row in history)]
    figure, panels = panels_of(2.2 * (1 + len(drawn)), n_rows=1 + len(drawn), sharex=True)
    for axes, (column, label, colour) in zip(panels, (("loss", "training loss", VERMILION), *drawn), strict=True):
        points = [(row["step"], float(row[column])) for row in history if row[column] != ""]
        marker = "o" if len(history) <= MANY_POINTS else ""
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=3, lw=1.4)
        axes.set(ylabel=label if column == "loss" else f"validation {label}")
        axes.axvline(selected_step, color=GREY, lw=1, ls="--")
    panels[-1].set(xlabel="step (dashed: the weights that were kept)")
    return figure, "Learning curve", "Loss of the training clips at each step; metrics of the held-out clips."


def balance_figure(priors: Mapping[str, np.ndarray], tables: Mapping[str, Sequence[Oversampled]]) -> Picture:
    """Draw the class priors by rank, and imbalance ratio, Gini coefficient and epoch size over beta.

    Args:
        priors: {list name: (K,) share of the clips that have the class}.
        tables: {list name: one row per beta}.
    """
    return draw_picture("balance", _balance, priors, tables)


def _balance(priors: Mapping[str, np.ndarray], tables: Mapping[str, Sequence[Oversampled]]) -> tuple[Figure, str, str]:
    figure, (by_rank, ratio, gini, times) = panels_of(6.6, 2, 2)
    for i, (name, table) in enumerate(tables.items()):
        look = {"color": LIST_COLOURS[i % len(LIST_COLOURS)], "ms": 4, "lw": 1.4}
        marker = MARKERS[i % len(MARKERS)]
        falling = np.sort(priors[name][priors[name] > 0])[::-1]
        ranks = np.arange(1, len(falling) + 1)
        by_rank.plot(ranks, falling, label=name, marker=marker if len(falling) <= MANY_POINTS else "", **look)
        rows = sorted(table)
        for axes, figure_of in ((ratio, "imbalance_ratio"), (gini, "gini"), (times, "times")):
            axes.plot([row.beta for row in rows], [getattr(row, figure_of) for row in rows], marker=marker, **look)
    by_rank.set(yscale="log", xlabel="class, by frequency", ylabel="prior (share of the clips)")
    ratio.set(yscale="log", ylabel="imbalance ratio")
    gini.set(ylabel="Gini coefficient (as printed)")
    gini.set_ylim(top=1, bottom=min(0, gini.get_ylim()[0]))
    times.set(yscale="log", ylabel="rows an epoch, times the clips")
    for axes in (ratio, gini, times):
        axes.set(xlabel="oversampling exponent β (max rule)")
    for axes in (ratio, times):
        _show_decades(axes)
    by_rank.legend(frameon=False, fontsize=9)
    caption = (
        "Each clip repeated round(m / min m) times, m the largest (1 / prior)^β of its labels (Moore et al. 2023)."
    )
    return figure, "Balance of the classes", caption


def _show_decades(axes: Axes) -> None:
    """Make a logarithmic axis span whole decades, at least one, with a plain number at each."""
    from matplotlib.ticker import NullFormatter

    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    low, high = np.floor(np.log10(drawn.min())), np.ceil(np.log10(drawn.max()))
    axes.set_ylim(0.8 * 10**low, 1.25 * 10 ** max(high, low + 1))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
