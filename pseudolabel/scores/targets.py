"""Soft targets of enhanced labels: 1 for labels, the teacher's score for unsure candidates, 0 for the rest.

    targets.h5   a score store (store.py), `clip` (N, K) float16
    mask.csv     a label list of the unsure candidates, which a loss can leave out

The mask follows E. Fonseca, S. Hershey, M. Plakal, D. Ellis, A. Jansen, R. C. Moore, X. Serra, "Addressing missing
labels in large-scale sound event recognition using a teacher-student framework with loss masking", 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.artefacts import whole_file
from pseudolabel.labels.table import HEADER, LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.labels.writers import label_lines
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores

BLOCK_CLIPS = 8192


def write_soft_targets(folder: Path, labels: LabelTable, unsure: sparse.csr_array) -> None:
    """Write targets.h5 and mask.csv.

    Args:
        labels: (N, K) enhanced labels.
        unsure: (N, K) float32, an explicit entry for each candidate that was not added: its score, NaN for none, which
            makes the target 0.
    """
    spans = (slice(start, start + BLOCK_CLIPS) for start in range(0, len(labels), BLOCK_CLIPS))
    blocks = ((labels.matrix[rows], unsure[rows]) for rows in spans)
    write_soft_blocks(folder, labels.clip_ids, labels.vocabulary, blocks)


def write_soft_blocks(
    folder: Path,
    clip_ids: Sequence[str],
    vocabulary: Vocabulary,
    blocks: Iterable[tuple[sparse.csr_array, sparse.csr_array]],
) -> None:
    """Write the same from labels and unsure candidates of consecutive clips, never all in memory."""
    with whole_file(folder / "mask.csv") as temporary, open(temporary, "wb") as mask:
        mask.write(f"{','.join(HEADER)}\n".encode())

        def targets() -> Iterator[dict[str, np.ndarray]]:
            first = 0
            for labels, unsure in blocks:
                ids = clip_ids[first : first + labels.shape[0]]
                masked = sparse.csr_array((np.ones(unsure.nnz, bool), unsure.indices, unsure.indptr), labels.shape)
                mask.write(label_lines(ids, masked, vocabulary.class_ids))
                first += labels.shape[0]
                yield {"clip": np.nan_to_num(unsure.toarray()) + labels.toarray()}

        shape, types = (len(clip_ids), len(vocabulary)), stored_types(["clip"], "float16")
        layout = ScoreLayout(clip_ids, vocabulary.class_ids, {"clip": shape}, types=types)
        write_scores(folder / "targets.h5", layout, targets(), {"vocabulary": vocabulary.name})
