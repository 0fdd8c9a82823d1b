"""The metrics of a list of clips and of its resamples, in one pass. A resample is how often it holds each clip.

N clips, K classes, D resamples; labels (N, K) bool, scores (N, K), weights (N, D) of whole numbers. The list itself is
the one resample whose weights are 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

BLOCK = 128  # resamples that are weighted at once: their weights of all clips stay in the cache
LARGEST_FLOAT32 = 1 << 24  # whole numbers up to here are exact


class Curve(NamedTuple):
    """What AP and AUC of one class need, at each score that a positive clip has, highest first: (G, D) float64.

    Args:
        hits: weight of the positive clips with this score.
        at_least: weight of the clips that score at least as much.
        above: weight of the clips that score more.
        total: (D,) weight of all clips.
    """

    hits: np.ndarray
    at_least: np.ndarray
    above: np.ndarray
    total: np.ndarray

    @property
    def n_hits(self) -> np.ndarray:
        """The weight of all positive clips, (D,)."""
        return self.hits.sum(axis=0)

    def average_precision(self) -> np.ndarray:
        """Return the class's AP in each resample (D,); NaN without positives."""
        precision = np.cumsum(self.hits, axis=0) / np.maximum(self.at_least, 1)
        return _ratio((self.hits * precision).sum(axis=0), self.n_hits)

    def roc_auc(self) -> np.ndarray:
        """Return the class's area under the ROC curve in each resample (D,); NaN without positives or negatives."""
        hits_above = np.cumsum(self.hits, axis=0) - self.hits
        misses_above = self.above - hits_above
        misses_tied = self.at_least - self.above - self.hits
        wrong = (self.hits * (misses_above + misses_tied / 2)).sum(axis=0)
        return 1 - _ratio(wrong, self.n_hits * (self.total - self.n_hits))


class RankedClass:
    """One class's clips in order of falling score, in pieces that begin or end where a positive clip's score does."""

    def __init__(self, labels: np.ndarray, scores: np.ndarray):
        from scipy.sparse import csr_matrix

        order = np.argsort(-scores, kind="stable").astype(np.int32)
        falling, positives = -scores[order], np.flatnonzero(labels[order])
        first, of_score = np.unique(np.searchsorted(falling, falling[positives], "left"), return_index=True)
        end = np.searchsorted(falling, falling[first], "right")
        bounds = np.unique(np.concatenate([[0], first, end, [len(order)]]))
        self._first, self._end = np.searchsorted(bounds, first), np.searchsorted(bounds, end)

        def of_clips(clips: np.ndarray, bounds: np.ndarray) -> csr_matrix:
            ones = np.ones(len(clips), np.float32)
            return csr_matrix((ones, clips, bounds), shape=(len(bounds) - 1, len(order)))

        self._pieces = of_clips(order, bounds)
        self._hits = of_clips(order[positives], np.append(of_score, len(positives)))

    def curve(self, weights: np.ndarray) -> Curve:
        """Return the curve of these weights (N, D)."""
        up_to = np.zeros((self._pieces.shape[0] + 1, weights.shape[1]))
        np.cumsum(self._pieces @ weights, axis=0, dtype=np.float64, out=up_to[1:])
        hits = (self._hits @ weights).astype(np.float64)
        return Curve(hits, up_to[self._end], up_to[self._first], up_to[-1])

    def metrics(self, weights: np.ndarray) -> np.ndarray:
        """Return AP and AUC of these weights (N, D), as (2, D)."""
        curve = self.curve(weights)
        return np.stack([curve.average_precision(), curve.roc_auc()])


@dataclass(frozen=True)
class Resampled:
    """The metrics of D resamples.

    Args:
        ap, auc, n_positive: (K, D) of each class; NaN where undefined.
        n_clips: (D,) number of clips.
        hits, n_answers: (K, D) labels above the threshold, and scores above it.
        of_clips: {metric: (D,)} lwlrap, map_at_3, accuracy and ranking_loss.
    """

    ap: np.ndarray
    auc: np.ndarray
    n_positive: np.ndarray
    n_clips: np.ndarray
    hits: np.ndarray
    n_answers: np.ndarray
    of_clips: dict[str, np.ndarray]


def resampled(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, threshold: float = 0.5) -> Resampled:
    """Return the metrics of labels (N, K) and scores (N, K) in each resample of `weights` (N, D)."""
    sums = partial(_in_blocks, weights)
    ap, auc = class_metrics(labels, scores, weights)
    answers = scores > threshold
    n_positive, hits, n_answers = (_column_sums(one, sums) for one in (labels, labels & answers, answers))
    parts = clip_parts(labels, scores)
    added = sums(lambda block: np.stack(list(parts.values())) @ block)
    of_clips = of_parts(dict(zip(parts, added, strict=True)))
    return Resampled(ap, auc, n_positive, weights.sum(axis=0, dtype=np.int64), hits, n_answers, of_clips)


