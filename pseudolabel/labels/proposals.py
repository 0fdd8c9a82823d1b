"""Proposals: the labels that an ontology lets us add to a clip, and the labels that speak for each.

A relation is a (K, K) bool matrix [label that a clip has, class that it proposes]. Type I looks for missing children,
Type II for missing parents or ancestors (PSLA, section IV-B; Algorithm 2, procedure 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse

TYPE_BITS = {"I": 1, "II": 2}
ERROR_NAMES = ("", "I", "II", "I+II")  # by the sum of the bits
_CARRIED = 4  # marks what the clip carries already


class Proposals(NamedTuple):
    """M proposals, by clip and then by class: `clips`, `classes` (M,) int64 and `types` (M,) int8 sums of TYPE_BITS."""

    clips: np.ndarray
    classes: np.ndarray
    types: np.ndarray

    def where(self, kept: np.ndarray) -> Proposals:
        """Return the proposals that the mask `kept` (M,) marks."""
        return Proposals(self.clips[kept], self.classes[kept], self.types[kept])


def propose(labels: sparse.csr_array, relations: Mapping[str, sparse.csr_array]) -> Proposals:
    """Return every class that a label of a clip proposes and that the clip does not carry yet.

    Args:
        labels: (N, K) bool, what the clips carry.
        relations: (K, K) bool relation of each error type, `I` and `II`.
    """
    marks = _CARRIED * labels.astype(np.int8)
    for error, relation in relations.items():
        marks = marks + TYPE_BITS[error] * (labels @ relation).astype(np.int8)
    marks = sparse.csr_array(marks)
    marks.sort_indices()
    clips = np.repeat(np.arange(labels.shape[0], dtype=np.int64), np.diff(marks.indptr))
    proposals = Proposals(clips, marks.indices.astype(np.int64), marks.data)
    return proposals.where((marks.data > 0) & (marks.data < _CARRIED))


def supporting_labels(
    labels: sparse.csr_array, proposals: Proposals, relations: Mapping[str, sparse.csr_array]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels that made each proposal one, as `offsets` (M + 1,) into `classes`, in vocabulary order."""
    counts = np.diff(labels.indptr)[proposals.clips]
    proposal = np.repeat(np.arange(len(counts)), counts)
    first = np.repeat(labels.indptr[proposals.clips] - (np.cumsum(counts) - counts), counts)
    label = labels.indices[first + np.arange(len(proposal))]
    speaks = np.zeros(len(proposal), dtype=bool)
    for relation in relations.values():
        speaks |= relation.toarray()[label, proposals.classes[proposal]]
    n_labels = np.bincount(proposal[speaks], minlength=len(counts))
    return np.concatenate([[0], np.cumsum(n_labels)]), label[speaks]
