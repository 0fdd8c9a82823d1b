"""Locate and read the bytes of a recording, in a file of its own or in a tar shard.

A `View` presents parts of a file as a file: a member of a shard, or a recording with a corrected header.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from pseudolabel.audio.headers import Header, read_header
from pseudolabel.errors import InputError

SUFFIXES = """
    .wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .m4a .m4b .mp4 .m4v .mov .3gp .3g2 .aac .adts
    .webm .weba .mkv .mka .aif .aiff .aifc .au .snd .caf .wma .asf .wmv .avi .flv .amr .ac3 .eac3 .dts .ape .wv .tta
    .mpg .mpeg .ogv .ogx .sph .nist .voc
"""
AUDIO_SUFFIXES = tuple(SUFFIXES.split())
IN_MEMORY_BYTES = 1 << 24  # a shard member up to this size is read at once


class UnreadableAudio(InputError):
    """A recording that cannot be used; `reason` says why in a few words, for `skipped.csv`."""

    def __init__(self, reason: str, path: str | Path | AudioSource):
        self.reason = reason
        super().__init__(f"recording {reason}", path, "Replace or remove the file.")


@dataclass(frozen=True)
class AudioSource:
    """The source of a clip's sound: a file, a member of a tar shard, or a segment of either.

    Args:
        path: the recording, or the shard that contains it.
        start_s, end_s: the segment in seconds; None: to the end.
        member, offset, size: name of the shard's member, and where its bytes are in the shard.
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

    def __str__(self) -> str:
        """Return the name used in reports."""
        segment = f" from {self.start_s:g} s" if self.start_s else ""
        segment += f" to {self.end_s:g} s" if self.end_s is not None else ""
        return f"{self.path}{f':{self.member}' if self.member else ''}{segment}"

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
        n_bytes = self.size if self.member else status.st_size
        if not n_bytes:
            raise UnreadableAudio("is empty: the file has no bytes", self)
        spans = self.spans or (((0, self.offset, self.size),) if self.member else None)
        if spans and max(offset + length for _, offset, length in spans) > status.st_size:
            raise UnreadableAudio("is cut short: the shard ends within it", self)
        return StoredAudio(self.path, n_bytes, spans, status.st_mtime_ns)


@dataclass(frozen=True)
class StoredAudio:
    """The bytes of a recording.

    Args:
        n_bytes: size of the recording.
        spans: (position in the recording, offset in the file, length); None: the whole file.
        changed: modification time of the file; it keeps a cached header from outliving a change.
    """

    path: Path
    n_bytes: int
    spans: tuple[tuple[int, int, int], ...] | None
    changed: int

    def view(self) -> View:
        """Return the bytes as a file."""
        return View(self.path, self.n_bytes, self.spans or [(0, 0, self.n_bytes)])

    def opened(self, header: Header | None = None) -> BinaryIO:
        """Open the bytes for soundfile, with the header corrected; if possible the file itself, which is fastest."""
        has_corrections = header and (header.pieces or header.corrections)
        if not self.spans and not has_corrections:
            return open(self.path, "rb", buffering=0)
        with self.view() as view:
            if self.n_bytes <= IN_MEMORY_BYTES and not has_corrections:
                return io.BytesIO(view.read())
            return view.corrected(header) if has_corrections else view.part(0, self.n_bytes)


@lru_cache(maxsize=8)
def header_of(stored: StoredAudio) -> Header:
    """Return the header of a recording."""
    with stored.view() as view, io.BufferedReader(view) as file:
        return read_header(file, stored.n_bytes)


class View(io.RawIOBase):
    """A read-only file made of parts of another; bytes that no part covers are zeros.

    Args:
        path: the other file.
        size: length of the view in bytes.
        spans: (position in the view, offset in the file, length), sorted, without overlaps.
        corrections: (position in the view, bytes to return there).
    """

    def __init__(
        self,
        path: str | Path,
        size: int,
        spans: Sequence[tuple[int, int, int]],
        corrections: Sequence[tuple[int, bytes]] = (),
    ):
        super().__init__()
        self.name, self.size, self._position = str(path), size, 0
        self._spans, self._corrections = tuple(spans), tuple(corrections)
        self._file = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

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
        return View(self.name, end, spans, corrections)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._file)
        super().close()

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
            content = os.pread(self._file, end - first, offset + first - position) if first < end else b""
            target[first - start : first - start + len(content)] = content
            if len(content) < end - first:  # the file has shrunk
                stop = first + len(content)
                break
        for position, content in self._corrections:
            for index in range(max(position, start), min(position + len(content), stop)):
                target[index - start] = content[index - position]
        self._position = stop
        return stop - start
