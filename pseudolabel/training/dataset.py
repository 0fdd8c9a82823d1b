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
from pseudolabel.labels.balancing import DEFAULT_BETA, SHUFFLE
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, n_windows, refuse_windows_beyond, window_name
from pseudolabel.training.drawing import Epochs, epochs_of

Item = TypeVar("Item")
CHECKED_AT_ONCE = 1 << 22  # soft targets, 16 MiB


@dataclass(frozen=True)
class Examples:
    """The pieces that a model is trained on.

    row (P,) clip store row of each piece, start (P,) its first sample, slack (P,) by how many samples it may begin
    later (drawn anew in each step), `length` its samples at most: where the clip ends earlier, the piece does.
    targets(pieces) -> (B, K) float32, epochs: which pieces an epoch has, masked(pieces) -> (B, K) bool, what the loss
    leaves out, or None.
    """

    clips: ClipStore
    row: np.ndarray
    start: np.ndarray
    slack: np.ndarray
    length: int
    targets: Callable[[np.ndarray], np.ndarray]
    epochs: Epochs
    masked: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def n_pieces(self) -> int:
        """Return how many pieces there are; an epoch may draw some of them several times."""
        return len(self.row)

    def __len__(self) -> int:
        return self.epochs.length

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the pieces of an epoch in drawing order."""
        return self.epochs.order(seed, epoch)

    def batch(
        self, pieces: np.ndarray, within: np.ndarray | float = 0.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return waveforms (B, length) float32, targets (B, K) float32 and masks (B, K) bool of some pieces.

        Args:
            within: (B,) in [0, 1), where in its slack each begins.
        """
        waveforms = self.clips.batch(self.row[pieces], self._starts(pieces, within), self.length)
        return waveforms, self.targets(pieces), self.masked(pieces) if self.masked else None

    def n_samples(self, pieces: np.ndarray, within: np.ndarray | float = 0.0) -> np.ndarray:
        """Return how many of the samples that `batch` returns are a piece's own, (B,) int64; the others are 0."""
        return self.clips.left(self.row[pieces], self._starts(pieces, within), self.length)

    def _starts(self, pieces: np.ndarray, within: np.ndarray | float) -> np.ndarray:
        return self.start[pieces] + np.floor(within * (self.slack[pieces] + 1)).astype(np.int64)


def clip_examples(
    clips: ClipStore,
    rows: np.ndarray,
    labels: sparse.csr_array,
    length: int,
    sampling: str = SHUFFLE,
    beta: float = DEFAULT_BETA,
    mask: sparse.csr_array | None = None,
    crop: str = "random",
) -> Examples:
    """Whole clips with hard labels (n, K), longer ones cut to `length` samples.

    Args:
        sampling, beta: how epochs are drawn (`drawing.epochs_of`). mask: (n, K) bool, what the loss leaves out.
        crop: longer clips are cut at a place that is drawn anew in each step, `random`, or to their `start` (PSLA).
    """
    start, slack = np.zeros(len(rows), np.int64), np.maximum(clips.n_samples[rows] - length, 0) * (crop == "random")
    return Examples(
        clips, rows, start, slack, length, _rows_of(labels, np.float32), epochs_of(sampling, labels, None, beta),
        None if mask is None else _rows_of(mask, bool),
    )  # fmt: skip


