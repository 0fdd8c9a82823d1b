"""Training examples: pieces of clips with their targets, drawn in an order determined by seed and epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, each_window, n_windows, refuse_windows_beyond, window_name
from pseudolabel.training.drawing import Epochs, epochs_of
from pseudolabel.training.options import SamplingOptions

SHUFFLED = SamplingOptions()
CHECKED_AT_ONCE = 1 << 22  # soft targets, 16 MiB


@dataclass(frozen=True)
class Examples:
    """The pieces that a model is trained on.

    Attributes:
        row: (P,) clip store row of each piece.
        start: (P,) its first sample.
        slack: (P,) number of samples by which it may begin later, drawn in each step.
        length: its length in samples, unless the clip ends earlier.
        targets: pieces -> (B, K) float32.
        epochs: which pieces make up an epoch.
        masked: pieces -> (B, K) bool, True where the loss ignores the target; or None.
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
        """The number of pieces; an epoch may draw some of them several times."""
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
            within: (B,) in [0, 1), where within its slack each piece begins.
        """
        waveforms = self.clips.batch(self.row[pieces], self._starts(pieces, within), self.length)
        return waveforms, self.targets(pieces), self.masked(pieces) if self.masked else None

    def n_samples(self, pieces: np.ndarray, within: np.ndarray | float = 0.0) -> np.ndarray:
        """Return how many samples from `batch` are each piece's own, (B,) int64; the others are 0."""
        return self.clips.left(self.row[pieces], self._starts(pieces, within), self.length)

    def _starts(self, pieces: np.ndarray, within: np.ndarray | float) -> np.ndarray:
        return self.start[pieces] + np.floor(within * (self.slack[pieces] + 1)).astype(np.int64)


def clip_examples(
    clips: ClipStore,
    rows: np.ndarray,
    labels: sparse.csr_array,
    length: int,
    sampling: SamplingOptions = SHUFFLED,
    mask: sparse.csr_array | None = None,
) -> Examples:
    """Return whole clips (n,) with labels (n, K), cut to at most `length` samples; the loss ignores `mask` (n, K)."""
    start, slack = np.zeros(len(rows), np.int64), np.maximum(clips.n_samples[rows] - length, 0)
    slack *= sampling.crop == "random"
    epochs, masked = epochs_of(sampling, labels), None if mask is None else _rows_of(mask, bool)
    return Examples(clips, rows, start, slack, length, _rows_of(labels, np.float32), epochs, masked)


