"""View: a part of a file, read as if it were a file of its own; a member of a shard, a corrected header."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path


class View(io.RawIOBase):
    """A read-only file made of parts of another one; bytes that no part gives are zeros.

    Args:
        path: the file that is read.
        size: length of the view in bytes.
        spans: (position in the view, offset in the file, length), by position and apart.
        corrections: (position in the view, bytes that are there instead).
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

    def part(self, start: int, size: int, corrections: Sequence[tuple[int, bytes]] = ()) -> View:
        """Return a view of `size` bytes of this one."""
        return self.joined([(start, size)], corrections)

    def joined(self, pieces: Sequence[tuple[int, int]], corrections: Sequence[tuple[int, bytes]] = ()) -> View:
        """Return a view of pieces (start, bytes) of this one, one after the other."""
        spans, here = [], 0
        for start, size in pieces:
            for position, offset, length in self._spans:
                first, stop = max(position, start), min(position + length, start + size)
                if first < stop:
                    spans.append((here + first - start, offset + first - position, stop - first))
            here += size
        return View(self.name, here, spans, corrections)

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

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def readinto(self, buffer: object) -> int:
        """Fill `buffer` from the position on; return how many bytes there were."""
        target = memoryview(buffer).cast("B")
        n = max(min(len(target), self.size - self._position), 0)
        start, stop = self._position, self._position + n
        covered = start
        for position, offset, length in self._spans:
            first, end = max(position, start), min(position + length, stop)
            if first >= end:
                continue
            if first > covered:
                target[covered - start : first - start] = bytes(first - covered)
            content = os.pread(self._file, end - first, offset + first - position)
            target[first - start : first - start + len(content)] = content
            covered = first + len(content)
            if len(content) < end - first:  # the file is shorter than it was
                stop = covered
                break
        else:
            if covered < stop:
                target[covered - start : n] = bytes(stop - covered)
        for position, content in self._corrections:
            for index in range(max(position, start), min(position + len(content), stop)):
                target[index - start] = content[index - position]
        self._position = stop
        return stop - start
