"""Leave true labels out at random, one kind of them at a time: children, parents or events."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable

KINDS = ("children", "parents", "events")
FRACTION = 0.3  # of the labels that may be dropped


def without(truth: LabelTable, kinship: Kinship, kind: str, seed: int, fraction: float = FRACTION) -> LabelTable:
    """Return the true labels without a fraction of one kind.

    children: labels with an ancestor in the vocabulary, each with its descendants: ancestors stay. parents: labels with
    a descendant on the clip, which stays: every label that is missing is an ancestor of one that is given. events: the
    most specific labels of the clip, with all ancestors that no other event has.

    Args:
        truth: (N, K) labels with all their ancestors.
        fraction: the probability that a label of this kind is dropped.
    """
    true, ancestors = truth.matrix.toarray(), kinship.ancestors.astype(np.int32)
    drawn = np.random.default_rng(seed).random(true.shape) < fraction
    if kind == "children":
        gone = true & drawn & ancestors.any(axis=1)
        kept = true & ~gone & ~(gone.astype(np.int32) @ ancestors.T > 0)
    elif kind == "parents":
        kept = true & ~(drawn & ~most_specific(true, kinship))
    else:
        kept = kinship.closure(sparse.csr_array(most_specific(true, kinship) & ~drawn)).toarray()
    return LabelTable(truth.clip_ids, sparse.csr_array(kept), truth.vocabulary)


def most_specific(true: np.ndarray, kinship: Kinship) -> np.ndarray:
    """Return the labels (N, K) bool of which the clip has no descendant."""
    return true & ~(true.astype(np.int32) @ kinship.ancestors.astype(np.int32) > 0)
