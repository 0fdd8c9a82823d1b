"""Scores of consecutive frames or windows of clips, as sound event detection uses them: filtered, then as events.

Frame w of a window length L and hop H covers [w * H, w * H + L) seconds. Where windows overlap, each stands for the H
seconds around its middle; the first also for what is before, the last for what is after, up to the clip's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pseudolabel.errors import InputError, shown
from pseudolabel.labels.events import Spans
from pseudolabel.scores.windows import possible_windows, window_name

# Seconds: the 7 frames of 64 ms by which the baseline of DCASE 2021, task 4, filters its scores (DESED_task, sed.yaml).
MEDIAN_S = 0.45
UNFIT = "Give the hop that the scores were made with (score import --hop-s), or the clips' lengths (--clip-s)."


@dataclass(frozen=True, eq=False)
class Frames:
    """Scores of N clips in T frames, of which a clip's first `counts` are real.

    Args:
        scores: (N, T, K) float32 in [0, 1]; what is after a clip's real frames is ignored.
        counts: (N,) int64, at least 1.
        edges: (N, T + 1) float64; frame t of a clip stands for edges[t] to edges[t + 1] seconds.
        hop_s: seconds from frame to frame.
    """

    scores: np.ndarray
    counts: np.ndarray
    edges: np.ndarray
    hop_s: float

    @classmethod
    def of(
        cls,
        scores: np.ndarray,
        hop_s: float,
        window_s: float | None = None,
        counts: np.ndarray | None = None,
        lengths_s: np.ndarray | None = None,
        clip_ids: Sequence[str] | None = None,
        place: object = "",
    ) -> Frames:
        """Check scores, and return them with the times of their frames.

        Args:
            scores: (N, T, K). counts: (N,) real frames of each clip; None: all T.
            window_s: length of a frame (default: `hop_s`).
            lengths_s: (N,) seconds of each clip; None: up to the end of its last frame.
            clip_ids, place: what errors name.

        Raises:
            InputError: a score is not a number in [0, 1], the shapes differ, or a clip has more frames than fit its
                length, or so few that its end has no score.
        """
        scores, window_s = np.asarray(scores), hop_s if window_s is None else window_s
        if scores.ndim != 3 or 0 in scores.shape:
            raise InputError(f"scores must have the shape (clips, frames, classes), not {scores.shape}", place)
        n, t = scores.shape[:2]
        if not (0 < hop_s < np.inf and 0 < window_s < np.inf):
            raise InputError(f"frames of {window_s!r} s every {hop_s!r} s: both must be above 0", place)
        counts = np.full(n, t, np.int64) if counts is None else np.asarray(counts)
        names = (
            [f"clip {row}" for row in range(n)] if clip_ids is None else [f"clip {shown(each)}" for each in clip_ids]
        )
        if counts.shape != (n,) or len(names) != n or not ((counts >= 1) & (counts <= t)).all():
            raise InputError(f"the numbers of frames must be (N,) within 1 and {t}", place)
        covered = (counts - 1) * hop_s + window_s
        lengths_s = covered if lengths_s is None else np.asarray(lengths_s, np.float64)
        if lengths_s.shape != (n,) or not ((lengths_s > 0) & (lengths_s < np.inf)).all():
            raise InputError("the lengths of clips must be (N,) seconds above 0", place)
        _refuse_unfit(names, counts, covered, lengths_s, hop_s, window_s, place)
        real = np.arange(t) < counts[:, None]
        wrong = ~((scores >= 0) & (scores <= 1)) & real[..., None]
        if wrong.any():
            row, frame, column = np.argwhere(wrong)[0].tolist()
            message = f"{names[row]} has the score {scores[row, frame, column]:g} in frame {frame}"
            raise InputError(f"{message}; it must be in [0, 1]", place, "Scores are probabilities: score again.")
        starts = np.arange(t) * hop_s + (window_s - hop_s) / 2
        starts[0] = 0.0
        counts = np.minimum(counts, np.searchsorted(starts, lengths_s - 1e-6))  # frames that begin within the clip
        edges = np.minimum(np.append(starts, np.inf), lengths_s[:, None])
        edges[np.arange(t + 1) >= counts[:, None]] = np.inf
        edges = np.where(np.isinf(edges), lengths_s[:, None], edges)
        return cls(scores.astype(np.float32, copy=False), counts, edges, float(hop_s))

    @property
    def lengths_s(self) -> np.ndarray:
        """The length of each clip, (N,) seconds."""
        return self.edges[:, -1]

    @property
    def real(self) -> np.ndarray:
        """Which frames are real, (N, T) bool."""
        return np.arange(self.scores.shape[1]) < self.counts[:, None]

    def maxima(self) -> np.ndarray:
        """Return each clip's maximum over its real frames, (N, K)."""
        return np.where(self.real[..., None], self.scores, 0).max(axis=1)

    def filtered(self, seconds: float | Sequence[float]) -> Frames:
        """Return the scores after a median filter over time, whose edges are mirrored.

        Args:
            seconds: length of the filter, of all classes or of each of the K; taken as the nearest odd number of
                frames, and 1 frame, as 0 s, changes nothing.
        """
        from scipy.ndimage import median_filter

        sizes = np.broadcast_to(filter_frames(seconds, self.hop_s), self.scores.shape[2:])
        if (sizes == 1).all():
            return self
        scores = self.scores.copy()
        for count in np.unique(self.counts):
            rows = np.flatnonzero(self.counts == count)
            for size in np.unique(sizes[sizes > 1]):
                columns = np.flatnonzero(sizes == size)
                block = self.scores[np.ix_(rows, np.arange(count), columns)]
                scores[np.ix_(rows, np.arange(count), columns)] = median_filter(block, (1, size, 1), mode="reflect")
        return replace(self, scores=scores)

    def spans(self, threshold: float | Sequence[float] = 0.5) -> Spans:
        """Return the events that the scores state: runs of frames whose scores are above the threshold.

        Args:
            threshold: of all classes, or of each of the K.
        """
        above = (self.scores > np.asarray(threshold, np.float32)) & self.real[..., None]
        change = np.diff(above.transpose(0, 2, 1).astype(np.int8), axis=2, prepend=0, append=0)
        clip, column, first = np.nonzero(change == 1)
        end = np.nonzero(change == -1)[2]
        return Spans(clip, column, self.edges[clip, first], self.edges[clip, end])

    def active(self, truth: Spans) -> np.ndarray:
        """Return in which frames a span is at least partly, (N, T, K) bool; False after a clip's real frames."""
        n, t, k = self.scores.shape
        return covered_steps(truth, self.edges, self.counts, (n, t, k))


