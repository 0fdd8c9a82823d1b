"""Pages: the parts of an Ogg file, each with a checksum of its own (RFC 3533, 6)."""

from __future__ import annotations

import zlib
from typing import BinaryIO

PIECE_BYTES = 1 << 16  # searched at a time
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_is_whole(file: BinaryIO, place: int, n_bytes: int) -> bool:
    """Return whether the checksum of an Ogg page holds: that of zlib over mirrored bits, begun and ended with 0."""
    file.seek(place)
    page = file.read(n_bytes)
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(MIRRORED) == page[22:26]


def next_page(file: BinaryIO, place: int, size: int) -> int:
    """Return where the next Ogg page begins; the size of the file where none does."""
    while place < size:
        file.seek(place)
        piece = file.read(PIECE_BYTES)
        found = piece.find(b"OggS")
        if found >= 0:
            return place + found
        place += max(len(piece) - 3, 1)
    return size
