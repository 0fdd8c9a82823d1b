"""Locate and read the bytes of a recording: in a file of its own, in a tar shard or in a row of a Parquet file.

A `View` presents parts of a file as a file: a member of a shard, or a recording with a corrected header.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import BinaryIO

from pseudolabel.audio.headers import Header, read_header
from pseudolabel.errors import InputError

IN_MEMORY_BYTES = 1 << 24  # a shard member up to this size is read at once


class UnreadableAudio(InputError):
    """A recording that cannot be used; `reason` says why in a few words, for `skipped.csv`."""

    def __init__(self, reason: str, path: str | Path | AudioSource):
        self.reason = reason
        super().__init__(f"recording {reason}", path, "Replace or remove the file.")


@dataclass(frozen=True)
class AudioSource:
    """The source of a clip's sound: a file, a member of a tar shard, a row of a Parquet file, or a segment of a file.

    Args:
        path: the recording, or the file that contains it.
        start_s, end_s: the segment in seconds; None: to the end.
        member, offset, size: name of the shard's member, and where its bytes are in the shard.
        row: number of the Parquet file's row, from 0; `member` is then the file name that the row gives.
        spans: for a sparse member, (position in it, offset in the shard, length); the rest is zeros.
        problem: why it cannot be read, if the listing found out.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    member: str = ""
    offset: int = 0
    size: int = 0
    spans: tuple[tuple[int, int, int], ...] = ()
    problem: str = ""
    row: int | None = None

    def __str__(self) -> str:
        """Return the name used in reports."""
        segment = f" from {self.start_s:g} s" if self.start_s else ""
        segment += f" to {self.end_s:g} s" if self.end_s is not None else ""
        member = self.member or ("" if self.row is None else f"row {self.row + 1}")
        return f"{self.path}{f':{member}' if member else ''}{segment}"

    @property
    def stem(self) -> str:
        """Name of the recording without its folder and suffix."""
        return Path(self.member or self.path).stem

    def stored(self) -> StoredAudio:
        """Return its bytes; raise UnreadableAudio if there are none."""
        if self.problem:
            raise UnreadableAudio(self.problem, self)
        if not self.path.is_file():
            raise UnreadableAudio("is missing: no such file", self)
        status = self.path.stat()
        if self.row is not None:
            return self._stored_in_row(status.st_mtime_ns)
        n_bytes = self.size if self.member else status.st_size
        if not n_bytes:
            raise UnreadableAudio("is empty: the file has no bytes", self)
        spans = self.spans or (((0, self.offset, self.size),) if self.member else None)
        if spans and max(offset + length for _, offset, length in spans) > status.st_size:
            raise UnreadableAudio("is cut short: the shard ends within it", self)
        return StoredAudio(self.path, n_bytes, spans, status.st_mtime_ns)

    def _stored_in_row(self, changed: int) -> StoredAudio:
        from pseudolabel.audio.embedded import opened  # pyarrow is slow to import

        try:
            content = opened(self.path, changed).recording(self.row)
        except InputError as error:
            raise UnreadableAudio(error.message, self) from error
        if content is None and self.member:
            return named_in_table(self.path, self.member).stored()
        if not content:
            raise UnreadableAudio("is empty: the row has no bytes", self)
        return StoredAudio(self.path, len(content), None, changed, content)


def named_in_table(table: Path, name: str) -> AudioSource:
    """Return the recording that a table names: relative to the table's folder, and never outside it."""
    path = table.parent / os.path.normpath(name)
    is_inside = Path(os.path.abspath(path)).is_relative_to(os.path.abspath(table.parent))
    return AudioSource(path, problem="" if is_inside else f"is outside the folder of {table.name}, which names it")


