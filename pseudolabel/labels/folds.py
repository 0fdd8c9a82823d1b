"""Divide clips into folds for cross-validation: no group in two folds, whatever the order of the list."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError


@dataclass(frozen=True)
class Fold:
    """Fold `number` of `of`, counted from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """What a run folder is called after it: `fold1of5`."""
        return f"fold{self.number}of{self.of}"


def parse_fold(text: str) -> Fold:
    """Return the fold that `1/5` stands for.

    Raises:
        argparse.ArgumentTypeError: it stands for none; a command line shows its text.
    """
    number, _, of = text.partition("/")
    if not all(part.isascii() and part.isdigit() for part in (number, of)):
        raise argparse.ArgumentTypeError(f"must be like 1/5, the first of five folds, not {text!r}")
    fold = Fold(int(number), int(of))
    if not (fold.of >= 2 and 1 <= fold.number <= fold.of):
        raise argparse.ArgumentTypeError(f"must be a fold from 1/n to n/n of at least two, not {text!r}")
    return fold


def fold_numbers(
    groups: Sequence[str], n_folds: int, seed: int = 0, labels: sparse.csr_array | None = None
) -> np.ndarray:
    """Return the fold of each clip, (N,) int64, counted from 1.

    Groups are dealt out one after the other, large ones first, each to the fold with the fewest clips. The sizes of
    two folds never differ by more than the largest group has clips (by one clip where nothing is grouped). Groups and
    seed alone decide: among groups of one size, the order is that of a checksum of seed and name.

    Args:
        groups: (N,) group of each clip; its clips stay together.
        labels: (N, K) hard labels, to spread rare classes too: the groups of the rarest class are dealt out first,
            then those of the next rarest, each to the fold with the fewest clips of that class among the folds that
            have room. The bound on sizes stays.

    Raises:
        InputError: there are fewer groups than folds.
    """
    code_of: dict[str, int] = {}
    group_of = np.array([code_of.setdefault(group, len(code_of)) for group in groups], np.int64)
    if len(code_of) < n_folds:
        raise InputError(f"{len(code_of)} groups of clips cannot make {n_folds} folds", "--fold", "Give fewer folds.")
    sizes = np.bincount(group_of).tolist()
    counts = _labels_of_groups(group_of, labels)
    rarest, rank = _rarest_class(counts)
    places = [_place(group, seed) for group in code_of]
    order = sorted(range(len(sizes)), key=lambda g: (rank[g], -sizes[g], places[g]))

    filled, have = [0] * n_folds, [[0] * (counts.shape[1] + 1) for _ in range(n_folds)]  # the last: no class
    indptr, columns, amounts = counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()
    fold_of, largest = np.zeros(len(sizes), np.int64), max(sizes)
    for g in order:
        room, k = min(filled) + largest - sizes[g], rarest[g]
        _, _, fold = min((have[f][k], filled[f], f) for f in range(n_folds) if filled[f] <= room)
        fold_of[g] = fold + 1
        filled[fold] += sizes[g]
        for entry in range(indptr[g], indptr[g + 1]):
            have[fold][columns[entry]] += amounts[entry]
    return fold_of[group_of]


def _labels_of_groups(group_of: np.ndarray, labels: sparse.csr_array | None) -> sparse.csr_array:
    """Return how many clips of each group carry each class, (G, K); no classes where no labels count."""
    n = len(group_of)
    if labels is None:
        return sparse.csr_array((int(group_of.max()) + 1, 0), dtype=np.int64)
    membership = sparse.csr_array((np.ones(n, np.int64), (group_of, np.arange(n))))
    return sparse.csr_array(membership @ labels.astype(np.int64))


def _rarest_class(counts: sparse.csr_array) -> tuple[list[int], list[int]]:
    """Return each group's rarest class and the rank of that class, rarest first; -1 and K where it has no label."""
    n_groups, n_classes = counts.shape
    by_rank = np.lexsort((np.arange(n_classes), counts.sum(axis=0)))
    ranks = np.empty(n_classes + 1, np.int64)
    ranks[by_rank], ranks[n_classes] = np.arange(n_classes), n_classes
    rank = np.full(n_groups, n_classes)
    labelled = np.flatnonzero(np.diff(counts.indptr))
    if len(labelled):
        rank[labelled] = np.minimum.reduceat(ranks[counts.indices], counts.indptr[labelled])
    return np.append(by_rank, -1)[rank].tolist(), rank.tolist()


def _place(group: str, seed: int) -> tuple[bytes, str]:
    """Return where a group stands among those of its size."""
    return hashlib.blake2b(f"{seed} {group}".encode(), digest_size=8).digest(), group
