"""Estimate how probable a missing label is: regression of labels on evidence, recalibration, one cut for a precision.

A class's labels are those that an annotator gave with their ancestors. Not every true label was given, so the share of
labelled clips levels off below 1 where the evidence is strongest. The height of that plateau is c, the share of true
labels that were given (Elkan and Noto 2008):

    P(labelled | x) = c_k pi,   pi = sigmoid(offset_k + slopes . x)
    P(true | not labelled, x) = (1 - c_k) pi / (1 - c_k pi) = sigmoid(offset_k + slopes . x + log(1 - c_k))

It assumes that, given the class, which true labels were left out does not depend on the sound, and that no given label
is false. `TRUST`, the share of the surest guesses that are right, allows for false ones until guesses are judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit, log_expit, logit

TRUST = 0.9
OFFSET_PRECISION, SLOPE_PRECISION = 0.3, 0.1  # of the normal priors with mean 0, features standardised
SHARE_PRIOR = 0.5, 1.0  # mean and precision of the mean log-odds of c
ITERATIONS, CORRECTIONS = 150, 30  # of L-BFGS
STEPS = 1 << 20  # of probability: guesses within 1 / STEPS count as equally probable
SURELY = 1e-4  # raw probabilities are kept this far from 0 and 1 when they are recalibrated
OFFSET_SHRINKAGE, SLOPE_SHRINKAGE = 0.25, 4.0  # precisions of the recalibration's offsets and of its log slope


# ---- regression -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Pairs:
    """M (clip, class) pairs that a regression learns from.

    Args:
        features: (M, F) float64.
        classes: (M,) int64, below `n_classes`.
        labelled: (M,) bool, whether the class is known on the clip.
        weights: (M,) float64, how many pairs each one represents.
    """

    features: np.ndarray
    classes: np.ndarray
    labelled: np.ndarray
    weights: np.ndarray
    n_classes: int


@dataclass(frozen=True, eq=False)
class Regression:
    """P(labelled | x) = c_k sigmoid(offset_k + slopes . x): `slopes` (F,), `offsets` (K,), `shares` (K,) c."""

    slopes: np.ndarray
    offsets: np.ndarray
    shares: np.ndarray

    @property
    def unlabelled_offsets(self) -> np.ndarray:
        """offset_k + log(1 - c_k), (K,): with it, the sigmoid is P(true | not labelled, x)."""
        return self.offsets + np.log1p(-self.shares)

    def probability(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return P(true | not labelled, x) of pairs with `features` (M, F) and `classes` (M,)."""
        return expit(features @ self.slopes + self.unlabelled_offsets[classes])


def fit(pairs: Pairs, share_precision: float) -> Regression:
    """Fit P(labelled | x) = c_k sigmoid(offset_k + slopes . x) by penalised maximum likelihood (L-BFGS).

    With standardised features and offset_k = a + a_k, log-odds of c_k = g + g_k, it minimises
    -log likelihood + (.1 |slopes|^2 + .3 |a_k|^2 + (g - .5)^2 + share_precision |g_k|^2) / 2; a is free.

    Args:
        share_precision: how strongly c_k is shrunk to the mean of all classes.
    """
    total = pairs.weights.sum()
    centre = pairs.weights @ pairs.features / total
    scale = np.sqrt(pairs.weights @ (pairs.features - centre) ** 2 / total) + 1e-6
    objective = _Objective(pairs, (pairs.features - centre) / scale, share_precision)
    slopes, offsets, log_odds_of_c = objective.minimised()
    return Regression(slopes / scale, offsets - slopes @ (centre / scale), expit(log_odds_of_c))