def _rows_of(matrix: sparse.csr_array, kind: type, clip: np.ndarray | None = None) -> Callable:
    """Return a function: pieces (B,) -> their clips' rows of the matrix, dense; the whole is never dense."""
    return lambda pieces: matrix[pieces if clip is None else clip[pieces]].toarray().astype(kind, copy=False)


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
    sampling: str = SHUFFLE,
    beta: float = DEFAULT_BETA,
    mask: sparse.csr_array | None = None,
    crop: str = "random",
) -> Examples:
    """Every window of every clip with its own soft targets (PSL): student and teacher answer the same cut.

    A last window may be other than `length`, and the teacher has answered the whole of it. The student gets all of a
    shorter one, which is filled up, but of a longer one (up to half as long again) a part of `length`.

    Args:
        rows, score_rows: (n,) the clips' rows in the clip store and in the score store.
        columns: (K,) column of each class in the score store.
        length: samples a window. Windows that do not follow each other (`ScoreStore.hop_s`) are never longer: one more
            begins; nor are those of another model (`ScoreStore.imported`), of which all that it answered are taken.
        labels: (n, K) the clips' hard labels. alpha: share of the soft target; 1 - alpha is the hard label's.
        sampling, beta: how epochs are drawn, by the hard labels. mask: (n, K) bool, what the loss leaves out.
        crop: as in `clip_examples`, of longer last windows and of whole clips (`window_s` is `clip`).
    Raises:
        InputError: a window has no scores, or scores no window, or a soft target is not a number in [0, 1].
    """
    hop = length if window_s == CLIP else scores.hop_s(window_s) * clips.sample_rate
    hop = length if abs(hop - length) < 1 else hop  # samples; windows that follow each other have whole ones
    by_rule = hop == length and not scores.imported  # WINDOW_RULE says which windows there are
    counts = _window_counts(clips, rows, scores, score_rows, window_s, length, hop, by_rule)
    clip = np.repeat(np.arange(len(rows)), counts)
    window = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    stored, hard = scores.scores(window_s), _rows_of(labels, np.float32, clip) if alpha < 1 else None

    def soft_targets(pieces: np.ndarray) -> np.ndarray:
        return stored[score_rows[clip[pieces]], window[pieces]][:, columns].astype(np.float32)

    def targets(pieces: np.ndarray) -> np.ndarray:
        soft = soft_targets(pieces)
        return soft if hard is None else alpha * soft + (1 - alpha) * hard(pieces)

    check_targets(soft_targets, clip, score_rows, columns, scores, window_name(window_s))
    start = np.round(window * hop).astype(np.int64)
    last = (window == counts[clip] - 1) & (by_rule or window_s == CLIP)
    slack = np.where(last & (crop == "random"), np.maximum(clips.n_samples[rows[clip]] - start - length, 0), 0)
    return Examples(
        clips, rows[clip], start, slack, length, targets, epochs_of(sampling, labels, clip, beta),
        None if mask is None else _rows_of(mask, bool, clip),
    )  # fmt: skip


def _window_counts(
    clips: ClipStore, rows: np.ndarray, scores: ScoreStore, score_rows: np.ndarray, window_s: str | float, length: int,
    hop: float, by_rule: bool,
) -> np.ndarray:  # fmt: skip
    """Return how many windows each clip has, (n,); InputError where scores are of other windows than the clips'."""
    if window_s == CLIP:
        return np.ones(len(rows), np.int64)
    scored, n_samples = scores.n_windows(window_s)[score_rows], clips.n_samples[rows]
    clip_ids, remedy = [clips.clip_ids[row] for row in rows], "They are of other recordings: score these clips again."
    refuse_windows_beyond(
        clip_ids, scored, hop / clips.sample_rate, n_samples / clips.sample_rate, window_s, scores.path, remedy
    )
    counts = n_windows(n_samples, length) if by_rule else scored
    if (counts > scored).any():
        worst = int(np.argmax(counts > scored))
        needed = f"{counts[worst]} windows of {window_name(window_s)}"
        raise InputError(f"clip {clip_ids[worst]!r} has {needed}, its scores {scored[worst]}", scores.path, remedy)
    return counts


def check_targets(
    soft_targets: Callable[[np.ndarray], np.ndarray],
    clip: np.ndarray,
    score_rows: np.ndarray,
    columns: np.ndarray,
    scores: ScoreStore,
    scale: str,
) -> None:
    """Raise InputError where a soft target of the pieces, clip (P,) of which each is one, is not a number in [0, 1]."""
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
