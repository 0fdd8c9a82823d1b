"""Soft targets of a release: what the teacher answered for each clip, small, readable with h5py and nothing else.

    clip_id      (M,)       str       the clips that the teacher heard, in the order of the label list
    class_id     (K,)       str       the scored classes, vocabulary order
    scores_clip  (M, K)     float32, float16, or uint8: score = value * scale, scale = 1 / 255
    scores_2s    (M, W, K)  ...       where asked for: windows of 10, 5 or 2 s, W of each clip
    n_windows_2s (M,)       int64     how many of the W windows are real; the rest is 0
    crc32_clip   (M / 1024,) uint32   checksum of every 1,024 rows as they are stored; crc32_2s ...
    attributes: format="pseudolabel-scores", format_version=1, scale, reading, vocabulary, window_rule, tables_crc32

This is a score store (scores/store.py), which `ScoreStore` opens too. Scores lie in chunks of whole clips, packed by
gzip after shuffling bytes, which every HDF5 library reads. Fewer bits are rounded to the nearest: of 16, no value is
more than 1 / 4096 from the teacher's, of 8, 1 / 510; 32 are the teacher's own, by which labels are found again exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.progress import Progress
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import CLIP, WINDOW_RULE, parse_window, window_name
from pseudolabel.scores.writing import note_hop, row_ends
from pseudolabel.stores import fixed_length_text, write_hdf5

TYPES = {"float32": 1.0, "float16": 1.0, "uint8": 1 / 255}  # and the scale of each
BLOCK_CLIPS = 4096
CHUNK_BYTES, GZIP_LEVEL = 1 << 16, 4
READING = "score = value * scale"


def write_targets(
    path: Path, labels: LabelTable, scores: ScoreStore, kind: str, scales: Sequence[str | float] = (CLIP,)
) -> int:
    """Write the scores of the clips of `labels` that have any; return how many these are.

    Args:
        kind: one of TYPES.
        scales: `clip`, or lengths of windows in seconds, which the store must have.

    Raises:
        ClipMismatch: not one clip has scores.
        InputError: a scale that the store lacks, or a score outside [0, 1].
    """
    for scale in scales:
        scores.refuse_without(scale, "--soft-windows")
    evidence = Evidence.match(labels, scores, scale=CLIP if CLIP in scales else window_name(scales[0]))
    clips, classes = np.flatnonzero(evidence.row_of >= 0), np.flatnonzero(evidence.column_of >= 0)
    rows, columns = evidence.row_of[clips], evidence.column_of[classes]
    columns = slice(None) if np.array_equal(columns, np.arange(len(scores.class_ids))) else columns
    with write_hdf5(path) as file:
        file.attrs["format"], file.attrs["format_version"] = ScoreStore.FORMAT, ScoreStore.FORMAT_VERSION
        file.attrs["scale"], file.attrs["reading"] = TYPES[kind], READING
        file.attrs["vocabulary"], file.attrs["window_rule"] = labels.vocabulary.name, WINDOW_RULE
        file["clip_id"] = fixed_length_text([labels.clip_ids[clip] for clip in clips.tolist()])
        file["class_id"] = fixed_length_text([labels.vocabulary.class_ids[k] for k in classes.tolist()])
        for scale in scales:
            name = window_name(scale)
            stored = scores.clip_scores() if scale == CLIP else scores.scores(scale)
            if scale != CLIP:
                file[f"n_windows_{name}"] = scores.n_windows(scale)[rows].astype(np.int64)
            shape = (len(clips), *stored.shape[1:-1], len(classes))
            n_bytes = int(np.prod(shape[1:])) * np.dtype(kind).itemsize
            chunk = (max(min(CHUNK_BYTES // max(n_bytes, 1), len(clips)), 1), *shape[1:])
            packed = file.create_dataset(
                f"scores_{name}", shape, kind, chunks=chunk, compression="gzip", compression_opts=GZIP_LEVEL,
                shuffle=kind != "uint8", track_times=False,
            )  # fmt: skip
            if scale != CLIP:
                note_hop(packed, scores.hop_s(scale))
            step = max(BLOCK_CLIPS // chunk[0], 1) * chunk[0]
            checksums = SpanChecksums(row_ends(len(clips), n_bytes))
            with Progress(f"targets {name}", len(clips)) as progress:
                for start in range(0, len(clips), step):
                    chosen = rows[start : start + step]
                    values = _of_rows(stored, chosen)[..., columns]
                    _refuse_improper(values, labels, clips[start : start + step])
                    values = _as_stored(values, np.dtype(kind))
                    packed[start : start + len(chosen)] = values
                    checksums.update(values)
                    progress.advance(len(chosen))
            file[f"crc32_{name}"] = checksums.values
        ScoreStore.seal(file)
    return len(clips)


def _of_rows(stored: np.ndarray, rows: np.ndarray) -> np.ndarray:
    consecutive = len(rows) and (np.diff(rows) == 1).all()
    return np.asarray(stored[rows[0] : rows[-1] + 1] if consecutive else stored[rows])


def _as_stored(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    return np.rint(values.astype(np.float32) * 255).astype(kind) if kind == np.uint8 else values.astype(kind)


def _refuse_improper(values: np.ndarray, labels: LabelTable, clips: np.ndarray) -> None:
    improper = ~((values >= 0) & (values <= 1))
    if improper.any():
        clip_id = labels.clip_ids[clips[np.flatnonzero(improper.reshape(len(values), -1).any(axis=1))[0]]]
        raise InputError("a score is not in [0, 1]", clip_id, "Scores are probabilities: score this clip again.")


class Targets:
    """A targets file that is open for reading: `clip_ids`, `class_ids`, and scores looked up by row and column."""

    def __init__(self, store: ScoreStore, file: h5py.File):
        self.path, self._file, self._store = store.path, file, store
        self.clip_ids, self.class_ids = store.clip_ids, store.class_ids
        self.scale = float(store.attributes.get("scale", 1.0))
        self.scores = {name: file[f"scores_{name}"] for name in store.scales}

    @classmethod
    def open(cls, path: Path) -> Targets:
        """Open a file; InputError where it is no score store."""
        store = ScoreStore.open(path)
        file = h5py.File(path, "r")
        store.check_unchanged()
        return cls(store, file)

    def __enter__(self) -> Targets:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def rounded(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return what the file has for these scores of a scale, as float64."""
        return _as_stored(values, self.scores[name].dtype).astype(np.float64) * self.scale

    def hop_s(self, name: str) -> float:
        """Return how many seconds after a window of a scale the next one begins."""
        return self._store.hop_s(parse_window(name))

    def at(self, name: str, clips: np.ndarray, classes: np.ndarray, windows: np.ndarray | None = None) -> np.ndarray:
        """Return the scores of (clip, class) pairs, or of (clip, window, class), as float64; read block by block."""
        dataset, found = self.scores[name], np.empty(len(clips))
        order = np.argsort(clips, kind="stable")
        chunk = dataset.chunks[0] if dataset.chunks else 1
        step = max(BLOCK_CLIPS // chunk, 1) * chunk
        for start in range(0, len(self.clip_ids), step):
            first, last = np.searchsorted(clips[order], (start, start + step))
            if first == last:
                continue
            chosen, block = order[first:last], dataset[start : start + step]
            place = (clips[chosen] - start, *(() if windows is None else (windows[chosen],)), classes[chosen])
            found[chosen] = block[place].astype(np.float64) * self.scale
        return found