class _Objective:
    """The penalised log likelihood of `fit`, in parameters scaled to about equal curvature."""

    def __init__(self, pairs: Pairs, features: np.ndarray, share_precision: float):
        (_, n_features), n_classes = features.shape, pairs.n_classes
        sizes = np.array([n_features, 1, n_classes, 1, n_classes])
        self.ends = np.cumsum(sizes)[:-1]
        self.prior = np.zeros(sizes.sum())
        self.prior[-1 - n_classes] = SHARE_PRIOR[0]
        precisions = (SLOPE_PRECISION, 0, OFFSET_PRECISION, SHARE_PRIOR[1], share_precision)
        self.precision = np.repeat(np.array(precisions, float), sizes)
        self.n_classes = n_classes
        self.start = np.zeros(sizes.sum())
        self.start[n_features] = -1
        given, other = pairs.labelled, ~pairs.labelled
        self.given = features[given], pairs.classes[given], pairs.weights[given]
        self.other = features[other], pairs.classes[other], pairs.weights[other]
        per_class = self._sums(self.given[1], self.given[2])
        total = per_class.sum()
        curvature = [np.full(n_features, total), [total], per_class, [total], per_class]
        self.scale = 1 / np.sqrt(1 + np.concatenate(curvature) / 8)

    def minimised(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return slopes (F,), offsets (K,) and the log-odds of c (K,)."""
        from scipy.optimize import minimize

        options = {"maxiter": ITERATIONS, "maxcor": CORRECTIONS, "ftol": 1e-15, "gtol": 1e-7}
        found = minimize(self.value, self.start / self.scale, jac=True, method="L-BFGS-B", options=options)
        self.found = found
        return self._parameters(found.x * self.scale)

    def value(self, scaled: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective and its gradient."""
        parameters = scaled * self.scale
        slopes, offsets, log_odds_of_c = self._parameters(parameters)
        share, log_share = expit(log_odds_of_c), log_expit(log_odds_of_c)
        (x, k, w), (y, m, v) = self.given, self.other
        eta, pi = x @ slopes + offsets[k], expit(y @ slopes + offsets[m])
        likely = share[m] * pi
        value = -(w @ (log_share[k] + log_expit(eta))) - v @ np.log1p(-likely)
        pull, push = w * expit(-eta), v * likely / (1 - likely)
        by_share = (self._sums(m, push) - self._sums(k, w)) * (1 - share)
        push *= 1 - pi
        by_offset = self._sums(m, push) - self._sums(k, pull)
        by_slope = push @ y - pull @ x
        away = parameters - self.prior
        gradient = np.concatenate([by_slope, [by_offset.sum()], by_offset, [by_share.sum()], by_share])
        gradient += self.precision * away
        return value + 0.5 * self.precision @ away**2, gradient * self.scale

    def _parameters(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        slopes, offset, offsets, log_odds, each = np.split(parameters, self.ends)
        return slopes, offset + offsets, log_odds + each

    def _sums(self, classes: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(classes, values, self.n_classes)


# ---- recalibration from judgements ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recalibration:
    """logit p' = offset_domain + slope * logit(p) of a raw probability p; before judgements p' = TRUST * p.

    Args:
        child, free: the offsets of the domains: a nearest parent is known, none is.
        slope: above 0.
    """

    child: float
    free: float
    slope: float

    def __call__(self, raw: np.ndarray, child: np.ndarray) -> np.ndarray:
        """Return p' of raw probabilities, NaN where these are; `child` bool says which domain each is in."""
        offsets = np.where(child, np.float32(self.child), np.float32(self.free))
        return expit(offsets + np.float32(self.slope) * logit(np.clip(raw, SURELY, 1 - SURELY)))


def recalibrate(raw: np.ndarray, child: np.ndarray, right: np.ndarray) -> Recalibration:
    """Learn from M judged guesses, by maximum likelihood shrunk to p' = p.

    It minimises -log likelihood + (.25 (child^2 + free^2) + 4 log(slope)^2) / 2.

    Args:
        raw: (M,) raw probabilities.
        child: (M,) bool, the domain of each.
        right: (M,) bool, what judges decided.
    """
    from scipy.optimize import minimize

    log_odds, child, right = logit(np.clip(raw, SURELY, 1 - SURELY)), child.astype(bool), right.astype(bool)
    precision = np.array([OFFSET_SHRINKAGE, OFFSET_SHRINKAGE, SLOPE_SHRINKAGE])

    def value(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.exp(parameters[2])
        eta = np.where(child, parameters[0], parameters[1]) + slope * log_odds
        error = expit(eta) - right
        gradient = np.array([error[child].sum(), error[~child].sum(), slope * (error @ log_odds)])
        loss = -log_expit(np.where(right, eta, -eta)).sum()
        return loss + 0.5 * precision @ parameters**2, gradient + precision * parameters

    child_offset, free_offset, log_slope = minimize(value, np.zeros(3), jac=True, method="BFGS").x.tolist()
    return Recalibration(child_offset, free_offset, math.exp(log_slope))


# ---- selection --------------------------------------------------------------------------------------------------


def counted(blocks: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Return how often each number below `n` is in any of the blocks, (n,) int64."""
    counts, waiting = np.zeros(n, np.int64), [np.zeros(0, np.int32)]
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) > 4 * n:
            counts += np.bincount(np.concatenate(waiting), minlength=n)
            waiting = []
    return counts + np.bincount(np.concatenate(waiting or [np.zeros(0, np.int32)]), minlength=n)


def steps_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the step, 0 to 2^20, of probabilities in [0, 1], int32."""
    return (probabilities * STEPS).astype(np.int32)


class Cut(NamedTuple):
    """Guesses with probability >= `lowest` are added: `n` of them, of the mean probability `expected` (NaN: none)."""

    lowest: float
    n: int
    expected: float


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many guesses have which probability: `counts` (2^20 + 1,) of equal steps from 0 to 1."""

    counts: np.ndarray

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts)

    def cut(self, precision: float) -> Cut:
        """Return the lowest cut above which the mean probability is at least `precision`.

        Guesses of one step are added together or not at all, so their order does not matter. If even the highest step
        is below `precision`, nothing is added: `lowest` is infinite.
        """
        steps = np.flatnonzero(self.counts)[::-1]
        n = np.cumsum(self.counts[steps])
        expected = np.cumsum(self.counts[steps] * ((steps + 0.5) / STEPS)) / n
        enough = np.flatnonzero(expected >= precision - 1 / STEPS)
        if not len(enough):
            return Cut(math.inf, 0, math.nan)
        last = enough[-1]
        return Cut(float(steps[last] / STEPS), int(n[last]), float(expected[last]))


# ---- quality of the teacher -------------------------------------------------------------------------------------


def median_auc(classes: np.ndarray, labelled: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return for each teacher the median over classes of the AUC of labelled pairs against the rest of their class.

    Args:
        classes, labelled, weights: (M,) of pairs.
        scores: (M, T) of each teacher, NaN where it has none.

    Returns:
        (T,), NaN where a teacher has no class with both.
    """
    from sklearn.metrics import roc_auc_score

    order = np.argsort(classes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(classes[order])) + 1)
    medians = np.full(scores.shape[1], np.nan)
    for teacher, values in enumerate(scores.T):
        each = []
        for group in groups:
            scored = group[~np.isnan(values[group])]
            if 0 < labelled[scored].sum() < len(scored):
                each.append(roc_auc_score(labelled[scored], values[scored], sample_weight=weights[scored]))
        medians[teacher] = np.median(each) if each else np.nan
    return medians
