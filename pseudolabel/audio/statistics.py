"""Mean and standard deviation of a data set's features, for the `mean` and `std` of a front end.

They cover all feature values of all clips, without padding, masks or random draws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.frontend import FrontEnd
from pseudolabel.errors import InputError
from pseudolabel.progress import Progress

BATCH_SAMPLES = 1 << 22  # about a batch of 26 clips of 10 s


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and standard deviation of features.

    Args:
        mean, std: of all values before normalisation; std divides by their number.
        n_clips, n_frames: numbers of clips and frames included.
        n_too_short: number of clips too short for a frame.
    """

    mean: float
    std: float
    n_clips: int
    n_frames: int
    n_too_short: int


def feature_statistics(
    clips: ClipStore,
    front_end: FrontEnd,
    rows: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> FeatureStatistics:
    """Return mean and standard deviation of a store's features, summed in float64, one batch in memory at a time.

    Args:
        front_end: its own `mean` and `std` are ignored.
        rows: rows of the store (default: all), in any order; the order changes only the last digits.

    Raises:
        InputError: the sample rates differ, or no clip is long enough for a frame.
    """
    if clips.sample_rate != front_end.sample_rate:
        rule = f"the clips have {clips.sample_rate} Hz, the front end {front_end.sample_rate} Hz"
        raise InputError(rule, clips.path, "Prepare them at that rate.")
    rows = np.arange(len(clips)) if rows is None else np.asarray(rows, np.int64)
    plain = type(front_end)(replace(front_end.settings, mean=None, std=None)).to(device)
    long_enough = clips.n_samples[rows] >= plain.min_samples
    moments = _Moments()
    with Progress("statistics", len(rows)) as progress, torch.inference_mode():
        for batch in _batches(clips.n_samples, rows[long_enough]):
            waveforms = clips.batch(batch, 0, int(clips.n_samples[batch[0]]))
            moments.add(plain(torch.from_numpy(waveforms).to(device)))
            progress.advance(len(batch))
        progress.advance(int((~long_enough).sum()))
    if not moments.n:
        rule = f"none of {len(rows)} clips has {plain.min_samples} samples, which one frame needs"
        raise InputError(rule, clips.path)
    std = math.sqrt(moments.squares / moments.n)
    n_clips = int(long_enough.sum())
    return FeatureStatistics(moments.mean, std, n_clips, moments.n // plain.n_mels, len(rows) - n_clips)


class _Moments:
    """Running mean and sum of squared deviations, without subtracting two large sums.

    Source: Chan, Golub, LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
    """

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, values: torch.Tensor) -> None:
        values = values.double()
        n, mean = values.numel(), float(values.mean())
        squares, apart = float((values - mean).square().sum()), mean - self.mean
        whole = self.n + n
        self.squares += squares + apart * apart * self.n * n / whole
        self.mean += apart * n / whole
        self.n = whole


def _batches(n_samples: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield batches of consecutive rows of equal length, up to BATCH_SAMPLES samples."""
    first = 0
    while first < len(rows):
        length = int(n_samples[rows[first]])
        most = max(1, BATCH_SAMPLES // length)
        other = np.flatnonzero(n_samples[rows[first : first + most]] != length)
        end = first + (int(other[0]) if len(other) else most)
        yield rows[first:end]
        first = end
