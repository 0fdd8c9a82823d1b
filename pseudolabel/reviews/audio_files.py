"""Sound of the clips on a review page: each as FLAC bytes, and where to listen when there is no sound of our own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pseudolabel.audio.clips import ClipStore, pack
from pseudolabel.labels.aliases import YOUTUBE, clip_name

FLAC_FRAME = 4096  # samples, as libFLAC packs them
WATCH = "https://www.youtube.com/watch?v={video}&t={second}s"


def flac_bytes(clips: ClipStore, clip_id: str) -> bytes:
    """Return the sound of a clip (an id or alias of the store) as a FLAC file, which every browser plays.

    Three frames of silence follow the clip: Chromium (FFmpeg) fails when it is asked for a place in the last two.
    """
    pcm = np.pad(clips.read_pcm16(int(clips.rows([clip_id])[0])), (0, 3 * FLAC_FRAME))
    return pack(pcm, "flac", clips.sample_rate).tobytes()


def video_of(
    clip_id: str, segments: Mapping[str, tuple[float, float]] | None, guess: bool
) -> tuple[str, float | None] | None:
    """Return the YouTube id that a clip was cut from, and the second of the video at which it begins, None if unknown.

    Args:
        segments: {clip id: (start, end)}, seconds, of an AudioSet segment list.
        guess: take an id that looks like a video's for one, though nothing says where the clip begins.

    Returns:
        None where the id does not name a video.
    """
    name, segments = clip_name(clip_id), segments or {}
    if not YOUTUBE.fullmatch(name.bare_id):
        return None
    if name.start_ms is not None:
        return name.bare_id, name.start_ms / 1000
    segment = segments.get(clip_id) or segments.get(name.bare_id)
    if segment is not None:
        return name.bare_id, float(segment[0])
    return (name.bare_id, None) if guess else None


def watch_url(video: str, second: float) -> str:
    """Return the address at which a video plays from a second on."""
    return WATCH.format(video=video, second=math.floor(second))
