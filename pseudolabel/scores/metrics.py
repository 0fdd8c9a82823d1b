"""Metrics of multi-label scores: AP, AUC, d', lwlrap, mAP@k, F1, top-1 accuracy.

N clips, K classes; labels 0/1, scores in [0, 1].

A class's metric is NaN if it has no positive clip (for AUC: or no negative one); means leave such classes out and count
the rest. Ties are handled as in scikit-learn: clips with equal scores enter together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pseudolabel.errors import InputError


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
        Metric("map_at_3", "mAP@3", 3, "mean over clips of the precision at the first three answers", "map@3"),
        Metric("accuracy", "accuracy", 3, "share of clips whose one label has the highest score", "accuracy"),
    )
}
METRIC_OPTIONS = tuple(dict.fromkeys(metric.option for metric in METRICS.values() if metric.option))  # of --metrics


def metrics_of(option: str) -> tuple[Metric, ...]:
    """Return the metrics of a --metrics choice."""
    return tuple(metric for metric in METRICS.values() if metric.option == option)


def as_arrays(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, K) bool and float scores (N, K) as dense arrays.

    Raises:
        InputError: the shapes differ, or a score is not a finite number.
    """
    labels = labels.toarray() if hasattr(labels, "toarray") else np.asarray(labels)
    scores = np.asarray(scores)
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise InputError(f"labels {labels.shape} and scores {scores.shape} must have one (clips, classes) shape")
    if not np.isfinite(scores).all():
        raise InputError(f"{np.count_nonzero(~np.isfinite(scores))} scores are not finite numbers")
    return labels.astype(bool), scores


