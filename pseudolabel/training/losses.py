"""Losses between model scores and hard or soft targets."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from pseudolabel.labels.balancing import class_counts


def soft_bce(
    scores: Tensor, targets: Tensor, masked: Tensor | None = None, positive_weights: Tensor | None = None
) -> Tensor:
    """Return the mean binary cross-entropy (PSL, training objective) of unmasked targets; 0 if all are masked.

    Args:
        scores: (B, K) model scores, clamped inside (0, 1).
        targets: (B, K) in [0, 1], hard or soft.
        masked: (B, K) bool, True where the target is ignored (Fonseca et al. 2020).
        positive_weights: (K,) factor w of a class's positive part: w t log(s) + (1 - t) log(1 - s).
    """
    scores, targets = scores.float(), targets.float()
    if masked is None and positive_weights is None:
        return functional.binary_cross_entropy(scores, targets)
    losses = functional.binary_cross_entropy(scores, targets, reduction="none")
    if positive_weights is not None:
        ones = torch.ones_like(scores)
        positive = functional.binary_cross_entropy(scores, ones, reduction="none")  # -log(s), or 100 where s is 0
        losses = losses + (positive_weights - 1) * targets * positive
    if masked is None:
        return losses.mean()
    return losses.masked_fill(masked, 0.0).sum() / (~masked).sum().clamp(min=1)


def inverse_weights(labels: sparse.csr_array) -> np.ndarray:
    """Return weights (K,) float32 of positives, inverse to the class frequency, with a mean of 1 over all labels.

    A class that never occurs gets 1. The document on AST and FSD50K suggests such a loss but does not try it.

    Args:
        labels: (n, K) bool.
    """
    counts = class_counts(labels).astype(np.float64)
    weights, occurring = np.ones(len(counts)), counts > 0
    weights[occurring] = counts.sum() / occurring.sum() / counts[occurring]
    return weights.astype(np.float32)
