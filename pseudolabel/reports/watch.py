"""Which clips models and labels disagree about most, found while the scores of each run pass by.

Memory does not grow with the number of runs: a sum, the lowest and the highest score of each clip and class, and whose
these are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from pseudolabel.labels.table import LabelTable
from pseudolabel.reports.rows import RunResult

CELLS_WATCHED = 50_000_000  # clips times classes: 0.8 GB; of more clips every second, third, ... is watched
SHOWN_EACH = 3  # clips of a class, of each kind
MOST_OF_A_CLASS = 2  # disagreements of one kind about one class, so that one class does not fill the page
SPLIT, UNLABELLED, UNHEARD = KINDS = ("split", "unlabelled", "unheard")


class Disagreement(NamedTuple):
    """A clip and a class about which runs, or runs and labels, disagree.

    Args:
        kind: `split`: runs differ most; `unlabelled`: without the label, highest mean score; `unheard`: with the label,
            lowest mean score.
        mean: over runs. lowest, highest: each a score and its row.
    """

    kind: str
    clip_id: str
    column: int
    mean: float
    lowest: tuple[float, str]
    highest: tuple[float, str]


class ClassClips(NamedTuple):
    """Clips of a class as (clip id, mean score over runs): with the label, lowest first; without, highest first."""

    unheard: list[tuple[str, float]]
    unlabelled: list[tuple[str, float]]


class Watch:
    """Scores of all runs of one scale, summed up for each clip and class.

    Args:
        clip_ids: (N,) the evaluated clips.
        labels: the labels to compare with, of some or all of these clips; other clips are not watched.
    """

    def __init__(self, clip_ids: Sequence[str], labels: LabelTable):
        labelled = [row for row, clip_id in enumerate(clip_ids) if clip_id in labels.row_of]
        most = max(1, CELLS_WATCHED // len(labels.vocabulary))
        self.n_labelled = len(labelled)
        self.rows = np.array(labelled[:: -(-len(labelled) // most)], np.int64)
        self.clip_ids = [clip_ids[row] for row in self.rows]
        self.labels = labels.select(self.clip_ids).matrix
        self.runs: list[RunResult] = []

    def see(self, run: RunResult, scores: np.ndarray) -> None:
        """Add the scores (N, K) of a run; runs of another scale than the first are left out."""
        if self.runs and run.scale != self.runs[0].scale:
            return
        seen, number = np.asarray(scores[self.rows], np.float32), len(self.runs)
        self.runs.append(run)
        if number == 0:
            self.total, self.lowest, self.highest = seen.copy(), seen.copy(), seen.copy()
            self.lowest_by, self.highest_by = np.zeros(seen.shape, np.int16), np.zeros(seen.shape, np.int16)
            return
        self.total += seen
        for extreme, by, beyond in (
            (self.lowest, self.lowest_by, seen < self.lowest),
            (self.highest, self.highest_by, seen > self.highest),
        ):
            extreme[beyond], by[beyond] = seen[beyond], number

    def mean(self, columns: int | slice = slice(None)) -> np.ndarray:
        """Return the mean score over runs, (N, K) or of one class (N,)."""
        return self.total[:, columns] / len(self.runs)

    def mean_of_clip(self, clip_id: str) -> np.ndarray:
        """Return the mean score over runs of each class (K,)."""
        return self.total[self.clip_ids.index(clip_id)] / len(self.runs)

    def of_classes(self) -> list[ClassClips]:
        """Return the most surprising clips of every class."""
        by_class = self.labels.tocsc()
        found = []
        for column in range(by_class.shape[1]):
            scores, labelled = self.mean(column), np.zeros(len(self.rows), bool)
            labelled[by_class.indices[by_class.indptr[column] : by_class.indptr[column + 1]]] = True
            low = _first(np.flatnonzero(labelled), scores)
            high = _first(np.flatnonzero(~labelled), -scores)
            found.append(
                ClassClips(*([(self.clip_ids[row], float(scores[row])) for row in rows] for rows in (low, high)))
            )
        return found

    def disagreements(self, n: int) -> list[Disagreement]:
        """Return up to `n` disagreements about different clips, a third of each kind; of one run two kinds."""
        kinds = KINDS if len(self.runs) > 1 else KINDS[1:]
        found: list[Disagreement] = []
        for number, kind in enumerate(kinds):
            wanted = n * (number + 1) // len(kinds) - len(found)
            taken = {one.clip_id for one in found}
            found += self._largest(kind, wanted, taken)
        return found

    def _largest(self, kind: str, n: int, taken: set[str]) -> Iterator[Disagreement]:
        """Yield `n` clips that are not taken, largest disagreement first."""
        surprise, per_class = self._surprise(kind), dict[int, int]()
        taken = set(taken)
        for row, column in _descending(surprise):
            if n <= 0:
                return
            if self.clip_ids[row] not in taken and per_class.get(column, 0) < MOST_OF_A_CLASS:
                taken.add(self.clip_ids[row])
                per_class[column] = per_class.get(column, 0) + 1
                n -= 1
                yield self._disagreement(kind, row, column)

    def _surprise(self, kind: str) -> np.ndarray:
        """Return how large each clip's disagreement about each class is, (N, K); negative where there is none."""
        if kind == SPLIT:
            return np.where(self.highest > self.lowest, self.highest - self.lowest, -1)
        labelled = self.labels.toarray()
        mean = self.mean()
        return np.where(labelled, 1 - mean, -1) if kind == UNHEARD else np.where(labelled, -1, mean)

    def _disagreement(self, kind: str, row: int, column: int) -> Disagreement:
        lowest, highest = (
            (float(scores[row, column]), self.runs[by[row, column]].row)
            for scores, by in ((self.lowest, self.lowest_by), (self.highest, self.highest_by))
        )
        mean = float(self.total[row, column] / len(self.runs))
        return Disagreement(kind, self.clip_ids[row], column, mean, lowest, highest)


def _first(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the rows with the smallest keys, ties in their order."""
    if len(rows) > SHOWN_EACH:
        limit = np.partition(keys[rows], SHOWN_EACH - 1)[SHOWN_EACH - 1]
        rows = rows[keys[rows] <= limit]
    return rows[np.argsort(keys[rows], kind="stable")][:SHOWN_EACH]


def _descending(values: np.ndarray) -> Iterable[tuple[int, int]]:
    """Yield (row, column) of all values that are not negative, largest first, ties in their order."""
    flat = values.ravel()
    start, n_columns = 0, values.shape[1]
    upper = np.inf
    while start < flat.size:
        size = min(flat.size, max(1000, 4 * start))
        limit = np.partition(flat, flat.size - size)[flat.size - size]
        block = np.flatnonzero((flat >= max(limit, 0)) & (flat < upper))
        for place in block[np.argsort(-flat[block], kind="stable")].tolist():
            yield divmod(place, n_columns)
        if limit <= 0:
            return
        start, upper = size, limit
