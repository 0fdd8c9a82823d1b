"""Metrics of multi-label scores: AP, AUC, d', lwlrap, mAP@k, F1, top-1 accuracy.

N clips, K classes; labels 0/1, scores in [0, 1].

A class's metric is NaN if it has no positive clip (for AUC: or no negative one); means leave such classes out and count
the rest. Ties are handled as in scikit-learn: clips with equal scores enter together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.scores.weighted import Resampled, class_metrics, clip_parts, of_parts, resampled


class Metric(NamedTuple):
    """A metric, with its names in options, files, tables and reports.

    Args:
        key: name in metrics.json.
        heading: column heading in tables.
        digits: digits after the decimal point in tables.
        meaning: one clause for the legend below a table.
        option: its --metrics choice, possibly shared with other metrics; '' if it is only in metrics.json.
    """

    key: str
    heading: str
    digits: int
    meaning: str
    option: str = ""


METRICS = {
    metric.key: metric
    for metric in (
        Metric("map", "mAP", 3, "macro mean of average precision", "map"),
        Metric("auc", "AUC", 3, "macro mean of the area under the ROC curve", "auc"),
        Metric("d_prime", "d'", 2, "√2 times the inverse normal of the macro AUC", "d-prime"),
        Metric("d_prime_class_mean", "mean d'", 2, "mean of the d' of the classes", "d-prime"),
        Metric("f1_micro", "F1 micro", 3, "F1 at a score above .5, over all pairs of clip and class", "f1"),
        Metric("f1_macro", "F1 macro", 3, "F1 at a score above .5, mean over classes", "f1"),
        Metric("precision", "precision micro", 3, "precision at a score above .5, over all pairs of clip and class"),
        Metric("recall", "recall micro", 3, "recall at a score above .5, over all pairs of clip and class"),
        Metric("precision_macro", "precision macro", 3, "precision at a score above .5, mean over classes"),
        Metric("recall_macro", "recall macro", 3, "recall at a score above .5, mean over classes"),
        Metric("lwlrap", "lwlrap", 3, "label-weighted label-ranking average precision", "lwlrap"),
        Metric(
            "ranking_loss", "ranking loss", 3, "share of (label, other class) pairs of a clip in the wrong order", "lrl"
        ),
        Metric("map_at_3", "mAP@3", 3, "mean over clips of the precision at the first three answers", "map@3"),
        Metric("accuracy", "accuracy", 3, "share of clips whose one label has the highest score", "accuracy"),
    )
}
UNBOUNDED = ("d_prime", "d_prime_class_mean")  # all others are in [0, 1]
METRIC_OPTIONS = tuple(dict.fromkeys(metric.option for metric in METRICS.values() if metric.option))  # of --metrics


def metrics_of(option: str) -> tuple[Metric, ...]:
    """Return the metrics of a --metrics choice."""
    return tuple(metric for metric in METRICS.values() if metric.option == option)


def as_arrays(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, K) bool and float scores (N, K) as dense arrays.

    Raises:
        InputError: the shapes differ, a label is not 0 or 1, or a score is not a finite number.
    """
    labels = labels.toarray() if hasattr(labels, "toarray") else np.asarray(labels)
    scores = np.asarray(scores)
    if labels.dtype != bool and not np.isin(labels, (0, 1)).all():
        soft = labels[~np.isin(labels, (0, 1))][0]
        raise InputError(f"a label is {soft}, neither 0 nor 1", "", "Metrics need hard labels, not soft targets.")
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise InputError(f"labels {labels.shape} and scores {scores.shape} must have one (clips, classes) shape")
    if not np.isfinite(scores).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite numbers")
    return labels.astype(bool), scores


def average_precision(labels, scores) -> np.ndarray:
    """Return each class's AP (K,) float64, NaN without positives: sum over thresholds of precision x recall gained."""
    return ap_and_auc(labels, scores)[0]


def roc_auc(labels, scores) -> np.ndarray:
    """Return each class's area under the ROC curve (K,) float64; NaN without positives or without negatives."""
    return ap_and_auc(labels, scores)[1]


