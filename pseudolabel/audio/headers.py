"""Headers: what a recording states of its own length, and which library reads it to its end.

| container | what it states | what is checked |
|---|---|---|
| WAV, RF64, W64, AIFF, AU, CAF | bytes of sound | against the bytes that are there |
| FLAC | samples | against the number of its last frame |
| Ogg | samples so far, in each page | that no page is damaged or missing, streams that follow each other, a last page |
| MP3 | frames, in a Xing, Info or VBRI header if at all | nothing: the header of one part of a joined file is no lie |

Formats: Microsoft's RIFF and EBU Tech 3306 (RF64), AIFF-C, RFC 9639 (FLAC), RFC 3533 (Ogg), the LAME tag of mp3.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pseudolabel.audio.pages import next_page, page_is_whole

NO_STATEMENT = 0x7FFFF000  # bytes or more, of which fewer are there: what programs write that do not know the size yet
TRIFLE = 0.02  # share of a recording; what is lost or follows beyond it is looked at
MOST_PARTS = 10_000
TAIL_BYTES = 1 << 16
FLAC_START = b"fLaC\0\0\0\x22"  # with the head of its STREAMINFO: another recording follows


@dataclass(frozen=True)
class Header:
    """What the header of a recording says.

    Args:
        reader: the library that reads it first: "soundfile" or "av".
        stated_s: seconds that it states; None where it states none, or states bytes.
        share: bytes of sound that are there for each byte that is stated; None where no bytes are stated.
        parts: (start, bytes) of recordings that follow each other in one file; empty where it is one.
        corrections: (position, bytes) of size fields that are too small, corrected.
        pieces: (start, bytes) that make one file when they are joined, before corrections; empty where it is whole.
        cut: its end is missing.
        counted: its last Ogg page counts the samples of the whole.
        holes: places where Ogg pages are damaged or missing.
    """

    reader: str = "soundfile"
    stated_s: float | None = None
    share: float | None = None
    parts: tuple[tuple[int, int], ...] = ()
    corrections: tuple[tuple[int, bytes], ...] = ()
    pieces: tuple[tuple[int, int], ...] = ()
    cut: bool = False
    counted: bool = False
    holes: int = 0


def read_header(file: BinaryIO, size: int) -> Header:
    """Return what the header of a recording of `size` bytes says; a damaged one says nothing."""
    file.seek(0)
    head = file.read(16)
    try:
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _riff_parts(file, size)
        if head[:4] == b"riff":
            return _w64(file, size)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(file, size)
        if head[:4] == b"caff":
            return _caf(file, size)
        if head[:4] == b".snd":
            return _au(file, size)
        if head[:4] == b"fLaC":
            return _flac(file, size)
        if head[:4] == b"OggS":
            return _ogg(file, size)
        return _other(file, head)
    except struct.error:  # the file ends within it
        return Header()


def _read(file: BinaryIO, place: int, form: str) -> tuple:
    file.seek(place)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _chunks(file: BinaryIO, place: int, size: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, where its content begins, stated size) of the chunks of a file."""
    n_bytes = struct.calcsize(form)
    while place + n_bytes <= size:
        name, stated = _read(file, place, form)
        yield name, place + n_bytes, stated
        if stated < 0:
            return
        place += n_bytes + stated + (stated & 1)


def _riff_parts(file: BinaryIO, size: int) -> Header:
    """Return the header of one RIFF file, or of several that follow each other."""
    starts, start = [], 0
    while len(starts) < MOST_PARTS:
        header, end = _riff(file, start, size)
        starts.append(start)
        if not end:
            break
        start = end
    if len(starts) == 1:
        return header
    return Header(parts=tuple((a, b - a) for a, b in zip(starts, [*starts[1:], size], strict=True)))


