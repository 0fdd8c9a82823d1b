"""Scores over time: what a run or a score store says about each window of a few clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.reports.rows import RunResult
from pseudolabel.scores.class_map import ClassMap
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, length_s, n_windows, window_samples

if TYPE_CHECKING:
    from pseudolabel.audio.clips import ClipStore

WINDOW_S = 2  # seconds, of the windows that a model scores


class OverTime(NamedTuple):
    """Scores of a run in windows of some clips.

    Args:
        scores: (n, W, targets), window w from w * hop_s seconds on; n_windows: (n,) the real ones of each clip.
    """

    row: str
    scores: np.ndarray
    n_windows: np.ndarray
    window_s: float
    hop_s: float


def over_time_of_store(
    run: RunResult, store: ScoreStore, clip_ids: Sequence[str], classes: ClassMap
) -> OverTime | None:
    """Return a store's scores of its shortest windows; None if it has scores of whole clips alone."""
    scales = [scale for scale in store.scales if scale != CLIP]
    if not scales:
        return None
    scale, rows = min(scales, key=length_s), store.rows(clip_ids)
    scores = _of_targets(store.read(scale, rows), classes, store.class_ids, store.path)
    return OverTime(run.row, scores, store.n_windows(scale)[rows], length_s(scale), store.hop_s(scale))


def over_time_of_model(
    run: RunResult, clips: ClipStore, clip_ids: Sequence[str], classes: ClassMap, batch_size: int, device
) -> OverTime:
    """Return a model's scores of windows of WINDOW_S seconds."""
    from pseudolabel.models import load_model
    from pseudolabel.training.scoring import score_clips

    tagger, rows = load_model(Path(run.path), device), clips.rows(clip_ids)
    scores = score_clips(tagger, clips, rows, WINDOW_S, batch_size, device)
    counts = n_windows(np.asarray(clips.n_samples)[rows], window_samples(WINDOW_S, clips.sample_rate))
    return OverTime(
        run.row, _of_targets(scores, classes, tagger.config["class_ids"], run.path), counts, WINDOW_S, WINDOW_S
    )


def _of_targets(scores: np.ndarray, classes: ClassMap, class_ids: Sequence[str], source: object) -> np.ndarray:
    n, n_most, n_classes = scores.shape
    return classes.apply(scores.reshape(n * n_most, n_classes), class_ids, source).reshape(n, n_most, -1)
