"""The plain way to enhance labels: loops over clips, labels and related classes, as PSLA's Algorithm 2 is written."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import sparse


def thresholds_in_a_loop(labels: sparse.csr_array, scores: np.ndarray, percent: float) -> list[float | None]:
    """Return each class's threshold, a percentile of the scores of the clips that carry it; None if no clip does."""
    found = [[] for _ in range(labels.shape[1])]
    for clip in range(labels.shape[0]):
        for label in labels.indices[labels.indptr[clip] : labels.indptr[clip + 1]]:
            found[label].append(float(scores[clip, label]))
    return [float(np.percentile(values, percent)) if values else None for values in found]


def additions_in_a_loop(
    labels: sparse.csr_array,
    scores: np.ndarray,
    relations: Mapping[str, sparse.csr_array],
    thresholds: list[float | None],
) -> set[tuple[int, int]]:
    """Return the (clip, class) pairs to add."""
    related = [relation.tolil().rows for relation in relations.values()]
    added = set()
    for clip in range(labels.shape[0]):
        carried = labels.indices[labels.indptr[clip] : labels.indptr[clip + 1]].tolist()
        for label in carried:
            for rows in related:
                for other in rows[label]:
                    if other in carried or thresholds[other] is None:
                        continue
                    if float(scores[clip, other]) > thresholds[other]:  # comparing as float16 would round the threshold
                        added.add((clip, other))
    return added
