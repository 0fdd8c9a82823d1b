"""Drawn label lists and scores, as large as the real ones, for machines without the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.labels.candidates import Relations
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.rules import EnhanceOptions
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.writing import ScoreLayout, write_scores

LOW, HIGH = 0.5, 0.9  # scores of the clips that carry a label are uniform between these
LEVELS = 1 << 16  # quantiles that scores are drawn from
BLOCK_CLIPS = 8192
SEED = 0


def draw_labels(n_clips: int, vocabulary: Vocabulary) -> LabelTable:
    """Return clips with one to four labels; the k-th class is as frequent as 1 / (k + 1), roughly as in AudioSet."""
    rng = np.random.default_rng(SEED)
    frequency = 1 / np.arange(1, len(vocabulary) + 1)
    n_labels = rng.integers(1, 5, n_clips)
    classes = rng.choice(len(vocabulary), n_labels.sum(), p=frequency / frequency.sum())
    clips = np.repeat(np.arange(n_clips), n_labels)
    matrix = sparse.csr_array((np.ones(len(clips), bool), (clips, classes)), shape=(n_clips, len(vocabulary)))
    return LabelTable(tuple(f"clip{number:08d}" for number in range(n_clips)), matrix, vocabulary)


def draw_scores(path: Path, labels: LabelTable, ontology: Ontology, share: float, made_from: str) -> None:
    """Write a score store in which the threshold 25p adds about `share` labels for each existing label.

    A label's score is uniform in [LOW, HIGH], so the 25th percentile is known; the scores of other classes exceed it
    with the probability that gives this share. The store's attribute `labels_sha256` is `made_from`.
    """
    relations, blocks = (
        Relations(EnhanceOptions().relations(ontology, labels.vocabulary)),
        range(0, len(labels), BLOCK_CLIPS),
    )
    n_candidates = sum(len(relations.candidates(labels.matrix[start : start + BLOCK_CLIPS])[0]) for start in blocks)
    passing = min(share * labels.matrix.nnz / max(n_candidates, 1), 0.999)
    threshold = LOW + (HIGH - LOW) / 4
    quantiles = (np.arange(LEVELS) + 0.5) / LEVELS
    of_label = (LOW + (HIGH - LOW) * quantiles).astype(np.float32)
    of_other = (quantiles ** (np.log(threshold) / np.log1p(-passing))).astype(np.float32)

    def drawn() -> Iterator[dict[str, np.ndarray]]:
        rng = np.random.default_rng(SEED)
        for start in blocks:
            carried = labels.matrix[start : start + BLOCK_CLIPS]
            scores = of_other[rng.integers(0, LEVELS, carried.shape, dtype=np.uint16)]
            clips, classes = carried.nonzero()
            scores[clips, classes] = of_label[rng.integers(0, LEVELS, len(clips), dtype=np.uint16)]
            yield {"clip": scores}

    layout = ScoreLayout(labels.clip_ids, labels.vocabulary.class_ids, {"clip": labels.matrix.shape})
    attributes = {"labels_sha256": made_from, "model": "drawn at random"}
    write_scores(path, layout, drawn(), attributes, overwrite=True)
