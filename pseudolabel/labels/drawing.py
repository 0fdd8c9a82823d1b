"""Draw the pairs of clip and class that a calibration learns from: all of a small corpus, a sample of a large one.

A stratum holds the pairs of one class and kind that have about the same evidence. Most candidates have next to none and
are alike; the few with much of it decide the regression, and of these most are drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pseudolabel.labels.calibration import Pairs, counted
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.views import NO_DESCENDANT, View, Viewer

N_KINDS = 3
LABELLED, CHILD, FREE = range(N_KINDS)  # kinds of pairs
LOWEST, WIDTH, STEPS = -2.0, 1 / 16, 128  # of the evidence that divides a class's pairs into strata
BELOW_WIDTH, BELOW_STEPS = 1 / 4, 32  # of the best descendant's
EVERY_PAIR = 1 << 62  # pairs per stratum


class Drawn(NamedTuple):
    """M pairs drawn from a corpus: labels with a score, and candidates.

    Args:
        classes: (M,) int64.
        kinds: (M,) int8, LABELLED, CHILD or FREE.
        parent: (M,) bool, whether a nearest parent is among the labels.
        child_features, free_features: (M, F) float64.
        z: (M, T) standardised log-odds of each teacher, NaN without a score.
        weights: (M,) float64, how many pairs of the corpus each one represents.
    """

    classes: np.ndarray
    kinds: np.ndarray
    parent: np.ndarray
    child_features: np.ndarray
    free_features: np.ndarray
    z: np.ndarray
    weights: np.ndarray

    def of_kind(self, kind: int, n_classes: int) -> Pairs | None:
        """Return the candidates of a kind, CHILD or FREE, and the labels beside them; None if either is missing.

        Child candidates are compared with labels that have a parent, free ones with all labels.
        """
        labelled = self.kinds == LABELLED
        chosen = (self.kinds == kind) | (labelled & (self.parent | (kind == FREE)))
        if labelled[chosen].all() or not labelled[chosen].any():
            return None
        features = self.child_features if kind == CHILD else self.free_features
        return Pairs(features[chosen], self.classes[chosen], labelled[chosen], self.weights[chosen], n_classes)


def kinds_of(view: View, usable: np.ndarray) -> np.ndarray:
    """Return the kind of each pair of a block, (n, K) int8; -1 without a score or if the class is not `usable` (K,)."""
    kinds = np.where(view.parent, np.int8(CHILD), np.int8(FREE))
    kinds[view.closed.nonzero()] = LABELLED
    kinds[~(view.scored & usable)] = -1
    return kinds


class Strata:
    """Numbers the strata of all pairs: those of one class and kind with about the same features.

    These are the mean evidence of all teachers; for labels and free candidates the best descendant's, where the class
    has descendants; for labels and child candidates whether there is a sibling.
    """

    def __init__(self, kinship: Kinship):
        n_classes = len(kinship.ancestors)
        n_others = np.ones((n_classes, N_KINDS), np.int32)  # strata of each step of evidence
        n_others[np.ix_(kinship.ancestors.any(axis=0), [LABELLED, FREE])] = BELOW_STEPS
        n_others[:, [LABELLED, CHILD]] *= 2
        self._n_others = n_others.ravel()
        sizes = STEPS * self._n_others
        self._first = (np.cumsum(sizes) - sizes).astype(np.int32)
        self.n = int(sizes.sum())

    def of(self, view: View, kinds: np.ndarray) -> np.ndarray:
        """Return the stratum of each pair of a block, (n, K) int32; meaningless where its kind is -1."""
        numbers = np.maximum(kinds, 0) + N_KINDS * np.arange(kinds.shape[1], dtype=np.int32)
        strength = np.add.reduce(view.evidence) / np.float32(len(view.evidence))
        strata = np.clip((strength - LOWEST) / WIDTH, 0, STEPS - 1).astype(np.int32)
        strata *= self._n_others[numbers]
        strata += self._first[numbers]
        below = np.clip((view.below - NO_DESCENDANT) / BELOW_WIDTH, 0, BELOW_STEPS - 1).astype(np.int32)
        below *= kinds != CHILD
        return strata + np.where(kinds == FREE, below, 2 * below + view.sibling)


def draw(viewer: Viewer, usable: np.ndarray, per_stratum: int) -> Drawn:
    """Draw all pairs of strata up to a size, and about so many of larger ones.

    A number made from the ids of clip and class decides, so the order of clips and classes does not matter.

    Args:
        usable: (K,) bool, the classes to draw pairs of.
        per_stratum: EVERY_PAIR to draw all.
    """
    corpus, strata = viewer.corpus, Strata(viewer.corpus.kinship)

    def count(start: int, stop: int) -> np.ndarray:
        view = viewer.view(start, stop)
        kinds = kinds_of(view, usable)
        return strata.of(view, kinds)[kinds >= 0]

    sizes = counted(corpus.each_block(count, "strata") if per_stratum < EVERY_PAIR else (), strata.n)
    share = np.minimum(per_stratum / np.maximum(sizes, 1), 1)
    highest = (share * np.iinfo(np.uint32).max).astype(np.uint32)
    of_clip, of_class = _numbers(corpus.labels.clip_ids), _numbers(corpus.labels.vocabulary.class_ids)

    def drawn(start: int, stop: int) -> tuple[np.ndarray, ...]:
        view = viewer.view(start, stop)
        kinds = kinds_of(view, usable)
        of_pair = strata.of(view, kinds)
        chosen = np.nonzero((of_clip[start:stop, None] + of_class <= highest[of_pair]) & (kinds >= 0))
        columns = [kinds, view.parent, of_pair, *view.z, *view.child_features, *view.free_features]
        return chosen[1], *(column[chosen] for column in columns)

    return _gathered(list(corpus.each_block(drawn, "sample")), len(corpus.teachers), sizes)


def _gathered(blocks: list[tuple[np.ndarray, ...]], n_teachers: int, sizes: np.ndarray) -> Drawn:
    classes, kinds, parent, strata, *values = (np.concatenate(column) for column in zip(*blocks, strict=True))
    n_features = (len(values) - n_teachers) // 2
    ends = n_teachers, n_teachers + n_features
    z, child, free = np.split(np.stack(values, axis=1).astype(np.float64), ends, axis=1)
    n_drawn = np.bincount(strata, minlength=len(sizes))
    weights = np.where(sizes > 0, sizes, n_drawn)[strata] / n_drawn[strata]
    return Drawn(classes, kinds, parent, child, free, z, weights)


def _numbers(ids: Iterable[str]) -> np.ndarray:
    """Return a number in [0, 2^32) for each id, uint32."""
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=4).digest() for one in ids)
    return np.frombuffer(digests, np.uint32)
