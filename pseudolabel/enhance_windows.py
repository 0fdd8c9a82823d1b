"""Write soft targets of windows: the teacher's scores, shifted so that each clip's state the probability of each label.

Given labels and their ancestors get the probability GIVEN, all other classes that of a guess, whatever --errors and P;
where there is no answer, the teacher's scores stay as they are. A class that no teacher has scored on a clip has the
same value in all windows: that of a label, or 0. Of several teachers the first that has a score counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from pseudolabel.labels.precision import Calibration
from pseudolabel.scores.ensemble import describe_stores
from pseudolabel.scores.joining import Holder, agreed_windows, refuse_other_rules
from pseudolabel.scores.shifting import shifted
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import window_name
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores

GIVEN = 1 - 1e-3
BLOCK_BYTES = 1 << 25  # of scores as float64, for each thread
READING = "1 - prod(1 - score) over a clip's windows is the probability of the label"


@dataclass(frozen=True, eq=False)
class WindowTargets:
    """The soft targets of all clips that a teacher has scored.

    Args:
        calibration: the probability of every guess.
        holders: the stores of its teachers, by its clips and classes.
        n_windows: {scale name: (N,) number of windows, 0 for clips without scores}.
    """

    calibration: Calibration
    holders: Sequence[Holder]
    n_windows: dict[str, np.ndarray]

    @classmethod
    def of(cls, calibration: Calibration, stores: Sequence[ScoreStore], windows: Sequence[float]) -> Self:
        """Match the windows of the teachers' stores; InputError if they differ in rule, hop or number."""
        corpus = calibration.viewer.corpus
        pairs = zip(stores, corpus.teachers, strict=True)
        holders = [Holder(store, teacher.row_of, teacher.column_of) for store, teacher in pairs]
        refuse_other_rules(stores)
        clip_ids, scales = corpus.labels.clip_ids, map(window_name, windows)
        return cls(calibration, holders, {scale: agreed_windows(holders, scale, clip_ids) for scale in scales})

    @cached_property
    def layout(self) -> ScoreLayout:
        """The clips, classes and shapes of the store."""
        labels, store = self.calibration.viewer.corpus.labels, self.holders[0].store
        clip_ids = [labels.clip_ids[clip] for clip in np.flatnonzero(self._scored).tolist()]
        return ScoreLayout.of_windows(
            clip_ids,
            labels.vocabulary.class_ids,
            {scale: counts[self._scored] for scale, counts in self.n_windows.items()},
            hops_s={scale: store.hop_s(scale) for scale in self.n_windows},
            types=stored_types(self.n_windows, "float16"),
        )

    @cached_property
    def _scored(self) -> np.ndarray:
        """Which clips a teacher has scored, (N,) bool."""
        return np.any([holder.rows >= 0 for holder in self.holders], axis=0)

    @property
    def n_bytes(self) -> int:
        """The size of the scores in the store."""
        layout = self.layout
        return sum(len(layout.clip_ids) * layout.row_bytes(scale) for scale in layout.shapes)

    def write(self, path: Path) -> None:
        """Write the store."""
        stores = [holder.store for holder in self.holders]
        vocabulary = self.calibration.viewer.corpus.labels.vocabulary.name
        attributes = {**describe_stores(stores), "vocabulary": vocabulary, "reading": READING}
        write_scores(path, self.layout, self._blocks(), attributes)

    def _blocks(self) -> Iterator[dict[str, np.ndarray]]:
        corpus = self.calibration.viewer.corpus
        widest = max(int(counts.max()) for counts in self.n_windows.values())
        step = max(1, BLOCK_BYTES // (8 * widest * len(corpus.labels.vocabulary)))
        for holder in self.holders:
            for scale in self.n_windows:
                holder.store.scores(scale)  # unpacked, if it must be, before several threads ask for it
        return corpus.each_block(self._block, "window targets", step)

    def _block(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Return the targets (n, W, K) of those clips in rows `start` to `stop` (exclusive) that have scores."""
        labels = self.calibration.viewer.corpus.closed[start:stop].toarray()
        probabilities = np.where(labels, GIVEN, self.calibration.block(start, stop).probabilities)
        chosen = self._scored[start:stop]
        clips, probabilities = start + np.flatnonzero(chosen), np.minimum(probabilities[chosen], GIVEN)
        return {
            scale: self._shifted(scale, clips, int(counts.max()), probabilities)
            for scale, counts in self.n_windows.items()
        }

    def _shifted(self, scale: str, clips: np.ndarray, width: int, probabilities: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(clips), width, probabilities.shape[1]), np.float32)
        for holder in reversed(self.holders):
            there, classes = np.flatnonzero(holder.rows[clips] >= 0), np.flatnonzero(holder.columns >= 0)
            of_classes = Holder(holder.store, holder.rows, holder.columns[classes])
            scores[np.ix_(there, np.arange(width), classes)] = of_classes.read(scale, clips[there])[:, :width]
        return shifted(scores, self.n_windows[scale][clips], probabilities)
