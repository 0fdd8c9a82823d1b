"""ScoreStore: a model's scores for every clip and window (scores.h5); also used as targets for students.

    clip_id        (N,)       str
    class_id       (K,)       str
    scores_clip    (N, K)     float32   whole clip, whatever its length
    scores_10s     (N, W, K)  float16   W = 1 for clips of 10 s; scores_5s: W = 2; scores_2s: W = 5; any other length
    n_windows_10s  (N,)       int64     how many of the W windows are real (if clips differ); the rest is 0
    crc32_clip     (N / 1024,) uint32   checksum of every 1,024 rows; crc32_10s ... (optional when reading)
    attributes: format="pseudolabel-scores", format_version=1, vocabulary, window_rule; optional: model, front_end,
    labels_sha256, out_of_fold, tables_crc32, attributes_crc32; on scores_2s ...: hop_s, if it is not the window length

Only requested scales are stored; without `scores_clip`, a single window of 10 s stands in for the clip. Window w
begins at w * hop_s, where hop_s is the window length by default.

Whole-clip scores keep the teacher's full precision, because labels are added if scores are above a threshold: near
1, where float16 has steps of 4.9e-4, rounding would tie many of them. Windows, five times as many, are targets of a
loss, which half a step changes by at most 2.4e-4. `score --store` sets one type for all scales; any floating-point
type can be read.

Stores in releases are smaller: gzip-compressed in chunks of whole clips, and uint8 if the attribute `scale` is
1 / 255 (score = value * scale). Releases of earlier versions have the format name "pseudolabel-targets".
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.formatting import plural
from pseudolabel.scores.windows import CLIP, is_window_name, length_s, refuse_windows_beyond, window_name
from pseudolabel.scores.writing import (
    CHECKED_ROWS,
    FORMAT,
    FORMAT_VERSION,
    LARGE,
    ScoreLayout,
    row_ends,
    stored_types,
    write_scores,
)
from pseudolabel.stores import KeyedByClip, read_text, store_contents
from pseudolabel.temporaries import full_disk_at

UNPACKED_BYTES = 1 << 24  # unpacked at a time
FACTORS = {"uint8": 1 / 255}  # scale of integer types
Scale = str | float  # "clip", "2s", or the length of a window in seconds


class MappedScores(np.memmap):
    """A memory-mapped array that notices, when read, that its file was replaced."""

    check = None

    def __array_finalize__(self, other: object) -> None:
        super().__array_finalize__(other)
        self.check = getattr(other, "check", None)

    def __getitem__(self, index: object) -> object:
        if self.check is not None:
            self.check()
        return super().__getitem__(index)


class StoredScale(NamedTuple):
    """Where the scores of one scale are in a file, and their shape and type."""

    offset: int | None  # bytes
    shape: tuple[int, ...]
    dtype: np.dtype
    packed: bool  # not memory-mappable as stored
    hop_s: float | None

    @classmethod
    def of(cls, scores: h5py.Dataset) -> StoredScale:
        """Return the description of a data set."""
        packed = bool(scores.chunks) or scores.dtype.name in FACTORS
        hop_s = float(scores.attrs["hop_s"]) if "hop_s" in scores.attrs else None
        return cls(scores.id.get_offset(), scores.shape, scores.dtype, packed, hop_s)

    @property
    def n_row(self) -> int:
        """Scores per clip."""
        return int(np.prod(self.shape[1:]))


def real_windows(scores: np.ndarray, n_windows: np.ndarray) -> np.ndarray:
    """Return which windows of scores (n, W, K) are real, (n, W, 1) bool; `n_windows` is (n,)."""
    return (np.arange(scores.shape[1]) < n_windows[:, None])[..., None]


class ScoreStore(KeyedByClip):
    """Read-only view of scores.h5; score arrays are memory-mapped, not read."""

    FORMAT, FORMAT_VERSION, LARGE, HOLDS = FORMAT, FORMAT_VERSION, LARGE, "scores"
    EARLIER_FORMATS = ("pseudolabel-targets",)

    def __init__(self, path: Path, file: h5py.File):
        self.path = path
        self.clip_ids, self.class_ids = read_text(file["clip_id"]), read_text(file["class_id"])
        self.attributes = dict(file.attrs.items())
        self._stored = {
            name.removeprefix("scores_"): StoredScale.of(file[name]) for name in file if name.startswith("scores_")
        }
        self._unpacked: dict[str, np.ndarray] = {}
        counts = [name for name in file if name.startswith("n_windows_")]
        self._n_windows = {name.removeprefix("n_windows_"): file[name][:] for name in counts}
        self._check()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_unpacked": {}}

    def __repr__(self) -> str:
        size = f"{plural(len(self), 'clip')}, {plural(len(self.class_ids), 'class')}"
        return f"<ScoreStore {self.path}: {size}, {', '.join(self.scales)}>"

    def _check(self) -> None:
        if len(set(self.clip_ids)) != len(self.clip_ids) or len(set(self.class_ids)) != len(self.class_ids):
            raise InputError("a clip id or class id is listed twice", self.path)
        if not self._stored:
            raise InputError("no scores at any scale", self.path)
        for scale, stored in self._stored.items():
            self._check_scale(scale, stored)
        for scale, counts in self._n_windows.items():
            n, most = len(self), self._stored[scale].shape[1]
            possible = counts.shape == (n,) and counts.dtype.kind in "iu"
            if not possible or not ((counts >= 1) & (counts <= most)).all():
                message = f"n_windows_{scale} does not say how many of {most} windows {n} clips have"
                raise InputError(message, self.path)

    def _check_scale(self, scale: str, stored: StoredScale) -> None:
        name, (n, k), shape = f"scores_{scale}", (len(self.clip_ids), len(self.class_ids)), stored.shape
        if not is_window_name(scale):
            message = f"{name} names neither the whole clip (scores_clip) nor the length of windows (scores_2s)"
            raise InputError(message, self.path, "Rename or remove it.")
        factor = self.attributes.get("scale", 1.0)
        number = stored.dtype.kind == "f" or FACTORS.get(stored.dtype.name) == factor
        if len(shape) != (2 if scale == CLIP else 3) or shape[0] != n or shape[-1] != k or not number:
            message = f"{name} is {stored.dtype}{list(shape)} of scale {factor}; there are {n} clips and {k} classes"
            raise InputError(message, self.path)
        if stored.offset is None and not stored.packed and 0 not in shape:
            raise InputError(f"{name} has no values in the file", self.path, "Make it again.")
        if stored.hop_s is not None and not 0 < stored.hop_s < np.inf:
            raise InputError(f"hop_s of {name} is {stored.hop_s:g}; it must be above 0", self.path)

    def _spans(self, name: str, stored: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
        firsts = np.arange(0, len(self), CHECKED_ROWS)
        return row_ends(len(self), stored.nbytes // max(len(self), 1)), firsts

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the stored scales: `clip`, `10s`, `1.5s`."""
        return tuple(self._stored)

    @property
    def imported(self) -> bool:
        """Whether the scores were imported from another model, whose last windows need not follow WINDOW_RULE."""
        return "imported_sha256" in self.attributes

    @property
    def out_of_fold(self) -> bool | None:
        """Whether no clip was scored by a model trained on it; None if nobody recorded it."""
        value = self.attributes.get("out_of_fold")
        unsaid = value is None or (self.imported and not value)  # early imports say False where nothing was given
        return None if unsaid else bool(value)

    def columns(self, class_ids: Iterable[str]) -> np.ndarray:
        """Return the column of each class id, int64; -1 if the store lacks the class."""
        index = {class_id: column for column, class_id in enumerate(self.class_ids)}
        return np.array([index.get(class_id, -1) for class_id in class_ids], dtype=np.int64)

    def has(self, window_s: Scale) -> bool:
        """Return whether the store has scores at a scale."""
        return self._name(window_s) in self._stored

    def refuse_without(self, window_s: Scale, option: str, windows_only: bool = False) -> None:
        """Raise InputError if a scale is not stored, naming those that `option` may give (`windows_only`: no clips)."""
        if not self.has(window_s):
            raise self._absent(window_name(window_s), option, windows_only)

    def _name(self, window_s: Scale) -> str:
        """Return the stored name of a scale; `10s` for whole clips that have no own scores but one 10 s window."""
        name = window_name(window_s)
        ten = self._stored.get("10s")
        return "10s" if name == CLIP and CLIP not in self._stored and ten and ten.shape[1] == 1 else name

    def _absent(self, scale: str, option: str = "", windows_only: bool = False) -> InputError:
        again = "import scores of this scale" if self.imported else f"score again with --windows {scale}"
        named = [name for name in self.scales if not windows_only or name != CLIP] if option else []
        remedy = f"Give {option} {' or '.join(named)}, or {again}." if named else f"{again[0].upper()}{again[1:]}."
        message = f"scale {scale!r} is not there; there are: {', '.join(self.scales)}"
        return InputError(message, self.path, remedy)

    def _array(self, scale: str) -> np.ndarray:
        if scale not in self._stored:
            raise self._absent(scale)
        stored = self._stored[scale]
        self.check_unchanged()
        if 0 in stored.shape:
            return np.zeros(stored.shape, stored.dtype)
        if not stored.packed:
            return self._map(self.path, stored.dtype, stored.offset, stored.shape)
        if scale not in self._unpacked:
            self._unpacked[scale] = self._unpack(scale, stored)
        return self._unpacked[scale]

    def _map(self, file: object, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> MappedScores:
        mapped = MappedScores(file, dtype, "r", offset, shape)
        mapped.check = self.check_unchanged
        return mapped

    def _unpack(self, scale: str, stored: StoredScale) -> np.ndarray:
        """Unpack scores block by block into an unnamed temporary file, and memory-map it."""
        is_float, folder = stored.dtype.kind == "f", tempfile.gettempdir()
        kind = stored.dtype if is_float else np.dtype(np.float32)
        factor = kind.type(1.0 if is_float else self.attributes["scale"])
        needed = stored.shape[0] * stored.n_row * kind.itemsize
        if needed > shutil.disk_usage(folder).free:
            message = f"scores_{scale} unpacks to {needed:,} bytes, more than {folder} has room for"
            raise InputError(message, self.path, "Set TMPDIR to a folder on a larger disk.")
        step = max(UNPACKED_BYTES // (stored.n_row * kind.itemsize), 1)
        with tempfile.TemporaryFile(prefix="pseudolabel-") as room:
            with h5py.File(self.path, "r") as file, full_disk_at(Path(folder)):
                for start in range(0, stored.shape[0], step):
                    with store_contents(self.path):
                        values = file[f"scores_{scale}"][start : start + step]
                    room.write(np.ascontiguousarray(values if is_float else values.astype(kind) * factor))
                room.flush()
            return self._map(room, kind, 0, stored.shape)

    def stored_as(self, window_s: Scale) -> np.dtype:
        """Return the dtype of a scale's scores in the file."""
        return self._stored[self._name(window_s)].dtype

    def scores(self, window_s: Scale) -> np.ndarray:
        """Return the scores (N, W, K) of a scale as stored, memory-mapped; W = 1 for the scale `clip`."""
        return self.clip_scores()[:, None, :] if window_s == CLIP else self._array(window_name(window_s))

    def clip_scores(self) -> np.ndarray:
        """Return the scores (N, K) of whole clips, or of a single window of 10 s if those are absent."""
        name = self._name(CLIP)
        return self._array(name) if name == CLIP else self._array(name)[:, 0]

    def n_windows(self, window_s: Scale) -> np.ndarray:
        """Return each clip's number of real windows, (N,) int64."""
        counts = self._n_windows.get(window_name(window_s))
        return np.full(len(self), self.scores(window_s).shape[1], np.int64) if counts is None else counts

    def hop_s(self, window_s: Scale) -> float:
        """Return the seconds between window starts; 0 for whole clips."""
        scale = window_name(window_s)
        if scale in self._stored and self._stored[scale].hop_s is not None:
            return self._stored[scale].hop_s
        return length_s(scale) or 0.0

    def read(self, window_s: Scale, rows: np.ndarray) -> np.ndarray:
        """Return the scores (n, W, K) of the given rows as stored; scores of real windows are checked.

        Raises:
            InputError: a score is not a number in [0, 1].
        """
        values, counts = np.asarray(self.scores(window_s)[rows]), self.n_windows(window_s)[rows]
        wrong = ~((values >= 0) & (values <= 1)) & real_windows(values, counts)  # NaN too
        if wrong.any():
            row, window, column = np.argwhere(wrong)[0].tolist()
            message = (
                f"clip {self.clip_ids[int(np.asarray(rows)[row])]!r} has the score {values[row, window, column]:g} of "
                f"class {self.class_ids[column]!r} at scale {window_name(window_s)}; it must be in [0, 1]"
            )
            raise InputError(message, self.path, "Scores are probabilities: score this clip again.")
        return values

    def verify_scores(self) -> None:
        """Read all scores; InputError names the first one that is not a number in [0, 1]."""
        for scale, stored in self._stored.items():
            step = max(UNPACKED_BYTES // max(stored.n_row * stored.dtype.itemsize, 1), 1)
            for start in range(0, len(self), step):
                self.read(scale, np.arange(start, min(start + step, len(self))))

    def refuse_beyond(self, lengths_s: Mapping[str, float]) -> int:
        """Check that no window begins at or after its clip's end; return how many of the given clips are in the store.

        Args:
            lengths_s: {clip id: seconds} of any clips.

        Raises:
            InputError: a clip has more windows than fit its length.
        """
        clip_ids = [clip_id for clip_id in lengths_s if clip_id in self.index]
        rows = np.array([self.index[clip_id] for clip_id in clip_ids], np.int64)
        lengths = np.array([lengths_s[clip_id] for clip_id in clip_ids])
        for scale in self.scales if clip_ids else ():
            if scale != CLIP:
                counts = self.n_windows(scale)[rows]
                refuse_windows_beyond(clip_ids, counts, self.hop_s(scale), lengths, scale, self.path)
        return len(rows)

    @staticmethod
    def write(
        path: str | Path,
        clip_ids: Sequence[str],
        class_ids: Sequence[str],
        scores: Mapping[Scale, np.ndarray],
        attributes: Mapping[str, object] | None = None,
        overwrite: bool = False,
        hops_s: Mapping[Scale, float] | None = None,
        store: str | None = None,
    ) -> None:
        """Write a store from whole arrays: `clip` (N, K), windows (N, W, K).

        Args:
            hops_s: {scale: seconds between window starts}.
            store: as for `stored_types`.
        """
        arrays = {window_name(scale): array for scale, array in scores.items()}
        shapes = {scale: np.shape(array) for scale, array in arrays.items()}
        hops_s = {window_name(scale): hop_s for scale, hop_s in (hops_s or {}).items()}
        layout = ScoreLayout(clip_ids, class_ids, shapes, hops_s=hops_s, types=stored_types(shapes, store))
        write_scores(path, layout, iter([arrays]), attributes, overwrite)
