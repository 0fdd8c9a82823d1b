"""Confidence intervals: how far a metric would vary over other clips, and over other seeds of training.

Clips, or groups of clips of one source, are drawn with replacement (Efron 1979), the same draws for every row, so that
differences between rows are paired. The variance over draws of a row's mean and the variance over its seeds, divided
by their number, add up; the interval is mean ± t * sd, with Satterthwaite's degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.formatting import fraction

CONFIDENCE = 0.95
FEWEST_GROUPS = 20  # with fewer groups, the variance over draws of them is too small


class Interval(NamedTuple):
    """A value and its 95 % confidence interval; `low` and `high` are NaN where it is unknown."""

    value: float
    low: float
    high: float

    def within(self, least: float, most: float) -> Interval:
        """Return the interval without what the value cannot be."""
        return Interval(self.value, max(self.low, least), min(self.high, most))

    def text(self, digits: int = 3) -> str:
        """Return `.640 [.612, .668]`, or the value alone if the interval is unknown."""
        if not math.isfinite(self.low):
            return fraction(self.value, digits)
        return f"{fraction(self.value, digits)} [{fraction(self.low, digits)}, {fraction(self.high, digits)}]"

    def signed(self, digits: int = 3) -> str:
        """Return a difference: `+.105 [.071, .139]`."""
        text = self.text(digits)
        return text if text.startswith("-") else f"+{text}"


def drawn_weights(n_clips: int, n_draws: int, seed: int, groups: Sequence[Hashable] | None = None) -> np.ndarray:
    """Return how often each draw holds each clip, (N, D) uint8.

    Args:
        groups: (N,) clips of one group are drawn together; None: each clip by itself.
    """
    _, of_clip = np.unique(np.arange(n_clips) if groups is None else np.asarray(groups), return_inverse=True)
    n_groups = int(of_clip.max()) + 1 if n_clips else 0
    weights, rng = np.empty((n_clips, n_draws), np.uint8), np.random.default_rng(seed)
    for draw in range(n_draws):
        counts = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups) if n_groups else of_clip
        weights[:, draw] = np.minimum(counts, 255)[of_clip]
    return weights


def variance(draws: np.ndarray) -> float:
    """Return the variance over draws (D,) of those where a metric is finite; NaN for fewer than two."""
    finite = draws[np.isfinite(draws)]
    return float(np.var(finite, ddof=1)) if len(finite) > 1 else math.nan


def interval(value: float, variance: float, of_seeds: Sequence[tuple[float, int]] = ()) -> Interval:
    """Return the interval of a value.

    Args:
        variance: over the draws of clips.
        of_seeds: (variance of the mean over seeds, number of seeds) of each row that the value is made of; rows of
            one seed do not count.
    """
    from scipy.stats import t

    of_seeds = [(part, n) for part, n in of_seeds if n > 1 and part > 0]
    total = variance + sum(part for part, _ in of_seeds)
    if not math.isfinite(total):
        return Interval(value, math.nan, math.nan)
    spread = sum(part**2 / (n - 1) for part, n in of_seeds)
    freedom = total**2 / spread if spread else math.inf
    half = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * math.sqrt(total)
    return Interval(value, value - half, value + half)
