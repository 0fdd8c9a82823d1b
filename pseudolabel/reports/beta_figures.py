"""Figures of a sweep over the oversampling exponent beta: Moore et al. 2023, figures 1 to 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.reports.beta_sweep import FIGURES, BetaSweep, p_words
from pseudolabel.reports.figures import GREY, SET_COLOURS, WIDTH_IN, Picture, draw_picture
from pseudolabel.reports.tables import fraction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP"


def beta_pictures(sweep: BetaSweep) -> list[Picture]:
    """Draw mAP and d' over beta, and the change of each class's AP over its prior."""
    return [
        draw_picture("betas_map", metric_figure, sweep, "map"),
        draw_picture("betas_d_prime", metric_figure, sweep, "d_prime"),
        draw_picture("betas_classes", classes_figure, sweep),
    ]


def metric_figure(sweep: BetaSweep, key: str) -> tuple[Figure, str, str]:
    """Change of a metric over beta against each set, from its value at the lowest beta (Moore et al., Fig. 1 and 2)."""
    from matplotlib.figure import Figure

    heading = FIGURES[key][0]
    figure = Figure(figsize=(WIDTH_IN, 4.2), layout="constrained")
    axes = figure.subplots()
    for i, (against, word) in enumerate(sweep.against.items()):
        spreads = [row.spread(against, key) for row in sweep.rows]
        start = spreads[0].mean
        label = f"{word} ({fraction(start, FIGURES[key][1])} at β = {sweep.betas[0]:g})"
        colour = SET_COLOURS[i % len(SET_COLOURS)]
        axes.plot(sweep.betas, [spread.mean - start for spread in spreads], color=colour,
                  marker=MARKERS[i % len(MARKERS)], ms=5, lw=1.6, label=label)  # fmt: skip
        measured = [(beta, spread) for beta, spread in zip(sweep.betas, spreads, strict=True) if spread.sd]
        if measured:
            axes.errorbar([beta for beta, _ in measured], [spread.mean - start for _, spread in measured],
                          [spread.sd for _, spread in measured], color=colour, ls="none", capsize=3, lw=1)  # fmt: skip
    axes.axhline(0, color="black", lw=0.8)
    axes.set(xlabel="oversampling exponent β", ylabel=f"change of {heading} from β = {sweep.betas[0]:g}")
    axes.set_xticks(sweep.betas, [f"{beta:g}" for beta in sweep.betas])
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=min(3, len(sweep.against)))
    caption = "Every set on its own level, so that the traces meet at the lowest β; whiskers: one standard deviation."
    return figure, f"{heading} over the oversampling exponent", caption


def classes_figure(sweep: BetaSweep) -> tuple[Figure, str, str]:
    """Change of each class's AP over its prior, the mean and the regression line (Moore et al., Fig. 3)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = sweep.betas[0], sweep.betas[-1]
    figure = Figure(figsize=(WIDTH_IN, 4.4), layout="constrained")
    panels = figure.subplots(1, len(sweep.against), squeeze=False, sharey=True)[0]
    for i, (axes, (against, word)) in enumerate(zip(panels, sweep.against.items(), strict=True)):
        change, line = sweep.changes(against), sweep.regression(against)
        used = np.isfinite(change) & (sweep.priors > 0)
        axes.plot(
            sweep.priors[used], change[used], "o", ms=4, mec="none", alpha=0.65, color=SET_COLOURS[i % len(SET_COLOURS)]
        )
        axes.axhline(0, color="black", lw=0.8)
        if used.any():
            axes.axhline(line["mean"], color=GREY, lw=1.4, ls="--", label=f"mean {line['mean']:+.4f}")
        if not math.isnan(line["slope"]):
            ends = np.array([sweep.priors[used].min(), sweep.priors[used].max()])
            axes.plot(ends, line["intercept"] + line["slope"] * np.log10(ends), color="black", lw=1.6,
                      label=f"slope {line['slope']:+.4f}, {p_words(line['p'])}")  # fmt: skip
        axes.set(xscale="log", xlabel="prior in the training list", title=f"{word}, {line['n_classes']} classes")
        decades = np.ptp(np.log10(sweep.priors[used])) if used.any() else 0
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(frameon=False, fontsize=9)
    panels[0].set(ylabel=f"change of AP from β = {low:g} to {high:g}")
    caption = "Each dot a class; slope: change of AP for ten times the prior, p of no slope (two-sided)."
    return figure, "Change of AP by class over its prior", caption
