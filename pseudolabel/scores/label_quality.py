"""How right labels and soft targets are where events are known: in whole clips and in every window of 10, 5 and 2 s.

A weak label says that a class is somewhere in its clip. Given to each window of the clip, as a student trained on
windows would have it, it is wrong wherever no event of the class overlaps the window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pseudolabel.labels.events import Spans
from pseudolabel.scores.detection import Counts
from pseudolabel.scores.frames import Frames


@dataclass(frozen=True, eq=False)
class WindowTruth:
    """What sounds in the windows of N clips.

    Args:
        frames: the teacher's scores of the windows (N, W, K), and their times.
        active: (N, W, K) bool, whether an event of the class overlaps the window.
    """

    frames: Frames
    active: np.ndarray

    @classmethod
    def of(cls, frames: Frames, truth: Spans) -> WindowTruth:
        """Return the windows of scores, with the events that overlap them."""
        return cls(frames, frames.active(truth))

    def of_targets(self, threshold: float) -> Counts:
        """Count the targets above a threshold: how many are right, how many there are, how many should be."""
        given = (self.frames.scores > np.float32(threshold)) & self.frames.real[..., None]
        return self._counts(given, self.active)

    def of_labels(self, labels: np.ndarray) -> Counts:
        """Count the labels (N, K) bool of clips, given to each of their windows."""
        return self._counts(np.asarray(labels, bool)[:, None] & self.frames.real[..., None], self.active)

    def of_additions(self, added: np.ndarray, before: np.ndarray) -> Counts:
        """Count added labels (N, K) bool, given to each window, among what the labels `before` (N, K) lack there."""
        missing = self.active & ~np.asarray(before, bool)[:, None]
        return self._counts(np.asarray(added, bool)[:, None] & self.frames.real[..., None], missing)

    def per_clip(self, threshold: float) -> np.ndarray:
        """Return how many classes of each clip have a target above a threshold in any window, (N,)."""
        return np.count_nonzero(self.frames.maxima() > np.float32(threshold), axis=1)

    @staticmethod
    def _counts(given: np.ndarray, truth: np.ndarray) -> Counts:
        return Counts(*(np.count_nonzero(part, axis=1) for part in (given & truth, given, truth)))


def distribution(n_labels: np.ndarray, most: int) -> np.ndarray:
    """Return the share of clips with 0, 1, ... `most` - 1, and `most` or more labels, (most + 1,)."""
    return np.bincount(np.minimum(n_labels, most), minlength=most + 1) / max(len(n_labels), 1)


def more_often(n_labels: np.ndarray, reference: np.ndarray, more_than: int) -> float:
    """Return the share of clips with more than so many labels in `reference` (N,) that have more in `n_labels` (N,)."""
    many = reference > more_than
    return float(np.mean(n_labels[many] > reference[many])) if many.any() else float("nan")
