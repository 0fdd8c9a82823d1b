"""Compare and draw runs that differ in the oversampling exponent beta, as in Moore et al. 2023 (section 4).

Shows the metrics over beta against each set of labels, and the change of each class's AP, from the lowest beta to the
highest, over the logarithm of its prior in the training list, with the least-squares line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import fraction
from pseudolabel.reports.analyses import p_text
from pseudolabel.reports.figures import GREY, MARKERS, SET_COLOURS, Picture, draw_picture, panels_of
from pseudolabel.reports.inline_svg import INK
from pseudolabel.reports.rows import Row, Spread
from pseudolabel.reports.text_tables import Table
from pseudolabel.scores.metrics import METRICS, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = (METRICS["map"], METRICS["d_prime"])


@dataclass(frozen=True)
class BetaSweep:
    """Rows that differ in beta.

    Args:
        rows: one per beta, lowest first.
        against: the sets of labels, {name: display name}.
        priors: (K,) share of the training list's clips that have the class.
        training_list: path of that list.
        left_out: rows without a recorded beta.
    """

    rows: tuple[Row, ...]
    against: dict[str, str]
    priors: np.ndarray
    training_list: str
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], against: dict[str, str], priors: np.ndarray, training_list: str) -> BetaSweep:
        """Return the sweep among the rows.

        Raises:
            InputError: fewer than two exponents, two rows with the same one, or a row with several.
        """
        by_beta: dict[float, Row] = {}
        for row in rows:
            betas = sorted(set(row.recorded("beta")))
            if len(betas) > 1:
                message = f"runs of the row {row.name!r} have several: {first_few(betas)}"
                raise InputError(message, "--betas", "Train each beta with a --row of its own.")
            for beta in betas:
                if beta in by_beta:
                    message = f"rows {by_beta[beta].name!r} and {row.name!r} both have {beta:g}"
                    raise InputError(message, "--betas", "Name the runs of the sweep with --runs.")
                by_beta[beta] = row
        if len(by_beta) < 2:
            remedy = "Train with --sampling repeat or max-rule and several values of --beta."
            raise InputError(f"needs runs of two exponents or more, has {len(by_beta)}", "--betas", remedy)
        used = tuple(by_beta[beta] for beta in sorted(by_beta))
        left_out = tuple(row.name for row in rows if not row.recorded("beta"))
        return cls(used, against, np.asarray(priors, np.float64), training_list, left_out)

    def measured(self, rows: Sequence[Row]) -> BetaSweep:
        """Return the same sweep with measured rows."""
        by_name = {row.name: row for row in rows}
        return replace(self, rows=tuple(by_name[row.name] for row in self.rows))

    @property
    def betas(self) -> list[float]:
        """The exponents, lowest first."""
        return [row.recorded("beta")[0] for row in self.rows]

    def changes(self, against: str) -> np.ndarray:
        """Return the change of each class's AP (K,) from the lowest beta to the highest; NaN for a class without AP."""
        first, last = (row.class_mean(against, "ap") for row in (self.rows[0], self.rows[-1]))
        return last - first

    def regression(self, against: str) -> dict[str, float]:
        """Return slope, intercept, r and two-sided p of the change of AP over log10 of the prior, and its mean.

        Only classes that have AP and occur in the training list count; with fewer than three of them, or with equal
        priors, there is no line: NaN.
        """
        from scipy.stats import linregress

        change = self.changes(against)
        used = np.isfinite(change) & (self.priors > 0)
        counted = {"n_classes": int(used.sum()), "mean": float(change[used].mean()) if used.any() else math.nan}
        at = np.log10(self.priors[used])
        if used.sum() < 3 or np.ptp(at) == 0:
            return counted | dict.fromkeys(("slope", "intercept", "r", "p"), math.nan)
        line = linregress(at, change[used])
        values = (line.slope, line.intercept, line.rvalue, line.pvalue)
        return counted | dict(zip(("slope", "intercept", "r", "p"), map(float, values), strict=True))

    def table(self) -> Table:
        """Return mAP and d' against each set, one line per beta."""
        header = [f"{metric.heading} {word}" for word in self.against.values() for metric in SHOWN]
        lines = []
        for beta, row in zip(self.betas, self.rows, strict=True):
            cells = [row.spread(name, metric.key).text(metric.digits) for name in self.against for metric in SHOWN]
            lines.append([f"{beta:g}", row.name, str(len(row.runs)), *cells])
        return Table(["β", "row", "seeds", *header], lines, n_text=2)

    def summary(self) -> str:
        """Return where each metric is best, and whether the change of AP follows the prior."""
        low, high = self.betas[0], self.betas[-1]
        texts = []
        for against, word in self.against.items():
            best = [f"{metric.heading} is highest at β = {beta:g}" for metric, beta in self._best(against)]
            line = self.regression(against)
            texts.append(
                f"Against the {word} labels {' and '.join(best)}. From β = {low:g} to {high:g} the AP of "
                f"{line['n_classes']} classes changes by {_signed(line['mean'])} on average; {_slope_text(line)}."
            )
        if self.left_out:
            texts.append(f"Without a β, so left out here: {first_few(self.left_out, 8)}.")
        return " ".join(texts)

    def _best(self, against: str) -> list[tuple[Metric, float]]:
        """Return each metric that the rows have, with the beta at which it is highest."""
        means = {metric: [row.spread(against, metric.key).mean for row in self.rows] for metric in SHOWN}
        return [
            (metric, self.betas[int(np.nanargmax(values))])
            for metric, values in means.items()
            if not np.isnan(values).all()
        ]

    def record(self) -> dict[str, object]:
        """Return the sweep as stored in metrics.json."""
        return {
            "betas": self.betas,
            "rows": [row.name for row in self.rows],
            "priors_of": self.training_list,
            "left_out": list(self.left_out),
            "ap_change": {against: self.regression(against) for against in self.against},
        }


