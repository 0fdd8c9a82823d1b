"""Encoding: a recording becomes the bytes of a clip, in memory where it is short, through a file where it is long."""

from __future__ import annotations

import itertools
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from pseudolabel.audio.clips import FULL_SCALE, pack, to_pcm16
from pseudolabel.audio.files import SoundStream, Source, UnreadableAudio, streams
from pseudolabel.audio.reading import Tape, Undecodable

SHORTEST_S = 0.1  # less is shorter than any front end's window of analysis with its overlap
LONG_SAMPLES = 1 << 23  # a recording of more, 8.7 minutes at 16 kHz, is not held in memory
PILE_BYTES, MOST_PILE_BYTES = (
    1 << 25,
    1 << 27,
)  # of encoded clips in memory, at first and at most; further ones in a file
PIECE_BYTES = 1 << 22  # copied at a time
LEAST_HEARD = 0.001  # share of samples that are not 0; a recording scaled down to less has lost its sound


@dataclass(frozen=True)
class Decoding:
    """How a recording becomes a clip."""

    sample_rate: int = 16000
    codec: str = "pcm16"
    limit_s: float | None = None
    shortest_s: float = SHORTEST_S
    full_scale: int = FULL_SCALE


class Pile:
    """Encoded clips in one large buffer, which a process uses for all its blocks: new memory for each costs time.

    What the buffer has no room for goes to a file without a name.

    Args:
        folder: where that file lies; None: where the system keeps such files.
    """

    def __init__(self, folder: Path | None = None):
        self._buffer, self._folder = np.empty(PILE_BYTES, np.uint8), folder
        self._file: BinaryIO | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all pieces."""
        self.sizes: list[int] = []
        self.checksums: list[int] = []
        self._starts: list[int] = []  # below 0: in the file, -1 is its first byte
        self._end = self._file_end = 0
        if self._file:
            self._file.truncate(0)

    def append(self, piece: np.ndarray) -> None:
        """Add a piece, uint8."""
        end = self._end + len(piece)
        if end > MOST_PILE_BYTES:
            self._append_to_file([piece])
            return
        if end > len(self._buffer):
            larger = np.empty(min(max(2 * len(self._buffer), end), MOST_PILE_BYTES), np.uint8)
            larger[: self._end] = self._buffer[: self._end]
            self._buffer = larger
        self._buffer[self._end : end] = piece
        self._starts.append(self._end)
        self.sizes.append(len(piece))
        self.checksums.append(zlib.crc32(piece))
        self._end = end

    def append_file(self, file: BinaryIO) -> None:
        """Add the bytes of a file as one piece."""
        file.seek(0)
        self._append_to_file(iter(lambda: file.read(PIECE_BYTES), b""))

    def _append_to_file(self, pieces: Iterable[bytes | np.ndarray]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed with the pile)
        start, checksum = self._file_end, 0
        self._file.seek(start)
        for piece in pieces:
            self._file.write(piece)
            checksum = zlib.crc32(piece, checksum)
            self._file_end += len(piece)
        self._starts.append(-1 - start)
        self.sizes.append(self._file_end - start)
        self.checksums.append(checksum)

    def arrange(self, order: list[int]) -> None:
        """Put the pieces into another order; `order` holds their present numbers."""
        self._starts, self.sizes, self.checksums = (
            [values[number] for number in order] for values in (self._starts, self.sizes, self.checksums)
        )

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield the bytes of all pieces, uint8, those that are together in memory at once."""
        first = end = 0
        for start, size in zip(self._starts, self.sizes, strict=True):
            if start != end or start < 0:
                if end > first:
                    yield self._buffer[first:end]
                first = end = max(start, 0)
            if start < 0:
                yield from self._from_file(-1 - start, size)
            else:
                end = start + size
        if end > first:
            yield self._buffer[first:end]

    def _from_file(self, start: int, size: int) -> Iterator[np.ndarray]:
        for place in range(start, start + size, PIECE_BYTES):
            self._file.seek(place)
            yield np.frombuffer(self._file.read(min(PIECE_BYTES, start + size - place)), np.uint8)


