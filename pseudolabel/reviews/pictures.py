"""Pictures of clips for the review page: log-mel as a small PNG, time from left to right, low tones at the bottom."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pseudolabel.audio.frontend import LogMel

N_MELS, WIDEST = 72, 640  # pixels; the page stretches them
RANGE_DB, LEVELS = 70.0, 64  # what lies so far under the loudest point of the clip is black
WINDOW_S, HOP_S = 0.064, 0.010
F_MIN, F_MAX = 50.0, 16_000.0  # Hz
TICKS = (100, 300, 1_000, 3_000, 8_000)  # Hz, where the page writes a frequency beside the picture
COLOURS = "magma"


def log_mel_png(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return the log-mel picture of a clip as PNG bytes, N_MELS high and at most WIDEST wide.

    Args:
        samples: (T,) float32 in [-1, 1]; short clips are padded with zeros.
        sample_rate: Hz.
    """
    import torch
    from PIL import Image

    front_end = _front_end(sample_rate)
    padded = np.zeros(max(len(samples), front_end.min_samples), np.float32)
    padded[: len(samples)] = samples
    decibels = front_end(torch.from_numpy(padded)[None])[0].numpy()  # (F, mel)
    edges = np.linspace(0, len(decibels), min(len(decibels), WIDEST), endpoint=False).astype(np.int64)
    columns = np.maximum.reduceat(decibels, edges, axis=0)  # short clicks stay visible
    relative = 1 + (columns - columns.max()) / RANGE_DB
    levels = np.round(np.clip(relative, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels.T[::-1]))
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def frequency_ticks(sample_rate: int) -> list[tuple[float, int]]:
    """Return (height, Hz) of frequencies to write beside a picture; the height runs from 0, its bottom, to 1."""
    low, high = _mel(F_MIN), _mel(_highest(sample_rate))
    heights = (((_mel(hertz) - low) / (high - low), hertz) for hertz in TICKS)
    return [(round(height, 4), hertz) for height, hertz in heights if height < 0.97]


@lru_cache(maxsize=4)
def _front_end(sample_rate: int) -> LogMel:
    from pseudolabel.audio.frontend import LogMel, LogMelOptions

    n_fft = 1 << round(np.log2(WINDOW_S * sample_rate))
    options = LogMelOptions(
        sample_rate, n_fft / sample_rate, max(HOP_S, 1 / sample_rate), N_MELS, F_MIN, _highest(sample_rate), RANGE_DB
    )
    return LogMel(options)


@lru_cache(maxsize=1)
def _palette() -> bytes:
    import matplotlib

    colours = matplotlib.colormaps[COLOURS](np.linspace(0, 1, LEVELS), bytes=True)
    return colours[:, :3].tobytes()


def _highest(sample_rate: int) -> float:
    return min(sample_rate / 2, F_MAX)


def _mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)
