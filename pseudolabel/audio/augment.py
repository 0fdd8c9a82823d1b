"""Augment whole batches on their device: gain, shift, mixup of waveforms or of energies, masks.

Random draws arrive as numpy arrays (training/drawing.py), so one seed gives the same batch on any device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def on_device(numbers: np.ndarray, beside: Tensor) -> Tensor:
    """Copy an array to the device of `beside` without waiting for pending work on that device."""
    return torch.from_numpy(numbers).to(beside.device, non_blocking=True)


def mix(values: Tensor, partner: np.ndarray, share: np.ndarray) -> Tensor:
    """Mix each of the first n values with its partner; return (n, ...).

    Args:
        values: (R, ...) waveforms, targets or powers; the first n are mixed.
        partner: (n,) row of each value's partner.
        share: (n,) float32 weight of the value itself; its partner has the rest.
    """
    n = len(partner)
    if (share == 1).all():
        return values[:n]
    weight = on_device(share, values).reshape(n, *[1] * (values.ndim - 1))
    return weight * values[:n] + (1 - weight) * values[on_device(partner, values)]


def change_gain(waveforms: Tensor, gain: np.ndarray) -> Tensor:
    """Multiply each waveform (B, T) by its factor in `gain` (B,) float32."""
    return waveforms * on_device(gain, waveforms)[:, None]


def shift_in_time(waveforms: Tensor, shift: np.ndarray, n_samples: np.ndarray) -> Tensor:
    """Rotate each waveform (B, T) by `shift` (B,) samples, later if positive; the end wraps to the beginning.

    Args:
        n_samples: (B,) length of each clip's own sound, 1 or more; samples after it stay in place.
    """
    position, own = np.arange(waveforms.shape[1]), n_samples[:, None]
    turned = np.where(position < own, (position - shift[:, None]) % own, position)
    return waveforms.gather(1, on_device(turned, waveforms))


def mask_span(features: Tensor, axis: int, longest: int, draws: np.ndarray, fill: float) -> Tensor:
    """Replace one span of each clip along `axis` (1: frames, 2: mel bins) by the value `fill` (SpecAugment).

    Args:
        features: (B, F, mel).
        longest: the length is uniform in 0 .. `longest` - 1 (as in PSLA's code), the start uniform over the positions
            where the span fits.
        draws: (B, 2) in [0, 1), length and start.
        fill: the same value as the tagger's padding (`Tagger.config["fill"]`).
    """
    size = features.shape[axis]
    length = np.floor(draws[:, :1] * min(longest, size + 1)).astype(np.int64)
    start = np.floor(draws[:, 1:] * (size - length + 1)).astype(np.int64)
    position = np.arange(size)
    inside = on_device((position >= start) & (position < start + length), features)
    inside = inside[:, :, None] if axis == 1 else inside[:, None, :]
    return features.masked_fill(inside, fill)
