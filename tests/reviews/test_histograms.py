"""Histograms of a class's scores, against a loop over clips."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reviews import histograms
from pseudolabel.reviews.histograms import HIGHEST, LOWEST, N_BINS, class_histograms
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores

CLASSES = ("a", "b", "c", "d")


def counted_slowly(labels, score_of, class_id):
    """Return the counts with and without the label; `score_of[clip]` is None where a clip has no scores."""
    counts = {"with": [0] * N_BINS, "without": [0] * N_BINS}
    for clip_id, carried in zip(labels.clip_ids, labels.label_sets(), strict=True):
        score = score_of.get(clip_id)
        if score is None:
            continue
        odds = -math.inf if score == 0 else math.inf if score == 1 else math.log(score) - math.log1p(-score)
        place = (min(max(odds, LOWEST), HIGHEST) - LOWEST) / (HIGHEST - LOWEST) * N_BINS
        counts["with" if class_id in carried else "without"][min(int(place), N_BINS - 1)] += 1
    return counts


@pytest.mark.parametrize("kind", ["float16", "float32"])
@pytest.mark.parametrize("window_s", [None, 2])
def test_counts_equal_a_loop_over_labelled_clips_that_have_scores(tmp_path, monkeypatch, window_s, kind):
    monkeypatch.setattr(histograms, "BLOCK_CLIPS", 7)
    rng = np.random.default_rng(0)
    vocabulary = Vocabulary("v", CLASSES, CLASSES, ("",) * 4)
    clip_ids = [f"clip{i}" for i in range(40)]
    labels = LabelTable(tuple(clip_ids), rng.random((40, 4)) < 0.3, vocabulary)
    scored = [*reversed(clip_ids[5:]), "another"]
    windows = (1 / (1 + np.exp(-rng.normal(0, 7, (len(scored), 3, 4))))).astype(kind)
    windows[0, 0], windows[1] = 1, 0
    real = rng.integers(1, 4, len(scored))
    shapes = {"clip": (len(scored), 4), "2s": windows.shape}
    blocks = iter([{"clip": windows[:, 0], "2s": windows}])
    columns = ("d", "b", "a", "elsewhere")
    layout = ScoreLayout(scored, columns, shapes, {"2s": real}, types=stored_types(shapes, kind))
    write_scores(tmp_path / "scores.h5", layout, blocks)
    found = class_histograms(labels, ScoreStore.open(tmp_path / "scores.h5"), CLASSES, window_s)
    assert list(found) == ["a", "b", "d"]  # c has no scores
    for class_id, counts in found.items():
        column = columns.index(class_id)
        values = {
            clip_id: float(windows[row, 0, column] if window_s is None else windows[row, : real[row], column].max())
            for row, clip_id in enumerate(scored)
        }
        assert counts == counted_slowly(labels, values, class_id)
        assert sum(counts["with"]) + sum(counts["without"]) == 35
