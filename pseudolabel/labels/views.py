"""View a corpus as evidence: the features of every pair of clip and class, for one block of clips at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, TypeVar

import numpy as np
from scipy import sparse

from pseudolabel.labels.evidence import Evidence, let_go
from pseudolabel.labels.residuals import Explanation, ExplanationSums, Kinship, joined
from pseudolabel.labels.table import LabelTable
from pseudolabel.machine import allowed_cores
from pseudolabel.progress import Progress

BLOCK_CLIPS = 1024  # computed at a time by each thread
NO_DESCENDANT = -3.0  # evidence of the best descendant where there is none

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Corpus:
    """N labelled clips, K classes, and the scores of one or several teachers.

    Args:
        labels: the N clips and their labels.
        teachers: the scores of each teacher, matched with `labels`.
        kinship: which classes are related.
    """

    labels: LabelTable
    teachers: Sequence[Evidence]
    kinship: Kinship

    @cached_property
    def closed(self) -> sparse.csr_array:
        """(N, K) bool: the labels and all their ancestors."""
        return self.kinship.closure(self.labels.matrix)

    def each_block(
        self, work: Callable[[int, int], Result], what: str, block_clips: int = BLOCK_CLIPS
    ) -> Iterator[Result]:
        """Yield `work(start, stop)` of all blocks of clips in order, computed by as many threads as there are cores."""
        n_clips, n_threads = len(self.labels), allowed_cores()
        with Progress(what, n_clips) as progress, ThreadPoolExecutor(n_threads) as pool:
            waiting = deque()
            for start in range(0, n_clips, block_clips):
                stop = min(start + block_clips, n_clips)
                waiting.append((stop - start, pool.submit(work, start, stop)))
                if len(waiting) > n_threads:
                    yield _finished(waiting, progress)
            while waiting:
                yield _finished(waiting, progress)


def _finished(waiting: deque, progress: Progress) -> object:
    n, task = waiting.popleft()
    result = task.result()
    progress.advance(n)
    return result


def scores_of(evidence: Evidence, start: int, stop: int) -> np.ndarray:
    """Return the scores of the clips in rows `start` to `stop` (exclusive), of the clip or its best window.

    Returns:
        (n, K) float32, NaN where there is no score.

    Raises:
        InputError: a score is outside [0, 1].
    """
    rows, columns = evidence.row_of[start:stop], evidence.column_of
    clips, classes = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    scores = np.asarray(evidence.scores[_span(rows[clips])])
    scores = scores[..., _span(columns[classes])]
    if evidence.window_s is not None:
        real = np.arange(scores.shape[1]) < evidence.n_windows[rows[clips], None]
        scores = np.where(real[:, :, None], scores, 0)
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        first = np.argwhere(~((scores >= 0) & (scores <= 1)))[0]
        evidence.best(start + clips[first[:1]], classes[first[-1:]])  # raises
    let_go(evidence.scores)
    block = np.full((len(rows), len(columns)), np.nan, np.float32)
    pairs = (slice(None), _span(classes)) if len(clips) == len(rows) else np.ix_(clips, classes)
    block[pairs] = scores if evidence.window_s is None else scores.max(axis=1)
    return block


def _span(numbers: np.ndarray) -> slice | np.ndarray:
    """Return consecutive numbers as a slice, which reads without copying."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


