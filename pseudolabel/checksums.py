"""Checksums: CRC-32 of consecutive spans of a stream, so that a damaged store says which part of it is damaged."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np


class SpanChecksums:
    """CRC-32 of consecutive spans of bytes that come in pieces of any size.

    Args:
        ends: (n,) int64, ascending: the byte at which each span ends; the first begins at 0, each other where the one
            before it ends.
    """

    def __init__(self, ends: np.ndarray):
        self.ends = np.asarray(ends, np.int64)
        self.values = np.zeros(len(self.ends), np.uint32)
        self._position = 0

    def update(self, piece: np.ndarray) -> None:
        """Take the next bytes of the stream: an array of any type and shape, its elements in C order."""
        stream = memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8))
        span = int(np.searchsorted(self.ends, self._position, side="right"))
        taken = 0
        while taken < len(stream) and span < len(self.ends):
            stop = min(taken + int(self.ends[span]) - self._position, len(stream))
            self.values[span] = zlib.crc32(stream[taken:stop], int(self.values[span]))
            self._position += stop - taken
            taken, span = stop, span + 1


def tables_crc32(tables: Mapping[str, np.ndarray]) -> int:
    """Return one CRC-32 of the names, types, shapes and values of arrays, in the order of their names."""
    crc = 0
    for name, array in sorted(tables.items()):
        array = array.astype(bytes) if array.dtype.hasobject else array  # texts of any length
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return crc
