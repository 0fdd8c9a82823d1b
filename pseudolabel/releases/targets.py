"""Soft targets of a release, compact, readable with h5py alone: targets.h5 or probabilities.h5.

    clip_id      (M,)       str       the clips that a teacher scored, in the order of the label list
    class_id     (K,)       str       the scored classes, vocabulary order
    scores_clip  (M, K)     float32, float16, or uint8: score = value * scale, scale = 1 / 255
    scores_2s    (M, W, K)  ...       where asked for: windows of 10, 5 or 2 s, W of each clip
    n_windows_2s (M,)       int64     how many of the W windows are real; the rest is 0
    crc32_clip   (M / 1024,) uint32   checksum of every 1,024 rows as they are stored; crc32_2s ...
    attributes: format="pseudolabel-scores", format_version=1, scale, reading, vocabulary, window_rule, tables_crc32

This is a score store (scores/store.py), which `ScoreStore` opens too. Chunks hold the scores of whole clips, with
shuffled bytes packed by gzip, which every HDF5 library reads. Rounding to fewer bits is to the nearest value: with 16
bits, no score differs by more than 1 / 4096 from the teacher's, with 8, by 1 / 510; with 32 they are the teacher's own,
which reproduce all labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.progress import Progress
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, WINDOW_RULE, window_name
from pseudolabel.scores.writing import note_hop, row_ends
from pseudolabel.stores import fixed_length_text, write_hdf5

TYPES = {"float32": 1.0, "float16": 1.0, "uint8": 1 / 255}  # and their scales
BLOCK_CLIPS = 4096
CHUNK_BYTES, GZIP_LEVEL = 1 << 16, 4
READING = "score = value * scale"


def write_targets(path: Path, labels: LabelTable, stores: Mapping[str | float, ScoreStore], kind: str) -> int:
    """Write the scores of those clips of `labels` that have any; return the number of clips written.

    Args:
        stores: for each scale, `clip` or a length of windows in seconds, the store that must have it.
        kind: one of TYPES.

    Raises:
        ClipMismatch: no clip has scores.
        InputError: the store lacks a scale, or a score is outside [0, 1].
    """
    each = matched(labels, stores)
    clips = np.flatnonzero(np.all([evidence.row_of >= 0 for evidence in each.values()], axis=0))
    classes = np.flatnonzero(np.all([evidence.column_of >= 0 for evidence in each.values()], axis=0))
    clip_ids = [labels.clip_ids[clip] for clip in clips.tolist()]
    with write_hdf5(path) as file:
        file.attrs["format"], file.attrs["format_version"] = ScoreStore.FORMAT, ScoreStore.FORMAT_VERSION
        file.attrs["scale"], file.attrs["reading"] = TYPES[kind], READING
        file.attrs["vocabulary"], file.attrs["window_rule"] = labels.vocabulary.name, WINDOW_RULE
        file["clip_id"] = fixed_length_text(clip_ids)
        file["class_id"] = fixed_length_text([labels.vocabulary.class_ids[k] for k in classes.tolist()])
        for scale, evidence in each.items():
            taken = _Taken(stores[scale], clip_ids, evidence.row_of[clips], evidence.column_of[classes])
            packed = _create(file, taken, scale, kind)  # open until the next exists: closing decides on file offsets
            _fill(file, packed, taken, scale)
        ScoreStore.seal(file)
    return len(clips)


def matched(labels: LabelTable, stores: Mapping[str | float, ScoreStore]) -> dict[str | float, Evidence]:
    """Return where the scores of each scale are in its store; raises what `write_targets` does, but reads no score."""
    for scale, store in stores.items():
        store.refuse_without(scale, "--soft-windows")
    return {scale: Evidence.match(labels, store, scale=window_name(scale)) for scale, store in stores.items()}


@dataclass(frozen=True, eq=False)
class _Taken:
    """The part of a store to write: some of its rows and columns, in another order."""

    scores: ScoreStore
    clip_ids: list[str]
    rows: np.ndarray
    columns: np.ndarray

    def blocks(self, scale: str | float, step: int) -> Iterator[np.ndarray]:
        """Yield the scores of `step` clips at a time; InputError if one is not in [0, 1]."""
        stored = self.scores.clip_scores() if scale == CLIP else self.scores.scores(scale)
        all_columns = np.array_equal(self.columns, np.arange(stored.shape[-1]))
        columns = slice(None) if all_columns else self.columns  # a slice is not copied
        for start in range(0, len(self.rows), step):
            rows = self.rows[start : start + step]
            consecutive = (np.diff(rows) == 1).all()
            values = np.asarray(stored[rows[0] : rows[-1] + 1] if consecutive else stored[rows])[..., columns]
            improper = ~((values >= 0) & (values <= 1))
            if improper.any():
                clip_id = self.clip_ids[start + np.argwhere(improper)[0][0]]
                raise InputError(
                    "a score is not in [0, 1]", clip_id, "Scores are probabilities: score this clip again."
                )
            yield values


def _create(file: h5py.File, taken: _Taken, scale: str | float, kind: str) -> h5py.Dataset:
    """Create a scale's data set, packed in chunks of whole clips, and each clip's number of windows."""
    name, scores, n_clips = window_name(scale), taken.scores, len(taken.rows)
    windows = () if scale == CLIP else (scores.scores(scale).shape[1],)
    if windows:
        file[f"n_windows_{name}"] = scores.n_windows(scale)[taken.rows].astype(np.int64)
    of_clip = (*windows, len(taken.columns))
    n_bytes = int(np.prod(of_clip)) * np.dtype(kind).itemsize
    chunk_clips = max(min(CHUNK_BYTES // max(n_bytes, 1), n_clips), 1)
    packing = {"chunks": (chunk_clips, *of_clip), "compression": "gzip", "compression_opts": GZIP_LEVEL}
    packing |= {"shuffle": kind != "uint8", "track_times": False}
    packed = file.create_dataset(f"scores_{name}", (n_clips, *of_clip), kind, **packing)
    if windows:
        note_hop(packed, scores.hop_s(scale))
    return packed


def _fill(file: h5py.File, packed: h5py.Dataset, taken: _Taken, scale: str | float) -> None:
    """Write the scores of a scale, and their checksums."""
    name, (n_clips, *of_clip), start = window_name(scale), packed.shape, 0
    checksums = SpanChecksums(row_ends(n_clips, int(np.prod(of_clip)) * packed.dtype.itemsize))
    with Progress(f"targets {name}", n_clips) as progress:
        for block in taken.blocks(scale, _step(packed.chunks[0])):
            values = as_stored(block, packed.dtype)
            packed[start : start + len(values)] = values
            checksums.update(values)
            progress.advance(len(values))
            start += len(values)
    file[f"crc32_{name}"] = checksums.values


def _step(chunk_clips: int) -> int:
    """Return how many clips to write or read at once: whole chunks, about BLOCK_CLIPS."""
    return max(BLOCK_CLIPS // chunk_clips, 1) * chunk_clips


def as_stored(scores: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return scores as a file of this type stores them."""
    return np.rint(scores.astype(np.float32) * 255).astype(kind) if kind == np.uint8 else scores.astype(kind)


def looked_up(stored: h5py.Dataset, clips: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Return `stored[clips, *others]`, (M,) values in any order, read block by block."""
    values, order = np.empty(len(clips), stored.dtype), np.argsort(clips, kind="stable")
    step = _step(stored.chunks[0] if stored.chunks else 1)
    for start in range(0, len(stored), step):
        first, last = np.searchsorted(clips[order], (start, start + step))
        if first < last:
            chosen = order[first:last]
            values[chosen] = stored[start : start + step][clips[chosen] - start, *(axis[chosen] for axis in others)]
    return values


def stated_together(stored: h5py.Dataset, clips: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return 1 - prod(1 - score) over the windows of clips, ascending, and classes: (M,) float64, block by block."""
    values, step = np.empty(len(clips)), _step(stored.chunks[0] if stored.chunks else 1)
    for start in range(0, len(stored), step):
        first, last = np.searchsorted(clips, (start, start + step))
        if first < last:
            scores = stored[start : start + step].astype(np.float64) * TYPES[stored.dtype.name]
            together = 1 - np.prod(1 - scores, axis=1)
            values[first:last] = together[clips[first:last] - start, classes[first:last]]
    return values
