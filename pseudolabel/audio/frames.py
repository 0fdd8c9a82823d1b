"""Infer the length of FLAC, Ogg and MP3 files from single frames and pages.

Formats: RFC 9639 (FLAC), RFC 3533 (Ogg), ID3v2, the Xing, VBRI and LAME tags of MP3.
"""

from __future__ import annotations

import zlib
from typing import BinaryIO

PIECE_BYTES = 1 << 16  # searched at a time
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page_is_whole(file: BinaryIO, position: int, n_bytes: int) -> bool:
    """Return whether an Ogg page matches its checksum: zlib's CRC over mirrored bits, starting and ending with 0."""
    file.seek(position)
    page = file.read(n_bytes)
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(MIRRORED) == page[22:26]


def next_page(file: BinaryIO, position: int, size: int) -> int:
    """Return where the next Ogg page begins, or `size` if there is none."""
    while position < size:
        file.seek(position)
        piece = file.read(PIECE_BYTES)
        index = piece.find(b"OggS")
        if index >= 0:
            return position + index
        position += max(len(piece) - 3, 1)
    return size


def last_flac_sample(tail: bytes, block: int) -> int:
    """Return the number of samples up to the end of the last FLAC frame in `tail`; 0 if there is none."""
    position = len(tail)
    while (position := tail.rfind(b"\xff", 0, position)) >= 0:
        end = _flac_frame_end(tail[position : position + 16], block)
        if end:
            return end
    return 0


def _flac_frame_end(frame: bytes, block: int) -> int:
    """Return the number of the sample after the FLAC frame that starts here; 0 if none does (RFC 9639, 9.1).

    Args:
        block: samples per frame, if all frames have the same number.
    """
    if len(frame) < 6 or frame[1] not in (0xF8, 0xF9) or not frame[2] >> 4 or frame[3] & 1:
        return 0
    n_more = 0 if frame[4] < 0x80 else 7 - (~frame[4] & 0xFF).bit_length()  # bytes of the number, coded as in UTF-8
    number = frame[4] if not n_more else frame[4] & (0x3F >> n_more)
    for byte in frame[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    code, rate, position = frame[2] >> 4, frame[2] & 15, 5 + n_more
    size_bytes = {6: 1, 7: 2}.get(code, 0)
    n_samples = _flac_block_size(code, frame[position : position + size_bytes])
    position += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if position >= len(frame) or _crc8(frame[:position]) != frame[position]:
        return 0
    return (number if frame[1] & 1 else number * block) + n_samples


def _flac_block_size(code: int, stored: bytes) -> int:
    if stored:
        return int.from_bytes(stored, "big") + 1
    if code == 1:
        return 192
    return 576 << (code - 2) if code < 6 else 256 << (code - 8)


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def end_of_id3(file: BinaryIO) -> int:
    """Return where the leading ID3 tags end."""
    position = 0
    while True:
        file.seek(position)
        tag = file.read(10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            return position
        position += 10 + sum((byte & 0x7F) << 7 * (3 - number) for number, byte in enumerate(tag[6:]))


def stated_by_mp3(file: BinaryIO, position: int) -> float | None:
    """Return the length in seconds from the Xing, Info or VBRI header of an MP3's first frame, without padding."""
    file.seek(position)
    start = file.read(4)
    version, layer, rate = start[1] >> 3 & 3, start[1] >> 1 & 3, start[2] >> 2 & 3
    if layer != 1 or version == 1 or rate == 3:
        return None
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    n_samples, is_mono = (1152 if version == 3 else 576), start[3] >> 6 == 3
    side_bytes = {(True, False): 32, (False, True): 9}.get((version == 3, is_mono), 17)
    file.seek(position)
    frame = file.read(side_bytes + 160)
    tag = frame[4 + side_bytes :]
    if tag[:4] in (b"Xing", b"Info") and len(tag) >= 12 and tag[7] & 1:
        n_frames = int.from_bytes(tag[8:12], "big")
        padding = int.from_bytes(tag[141:144] if tag[120:124] in (b"LAME", b"Lavf", b"Lavc") else b"", "big")
        return max(n_frames * n_samples - (padding >> 12) - (padding & 0xFFF), 0) / hertz
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big") * n_samples / hertz
    return None
