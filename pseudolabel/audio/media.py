"""Sound and pictures of clips on a page, and links to the videos of clips without sound."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.audio.clips import ClipStore, pack
from pseudolabel.labels.aliases import YOUTUBE, clip_name

if TYPE_CHECKING:
    from pseudolabel.audio.frontend import LogMel

FLAC_FRAME = 4096  # samples, as libFLAC packs them
WATCH = "https://www.youtube.com/watch?v={video}&t={second}s"

N_MELS, WIDEST = 72, 640  # pixels; the page stretches them
RANGE_DB, LEVELS = 70.0, 64  # points this many dB below the clip's loudest are black; colours
WINDOW_S, HOP_S = 0.064, 0.010
F_MIN, F_MAX = 50.0, 16_000.0  # Hz
TICKS = (100, 300, 1_000, 3_000, 8_000)  # Hz, labelled beside the picture
COLOURS = "magma"


def flac_bytes(clips: ClipStore, clip_id: str) -> bytes:
    """Return a clip's sound (by id or alias in the store) as a FLAC file, which every browser plays.

    Three frames of silence follow the clip: Chromium (FFmpeg) cannot seek into the last two.
    """
    pcm = np.pad(clips.read_pcm16(int(clips.rows([clip_id])[0])), (0, 3 * FLAC_FRAME))
    return pack(pcm, "flac", clips.sample_rate).tobytes()


def video_of(clip_id: str, segments: Mapping[str, tuple[float, float]] | None) -> tuple[str, float] | None:
    """Return the id of a clip's YouTube video, and the second at which the clip begins in it; None if not known.

    An id of eleven characters alone is not enough: other recordings have such names too.

    Args:
        segments: {clip id: (start, end)}, seconds, of an AudioSet segment list.
    """
    name, segments = clip_name(clip_id), segments or {}
    if not YOUTUBE.fullmatch(name.bare_id):
        return None
    if name.start_ms is not None:
        return name.bare_id, name.start_ms / 1000
    segment = segments.get(clip_id) or segments.get(name.bare_id)
    return None if segment is None else (name.bare_id, float(segment[0]))


def watch_url(video: str, second: float) -> str:
    """Return the address that plays a video from a given second."""
    return WATCH.format(video=video, second=math.floor(second))


def log_mel_png(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return a clip's log-mel picture as PNG bytes: N_MELS high, low frequencies at the bottom, at most WIDEST wide.

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
    columns = np.maximum.reduceat(decibels, edges, axis=0)  # keeps short clicks visible
    relative = 1 + (columns - columns.max()) / RANGE_DB
    levels = np.round(np.clip(relative, 0, 1) * (LEVELS - 1)).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(levels.T[::-1]))
    picture.putpalette(_palette())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def frequency_ticks(sample_rate: int) -> list[tuple[float, int]]:
    """Return (height, Hz) of frequencies to label beside a picture; heights run from 0 at the bottom to 1."""
    low, high = _mel(F_MIN), _mel(_highest(sample_rate))
    heights = (((_mel(hertz) - low) / (high - low), hertz) for hertz in TICKS)
    return [(round(height, 4), hertz) for height, hertz in heights if height < 0.97]


@lru_cache(maxsize=4)
def _front_end(sample_rate: int) -> LogMel:
    from pseudolabel.audio.frontend import LogMel, LogMelOptions

    window_s = (1 << round(np.log2(WINDOW_S * sample_rate))) / sample_rate
    hop_s = max(HOP_S, 1 / sample_rate)
    return LogMel(LogMelOptions(sample_rate, window_s, hop_s, N_MELS, F_MIN, _highest(sample_rate), RANGE_DB))


@lru_cache(maxsize=1)
def _palette() -> bytes:
    import matplotlib

    colours = matplotlib.colormaps[COLOURS](np.linspace(0, 1, LEVELS), bytes=True)
    return colours[:, :3].tobytes()


def _highest(sample_rate: int) -> float:
    return min(sample_rate / 2, F_MAX)


def _mel(hertz: float) -> float:
    return 2595 * np.log10(1 + hertz / 700)
