"""Precision: what a model computes in under autocast, and what it never does in bfloat16.

bfloat16 has 8 bits: near -80 dB its numbers lie half a decibel apart. So features stay in float32 through a network's
first convolution and the normalisation after it, from where on values lie around 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pseudolabel.errors import InputError
from pseudolabel.models import PRECISIONS


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """Return `layer(x)` in float32, under autocast too."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def precision_on(device: torch.device, precision: str | None) -> str:
    """Return `precision`; for None bf16 on a GPU, float32 elsewhere."""
    return precision or ("bf16" if device.type == "cuda" else "float32")


def check_precision(precision: str | None) -> str | None:
    """Return a precision, or None; InputError where it is neither."""
    if precision not in (None, *PRECISIONS):
        raise InputError(f"precision is {precision!r}; known: {', '.join(PRECISIONS)}, null", "config")
    return precision
