"""Augmentation of whole batches on their device: gain, shift, mixup of waveforms or of energies, masks.

What is drawn comes in as numpy arrays (training/drawing.py), so that one seed gives the same batch on any device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def on_device(numbers: np.ndarray, beside: Tensor) -> Tensor:
    """Return numbers on the device of a tensor, without waiting for its unfinished work."""
    return torch.from_numpy(numbers).to(beside.device, non_blocking=True)


def mix(values: Tensor, partner: np.ndarray, share: np.ndarray) -> Tensor:
    """Return mixtures (n, ...): `share` of each of the first n values, the rest from its partner.

    Args:
        values: (R, ...) waveforms, targets or powers, the first n of which are mixed.
        partner: (n,) row of the value that each is mixed with.
        share: (n,) float32, its own weight.
    """
    n = len(partner)
    if (share == 1).all():
        return values[:n]
    weight = on_device(share, values).reshape(n, *[1] * (values.ndim - 1))
    return weight * values[:n] + (1 - weight) * values[on_device(partner, values)]


def change_gain(waveforms: Tensor, gain: np.ndarray) -> Tensor:
    """Multiply each waveform of (B, T) by its factor of `gain` (B,) float32."""
    return waveforms * on_device(gain, waveforms)[:, None]


def shift_in_time(waveforms: Tensor, shift: np.ndarray, n_samples: np.ndarray) -> Tensor:
    """Turn each waveform of (B, T) by `shift` (B,) samples, later if positive; its end moves to its beginning.

    Args:
        n_samples: (B,) length of its own sound, 1 or more; what follows stays.
    """
    position, own = np.arange(waveforms.shape[1]), n_samples[:, None]
    turned = np.where(position < own, (position - shift[:, None]) % own, position)
    return waveforms.gather(1, on_device(turned, waveforms))


def mask_span(features: Tensor, axis: int, longest: int, draws: np.ndarray, fill: float) -> Tensor:
    """Replace one span of each clip along `axis` (1: frames, 2: mel bins) by the value `fill` (SpecAugment).

    Args:
        features: (B, F, mel).
        longest: the span's length is uniform in 0 .. `longest` - 1 (as PSLA's program draws it), its start uniform
            among those where it fits.
        draws: (B, 2) in [0, 1), length and start.
        fill: the value of the span, the same as that of a tagger's padding (`Tagger.config["fill"]`).
    """
    size = features.shape[axis]
    length = np.floor(draws[:, :1] * min(longest, size + 1)).astype(np.int64)
    start = np.floor(draws[:, 1:] * (size - length + 1)).astype(np.int64)
    position = np.arange(size)
    inside = on_device((position >= start) & (position < start + length), features)
    inside = inside[:, :, None] if axis == 1 else inside[:, None, :]
    return features.masked_fill(inside, fill)
