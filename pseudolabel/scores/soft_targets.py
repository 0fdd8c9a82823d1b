"""Soft targets of enhanced labels: sure ones are 0 or 1, unsure candidates keep the teacher's score.

    targets.h5   a score store of the scale `clip`, (N, K): 1 for labels, the teacher's score for unsure candidates
    mask.csv     a label list of the unsure candidates: where a loss should look away

The mask follows E. Fonseca, S. Hershey, M. Plakal, D. Ellis, A. Jansen, R. C. Moore, X. Serra, "Addressing missing
labels in large-scale sound event recognition using a teacher-student framework with loss masking", 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.labels.table import LabelTable
from pseudolabel.scores.store import write_scores

BLOCK_CLIPS = 8192


def write_soft_targets(folder: Path, labels: LabelTable, unsure: sparse.csr_array) -> None:
    """Write targets.h5 and mask.csv.

    Args:
        labels: (N, K) enhanced labels.
        unsure: (N, K) float32, an explicit entry for each candidate that was not added: its score, NaN for none, which
            makes the target 0.
    """

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(labels), BLOCK_CLIPS):
            rows = slice(start, start + BLOCK_CLIPS)
            yield {"clip": np.nan_to_num(unsure[rows].toarray()) + labels.matrix[rows].toarray()}

    shape, class_ids = labels.matrix.shape, labels.vocabulary.class_ids
    attributes = {"vocabulary": labels.vocabulary.name}
    write_scores(folder / "targets.h5", labels.clip_ids, class_ids, {"clip": shape}, {}, blocks(), attributes)
    masked = sparse.csr_array((np.ones(unsure.nnz, bool), unsure.indices, unsure.indptr), shape=shape)
    LabelTable(labels.clip_ids, masked, labels.vocabulary).write(folder / "mask.csv")
