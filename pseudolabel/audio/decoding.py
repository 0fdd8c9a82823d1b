"""Decoding: recordings become the blocks of a clip store, by several processes, each block once."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.connection
import os
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.audio.clips import LEAST_IN_PLACE, audio_start, complete_clips, encode, encode_pcm16, write_clips
from pseudolabel.audio.files import Recording, Source, UnreadableAudio, read_audio
from pseudolabel.audio.growing import GrowingAudio, read_pieces
from pseudolabel.blocks import Blocks
from pseudolabel.progress import Progress
from pseudolabel.stores import fixed_length_text, read_text

BLOCK_SIZE = 64  # clips a block: a second of work to lose at most
SHORTEST_S = 0.1  # less is shorter than any front end's window of analysis with its overlap
PILE_BYTES = 1 << 25  # of encoded audio that a block has room for at first; what it does not use costs nothing
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
    """Encoded clips in one large buffer, which a process uses for all its blocks: new memory for each costs time."""

    def __init__(self):
        self._buffer = np.empty(PILE_BYTES, np.uint8)
        self.clear()

    def clear(self) -> None:
        """Forget all pieces."""
        self.sizes: list[int] = []
        self.checksums: list[int] = []
        self._end = 0

    def append(self, piece: np.ndarray) -> None:
        """Add a piece, uint8."""
        end = self._end + len(piece)
        if end > len(self._buffer):
            larger = np.empty(max(2 * len(self._buffer), end), np.uint8)
            larger[: self._end] = self._buffer[: self._end]
            self._buffer = larger
        self._buffer[self._end : end] = piece
        self.sizes.append(len(piece))
        self.checksums.append(zlib.crc32(piece))
        self._end = end

    def all(self) -> np.ndarray:
        """Return all pieces one after the other."""
        return self._buffer[: self._end]


@dataclass
class BlockTables:
    """What a block says of its clips; their encoded audio lies in a pile."""

    kept: list[str]
    n_samples: list[int]
    skipped: list[tuple[str, str, str]]
    scaled: int


def decode_block(pile: Pile, files: Listed, decoding: Decoding) -> BlockTables:
    """Decode and encode the recordings of one block."""
    block = BlockTables([], [], [], 0)
    pile.clear()
    for clip_id, source in files:
        try:
            recording = read_audio(source, decoding.sample_rate, decoding.limit_s)
            if len(recording.samples) < decoding.shortest_s * decoding.sample_rate:
                seconds = len(recording.samples) / decoding.sample_rate
                raise UnreadableAudio(
                    f"is {seconds:.3f} s short; at least {decoding.shortest_s:g} s are needed", source
                )
            pile.append(encode_heard(recording, source, decoding))
        except UnreadableAudio as error:
            block.skipped.append((clip_id, str(source), error.reason))
            continue
        block.kept.append(clip_id)
        block.n_samples.append(len(recording.samples))
        block.scaled += recording.scaled
    return block


def write_block(audio: GrowingAudio, blocks: Blocks, number: int, block: BlockTables, pile: Pile) -> None:
    """Write one block: first its audio, then its tables, so that where a block is, its audio is too."""
    start = audio.append(number, pile.all())

    def fill(file: h5py.File) -> None:
        file["clip_id"] = fixed_length_text(block.kept)
        file["n_samples"] = np.array(block.n_samples, np.int64)
        file["n_bytes"] = np.array(pile.sizes, np.int64)
        file["crc32"] = np.array(pile.checksums, np.uint32)
        for column, name in enumerate(("skipped_id", "skipped_file", "skipped_reason")):
            file[name] = fixed_length_text([row[column] for row in block.skipped])
        file.attrs["scaled"] = block.scaled
        file.attrs["start"], file.attrs["end"] = start, start + sum(pile.sizes)

    blocks.write(number, fill)


def audio_beside(blocks: Blocks) -> Path:
    """Return the file that the audio of all blocks lies in."""
    return blocks.folder / "audio.h5"


def _finished(blocks: Blocks) -> dict[int, tuple[int, int]]:
    """Return where the audio of each finished block lies; one whose audio is gone is removed."""
    path, finished = audio_beside(blocks), {}
    n_bytes = path.stat().st_size if path.exists() else 0
    for block in sorted(set(range(len(blocks))) - set(blocks.unfinished())):
        with h5py.File(blocks.path(block), "r") as file:
            span = int(file.attrs["start"]), int(file.attrs["end"])
        if span[1] <= n_bytes:
            finished[block] = span
        else:
            blocks.path(block).unlink()
    return finished


def decode_all(files: Listed, blocks: Blocks, decoding: Decoding, n_processes: int) -> None:
    """Make every unfinished block, by several processes."""
    finished = _finished(blocks)
    n_processes = min(n_processes, len(blocks) - len(finished))
    n_done = sum(len(blocks.span(block)) for block in finished)
    with Progress("prepare", len(files), start=n_done) as progress:
        if n_processes > 1:
            _decode_side_by_side(files, blocks, finished, decoding, n_processes, progress)
        unfinished = blocks.unfinished()  # all, or what another process could not write: the error is raised here
        if unfinished:
            finished = _finished(blocks) if n_processes > 1 else finished
            audio, pile = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished), Pile()
        for number in unfinished:
            listed = [files[i] for i in blocks.span(number)]
            write_block(audio, blocks, number, decode_block(pile, listed, decoding), pile)
            if n_processes == 1:
                progress.advance(len(listed))


def _decode_side_by_side(
    files: Listed,
    blocks: Blocks,
    finished: dict[int, tuple[int, int]],
    decoding: Decoding,
    n_processes: int,
    progress: Progress,
) -> None:
    """Make the unfinished blocks by processes of their own; what one cannot write is left unfinished."""
    context = multiprocessing.get_context("spawn")
    audio = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished, context)
    with ProcessPoolExecutor(n_processes, context, _begin_worker, (audio, blocks, decoding)) as pool:
        try:
            listed = ((number, [files[i] for i in blocks.span(number)]) for number in blocks.unfinished())
            for made in [pool.submit(_make_block, *block) for block in listed]:
                progress.advance(made.result())
        except NotWritten:
            pool.shutdown(cancel_futures=True)
        except BaseException:
            audio.fail()
            pool.shutdown(wait=False, cancel_futures=True)  # else every block is made before the error is seen
            raise


class NotWritten(Exception):
    """A block could not be written by the process that decoded it."""


class _Worker:
    """A process that decodes a block while the one before is written: a write waits for the disk, and for its place."""

    def __init__(self, audio: GrowingAudio, blocks: Blocks, decoding: Decoding):
        self.audio, self.blocks, self.decoding = audio, blocks, decoding
        self.piles, self.writes = [Pile(), Pile()], [None, None]
        self.writer = ThreadPoolExecutor(1, "writer")

    def make_block(self, number: int, files: Listed) -> int:
        """Decode a block and begin to write it; return how many recordings it has."""
        self.piles.reverse()
        self.writes.reverse()
        if self.writes[0] and self.writes[0].exception():
            raise NotWritten from self.writes[0].exception()
        block = decode_block(self.piles[0], files, self.decoding)
        self.writes[0] = self.writer.submit(self.write, number, block, self.piles[0])
        return len(files)

    def write(self, *block: object) -> None:
        """Write a block; if that fails, nobody waits for its place."""
        try:
            write_block(self.audio, self.blocks, *block)
        except BaseException:
            self.audio.fail()
            raise


_worker: list[_Worker] = []  # one, in a process that decodes


def _begin_worker(*arguments: object) -> None:
    _end_with_parent()
    _worker.append(_Worker(*arguments))


def _make_block(number: int, files: Listed) -> int:
    try:
        return _worker[0].make_block(number, files)
    except BaseException:
        _worker[0].audio.fail()
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
    crc32: list[int]
    skipped: list[tuple[str, str, str]]
    scaled: int


def collect(blocks: Blocks) -> Decoded:
    """Read the tables, not the audio, of all blocks."""
    decoded = Decoded([], [], [], [], [], 0)
    for block in range(len(blocks)):
        with h5py.File(blocks.path(block), "r") as file:
            decoded.clip_ids += read_text(file["clip_id"])
            decoded.n_samples += file["n_samples"][:].tolist()
            decoded.n_bytes += file["n_bytes"][:].tolist()
            decoded.crc32 += file["crc32"][:].tolist()
            columns = [read_text(file[name]) for name in ("skipped_id", "skipped_file", "skipped_reason")]
            decoded.skipped += list(zip(*columns, strict=True))
            decoded.scaled += int(file.attrs["scaled"])
    return decoded


class EncodedAudio:
    """The encoded audio of all blocks, in their order, as one stream; a small part of it is in memory."""

    def __init__(self, blocks: Blocks, n_bytes: int):
        self._pieces, self._piece = read_pieces(audio_beside(blocks), audio_start(), n_bytes), np.empty(0, np.uint8)

    def take(self, n_bytes: int) -> Iterator[np.ndarray]:
        """Yield the next bytes, uint8; what is yielded holds until the next is asked for."""
        while n_bytes:
            if not len(self._piece):
                self._piece = next(self._pieces)
            piece, self._piece = self._piece[:n_bytes], self._piece[n_bytes:]
            n_bytes -= len(piece)
            yield piece


def complete_store(blocks: Blocks, decoded: Decoded, groups: list[str], decoding: Decoding, source: str) -> None:
    """Make the store of all blocks alone; their audio stays where it is.

    Args:
        groups, source: as in `write_clips`.
    """
    sizes, audio = (decoded.n_samples, decoded.n_bytes), audio_beside(blocks)
    described = (decoding.sample_rate, decoding.codec, source)
    if sum(decoded.n_bytes) < LEAST_IN_PLACE:
        pieces = EncodedAudio(blocks, sum(decoded.n_bytes)).take(sum(decoded.n_bytes))
        write_clips(blocks.output, decoded.clip_ids, groups, *sizes, pieces, *described, overwrite=True)
        return
    complete_clips(audio, decoded.clip_ids, groups, *sizes, decoded.crc32, *described)
    os.replace(audio, blocks.output)


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
