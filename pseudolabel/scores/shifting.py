"""Shift the scores of a clip's windows, so that together they state a known probability of each class.

A class is in a clip if it is in one of its windows. One number b is added to the log-odds of all of the clip's scores
s_w of the class, which keeps their order:

    q_w = sigmoid(logit(s_w) + b),    1 - prod_w (1 - q_w) = p

With the odds o_w = s_w / (1 - s_w) and f = exp(b), this is sum_w log(1 + f o_w) = -log(1 - p). The left side grows with
f and is concave, so Newton's method from below never passes the only root.
"""

from __future__ import annotations

import numpy as np

from pseudolabel.scores.store import real_windows

LEAST, MOST = 2.0**-24, 1 - 2.0**-12  # stored with 16 bits, a score nearer to 0 or 1 may be any nearer one
TOLERANCE = 1e-5  # relative, of f's last step; what is left is about its square


def shifted(scores: np.ndarray, n_windows: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the shifted scores (n, W, K) float64 of n clips; 0 after the real windows.

    Args:
        scores: (n, W, K) in [0, 1].
        n_windows: (n,) number of real windows.
        probabilities: (n, K) in [0, 1), to be stated; NaN where scores stay as they are.
    """
    n_clips, width, n_classes = scores.shape
    real = real_windows(scores, n_windows)
    odds = np.clip(scores, LEAST, MOST, dtype=np.float64)
    odds /= 1 - odds
    odds *= real
    odds = np.moveaxis(odds, 1, 0).reshape(width, n_clips * n_classes)
    odds *= _factors(odds, -np.log1p(-np.nan_to_num(probabilities.astype(np.float64)).ravel()))
    odds /= 1 + odds
    moved = np.moveaxis(odds.reshape(width, n_clips, n_classes), 0, 1)
    return np.where(np.isnan(probabilities)[:, None], scores * real, moved)


def _factors(odds: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return f (M,) with sum_w log(1 + f odds_w) = wanted, for odds (W, M) and `wanted` (M,), at least 0."""
    factors = np.expm1(wanted / len(odds)) / odds.mean(axis=0)  # not above the root, as log is concave
    open_ = np.flatnonzero(wanted > 0)
    while len(open_):
        some = odds[:, open_] * factors[open_]
        lacking = wanted[open_] - np.log1p(some).sum(axis=0)
        steps = lacking / (some / (1 + some)).sum(axis=0)
        factors[open_] *= 1 + steps
        open_ = open_[steps > TOLERANCE]
    return factors
