"""Metrics: hand-made matrices with answers as fractions, scikit-learn and nested loops as references, ties included."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from pseudolabel.errors import InputError
from pseudolabel.scores import metrics

# Five clips, three classes; class 2 has no positive clip. No ties in class 0, one tie in class 1.
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
SCORES = np.array([[0.9, 0.2, 0.1], [0.8, 0.6, 0.1], [0.7, 0.6, 0.2], [0.1, 0.4, 0.3], [0.2, 0.1, 0.4]])


@st.composite
def labelled_scores(draw):
    """Labels and scores of few distinct values, so that ties are common."""
    n_clips, n_classes = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_levels = draw(st.sampled_from([2, 4, 1000]))
    return rng.random((n_clips, n_classes)) < 0.4, rng.integers(0, n_levels, (n_clips, n_classes)) / n_levels


def loop_average_precision(labels, scores) -> float:
    """Average, over positive clips, of the precision among all clips scored at least as high."""
    precisions = []
    for clip, is_positive in enumerate(labels):
        if is_positive:
            above = [other for other in range(len(scores)) if scores[other] >= scores[clip]]
            precisions.append(sum(labels[other] for other in above) / len(above))
    return statistics.fmean(precisions) if precisions else math.nan


def loop_auc(labels, scores) -> float:
    """The share of (positive, negative) pairs in the right order; a tie is half right."""
    pairs = [
        (scores[a] > scores[b]) + 0.5 * (scores[a] == scores[b])
        for a in range(len(scores))
        for b in range(len(scores))
        if labels[a] and not labels[b]
    ]
    return float(statistics.fmean(pairs)) if pairs else math.nan


def loop_lwlrap(labels, scores) -> float:
    """Precision at the rank of every label of every clip, averaged over labels."""
    precisions = []
    for clip_labels, clip_scores in zip(labels, scores, strict=True):
        for k in np.flatnonzero(clip_labels):
            above = clip_scores >= clip_scores[k]
            precisions.append(np.count_nonzero(above & clip_labels) / np.count_nonzero(above))
    return statistics.fmean(precisions) if precisions else math.nan


def loop_map_at(labels, scores, k) -> float:
    """AP@k of every labelled clip, classes sorted by falling score, then by number."""
    answers = []
    for clip_labels, clip_scores in zip(labels, scores, strict=True):
        if not clip_labels.any():
            continue
        ranking = sorted(range(len(clip_scores)), key=lambda c: (-clip_scores[c], c))[:k]
        found, total = 0, 0.0
        for place, c in enumerate(ranking, 1):
            if clip_labels[c]:
                found += 1
                total += found / place
        answers.append(total / min(k, clip_labels.sum()))
    return statistics.fmean(answers) if answers else math.nan


def test_average_precision_by_hand():
    # class 0 ranks + - + - -: (1/1 + 2/3) / 2. Class 1: one positive tied with a negative, then the other positive.
    np.testing.assert_allclose(metrics.average_precision(LABELS, SCORES), [5 / 6, (1 / 2 + 2 / 3) / 2, math.nan])


def test_auc_by_hand():
    # class 0: 5 of the 6 pairs in order. Class 1: 1/2 + 1 + 1 for the tied positive, 0 + 1 + 1 for the other.
    np.testing.assert_allclose(metrics.roc_auc(LABELS, SCORES), [5 / 6, 4.5 / 6, math.nan])


def test_auc_is_nan_without_negatives():
    assert math.isnan(metrics.roc_auc(np.ones((3, 1), bool), np.arange(3.0)[:, None])[0])


def test_f1_by_hand():
    # answers above .5: class 0 clips 0 1 2 (two right of two), class 1 clips 1 2 (one right of two).
    found = metrics.f1_at(LABELS, SCORES)
    assert found["precision"] == pytest.approx(3 / 5) and found["recall"] == pytest.approx(3 / 4)
    assert found["f1_micro"] == pytest.approx(2 * 3 / (5 + 4))
    assert found["precision_macro"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["recall_macro"] == pytest.approx((1 + 1 / 2) / 2)
    assert found["f1_macro"] == pytest.approx((4 / 5 + 2 / 4) / 2)


def test_a_score_equal_to_the_threshold_is_not_an_answer():
    assert metrics.f1_at([[1]], [[0.5]])["recall"] == 0.0
    assert metrics.f1_at([[1]], [[0.5]], threshold=0.49)["recall"] == 1.0


def test_lwlrap_and_map_at_by_hand():
    labels = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    scores = [[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]]
    assert metrics.lwlrap(labels, scores) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert metrics.mean_average_precision_at(labels, scores, k=3) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert metrics.mean_average_precision_at(labels, scores, k=1) == pytest.approx((1 + 0) / 2)


def test_d_prime_of_known_areas():
    assert metrics.d_prime(0.5) == pytest.approx(0)
    # One standard deviation between two unit normals: AUC = Phi(1 / sqrt 2).
    area = statistics.NormalDist().cdf(1 / math.sqrt(2))
    assert metrics.d_prime(area) == pytest.approx(1)
    np.testing.assert_allclose(metrics.d_prime(np.array([1 - area, area])), [-1, 1])


def test_mean_class_d_prime_stays_finite_when_a_class_is_ranked_perfectly():
    labels = np.array([[1, 0], [0, 1], [0, 1]], dtype=bool)
    scores = np.array([[0.9, 0.8], [0.1, 0.9], [0.2, 0.1]])
    found, _ = metrics.summary_and_classes(labels, scores)
    # Class 0: perfect, 2 pairs, so AUC 1 - 1/4. Class 1: one of 2 pairs.
    expected = math.sqrt(2) * statistics.NormalDist().inv_cdf(0.75) / 2
    assert found["d_prime_class_mean"] == pytest.approx(expected)
    assert found["d_prime"] == pytest.approx(math.sqrt(2) * statistics.NormalDist().inv_cdf(0.75))


def test_summary_leaves_out_and_counts_classes_without_positives():
    found, _ = metrics.summary_and_classes(LABELS, SCORES)
    assert (found["n_clips"], found["n_classes"], found["n_classes_scored"], found["n_labels"]) == (5, 3, 2, 4)
    assert found["map"] == pytest.approx((5 / 6 + 7 / 12) / 2)
    assert found["auc"] == pytest.approx((5 / 6 + 4.5 / 6) / 2)
    assert tuple(found)[: len(metrics.METRICS)] == tuple(metrics.METRICS)


def test_each_option_names_its_metrics_and_every_metric_says_what_it_means():
    assert [metric.key for metric in metrics.metrics_of("d-prime")] == ["d_prime", "d_prime_class_mean"]
    assert [metric.key for metric in metrics.metrics_of("f1")] == ["f1_micro", "f1_macro"]
    assert all(metrics.metrics_of(option) for option in metrics.METRIC_OPTIONS)
    assert all(metric.meaning and metric.heading and metric.digits for metric in metrics.METRICS.values())


def test_summary_of_clips_without_any_label_is_nan_not_zero():
    found, _ = metrics.summary_and_classes(np.zeros((3, 2), bool), np.full((3, 2), 0.2))
    assert all(math.isnan(found[name]) for name in ("map", "auc", "d_prime", "lwlrap", "f1_macro"))
    assert found["n_classes_scored"] == 0


def test_sparse_labels_and_half_precision_scores_give_the_same_answers():
    exact = SCORES.astype(np.float16)
    dense, _ = metrics.summary_and_classes(LABELS, exact.astype(np.float64))
    found, _ = metrics.summary_and_classes(csr_matrix(LABELS), exact)
    assert found == pytest.approx(dense, nan_ok=True)


@settings(max_examples=40, deadline=None)
@given(labelled_scores())
def test_fast_metrics_equal_nested_loops(case):
    labels, scores = case
    n_classes = labels.shape[1]
    loop_ap = [loop_average_precision(labels[:, k], scores[:, k]) for k in range(n_classes)]
    np.testing.assert_allclose(metrics.average_precision(labels, scores), loop_ap)
    np.testing.assert_allclose(
        metrics.roc_auc(labels, scores), [loop_auc(labels[:, k], scores[:, k]) for k in range(n_classes)]
    )
    np.testing.assert_allclose(metrics.lwlrap(labels, scores), loop_lwlrap(labels, scores))
    for k in (1, 3, 7):
        np.testing.assert_allclose(metrics.mean_average_precision_at(labels, scores, k), loop_map_at(labels, scores, k))


@pytest.mark.parametrize("n_levels", [3, 10_000])
def test_metrics_equal_scikit_learn(n_levels):
    import sklearn.metrics as reference

    rng = np.random.default_rng(4)
    labels = rng.random((200, 6)) < 0.2
    scores = rng.integers(0, n_levels, labels.shape) / n_levels
    per_class = {"average": None}
    np.testing.assert_allclose(
        metrics.average_precision(labels, scores), reference.average_precision_score(labels, scores, **per_class)
    )
    np.testing.assert_allclose(metrics.roc_auc(labels, scores), reference.roc_auc_score(labels, scores, **per_class))
    weights = labels.sum(axis=1)
    assert metrics.lwlrap(labels, scores) == pytest.approx(
        reference.label_ranking_average_precision_score(labels, scores, sample_weight=weights)
    )
    found = metrics.f1_at(labels, scores)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for average in ("micro", "macro"):
            precision, recall, f1, _ = reference.precision_recall_fscore_support(
                labels, scores > 0.5, average=average, zero_division=0
            )
            suffix = "" if average == "micro" else "_macro"
            assert found[f"precision{suffix}"] == pytest.approx(precision)
            assert found[f"recall{suffix}"] == pytest.approx(recall)
            assert found[f"f1_{average}"] == pytest.approx(f1)


@settings(max_examples=60, deadline=None)
@given(labelled_scores(), st.integers(0, 2**32 - 1))
def test_a_resample_has_the_metrics_of_its_clips_written_out(case, seed):
    labels, scores = case
    weights = np.random.default_rng(seed).integers(0, 4, (len(labels), 3)).astype(np.uint8)
    found = metrics.resampled_metrics(labels, scores, weights)
    for draw in range(3):
        written_out = [np.repeat(array, weights[:, draw], axis=0) for array in (labels, scores)]
        expected, _ = metrics.summary_and_classes(*written_out)
        for name, values in found.items():
            np.testing.assert_allclose(values[draw], expected[name], rtol=1e-9, err_msg=name)


def test_ranking_loss_by_hand_and_by_scikit_learn():
    from sklearn.metrics import label_ranking_loss

    # Clip 0: of 2 other classes 1 is above its label. Clip 1: a tie counts as wrong. Clip 2 has no label.
    labels = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.2, 0.2], [0.3, 0.2, 0.1]])
    assert metrics.ranking_loss(labels, scores) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    rng = np.random.default_rng(2)
    labels, scores = rng.random((300, 7)) < 0.3, rng.integers(0, 6, (300, 7)) / 6
    assert metrics.ranking_loss(labels, scores) == pytest.approx(label_ranking_loss(labels, scores))


def test_soft_labels_are_refused():
    with pytest.raises(InputError, match=r"a label is 0\.25, neither 0 nor 1"):
        metrics.average_precision(np.array([[1, 0.25]]), np.zeros((1, 2)))


def test_bad_shapes_and_scores_are_refused():
    with pytest.raises(InputError, match=r"labels \(2, 3\) and scores \(2, 2\)"):
        metrics.average_precision(np.zeros((2, 3)), np.zeros((2, 2)))
    with pytest.raises(InputError, match="1 scores are not finite"):
        metrics.roc_auc(np.zeros((2, 2)), np.array([[0.1, math.nan], [0.2, 0.3]]))


def test_importing_metrics_loads_no_slow_library():
    code = (
        "import sys, pseudolabel.scores.metrics; print([m for m in ('torch', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_accuracy_is_the_share_of_clips_whose_one_label_comes_first():
    labels = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
    scores = [[0.9, 0.1, 0.1], [0.6, 0.5, 0.1], [0.1, 0.2, 0.3], [0.4, 0.4, 0.1]]  # right, wrong, right, a tie: first
    assert metrics.top_1_accuracy(labels, scores) == pytest.approx(3 / 4)


@pytest.mark.parametrize("labels", [[[1, 1]], [[0, 0]], np.zeros((0, 2))])
def test_accuracy_is_not_defined_unless_every_clip_has_one_label(labels):
    assert math.isnan(metrics.top_1_accuracy(labels, np.zeros(np.shape(labels))))


def test_mean_and_maximum_over_windows_leave_out_windows_that_a_clip_has_not():
    for rest in (0.0, 9.0, np.nan):
        scores = np.array([[[0.2, 1.0], [0.4, 0.0]], [[0.6, 0.5], [rest, rest]]], np.float16)
        found = metrics.mean_over_windows(scores, np.array([2, 1]))
        np.testing.assert_allclose(found, [[0.3, 0.5], [0.6, 0.5]], atol=1e-3)
        assert found.dtype == np.float32
        largest = metrics.maximum_over_windows(scores, np.array([2, 1]))
        np.testing.assert_allclose(largest, [[0.4, 1.0], [0.6, 0.5]], atol=1e-3)
        assert largest.dtype == np.float32


def test_map_of_resamples_is_that_of_repeated_rows():
    rng = np.random.default_rng(8)
    labels, scores = rng.random((60, 4)) < 0.3, np.round(rng.random((60, 4)), 1)
    weights = rng.integers(0, 3, (60, 5)).astype(np.uint8)
    for draw, found in enumerate(metrics.resampled_map(labels, scores, weights)):
        rows = np.repeat(np.arange(60), weights[:, draw])
        assert found == pytest.approx(np.nanmean(metrics.average_precision(labels[rows], scores[rows])))
