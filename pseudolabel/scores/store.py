"""ScoreStore: what a model answered for every clip and window (scores.h5), also the targets that students learn.

    clip_id        (N,)       str
    class_id       (K,)       str
    scores_clip    (N, K)     float32   the whole clip's answer, whatever its length
    scores_10s     (N, W, K)  float16   W = 1 for clips of 10 s; scores_5s: W = 2; scores_2s: W = 5
    n_windows_10s  (N,)       int64     how many of the W windows are real (where clips differ); the rest is 0
    crc32_clip     (N / 1024,) uint32   checksum of every 1,024 rows; crc32_10s ... (optional on reading)
    attributes: format="pseudolabel-scores", format_version=1, vocabulary, window_rule; optional: model, front_end,
    labels_sha256, out_of_fold, tables_crc32, attributes_crc32; of scores_2s ...: hop_s, where windows do not begin
    one after the other

Only those scales that were asked for are there; where `scores_clip` is absent, a single 10 s window stands for it.
Window w of length S begins at w * hop_s, S where nothing is said.

Whole clips keep every bit of the teacher's answer: labels are added where it is above a threshold, and near 1, where
float16 has steps of 4.9e-4, rounding ties many of them. Windows, five times as many, are targets of a loss, which half
a step moves by 2.4e-4 at most. `score --store` asks for one type for all; readers take any floating-point type.

Stores of releases are smaller: packed by gzip in chunks of whole clips, and of uint8 where the attribute `scale` is
1 / 255 (score = value * scale). Releases of earlier versions call their format "pseudolabel-targets".
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError
from pseudolabel.scores.windows import (
    CLIP,
    WINDOW_RULE,
    is_window_name,
    parse_window,
    refuse_windows_beyond,
    window_name,
)
from pseudolabel.stores import KeyedByClip, fixed_length_text, read_text, store_contents, write_hdf5

CHECKED_ROWS = 1024  # with one checksum
UNPACKED_BYTES = 1 << 24  # at a time
SCALES = {"uint8": 1 / 255}  # of values that are no floating-point numbers
STORED = ("float32", "float16")  # what `stored_types` can be asked for
Scale = str | float  # "clip", or the length of a window in seconds


class MappedScores(np.memmap):
    """An array that is mapped into memory and notices when it is read that its file was replaced."""

    check = None

    def __array_finalize__(self, other: object) -> None:
        super().__array_finalize__(other)
        self.check = getattr(other, "check", None)

    def __getitem__(self, index: object) -> object:
        if self.check is not None:
            self.check()
        return super().__getitem__(index)


class ScoreStore(KeyedByClip):
    """Read-only view of scores.h5; score arrays are mapped into memory, not read."""

    FORMAT, FORMAT_VERSION, HOLDS, LARGE = "pseudolabel-scores", 1, "scores", "scores_"
    EARLIER_FORMATS = ("pseudolabel-targets",)

    def __init__(self, path: Path, file: h5py.File):
        self.path = path
        self.clip_ids, self.class_ids = read_text(file["clip_id"]), read_text(file["class_id"])
        self.attributes = dict(file.attrs.items())
        stored = {name: file[name] for name in file if name.startswith("scores_")}
        self._arrays = {name: (data.id.get_offset(), data.shape, data.dtype) for name, data in stored.items()}
        self._hops = {name: float(data.attrs["hop_s"]) for name, data in stored.items() if "hop_s" in data.attrs}
        self._packed = {name for name, data in stored.items() if data.chunks or data.dtype.name in SCALES}
        self._unpacked: dict[str, np.ndarray] = {}
        self._n_windows = {name: dataset[:] for name, dataset in file.items() if name.startswith("n_windows_")}
        self._check()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_unpacked": {}}

    def _check(self) -> None:
        n, k = len(self.clip_ids), len(self.class_ids)
        if len(set(self.clip_ids)) != n or len(set(self.class_ids)) != k:
            raise InputError("a clip id or class id is listed twice", self.path)
        if not self._arrays:
            raise InputError("no scores at any scale", self.path)
        for name, (offset, shape, dtype) in self._arrays.items():
            if not is_window_name(name.removeprefix("scores_")):
                message = f"{name} names neither the whole clip (scores_clip) nor the length of windows (scores_2s)"
                raise InputError(message, self.path, "Rename or remove it.")
            dimensions = 2 if name == "scores_clip" else 3
            scale = self.attributes.get("scale", 1.0)
            number = dtype.kind == "f" or SCALES.get(dtype.name) == scale
            if len(shape) != dimensions or shape[0] != n or shape[-1] != k or not number:
                claim = f"{name} is {dtype}{list(shape)} of scale {scale}; there are {n} clips and {k} classes"
                raise InputError(claim, self.path)
            if offset is None and name not in self._packed and 0 not in shape:
                raise InputError(f"{name} has no place in the file", self.path, "Make it again.")
            if not 0 < self._hops.get(name, 1.0) < np.inf:
                raise InputError(f"hop_s of {name} is {self._hops[name]:g}; it must be above 0", self.path)
        for name, counts in self._n_windows.items():
            _, shape, _ = self._arrays[name.replace("n_windows_", "scores_", 1)]
            possible = counts.shape == (n,) and counts.dtype.kind in "iu"
            if not possible or not ((counts >= 1) & (counts <= shape[1])).all():
                raise InputError(f"{name} does not say how many of {shape[1]} windows {n} clips have", self.path)

    def _spans(self, name: str, stored: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
        firsts = np.arange(0, len(self), CHECKED_ROWS)
        return row_ends(len(self), stored.nbytes // max(len(self), 1)), firsts

    @property
    def scales(self) -> tuple[str, ...]:
        """Names of the scales that are there: `clip`, `10s`, `1.5s`."""
        return tuple(name.removeprefix("scores_") for name in self._arrays)

    @property
    def imported(self) -> bool:
        """Return whether another model gave these answers, whose last windows need not follow WINDOW_RULE."""
        return "imported_sha256" in self.attributes

    def columns(self, class_ids: Iterable[str]) -> np.ndarray:
        """Return the column of each class id, int64, -1 where the store does not have the class."""
        index = {class_id: column for column, class_id in enumerate(self.class_ids)}
        return np.array([index.get(class_id, -1) for class_id in class_ids], dtype=np.int64)

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise self._absent(name)
        offset, shape, dtype = self._arrays[name]
        self.check_unchanged()
        if 0 in shape:
            return np.zeros(shape, dtype)
        if name in self._packed:
            if name not in self._unpacked:
                self._unpacked[name] = self._unpack(name)
            return self._unpacked[name]
        mapped = MappedScores(self.path, dtype, "r", offset=offset, shape=shape)
        mapped.check = self.check_unchanged
        return mapped

    def _absent(self, name: str, option: str = "") -> InputError:
        scale = name.removeprefix("scores_")
        again = "import answers of this scale" if self.imported else f"score again with --windows {scale}"
        remedy = f"Give {option} {' or '.join(self.scales)}, or {again}." if option else f"{again.capitalize()}."
        message = f"scale {scale!r} is not there; there are: {', '.join(self.scales)}"
        return InputError(message, self.path, remedy)

    def has(self, window_s: Scale) -> bool:
        """Return whether there are scores of a scale."""
        return window_name(window_s) in self.scales or (window_s == CLIP and self._window_is_clip())

    def refuse_without(self, window_s: Scale, option: str) -> None:
        """Raise InputError where a scale is not there; it names the scales that `option` may be."""
        if not self.has(window_s):
            raise self._absent(f"scores_{window_name(window_s)}", option)

    def _window_is_clip(self) -> bool:
        """Return whether a single 10 s window stands for the whole clip, whose own scores are absent."""
        return "scores_clip" not in self._arrays and self._arrays.get("scores_10s", (0, (0, 0)))[1][1] == 1

    def _unpack(self, name: str) -> np.ndarray:
        """Return packed scores, unpacked block by block into a file without a name and mapped from there."""
        _, shape, dtype = self._arrays[name]
        scale, kind = (1.0, dtype) if dtype.kind == "f" else (self.attributes["scale"], np.dtype(np.float32))
        needed, row_bytes = int(np.prod(shape)) * kind.itemsize, int(np.prod(shape[1:])) * kind.itemsize
        if needed > shutil.disk_usage(tempfile.gettempdir()).free:
            message = f"{name} unpacks to {needed:,} bytes, more than {tempfile.gettempdir()} has room for"
            raise InputError(message, self.path, "Set TMPDIR to a folder on a larger disk.")
        with tempfile.TemporaryFile(prefix="pseudolabel-") as room:
            with h5py.File(self.path, "r") as file, store_contents(self.path):
                step = max(UNPACKED_BYTES // row_bytes, 1)
                for start in range(0, shape[0], step):
                    values = file[name][start : start + step]
                    room.write(np.ascontiguousarray(values if scale == 1 else values.astype(kind) * kind.type(scale)))
            room.flush()
            unpacked = MappedScores(room, kind, "r", shape=shape)
        unpacked.check = self.check_unchanged
        return unpacked

    def stored_as(self, window_s: Scale) -> np.dtype:
        """Return the type of a scale's scores in the file."""
        name = "10s" if window_s == CLIP and self._window_is_clip() else window_name(window_s)
        return self._arrays[f"scores_{name}"][2]

    def scores(self, window_s: Scale) -> np.ndarray:
        """Return the scores (N, W, K) of a scale as they are stored, memory-mapped; W = 1 for the scale `clip`."""
        if window_s == CLIP:
            return self.clip_scores()[:, None, :]
        return self._array(f"scores_{window_name(window_s)}")

    def clip_scores(self) -> np.ndarray:
        """Return the whole clips' scores (N, K); a single 10 s window stands for them where they are absent."""
        if self._window_is_clip():
            return self._array("scores_10s")[:, 0]
        return self._array("scores_clip")

    def n_windows(self, window_s: Scale) -> np.ndarray:
        """Return how many windows of each clip are real, (N,) int64."""
        counts = self._n_windows.get(f"n_windows_{window_name(window_s)}")
        return np.full(len(self), self.scores(window_s).shape[1], np.int64) if counts is None else counts

    def hop_s(self, window_s: Scale) -> float:
        """Return how many seconds after a window the next one begins; the length where nothing else is said."""
        return self._hops.get(f"scores_{window_name(window_s)}", 0.0 if window_s == CLIP else float(window_s))

    def read(self, window_s: Scale, rows: np.ndarray) -> np.ndarray:
        """Return the scores (n, W, K) of some rows, each of them checked; windows that a clip lacks are 0.

        Raises:
            InputError: a score is not a number in [0, 1].
        """
        values, real = np.asarray(self.scores(window_s)[rows]), self.n_windows(window_s)[rows]
        wrong = ~((values >= 0) & (values <= 1)) & (np.arange(values.shape[1]) < real[:, None])[..., None]  # NaN too
        if wrong.any():
            row, window, column = np.argwhere(wrong)[0].tolist()
            raise InputError(
                f"clip {self.clip_ids[int(np.asarray(rows)[row])]!r} has the score {values[row, window, column]:g} of "
                f"class {self.class_ids[column]!r} at scale {window_name(window_s)}; it must be in [0, 1]",
                self.path, "Scores are probabilities: score this clip again.",
            )  # fmt: skip
        return values

    def verify_scores(self) -> None:
        """Read all scores; InputError names the first that is not a number in [0, 1]."""
        for scale in map(parse_window, self.scales):
            _, shape, dtype = self._arrays[f"scores_{window_name(scale)}"]
            step = max(UNPACKED_BYTES // max(int(np.prod(shape[1:])) * dtype.itemsize, 1), 1)
            for start in range(0, len(self), step):
                self.read(scale, np.arange(start, min(start + step, len(self))))

    def refuse_beyond(self, lengths_s: Mapping[str, float]) -> int:
        """Return how many clips have a known length; refuse a window that begins where its clip has ended.

        Args:
            lengths_s: {clip id: seconds}, of any of the clips.

        Raises:
            InputError: a clip has more windows than it can have.
        """
        rows = np.array([self.index[clip_id] for clip_id in lengths_s if clip_id in self.index], np.int64)
        lengths = np.array([lengths_s[self.clip_ids[row]] for row in rows.tolist()])
        for scale in map(parse_window, self.scales if len(rows) else ()):
            if scale != CLIP:
                hop_s, counts = self.hop_s(scale), self.n_windows(scale)[rows]
                refuse_windows_beyond([self.clip_ids[row] for row in rows], counts, hop_s, lengths, scale, self.path)
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
        """Write whole arrays: `clip` (N, K), windows (N, W, K).

        Args:
            hops_s: as `hop_s` returns it.
            store: as for `stored_types`.
        """
        shapes = {window_name(scale): np.shape(array) for scale, array in scores.items()}
        blocks = iter([{window_name(scale): array for scale, array in scores.items()}])
        hops_s = {window_name(scale): hop_s for scale, hop_s in (hops_s or {}).items()}
        types = stored_types(shapes, store)
        write_scores(path, clip_ids, class_ids, shapes, {}, blocks, attributes, overwrite, hops_s, types=types)


def stored_types(scales: Iterable[str], store: str | None = None) -> dict[str, np.dtype]:
    """Return scale name -> type that its scores are stored as.

    Args:
        store: one of STORED, for all scales; None: float32 for the scale that stands for whole clips (`clip`, or 10 s
            where it is not there), float16 for the others.
    """
    scales = tuple(scales)
    whole = CLIP if CLIP in scales else "10s"
    return {scale: np.dtype(store or ("float32" if scale == whole else "float16")) for scale in scales}


def write_scores(
    path: str | Path,
    clip_ids: Sequence[str],
    class_ids: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    n_windows: Mapping[str, np.ndarray],
    blocks: Iterator[Mapping[str, np.ndarray]],
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    hops_s: Mapping[str, float] | None = None,
    beside: Callable[[int], None] | None = None,
    types: Mapping[str, np.dtype] | None = None,
) -> None:
    """Write a store from blocks of consecutive clips, each a dict scale -> array, never all in memory.

    Args:
        shapes: scale name -> shape of the whole array.
        n_windows: scale name -> (N,) real windows, for scales where clips differ.
        hops_s: scale name -> seconds from window to window, where these are not their length.
        beside: writes the files that belong to the store; called with `tables_crc32` when all is on the disk, before
            the store takes its name, so that a store never lacks them.
        types: scale name -> type that its scores are stored as; None: `stored_types`.
    """
    types = types or stored_types(shapes)
    sealed = []  # tables_crc32, once it is known
    with write_hdf5(path, overwrite, lambda: beside(*sealed) if beside else None) as file:
        file.attrs["format"], file.attrs["format_version"] = ScoreStore.FORMAT, ScoreStore.FORMAT_VERSION
        file.attrs["window_rule"] = WINDOW_RULE
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
        file["clip_id"], file["class_id"] = fixed_length_text(clip_ids), fixed_length_text(class_ids)
        for name, counts in n_windows.items():
            file[f"n_windows_{name}"] = np.asarray(counts, np.int64)
        stored = {name: file.create_dataset(f"scores_{name}", shape, types[name]) for name, shape in shapes.items()}
        for name, hop_s in (hops_s or {}).items():
            note_hop(stored[name], hop_s)
        row_bytes = {name: types[name].itemsize * int(np.prod(shape[1:])) for name, shape in shapes.items()}
        checksums = {name: SpanChecksums(row_ends(len(clip_ids), row_bytes[name])) for name in shapes}
        position = 0
        for block in blocks:
            n_clips = len(next(iter(block.values())))
            for name, array in block.items():
                scores = np.asarray(array, types[name])
                stored[name][position : position + n_clips] = scores
                checksums[name].update(scores)
            position += n_clips
        if position != len(clip_ids):
            raise InputError(f"{position} clips came, {len(clip_ids)} were announced", path)
        for name, found in checksums.items():
            file[f"crc32_{name}"] = found.values
        ScoreStore.seal(file)
        sealed.append(int(file.attrs["tables_crc32"]))


def note_hop(stored: h5py.Dataset, hop_s: float) -> None:
    """Say in a data set how far apart its windows begin, where that is not their length."""
    if window_name(hop_s) != stored.name.strip("/").removeprefix("scores_"):
        stored.attrs["hop_s"] = float(hop_s)


def row_ends(n_rows: int, row_bytes: int) -> np.ndarray:
    """Return the byte at which each span of CHECKED_ROWS rows ends."""
    return np.minimum(np.arange(CHECKED_ROWS, n_rows + CHECKED_ROWS, CHECKED_ROWS), n_rows) * row_bytes