class View(NamedTuple):
    """The features of a block of n clips.

    Args:
        closed: (n, K) bool, sparse.
        z: for each teacher (n, K) float32, standardised log-odds, NaN without a score.
        evidence: for each teacher (n, K) float32, z less what other labels explain, 0 without a score.
        scored: (n, K) bool, whether any teacher has a score.
        flags: for each teacher that lacks scores which another has (n, K) bool, where it has them.
        below: (n, K) float32, the best evidence of a descendant; NO_DESCENDANT without one that has a score.
        parent, sibling: (n, K) bool, whether a nearest parent or a sibling is among the labels.
    """

    closed: sparse.csr_array
    z: list[np.ndarray]
    evidence: list[np.ndarray]
    scored: np.ndarray
    flags: list[np.ndarray]
    below: np.ndarray
    parent: np.ndarray
    sibling: np.ndarray

    @property
    def child_features(self) -> list[np.ndarray]:
        """The features (n, K) of pairs with a known parent."""
        return [*self.evidence, *self.flags, self.sibling]

    @property
    def free_features(self) -> list[np.ndarray]:
        """The features (n, K) of pairs without a known parent, and of all labels beside them."""
        return [*self.evidence, *self.flags, self.below]


@dataclass(frozen=True, eq=False)
class Viewer:
    """Computes views of a corpus.

    Args:
        explanations: one for each teacher.
        carriers: (K,) int64, on how many clips with a score each class is a label or an ancestor of one.
    """

    corpus: Corpus
    explanations: list[Explanation]
    carriers: np.ndarray

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """Learn from all clips what a teacher's scores are like, and what labels explain of them."""
        n_classes, all_closed = len(corpus.labels.vocabulary), corpus.closed
        totals = [ExplanationSums(n_classes) for _ in corpus.teachers]
        carriers = np.zeros(n_classes, np.int64)

        def sums(start: int, stop: int) -> tuple[list[ExplanationSums], np.ndarray]:
            closed, each = all_closed[start:stop], [scores_of(teacher, start, stop) for teacher in corpus.teachers]
            clips, classes = closed.nonzero()
            scored = np.any([~np.isnan(scores[clips, classes]) for scores in each], axis=0)
            counts = np.bincount(classes[scored], minlength=n_classes)
            return [ExplanationSums.of(scores, closed) for scores in each], counts

        for of_block, counts in corpus.each_block(sums, "evidence"):
            carriers += counts
            for total, part in zip(totals, of_block, strict=True):
                total += part
        return cls(corpus, [total.explanation(corpus.kinship) for total in totals], carriers)

    @cached_property
    def _descendants(self) -> dict[int, np.ndarray]:
        """The descendants of each class that has any."""
        descendants = self.corpus.kinship.ancestors.T
        return {k: np.flatnonzero(descendants[k]) for k in np.flatnonzero(descendants.any(axis=1)).tolist()}

    def view(self, start: int, stop: int) -> View:
        """Return the features of the clips in rows `start` to `stop` (exclusive)."""
        corpus, explanations = self.corpus, self.explanations
        closed = corpus.closed[start:stop]
        each = [scores_of(teacher, start, stop) for teacher in corpus.teachers]
        z = [one.standardised(scores) for one, scores in zip(explanations, each, strict=True)]
        evidence = [one.residuals(values, closed) for one, values in zip(explanations, z, strict=True)]
        there = [~np.isnan(values) for values in z]
        lacking = [len(z) > 1 and bool((one.n < len(corpus.labels)).any()) for one in explanations]
        return View(
            closed=closed,
            z=z,
            evidence=evidence,
            scored=np.logical_or.reduce(there),
            flags=[flag for flag, lacks in zip(there, lacking, strict=True) if lacks],
            below=self._below(evidence, there),
            parent=joined(closed, corpus.kinship.children).toarray(),
            sibling=joined(closed, corpus.kinship.siblings).toarray(),
        )

    def _below(self, evidence: list[np.ndarray], there: list[np.ndarray]) -> np.ndarray:
        """Return the best evidence of any teacher for any descendant, (n, K) float32."""
        each = [np.where(has, values, np.float32(NO_DESCENDANT)) for values, has in zip(evidence, there, strict=True)]
        by_class = np.ascontiguousarray(np.maximum.reduce(each).T)
        below = np.full_like(evidence[0], NO_DESCENDANT)
        for k, descendants in self._descendants.items():
            below[:, k] = by_class[descendants].max(axis=0)
        return below
