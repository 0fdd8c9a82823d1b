"""The figure of `balance`: how often each class occurs, and what oversampling with the exponent beta does to that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.reports.figures import BLUE, GREEN, ORANGE, PURPLE, VERMILION, WIDTH_IN, Picture, draw_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pseudolabel.labels.sampling import Oversampled

COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, "#56B4E9", "#000000")
MARKERS = "osD^vPX"


def balance_figure(priors: Mapping[str, np.ndarray], tables: Mapping[str, Sequence[Oversampled]]) -> Picture:
    """Draw the class priors by rank, and imbalance ratio, Gini coefficient and size of an epoch over beta.

    Args:
        priors: list name -> (K,) clips of the class / clips.
        tables: the same names -> one row for each beta.
    """
    return draw_picture("balance", _panels_of, priors, tables)


def _panels_of(
    priors: Mapping[str, np.ndarray], tables: Mapping[str, Sequence[Oversampled]]
) -> tuple[Figure, str, str]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 6.6), layout="constrained")
    (by_rank, ratio), (gini, times) = figure.subplots(2, 2)
    for i, (name, table) in enumerate(tables.items()):
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "ms": 4, "lw": 1.4}
        falling = np.sort(priors[name][priors[name] > 0])[::-1]
        few = {} if len(falling) <= 60 else {"marker": ""}
        by_rank.plot(np.arange(1, len(falling) + 1), falling, label=name, **{**look, **few})
        rows = sorted(table)
        betas = [row.beta for row in rows]
        ratio.plot(betas, [row.imbalance_ratio for row in rows], **look)
        gini.plot(betas, [row.gini for row in rows], **look)
        times.plot(betas, [row.times for row in rows], **look)
    by_rank.set(yscale="log", xlabel="class, by frequency", ylabel="prior (part of the clips)")
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
    """Let a logarithmic axis span whole decades, at least one, with a plain number at each."""
    from matplotlib.ticker import NullFormatter

    drawn = np.concatenate([line.get_ydata() for line in axes.lines])
    low, high = np.floor(np.log10(drawn.min())), np.ceil(np.log10(drawn.max()))
    axes.set_ylim(0.8 * 10**low, 1.25 * 10 ** max(high, low + 1))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
