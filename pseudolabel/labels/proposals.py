"""Proposals: the labels that an ontology lets us add to a clip, and the labels that speak for each.

A relation is a (K, K) bool matrix [label that a clip has, class that it proposes]. Type I looks for missing children,
Type II for missing parents or ancestors (PSLA, section IV-B; Algorithm 2, procedure 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from pseudolabel.labels.bits import contains, members, packed_rows, united

TYPE_BITS = {"I": 1, "II": 2}
ERROR_NAMES = ("", "I", "II", "I+II")  # by the sum of the bits


def type_bits(errors: Iterable[str]) -> int:
    """Return the sum of the bits of some error types."""
    return sum(TYPE_BITS[error] for error in errors)


class Proposals(NamedTuple):
    """M proposals, by clip and then by class: `clips`, `classes` (M,) int64 and `types` (M,) int8 sums of TYPE_BITS."""

    clips: np.ndarray
    classes: np.ndarray
    types: np.ndarray

    def where(self, kept: np.ndarray | slice) -> Proposals:
        """Return the proposals that the mask `kept` (M,) marks, or a span of them."""
        return Proposals(self.clips[kept], self.classes[kept], self.types[kept])


@dataclass(frozen=True, eq=False)
class ProposedSets:
    """What the labels of n clips propose and the clips do not carry: error type -> sets of classes (n, words)."""

    by_error: Mapping[str, np.ndarray]
    any: np.ndarray

    def listed(self, sets: np.ndarray) -> Proposals:
        """Return the proposals that are in `sets` (n, words)."""
        clips, classes = members(sets & self.any)
        types = np.zeros(len(clips), np.int8)
        for error, proposed in self.by_error.items():
            types += TYPE_BITS[error] * contains(proposed, clips, classes).astype(np.int8)
        return Proposals(clips, classes, types)


class Relations:
    """What each label proposes, by error type (`I`, `II`): as matrices, and as sets of classes.

    Args:
        matrices: error type -> (K, K) bool [label that a clip has, class that it proposes].
    """

    def __init__(self, matrices: Mapping[str, sparse.csr_array]):
        self.errors = tuple(matrices)
        proposed = [packed_rows(relation) for relation in matrices.values()]
        itself = packed_rows(sparse.eye_array(len(proposed[0]), dtype=bool, format="csr"))
        self._sets = np.stack([*proposed, itself], axis=1)
        self._either = np.bitwise_or.reduce(proposed)

    def proposed(self, labels: sparse.csr_array) -> ProposedSets:
        """Return what `labels` (n, K) bool propose."""
        *proposed, carried = np.moveaxis(united(labels, self._sets), 1, 0)
        by_error = {error: sets & ~carried for error, sets in zip(self.errors, proposed, strict=True)}
        return ProposedSets(by_error, np.bitwise_or.reduce(list(by_error.values())))

    def supporting_labels(self, labels: sparse.csr_array, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels that made each proposal one, as `offsets` (M + 1,) into `classes`, in vocabulary order."""
        counts = np.diff(labels.indptr)[proposals.clips]
        proposal = np.repeat(np.arange(len(counts)), counts)
        first = np.repeat(labels.indptr[proposals.clips] - (np.cumsum(counts) - counts), counts)
        label = labels.indices[first + np.arange(len(proposal))]
        speaks = contains(self._either, label, proposals.classes[proposal])
        n_labels = np.bincount(proposal[speaks], minlength=len(counts))
        return np.concatenate([[0], np.cumsum(n_labels)]), label[speaks]
