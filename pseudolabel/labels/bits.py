"""Bits: sets of classes as rows of machine words, so that the sets of many clips are united and compared at once.

Class k is bit k % 64 of word k // 64. A set of 527 classes takes 72 bytes.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

WORD = 64


def packed(members: np.ndarray) -> np.ndarray:
    """Return the sets (n, words) uint64 whose members are marked in (n, K) bool."""
    n_sets, n_classes = members.shape
    n_words = -(-n_classes // WORD)
    padded = np.zeros((n_sets, n_words * WORD), bool)
    padded[:, :n_classes] = members
    return np.packbits(padded.reshape(-1), bitorder="little").view("<u8").reshape(n_sets, n_words)


def packed_rows(relation: sparse.csr_array) -> np.ndarray:
    """Return the sets (n, words) uint64 that the rows of (n, K) bool hold; it is never made dense."""
    sets = np.zeros((relation.shape[0], -(-relation.shape[1] // WORD)), np.uint64)
    rows, classes = relation.nonzero()
    np.bitwise_or.at(sets, (rows, classes // WORD), np.uint64(1) << (classes % WORD).astype(np.uint64))
    return sets


def united(labels: sparse.csr_array, sets: np.ndarray) -> np.ndarray:
    """Return for each of n clips the union, (n, ...) uint64, of the sets of its labels.

    Args:
        labels: (n, K) bool, what the clips carry.
        sets: (K, ...) uint64, a set or several for each class.
    """
    starts, counts = labels.indptr[:-1], np.diff(labels.indptr)
    union = np.zeros((len(counts), *sets.shape[1:]), sets.dtype)
    clips = np.arange(len(counts))
    for nth in range(counts.max(initial=0)):
        clips = clips[counts[clips] > nth]
        union[clips] |= sets[labels.indices[starts[clips] + nth]]
    return union


def members(sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (rows, classes), int64, of all members of the sets (n, words), by row and then by class."""
    n_words = sets.shape[1]
    filled = np.flatnonzero(sets)
    words = sets.reshape(-1)[filled].astype("<u8")
    places = np.flatnonzero(np.unpackbits(words.view(np.uint8), bitorder="little"))
    filled = filled[places // WORD]
    return filled // n_words, filled % n_words * WORD + places % WORD


def contains(sets: np.ndarray, rows: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return for each pair whether the set in this row of (n, words) has the class, bool."""
    return (sets[rows, classes // WORD] >> (classes % WORD).astype(np.uint64) & np.uint64(1)).astype(bool)
