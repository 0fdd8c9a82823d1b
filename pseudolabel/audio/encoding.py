"""Encode a recording as the bytes of a clip: in memory if it is short, through a file if it is long."""

from __future__ import annotations

import io
import itertools
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pseudolabel.audio.clips import FULL_SCALE, pack, to_pcm16
from pseudolabel.audio.decoding import Tape, Undecodable
from pseudolabel.audio.files import AudioSource, UnreadableAudio
from pseudolabel.audio.streams import SoundStream, joined, scaled_down, streams
from pseudolabel.options import Options
from pseudolabel.temporaries import full_disk_at

SHORTEST_S = 0.1  # anything shorter is below any front end's analysis window with its overlap
LONG_SAMPLES = 1 << 23  # 8.7 minutes at 16 kHz; longer recordings are not held in memory
MOST_PILE_BYTES = 1 << 27  # of encoded clips in memory; further clips go to a file
PIECE_BYTES = 1 << 22  # copied at a time
LEAST_AUDIBLE = 0.001  # share of non-zero samples; a recording scaled down below it has lost its sound


@dataclass(frozen=True)
class ClipOptions(Options):
    """Options for turning a recording into a clip."""

    sample_rate: int = 16000
    codec: str = "pcm16"
    limit_s: float | None = None
    shortest_s: float = SHORTEST_S
    full_scale: int = FULL_SCALE


class Pile:
    """Encoded clips, in memory that a process reuses for all its blocks; what does not fit goes to an unnamed file.

    Args:
        folder: folder of that file; None: the system's folder of temporary files.
    """

    def __init__(self, folder: Path | None = None):
        self.folder, self._memory, self._file = folder, io.BytesIO(), None
        self.clear()

    def clear(self) -> None:
        """Forget all clips."""
        self.sizes: list[int] = []
        self.checksums: list[int] = []
        self._starts: list[tuple[BinaryIO, int]] = []
        self._ends: dict[BinaryIO, int] = {}
        if self._file:
            self._file.truncate(0)

    def append(self, clip: np.ndarray) -> None:
        """Add the bytes of a clip, uint8."""
        fits = self._ends.get(self._memory, 0) + len(clip) <= MOST_PILE_BYTES
        self._append(self._memory if fits else self._overflow(), [clip])

    def append_file(self, file: BinaryIO) -> None:
        """Add the bytes of a file as one clip."""
        file.seek(0)
        self._append(self._overflow(), iter(lambda: file.read(PIECE_BYTES), b""))

    def _overflow(self) -> BinaryIO:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115 (closed with the pile)
        return self._file

    def _append(self, store: BinaryIO, pieces: Iterable[bytes | np.ndarray]) -> None:
        start, checksum = self._ends.get(store, 0), 0
        store.seek(start)
        for piece in pieces:
            with full_disk_at(self.folder or Path(tempfile.gettempdir())):
                store.write(piece)
            checksum = zlib.crc32(piece, checksum)
        self._ends[store] = store.tell()
        self._starts.append((store, start))
        self.sizes.append(self._ends[store] - start)
        self.checksums.append(checksum)

    def arrange(self, order: list[int]) -> None:
        """Reorder the clips; `order` holds their present numbers."""
        self._starts, self.sizes, self.checksums = (
            [values[number] for number in order] for values in (self._starts, self.sizes, self.checksums)
        )

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the bytes of all clips, uint8, in order."""
        for (store, start), size in zip(self._starts, self.sizes, strict=True):
            for position in range(start, start + size, PIECE_BYTES):
                store.seek(position)
                yield np.frombuffer(store.read(min(PIECE_BYTES, start + size - position)), np.uint8)


class Encoded(NamedTuple):
    """A clip whose bytes are in a pile: its length, whether it was scaled down, how it differs from its header."""

    n_samples: int
    scaled: bool
    note: str


def encode_into(pile: Pile, source: AudioSource, options: ClipOptions, tape: Tape | None = None) -> Encoded:
    """Decode a recording and add its encoded sound to a pile.

    Raises:
        UnreadableAudio: it cannot be used; the pile is unchanged.
    """
    for stream in streams(source, options.sample_rate, options.limit_s, tape):
        blocks, coming, n_samples = [], iter(stream), 0
        try:
            for block in coming:
                blocks.append(block)
                n_samples += len(block)
                if n_samples > LONG_SAMPLES:
                    return _encode_long(pile, itertools.chain(blocks, coming), stream, options)
        except Undecodable:
            continue
        return _encode_short(pile, joined(blocks), stream, options)
    raise AssertionError("the last stream is read or raises")


def _encode_short(pile: Pile, samples: np.ndarray, stream: SoundStream, options: ClipOptions) -> Encoded:
    if len(samples) < options.shortest_s * options.sample_rate:
        seconds = len(samples) / options.sample_rate
        raise UnreadableAudio(f"is {seconds:.3f} s short; at least {options.shortest_s:g} s are needed", stream.source)
    samples = scaled_down(samples, stream.peak)
    pcm = to_pcm16(samples, options.full_scale)
    n_before = np.count_nonzero(samples) if stream.peak > 1 else len(samples)
    refuse_inaudible(np.count_nonzero(pcm), n_before, len(samples), stream)
    pile.append(pack(pcm, options.codec, options.sample_rate))
    return Encoded(len(samples), stream.peak > 1, stream.note())


def refuse_inaudible(n_audible: int, n_before: int, n_samples: int, stream: SoundStream) -> None:
    """Raise UnreadableAudio if next to nothing of a recording survives at 16 bits.

    Args:
        n_audible: number of non-zero samples at 16 bits.
        n_before: number of non-zero samples before.
    """
    if not n_audible:
        raise UnreadableAudio("is silent at 16 bits", stream.source)
    if stream.peak > 1 and n_audible < LEAST_AUDIBLE * n_samples <= n_before:
        raise UnreadableAudio("has a peak so loud that the rest vanishes at 16 bits", stream.source)


def _encode_long(pile: Pile, blocks: Iterable[np.ndarray], stream: SoundStream, options: ClipOptions) -> Encoded:
    """Encode a recording block by block; one above full scale is read twice: its peak is known only at the end."""
    with tempfile.TemporaryFile(dir=pile.folder) as file:
        counts = _write_long(file, blocks, options, 1.0)
        if stream.peak > 1:
            file.seek(0)
            file.truncate()
            counts = _write_long(file, stream.again(), options, stream.peak)
        refuse_inaudible(*counts, stream)
        pile.append_file(file)
    return Encoded(counts[2], stream.peak > 1, stream.note())


def _write_long(file: BinaryIO, blocks: Iterable[np.ndarray], options: ClipOptions, peak: float) -> tuple[int, ...]:
    """Write encoded sound; return the counts of samples non-zero at 16 bits, of samples non-zero before, and of all."""
    import soundfile

    n_audible = n_before = n_samples = 0
    flac = None
    if options.codec == "flac":
        flac = soundfile.SoundFile(file, "w", options.sample_rate, 1, format="FLAC", subtype="PCM_16")
    for block in blocks:
        samples = scaled_down(block, peak)
        pcm = to_pcm16(samples, options.full_scale)
        n_audible, n_before = n_audible + np.count_nonzero(pcm), n_before + np.count_nonzero(samples)
        n_samples += len(pcm)
        (flac or file).write(pcm)
    if flac:
        flac.close()
    return n_audible, n_before, n_samples
