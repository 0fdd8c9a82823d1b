"""Which evaluation's weights are kept: the last, or the best of a smoothed series (Moore et al., section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

METRICS = {"map": "validation_map", "d-prime": "validation_d_prime"}  # and their columns in history.csv
LAST = 5  # evaluations whose mean is reported: PSLA's figures of single models
MEAN_OF_LAST = f"metric_mean_of_last_{LAST}"  # its name in run.json; the metric is that of its option `metric`


def smoothed(values: Sequence[float], n: int) -> np.ndarray:
    """Return the centred moving average over `n` values, as long as the series.

    NaN where fewer than n // 2 values lie on a side. Where the whole series is shorter than `n`, the average is over
    what there is on both sides.
    """
    values, half = np.asarray(values, np.float64), n // 2
    whole = len(values) >= n
    means = [values[max(0, at - half) : at + half + 1].mean() for at in range(len(values))]
    return np.array([mean if not whole or half <= at < len(values) - half else np.nan
                     for at, mean in enumerate(means)])  # fmt: skip


def best_of(values: Sequence[float], n: int) -> int:
    """Return the evaluation at the centre of the best average over `n` evaluations; the first of equal ones."""
    means = smoothed(values, n)
    return int(np.argmax(np.where(np.isnan(means), -np.inf, means)))


@dataclass
class Selection:
    """The evaluations so far, and the weights that may yet be chosen.

    Args:
        smooth: over how many evaluations the metric is averaged; odd.
        values: the metric at each evaluation.
        weights: evaluation -> weights, of the last `smooth` and of the best; empty where the last weights are kept.
        keeps: whether weights are kept at all.
    """

    smooth: int = 1
    keeps: bool = True
    values: list[float] = field(default_factory=list)
    weights: dict[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.smooth < 1 or self.smooth % 2 == 0:
            raise InputError(f"an average over {self.smooth} evaluations has no centre", "--smooth", "Give 1, 3, 5, 7.")

    def add(self, value: float, weights: Mapping[str, Tensor]) -> None:
        """Take an evaluation in; its weights are copied where they may be chosen."""
        self.values.append(value)
        if not self.keeps:
            return
        self.weights[len(self.values) - 1] = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        open_still = {self.best, *range(len(self.values) - self.smooth, len(self.values))}
        self.weights = {at: kept for at, kept in self.weights.items() if at in open_still}

    @property
    def best(self) -> int:
        """Return which evaluation, from 0, is the best so far."""
        return best_of(self.values, self.smooth)

    @property
    def waited(self) -> int:
        """Return how many evaluations there were since the one that decided for the best."""
        half = self.smooth // 2 if len(self.values) >= self.smooth else len(self.values) - 1 - self.best
        return len(self.values) - 1 - self.best - half
