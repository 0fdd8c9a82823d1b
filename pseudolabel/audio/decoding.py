"""Decoding: recordings become the blocks of a clip store, by several processes, each block once."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import h5py
import numpy as np

from pseudolabel.audio.clips import encode, encode_pcm16
from pseudolabel.audio.files import Recording, Source, UnreadableAudio, read_audio
from pseudolabel.blocks import Blocks
from pseudolabel.progress import Progress
from pseudolabel.stores import fixed_length_text, read_text

BLOCK_SIZE = 128  # clips a block: a few seconds of work to lose at most
SHORTEST_S = 0.1  # less is shorter than any front end's window of analysis with its overlap
PIECE_BYTES = 1 << 22  # of encoded audio, read at a time
PILE_BYTES = 1 << 26  # of encoded audio that a block has room for at first; what it does not use costs nothing
LEAST_HEARD = 0.001  # share of samples that are not 0; a recording scaled down to less has lost its sound
Listed = list[tuple[str, Source]]  # clip id, recording


@dataclass(frozen=True)
class Decoding:
    """How a recording becomes a clip."""

    sample_rate: int = 16000
    codec: str = "pcm16"
    limit_s: float | None = None
    shortest_s: float = SHORTEST_S


def encode_heard(recording: Recording, source: Source, decoding: Decoding) -> np.ndarray:
    """Return the encoded recording, uint8; UnreadableAudio where 16 bits keep nothing of what it holds."""
    samples = recording.samples
    pcm16 = encode_pcm16(samples)
    n_heard, least = np.count_nonzero(pcm16.view("<i2")), LEAST_HEARD * len(samples)
    if not n_heard:
        raise UnreadableAudio("is silent at 16 bits", source)
    if recording.scaled and n_heard < least <= np.count_nonzero(samples):
        raise UnreadableAudio("has one peak that drowns the rest", source)
    return pcm16 if decoding.codec == "pcm16" else encode(samples, decoding.codec, decoding.sample_rate)


class Pile:
    """Bytes that grow in one large buffer: many small ones would be taken from the system anew for each block."""

    def __init__(self):
        self.sizes: list[int] = []
        self._buffer, self._end = np.empty(PILE_BYTES, np.uint8), 0

    def append(self, piece: np.ndarray) -> None:
        """Add a piece, uint8."""
        end = self._end + len(piece)
        if end > len(self._buffer):
            larger = np.empty(max(2 * len(self._buffer), end), np.uint8)
            larger[: self._end] = self._buffer[: self._end]
            self._buffer = larger
        self._buffer[self._end : end] = piece
        self.sizes.append(len(piece))
        self._end = end

    def all(self) -> np.ndarray:
        """Return all pieces one after the other."""
        return self._buffer[: self._end]


def make_block(blocks: Blocks, block: int, files: Listed, decoding: Decoding) -> int:
    """Decode the recordings of one block, write it, and return how many there were."""
    kept, encoded, lengths, skipped, scaled = [], Pile(), [], [], 0
    for clip_id, source in files:
        try:
            recording = read_audio(source, decoding.sample_rate, decoding.limit_s)
            if len(recording.samples) < decoding.shortest_s * decoding.sample_rate:
                seconds = len(recording.samples) / decoding.sample_rate
                raise UnreadableAudio(
                    f"is {seconds:.3f} s short; at least {decoding.shortest_s:g} s are needed", source
                )
            piece = encode_heard(recording, source, decoding)
        except UnreadableAudio as error:
            skipped.append((clip_id, str(source), error.reason))
            continue
        kept.append(clip_id)
        lengths.append(len(recording.samples))
        encoded.append(piece)
        scaled += recording.scaled

    def fill(file: h5py.File) -> None:
        file["clip_id"] = fixed_length_text(kept)
        file["n_samples"] = np.array(lengths, np.int64)
        file["n_bytes"] = np.array(encoded.sizes, np.int64)
        file["bytes"] = encoded.all()
        for column, name in enumerate(("skipped_id", "skipped_file", "skipped_reason")):
            file[name] = fixed_length_text([row[column] for row in skipped])
        file.attrs["scaled"] = scaled

    blocks.write(block, fill)
    return len(files)


def decode_all(files: Listed, blocks: Blocks, decoding: Decoding, n_processes: int) -> None:
    """Make every unfinished block, by several processes."""
    unfinished = blocks.unfinished()
    n_done = len(files) - sum(len(blocks.span(block)) for block in unfinished)
    with Progress("prepare", len(files), start=n_done) as progress:
        if n_processes == 1 or len(unfinished) <= 1:
            for block in unfinished:
                progress.advance(make_block(blocks, block, [files[i] for i in blocks.span(block)], decoding))
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(n_processes, len(unfinished)), context, _end_with_parent) as pool:
            jobs = [
                pool.submit(make_block, blocks, block, [files[i] for i in blocks.span(block)], decoding)
                for block in unfinished
            ]
            try:
                for job in jobs:
                    progress.advance(job.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # else every block is made before the error is seen
                raise


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed, instead of waiting for work forever."""

    def watch() -> None:
        multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@dataclass
class Decoded:
    """What lies in the finished blocks: a row for each clip that was kept, and the skipped ones."""

    clip_ids: list[str]
    n_samples: list[int]
    n_bytes: list[int]
    skipped: list[tuple[str, str, str]]
    scaled: int


def collect(blocks: Blocks) -> Decoded:
    """Read the tables, not the audio, of all blocks."""
    decoded = Decoded([], [], [], [], 0)
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            decoded.clip_ids += read_text(file["clip_id"])
            decoded.n_samples += file["n_samples"][:].tolist()
            decoded.n_bytes += file["n_bytes"][:].tolist()
            columns = [read_text(file[name]) for name in ("skipped_id", "skipped_file", "skipped_reason")]
            decoded.skipped += list(zip(*columns, strict=True))
            decoded.scaled += int(file.attrs["scaled"])
    return decoded


class EncodedAudio:
    """The encoded audio of all blocks, in their order, as one stream; a small part of one block is in memory."""

    def __init__(self, blocks: Blocks):
        self._pieces, self._piece = _pieces(blocks), np.empty(0, np.uint8)

    def take(self, n_bytes: int) -> Iterator[np.ndarray]:
        """Yield the next bytes, uint8; what is yielded holds until the next is asked for."""
        while n_bytes:
            if not len(self._piece):
                self._piece = next(self._pieces)
            piece, self._piece = self._piece[:n_bytes], self._piece[n_bytes:]
            n_bytes -= len(piece)
            yield piece


def _pieces(blocks: Blocks) -> Iterator[np.ndarray]:
    """Yield what the blocks hold through one buffer, which the processor's cache may keep until it is written."""
    buffer = np.empty(PIECE_BYTES, np.uint8)
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            stored = file["bytes"]
            for start in range(0, len(stored), PIECE_BYTES):
                piece = buffer[: len(stored) - start]
                stored.read_direct(piece, np.s_[start : start + len(piece)])
                yield piece


def listing_sha256(files: Listed) -> str:
    """Return a checksum of which files there are: id, size, time of change and part of each."""
    digest = hashlib.sha256()
    for clip_id, source in files:
        if not source.path.exists():  # named in a table; it is skipped for that reason
            digest.update(f"{clip_id}\tabsent\n".encode())
            continue
        status = source.path.stat()
        place = f"{source.start_s}\t{source.end_s}\t{source.offset}\t{source.size}"
        digest.update(f"{clip_id}\t{status.st_size}\t{status.st_mtime_ns}\t{place}\n".encode())
    return digest.hexdigest()
