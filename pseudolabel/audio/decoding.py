"""Decoding: recordings become the blocks of a clip store, by several processes, each block once."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import h5py
import numpy as np

from pseudolabel.artefacts import rename
from pseudolabel.audio.clips import LEAST_IN_PLACE, audio_start, complete_clips, write_clips
from pseudolabel.audio.encoding import Decoding, Encoded, Pile, encode_into
from pseudolabel.audio.files import Source, UnreadableAudio
from pseudolabel.audio.growing import GrowingAudio, read_pieces
from pseudolabel.audio.reading import Tape
from pseudolabel.blocks import Blocks
from pseudolabel.checksums import SpanChecksums, tables_crc32
from pseudolabel.errors import InputError
from pseudolabel.progress import Progress
from pseudolabel.stores import fixed_length_text, read_text, refuse_claims, store_contents, whole_number
from pseudolabel.workers import CONTEXT, process_pool

BLOCK_SIZE = 64  # clips a block: a second of work to lose at most
Listed = list[tuple[str, Source]]  # clip id, recording
KEPT = "kept: "  # begins the reason of a recording that is a clip although something is wrong with it


@dataclass
class BlockTables:
    """What a block says of its clips; their encoded audio lies in a pile."""

    kept: list[str]
    n_samples: list[int]
    skipped: list[tuple[str, str, str]]
    scaled: int


def decode_block(pile: Pile, files: Listed, decoding: Decoding) -> BlockTables:
    """Decode and encode the recordings of one block; segments of a recording in the order of time."""
    outcomes: dict[int, Encoded | UnreadableAudio] = {}
    pile.clear()
    tape, piece_of = Tape(), {}
    for number in _order_of_time(files):
        try:
            outcomes[number] = encode_into(pile, files[number][1], decoding, tape)
            piece_of[number] = len(piece_of)
        except UnreadableAudio as error:
            outcomes[number] = error
    pile.arrange([piece_of[number] for number in sorted(piece_of)])
    block = BlockTables([], [], [], 0)
    for number, (clip_id, source) in enumerate(files):
        outcome = outcomes[number]
        if isinstance(outcome, UnreadableAudio):
            block.skipped.append((clip_id, str(source), outcome.reason))
            continue
        if outcome.note:
            block.skipped.append((clip_id, str(source), KEPT + outcome.note))
        block.kept.append(clip_id)
        block.n_samples.append(outcome.n_samples)
        block.scaled += outcome.scaled
    return block


def _order_of_time(files: Listed) -> list[int]:
    """Return the numbers of recordings such that segments of one follow each other."""
    return sorted(range(len(files)), key=lambda number: (
        (str((source := files[number][1]).path), source.member, source.start_s) if files[number][1].end_s is not None
        else ("", "", 0.0)
    ))  # fmt: skip


def write_block(audio: GrowingAudio, blocks: Blocks, number: int, block: BlockTables, pile: Pile) -> None:
    """Write one block: first its audio, then its tables, so that where a block is, its audio is too."""
    start = audio.append(number, pile.pieces(), sum(pile.sizes))

    def fill(file: h5py.File) -> None:
        file["clip_id"] = fixed_length_text(block.kept)
        file["n_samples"] = np.array(block.n_samples, np.int64)
        file["n_bytes"] = np.array(pile.sizes, np.int64)
        file["crc32"] = np.array(pile.checksums, np.uint32)
        for column, name in enumerate(("skipped_id", "skipped_file", "skipped_reason")):
            file[name] = fixed_length_text([row[column] for row in block.skipped])
        file["numbers"] = np.array([block.scaled, start, start + sum(pile.sizes)], np.int64)
        file.attrs["tables_crc32"] = _tables_crc32(file)

    blocks.write(number, fill)


def _tables_crc32(file: h5py.File) -> np.uint32:
    return np.uint32(tables_crc32({name: item[:] for name, item in file.items()}))


@contextlib.contextmanager
def _opened_block(blocks: Blocks, block: int) -> Iterator[h5py.File]:
    """Yield a finished block; InputError where it is damaged."""
    path = blocks.path(block)
    with store_contents(path), h5py.File(path, "r") as file:
        refuse_claims(file, path)
        if whole_number(file.attrs["tables_crc32"]) != _tables_crc32(file):
            raise InputError("the block is damaged", path, "Remove it and run the same command again.")
        yield file


def audio_beside(blocks: Blocks) -> Path:
    """Return the file that the audio of all blocks lies in."""
    return blocks.folder / "audio.h5"


def _finished(blocks: Blocks) -> dict[int, tuple[int, int]]:
    """Return where the audio of each finished block lies; one that is damaged, or whose audio is, is removed."""
    path, finished = audio_beside(blocks), {}
    for block in sorted(set(range(len(blocks))) - set(blocks.unfinished())):
        try:
            with _opened_block(blocks, block) as file:
                _, start, end = file["numbers"][:].tolist()
                expected, ends = file["crc32"][:], np.cumsum(file["n_bytes"][:])
            checksums = SpanChecksums(ends)
            for piece in read_pieces(path, start, end - start) if end > start else ():
                checksums.update(piece)
            if not np.array_equal(checksums.values, expected):
                raise InputError("the audio of this block is damaged", blocks.path(block))
        except (InputError, FileNotFoundError):
            blocks.path(block).unlink()
        else:
            finished[block] = (start, end)
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
            audio, pile = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished), Pile(blocks.folder)
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
    audio = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished, CONTEXT)
    with process_pool(n_processes, _begin_worker, (audio, blocks, decoding)) as pool:
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
        self.piles, self.writes = [Pile(blocks.folder), Pile(blocks.folder)], [None, None]
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
    _worker.append(_Worker(*arguments))


def _make_block(number: int, files: Listed) -> int:
    try:
        return _worker[0].make_block(number, files)
    except BaseException:
        _worker[0].audio.fail()
        raise


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
        with _opened_block(blocks, block) as file:
            decoded.clip_ids += read_text(file["clip_id"])
            decoded.n_samples += file["n_samples"][:].tolist()
            decoded.n_bytes += file["n_bytes"][:].tolist()
            decoded.crc32 += file["crc32"][:].tolist()
            columns = [read_text(file[name]) for name in ("skipped_id", "skipped_file", "skipped_reason")]
            decoded.skipped += list(zip(*columns, strict=True))
            decoded.scaled += int(file["numbers"][0])
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
        write_clips(blocks.output, decoded.clip_ids, groups, *sizes, pieces, *described, True, decoded.crc32)
        return
    complete_clips(audio, decoded.clip_ids, groups, *sizes, decoded.crc32, *described)
    rename(audio, blocks.output)


def decoders() -> dict[str, str]:
    """Return the versions of what decodes: others may give other samples."""
    return {name: metadata.version(name) for name in ("soundfile", "av", "soxr")}


def listing_sha256(files: Listed) -> str:
    """Return a checksum of which files there are: id, size, time of change and part of each."""
    digest = hashlib.sha256()
    for clip_id, source in files:
        if not source.path.exists():  # named in a table; it is skipped for that reason
            digest.update(f"{clip_id}\tabsent\n".encode())
            continue
        status = source.path.stat()
        place = f"{source.start_s}\t{source.end_s}\t{source.offset}\t{source.size}\t{source.spans}"
        digest.update(f"{clip_id}\t{status.st_size}\t{status.st_mtime_ns}\t{place}\n".encode())
    return digest.hexdigest()