@dataclass(frozen=True)
class StoredAudio:
    """The bytes of a recording.

    Args:
        n_bytes: size of the recording.
        spans: (position in the recording, offset in the file, length); None: the whole file.
        changed: modification time of the file; it keeps a cached header from outliving a change.
        content: the recording itself, if it is in memory.
    """

    path: Path
    n_bytes: int
    spans: tuple[tuple[int, int, int], ...] | None
    changed: int
    content: bytes | None = field(default=None, repr=False)

    @property
    def is_file(self) -> bool:
        """Whether the recording is a file of its own."""
        return not self.spans and self.content is None

    @cached_property
    def header(self) -> Header:
        """The header of the recording."""
        with self.view() as view, io.BufferedReader(view) as file:
            return read_header(file, self.n_bytes)

    def view(self) -> View:
        """Return the bytes as a file."""
        source = self.path if self.content is None else self.content
        return View(source, self.n_bytes, self.spans or [(0, 0, self.n_bytes)])

    def opened(self, header: Header | None = None) -> BinaryIO:
        """Open the bytes for soundfile, with the header corrected; if possible the file itself, which is fastest."""
        has_corrections = header and (header.pieces or header.corrections)
        if self.is_file and not has_corrections:
            return open(self.path, "rb", buffering=0)
        if self.content is not None and not has_corrections:
            return io.BytesIO(self.content)
        with self.view() as view:
            if self.n_bytes <= IN_MEMORY_BYTES and not has_corrections:
                return io.BytesIO(view.read())
            return view.corrected(header) if has_corrections else view.part(0, self.n_bytes)


def header_of(stored: StoredAudio) -> Header:
    """Return the header of a recording."""
    return _header_of_file(stored) if stored.content is None else stored.header


@lru_cache(maxsize=8)
def _header_of_file(stored: StoredAudio) -> Header:
    """Return the header of a recording; its segments share it."""
    return stored.header


class View(io.RawIOBase):
    """A read-only file made of parts of another, or of bytes in memory; bytes that no part covers are zeros.

    Args:
        source: path of the other file, or the bytes.
        size: length of the view in bytes.
        spans: (position in the view, offset in the file, length), sorted, without overlaps.
        corrections: (position in the view, bytes to return there).
    """

    def __init__(
        self,
        source: str | Path | bytes,
        size: int,
        spans: Sequence[tuple[int, int, int]],
        corrections: Sequence[tuple[int, bytes]] = (),
    ):
        super().__init__()
        self.size, self._source, self._position = size, source, 0
        self._spans, self._corrections = tuple(spans), tuple(corrections)
        if not isinstance(source, bytes):
            self._file = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def part(self, start: int, size: int) -> View:
        """Return a view of `size` bytes of this view."""
        return self.joined([(start, size)])

    def corrected(self, header: Header) -> View:
        """Return this recording with the header's corrections applied."""
        return self.joined(header.pieces or ((0, self.size),), header.corrections)

    def joined(self, pieces: Sequence[tuple[int, int]], corrections: Sequence[tuple[int, bytes]] = ()) -> View:
        """Return a view of pieces (start, bytes) of this view, one after the other."""
        spans, end = [], 0
        for start, size in pieces:
            for position, offset, length in self._spans:
                first, stop = max(position, start), min(position + length, start + size)
                if first < stop:
                    spans.append((end + first - start, offset + first - position, stop - first))
            end += size
        return View(self._source, end, spans, corrections)

    def close(self) -> None:
        """Close the file."""
        if not self.closed and not isinstance(self._source, bytes):
            os.close(self._file)
        super().close()

    def _read_at(self, offset: int, size: int) -> bytes:
        if isinstance(self._source, bytes):
            return self._source[offset : offset + size]
        return os.pread(self._file, size, offset)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill `buffer` from the current position; return the number of bytes."""
        target, start = memoryview(buffer).cast("B"), self._position
        stop = max(min(start + len(target), self.size), start)
        target[: stop - start] = bytes(stop - start)
        for position, offset, length in self._spans:
            first, end = max(position, start), min(position + length, stop)
            content = self._read_at(offset + first - position, end - first) if first < end else b""
            target[first - start : first - start + len(content)] = content
            if len(content) < end - first:  # the file has shrunk
                stop = first + len(content)
                break
        for position, content in self._corrections:
            for index in range(max(position, start), min(position + len(content), stop)):
                target[index - start] = content[index - position]
        self._position = stop
        return stop - start