def _riff(file: BinaryIO, start: int, size: int) -> tuple[Header, int]:
    """Return the header of the RIFF file that begins at `start`, and where another one follows it; 0: nowhere."""
    order = ">" if _read(file, start, "4s")[0] == b"RIFX" else "<"
    wide = 0  # where a 64-bit size of the sound is
    for name, place, stated in _chunks(file, start + 12, size, f"{order}4sI"):
        if name == b"ds64":
            wide = place + 8
        if name != b"data":
            continue
        stated = _read(file, wide, "<Q")[0] if wide and stated == 0xFFFFFFFF else stated
        there = size - place
        if not wide and (not stated or stated >= max(NO_STATEMENT, there)):
            end = _chunks_behind(file, place, size, order)
            if place < end < size:
                return Header(corrections=_riff_sizes(start, place, 0, order, end - place)), 0
        if stated >= there:
            return Header(share=None if stated >= NO_STATEMENT and not wide else there / max(stated, 1)), 0
        more = _more_sound(file, place + stated + (stated & 1), size, order)
        if more:  # soundfile and FFmpeg would read the last of them alone
            pieces = ((0, place + stated), *more)
            n_sound = stated + sum(n_bytes for _, n_bytes in more)
            corrections = _riff_sizes(start, place, wide, order, n_sound)
            return Header(share=n_sound / stated if stated else None, pieces=pieces, corrections=corrections), 0
        following = next((end for end in (place + stated, place + stated + (stated & 1)) if _is_riff(file, end)), 0)
        if following or there - stated <= TRIFLE * stated or _no_sound_follows(file, place + stated, size, order):
            return Header(share=1.0), following
        if not wide and size > 0xFFFFFFFF:
            return Header("av"), 0
        corrections = _riff_sizes(start, place, wide, order, there)
        return Header(share=there / stated if stated else None, corrections=corrections), 0
    return Header(), 0


def _riff_sizes(start: int, place: int, wide: int, order: str, n_bytes: int) -> tuple[tuple[int, bytes], ...]:
    """Return the corrected size fields of a RIFF file whose sound is `n_bytes` from `place` on, and ends it."""
    end = place + n_bytes
    sizes = ((wide - 8, end - 8), (wide, n_bytes)) if wide else ((start + 4, end - start - 8), (place - 4, n_bytes))
    return tuple((at, struct.pack("<Q" if wide else f"{order}I", value)) for at, value in sizes)


def _more_sound(file: BinaryIO, place: int, size: int, order: str) -> tuple[tuple[int, int], ...]:
    """Return (start, bytes) of further chunks of sound among those that follow; an empty one is one too."""
    found = []
    for number, (name, start, stated) in enumerate(_chunks(file, place, size, f"{order}4sI")):
        if name in (b"RIFF", b"RIFX", b"RF64") or number == MOST_PARTS or not all(32 <= byte < 127 for byte in name):
            break
        if name == b"data":
            found.append((start, min(stated, size - start)))
    return tuple(found)


def _is_riff(file: BinaryIO, place: int) -> bool:
    file.seek(place)
    head = file.read(12)
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE"


def _chunks_behind(file: BinaryIO, place: int, size: int, order: str) -> int:
    """Return where the chunks begin that end a file whose sound states no size; its size where there are none."""
    first = max(size - TAIL_BYTES, place)
    file.seek(first)
    tail = file.read(size - first)
    for found in re.finditer(b"LIST(?=....(?:INFO|adtl))|id3 |ID3 |bext|iXML|cue |smpl", tail, re.DOTALL):
        at = found.start()
        if len(tail) - at >= 8 and _no_sound_follows(file, first + at, size, order):
            return first + at
    return size


def _no_sound_follows(file: BinaryIO, place: int, size: int, order: str) -> bool:
    """Return whether chunks, a tag or zeros, and not more sound, lie behind the stated end of the sound."""
    for first in (place, place + 1):
        file.seek(first)
        if file.read(3) in (b"TAG", b"ID3"):
            return True
        end = first
        while size - end >= 8:
            name, stated = _read(file, end, f"{order}4sI")
            if not all(32 <= letter < 127 for letter in name) or end + 8 + stated > size:
                break
            end += 8 + stated + (stated & 1)
        if end > first and size - end < 8:
            return True
    file.seek(place)
    return all(not piece.strip(b"\0") for piece in iter(lambda: file.read(TAIL_BYTES), b""))