def ap_and_auc(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Return `average_precision` and `roc_auc`, from one ranking of each class."""
    labels, scores = as_arrays(labels, scores)
    ap, auc = class_metrics(labels, scores, _once(labels))
    return ap[:, 0], auc[:, 0]


def _once(labels: np.ndarray) -> np.ndarray:
    """Return the weights of the list itself, (N, 1)."""
    return np.ones((len(labels), 1), np.uint8)


def d_prime(auc):
    """Return d' = sqrt(2) * inverse-normal(AUC) of a number or array; infinite at AUC 0 and 1."""
    from scipy.stats import norm

    return math.sqrt(2) * norm.ppf(auc)


def class_d_prime(auc: np.ndarray, n_positive: np.ndarray, n_clips: np.ndarray | int) -> np.ndarray:
    """Return the d' of classes, with AUC kept half a (positive, negative) pair away from 0 and 1.

    Otherwise, a single perfectly ranked class would make the mean over classes infinite.

    Args:
        auc, n_positive: (K,), or (K, D) for D resamples. n_clips: a number, or (D,).
    """
    half_pair = 0.5 / np.maximum(n_positive * (n_clips - n_positive), 1)
    return d_prime(np.clip(auc, half_pair, 1 - half_pair))


def lwlrap(labels, scores) -> float:
    """Return label-weighted label-ranking average precision.

    The mean, over all labels of all clips, of the precision at that label's rank in its clip. Tied scores share the
    last rank. NaN if there are no labels.
    """
    return _of_clips(labels, scores)["lwlrap"]


def ranking_loss(labels, scores) -> float:
    """Return the mean over clips of the share of (label, other class) pairs in the wrong order; ties are wrong.

    0 for a clip with no label or all of them. NaN if there are no clips.
    """
    return _of_clips(labels, scores)["ranking_loss"]


def mean_average_precision_at(labels, scores, k: int = 3) -> float:
    """Return mAP@k, the mean over clips with labels.

    Per clip: the sum of the precision at each of the first k ranks that is a label, divided by min(k, number of
    labels). Tied scores rank in class order. NaN if there are no labels.
    """
    return _of_clips(labels, scores, k)["map_at_3"]


def top_1_accuracy(labels, scores) -> float:
    """Return the share of clips whose one label has the highest score; ties go to the first class.

    NaN if any clip has no label or several: accuracy is defined for single-label sets only.
    """
    return _of_clips(labels, scores)["accuracy"]


def _of_clips(labels, scores, k: int = 3) -> dict[str, float]:
    parts = clip_parts(*as_arrays(labels, scores), k)
    return {name: float(value) for name, value in of_parts({name: part.sum() for name, part in parts.items()}).items()}


def mean_over_windows(scores: np.ndarray, n_windows: np.ndarray) -> np.ndarray:
    """Return the mean of scores (N, W, K) over each clip's real windows, (N, K) float32; `n_windows` is (N,).

    Later windows are ignored and may be NaN.
    """
    real = np.arange(scores.shape[1]) < np.asarray(n_windows)[:, None]
    weights = (real / real.sum(axis=1, keepdims=True)).astype(np.float32)
    scores = np.asarray(scores, np.float32)
    return np.einsum("nwk,nw->nk", scores if real.all() else np.where(real[..., None], scores, 0), weights)


def maximum_over_windows(scores: np.ndarray, n_windows: np.ndarray) -> np.ndarray:
    """Return the maximum of scores (N, W, K) over each clip's real windows, (N, K) float32; `n_windows` is (N,).

    Later windows are ignored and may be NaN.
    """
    real = np.arange(scores.shape[1]) < np.asarray(n_windows)[:, None]
    return np.where(real[..., None], np.asarray(scores, np.float32), -np.inf).max(axis=1)


def f1_at(labels, scores, threshold: float = 0.5) -> dict[str, float]:
    """Return F1, precision and recall of `scores > threshold`.

    `f1_micro`, `precision` and `recall` pool all (clip, class) pairs; `f1_macro`, `precision_macro` and `recall_macro`
    are means over the classes with positives. Precision is 0 if nothing is above the threshold.
    """
    labels, scores = as_arrays(labels, scores)
    answers = scores > threshold
    sums = [np.count_nonzero(chosen, axis=0)[:, None] for chosen in (answers & labels, answers, labels)]
    return {name: float(value[0]) for name, value in decisions(*sums).items()}


def decisions(hits: np.ndarray, n_answers: np.ndarray, n_labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return F1, precision and recall (D,) of counts (K, D)."""

    def rates(hits, n_answers, n_labels) -> tuple[np.ndarray, ...]:
        return (
            2 * hits / np.maximum(n_answers + n_labels, 1),
            hits / np.maximum(n_answers, 1),
            hits / np.maximum(n_labels, 1),
        )

    micro = rates(*(counts.sum(axis=0) for counts in (hits, n_answers, n_labels)))
    macro = (_mean(np.where(n_labels > 0, rate, np.nan)) for rate in rates(hits, n_answers, n_labels))
    names = ("f1_micro", "precision", "recall", "f1_macro", "precision_macro", "recall_macro")
    return dict(zip(names, (*micro, *macro), strict=True))


def summary_and_classes(labels, scores, threshold: float = 0.5) -> tuple[dict[str, float | int], dict[str, np.ndarray]]:
    """Return all metrics of labels and scores, and the per-class arrays (K,) behind them: `ap`, `auc`, `n_positive`.

    Metrics are in the order of METRICS, followed by counts of clips, classes and labels. Papers report either of the
    two d', which differ a lot.
    """
    return summary_classes_and_draws(labels, scores, np.zeros((len(scores), 0), np.uint8), threshold)[:2]


def summary_classes_and_draws(
    labels, scores, weights: np.ndarray, threshold: float = 0.5
) -> tuple[dict[str, float | int], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what `summary_and_classes` does, and `resampled_metrics` of the draws, from one ranking of each class."""
    labels, scores = as_arrays(labels, scores)
    parts = resampled(labels, scores, np.hstack([_once(labels), weights]), threshold)
    of_list_and_draws = _summaries(parts)
    values = {name: float(value[0]) for name, value in of_list_and_draws.items()}
    counts = {
        "n_clips": labels.shape[0],
        "n_classes": labels.shape[1],
        "n_classes_scored": int(np.isfinite(parts.ap[:, 0]).sum()),
        "n_labels": int(labels.sum()),
    }
    classes = {"ap": parts.ap[:, 0], "auc": parts.auc[:, 0], "n_positive": labels.sum(axis=0)}
    return {**values, **counts}, classes, {name: value[1:] for name, value in of_list_and_draws.items()}


def resampled_metrics(labels, scores, weights: np.ndarray, threshold: float = 0.5) -> dict[str, np.ndarray]:
    """Return every metric in each resample, {key of METRICS: (D,) float64}.

    A class without positives in a resample is left out of its means.

    Args:
        weights: (N, D) uint8, how often each resample holds each clip.
    """
    return _summaries(resampled(*as_arrays(labels, scores), weights, threshold))


def resampled_map(labels, scores, weights: np.ndarray) -> np.ndarray:
    """Return the mAP of each resample, (D,) float64, alone: for frames, which are too many for the other metrics.

    Args:
        weights: (N, D) uint8, how often each resample holds each row.
    """
    labels, scores = as_arrays(labels, scores)
    return _mean(class_metrics(labels, scores, weights)[0])


def _summaries(parts: Resampled) -> dict[str, np.ndarray]:
    macro_auc = _mean(parts.auc)
    values = {
        "map": _mean(parts.ap),
        "auc": macro_auc,
        "d_prime": d_prime(macro_auc),
        "d_prime_class_mean": _mean(class_d_prime(parts.auc, parts.n_positive, parts.n_clips)),
        **decisions(parts.hits, parts.n_answers, parts.n_positive),
        **parts.of_clips,
    }
    return {name: values[name] for name in METRICS}


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the means over classes (D,) of the values (K, D) that are not NaN; NaN where there are none."""
    counted = ~np.isnan(values)
    n = np.count_nonzero(counted, axis=0)
    total = np.where(counted, values, 0).sum(axis=0)
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
