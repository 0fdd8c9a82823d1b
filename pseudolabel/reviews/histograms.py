"""Histograms of a class's scores, for clips with and without its label, as numbers that a page draws.

Bins are equally wide in log-odds, log(p / (1 - p)): most scores are near 0 or 1, where a linear axis shows nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logit

from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.scores.store import ScoreStore, real_windows
from pseudolabel.scores.windows import CLIP, window_name

LOWEST, HIGHEST, N_BINS = -8.0, 8.0, 32  # log-odds: 0.0003 to 0.9997; scores beyond count in the outermost bins
BLOCK_CLIPS = 8192


def class_histograms(
    labels: LabelTable, scores: ScoreStore, class_ids: Sequence[str], window_s: float | None = None
) -> dict[str, dict[str, list[int]]]:
    """Return {class id: {"with": counts, "without": counts}}, N_BINS each, over all clips that have scores.

    Args:
        labels: (N, K) the labels that the thresholds were made from.
        scores: of any clips; matched by clip id.
        class_ids: the classes wanted; classes without scores are left out.
        window_s: count the best window of this length; None: the whole clip's score.
    """
    evidence = Evidence.match(labels, scores, scale=CLIP if window_s is None else window_name(window_s))
    wanted = [labels.vocabulary.index[class_id] for class_id in class_ids]
    shown = np.array([column for column in wanted if evidence.column_of[column] >= 0], np.int64)
    clips = np.flatnonzero(evidence.row_of >= 0)
    counts = np.zeros((2, len(shown), N_BINS), np.int64)
    for start in range(0, len(clips), BLOCK_CLIPS):
        block = clips[start : start + BLOCK_CLIPS]
        scores = _best(evidence, evidence.row_of[block], evidence.column_of[shown])
        carried = labels.matrix[block][:, shown].toarray()
        cells = _bin_of(scores) + N_BINS * np.arange(len(shown))
        for counted, chosen in zip(counts, (carried, ~carried), strict=True):
            counted += np.bincount(cells[chosen], minlength=counted.size).reshape(counted.shape)
    ids = [labels.vocabulary.class_ids[column] for column in shown]
    rows = zip(ids, *counts.tolist(), strict=True)
    return {class_id: {"with": carrying, "without": others} for class_id, carrying, others in rows}


def _best(evidence: Evidence, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return the scores (rows, columns) float64, of the best real window if there are windows."""
    scores = np.asarray(evidence.scores[rows])[..., columns].astype(np.float64)
    if evidence.window_s is None:
        return scores
    return np.where(real_windows(scores, evidence.n_windows[rows]), scores, 0).max(axis=1)


def _bin_of(scores: np.ndarray) -> np.ndarray:
    """Return the bin of each score; the lowest if it is not in [0, 1]."""
    odds = np.fmin(np.fmax(logit(scores), LOWEST), HIGHEST)  # NaN, outside [0, 1], becomes LOWEST
    bins = ((odds - LOWEST) / (HIGHEST - LOWEST) * N_BINS).astype(np.int64)
    return np.minimum(bins, N_BINS - 1)
