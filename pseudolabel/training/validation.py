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
        """Return macro mAP and d' of a model on whole clips, the same in every process.

        d' is that of the macro AUC, kept half a pair of clips away from 0 and 1: an infinite one would decide every
        average that it stands in.
        """
        from pseudolabel.scores.metrics import average_precision, d_prime, roc_auc

        own = np.arange(len(self.rows))[ranks.rank :: ranks.size]
        scores = np.zeros(self.labels.shape, np.float32)
        scores[own] = score_clips(tagger, self.clips, self.rows[own], batch_size=batch_size, device=device)[:, 0]
        scores = ranks.sum(scores)  # of each clip one process has the scores, the others 0: the sum is exact
        auc, n_positive = roc_auc(self.labels, scores), self.labels.sum(axis=0)
        reached = {"map": float(np.nanmean(average_precision(self.labels, scores)))}
        if not np.isfinite(auc).any():
            return reached | {"d-prime": float("nan")}
        half_a_pair = 0.5 / (n_positive * (len(self.labels) - n_positive)).sum()
        return reached | {"d-prime": float(d_prime(np.clip(np.nanmean(auc), half_a_pair, 1 - half_a_pair)))}
