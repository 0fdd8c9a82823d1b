"""Which clip a training epoch draws how often: PSLA's sum rule."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def balanced_weights(matrix: sparse.csr_array) -> np.ndarray:
    """Return a sampling weight per clip: the sum over its labels of 1 / (clips with that label).

    PSLA, Algorithm 1 (the sum rule). A clip without labels gets weight 0. Compute it after relabelling: added labels
    change the counts.

    Args:
        matrix: (N, K) bool, the labels of each clip.

    Returns:
        (N,) float64, not normalised; the sum is the number of classes that occur.
    """
    counts = np.asarray(matrix.sum(axis=0, dtype=np.int64)).ravel()
    rarity = np.divide(1.0, counts, out=np.zeros(len(counts)), where=counts > 0)
    return np.asarray(matrix.astype(np.float64) @ rarity).ravel()
