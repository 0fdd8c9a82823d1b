"""Metrics of sound event detection at one threshold: segment-based and event-based F1 (Mesaros et al. 2016).

Segments: time is cut into steps of a second; a class is active in a step that one of its events overlaps. Events: a
found event is right if its onset is within a collar of .2 s of a true one's, and its offset within that collar or 20 %
of the true event's length, whichever is more; each event is matched at most once, as many as possible.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.labels.events import Spans
from pseudolabel.scores.frames import covered_steps
from pseudolabel.scores.metrics import decisions

SEGMENT_S, COLLAR_S, OFFSET_SHARE = 1.0, 0.2, 0.2
DIGITS = 6  # times are compared to the microsecond


class Counts(NamedTuple):
    """What was found right, found, and true: (N, K) int64 each, segments or events."""

    hits: np.ndarray
    n_found: np.ndarray
    n_true: np.ndarray

    def rates(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return F1, precision and recall, `f1_micro` ... `recall_macro` as in metrics.py, (D,) each.

        Means over classes leave out those without true events.

        Args:
            weights: (N, D), how often each of D resamples holds each clip; None: each clip once.
        """
        weights = np.ones((len(self.hits), 1)) if weights is None else weights
        return decisions(*(part.T @ weights.astype(np.float64) for part in self))

    def class_f1(self) -> np.ndarray:
        """Return the F1 of each class, (K,); NaN without true events."""
        hits, n_found, n_true = (part.sum(axis=0) for part in self)
        return np.where(n_true > 0, 2 * hits / np.maximum(n_found + n_true, 1), np.nan)


def segment_counts(
    truth: Spans, found: Spans, lengths_s: np.ndarray, n_classes: int, segment_s: float = SEGMENT_S
) -> Counts:
    """Count active segments of N clips.

    Args:
        truth, found: spans within their clips.
        lengths_s: (N,) seconds; a clip's last segment may be shorter than the others.
    """
    if not 0 < segment_s < np.inf:
        raise InputError(f"a segment of {segment_s:g} s", "", "Give seconds above 0.")
    lengths_s = np.asarray(lengths_s, np.float64)
    counts = np.ceil(np.round(lengths_s / segment_s, DIGITS)).astype(np.int64)
    shape = (len(lengths_s), int(counts.max(initial=0)), n_classes)
    edges = np.round(np.arange(shape[1] + 1) * segment_s, DIGITS)[None]
    true, heard = (covered_steps(spans, edges, counts, shape) for spans in (truth, found))
    return Counts(*(np.count_nonzero(active, axis=1) for active in (true & heard, heard, true)))


def event_counts(
    truth: Spans,
    found: Spans,
    shape: tuple[int, int],
    collar_s: float = COLLAR_S,
    offset_share: float | None = OFFSET_SHARE,
) -> Counts:
    """Count found and true events, and the largest number of them that can be matched.

    Args:
        truth, found: spans, sorted by clip and class.
        shape: numbers of clips and classes.
        offset_share: of a true event's length, by which its offset may be missed; None: offsets are not compared.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    true, heard = _near_pairs(truth, found, shape[1], collar_s, offset_share)
    near = csr_array((np.ones(len(true), np.int8), (true, heard)), shape=(truth.n, found.n))
    matched = maximum_bipartite_matching(near, perm_type="column") >= 0 if near.nnz else np.zeros(truth.n, bool)
    return Counts(truth.where(matched).counts(shape), found.counts(shape), truth.counts(shape))


def _near_pairs(
    truth: Spans, found: Spans, n_classes: int, collar_s: float, offset_share: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the found event of each pair of one clip and class whose times are near, (P,) each."""
    keys = [spans.clip * n_classes + spans.column for spans in (truth, found)]
    first, end = (np.searchsorted(keys[1], keys[0], side) for side in ("left", "right"))
    true = np.repeat(np.arange(truth.n), end - first)
    heard = np.arange(len(true)) - np.repeat(np.cumsum(end - first) - (end - first), end - first) + first[true]
    near = _within(truth.onset_s[true], found.onset_s[heard], collar_s)
    if offset_share is not None:
        allowed = np.maximum(collar_s, offset_share * (truth.offset_s - truth.onset_s))[true]
        near &= _within(truth.offset_s[true], found.offset_s[heard], allowed)
    return true[near], heard[near]


def _within(one: np.ndarray, other: np.ndarray, allowed: np.ndarray | float) -> np.ndarray:
    return np.round(np.abs(one - other), DIGITS) <= np.round(allowed, DIGITS)