class Encoded(NamedTuple):
    """What is said of a clip whose bytes are in a pile: its length, whether it was scaled down, how it was cut."""

    n_samples: int
    scaled: bool
    note: str


def encode_into(pile: Pile, source: Source, decoding: Decoding, tape: Tape | None = None) -> Encoded:
    """Decode a recording and add its encoded sound to a pile.

    Raises:
        UnreadableAudio: it cannot be used; the pile is as before.
    """
    for stream in streams(source, decoding.sample_rate, decoding.limit_s, tape):
        blocks, coming, n_samples = [], iter(stream), 0
        try:
            for block in coming:
                blocks.append(block)
                n_samples += len(block)
                if n_samples > LONG_SAMPLES:
                    return _encode_long(pile, itertools.chain(blocks, coming), stream, decoding)
        except Undecodable:
            continue
        samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        if n_samples < decoding.shortest_s * decoding.sample_rate:
            seconds = n_samples / decoding.sample_rate
            raise UnreadableAudio(f"is {seconds:.3f} s short; at least {decoding.shortest_s:g} s are needed", source)
        samples = _scaled(samples, stream.peak)
        pcm = to_pcm16(samples, decoding.full_scale)
        n_sounding = np.count_nonzero(samples) if stream.peak > 1 else n_samples
        refuse_unheard(np.count_nonzero(pcm), n_sounding, n_samples, stream)
        pile.append(pack(pcm, decoding.codec, decoding.sample_rate))
        return Encoded(n_samples, stream.peak > 1, stream.note())
    raise AssertionError("the last stream is read or raises")


def _scaled(samples: np.ndarray, peak: float) -> np.ndarray:
    return (samples / np.float32(peak)).astype(np.float32, copy=False) if peak > 1 else samples


def refuse_unheard(n_heard: int, n_sounding: int, n_samples: int, stream: SoundStream) -> None:
    """Raise UnreadableAudio where 16 bits keep nothing of a recording.

    Args:
        n_heard: samples that are not 0 in 16 bits.
        n_sounding: samples that are not 0 before.
    """
    if not n_heard:
        raise UnreadableAudio("is silent at 16 bits", stream.source)
    if stream.peak > 1 and n_heard < LEAST_HEARD * n_samples <= n_sounding:
        raise UnreadableAudio("has one peak that drowns the rest", stream.source)


def _encode_long(pile: Pile, blocks: Iterable[np.ndarray], stream: SoundStream, decoding: Decoding) -> Encoded:
    """Encode a recording block by block; one that is too loud is read twice, as its peak is known at the end."""
    with tempfile.TemporaryFile(dir=pile._folder) as file:
        counts = _write_long(file, blocks, decoding, 1.0)
        if stream.peak > 1:
            file.seek(0)
            file.truncate()
            counts = _write_long(file, stream.again(), decoding, stream.peak)
        refuse_unheard(*counts, stream)
        pile.append_file(file)
    return Encoded(counts[2], stream.peak > 1, stream.note())


def _write_long(file: BinaryIO, blocks: Iterable[np.ndarray], decoding: Decoding, peak: float) -> tuple[int, int, int]:
    """Write encoded sound; return how many samples are not 0 in 16 bits, and before, and how many there are."""
    import soundfile

    n_heard = n_sounding = n_samples = 0
    flac = None
    if decoding.codec == "flac":
        flac = soundfile.SoundFile(file, "w", decoding.sample_rate, 1, format="FLAC", subtype="PCM_16")
    for block in blocks:
        samples = _scaled(block, peak)
        pcm = to_pcm16(samples, decoding.full_scale)
        n_heard, n_sounding = n_heard + np.count_nonzero(pcm), n_sounding + np.count_nonzero(samples)
        n_samples += len(pcm)
        flac.write(pcm) if flac else file.write(pcm)
    if flac:
        flac.close()
    return n_heard, n_sounding, n_samples
