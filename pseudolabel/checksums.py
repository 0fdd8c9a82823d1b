"""Checksums: a CRC-32 for each span of a stream, so that a damaged store can say which part is damaged.

Tables and attributes have one checksum each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

import numpy as np


class SpanChecksums:
    """CRC-32 of consecutive spans of a byte stream that arrives in pieces of any size.

    Args:
        ends: (n,) int64, ascending: the byte at which each span ends. The first span begins at 0, each later one where
            the one before it ends.
    """

    def __init__(self, ends: np.ndarray):
        self.ends = np.asarray(ends, np.int64)
        self.values = np.zeros(len(self.ends), np.uint32)
        self._position = 0

    def update(self, piece: np.ndarray) -> None:
        """Add the next bytes of the stream: an array of any type and shape, read in C order."""
        stream = memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8))
        span = int(np.searchsorted(self.ends, self._position, side="right"))
        taken = 0
        while taken < len(stream) and span < len(self.ends):
            stop = min(taken + int(self.ends[span]) - self._position, len(stream))
            self.values[span] = zlib.crc32(stream[taken:stop], int(self.values[span]))
            self._position += stop - taken
            taken, span = stop, span + 1


def tables_crc32(tables: Mapping[str, np.ndarray]) -> int:
    """Return one CRC-32 over the names, types, shapes and values of arrays, in order of name."""
    crc = 0
    for name, array in sorted(tables.items()):
        array = array.astype(bytes) if array.dtype.hasobject else array  # variable-length strings
        crc = zlib.crc32(f"{name} {array.dtype.str} {array.shape}".encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8), crc)
    return crc


def attributes_crc32(attributes: Mapping[str, Mapping[str, object]], but: Iterable[str] = ()) -> int:
    """Return one CRC-32 over the names and values of attributes; `str` and `bytes` give the same value.

    Args:
        attributes: {item name: its attributes}, in any order.
        but: attributes of the item "/" to leave out.
    """
    crc = 0
    for item, of_item in sorted(attributes.items()):
        for name, value in sorted(of_item.items()):
            if item == "/" and name in but:
                continue
            crc = zlib.crc32(f"{item} {name} ".encode("utf-8", "surrogateescape"), crc)
            crc = zlib.crc32(_as_bytes(value), crc)
    return crc


def _as_bytes(value: object) -> bytes:
    """Return the type, shape and value of an attribute as bytes."""
    if isinstance(value, str | bytes):
        text = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        return b"text " + text
    array = np.asarray(value)
    if array.dtype.kind in "OSU":  # strings, or an empty attribute
        return f"texts {array.shape} ".encode() + b"\0".join(
            map(_as_bytes, array.ravel().tolist() if array.ndim else ())
        )
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()
