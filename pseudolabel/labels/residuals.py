"""Compute evidence for a label that the clip's other labels do not explain: what is left of the teacher's log-odds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from scipy import sparse

SMALLEST = 1e-4  # scores are kept this far from 0 and 1
EXTRA_SPREAD = 0.3  # added to each class's standard deviation: a class that never varies is no evidence
PSEUDO_CLIPS = 10  # shrink the mean evidence on clips with another label to 0


@dataclass(frozen=True, eq=False)
class Kinship:
    """The relations of K classes, all (K, K) bool.

    Args:
        ancestors: [class, ancestor].
        children: [parent, child], the nearest descendants.
        siblings: [class, another class with a nearest parent in common].
    """

    ancestors: np.ndarray
    children: np.ndarray
    siblings: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        together = self.children.T.astype(np.int32) @ self.children > 0
        object.__setattr__(self, "siblings", together & ~np.eye(len(together), dtype=bool))

    @classmethod
    def of(cls, ancestors: sparse.csr_array, children: sparse.csr_array) -> Self:
        """Return the kinship from the ontology's matrices."""
        return cls(ancestors.toarray().astype(bool), children.toarray().astype(bool))

    @property
    def relatives(self) -> np.ndarray:
        """[class, itself, an ancestor or a descendant], (K, K) bool."""
        return self.ancestors | self.ancestors.T | np.eye(len(self.ancestors), dtype=bool)

    def closure(self, labels: sparse.csr_array) -> sparse.csr_array:
        """Return labels (n, K) bool together with all their ancestors."""
        return joined(labels, sparse.csr_array(np.eye(len(self.ancestors), dtype=bool) | self.ancestors))


def joined(labels: sparse.csr_array, relation: sparse.csr_array | np.ndarray) -> sparse.csr_array:
    """Return (n, K) bool: the classes that any label of a clip (n, K) is related to by `relation` (K, K) bool."""
    counts = labels.astype(np.int32) @ sparse.csr_array(relation, dtype=np.int32)
    counts.sort_indices()
    return sparse.csr_array((counts.data > 0, counts.indices, counts.indptr), shape=counts.shape)


def log_odds(scores: np.ndarray) -> np.ndarray:
    """Return logit(score) as float32, scores clipped to [1e-4, 1 - 1e-4]."""
    clipped = np.clip(scores, SMALLEST, 1 - SMALLEST, dtype=np.float32)
    return np.log(clipped / (1 - clipped))


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one teacher's answers are like, and what other labels explain of them, for K classes.

    Args:
        n: (K,) clips with a score.
        mean, spread: (K,) mean of logit(score) over all clips, and standard deviation + .3; NaN for absent classes.
        explained: (K, K) float32, [label j, class k]: max(0, sum of z_k over the n clips with j without k / (n + 10)),
            0 if j is k, its ancestor or its descendant; z = (logit(score) - mean) / spread.
    """

    n: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    explained: np.ndarray

    def standardised(self, scores: np.ndarray) -> np.ndarray:
        """Return z = (logit(score) - mean) / spread of scores (n, K) as float32, NaN where there is no score."""
        z = log_odds(scores)
        z -= self.mean.astype(np.float32)
        z /= self.spread.astype(np.float32)
        return z

    def residuals(self, z: np.ndarray, closed: sparse.csr_array) -> np.ndarray:
        """Return r = z_k - max over the clip's labels j of explained[j, k], (n, K) float32.

        A label keeps its z; r is 0 where there is no score.

        Args:
            z: (n, K) float32 from `standardised`.
            closed: (n, K) bool, labels and their ancestors.
        """
        r = z - self._explained_of(closed)
        labels = closed.nonzero()
        r[labels] = z[labels]
        return np.nan_to_num(r, copy=False)

    def _explained_of(self, closed: sparse.csr_array) -> np.ndarray:
        """Return the maximum of `explained` over the labels of each clip, (n, K) float32; 0 without labels."""
        n_labels = np.diff(closed.indptr)
        order = np.argsort(-n_labels, kind="stable")  # clips with a further label are always the first ones
        most = np.zeros((len(order), len(self.mean)), np.float32)
        for number in range(n_labels.max(initial=0)):
            having = order[: np.count_nonzero(n_labels > number)]
            further = self.explained[closed.indices[closed.indptr[having] + number]]
            np.maximum(most[: len(having)], further, out=most[: len(having)])
        return most[np.argsort(order)]


class ExplanationSums:
    """The sums over clips from which an Explanation is computed; blocks of clips are added with `+=`."""

    def __init__(self, n_classes: int):
        self._n, self._total, self._squares = np.zeros((3, n_classes))
        self._n_without, self._total_without = np.zeros((2, n_classes, n_classes))

    @classmethod
    def of(cls, scores: np.ndarray, closed: sparse.csr_array) -> Self:
        """Return the sums of clips with scores (n, K), NaN where there is none, and labels `closed` (n, K) bool."""
        sums = cls(scores.shape[1])
        z = log_odds(scores).astype(np.float64)
        there = ~np.isnan(z)
        z[~there] = 0
        sums._n, sums._total, sums._squares = there.sum(axis=0), z.sum(axis=0), np.einsum("ik,ik->k", z, z)
        labels = closed.nonzero()
        z[labels], there[labels] = 0, False
        carrying = closed.astype(np.float64).T.tocsr()
        sums._total_without, sums._n_without = carrying @ z, carrying @ there.astype(np.float64)
        return sums

    def __iadd__(self, other: ExplanationSums) -> Self:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def explanation(self, kinship: Kinship) -> Explanation:
        """Return the explanation from all clips added so far."""
        n = np.where(self._n > 0, self._n, np.nan)
        mean = self._total / n
        spread = np.sqrt(np.maximum(self._squares / n - mean**2, 0)) + EXTRA_SPREAD
        explained = (self._total_without - mean * self._n_without) / spread / (self._n_without + PSEUDO_CLIPS)
        explained = np.where(kinship.relatives, 0, np.maximum(np.nan_to_num(explained), 0))
        return Explanation(self._n, mean, spread, explained.astype(np.float32))
