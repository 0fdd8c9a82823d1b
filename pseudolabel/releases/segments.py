"""Whether the windows of a release are of its clips, where it says how long these are: start and end in segments.csv.

As in every score store, no window begins where its clip has ended; the clip's end may cut the last ones.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.aliases import match_clips
from pseudolabel.labels.readers import read_segments
from pseudolabel.releases import folder as files
from pseudolabel.releases.released import Released


def beyond_the_end(onset_s: np.ndarray, window_s: np.ndarray | float, length_s: np.ndarray) -> np.ndarray:
    """Return which windows cannot be in clips of these lengths, (M,) bool; NaN: not known, or no window."""
    with np.errstate(invalid="ignore"):
        return (onset_s < 0) | (window_s <= 0) | ((onset_s > 0) & (onset_s > length_s - 1e-6))


def clip_lengths(released: Released) -> np.ndarray:
    """Return the length of each clip in seconds, (N,) float64; NaN where the release does not say."""
    path, labels = released.folder / "segments.csv", released.labels
    lengths = np.full(len(labels), np.nan)
    if path.is_file():
        segments = read_segments(path)
        aliases = match_clips(labels.clip_ids, segments, path).aliases
        for row, clip_id in enumerate(labels.clip_ids):
            start, end = segments.get(aliases.get(clip_id, clip_id), (0, 0))
            lengths[row] = float(end) - float(start) or np.nan
    return lengths


def verify_windows(released: Released) -> str:
    """Compare the windows of the ledger with the lengths of the clips; soft targets likewise, in verify_targets."""
    windows, onsets = (pc.cast(released.ledger[name], pa.float64()).to_numpy() for name in ("window_s", "onset_s"))
    place = released.folder / files.ADDED
    if (np.isnan(windows) != np.isnan(onsets)).any():
        raise InputError("a window without its onset, or the other way round", place, "Run enhance again.")
    lengths_of = clip_lengths(released)[released.added.clips]
    wrong = np.flatnonzero(beyond_the_end(onsets, windows, lengths_of))
    if len(wrong):
        row = int(wrong[0])
        clip_id = released.ledger["clip_id"][row].as_py()
        first = f"first {onsets[row]:g} to {onsets[row] + windows[row]:g} s of {clip_id}"
        message = f"{len(wrong)} windows are not in their clips, {first}, which has {lengths_of[row]:g} s"
        raise InputError(message, place, "Score with the --window-s and --hop-s of the scores, then enhance again.")
    n_known = int((~np.isnan(lengths_of) & ~np.isnan(windows)).sum())
    return f"{n_known:,} windows lie in their clips" if n_known else ""
