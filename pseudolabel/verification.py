"""Verify stores: read everything and compare it with its checksums, and windows with clip lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from pseudolabel.audio.clips import ClipStore
from pseudolabel.errors import InputError
from pseudolabel.hdf5_checks import refuse_heaps, refuse_odd_attributes
from pseudolabel.labels.aliases import match_clips
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP
from pseudolabel.stores import KeyedByClip, store_contents, text_attribute

STORES = {name: store for store in (ClipStore, ScoreStore) for name in (store.FORMAT, *store.EARLIER_FORMATS)}


def open_store(path: Path) -> KeyedByClip:
    """Open a store as the kind that its `format` attribute names.

    Raises:
        InputError: no such file, not HDF5, an unknown format, or tables that contradict each other.
    """
    form = None
    if path.is_file() and h5py.is_hdf5(path):
        with store_contents(path), h5py.File(path, "r") as file:
            refuse_heaps(file, path)
            refuse_odd_attributes(file, path)
            form = text_attribute(file.attrs.get("format", "none"))
        if form not in STORES:
            raise InputError(f"format is {form!r}, not one of: {', '.join(STORES)}", path)
    return STORES.get(form, ScoreStore).open(path)  # refuses files that are not HDF5


def verify_store(path: Path, clips_path: Path | None = None) -> str:
    """Read all of a store, compare it with its checksums and return a one-line verdict.

    Args:
        clips_path: clip store to compare the windows of scores with.

    Raises:
        InputError: the store is damaged (the message names the first clip of the damaged part), a score is not in
            [0, 1], or a clip has more windows than fit its length.
    """
    store, fit = open_store(path), ""
    checked = store.verify()
    if isinstance(store, ScoreStore):
        store.verify_scores()
        fit = compare_windows(store, clips_path and ClipStore.open(clips_path))
        held = f"{len(store)} clips x {len(store.class_ids)} classes at {', '.join(store.scales)}"
    else:
        hours = store.n_samples.sum() / store.sample_rate / 3600
        held = f"{len(store)} clips, {hours:.2f} h at {store.sample_rate} Hz, {store.codec}"
    verdict = "good" if checked else "no contradiction, but it has no checksums (or not all) to compare with"
    if checked and not store.attributes_checked:
        verdict = "good, but its attributes have no checksum to compare with"
    return f"{path}: {verdict}: {held}{fit}"


def compare_windows(store: ScoreStore, clips: ClipStore | None) -> str:
    """Return what the windows of scores were compared with, in words; InputError if a clip has too many."""
    if set(store.scales) == {CLIP}:
        return ""
    if clips is None:
        return "; windows were not compared with the lengths of clips (--clips)"
    n_known = store.refuse_beyond(lengths_in(clips, store.clip_ids))
    return f"; windows fit the lengths of {n_known} clips in {clips.path}"


def lengths_in(clips: ClipStore, clip_ids: Sequence[str]) -> dict[str, float]:
    """Return {clip id: seconds} of the clips that a clip store has, under the same id or an alias."""
    matched = match_clips(clip_ids, clips.index, clips.path)
    rows = [clips.index[clip_id] for clip_id in matched.known()]
    return dict(zip(matched.found, (clips.n_samples[rows] / clips.sample_rate).tolist(), strict=True))


def refuse_late_onsets(clip_ids: Sequence[str], onsets_s: Sequence[float | None], clips: ClipStore, path: Path) -> None:
    """Raise InputError if an evidence window begins at or after the end of its clip; clips without audio pass."""
    for clip_id, onset_s in zip(clip_ids, onsets_s, strict=True):
        row = clips.index.get(clips.aliases.get(clip_id, clip_id))
        if row is None or onset_s is None:
            continue
        length_s = clips.n_samples[row] / clips.sample_rate
        if onset_s > 0 and onset_s >= length_s:
            message = f"a window begins at {onset_s:g} s of clip {clip_id!r}, which has {length_s:g} s"
            raise InputError(message, path, "Import the scores again with --clips or --hop-s.")
