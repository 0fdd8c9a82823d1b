"""Runs that differ in the oversampling exponent beta, as Moore et al. 2023 compare them (section 4).

Metrics over beta against each set of labels, and each class's change of AP, from the lowest beta to the highest, over
the logarithm of its prior in the training list, with the line of least squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.reports.rows import Row, Spread
from pseudolabel.reports.tables import Table, fraction, signed, spread_text

FIGURES = {"map": ("mAP", 3), "d_prime": ("d'", 2)}


@dataclass(frozen=True)
class BetaSweep:
    """Rows that differ in beta.

    Args:
        rows: lowest beta first, a row each.
        against: the sets of labels, name -> what the reader calls it.
        priors: (K,) clips of the class / clips, in the training list `place`.
        place: that list.
        left_out: rows that do not say with which beta they were trained.
    """

    rows: tuple[Row, ...]
    against: dict[str, str]
    priors: np.ndarray
    place: str
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Sequence[Row], against: dict[str, str], priors: np.ndarray, place: str) -> BetaSweep:
        """Return the sweep among some rows.

        Raises:
            InputError: fewer than two exponents, or two rows, or the runs of one row, do not agree in which is theirs.
        """
        by_beta: dict[float, Row] = {}
        for row in rows:
            betas = sorted(set(row.known("beta")))
            if len(betas) > 1:
                raise InputError(f"runs of the row {row.name!r} have several: {first_few(betas)}", "--betas",
                                 "Train each beta with a --row of its own.")  # fmt: skip
            for beta in betas:
                if beta in by_beta:
                    raise InputError(f"rows {by_beta[beta].name!r} and {row.name!r} both have {beta:g}", "--betas",
                                     "Name the runs of the sweep with --runs.")  # fmt: skip
                by_beta[beta] = row
        if len(by_beta) < 2:
            raise InputError(
                f"runs of {len(by_beta)} exponent(s) are there", "--betas",
                "Train with --sampling repeat or max-rule and several values of --beta.",
            )  # fmt: skip
        used = tuple(by_beta[beta] for beta in sorted(by_beta))
        left_out = tuple(row.name for row in rows if not row.known("beta"))
        return cls(used, against, np.asarray(priors, np.float64), place, left_out)

    @property
    def betas(self) -> list[float]:
        """The exponents, lowest first."""
        return [row.known("beta")[0] for row in self.rows]

    def changes(self, against: str) -> np.ndarray:
        """Return the change of each class's AP (K,) from the lowest beta to the highest; NaN where there is no AP."""
        first, last = (row.class_mean(against, "ap") for row in (self.rows[0], self.rows[-1]))
        return last - first

    def regression(self, against: str) -> dict[str, float]:
        """Return slope, intercept, r and two-sided p of the change of AP over log10 of the prior, and its mean.

        Only classes with AP that occur in the training list count; with fewer than three of them, or all of one prior,
        there is no line: NaN.
        """
        from scipy.stats import linregress

        change = self.changes(against)
        used = np.isfinite(change) & (self.priors > 0)
        found = {"n_classes": int(used.sum()), "mean": float(change[used].mean()) if used.any() else math.nan}
        at = np.log10(self.priors[used])
        if used.sum() < 3 or np.ptp(at) == 0:
            return {**found, **dict.fromkeys(("slope", "intercept", "r", "p"), math.nan)}
        line = linregress(at, change[used])
        return {**found, "slope": float(line.slope), "intercept": float(line.intercept), "r": float(line.rvalue),
                "p": float(line.pvalue)}  # fmt: skip

    def table(self) -> Table:
        """Return mAP and d' against each set, a line for each beta."""
        header = ["β", "row", "seeds"]
        header += [f"{heading} {word}" for word in self.against.values() for heading, _ in FIGURES.values()]
        lines = []
        for beta, row in zip(self.betas, self.rows, strict=True):
            spreads = [spread_text(row.spread(against, key), digits) for against in self.against
                       for key, (_, digits) in FIGURES.items()]  # fmt: skip
            lines.append([f"{beta:g}", row.name, str(len(row.runs)), *spreads])
        return header, lines

    def words(self) -> str:
        """Return in words where each metric is best, and whether the change of AP follows the prior."""
        low, high = self.betas[0], self.betas[-1]
        texts = []
        for against, word in self.against.items():
            best = [f"{heading} is highest at β = {self.betas[int(np.nanargmax(means))]:g}"
                    for key, (heading, _) in FIGURES.items()
                    if not np.isnan(means := [row.spread(against, key).mean for row in self.rows]).all()]  # fmt: skip
            line = self.regression(against)
            change = signed(Spread(line["mean"], None, 1), 4)
            texts.append(
                f"Against the {word} labels {' and '.join(best)}. From β = {low:g} to {high:g} the AP of "
                f"{line['n_classes']} classes changes by {change} in the mean; {line_words(line)}."
            )
        if self.left_out:
            texts.append(f"Without a β, so left out here: {first_few(self.left_out, 8)}.")
        return " ".join(texts)

    def record(self) -> dict[str, object]:
        """Return what metrics.json says of it."""
        return {
            "betas": self.betas,
            "rows": [row.name for row in self.rows],
            "priors_of": self.place,
            "left_out": list(self.left_out),
            "ap_change": {against: self.regression(against) for against in self.against},
        }

    def per_class(self) -> tuple[list[str], list[list[object]]]:
        """Return header and columns of betas.csv: prior, and the change of AP against each set."""
        changes = [[_number(value) for value in self.changes(against)] for against in self.against]
        return ["prior", *(f"ap_change_{against}" for against in self.against)], [
            [f"{prior:.9g}" for prior in self.priors], *changes,
        ]  # fmt: skip


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


def line_words(line: dict[str, float]) -> str:
    """Return slope and p of a regression in words."""
    if math.isnan(line["slope"]):
        return "too few classes or priors for a line"
    return f"slope over log10 of the prior {signed(Spread(line['slope'], None, 1), 4)}, {p_words(line['p'])}"


def p_words(p: float) -> str:
    """Return `p = .045`, or `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {fraction(p)}"
