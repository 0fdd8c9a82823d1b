"""Validation: a held-out set's metrics while a model trains, and which evaluation's weights are kept.

The best evaluation is that of a smoothed series (Moore et al., section 3.2).
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
        """Return macro mAP and d' of a model on whole clips, the same in every process; each clip is scored by one.

        d' is that of the macro AUC, kept half a pair of clips away from 0 and 1: an infinite d' would decide every
        average that it is part of.
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


def smoothed(values: Sequence[float], n: int) -> np.ndarray:
    """Return the centred moving average over `n` values, as long as the series.

    NaN where one side has fewer than n // 2 values. Where the whole series is shorter than `n`, the average is over the
    values that there are.
    """
    values, half = np.asarray(values, np.float64), n // 2
    means = np.array([values[max(0, at - half) : at + half + 1].mean() for at in range(len(values))])
    if len(values) >= n and half:
        means[:half] = means[-half:] = np.nan
    return means


def best_of(values: Sequence[float], n: int) -> int:
    """Return the evaluation at the centre of the best average over `n` evaluations; the first of equal ones."""
    means = smoothed(values, n)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))


@dataclass
class Selection:
    """The evaluations so far, and the weights that may yet be chosen.

    Args:
        smooth: over how many evaluations the metric is averaged; odd.
        keeps: whether weights are kept at all.
        values: the metric at each evaluation.
        weights: evaluation -> weights, of the last `smooth` and of the best.
    """

    smooth: int = 1
    keeps: bool = True
    values: list[float] = field(default_factory=list)
    weights: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def add(self, value: float, weights: Mapping[str, Tensor]) -> None:
        """Add an evaluation; its weights are copied where they may be chosen."""
        self.values.append(value)
        if not self.keeps:
            return
        self.weights[len(self.values) - 1] = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        may_be_chosen = {self.best, *range(len(self.values) - self.smooth, len(self.values))}
        self.weights = {at: kept for at, kept in self.weights.items() if at in may_be_chosen}

    @property
    def best(self) -> int:
        """Which evaluation, from 0, is the best so far."""
        return best_of(self.values, self.smooth)

    @property
    def waited(self) -> int:
        """How many evaluations there were since the one that decided for the best."""
        half = self.smooth // 2 if len(self.values) >= self.smooth else len(self.values) - 1 - self.best
        return len(self.values) - 1 - self.best - half