def _curve(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true and false positives (D,) of one class at each of its D distinct scores, highest first."""
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(labels)[last_of_tie]
    return hits, last_of_tie + 1 - hits


def _class_ap(labels: np.ndarray, scores: np.ndarray) -> float:
    if not labels.any():
        return math.nan
    hits, false_alarms = _curve(labels, scores)
    return float(np.sum(np.diff(hits, prepend=0) * (hits / (hits + false_alarms))) / hits[-1])


def _class_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    if not labels.any() or labels.all():
        return math.nan
    hits, false_alarms = (np.concatenate([[0], counts]) for counts in _curve(labels, scores))
    return float(np.sum(np.diff(false_alarms) * (hits[1:] + hits[:-1])) / (2 * hits[-1] * false_alarms[-1]))


def _of_each_class(metric: Callable, labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    return np.array([metric(labels[:, k], scores[:, k]) for k in range(labels.shape[1])], dtype=np.float64)


def average_precision(labels, scores) -> np.ndarray:
    """Return each class's AP (K,) float64, NaN without positives: sum over thresholds of precision x recall gained."""
    return _of_each_class(_class_ap, *as_arrays(labels, scores))


def roc_auc(labels, scores) -> np.ndarray:
    """Return each class's area under the ROC curve (K,) float64; NaN without positives or without negatives."""
    return _of_each_class(_class_auc, *as_arrays(labels, scores))


def d_prime(auc):
    """Return d' = sqrt(2) * inverse-normal(AUC) of a number or array; infinite at AUC 0 and 1."""
    from scipy.stats import norm

    return math.sqrt(2) * norm.ppf(auc)


def class_d_prime(auc: np.ndarray, labels) -> np.ndarray:
    """Return each class's d' (K,), with AUC kept half a (positive, negative) pair away from 0 and 1.

    Otherwise, a single perfectly ranked class would make the mean over classes infinite.
    """
    n_positive = np.asarray(labels.sum(axis=0)).ravel().astype(np.float64)
    n_pairs = np.maximum(n_positive * (labels.shape[0] - n_positive), 1)
    return d_prime(np.clip(auc, 0.5 / n_pairs, 1 - 0.5 / n_pairs))


def lwlrap(labels, scores) -> float:
    """Return label-weighted label-ranking average precision.

    The mean, over all labels of all clips, of the precision at that label's rank in its clip. Tied scores share the
    last rank. NaN if there are no labels.
    """
    from scipy.stats import rankdata

    labels, scores = as_arrays(labels, scores)
    if not labels.any():
        return math.nan
    scores = scores.astype(np.float64)
    rank = rankdata(-scores, method="max", axis=1)
    rank_among_labels = rankdata(np.where(labels, -scores, np.inf), method="max", axis=1)
    return float(np.mean(rank_among_labels[labels] / rank[labels]))


def mean_average_precision_at(labels, scores, k: int = 3) -> float:
    """Return mAP@k, the mean over clips with labels.

    Per clip: the sum of the precision at each of the first k ranks that is a label, divided by min(k, number of
    labels). Tied scores rank in class order. NaN if there are no labels.
    """
    labels, scores = as_arrays(labels, scores)
    labelled = labels.any(axis=1)
    if not labelled.any():
        return math.nan
    labels, scores = labels[labelled], scores[labelled]
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(labels, first, axis=1)
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return float(np.mean((precision * hits).sum(axis=1) / np.minimum(labels.sum(axis=1), k)))


def top_1_accuracy(labels, scores) -> float:
    """Return the share of clips whose one label has the highest score; ties go to the first class.

    NaN if any clip has no label or several: accuracy is defined for single-label sets only.
    """
    labels, scores = as_arrays(labels, scores)
    if not len(labels) or not (labels.sum(axis=1) == 1).all():
        return math.nan
    return float(np.mean(labels[np.arange(len(labels)), scores.argmax(axis=1)]))


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
    hits = np.count_nonzero(answers & labels, axis=0)
    n_answers, n_labels = np.count_nonzero(answers, axis=0), np.count_nonzero(labels, axis=0)
    scored = n_labels > 0

    def rates(hits, n_answers, n_labels) -> tuple[np.ndarray, ...]:
        return (
            2 * hits / np.maximum(n_answers + n_labels, 1),
            hits / np.maximum(n_answers, 1),
            hits / np.maximum(n_labels, 1),
        )

    micro = rates(hits.sum(), n_answers.sum(), n_labels.sum())
    macro = (_mean(rate[scored]) for rate in rates(hits, n_answers, n_labels))
    names = ("f1_micro", "precision", "recall", "f1_macro", "precision_macro", "recall_macro")
    return {name: float(value) for name, value in zip(names, (*micro, *macro), strict=True)}


def summary_and_classes(labels, scores, threshold: float = 0.5) -> tuple[dict[str, float | int], dict[str, np.ndarray]]:
    """Return all metrics of labels and scores, and the per-class arrays (K,) behind them: `ap`, `auc`, `n_positive`.

    Metrics are in the order of METRICS, followed by counts of clips, classes and labels. Papers report either of the
    two d', which differ a lot.
    """
    labels, scores = as_arrays(labels, scores)
    ap, auc = average_precision(labels, scores), roc_auc(labels, scores)
    macro_auc = _mean(auc)
    values = {
        "map": _mean(ap),
        "auc": macro_auc,
        "d_prime": float(d_prime(macro_auc)),
        "d_prime_class_mean": _mean(class_d_prime(auc, labels)),
        **f1_at(labels, scores, threshold),
        "lwlrap": lwlrap(labels, scores),
        "map_at_3": mean_average_precision_at(labels, scores, 3),
        "accuracy": top_1_accuracy(labels, scores),
    }
    counts = {
        "n_clips": labels.shape[0],
        "n_classes": labels.shape[1],
        "n_classes_scored": int(np.isfinite(ap).sum()),
        "n_labels": int(labels.sum()),
    }
    classes = {"ap": ap, "auc": auc, "n_positive": labels.sum(axis=0)}
    return {**{name: values[name] for name in METRICS}, **counts}, classes


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