def _signed(value: float) -> str:
    return Spread(value, None, 1).signed(4)


def _slope_text(line: dict[str, float]) -> str:
    if math.isnan(line["slope"]):
        return "too few classes or priors for a line"
    return f"slope over log10 of the prior {_signed(line['slope'])}, {p_text(line['p'])}"


def beta_pictures(sweep: BetaSweep) -> list[Picture]:
    """Draw mAP and d' over beta, and the change of each class's AP over its prior."""
    return [
        *(draw_picture(f"betas_{metric.key}", _metric_figure, sweep, metric) for metric in SHOWN),
        draw_picture("betas_classes", _classes_figure, sweep),
    ]


def _metric_figure(sweep: BetaSweep, metric: Metric) -> tuple[Figure, str, str]:
    """Draw the change of a metric over beta, from its value at the lowest, for each set (Moore et al., Fig. 1, 2)."""
    figure, (axes,) = panels_of(4.2)
    lowest = f"β = {sweep.betas[0]:g}"
    for i, (against, word) in enumerate(sweep.against.items()):
        spreads = [row.spread(against, metric.key) for row in sweep.rows]
        start = spreads[0].mean
        changes = np.array([spread.mean - start for spread in spreads])
        label = f"{word} ({fraction(start, metric.digits)} at {lowest})"
        colour, marker = SET_COLOURS[i % len(SET_COLOURS)], MARKERS[i % len(MARKERS)]
        axes.plot(sweep.betas, changes, color=colour, marker=marker, ms=5, lw=1.6, label=label)
        several = np.array([bool(spread.sd) for spread in spreads])
        if several.any():
            deviations = [spread.sd for spread in spreads if spread.sd]
            at = np.array(sweep.betas)[several]
            axes.errorbar(at, changes[several], deviations, color=colour, ls="none", capsize=3, lw=1)
    axes.axhline(0, color=INK, lw=0.8)
    axes.set(xlabel="oversampling exponent β", ylabel=f"change of {metric.heading} from {lowest}")
    axes.set_xticks(sweep.betas, [f"{beta:g}" for beta in sweep.betas])
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=min(3, len(sweep.against)))
    caption = "Each set from its own level, so that all lines meet at the lowest β; whiskers: one standard deviation."
    return figure, f"{metric.heading} over the oversampling exponent", caption


def _classes_figure(sweep: BetaSweep) -> tuple[Figure, str, str]:
    """Draw the change of each class's AP over its prior, the mean and the regression line (Moore et al., Fig. 3)."""
    figure, panels = panels_of(4.4, len(sweep.against), sharey=True)
    for i, (axes, against) in enumerate(zip(panels, sweep.against, strict=True)):
        _draw_classes(axes, sweep, against, SET_COLOURS[i % len(SET_COLOURS)])
    panels[0].set(ylabel=f"change of AP from β = {sweep.betas[0]:g} to {sweep.betas[-1]:g}")
    caption = "Each dot a class; slope: change of AP for ten times the prior, p of no slope (two-sided)."
    return figure, "Change of AP by class over its prior", caption


def _draw_classes(axes: Axes, sweep: BetaSweep, against: str, colour: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    change, line = sweep.changes(against), sweep.regression(against)
    used = np.isfinite(change) & (sweep.priors > 0)
    priors = sweep.priors[used]
    axes.plot(priors, change[used], "o", ms=4, mec="none", alpha=0.65, color=colour)
    axes.axhline(0, color=INK, lw=0.8)
    if used.any():
        axes.axhline(line["mean"], color=GREY, lw=1.4, ls="--", label=f"mean {line['mean']:+.4f}")
    if not math.isnan(line["slope"]):
        ends = np.array([priors.min(), priors.max()])
        fitted = line["intercept"] + line["slope"] * np.log10(ends)
        axes.plot(ends, fitted, color=INK, lw=1.6, label=f"slope {line['slope']:+.4f}, {p_text(line['p'])}")
    title = f"{sweep.against[against]}, {line['n_classes']} classes"
    axes.set(xscale="log", xlabel="prior in the training list", title=title)
    decades = np.ptp(np.log10(priors)) if used.any() else 0
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, fontsize=9)
