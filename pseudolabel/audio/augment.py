"""Augmentation of whole batches on their device: mixup, gain, masks.

Each draws from the numpy generator that it is given, so that one seed gives the same draws on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class AugmentOptions:
    """What is done to a training batch; everything is off by default."""

    mixup_rate: float = 0.0  # share of the clips that are mixed with another clip of the batch (PSLA: 0.5)
    mixup_alpha: float = 10.0  # the mixing weight is drawn from Beta(alpha, alpha) (PSLA: 10)
    gain_db: float = 0.0  # each clip's level changes by a uniform draw from [-gain_db, gain_db]
    time_mask_s: float = 0.0  # one time mask a clip, length uniform up to this (PSLA: 1.92)
    mel_mask: int = 0  # one band mask a clip, mel bins uniform up to this (PSLA: 48 of 128)


def mix_waveforms(
    waveforms: Tensor, targets: Tensor, options: AugmentOptions, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix a share of the clips with a random partner of the batch: waveforms and targets by the same weight.

    Args:
        waveforms: (B, T). targets: (B, K) in [0, 1].
    """
    n = len(waveforms)
    share = rng.beta(options.mixup_alpha, options.mixup_alpha, n)
    share = np.where(rng.random(n) < options.mixup_rate, np.maximum(share, 1 - share), 1.0)
    partner = torch.from_numpy(rng.permutation(n)).to(waveforms.device)
    weight = torch.from_numpy(share.astype(np.float32)).to(waveforms.device)[:, None]
    return (
        weight * waveforms + (1 - weight) * waveforms[partner],
        weight * targets + (1 - weight) * targets[partner],
    )


def change_gain(waveforms: Tensor, options: AugmentOptions, rng: np.random.Generator) -> Tensor:
    """Change each clip's level by up to `gain_db` decibels."""
    gain = 10 ** (rng.uniform(-options.gain_db, options.gain_db, (len(waveforms), 1)) / 20)
    return waveforms * torch.from_numpy(gain.astype(np.float32)).to(waveforms.device)


def mask_span(features: Tensor, axis: int, longest: int, rng: np.random.Generator, fill: float) -> Tensor:
    """Replace one random span of each clip along `axis` (1: frames, 2: mel bins) by the value `fill`.

    Args:
        features: (B, F, mel). longest: the span's length is uniform in 0 .. `longest`.
        fill: what stands where nothing is heard, the same as in a tagger's padding (`Tagger.config["fill"]`).
    """
    n, size = len(features), features.shape[axis]
    length = rng.integers(0, min(longest, size) + 1, (n, 1))
    start = rng.integers(0, size - length + 1)
    place = np.arange(size)
    inside = torch.from_numpy((place >= start) & (place < start + length)).to(features.device)
    inside = inside[:, :, None] if axis == 1 else inside[:, None, :]
    return features.masked_fill(inside, fill)