def _rows_of(matrix: sparse.csr_array, kind: type, clip: np.ndarray | None = None) -> Callable:
    """Return a function: pieces (B,) -> their clips' rows of the matrix, dense; the full matrix stays sparse."""
    return lambda pieces: matrix[pieces if clip is None else clip[pieces]].toarray().astype(kind, copy=False)


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's scores of the windows of n clips.

    Args:
        rows: (n,) rows of the clips in the score store.
        columns: (K,) columns of the classes in the score store.
        window_s: length of the windows in seconds, or `clip`.
        alpha: weight of the soft target; the hard label has 1 - alpha.
    """

    scores: ScoreStore
    rows: np.ndarray
    columns: np.ndarray
    window_s: str | float = CLIP
    alpha: float = 1.0

    @cached_property
    def stored(self) -> np.ndarray:
        """The scores of all clips and windows, memory-mapped."""
        return self.scores.scores(self.window_s)

    def of(self, clip: np.ndarray, window: np.ndarray) -> np.ndarray:
        """Return the soft targets (B, K) float32 of windows (B,) of clips (B,), both counted from 0."""
        return self.stored[self.rows[clip], window][:, self.columns].astype(np.float32)

    def refuse_damaged(self, clip: np.ndarray, window: np.ndarray) -> None:
        """Raise InputError if a soft target of windows (P,) of clips (P,) is not a number in [0, 1]."""
        as_stored = np.argsort(self.rows[clip], kind="stable")  # files are read fastest from front to back
        step = max(CHECKED_AT_ONCE // max(len(self.columns), 1), 1)
        for first in range(0, len(clip), step):
            pieces = as_stored[first : first + step]
            soft = self.of(clip[pieces], window[pieces])
            wrong = ~((soft >= 0) & (soft <= 1))  # NaN too
            if wrong.any():
                piece, k = np.argwhere(wrong)[0]
                clip_id = self.scores.clip_ids[self.rows[clip[pieces[piece]]]]
                class_id, scale = self.scores.class_ids[self.columns[k]], window_name(self.window_s)
                target = f"clip {clip_id!r} has the soft target {soft[piece, k]:g} for class {class_id!r}"
                message = f"{target} at scale {scale}; it must be in [0, 1]"
                raise InputError(message, self.scores.path, "Give probabilities, not logits.")


def window_examples(
    clips: ClipStore,
    rows: np.ndarray,
    labels: sparse.csr_array,
    length: int,
    soft: SoftTargets,
    sampling: SamplingOptions = SHUFFLED,
    mask: sparse.csr_array | None = None,
) -> Examples:
    """Return every window of every clip (n,) with its own soft targets (PSL): student and teacher see the same cut.

    The last window of a clip may be shorter than `length` or up to half as long again, and the teacher has scored all
    of it. The student gets a shorter one whole, to be filled, and `length` samples of a longer one. Overlapping windows
    (`ScoreStore.hop_s`) are never longer, because another one begins instead; nor are those of another model
    (`ScoreStore.imported`), all of which are taken.

    Args:
        labels: (n, K) hard labels, by which `sampling` draws.
        length: samples per window.
        mask: (n, K) bool, True where the loss ignores the target.

    Raises:
        InputError: a window has no scores, scores have no window, or a soft target is not a number in [0, 1].
    """
    whole_clips, hop = soft.window_s == CLIP, length
    if not whole_clips:
        stored_hop = soft.scores.hop_s(soft.window_s) * clips.sample_rate
        hop = length if abs(stored_hop - length) < 1 else stored_hop  # samples; an integer if windows do not overlap
    by_rule = hop == length and not soft.scores.imported  # WINDOW_RULE decides the windows
    counts = np.ones(len(rows), np.int64) if whole_clips else _window_counts(clips, rows, soft, length, hop, by_rule)
    clip, window = each_window(counts)
    soft.refuse_damaged(clip, window)
    hard = _rows_of(labels, np.float32, clip) if soft.alpha < 1 else None

    def targets(pieces: np.ndarray) -> np.ndarray:
        answered = soft.of(clip[pieces], window[pieces])
        return answered if hard is None else soft.alpha * answered + (1 - soft.alpha) * hard(pieces)

    start = np.round(window * hop).astype(np.int64)
    longer = (window == counts[clip] - 1) & (by_rule or whole_clips) & (sampling.crop == "random")
    slack = np.where(longer, np.maximum(clips.n_samples[rows[clip]] - start - length, 0), 0)
    epochs, masked = epochs_of(sampling, labels, clip), None if mask is None else _rows_of(mask, bool, clip)
    return Examples(clips, rows[clip], start, slack, length, targets, epochs, masked)


def _window_counts(
    clips: ClipStore, rows: np.ndarray, soft: SoftTargets, length: int, hop: float, by_rule: bool
) -> np.ndarray:
    """Return how many windows each clip has, (n,); raise InputError if the scores' windows do not fit the clips."""
    scored, n_samples = soft.scores.n_windows(soft.window_s)[soft.rows], clips.n_samples[rows]
    clip_ids, source = [clips.clip_ids[row] for row in rows], soft.scores.path
    remedy = "They are of other recordings: score these clips again."
    seconds = n_samples / clips.sample_rate
    refuse_windows_beyond(clip_ids, scored, hop / clips.sample_rate, seconds, soft.window_s, source, remedy)
    counts = n_windows(n_samples, length) if by_rule else scored
    if (counts > scored).any():
        worst = int(np.argmax(counts > scored))
        needed = f"{counts[worst]} windows of {window_name(soft.window_s)}"
        raise InputError(f"clip {clip_ids[worst]!r} has {needed}, its scores {scored[worst]}", source, remedy)
    return counts
