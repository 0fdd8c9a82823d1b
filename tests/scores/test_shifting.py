"""Shifted window scores: the stated probability, the order of windows, extremes; against bisection in plain numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.scores.shifting import LEAST, MOST, shifted


def by_bisection(scores: list[float], probability: float) -> list[float]:
    """Return the shifted scores of one clip and class."""
    logits = [math.log(min(max(s, LEAST), MOST)) - math.log1p(-min(max(s, LEAST), MOST)) for s in scores]
    low, high = -60.0, 60.0
    for _ in range(200):
        shift = (low + high) / 2
        moved = [1 / (1 + math.exp(-(logit + shift))) for logit in logits]
        low, high = (shift, high) if stated(moved) < probability else (low, shift)
    return moved


def stated(scores: list[float]) -> float:
    return -math.expm1(sum(map(math.log1p, (-score for score in scores))))


def test_windows_of_one_clip_by_hand():
    scores, stated_by_both = np.array([[[0.1], [0.1]]]), np.array([[0.75]])
    assert shifted(scores, np.array([2]), stated_by_both)[0, :, 0].tolist() == pytest.approx([0.5, 0.5])  # 1 - .5 * .5
    odds_one_and_three = np.array([[[0.5], [0.75]]])  # (1 + f) (1 + 3 f) = 5: f = 2 / 3
    found = shifted(odds_one_and_three, np.array([2]), np.array([[0.8]]))[0, :, 0]
    assert found.tolist() == pytest.approx([2 / 5, 2 / 3], abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-7, 1 - 1e-7]), min_size=1, max_size=12),
    st.floats(1e-6, 0.999) | st.just(0.999),
)
def test_shifted_scores_are_those_of_bisection(scores, probability):
    found = shifted(np.array(scores)[None, :, None], np.array([len(scores)]), np.array([[probability]]))[0, :, 0]
    assert found.tolist() == pytest.approx(by_bisection(scores, probability), abs=1e-6)
    assert stated(found.tolist()) == pytest.approx(probability, abs=1e-9)
    assert (np.diff(found[np.argsort(scores, kind="stable")]) >= -1e-12).all()  # the windows keep their order


@pytest.mark.parametrize("score", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("n_windows", [1, 5, 1000])
def test_equal_windows_share_the_probability_equally(score, n_windows):
    found = shifted(np.full((1, n_windows, 1), score), np.array([n_windows]), np.array([[0.9]]))
    assert found[0, :, 0] == pytest.approx(np.full(n_windows, 1 - 0.1 ** (1 / n_windows)), abs=1e-9)


def test_one_surely_heard_window_takes_all():
    scores = np.zeros((1, 5, 1), np.float16)
    scores[0, 2] = 1
    found = shifted(scores, np.array([5]), np.array([[0.999]]))[0, :, 0]
    assert found[2] == pytest.approx(0.999, abs=1e-6) and found[[0, 1, 3, 4]].max() < 1e-4


def test_clips_of_unequal_length_and_pairs_without_answer():
    rng = np.random.default_rng(0)
    scores, counts, probabilities = rng.random((40, 6, 7)), rng.integers(1, 7, 40), rng.random((40, 7)) * 0.999
    probabilities[rng.random((40, 7)) < 0.2] = np.nan
    probabilities[0, 0] = 0
    found = shifted(scores, counts, probabilities)
    real = np.arange(6) < counts[:, None]
    assert not found[~real].any()
    unanswered = np.isnan(probabilities)[:, None] & real[..., None]
    assert np.array_equal(found[unanswered], scores[unanswered])
    answered = ~np.isnan(probabilities)
    assert np.abs(1 - (1 - found).prod(axis=1) - probabilities)[answered].max() < 1e-9
    assert not found[0, :, 0].any()
    for clip, k in np.argwhere(answered)[1:].tolist():
        own = scores[clip, : counts[clip], k].tolist()
        assert found[clip, : counts[clip], k] == pytest.approx(by_bisection(own, probabilities[clip, k]), abs=1e-6)


def test_sixteen_bits_state_nearly_the_same_probability():
    rng = np.random.default_rng(1)
    scores, probabilities = rng.random((200, 5, 20)) ** 8, rng.random((200, 20)) ** 4 * 0.999
    stored = shifted(scores, np.full(200, 5), probabilities).astype(np.float16).astype(np.float64)
    assert np.abs(1 - (1 - stored).prod(axis=1) - probabilities).max() < 1e-3
