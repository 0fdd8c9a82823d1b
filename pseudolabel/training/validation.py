"""Validation: a held-out set's metrics while a model trains, each clip answered once by one of the processes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pseudolabel.audio.clips import ClipStore
from pseudolabel.models.tagger import Tagger
from pseudolabel.training.distributed import ALONE, Ranks
from pseudolabel.training.scoring import score_clips


@dataclass
class Validation:
    """A held-out set: clip store rows (n,) and their labels (n, K) bool."""

    clips: ClipStore
    rows: np.ndarray
    labels: np.ndarray

    def metrics(self, tagger: Tagger, batch_size: int, device: torch.device, ranks: Ranks = ALONE) -> dict[str, float]:
        """Return macro mAP and d' (of the macro AUC) of a model on whole clips, the same in every process."""
        from pseudolabel.scores.metrics import average_precision, d_prime, roc_auc

        own = np.arange(len(self.rows))[ranks.rank :: ranks.size]
        scores = np.zeros(self.labels.shape, np.float32)
        scores[own] = score_clips(tagger, self.clips, self.rows[own], batch_size=batch_size, device=device)[:, 0]
        scores = ranks.sum(scores)  # of each clip one process has the scores, the others 0: the sum is exact
        auc = roc_auc(self.labels, scores)
        reached = {"map": float(np.nanmean(average_precision(self.labels, scores)))}
        return reached | {"d-prime": float(d_prime(np.nanmean(auc))) if np.isfinite(auc).any() else float("nan")}
