"""Validation: metrics on a held-out set during training, and the choice of the evaluation whose weights are kept.

The best evaluation is chosen from a smoothed series (Moore et al., section 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

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
        """Return a model's macro mAP and d' on whole clips, equal in every process; each clip is scored by one process.

        d' is computed from the macro AUC, kept half a pair of clips away from 0 and 1: an infinite d' would dominate
        every average it is part of.
        """
        from pseudolabel.scores.metrics import ap_and_auc, d_prime

        own = np.arange(len(self.rows))[ranks.rank :: ranks.size]
        scores = np.zeros(self.labels.shape, np.float32)
        scores[own] = score_clips(tagger, self.clips, self.rows[own], batch_size=batch_size, device=device)[:, 0]
        scores = ranks.sum(scores)  # exact: for each clip, all but one process add 0
        (ap, auc), n_positive = ap_and_auc(self.labels, scores), self.labels.sum(axis=0)
        reached = {"map": float(np.nanmean(ap))}
        if not np.isfinite(auc).any():
            return reached | {"d-prime": float("nan")}
        half_a_pair = 0.5 / (n_positive * (len(self.labels) - n_positive)).sum()
        return reached | {"d-prime": float(d_prime(np.clip(np.nanmean(auc), half_a_pair, 1 - half_a_pair)))}


def smoothed(values: Sequence[float], n: int) -> np.ndarray:
    """Return the centred moving average over `n` values, as long as the series.

    It is NaN where either side has fewer than n // 2 values. If the whole series is shorter than `n`, averages are over
    the values available.
    """
    values, half = np.asarray(values, np.float64), n // 2
    means = np.array([values[max(0, at - half) : at + half + 1].mean() for at in range(len(values))])
    if len(values) >= n and half:
        means[:half] = means[-half:] = np.nan
    return means


def best_of(values: Sequence[float], n: int) -> int:
    """Return the evaluation at the centre of the best average over `n` evaluations; ties go to the first."""
    means = smoothed(values, n)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))


@dataclass
class Selection:
    """The evaluations so far, and the weights that may still be chosen.

    Args:
        smooth: number of evaluations over which the metric is averaged; odd.
        keeps: whether weights are kept at all.
        values: metric of each evaluation.
        weights: evaluation -> weights, for the last `smooth` evaluations and the best.
    """

    smooth: int = 1
    keeps: bool = True
    values: list[float] = field(default_factory=list)
    weights: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def add(self, value: float, weights: Mapping[str, Tensor]) -> None:
        """Add an evaluation; its weights are copied if they may be chosen."""
        self.values.append(value)
        if not self.keeps:
            return
        self.weights[len(self.values) - 1] = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        may_be_chosen = {self.best, *range(len(self.values) - self.smooth, len(self.values))}
        self.weights = {at: kept for at, kept in self.weights.items() if at in may_be_chosen}

    @property
    def best(self) -> int:
        """Number of the best evaluation so far, from 0."""
        return best_of(self.values, self.smooth)

    @property
    def waited(self) -> int:
        """Number of evaluations since the one that settled which is best."""
        half = self.smooth // 2 if len(self.values) >= self.smooth else len(self.values) - 1 - self.best
        return len(self.values) - 1 - self.best - half
