"""Decode recordings into blocks in several processes, each block once, and turn the blocks into a clip store."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from pseudolabel.artefacts import rename
from pseudolabel.audio.clips import LEAST_IN_PLACE, ClipStore, ClipTable, audio_start, complete_clips, write_clips
from pseudolabel.audio.decoding import Tape
from pseudolabel.audio.encoding import ClipOptions, Encoded, Pile, encode_into
from pseudolabel.audio.files import AudioSource, UnreadableAudio
from pseudolabel.audio.growing import GrowingAudio, read_span
from pseudolabel.blocks import GROWING, Blocks
from pseudolabel.checksums import SpanChecksums, tables_crc32
from pseudolabel.errors import InputError
from pseudolabel.progress import Progress
from pseudolabel.stores import fixed_length_text, read_text, refuse_claims, store_contents, whole_number
from pseudolabel.workers import CONTEXT, process_pool, with_begun

BLOCK_SIZE = 64  # clips; at most a second of work is lost
Sources = list[tuple[str, AudioSource]]  # clip id, recording
KEPT = "kept: "  # prefix of the reason for a recording that became a clip despite a defect
COLUMNS = {"n_samples": np.int64, "n_bytes": np.int64, "crc32": np.uint32}  # one row per clip of a block
PER_CLIP = ("clip_ids", "groups", "n_samples", "n_bytes", "crc32")  # of a ClipTable
SKIPPED = ("skipped_id", "skipped_file", "skipped_reason")


@dataclass
class Decoded:
    """Decoded clips, one row each, and (id, file, reason) of recordings skipped or kept with a defect.

    Attributes:
        scaled: number of clips scaled down.
    """

    clip_ids: list[str] = field(default_factory=list)
    n_samples: list[int] = field(default_factory=list)
    n_bytes: list[int] = field(default_factory=list)
    crc32: list[int] = field(default_factory=list)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)
    scaled: int = 0


def decode_block(pile: Pile, files: Sources, options: ClipOptions) -> Decoded:
    """Decode and encode the recordings of one block into a pile; read segments of one recording in time order."""
    outcomes: dict[int, Encoded | UnreadableAudio] = {}
    pile.clear()
    tape, piece_of = Tape(), {}
    for number in sorted(range(len(files)), key=lambda number: _time_key(files[number][1])):
        try:
            outcomes[number] = encode_into(pile, files[number][1], options, tape)
            piece_of[number] = len(piece_of)
        except UnreadableAudio as error:
            outcomes[number] = error
    pile.arrange([piece_of[number] for number in sorted(piece_of)])
    decoded = Decoded(n_bytes=pile.sizes, crc32=pile.checksums)
    for number, (clip_id, source) in enumerate(files):
        outcome = outcomes[number]
        if isinstance(outcome, UnreadableAudio):
            decoded.skipped.append((clip_id, str(source), outcome.reason))
            continue
        if outcome.note:
            decoded.skipped.append((clip_id, str(source), KEPT + outcome.note))
        decoded.clip_ids.append(clip_id)
        decoded.n_samples.append(outcome.n_samples)
        decoded.scaled += outcome.scaled
    return decoded


def reading_order(files: Sources) -> Sources:
    """Return recordings by clip id, except those in Parquet files: these follow in the order of their rows."""
    return sorted(files, key=lambda item: ("", 0, item[0]) if item[1].row is None else (str(item[1].path), item[1].row))


def _time_key(source: AudioSource) -> tuple[str, str, float]:
    """Return a sort key: whole recordings first, in any order, then the segments of each recording by time."""
    return ("", "", 0.0) if source.end_s is None else (str(source.path), source.member, source.start_s)


def _write_block(audio: GrowingAudio, blocks: Blocks, number: int, decoded: Decoded, pile: Pile) -> None:
    """Write one block, its audio before its tables: an existing block always has its audio."""
    n_bytes = sum(pile.sizes)
    start = audio.append(number, pile.pieces(), n_bytes)

    def fill(file: h5py.File) -> None:
        file["clip_id"] = fixed_length_text(decoded.clip_ids)
        for name, dtype in COLUMNS.items():
            file[name] = np.array(getattr(decoded, name), dtype)
        for column, name in enumerate(SKIPPED):
            file[name] = fixed_length_text([row[column] for row in decoded.skipped])
        file["numbers"] = np.array([decoded.scaled, start, start + n_bytes], np.int64)
        file.attrs["tables_crc32"] = _tables_crc32(file)

    blocks.write(number, fill)


def _tables_crc32(file: h5py.File) -> np.uint32:
    return np.uint32(tables_crc32({name: item[:] for name, item in file.items()}))


@contextlib.contextmanager
def _opened_block(blocks: Blocks, block: int) -> Iterator[h5py.File]:
    """Open a finished block; raise InputError if it is damaged."""
    path = blocks.path(block)
    with store_contents(path), h5py.File(path, "r") as file:
        refuse_claims(file, path)
        if whole_number(file.attrs["tables_crc32"]) != _tables_crc32(file):
            raise InputError("the block is damaged", path, "Remove it and run the same command again.")
        yield file


def collect(blocks: Blocks) -> Decoded:
    """Read the tables of all blocks, without their audio."""
    decoded = Decoded()
    for block in range(len(blocks)):
        with _opened_block(blocks, block) as file:
            decoded.clip_ids += read_text(file["clip_id"])
            for name in COLUMNS:
                getattr(decoded, name).extend(file[name][:].tolist())
            decoded.skipped += zip(*(read_text(file[name]) for name in SKIPPED), strict=True)
            decoded.scaled += int(file["numbers"][0])
    return decoded


def audio_beside(blocks: Blocks) -> Path:
    """Return the file that holds the audio of all blocks."""
    return blocks.folder / GROWING


def _finished(blocks: Blocks) -> dict[int, tuple[int, int]]:
    """Return {block: (start, end) of its audio}; remove blocks that are damaged or whose audio is."""
    path, finished = audio_beside(blocks), {}
    for block in sorted(set(range(len(blocks))) - set(blocks.unfinished())):
        try:
            with _opened_block(blocks, block) as file:
                _, start, end = file["numbers"][:].tolist()
                expected, ends = file["crc32"][:], np.cumsum(file["n_bytes"][:])
            checksums = SpanChecksums(ends)
            for piece in read_span(path, start, max(end - start, 0)):
                checksums.update(piece)
            if not np.array_equal(checksums.values, expected):
                raise InputError("the audio of this block is damaged", blocks.path(block))
        except (InputError, FileNotFoundError):
            blocks.path(block).unlink()
        else:
            finished[block] = (start, end)
    return finished


def decode_all(files: Sources, blocks: Blocks, options: ClipOptions, n_processes: int) -> None:
    """Make every unfinished block, in up to `n_processes` processes."""
    finished = _finished(blocks)
    n_processes = min(n_processes, len(blocks) - len(finished))
    n_done = sum(len(blocks.span(block)) for block in finished)
    with Progress("prepare", len(files), start=n_done) as progress:
        if n_processes > 1:
            _decode_side_by_side(files, blocks, finished, options, n_processes, progress)
        unfinished = blocks.unfinished()  # all, or those a worker could not write: the error is raised here
        if unfinished:
            finished = _finished(blocks) if n_processes > 1 else finished
            audio, pile = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished), Pile(blocks.folder)
        for number in unfinished:
            in_block = [files[i] for i in blocks.span(number)]
            _write_block(audio, blocks, number, decode_block(pile, in_block, options), pile)
            if n_processes == 1:
                progress.advance(len(in_block))


def _decode_side_by_side(
    files: Sources,
    blocks: Blocks,
    finished: dict[int, tuple[int, int]],
    options: ClipOptions,
    n_processes: int,
    progress: Progress,
) -> None:
    """Make the unfinished blocks in several processes; leave unfinished any that a process cannot write."""
    audio = GrowingAudio(audio_beside(blocks), audio_start(), len(blocks), finished, CONTEXT)
    with process_pool(n_processes, _Worker, (audio, blocks, options)) as pool:
        try:
            in_blocks = ((number, [files[i] for i in blocks.span(number)]) for number in blocks.unfinished())
            for made in [pool.submit(with_begun, _Worker.make_block, *block) for block in in_blocks]:
                progress.advance(made.result())
        except NotWritten:
            pool.shutdown(cancel_futures=True)
        except BaseException:
            audio.fail()
            pool.shutdown(wait=False, cancel_futures=True)  # otherwise every block is made before the error shows
            raise


class NotWritten(Exception):
    """The process that decoded a block could not write it."""


class _Worker:
    """Decodes one block while writing the previous one: a write waits for the disk and for its turn."""

    def __init__(self, audio: GrowingAudio, blocks: Blocks, options: ClipOptions):
        self.audio, self.blocks, self.options = audio, blocks, options
        self.piles, self.writes = [Pile(blocks.folder), Pile(blocks.folder)], [None, None]
        self.writer = ThreadPoolExecutor(1, "writer")

    def make_block(self, number: int, files: Sources) -> int:
        """Decode a block and begin to write it; return its number of recordings."""
        self.piles.reverse()
        self.writes.reverse()
        with self._wakes_others():
            if self.writes[0] and self.writes[0].exception():
                raise NotWritten from self.writes[0].exception()
            decoded = decode_block(self.piles[0], files, self.options)
            self.writes[0] = self.writer.submit(self.write, number, decoded, self.piles[0])
        return len(files)

    def write(self, number: int, decoded: Decoded, pile: Pile) -> None:
        """Write a block."""
        with self._wakes_others():
            _write_block(self.audio, self.blocks, number, decoded, pile)

    @contextlib.contextmanager
    def _wakes_others(self) -> Iterator[None]:
        """On failure, wake the processes that wait for a block from this one."""
        try:
            yield
        except BaseException:
            self.audio.fail()
            raise


def complete_store(blocks: Blocks, table: ClipTable) -> None:
    """Turn the file with the audio of all blocks into the store, in place; `table` describes the clips."""
    audio, n_bytes = audio_beside(blocks), sum(table.n_bytes)
    if n_bytes < LEAST_IN_PLACE:
        write_clips(blocks.output, table, read_span(audio, audio_start(), n_bytes), overwrite=True)
        return
    complete_clips(audio, table)
    rename(audio, blocks.output)


class Part(NamedTuple):
    """Clips of a store to be written: their table, and the file that has their bytes from `first` on, in its order."""

    table: ClipTable
    path: Path
    first: int


def part_of_store(store: ClipStore) -> Part:
    """Return the clips of a finished store."""
    n_bytes, crc32 = np.diff(store.offsets).tolist(), None if store.crc32 is None else store.crc32.tolist()
    rows = list(store.clip_ids), list(store.groups), store.n_samples.tolist(), n_bytes
    table = ClipTable(*rows, store.sample_rate, store.codec, store.source, crc32, store.full_scale)
    return Part(table, store.path, store.audio_start)


def part_of_blocks(blocks: Blocks, table: ClipTable) -> Part:
    """Return the clips of finished blocks; `table` describes them."""
    return Part(table, audio_beside(blocks), audio_start())


def in_id_order(*parts: Part) -> tuple[ClipTable, Iterator[np.ndarray]]:
    """Return the table and the encoded audio of all parts together, sorted by clip id.

    The sample rate, codec, source and scale are those of the first part.
    """
    clip_ids = [clip_id for part in parts for clip_id in part.table.clip_ids]
    numbers = [number for number, part in enumerate(parts) for _ in part.table.clip_ids]
    starts = [start for part in parts for start in [*itertools.accumulate(part.table.n_bytes, initial=part.first)][:-1]]
    order = sorted(range(len(clip_ids)), key=clip_ids.__getitem__)

    def sorted_column(name: str) -> list | None:
        values = [getattr(part.table, name) for part in parts]
        joined = None if any(column is None for column in values) else list(itertools.chain.from_iterable(values))
        return joined and [joined[row] for row in order]

    table = replace(parts[0].table, **{name: sorted_column(name) for name in PER_CLIP})

    def encoded() -> Iterator[np.ndarray]:
        contiguous = itertools.groupby(range(len(order)), lambda at: (numbers[order[at]], order[at] - at))
        for (number, _), places in contiguous:
            places = list(places)
            yield from read_span(parts[number].path, starts[order[places[0]]], sum(table.n_bytes[at] for at in places))

    return table, encoded()


def decoders() -> dict[str, str]:
    """Return the versions of the decoding libraries; another version may give other samples."""
    return {name: metadata.version(name) for name in ("soundfile", "av", "soxr")}


def sources_sha256(files: Sources) -> str:
    """Return a SHA-256 over the id, size, modification time and segment of each recording."""
    digest = hashlib.sha256()
    for clip_id, source in files:
        if not source.path.exists():  # named in a table; skipped later as missing
            digest.update(f"{clip_id}\tabsent\n".encode())
            continue
        status = source.path.stat()
        segment = f"{source.start_s}\t{source.end_s}\t{source.offset}\t{source.size}\t{source.spans}"
        segment += "" if source.row is None else f"\t{source.row}"
        digest.update(f"{clip_id}\t{status.st_size}\t{status.st_mtime_ns}\t{segment}\n".encode())
    return digest.hexdigest()
