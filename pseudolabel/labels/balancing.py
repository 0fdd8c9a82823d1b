"""Measure how uneven the classes of a label list are, and compute weights that draw rare ones more often.

There are two rules: PSLA's sum rule (`balanced_weights`: sampling weights) and Moore et al.'s max rule
(`oversampling_factors`: how often to repeat each clip). They differ, so state which one was used.
PSLA: Gong et al. 2021. Moore et al. 2023: "Dataset balancing can hurt model performance".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError

SHUFFLE, SUM_RULE, MAX_RULE, REPEAT, ROUND_ROBIN = "shuffle", "sum-rule", "max-rule", "repeat", "round-robin"
SAMPLINGS = {  # ways to draw an epoch (training/drawing.py), with their --help texts
    SHUFFLE: "every clip once",
    SUM_RULE: "PSLA's balanced sampling",
    MAX_RULE: "Moore et al.'s, by drawing",
    REPEAT: "Moore et al.'s, by repeating clips",
    ROUND_ROBIN: "class after class",
}
WITH_BETA = (MAX_RULE, REPEAT)
DEFAULT_BETA = 0.5  # their exponent
MOORE_BETAS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # Moore et al., Table 2
LARGEST_FACTOR = 1e9  # a larger factor means that beta is a mistake


def class_counts(matrix: sparse.csr_array) -> np.ndarray:
    """Return N_k, (K,) int64: how many clips carry each class. `matrix` is (N, K) bool, here and below."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.int64)


def priors(matrix: sparse.csr_array) -> np.ndarray:
    """Return p_k = N_k / N, (K,) float64 (Moore et al., equation 1); NaN if there are no clips."""
    return class_counts(matrix) / (matrix.shape[0] or np.nan)


def label_cardinality(matrix: sparse.csr_array) -> float:
    """Return the mean number of labels per clip, including clips without labels; NaN if there are no clips."""
    return matrix.nnz / matrix.shape[0] if matrix.shape[0] else math.nan


def imbalance_ratio(counts: np.ndarray) -> float:
    """Return the ratio of the largest to the smallest nonzero count or prior (Moore et al., equation 2)."""
    occurring = counts[counts > 0]
    return float(occurring.max() / occurring.min()) if len(occurring) else math.nan


def gini(counts: np.ndarray, form: str = "printed") -> float:
    """Return the Gini coefficient of the nonzero class counts; NaN if all are zero.

    `printed` is Moore et al.'s equation 3, 1 - 2 S / (K T), with T the sum of the counts and S the sum of the running
    sums of the counts in ascending order. It is -1/K if all counts are equal. `usual` is the common form, larger by
    exactly 1/K: 0 if all are equal. With 527 classes they differ by .0019.
    """
    if form not in ("printed", "usual"):
        raise InputError(f"no form {form!r} of the Gini coefficient", "", "Give printed or usual.")
    ascending = np.sort(np.asarray(counts, dtype=np.float64)[counts > 0])
    if not len(ascending):
        return math.nan
    printed = 1 - 2 * np.cumsum(ascending).sum() / (len(ascending) * ascending.sum())
    return float(printed + (1 / len(ascending) if form == "usual" else 0))


def balanced_weights(matrix: sparse.csr_array) -> np.ndarray:
    """Return a sampling weight per clip, (N,) float64: the sum over its labels of 1 / (number of clips with the label).

    PSLA, Algorithm 1 (the sum rule). A clip without labels gets weight 0; weights sum to the number of classes that
    occur. Recompute them after enhancement, since added labels change the counts.
    """
    counts = class_counts(matrix)
    rarity = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
    return np.asarray(matrix.astype(np.float64) @ rarity).ravel()


def max_rule_weights(matrix: sparse.csr_array, beta: float, option: str = "--betas") -> np.ndarray:
    """Return m_j / min m_j, (N,) float64: Moore et al.'s factors before rounding, as sampling weights.

    m_j = max over the labels of clip j of (1 / p_k)^beta (equation 4). A clip without labels has no m_j and gets 1.

    Args:
        beta: oversampling exponent, from 0 (every clip once) to 1 (full); larger values are allowed.
        option: the option that errors name.

    Raises:
        InputError: beta is negative or not finite, or so large that a factor exceeds LARGEST_FACTOR.
    """
    if not 0 <= beta < math.inf:
        raise InputError(f"the exponent beta must be a finite number of at least 0, not {beta}", option)
    lengths = np.diff(matrix.indptr)
    rarest = np.zeros(len(lengths), dtype=np.int64)  # the count of each clip's rarest class, 0 if it has no labels
    labelled = lengths > 0
    if labelled.any():
        counts = class_counts(matrix)[matrix.indices]
        rarest[labelled] = np.minimum.reduceat(counts, matrix.indptr[:-1][labelled])
    with np.errstate(over="ignore"):
        weights = np.where(labelled, (rarest.max(initial=1) / np.maximum(rarest, 1)) ** beta, 1.0)
    if weights.max(initial=1) > LARGEST_FACTOR:
        raise InputError(f"beta {beta:g} repeats a clip {weights.max():.3g} times", option, "Give a smaller beta.")
    return weights


def oversampling_factors(matrix: sparse.csr_array, beta: float, option: str = "--betas") -> np.ndarray:
    """Return M_j, (N,) int64, how often an epoch repeats each clip: Moore et al.'s max rule (equations 4 and 5).

    M_j is `max_rule_weights` rounded half to even, as in NumPy.
    """
    return np.rint(max_rule_weights(matrix, beta, option)).astype(np.int64)


class Oversampled(NamedTuple):
    """Statistics of an epoch that repeats clip j M_j times, for one beta (a row of Moore et al., Table 2).

    `rows` is the sum of M_j, `times` is `rows` / N, and one in `one_in` rows has the rarest class.
    """

    beta: float
    imbalance_ratio: float
    gini: float
    gini_usual: float
    rows: int
    times: float
    largest_factor: int
    one_in: float


def beta_table(matrix: sparse.csr_array, betas: Sequence[float] = MOORE_BETAS) -> list[Oversampled]:
    """Return one row per exponent, in the given order (Moore et al., Table 2)."""
    return [oversampled(matrix, beta) for beta in betas]


def oversampled(matrix: sparse.csr_array, beta: float) -> Oversampled:
    """Return the statistics of a list oversampled by the max rule with exponent `beta`."""
    factors = oversampling_factors(matrix, beta)
    repeated = np.repeat(factors.astype(np.float64), np.diff(matrix.indptr))  # exact: whole numbers below 2^53
    counts = np.bincount(matrix.indices, weights=repeated, minlength=matrix.shape[1])
    n_rows = int(factors.sum())
    return Oversampled(
        beta=float(beta),
        imbalance_ratio=imbalance_ratio(counts),
        gini=gini(counts),
        gini_usual=gini(counts, "usual"),
        rows=n_rows,
        times=n_rows / len(factors) if len(factors) else math.nan,
        largest_factor=int(factors.max(initial=0)),
        one_in=n_rows / float(counts[counts > 0].min()) if counts.any() else math.nan,
    )
