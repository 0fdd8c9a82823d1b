"""Write a score store block by block: its layout first, then scores and their checksums (format: store.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError
from pseudolabel.scores.windows import CLIP, WINDOW_RULE, window_name
from pseudolabel.stores import fixed_length_text, seal, write_hdf5

FORMAT, FORMAT_VERSION = "pseudolabel-scores", 1
LARGE = "scores_"  # name prefix of the data sets of scores
CHECKED_ROWS = 1024  # rows per checksum
STORED = ("float32", "float16")  # choices of `stored_types`


def stored_types(scales: Iterable[str], store: str | None = None) -> dict[str, np.dtype]:
    """Return {scale name: dtype of its stored scores}.

    Args:
        store: one of STORED, for all scales; None: float32 for whole clips (`clip`, or 10 s if that is absent), float16
            for the other scales.
    """
    scales = tuple(scales)
    whole = CLIP if CLIP in scales else "10s"
    return {scale: np.dtype(store or ("float32" if scale == whole else "float16")) for scale in scales}


@dataclass(frozen=True, eq=False)
class ScoreLayout:
    """The contents of a store to be written; scales are keyed by name, `clip` or `2s`.

    Args:
        clip_ids, class_ids: N and K distinct ids.
        shapes: shape of each scale's whole array, (N, K) or (N, W, K).
        n_windows: (N,) number of real windows, for scales where clips may have fewer than W.
        hops_s: seconds between window starts, for scales where this may differ from the window length.
        types: dtype of each scale's stored scores; default: `stored_types`.
    """

    clip_ids: Sequence[str]
    class_ids: Sequence[str]
    shapes: Mapping[str, tuple[int, ...]]
    n_windows: Mapping[str, np.ndarray] = field(default_factory=dict)
    hops_s: Mapping[str, float] = field(default_factory=dict)
    types: Mapping[str, np.dtype] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", self.types or stored_types(self.shapes))

    @classmethod
    def of_windows(
        cls, clip_ids: Sequence[str], class_ids: Sequence[str], n_windows: Mapping[str, np.ndarray], **more: Mapping
    ) -> ScoreLayout:
        """Return a layout whose arrays are as wide as the clip with the most windows.

        Args:
            n_windows: (N,) number of windows at each scale, in scale order; ignored for `clip`.
            more: `hops_s`, `types`.
        """
        n, k = len(clip_ids), len(class_ids)
        shapes = {scale: (n, k) if scale == CLIP else (n, int(of.max()), k) for scale, of in n_windows.items()}
        return cls(clip_ids, class_ids, shapes, n_windows, **more)

    def row_bytes(self, scale: str) -> int:
        """Return the size in bytes of a clip's scores at a scale."""
        return self.types[scale].itemsize * int(np.prod(self.shapes[scale][1:]))

    def differing(self) -> dict[str, np.ndarray]:
        """Return the number of real windows per clip, for scales where some clip has fewer than W."""
        return {
            scale: counts
            for scale, counts in self.n_windows.items()
            if scale != CLIP and (np.asarray(counts) != self.shapes[scale][1]).any()
        }


def write_scores(
    path: str | Path,
    layout: ScoreLayout,
    blocks: Iterator[Mapping[str, np.ndarray]],
    attributes: Mapping[str, object] | None = None,
    overwrite: bool = False,
    beside: Callable[[int], None] | None = None,
) -> None:
    """Write a store from blocks of consecutive clips, each {scale: array}, never all in memory at once.

    Args:
        beside: writes the files that accompany the store; called with `tables_crc32` once everything is on disk, before
            the store gets its name, so that no store lacks them.
    """
    sealed = []  # gets tables_crc32 once everything is written
    with write_hdf5(path, overwrite, lambda: beside(*sealed) if beside else None) as file:
        file.attrs["format"], file.attrs["format_version"] = FORMAT, FORMAT_VERSION
        file.attrs["window_rule"] = WINDOW_RULE
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
        file["clip_id"], file["class_id"] = fixed_length_text(layout.clip_ids), fixed_length_text(layout.class_ids)
        for scale, counts in layout.differing().items():
            file[f"n_windows_{scale}"] = np.asarray(counts, np.int64)
        stored = {
            scale: file.create_dataset(f"{LARGE}{scale}", shape, layout.types[scale])
            for scale, shape in layout.shapes.items()
        }
        for scale, hop_s in layout.hops_s.items():
            note_hop(stored[scale], hop_s)
        for scale, checksums in _write_blocks(path, layout, stored, blocks).items():
            file[f"crc32_{scale}"] = checksums.values
        seal(file, LARGE)
        sealed.append(int(file.attrs["tables_crc32"]))


def _write_blocks(
    path: str | Path,
    layout: ScoreLayout,
    stored: Mapping[str, h5py.Dataset],
    blocks: Iterator[Mapping[str, np.ndarray]],
) -> dict[str, SpanChecksums]:
    """Write the blocks into each scale's data set, and return each scale's checksums."""
    n_clips, position = len(layout.clip_ids), 0
    checksums = {scale: SpanChecksums(row_ends(n_clips, layout.row_bytes(scale))) for scale in layout.shapes}
    for block in blocks:
        n_block = len(next(iter(block.values())))
        for scale, array in block.items():
            scores = np.asarray(array, layout.types[scale])
            stored[scale][position : position + n_block] = scores
            checksums[scale].update(scores)
        position += n_block
    if position != n_clips:
        raise InputError(f"{position} clips came, {n_clips} were announced", path)
    return checksums


def note_hop(stored: h5py.Dataset, hop_s: float) -> None:
    """Store the attribute `hop_s` on a data set if it differs from the window length."""
    if window_name(hop_s) != stored.name.strip("/").removeprefix(LARGE):
        stored.attrs["hop_s"] = float(hop_s)


def row_ends(n_rows: int, row_bytes: int) -> np.ndarray:
    """Return the byte at which each span of CHECKED_ROWS rows ends."""
    return np.minimum(np.arange(CHECKED_ROWS, n_rows + CHECKED_ROWS, CHECKED_ROWS), n_rows) * row_bytes
