"""ScoreStore: what a model answered for every clip and window (scores.h5), also the pseudo-strong targets.

    clip_id        (N,)       str
    class_id       (K,)       str
    scores_clip    (N, K)     float16   the whole clip's answer, whatever its length
    scores_10s     (N, W, K)  float16   W = 1 for clips of 10 s; scores_5s: W = 2; scores_2s: W = 5
    n_windows_10s  (N,)       int64     how many of the W windows are real (where clips differ); the rest is 0
    crc32_clip     (N / 1024,) uint32   checksum of every 1,024 rows; crc32_10s ... (optional on reading)
    attributes: format="pseudolabel-scores", format_version=1, vocabulary, window_rule; optional: model, front_end,
    labels_sha256, out_of_fold, tables_crc32

Only those scales that were asked for are there; where `scores_clip` is absent, a single 10 s window stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError
from pseudolabel.scores.windows import CLIP, WINDOW_RULE, window_name
from pseudolabel.stores import KeyedByClip, fixed_length_text, read_text, write_hdf5

CHECKED_ROWS = 1024  # with one checksum
Scale = str | float  # "clip", or the length of a window in seconds


class ScoreStore(KeyedByClip):
    """Read-only view of scores.h5; score arrays are mapped into memory, not read."""

    FORMAT, FORMAT_VERSION, HOLDS, LARGE = "pseudolabel-scores", 1, "scores", "scores_"

    def __init__(self, path: Path, file: h5py.File):
        self.path = path
        self.clip_ids, self.class_ids = read_text(file["clip_id"]), read_text(file["class_id"])
        self.attributes = dict(file.attrs.items())
        self._arrays = {
            name: (dataset.id.get_offset(), dataset.shape, dataset.dtype)
            for name, dataset in file.items()
            if name.startswith("scores_")
        }
        self._n_windows = {name: dataset[:] for name, dataset in file.items() if name.startswith("n_windows_")}
        self._check()

    def _check(self) -> None:
        n, k = len(self.clip_ids), len(self.class_ids)
        if len(set(self.clip_ids)) != n or len(set(self.class_ids)) != k:
            raise InputError("a clip id or class id stands there twice", self.path)
        if not self._arrays:
            raise InputError("no scores at any scale", self.path)
        for name, (offset, shape, dtype) in self._arrays.items():
            dimensions = 2 if name == "scores_clip" else 3
            if len(shape) != dimensions or shape[0] != n or shape[-1] != k or dtype.kind != "f":
                raise InputError(f"{name} is {dtype}{list(shape)}; there are {n} clips and {k} classes", self.path)
            if offset is None and 0 not in shape:
                raise InputError(f"{name} is chunked or compressed; it must be contiguous", self.path)
        for name, counts in self._n_windows.items():
            _, shape, _ = self._arrays[name.replace("n_windows_", "scores_", 1)]
            possible = counts.shape == (n,) and counts.dtype.kind in "iu"
            if not possible or not ((counts >= 1) & (counts <= shape[1])).all():
                raise InputError(f"{name} does not say how many of {shape[1]} windows {n} clips have", self.path)

    def _spans(self, name: str, stored: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
        firsts = np.arange(0, len(self), CHECKED_ROWS)
        return _ends(len(self), stored.nbytes // max(len(self), 1)), firsts

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the scales that are there: `clip`, `10s`, `5s`, `2s`."""
        return tuple(name.removeprefix("scores_") for name in self._arrays)

    def columns(self, class_ids: Iterable[str]) -> np.ndarray:
        """Return the column of each class id, int64, -1 where the store does not have the class."""
        index = {class_id: column for column, class_id in enumerate(self.class_ids)}
        return np.array([index.get(class_id, -1) for class_id in class_ids], dtype=np.int64)

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise InputError(
                f"scale {name.removeprefix('scores_')!r} is not there; there are: {', '.join(self.scales)}",
                self.path,
                "Score again with --windows.",
            )
        offset, shape, dtype = self._arrays[name]
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.memmap(self.path, dtype, "r", offset=offset, shape=shape)

    def scores(self, window_s: Scale) -> np.ndarray:
        """Return the scores (N, W, K) of a scale, float16, memory-mapped; W = 1 for the scale `clip`."""
        if window_s == CLIP:
            return self.clip_scores()[:, None, :]
        return self._array(f"scores_{window_name(window_s)}")

    def clip_scores(self) -> np.ndarray:
        """Return the whole clips' scores (N, K); a single 10 s window stands for them where they are absent."""
        if "scores_clip" not in self._arrays and self._arrays.get("scores_10s", (0, (0, 0)))[1][1] == 1:
            return self._array("scores_10s")[:, 0]
        return self._array("scores_clip")

    def n_windows(self, window_s: Scale) -> np.ndarray:
        """Return how many windows of each clip are real, (N,) int64."""
        counts = self._n_windows.get(f"n_windows_{window_name(window_s)}")
        return np.full(len(self), self.scores(window_s).shape[1], np.int64) if counts is None else counts

    @staticmethod
    def write(
        path: str | Path,
        clip_ids: Sequence[str],
        class_ids: Sequence[str],
        scores: Mapping[Scale, np.ndarray],
        attributes: Mapping[str, object] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write whole arrays: `clip` (N, K), windows (N, W, K), stored as float16."""
        shapes = {window_name(scale): np.shape(array) for scale, array in scores.items()}
        blocks = iter([{window_name(scale): array for scale, array in scores.items()}])
        write_scores(path, clip_ids, class_ids, shapes, {}, blocks, attributes, overwrite)


def write_scores(
    path: str | Path,
    clip_ids: Sequence[str],
    class_ids: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    n_windows: Mapping[str, np.ndarray],
    blocks: Iterator[Mapping[str, np.ndarray]],
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a store from blocks of consecutive clips, each a dict scale -> array, never all in memory.

    Args:
        shapes: scale name -> shape of the whole array.
        n_windows: scale name -> (N,) real windows, for scales where clips differ.
    """
    with write_hdf5(path, overwrite) as file:
        file.attrs["format"], file.attrs["format_version"] = ScoreStore.FORMAT, ScoreStore.FORMAT_VERSION
        file.attrs["window_rule"] = WINDOW_RULE
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
        file["clip_id"], file["class_id"] = fixed_length_text(clip_ids), fixed_length_text(class_ids)
        for name, counts in n_windows.items():
            file[f"n_windows_{name}"] = np.asarray(counts, np.int64)
        stored = {name: file.create_dataset(f"scores_{name}", shape, np.float16) for name, shape in shapes.items()}
        row_bytes = {name: 2 * int(np.prod(shape[1:])) for name, shape in shapes.items()}
        checksums = {name: SpanChecksums(_ends(len(clip_ids), row_bytes[name])) for name in shapes}
        position = 0
        for block in blocks:
            n_clips = len(next(iter(block.values())))
            for name, array in block.items():
                scores = np.asarray(array, np.float16)
                stored[name][position : position + n_clips] = scores
                checksums[name].update(scores)
            position += n_clips
        if position != len(clip_ids):
            raise InputError(f"{position} clips came, {len(clip_ids)} were announced", path)
        for name, found in checksums.items():
            file[f"crc32_{name}"] = found.values
        ScoreStore.seal(file)


def _ends(n_rows: int, row_bytes: int) -> np.ndarray:
    """Return the byte at which each span of CHECKED_ROWS rows ends."""
    return np.minimum(np.arange(CHECKED_ROWS, n_rows + CHECKED_ROWS, CHECKED_ROWS), n_rows) * row_bytes
