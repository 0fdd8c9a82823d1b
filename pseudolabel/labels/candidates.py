"""Find candidates, the labels that an ontology lets us add to a clip, and the labels that propose each of them.

A relation is a (K, K) bool matrix [label of a clip, class that it proposes]. Type I looks for missing children, Type II
for missing parents or ancestors (PSLA, section IV-B; Algorithm 2, procedure 2).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse

from pseudolabel.labels.additions import TYPE_BITS, label_keys

ROWS = 1 << 15  # additions per lookup of supporting labels


class Relations:
    """The classes that each label proposes, by error type (`I`, `II`).

    Args:
        matrices: error type -> (K, K) bool [label of a clip, class that it proposes].
    """

    def __init__(self, matrices: Mapping[str, sparse.csr_array]):
        self._matrices = {error: relation.astype(np.int32) for error, relation in matrices.items()}
        either = sum(self._matrices.values())
        self._labels_for = sparse.csr_array(either.T, dtype=bool)  # [class, label that proposes it]
        self._labels_for.sort_indices()

    def candidates(self, labels: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the candidates of clips with these labels, (n, K) bool, ordered by clip, then by class.

        Returns:
            `clips` and `classes` (M,) int64, and `types` (M,) int8 sums of TYPE_BITS.
        """
        counts = labels.astype(np.int32)
        proposed = sum(
            TYPE_BITS[error] * sparse.csr_array(counts @ relation, dtype=bool).astype(np.int8)
            for error, relation in self._matrices.items()
        )
        proposed.sort_indices()
        keys = label_keys(proposed)
        free = ~np.isin(keys, label_keys(labels), assume_unique=True)
        clips, classes = np.divmod(keys[free], labels.shape[1])
        return clips, classes, proposed.data[free]

    def proposing(self, k: int) -> list[int]:
        """Return the columns of the labels that propose a class."""
        return self._labels_for.indices[self._labels_for.indptr[k] : self._labels_for.indptr[k + 1]].tolist()

    def supporting_labels(
        self, labels: sparse.csr_array, clips: np.ndarray, classes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels that propose each class (M,) for its clip, as `offsets` (M + 1,) into `columns`.

        `labels` (n, K) bool are the clips' labels; supporting labels are in vocabulary order.
        """
        spans = range(0, max(len(clips), 1), ROWS)
        pieces = [labels[clips[a : a + ROWS]].multiply(self._labels_for[classes[a : a + ROWS]]) for a in spans]
        counts = np.concatenate([np.diff(piece.indptr) for piece in pieces])
        return np.concatenate([[0], np.cumsum(counts)]), np.concatenate([piece.indices for piece in pieces])
