"""Losses between model scores and hard or soft targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def soft_bce(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy (PSL, training objective).

    Args:
        scores: (B, K) model scores, clamped inside (0, 1). targets: (B, K) in [0, 1], hard or soft.
    """
    return functional.binary_cross_entropy(scores.float(), targets.float())
