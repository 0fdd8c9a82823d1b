"""Split a label list: folds for cross-validation, a held-out list, a class-balanced list.

Splits depend on the seed and on the clip or group ids, not on the order of the list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError, shown
from pseudolabel.labels.balancing import class_counts
from pseudolabel.labels.table import LabelTable
from pseudolabel.options import COUNT, check_types, parse_number

MOST_FOLDS = 1000


def draw_order(name: str, seed: int) -> tuple[bytes, str]:
    """Return a key that sorts clips or groups in random order: a checksum of seed and name, then the name."""
    return hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest(), name


# ---- folds ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fold:
    """Fold `number` of `of`, counted from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        check_types(self)
        if not (self.of >= 2 and 1 <= self.number <= self.of):
            raise InputError(f"must be a fold from 1/n to n/n of at least two, not '{self}'")

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """The fold's part of a run folder's name: `fold1of5`."""
        return f"fold{self.number}of{self.of}"


def parse_fold(text: str) -> Fold:
    """Parse a fold such as `1/5`.

    Raises:
        ValueError: the text has another form; the command line shows the message.
    """
    number, _, of = text.partition("/")
    if not all(part.isascii() and part.isdigit() for part in (number, of)):
        raise ValueError(f"must be like 1/5, the first of five folds, not {shown(text)}")
    return Fold(int(parse_number(number, int, None)), int(parse_number(of, int, COUNT.up_to(MOST_FOLDS))))


def fold_numbers(
    groups: Sequence[str], n_folds: int, seed: int = 0, labels: sparse.csr_array | None = None
) -> np.ndarray:
    """Return the fold of each clip, (N,) int64, counted from 1.

    Groups are assigned one by one, largest first, each to the fold with the fewest clips. Fold sizes never differ by
    more than the size of the largest group (one clip if clips are not grouped). Groups of equal size follow
    `draw_order`.

    Args:
        groups: (N,) group of each clip; clips of a group stay together.
        labels: (N, K) hard labels, to spread rare classes too: the groups of the rarest class are assigned first,
            then those of the next rarest, each to the fold with the fewest clips of that class among folds with room.
            The bound on fold sizes still holds.

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

    filled, have = [0] * n_folds, [[0] * (counts.shape[1] + 1) for _ in range(n_folds)]  # last: groups without labels
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
    """Return how many clips of each group carry each class, (G, K); K = 0 if `labels` is None."""
    n = len(group_of)
    if labels is None:
        return sparse.csr_array((int(group_of.max()) + 1, 0), dtype=np.int64)
    membership = sparse.csr_array((np.ones(n, np.int64), (group_of, np.arange(n))))
    return sparse.csr_array(membership @ labels.astype(np.int64))


def _rarest_class(counts: sparse.csr_array) -> tuple[list[int], list[int]]:
    """Return each group's rarest class and the rank of that class, rarest first; -1 and K if it has no label."""
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
    """Return the rows of a validation set with at least `min_clips` clips of each occurring class.

    Moore et al. 2023, section 2.2.2, by the procedure of section 1.1: draw clips of the rarest class until it has
    enough, then of the next rarest, counting clips already drawn, and so on; within a class, in the order of
    `draw_order`. Clips of one recording are not kept together. Clips without labels are never drawn.

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
    """Return `n` clip ids, in table order, with label counts as even as the clips allow.

    As AudioSet's balanced list was drawn: repeatedly draw a random clip of the class with the fewest labels so far.
    Clips with few labels are not preferred, since that would collect carelessly annotated ones. Clips without labels
    are never drawn.
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