def filter_frames(seconds: float | Sequence[float], hop_s: float) -> np.ndarray:
    """Return the odd number of frames, at least 1, that is nearest to a length in seconds."""
    seconds = np.asarray(seconds, np.float64)
    if not ((seconds >= 0) & (seconds < np.inf)).all():
        raise InputError(f"a median filter of {seconds.min():g} s", "", "Give seconds of at least 0; 0: no filter.")
    return np.maximum(2 * np.round((seconds / hop_s - 1) / 2) + 1, 1).astype(np.int64)


def covered_steps(spans: Spans, edges: np.ndarray, counts: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return which steps [edges[t], edges[t + 1]) of each clip a span overlaps, (N, T, K) bool.

    Args:
        edges: (N, T + 1) seconds, or (1, T + 1) for all clips; steps from `counts` (N,) on are left out.
    """
    n, t, k = shape
    edges = np.broadcast_to(edges, (n, t + 1))
    change = np.zeros((n, t + 1, k), np.int16)
    step_s = 1 + float(max(edges.max(), spans.offset_s.max(initial=0)))
    flat = (edges + step_s * np.arange(n)[:, None]).ravel()  # rising over all clips
    onset, offset = (np.round(times, 6) + step_s * spans.clip for times in (spans.onset_s, spans.offset_s))
    first = np.searchsorted(flat, onset + 1e-7, side="right") - 1 - spans.clip * (t + 1)
    end = np.searchsorted(flat, offset - 1e-7, side="left") - spans.clip * (t + 1)
    first, end = (np.clip(steps, 0, counts[spans.clip]) for steps in (first, end))
    np.add.at(change, (spans.clip, first, spans.column), 1)
    np.add.at(change, (spans.clip, end, spans.column), -1)
    return np.cumsum(change, axis=1)[:, :t] > 0


def _refuse_unfit(
    names: Sequence[str],
    counts: np.ndarray,
    covered: np.ndarray,
    lengths_s: np.ndarray,
    hop_s: float,
    window_s: float,
    place: object,
) -> None:
    """Raise InputError if frames begin after their clip, or end long before it."""
    late = counts > possible_windows(lengths_s, hop_s)
    early = covered + max(hop_s, window_s / 2) < lengths_s - 1e-6
    unfit = np.flatnonzero(late | early)
    if len(unfit):
        row = unfit[0]
        message = (
            f"{names[row]} of {lengths_s[row]:g} s has {counts[row]} frames of {window_name(window_s)} every "
            f"{hop_s:g} s, which cover {covered[row]:g} s ({len(unfit)} such clips)"
        )
        raise InputError(message, place, UNFIT)
