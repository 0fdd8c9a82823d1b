"""Regression, recalibration, cut and AUC: known distributions, formulas written plainly, cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize
from scipy.special import expit, logit

from pseudolabel.labels.calibration import (
    STEPS,
    Histogram,
    Pairs,
    Recalibration,
    _Objective,
    counted,
    fit,
    median_auc,
    recalibrate,
    steps_of,
)


def drawn_pairs(n: int, seed: int = 0, shares=(0.6, 0.6, 0.6), rate: float = 0.2, n_features: int = 1):
    """Return pairs of three classes, and P(true | x, unlabelled): true pairs have evidence N(2, 1), others N(0, 1)."""
    rng = np.random.default_rng(seed)
    classes, true = rng.integers(0, 3, n), rng.random(n) < rate
    features = rng.standard_normal((n, n_features))
    features[:, 0] += 2 * true
    c = np.array(shares)[classes]
    labelled = true & (rng.random(n) < c)
    pi = expit(logit(rate) + 2 * features[:, 0] - 2)
    return Pairs(features, classes, labelled, np.ones(n), 3), (1 - c) * pi / (1 - c * pi)


# ---- regression -----------------------------------------------------------------------------------------------------


def penalised(parameters: np.ndarray, pairs: Pairs, share_precision: float) -> float:
    """Return the penalised negative log likelihood, pair by pair."""
    n_features, n_classes = pairs.features.shape[1], pairs.n_classes
    mean = np.average(pairs.features, axis=0, weights=pairs.weights)
    spread = np.sqrt(np.average((pairs.features - mean) ** 2, axis=0, weights=pairs.weights)) + 1e-6
    slopes, a, g = parameters[:n_features], parameters[n_features], parameters[n_features + 1]
    each_a, each_g = np.split(parameters[n_features + 2 :], [n_classes])
    value = 0.0
    for x, k, labelled, weight in zip(pairs.features, pairs.classes, pairs.labelled, pairs.weights, strict=True):
        pi = 1 / (1 + math.exp(-(((x - mean) / spread) @ slopes + a + each_a[k])))
        c = 1 / (1 + math.exp(-(g + each_g[k])))
        value -= weight * math.log(c * pi if labelled else 1 - c * pi)
    value += 0.5 * (0.1 * slopes @ slopes + 0.3 * each_a @ each_a + (g - 0.5) ** 2 + share_precision * each_g @ each_g)
    return value


@pytest.mark.parametrize("share_precision", [0.3, 30.0])
def test_the_fit_is_the_minimum_of_the_objective_written_plainly(share_precision):
    pairs, _ = drawn_pairs(300, shares=(0.8, 0.5, 0.3), rate=0.4, n_features=2)
    pairs = Pairs(pairs.features * 3 + 1, pairs.classes, pairs.labelled, np.linspace(0.5, 2, 300), 3)
    plain = minimize(penalised, np.zeros(2 + 2 + 6), args=(pairs, share_precision), method="BFGS")
    mean = np.average(pairs.features, axis=0, weights=pairs.weights)
    spread = np.sqrt(np.average((pairs.features - mean) ** 2, axis=0, weights=pairs.weights)) + 1e-6
    found = fit(pairs, share_precision)
    assert found.slopes * spread == pytest.approx(plain.x[:2], abs=2e-3)
    assert found.offsets + found.slopes @ mean == pytest.approx(plain.x[2] + plain.x[4:7], abs=2e-3)
    assert logit(found.shares) == pytest.approx(plain.x[3] + plain.x[7:], abs=2e-3)


def test_the_gradient_is_the_slope_of_the_objective():
    pairs, _ = drawn_pairs(200, n_features=2)
    objective = _Objective(pairs, pairs.features, 0.3)
    rng = np.random.default_rng(1)
    for _ in range(5):
        at = rng.standard_normal(2 + 1 + 3 + 1 + 3)
        error = check_grad(lambda x: objective.value(x)[0], lambda x: objective.value(x)[1], at)
        assert error < 1e-4 * np.linalg.norm(objective.value(at)[1])


def test_the_probability_is_bayes_rule_of_the_fitted_parts():
    pairs, _ = drawn_pairs(500)
    found = fit(pairs, 0.3)
    pi, c = expit(pairs.features @ found.slopes + found.offsets[pairs.classes]), found.shares[pairs.classes]
    assert found.probability(pairs.features, pairs.classes) == pytest.approx((1 - c) * pi / (1 - c * pi), abs=1e-12)


@pytest.mark.parametrize(("shares", "share_precision"), [((0.9, 0.6, 0.3), 0.3), ((0.6, 0.6, 0.6), 30.0)])
def test_the_probability_converges_to_the_true_one(shares, share_precision):
    """The error falls with the number of pairs; 100,000 per class leave less than .03."""
    errors = []
    for n in (3_000, 300_000):
        pairs, truth = drawn_pairs(n, seed=3, shares=shares)
        found = fit(pairs, share_precision)
        errors.append(np.abs(found.probability(pairs.features, pairs.classes) - truth).max())
    assert errors[1] < min(0.03, errors[0] / 3)
    assert found.shares == pytest.approx(shares, abs=0.02)


def test_a_pair_of_weight_two_is_two_pairs():
    pairs, _ = drawn_pairs(400)
    twice = np.arange(400) < 100
    repeated = np.concatenate([np.arange(400), np.flatnonzero(twice)])
    each = Pairs(pairs.features[repeated], pairs.classes[repeated], pairs.labelled[repeated], np.ones(500), 3)
    weighted = Pairs(pairs.features, pairs.classes, pairs.labelled, 1.0 + twice, 3)
    one, other = fit(each, 0.3), fit(weighted, 0.3)
    assert one.shares == pytest.approx(other.shares, abs=1e-6)
    assert one.probability(pairs.features, pairs.classes) == pytest.approx(
        other.probability(pairs.features, pairs.classes), abs=1e-6
    )


def test_more_evidence_makes_a_label_more_probable():
    pairs, _ = drawn_pairs(2_000)
    evidence = np.linspace(-5, 8, 200)[:, None]
    for k in range(3):
        assert (np.diff(fit(pairs, 0.3).probability(evidence, np.full(200, k))) > 0).all()


# ---- recalibration --------------------------------------------------------------------------------------------------


def test_without_judgements_recalibration_changes_nothing():
    nothing = np.zeros(0)
    found = recalibrate(nothing, nothing, nothing)
    assert (found.child, found.free, found.slope) == (0, 0, 1)
    raw = np.array([0.25, np.nan, 0.5], np.float32)
    assert found(raw, np.array([True, True, False])) == pytest.approx([0.25, np.nan, 0.5], nan_ok=True)


def test_recalibration_is_the_minimum_of_its_objective():
    rng = np.random.default_rng(0)
    raw, child = rng.uniform(0.05, 0.99, 100), rng.random(100) < 0.5
    right = rng.random(100) < np.where(child, raw**2, raw)

    def plain(t):
        p = expit(np.where(child, t[0], t[1]) + math.exp(t[2]) * logit(raw))
        loss = -np.log(np.where(right, p, 1 - p)).sum()
        return loss + 0.125 * (t[0] ** 2 + t[1] ** 2) + 2 * t[2] ** 2

    best, found = (
        minimize(plain, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-6, "maxiter": 2_000}).x,
        recalibrate(raw, child, right),
    )
    assert (found.child, found.free, math.log(found.slope)) == pytest.approx(tuple(best), abs=1e-4)


def test_many_judgements_of_one_domain_move_that_domain():
    raw, child = np.full(4_000, 0.8), np.arange(4_000) % 2 == 0
    right = np.where(child, np.arange(4_000) % 4 == 0, np.arange(4_000) % 10 != 1)  # half of child, 4 of 5 free
    found = recalibrate(raw, child, right)
    assert found(np.array([0.8, 0.8]), np.array([True, False])) == pytest.approx([0.5, 0.8], abs=0.01)


def test_a_recalibrated_probability_may_exceed_trust():
    assert Recalibration(1, 0, 1)(np.array([1.0]), np.array([True]))[0] > 0.9999


# ---- selection ------------------------------------------------------------------------------------------------------


def histogram(*values: float) -> Histogram:
    return Histogram(counted([steps_of(np.array(values, np.float32))], STEPS + 1))


def test_guesses_are_added_until_their_mean_falls_to_the_precision():
    counted = histogram(0.9, 0.75, 0.5, 0.25)
    for precision, n, mean in ((0.9, 1, 0.9), (0.75, 2, 0.825), (0.7, 3, 2.15 / 3), (0.6, 4, 0.6), (0.01, 4, 0.6)):
        cut = counted.cut(precision)
        assert (cut.n, cut.expected) == (n, pytest.approx(mean, abs=1e-6)), precision
    assert counted.cut(0.7).lowest == 0.5
    assert (np.array([0.9, 0.75, 0.5, 0.25], np.float32) >= counted.cut(0.7).lowest).tolist() == [1, 1, 1, 0]


def test_equal_guesses_are_added_together_or_not_at_all():
    assert histogram(0.9, 0.6, 0.6, 0.6).cut(0.7).n == 1  # one of them would leave .75
    assert histogram(0.9, 0.6, 0.6, 0.6).cut(0.675).n == 4
    assert histogram(0.7, 0.7).cut(0.7).n == 2


def test_out_of_reach_adds_nothing():
    for nothing in (histogram(0.5, 0.6), histogram()):
        cut = nothing.cut(0.7)
        assert (cut.lowest, cut.n) == (math.inf, 0)
        assert math.isnan(cut.expected)


def test_counting_in_parts_or_together_is_the_same():
    assert counted([], 3).tolist() == [0, 0, 0]
    blocks = [np.arange(3, dtype=np.int32)] * 20 + [np.array([1, 1], np.int32)]
    assert counted(blocks, 4).tolist() == [20, 22, 20, 0]
    together = histogram(0.9, 0.5, 0.75, 1.0, 0.0).counts
    assert ((histogram(0.9, 0.5) + histogram(0.75, 1.0, 0.0)).counts == together).all()


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_the_cut_is_that_of_sorted_guesses(values, precision):
    ranked = np.sort(np.array(values))[::-1]
    cut = histogram(*values).cut(precision)
    means = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    slack = 2 / STEPS
    first_below = np.flatnonzero(means < precision - slack)
    assert cut.n <= (first_below[0] if len(first_below) else len(ranked))
    sure = int((means >= precision + slack).sum())  # equal ones of the last may be left out
    assert cut.n >= (ranked > ranked[sure - 1] + slack).sum() if sure else True


# ---- AUC ------------------------------------------------------------------------------------------------------------


def test_the_median_auc_counts_pairs_of_a_carrier_and_another_clip():
    classes = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    labelled = np.array([1, 1, 0, 0, 1, 0, 0, 1], bool)
    first = np.array([0.9, 0.2, 0.4, 0.1, 0.5, 0.5, 0.1, 0.3])
    second = np.full(8, np.nan)
    weights = np.array([1, 1, 1, 3, 1, 1, 1, 1.0])
    # class 0: (1 + 3 + 0 + 3) / 8, class 1: (.5 + 1) / 2; class 2 has no other clip
    found = median_auc(classes, labelled, np.stack([first, second], axis=1), weights)
    assert found == pytest.approx([(7 / 8 + 3 / 4) / 2, np.nan], nan_ok=True)
