"""ClipStore: the audio of many clips in one file (clips.h5) that any number of processes read without locks.

clip_id    (N,)      str     unique
group      (N,)      str     recordings of one group stay in one fold; the clip id if it has no group
n_samples  (N,)      int64   length of each clip
offset     (N + 1,)  int64   clip i is bytes[offset[i]:offset[i + 1]]
bytes      (total,)  uint8   contiguous, so it can be memory-mapped
crc32      (N,)      uint32  checksum of each clip's bytes (optional on reading)
attributes: format="pseudolabel-clips", format_version=1, sample_rate (Hz), codec ("pcm16" or "flac"), source,
full_scale (the 16-bit value of a sample of 1: 32768; stores of earlier versions lack it and mean 32767),
tables_crc32 (optional on reading)
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.checksums import SpanChecksums
from pseudolabel.errors import InputError, first_few
from pseudolabel.formatting import plural
from pseudolabel.stores import (
    ALIGNED_FROM,
    ALIGNMENT,
    KeyedByClip,
    complete_hdf5,
    fixed_length_text,
    read_text,
    text_attribute,
    whole_number,
    write_hdf5,
)

CODECS = ("pcm16", "flac")
LEAST_IN_PLACE = ALIGNED_FROM  # bytes of audio; HDF5 places smaller data sets late
FULL_SCALE = 32768  # as in the decoders, so 16-bit recordings come back bit for bit
EARLIER_FULL_SCALE = 32767  # of stores without the attribute


def to_pcm16(samples: np.ndarray, full_scale: int = FULL_SCALE) -> np.ndarray:
    """Return float samples (T,) in [-1, 1] as the nearest int16; +1 becomes 32767."""
    scaled = samples * full_scale
    np.rint(scaled, out=scaled)  # in place: allocating memory would cost more than rounding
    return np.clip(scaled, -32768, 32767, out=scaled).astype("<i2")


def encode(samples: np.ndarray, codec: str, sample_rate: int) -> np.ndarray:
    """Encode one clip (T,), float in [-1, 1], as bytes, uint8."""
    return pack(to_pcm16(samples), codec, sample_rate)


def pack(pcm: np.ndarray, codec: str, sample_rate: int) -> np.ndarray:
    """Encode one clip (T,) int16 as bytes, uint8."""
    if codec == "pcm16":
        return pcm.astype("<i2", copy=False).view(np.uint8)
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate, format="FLAC", subtype="PCM_16")
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8)


class ClipStore(KeyedByClip):
    """Read-only view of clips.h5; can be pickled into worker processes."""

    FORMAT, FORMAT_VERSION, HOLDS, LARGE = "pseudolabel-clips", 1, "audio", "bytes"

    def __init__(self, path: Path, file: h5py.File):
        self.path = path
        self.clip_ids = read_text(file["clip_id"])
        self.groups = read_text(file["group"])
        self.n_samples = file["n_samples"][:]
        self.offsets = file["offset"][:]
        self.sample_rate = whole_number(file.attrs["sample_rate"])
        self.codec = text_attribute(file.attrs["codec"])
        self.full_scale = whole_number(file.attrs.get("full_scale", EARLIER_FULL_SCALE))
        self.source = text_attribute(file.attrs.get("source", ""))
        stored = file["bytes"]
        self._start, self._size = stored.id.get_offset(), stored.size
        if stored.dtype != np.uint8 or stored.ndim != 1 or (self._start is None and self._size):
            raise InputError(
                f"`bytes` is {stored.dtype}{list(stored.shape)}, or chunked or compressed; it must be contiguous uint8",
                path,
            )
        self._bytes: np.ndarray | None = None
        self.audio_start = self._start or 0  # byte offset in the file
        self.crc32 = file["crc32"][:] if "crc32" in file else None
        self._check()

    def _check(self) -> None:
        n = len(self.clip_ids)
        if self.sample_rate <= 0:
            raise InputError(f"sample_rate is {self.sample_rate} Hz; it must be above 0", self.path, "Make it again.")
        if self.full_scale not in (FULL_SCALE, EARLIER_FULL_SCALE):
            rule = f"full_scale is {self.full_scale}; it must be {FULL_SCALE} or, as earlier, {EARLIER_FULL_SCALE}"
            raise InputError(rule, self.path, "Make it again.")
        consistent = (
            len(self.groups) == n
            and self.n_samples.shape == (n,)
            and self.offsets.shape == (n + 1,)
            and self.n_samples.dtype.kind == self.offsets.dtype.kind == "i"
            and (self.n_samples >= 0).all()
            and self.offsets[0] == 0
            and self.offsets[-1] == self._size
            and (np.diff(self.offsets) >= 0).all()
        )
        if self.codec == "pcm16":
            consistent = consistent and (np.diff(self.offsets) == 2 * self.n_samples).all()
        if not consistent or self.codec not in CODECS or len(set(self.clip_ids)) != n:
            raise InputError("offsets, lengths and ids contradict each other", self.path, "Make the store again.")

    def _spans(self, name: str, stored: h5py.Dataset) -> tuple[np.ndarray, np.ndarray]:
        return self.offsets[1:], np.arange(len(self))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_bytes": None}

    def __repr__(self) -> str:
        return f"<ClipStore {self.path}: {plural(len(self), 'clip')}, {self.sample_rate:,} Hz>"

    def encoded(self, row: int) -> np.ndarray:
        """Return a row's stored bytes, uint8, memory-mapped."""
        self.check_unchanged()
        if self._bytes is None:
            if self._size:
                self._bytes = np.memmap(self.path, np.uint8, "r", offset=self._start, shape=(self._size,))
            else:
                self._bytes = np.empty(0, np.uint8)
        return self._bytes[self.offsets[row] : self.offsets[row + 1]]

    def read_pcm16(self, row: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return samples [start, stop) of a row as int16, cut at the clip's end; without a copy if the codec allows."""
        stored = self.encoded(row)
        if self.codec == "pcm16":
            return stored.view("<i2")[start:stop]
        import soundfile

        with soundfile.SoundFile(io.BytesIO(stored.tobytes())) as file:
            first, end, _ = slice(start, stop).indices(file.frames)
            file.seek(first)  # skips decoding what comes before
            return file.read(max(end - first, 0), dtype="int16")

    def read(self, clip_id: str) -> np.ndarray:
        """Return a clip's samples (T,) float32 in [-1, 1] at `sample_rate`."""
        return self.read_pcm16(int(self.rows([clip_id])[0])).astype(np.float32) / self.full_scale

    def left(self, rows: np.ndarray, start: np.ndarray, length: int) -> np.ndarray:
        """Return how many samples of each piece from `batch` belong to the clip, (B,) int64, at least 1."""
        return np.clip(self.n_samples[rows] - start, 1, length)

    def batch(self, rows: Sequence[int], start: Sequence[int] | int, length: int) -> np.ndarray:
        """Return a piece of each row as one array (B, length) float32, zero-padded after the clip's end.

        Args:
            rows: (B,) rows of the store.
            start: (B,) first sample of each piece, or one for all; 0 or more, even beyond the clip's end.
            length: samples per piece.
        """
        pieces = np.zeros((len(rows), length), np.int16)
        starts = np.broadcast_to(start, len(rows))
        if (starts < 0).any():
            raise ValueError(f"a piece starts {-starts.min()} samples before the clip")
        for piece, row, first in zip(pieces, rows, starts, strict=True):
            samples = self.read_pcm16(int(row), int(first), int(first) + length)
            piece[: len(samples)] = samples
        return pieces.astype(np.float32) / self.full_scale


@dataclass(frozen=True)
class ClipTable:
    """Everything in a store of N clips but their audio.

    Attributes:
        clip_ids, groups: (N,) texts.
        n_samples, n_bytes: (N,) length of each clip in samples and in encoded bytes.
        sample_rate: Hz.
        codec, source: attributes of the file.
        crc32: (N,) checksum of each clip's bytes; None if not known yet.
        full_scale: 16-bit value of a sample of 1.
    """

    clip_ids: Sequence[str]
    groups: Sequence[str]
    n_samples: Sequence[int]
    n_bytes: Sequence[int]
    sample_rate: int
    codec: str = "pcm16"
    source: str = ""
    crc32: Sequence[int] | None = None
    full_scale: int = FULL_SCALE

    def write(self, file: h5py.File) -> None:
        """Complete a store that holds the audio: write everything else."""
        file.attrs["format"], file.attrs["format_version"] = ClipStore.FORMAT, ClipStore.FORMAT_VERSION
        for name in ("sample_rate", "codec", "full_scale", "source"):
            file.attrs[name] = getattr(self, name)
        file["clip_id"], file["group"] = fixed_length_text(self.clip_ids), fixed_length_text(self.groups)
        file["n_samples"], file["crc32"] = np.asarray(self.n_samples, np.int64), np.asarray(self.crc32, np.uint32)
        file["offset"] = np.concatenate([[0], np.cumsum(self.n_bytes, dtype=np.int64)]).astype(np.int64)
        ClipStore.seal(file)


def write_clips(path: str | Path, table: ClipTable, chunks: Iterable[np.ndarray], overwrite: bool = False) -> None:
    """Write a store from encoded bytes that arrive in clip order and are never all in memory.

    Args:
        table: its checksums, if any, are compared with those of the bytes.
        chunks: uint8 arrays of any size whose concatenation is the encoded clips.

    Raises:
        InputError: too few bytes arrived, or their checksums differ.
    """
    n_bytes, checksums = sum(table.n_bytes), SpanChecksums(np.cumsum(table.n_bytes, dtype=np.int64))
    with write_hdf5(path, overwrite) as file:
        stored, position = _audio_in(file, n_bytes), 0
        with ThreadPoolExecutor(1, "checksums") as beside:
            for chunk in chunks:
                summed = beside.submit(checksums.update, chunk)
                stored[position : position + len(chunk)] = chunk
                position += len(chunk)
                summed.result()
        if position != n_bytes:
            raise InputError(f"{position} bytes came, {n_bytes} were announced", path)
        if table.crc32 is not None and not np.array_equal(checksums.values, table.crc32):
            damaged = first_few(table.clip_ids[row] for row in np.flatnonzero(checksums.values != table.crc32))
            remedy = "Decode them again: remove the folder of blocks, or give --overwrite."
            raise InputError(f"audio was corrupted before it was written to the store: {damaged}", path, remedy)
        replace(table, crc32=checksums.values).write(file)


def complete_clips(path: Path, table: ClipTable) -> None:
    """Turn a file of encoded audio into the store `write_clips` would make, without moving the audio.

    Args:
        path: file whose audio begins at byte `audio_start()` and has LEAST_IN_PLACE bytes or more.
        table: with checksums.
    """
    start, n_bytes = audio_start(), sum(table.n_bytes)
    with open(path, "rb+") as file:
        file.write(bytes(start))  # clears what an earlier attempt left
        file.truncate(start + n_bytes)
    with complete_hdf5(path) as file:
        position = _audio_in(file, n_bytes).id.get_offset()
        if position != start:
            raise RuntimeError(f"HDF5 puts the audio at byte {position}, it is at {start}")
        table.write(file)


def audio_start() -> int:
    """Return the byte at which this machine's HDF5 library begins the audio of a store."""
    with h5py.File(io.BytesIO(), "w", alignment_threshold=ALIGNED_FROM, alignment_interval=ALIGNMENT) as file:
        return _audio_in(file, LEAST_IN_PLACE).id.get_offset()


def _audio_in(file: h5py.File, n_bytes: int) -> h5py.Dataset:
    """Create and allocate the audio data set; it is the first in the file, hence always at the same byte."""
    kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kind.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kind.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kind.set_obj_track_times(False)
    space = h5py.h5s.create_simple((n_bytes,))
    return h5py.Dataset(h5py.h5d.create(file.id, ClipStore.LARGE.encode(), h5py.h5t.STD_U8LE, space, kind))
