"""Splits of a label list: folds for cross-validation, a held-out list, a list with even classes.

The seed and the clips' ids decide, or the groups': the order of the list does not matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import class_counts
from pseudolabel.labels.table import LabelTable


def draw_order(name: str, seed: int) -> tuple[bytes, str]:
    """Return the key by which clips or groups are ordered at random: a checksum of seed and name, then the name."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), name


# ---- folds ------------------------------------------------------------------------------------------------------


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
    """Return the fold that `1/5` names.

    Raises:
        ValueError: it has another form; a command line shows its text.
    """
    number, _, of = text.partition("/")
    if not all(part.isascii() and part.isdigit() for part in (number, of)):
        raise ValueError(f"must be like 1/5, the first of five folds, not {text!r}")
    fold = Fold(int(number), int(of))
    if not (fold.of >= 2 and 1 <= fold.number <= fold.of):
        raise ValueError(f"must be a fold from 1/n to n/n of at least two, not {text!r}")
    return fold


def fold_numbers(
    groups: Sequence[str], n_folds: int, seed: int = 0, labels: sparse.csr_array | None = None
) -> np.ndarray:
    """Return the fold of each clip, (N,) int64, counted from 1.

    Groups are dealt out one after the other, large ones first, each to the fold with the fewest clips. The sizes of
    two folds never differ by more than the largest group has clips (by one clip where nothing is grouped). Among groups
    of one size, the order is `draw_order`.

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
    places = [draw_order(group, seed) for group in code_of]
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


# ---- lists ------------------------------------------------------------------------------------------------------


def held_out_rows(labels: LabelTable, min_clips: int = 5, seed: int = 0) -> np.ndarray:
    """Return the rows of a validation set with at least `min_clips` clips of each class that occurs.

    Moore et al. 2023, 2.2.2, by the procedure of their 1.1: the rarest class gives clips until it has enough, then the
    next rarest, which counts those already drawn, and so on. A class gives clips in the order of `draw_order`.
    Recordings are not kept together. Clips without a label are never drawn.

    Returns:
        (n,) int64, ascending.

    Raises:
        InputError: a class has clips, but fewer than `min_clips`.
    """
    matrix, by_class = labels.matrix, labels.matrix.tocsc()
    counts = class_counts(matrix)
    scarce = np.flatnonzero((counts > 0) & (counts < min_clips))
    if len(scarce):
        first = f"{labels.vocabulary.names[scarce[0]]!r} with {counts[scarce[0]]}"
        message = f"classes with fewer than {min_clips} clips: {len(scarce)}, the first is {first}"
        remedy = f"Give {counts[scarce].min()}, or take those classes out of the list."
        raise InputError(message, "--validation-clips", remedy)
    drawn, have = np.zeros(len(labels), dtype=bool), np.zeros(len(counts), dtype=np.int64)
    for k in np.lexsort((np.arange(len(counts)), counts)):
        lacking = min(min_clips, counts[k]) - have[k]
        if lacking <= 0:
            continue
        clips = by_class.indices[by_class.indptr[k] : by_class.indptr[k + 1]]
        choice = sorted(clips[~drawn[clips]], key=lambda clip: draw_order(labels.clip_ids[clip], seed))[:lacking]
        drawn[choice] = True
        have += class_counts(matrix[choice])
    return np.flatnonzero(drawn)


def draw_balanced(labels: LabelTable, n: int, rng: np.random.Generator) -> list[str]:
    """Return `n` clip ids, in the table's order, whose label counts are as even as the clips allow.

    AudioSet's balanced list was drawn like this: again and again the class with the fewest labels so far gives one of
    its clips, at random. Clips are not preferred for having few labels: that would collect those that the annotator
    neglected. Clips without a label are never drawn.
    """
    matrix, by_class = labels.matrix.tocsr(), labels.matrix.tocsc()
    n_classes = matrix.shape[1]
    queues = [
        rng.permutation(by_class.indices[by_class.indptr[k] : by_class.indptr[k + 1]]).tolist()
        for k in range(n_classes)
    ]
    counts, taken, open_classes = np.zeros(n_classes, dtype=np.int64), set(), set(range(n_classes))
    while len(taken) < n and open_classes:
        scarcest = min(open_classes, key=lambda k: (counts[k], k))
        queue = queues[scarcest]
        while queue and queue[-1] in taken:
            queue.pop()
        if not queue:
            open_classes.remove(scarcest)
            continue
        clip = queue.pop()
        taken.add(clip)
        counts[matrix.indices[matrix.indptr[clip] : matrix.indptr[clip + 1]]] += 1
    return [labels.clip_ids[clip] for clip in sorted(taken)]
