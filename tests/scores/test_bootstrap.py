"""Confidence intervals: draws of clips and groups, and how often the intervals hold the true value."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pseudolabel.scores.bootstrap import drawn_weights, interval
from pseudolabel.scores.metrics import resampled_metrics, summary_and_classes


def test_each_draw_holds_as_many_clips_as_the_list_and_groups_stay_whole():
    weights = drawn_weights(50, 200, 3)
    assert weights.shape == (50, 200) and weights.dtype == np.uint8
    assert (weights.sum(axis=0) == 50).all() and weights.mean() == 1
    groups = [f"source{clip // 5}" for clip in range(50)]
    grouped = drawn_weights(50, 200, 3, groups)
    assert all((grouped[start : start + 5] == grouped[start]).all() for start in range(0, 50, 5))
    np.testing.assert_array_equal(drawn_weights(50, 200, 3), weights)
    assert (drawn_weights(50, 200, 4) != weights).any() and drawn_weights(0, 5, 0).shape == (0, 5)


def test_interval_by_hand():
    # Clips alone: normal. Two seeds alone: t with one degree of freedom, 12.706.
    assert tuple(interval(0.5, 0.01)) == pytest.approx((0.5, 0.5 - 0.196, 0.5 + 0.196), abs=1e-4)
    assert tuple(interval(0.5, 0.0, [(0.0001, 2)])) == pytest.approx((0.5, 0.5 - 0.12706, 0.5 + 0.12706), abs=1e-5)
    # Both: 2e-4 in all, (2e-4)^2 / (1e-4)^2 = 4 degrees of freedom, 2.776.
    assert interval(0, 1e-4, [(1e-4, 2)]).high == pytest.approx(2.7764 * math.sqrt(2e-4), abs=1e-5)
    assert math.isnan(interval(0.5, math.nan).low) and math.isnan(interval(0.5, math.nan).within(0, 1).low)
    assert interval(0.9, 0.01).within(0, 1).high == 1
    assert interval(0.5, math.nan).text() == ".500" and interval(0.5, 0.01).text() == ".500 [.304, .696]"
    assert (
        interval(0.1, 0.0001).signed(2) == "+.10 [.08, .12]" and interval(-0.1, 0.0).signed() == "-.100 [-.100, -.100]"
    )


def two_models(rng: np.random.Generator, n_clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of five classes, and the scores of two models that share part of their errors; the second is better."""
    labels = rng.random((n_clips, 5)) < np.array([0.5, 0.3, 0.2, 0.1, 0.1])
    shared = rng.normal(size=labels.shape)
    worse, better = (gain * labels + shared + 0.7 * rng.normal(size=labels.shape) for gain in (1.0, 1.4))
    return labels, *(1 / (1 + np.exp(-scores)) for scores in (worse, better))


@pytest.mark.parametrize(
    ("n_samples", "least", "most"),
    [(120, 0.88, 1), pytest.param(1000, 0.93, 0.97, marks=pytest.mark.slow)],
)
def test_paired_intervals_hold_the_true_difference(n_samples, least, most):
    rng = np.random.default_rng(1)
    of_many = two_models(rng, 400_000)
    true = {
        name: summary_and_classes(of_many[0], of_many[2])[0][name]
        - summary_and_classes(of_many[0], of_many[1])[0][name]
        for name in ("map", "auc", "lwlrap", "f1_micro")
    }
    held = dict.fromkeys(true, 0)
    for sample in range(n_samples):
        labels, worse, better = two_models(rng, 300)
        weights = drawn_weights(300, 300, sample)
        draws = [resampled_metrics(labels, scores, weights) for scores in (worse, better)]
        values = [summary_and_classes(labels, scores)[0] for scores in (worse, better)]
        for name, value in true.items():
            found = interval(values[1][name] - values[0][name], np.var(draws[1][name] - draws[0][name], ddof=1))
            held[name] += found.low <= value <= found.high
    assert all(least <= n / n_samples <= most for n in held.values()), held
