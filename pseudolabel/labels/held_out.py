"""Draw a small held-out list in which every class has a few clips."""

from __future__ import annotations

import hashlib

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.labels.sampling import class_counts
from pseudolabel.labels.table import LabelTable


def held_out_rows(labels: LabelTable, min_clips: int = 5, seed: int = 0) -> np.ndarray:
    """Return the rows of a validation set with at least `min_clips` clips of each class that occurs.

    Moore et al. 2023, 2.2.2, by the procedure of their 1.1: the rarest class gives clips until it has enough, then the
    next rarest, which counts those already drawn, and so on. Which clips a class gives is decided by the seed and the
    clip ids alone: the order of the list does not matter. Recordings are not kept together. Clips without a label are
    never drawn.

    Returns:
        (n,) int64, ascending.

    Raises:
        InputError: a class has clips, but fewer than `min_clips`.
    """
    matrix, by_class = labels.matrix, labels.matrix.tocsc()
    counts = class_counts(matrix)
    scarce = np.flatnonzero((counts > 0) & (counts < min_clips))
    if len(scarce):
        name = labels.vocabulary.names[scarce[0]]
        raise InputError(
            f"classes with fewer than {min_clips} clips: {len(scarce)}, the first is {name!r} with {counts[scarce[0]]}",
            "--validation-clips", f"Give {counts[scarce].min()}, or take those classes out of the list.",
        )  # fmt: skip
    drawn, have = np.zeros(len(labels), dtype=bool), np.zeros(len(counts), dtype=np.int64)
    for k in np.lexsort((np.arange(len(counts)), counts)):
        lacking = min(min_clips, counts[k]) - have[k]
        if lacking <= 0:
            continue
        clips = by_class.indices[by_class.indptr[k] : by_class.indptr[k + 1]]
        choice = sorted(clips[~drawn[clips]], key=lambda clip: _place(labels.clip_ids[clip], seed))
        for clip in choice[:lacking]:
            drawn[clip] = True
            have[matrix.indices[matrix.indptr[clip] : matrix.indptr[clip + 1]]] += 1
    return np.flatnonzero(drawn)


def _place(clip_id: str, seed: int) -> tuple[bytes, str]:
    """Return where a clip stands in the order of draw that belongs to the seed."""
    return hashlib.blake2b(f"{seed} {clip_id}".encode(), digest_size=8).digest(), clip_id
