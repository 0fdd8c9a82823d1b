"""Divide clips into windows: how many windows a clip has, and which samples belong to window w.

Window w of length `window_s` covers [w * window_s, (w + 1) * window_s) seconds. A last piece shorter than half a
window joins the one before; a longer one is a window of its own, shorter than the others.

Windows of other models may overlap: window w begins at w * hop_s, before its clip ends. So a clip of 10 s has at most
10 windows with a hop of 1 s.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pseudolabel.errors import InputError, shown
from pseudolabel.labels.evidence import evidence_scale

CLIP = "clip"
MEAN, MAXIMUM = POOLINGS = "mean", "max"  # of a clip's windows
WINDOW_RULE = "start w*len; last piece under len/2 joins the one before"


def parse_window(text: str) -> str | float:
    """Parse `clip`, or a length in seconds such as `10`, `5s` or `0.5`.

    Raises:
        InputError: the text is neither.
    """
    try:
        scale = evidence_scale(text)
    except InputError:
        raise InputError(f"must be `clip` or a length in seconds (10, 5s, 0.5), not {shown(text)}") from None
    if scale == CLIP:
        return CLIP
    length_s = float(scale.removesuffix("s"))
    return int(length_s) if length_s == int(length_s) else length_s


def parse_scale(text: str) -> str:
    """Parse `clip` or a length in seconds into a scale's name; InputError as `parse_window`."""
    return window_name(parse_window(text))


def parse_pooled(text: str) -> str:
    """Parse a scale whose windows are pooled: `clip`, `2s` (the mean of a clip's windows) or `2s-max` (their maximum).

    Raises:
        InputError: the text is none of these.
    """
    window, pooling = split_pooled(text)
    scale = parse_scale(window)
    if pooling == MAXIMUM and scale == CLIP:
        raise InputError(f"a whole clip has no windows to take the maximum of: {shown(text)}")
    return f"{scale}-{MAXIMUM}" if pooling == MAXIMUM else scale


def split_pooled(scale: str | float) -> tuple[str | float, str]:
    """Return the windows and the pooling, `mean` or `max`, of a scale such as `2s` or `2s-max`."""
    window, dash, pooling = str(scale).rpartition("-")
    return (window, pooling) if dash and pooling in POOLINGS else (scale, MEAN)


def window_name(window_s: str | float) -> str:
    """Return a scale's name in files and reports: `clip`, `10s`, `2s`; names are returned unchanged."""
    return window_s if isinstance(window_s, str) else f"{float(window_s)!r}".removesuffix(".0") + "s"


def length_s(scale: str | float) -> float | None:
    """Return the window length in seconds of a scale, given by name or length; None for whole clips."""
    return None if scale == CLIP else float(str(scale).removesuffix("s"))


def is_window_name(name: str) -> bool:
    """Return whether `name` is a scale name as written by `window_name`."""
    try:
        return window_name(parse_window(name)) == name
    except InputError:
        return False


def window_samples(window_s: str | float, sample_rate: int) -> int | None:
    """Return the number of samples in a window; None for the whole clip."""
    seconds = length_s(window_s)
    return None if seconds is None else round(seconds * sample_rate)


def n_windows(n_samples: np.ndarray | int, length: int) -> np.ndarray:
    """Return how many windows of `length` samples a clip of `n_samples` has, at least 1.

    Raises:
        InputError: the window is shorter than one sample.
    """
    if length < 1:
        raise InputError("a window is shorter than one sample", "--windows", "Give longer ones.")
    whole, rest = np.divmod(np.asarray(n_samples), length)
    return np.maximum(whole + (2 * rest >= length), 1)


def each_window(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the clip (W,) and the number within its clip (W,) of each window, from window counts (N,); both from 0."""
    clip = np.repeat(np.arange(len(counts)), counts)
    return clip, np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)


def refuse_short_windows(windows: Sequence[str | float], sample_rate: int) -> None:
    """Raise InputError if a window is shorter than one sample."""
    for window_s in windows:
        if window_s != CLIP:
            n_windows(0, window_samples(window_s, sample_rate))


def window_bounds(n_samples: int, length: int) -> np.ndarray:
    """Return the first sample and the end (exclusive) of each window, (W, 2) int64; the last ends with the clip."""
    starts = np.arange(n_windows(n_samples, length), dtype=np.int64) * length
    ends = np.append(starts[1:], n_samples)
    return np.stack([starts, ends], axis=1)


def possible_windows(lengths_s: np.ndarray, hop_s: float) -> np.ndarray:
    """Return how many windows begin before the end of clips of `lengths_s` seconds, (N,) int64, at least 1."""
    return np.maximum(np.ceil(np.round(np.asarray(lengths_s) / hop_s, 6)), 1).astype(np.int64)


def whole_windows(lengths_s: np.ndarray, window_s: float, hop_s: float) -> np.ndarray:
    """Return how many windows fit wholly into clips of `lengths_s` seconds, (N,) int64, at least 1."""
    beside_first = np.floor(np.round((np.asarray(lengths_s) - window_s) / hop_s, 6))
    return np.maximum(beside_first + 1, 1).astype(np.int64)


def refuse_windows_beyond(
    clip_ids: Sequence[str],
    n_windows: np.ndarray,
    hop_s: float,
    lengths_s: np.ndarray,
    window_s: float,
    path: object,
    remedy: str = "Score these clips again; answers of another model: import them again with --clips or --hop-s.",
) -> None:
    """Raise InputError if a clip's last window begins at or after the clip's end.

    Args:
        n_windows, lengths_s: (N,) number of windows and seconds of each clip.
    """
    beyond = np.flatnonzero(n_windows > possible_windows(lengths_s, hop_s))
    if len(beyond):
        clip = beyond[0]
        message = (
            f"clip {clip_ids[clip]!r} of {lengths_s[clip]:g} s has {n_windows[clip]} windows of "
            f"{window_name(window_s)}, the last from {(n_windows[clip] - 1) * hop_s:g} s on ({len(beyond)} such clips)"
        )
        raise InputError(message, path, remedy)
