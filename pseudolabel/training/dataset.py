"""Training examples: pieces of clips with their targets, drawn in an order that seed and epoch decide."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, n_windows, window_name

Item = TypeVar("Item")
ORDER, CROP, AUGMENT = range(3)  # streams of random numbers: no two draws share one
CHECKED_AT_ONCE = 1 << 22  # soft targets, 16 MiB


@dataclass(frozen=True)
class Examples:
    """The pieces that a model is trained on.

    row (P,) clip store row of each piece, start (P,) its first sample, slack (P,) by how many samples it may begin
    later (drawn anew in each epoch), `length` its samples, targets(pieces) -> (B, K) float32, weights (P,) for weighted
    drawing or None.
    """

    clips: ClipStore
    row: np.ndarray
    start: np.ndarray
    slack: np.ndarray
    length: int
    targets: Callable[[np.ndarray], np.ndarray]
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.row)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the pieces of an epoch in drawing order: shuffled, or drawn with replacement by weight."""
        rng = np.random.default_rng([seed, ORDER, epoch])
        if self.weights is None:
            return rng.permutation(len(self))
        return rng.choice(len(self), size=len(self), p=self.weights / self.weights.sum())

    def batch(self, pieces: np.ndarray, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return waveforms (B, length) float32 and targets (B, K) float32 of some pieces."""
        rows, start, slack = self.row[pieces], self.start[pieces], self.slack[pieces]
        if slack.any():
            rng = np.random.default_rng([seed, CROP, epoch, int(pieces[0])])
            start = start + rng.integers(0, slack + 1)
        return self.clips.batch(rows, start, self.length), self.targets(pieces)


def clip_examples(
    clips: ClipStore, rows: np.ndarray, labels: sparse.csr_array, length: int, weights: np.ndarray | None = None
) -> Examples:
    """Whole clips with hard labels (n, K), zero-padded or cut at random to `length` samples."""
    start, slack = np.zeros(len(rows), np.int64), np.maximum(clips.n_samples[rows] - length, 0)
    dense = labels.toarray().astype(np.float32)
    return Examples(clips, rows, start, slack, length, lambda pieces: dense[pieces], weights)


def window_examples(
    clips: ClipStore,
    rows: np.ndarray,
    scores: ScoreStore,
    score_rows: np.ndarray,
    columns: np.ndarray,
    window_s: str | float,
    length: int,
    labels: sparse.csr_array,
    alpha: float = 1.0,
) -> Examples:
    """Every window of every clip with its own soft targets (PSL).

    Args:
        rows, score_rows: (n,) the clips' rows in the clip store and in the score store.
        columns: (K,) column of each class in the score store.
        length: samples a window. The last window of a clip ends with the clip: where that makes it longer, and for a
            whole clip (`window_s` is `clip`), it is cut at random within its bounds; where shorter, zero-padded.
        labels: (n, K) the clips' hard labels. alpha: share of the soft target; 1 - alpha is the hard label's.
    Raises:
        InputError: a window has no scores, or a soft target is not a number in [0, 1].
    """
    counts = np.ones(len(rows), np.int64) if window_s == CLIP else n_windows(clips.n_samples[rows], length)
    clip = np.repeat(np.arange(len(rows)), counts)
    window = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    stored, hard = scores.scores(window_s), labels.toarray().astype(np.float32) if alpha < 1 else None
    scored = scores.n_windows(window_s)[score_rows]
    if (counts > scored).any():
        worst = int(np.argmax(counts > scored))
        raise InputError(
            f"clip {clips.clip_ids[rows[worst]]!r} has {counts[worst]} windows of {window_name(window_s)}, "
            f"its scores {scored[worst]}",
            scores.path,
            "They belong to other recordings: score these clips again.",
        )

    def soft_targets(pieces: np.ndarray) -> np.ndarray:
        return stored[score_rows[clip[pieces]], window[pieces]][:, columns].astype(np.float32)

    def targets(pieces: np.ndarray) -> np.ndarray:
        soft = soft_targets(pieces)
        return soft if hard is None else alpha * soft + (1 - alpha) * hard[clip[pieces]]

    check_targets(soft_targets, clip, score_rows, columns, scores, window_name(window_s))
    start = window * length
    slack = np.where(window == counts[clip] - 1, np.maximum(clips.n_samples[rows[clip]] - start - length, 0), 0)
    return Examples(clips, rows[clip], start, slack, length, targets)


def check_targets(
    soft_targets: Callable[[np.ndarray], np.ndarray],
    clip: np.ndarray,
    score_rows: np.ndarray,
    columns: np.ndarray,
    scores: ScoreStore,
    scale: str,
) -> None:
    """Raise InputError where a soft target of the pieces, clip (P,) of which each is one, is no number in [0, 1]."""
    as_stored = np.argsort(score_rows[clip], kind="stable")  # a file is read fastest from front to back
    step = max(CHECKED_AT_ONCE // max(len(columns), 1), 1)
    for first in range(0, len(clip), step):
        pieces = as_stored[first : first + step]
        soft = soft_targets(pieces)
        wrong = ~((soft >= 0) & (soft <= 1))  # NaN too
        if wrong.any():
            piece, k = np.argwhere(wrong)[0]
            raise InputError(
                f"clip {scores.clip_ids[score_rows[clip[pieces[piece]]]]!r} has the soft target {soft[piece, k]:g} "
                f"for class {scores.class_ids[columns[k]]!r} at scale {scale}; it must be in [0, 1]",
                scores.path,
                "Give probabilities, not logits.",
            )


def prefetch(items: Iterator[Item], depth: int = 2) -> Iterator[Item]:
    """Yield `items`, prepared by a thread while the caller works on the ones before."""
    ready: queue.Queue = queue.Queue(depth)
    stop, end = threading.Event(), object()

    def put(value: object) -> None:
        while not stop.is_set():
            try:
                return ready.put(value, timeout=0.2)
            except queue.Full:
                continue

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if stop.is_set():
                    return
            put(end)
        except BaseException as error:  # handed to the consumer, which raises it
            put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