def class_metrics(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return AP and AUC of every class in each resample, (K, D) each."""
    ap, auc = (np.empty((labels.shape[1], weights.shape[1])) for _ in range(2))
    for k in range(labels.shape[1]):
        ranked = RankedClass(labels[:, k], scores[:, k])
        ap[k], auc[k] = _in_blocks(weights, ranked.metrics)
    return ap, auc


def _in_blocks(weights: np.ndarray, function: Callable) -> np.ndarray:
    """Return `function` of the weights of some resamples at a time (N, d) as float, joined along the last axis."""
    dtype = np.float32 if len(weights) < LARGEST_FLOAT32 // 256 else np.float64
    starts = range(0, weights.shape[1], BLOCK)
    return np.concatenate([function(weights[:, start : start + BLOCK].astype(dtype)) for start in starts], axis=-1)


def _column_sums(chosen: np.ndarray, sums: Callable) -> np.ndarray:
    """Return how often each class is chosen (N, K) in each resample, (K, D)."""
    from scipy.sparse import csr_matrix

    by_class = csr_matrix(chosen.T, dtype=np.float32)
    return sums(lambda block: (by_class @ block).astype(np.float64))


# ---- metrics of single clips ----------------------------------------------------------------------------------------


def clip_parts(labels: np.ndarray, scores: np.ndarray, k: int = 3) -> dict[str, np.ndarray]:
    """Return what each clip adds to the metrics that are means over clips or over their labels, {part: (N,)}."""
    n_labels, parts = labels.sum(axis=1), {"clips": np.ones(len(labels))}
    clips, rank, rank_among_labels = label_ranks(labels, scores)
    parts["precision_at_labels"] = np.bincount(clips, rank_among_labels / rank, len(labels))
    parts["labels"] = n_labels.astype(np.float64)
    n_pairs = n_labels * (labels.shape[1] - n_labels)
    wrong = np.bincount(clips, rank - rank_among_labels, len(labels))
    parts["wrong_pairs"] = wrong / np.maximum(n_pairs, 1)
    parts["precision_at_k"] = _precision_at(labels, scores, k)
    parts["labelled"] = (n_labels > 0).astype(np.float64)
    right = labels[np.arange(len(labels)), scores.argmax(axis=1)] if labels.shape[1] else np.zeros(len(labels))
    parts["right"], parts["not_one_label"] = right.astype(np.float64), (n_labels != 1).astype(np.float64)
    return parts


def of_parts(added: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the metrics of sums of `clip_parts` over clips."""
    accuracy = np.where(added["not_one_label"] > 0, np.nan, _ratio(added["right"], added["clips"]))
    return {
        "lwlrap": _ratio(added["precision_at_labels"], added["labels"]),
        "map_at_3": _ratio(added["precision_at_k"], added["labelled"]),
        "accuracy": accuracy,
        "ranking_loss": _ratio(added["wrong_pairs"], added["clips"]),
    }


def label_ranks(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for every label of every clip (L,), its clip, its rank among all classes, and among the clip's labels.

    Tied scores share the last rank.
    """
    clips, classes = np.nonzero(labels)
    rank, among = np.empty(len(clips), np.int64), np.empty(len(clips), np.int64)
    step = max(1, (1 << 22) // max(labels.shape[1], 1))
    for start in range(0, len(clips), step):
        block = slice(start, start + step)
        at_least = scores[clips[block]] >= scores[clips[block], classes[block]][:, None]
        rank[block] = np.count_nonzero(at_least, axis=1)
        among[block] = np.count_nonzero(at_least & labels[clips[block]], axis=1)
    return clips, rank, among


def _precision_at(labels: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Return each clip's sum of precisions at those of its first k ranks that are labels, over min(k, labels), (N,)."""
    rest, rows = np.array(scores, np.promote_types(scores.dtype, np.float32)), np.arange(len(labels))
    total, hits = np.zeros(len(labels)), np.zeros(len(labels))
    for rank in range(1, min(k, labels.shape[1]) + 1):
        first = rest.argmax(axis=1)
        right = labels[rows, first]
        hits += right
        total += right * hits / rank
        rest[rows, first] = -np.inf
    return total / np.maximum(np.minimum(labels.sum(axis=1), k), 1)


def _ratio(values: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return values / by; NaN where `by` is 0."""
    return np.divide(values, by, out=np.full(np.shape(by), np.nan), where=np.asarray(by) > 0)