def _aiff(file: BinaryIO, size: int) -> Header:
    """AIFF: `COMM` counts the frames, the sound is in `SSND`, and `FORM` has the size of the whole."""
    end = 8 + _read(file, 4, ">I")[0]
    if size - end >= 12 and _read(file, end, ">4s4x3s") == (b"FORM", b"AIF"):
        return Header(parts=((0, end), (end, size - end)))
    counted = n_frames = 0
    for name, place, stated in _chunks(file, 12, size, ">4sI"):
        if name == b"COMM":
            counted, n_frames = place + 2, _read(file, place + 2, ">I")[0]
        if name != b"SSND":
            continue
        there, unsized = size - place, stated <= 8 or (stated >= NO_STATEMENT and stated > size)
        if unsized or stated >= there:
            return Header(share=None if unsized else there / stated)
        if there - stated <= TRIFLE * stated or _no_sound_follows(file, place + stated, size, ">") or not n_frames:
            return Header(share=1.0)
        frame = (stated - 8) // n_frames
        sizes = ((place - 4, there), (counted, (there - 8) // max(frame, 1)))
        return Header(share=there / stated, corrections=tuple((at, struct.pack(">I", value)) for at, value in sizes))
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    for name, start, stated in _chunks(file, 8, size, ">4sq"):
        if name == b"data":
            return Header(share=min((size - start) / stated, 1.0) if stated > 0 else None)
    return Header()


def _w64(file: BinaryIO, size: int) -> Header:
    place = 40
    while place + 24 <= size:
        name, stated = _read(file, place, "<16sQ")
        if name[:4] == b"data":
            return Header(share=min((size - place) / stated, 1.0) if stated > 24 else None)
        if stated < 24:
            break
        place += -(-stated // 8) * 8
    return Header()


def _au(file: BinaryIO, size: int) -> Header:
    start, stated = _read(file, 4, ">II")
    unsized, there = stated in (0, 0xFFFFFFFF), max(size - start, 0)
    if unsized or there > (1 + TRIFLE) * stated:  # nothing else follows the sound
        return Header(share=None if unsized else there / stated, corrections=((8, b"\xff" * 4),))
    return Header(share=min(there / stated, 1.0))


def _flac(file: BinaryIO, size: int) -> Header:
    """RFC 9639, 8.2: the samples that are stated; soundfile reads no more, and nothing where none are stated."""
    file.seek(4)
    if file.read(1)[0] & 0x7F:  # the first block is another one
        return Header("av")
    _, block, frame_bytes, packed = _read(file, 8, ">HH6sQ")
    rate, total = packed >> 44, packed & ((1 << 36) - 1)
    if not rate or not total:
        return Header("av")
    tail = max(2 * int.from_bytes(frame_bytes[3:], "big"), TAIL_BYTES)
    file.seek(max(size - tail, 0))
    end = file.read(tail)
    whole = _last_sample(end, block) == total and FLAC_START not in end  # a longer one is seen when this one is read
    return Header("soundfile" if whole else "av", stated_s=total / rate)


def _last_sample(tail: bytes, block: int) -> int:
    """Return how many samples there are up to the end of the last FLAC frame of `tail`; 0 where it has none."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _frame_end(tail[place : place + 16], block)
        if end:
            return end
    return 0


def _frame_end(frame: bytes, block: int) -> int:
    """Return the number of the sample after the FLAC frame that `frame` begins, 0 where it begins none (RFC 9639, 9.1).

    Args:
        block: samples a frame, where all have the same number.
    """
    if len(frame) < 6 or frame[1] not in (0xF8, 0xF9) or not frame[2] >> 4 or frame[3] & 1:
        return 0
    n_more = 0 if frame[4] < 0x80 else 7 - (~frame[4] & 0xFF).bit_length()  # bytes of the number, as UTF-8 has them
    number = frame[4] if not n_more else frame[4] & (0x3F >> n_more)
    for byte in frame[5 : 5 + n_more]:
        number = number << 6 | byte & 0x3F
    code, rate, place = frame[2] >> 4, frame[2] & 15, 5 + n_more
    size_bytes = {6: 1, 7: 2}.get(code, 0)
    here = _block_size(code, frame[place : place + size_bytes])
    place += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if place >= len(frame) or _crc8(frame[:place]) != frame[place]:
        return 0
    return (number if frame[1] & 1 else number * block) + here


def _block_size(code: int, stored: bytes) -> int:
    if stored:
        return int.from_bytes(stored, "big") + 1
    return 192 if code == 1 else 576 << (code - 2) if code < 6 else 256 << (code - 8)


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def _ogg(file: BinaryIO, size: int) -> Header:
    """RFC 3533, 6: pages; one that begins a stream after sound has come begins another recording."""
    place, starts, numbers, last, kinds = 0, [], {}, 0, []
    beginning, together, holes = False, False, 0
    while place + 27 <= size and holes < MOST_PARTS:
        magic, _, flags, serial, number, n_segments = _read(file, place, "<4sBB8xII4xB")
        lengths = file.read(n_segments)
        end = place + 27 + n_segments + sum(lengths)
        if magic != b"OggS" or (end <= size and not page_is_whole(file, place, end - place)):
            place = next_page(file, place + 1, size)
            holes += magic == b"OggS" or place < size
            numbers.clear()
            continue
        last = flags
        if last & 2:
            file.seek(place + 27 + n_segments)
            kinds.append(file.read(8))
            together |= beginning
            if not beginning:
                starts.append(place)
        holes += not last & 2 and number != numbers.get(serial, number)
        numbers[serial], beginning, place = number + 1, bool(last & 2), end
    cut = place > size or not last & 4
    # soundfile would seek by counts that do not hold where pages are missing
    known = not together and all(kind.startswith((b"\x01vorbis", b"\x7fFLAC")) for kind in kinds)
    counted = len(kinds) == 1 and (known or kinds[0].startswith(b"OpusHead"))
    if holes or not known or not 1 < len(starts) <= MOST_PARTS:
        return Header("soundfile" if known and not holes else "av", cut=cut, counted=counted, holes=holes)
    return Header(parts=tuple((a, b - a) for a, b in zip(starts, [*starts[1:], size], strict=True)), cut=cut)


def _other(file: BinaryIO, head: bytes) -> Header:
    """Return the header of what soundfile reads badly or not at all; of what is not known, that soundfile may try."""
    place = _after_id3(file)
    file.seek(place)
    start = file.read(4)
    if start[:1] == b"\xff" and start[1:2] >= b"\xe0":
        return Header("av", stated_s=_xing(file, place, start))
    film = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    return Header("av" if place or film or head[:4] in (b"\x1aE\xdf\xa3", b"ADIF") else "soundfile")


def _after_id3(file: BinaryIO) -> int:
    """Return where the ID3 tags at the beginning end."""
    place = 0
    while True:
        file.seek(place)
        tag = file.read(10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            return place
        place += 10 + sum((byte & 0x7F) << 7 * (3 - number) for number, byte in enumerate(tag[6:]))


def _xing(file: BinaryIO, place: int, start: bytes) -> float | None:
    """Return the seconds that the header in the first frame of an mp3 states, without the encoder's padding."""
    version, layer, rate = start[1] >> 3 & 3, start[1] >> 1 & 3, start[2] >> 2 & 3
    if layer != 1 or version == 1 or rate == 3:
        return None
    hertz = (44_100, 48_000, 32_000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    samples, mono = (1152 if version == 3 else 576), start[3] >> 6 == 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    file.seek(place)
    frame = file.read(side + 160)
    tag = frame[4 + side :]
    if tag[:4] in (b"Xing", b"Info") and len(tag) >= 12 and tag[7] & 1:
        n_frames = int.from_bytes(tag[8:12], "big")
        pads = tag[141:144] if tag[120:124] in (b"LAME", b"Lavf", b"Lavc") else b""
        padding = int.from_bytes(pads, "big")
        return max(n_frames * samples - (padding >> 12) - (padding & 0xFFF), 0) / hertz
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big") * samples / hertz
    return None
