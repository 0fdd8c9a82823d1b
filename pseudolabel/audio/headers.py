"""Read how long a recording claims to be, check the claim, and choose the library that reads it to its end.

| container | states | checked |
|---|---|---|
| WAV, RF64, W64, AIFF, AU, CAF | bytes of sound | against the bytes in the file |
| FLAC | samples | against the number of its last frame |
| Ogg | samples so far, in each page | damaged or missing pages; concatenated streams; a last page |
| MP3 | frames, at best, in a Xing, Info or VBRI header | nothing: in joined files the header is that of one part |

Formats: Microsoft's RIFF and EBU Tech 3306 (RF64), AIFF-C, RFC 9639 (FLAC), RFC 3533 (Ogg).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pseudolabel.audio.frames import end_of_id3, last_flac_sample, next_page, page_is_whole, stated_by_mp3

NO_STATEMENT = 0x7FFFF000  # bytes; programs that do not yet know the size state this or more, and write less
TRIFLE = 0.02  # share of a recording that may be missing, or follow its stated end, without a closer look
MOST_PARTS = 10_000
TAIL_BYTES = 1 << 16
FLAC_START = b"fLaC\0\0\0\x22"  # with the head of its STREAMINFO: another recording begins
RIFF_NAMES = (b"RIFF", b"RIFX", b"RF64", b"BW64")


@dataclass(frozen=True)
class Header:
    """Facts about a recording's length, and how to read it.

    Args:
        reader: the library to try first: "soundfile" or "av".
        stated_s: stated length in seconds; None if the header states none, or states bytes.
        share: bytes of sound in the file divided by the bytes stated; None if no bytes are stated.
        parts: (start, bytes) of recordings concatenated in one file; empty if there is only one.
        corrections: (position, bytes) that replace wrong size fields.
        pieces: (start, bytes) to join into one file before the corrections; empty if the file is whole.
        cut: whether the end is missing.
        counted: whether the last Ogg page counts the samples of the whole.
        holes: number of places where Ogg pages are damaged or missing.
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
    """Read the header of a recording of `size` bytes; a damaged header states nothing."""
    containers = {b"riff": _w64, b"caff": _caf, b".snd": _au, b"fLaC": _flac, b"OggS": _ogg}
    try:
        if _is_wave(file, 0):
            return _riff_parts(file, size)
        file.seek(0)
        head = file.read(12)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(file, size)
        return containers.get(head[:4], _other)(file, size)
    except (struct.error, IndexError):  # the file ends within it
        return Header()


def _read(file: BinaryIO, position: int, form: str) -> tuple:
    file.seek(position)
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _from_to(starts: list[int], size: int) -> tuple[tuple[int, int], ...]:
    """Return (start, bytes) of parts that begin at `starts` and fill a file of `size` bytes."""
    return tuple((start, stop - start) for start, stop in zip(starts, [*starts[1:], size], strict=True))


def _chunks(file: BinaryIO, position: int, size: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of its content, stated size) of each chunk of a file."""
    n_bytes = struct.calcsize(form)
    while position + n_bytes <= size:
        name, stated = _read(file, position, form)
        yield name, position + n_bytes, stated
        if stated < 0:
            return
        position += n_bytes + stated + (stated & 1)


def _is_wave(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    head = file.read(12)
    return head[:4] in RIFF_NAMES and head[8:12] == b"WAVE"


def _is_name(name: bytes) -> bool:
    """Return whether these bytes can be the name of a chunk."""
    return all(32 <= byte < 127 for byte in name)


def _riff_parts(file: BinaryIO, size: int) -> Header:
    """Return the header of one RIFF file, or of several concatenated ones."""
    starts, start = [], 0
    while len(starts) < MOST_PARTS:
        header, end = _riff(file, start, size)
        starts.append(start)
        if not end:
            break
        start = end
    return header if len(starts) == 1 else Header(parts=_from_to(starts, size))


def _riff(file: BinaryIO, start: int, size: int) -> tuple[Header, int]:
    """Return the header of the RIFF file that begins at `start`, and where the next one begins (0: there is none)."""
    order = ">" if _read(file, start, "4s")[0] == b"RIFX" else "<"
    wide = 0  # position of the 64-bit size of the sound
    for name, position, stated in _chunks(file, start + 12, size, f"{order}4sI"):
        if name == b"ds64":
            wide = position + 8
        if name != b"data":
            continue
        stated = _read(file, wide, "<Q")[0] if wide and stated == 0xFFFFFFFF else stated
        stored = size - position
        if not wide and (not stated or stated >= max(NO_STATEMENT, stored)):
            end = _first_of_last_chunks(file, position, size, order)
            if position < end < size:
                return Header(corrections=_riff_sizes(start, position, 0, order, end - position)), 0
        if stated >= stored:
            return Header(share=None if stated >= NO_STATEMENT and not wide else stored / max(stated, 1)), 0
        more = _more_sound(file, position + stated + (stated & 1), size, order)
        if more:  # soundfile and FFmpeg would read only the last chunk
            pieces = ((0, position + stated), *more)
            n_sound = stated + sum(n_bytes for _, n_bytes in more)
            corrections = _riff_sizes(start, position, wide, order, n_sound)
            return Header(share=n_sound / stated if stated else None, pieces=pieces, corrections=corrections), 0
        ends = (position + stated, position + stated + (stated & 1))
        following = next((end for end in ends if _is_wave(file, end)), 0)
        if following or stored - stated <= TRIFLE * stated or _no_sound_follows(file, position + stated, size, order):
            return Header(share=1.0), following
        if not wide and size > 0xFFFFFFFF:
            return Header("av"), 0
        corrections = _riff_sizes(start, position, wide, order, stored)
        return Header(share=stored / stated if stated else None, corrections=corrections), 0
    return Header(), 0


def _riff_sizes(start: int, position: int, wide: int, order: str, n_bytes: int) -> tuple[tuple[int, bytes], ...]:
    """Return corrected size fields for a RIFF file with `n_bytes` of sound from `position` to its end."""
    end = position + n_bytes
    sizes = ((wide - 8, end - 8), (wide, n_bytes)) if wide else ((start + 4, end - start - 8), (position - 4, n_bytes))
    return tuple((at, struct.pack("<Q" if wide else f"{order}I", value)) for at, value in sizes)


def _more_sound(file: BinaryIO, position: int, size: int, order: str) -> tuple[tuple[int, int], ...]:
    """Return (start, bytes) of further chunks of sound after `position`, empty ones included."""
    more = []
    for number, (name, start, stated) in enumerate(_chunks(file, position, size, f"{order}4sI")):
        if name in RIFF_NAMES[:3] or number == MOST_PARTS or not _is_name(name):
            break
        if name == b"data":
            more.append((start, min(stated, size - start)))
    return tuple(more)


def _first_of_last_chunks(file: BinaryIO, position: int, size: int, order: str) -> int:
    """Return where the chunks after sound of unstated size begin; the size of the file if there are none."""
    first = max(size - TAIL_BYTES, position)
    file.seek(first)
    tail = file.read(size - first)
    for match in re.finditer(b"LIST(?=....(?:INFO|adtl))|id3 |ID3 |bext|iXML|cue |smpl", tail, re.DOTALL):
        start = match.start()
        if len(tail) - start >= 8 and _no_sound_follows(file, first + start, size, order):
            return first + start
    return size


def _no_sound_follows(file: BinaryIO, position: int, size: int, order: str) -> bool:
    """Return whether nothing but chunks, a tag or zeros follows the stated end of the sound."""
    for first in (position, position + 1):
        file.seek(first)
        if file.read(3) in (b"TAG", b"ID3"):
            return True
        end = first
        while size - end >= 8:
            name, stated = _read(file, end, f"{order}4sI")
            if not _is_name(name) or end + 8 + stated > size:
                break
            end += 8 + stated + (stated & 1)
        if end > first and size - end < 8:
            return True
    file.seek(position)
    return all(not piece.strip(b"\0") for piece in iter(lambda: file.read(TAIL_BYTES), b""))


def _aiff(file: BinaryIO, size: int) -> Header:
    """AIFF: `COMM` counts the frames, `SSND` holds the sound, `FORM` states the size of the whole."""
    end = 8 + _read(file, 4, ">I")[0]
    if size - end >= 12 and _read(file, end, ">4s4x3s") == (b"FORM", b"AIF"):
        return Header(parts=((0, end), (end, size - end)))
    counted = n_frames = 0
    for name, position, stated in _chunks(file, 12, size, ">4sI"):
        if name == b"COMM":
            counted, n_frames = position + 2, _read(file, position + 2, ">I")[0]
        if name != b"SSND":
            continue
        stored, unsized = size - position, stated <= 8 or (stated >= NO_STATEMENT and stated > size)
        if unsized or stated >= stored:
            return Header(share=None if unsized else stored / stated)
        follows = stored - stated > TRIFLE * stated and not _no_sound_follows(file, position + stated, size, ">")
        if not follows or not n_frames:
            return Header(share=1.0)
        frame = (stated - 8) // n_frames
        sizes = ((position - 4, stored), (counted, (stored - 8) // max(frame, 1)))
        return Header(share=stored / stated, corrections=tuple((at, struct.pack(">I", value)) for at, value in sizes))
    return Header()


def _caf(file: BinaryIO, size: int) -> Header:
    for name, start, stated in _chunks(file, 8, size, ">4sq"):
        if name == b"data":
            return Header(share=min((size - start) / stated, 1.0) if stated > 0 else None)
    return Header()


def _w64(file: BinaryIO, size: int) -> Header:
    position = 40
    while position + 24 <= size:
        name, stated = _read(file, position, "<16sQ")
        if name[:4] == b"data":
            return Header(share=min((size - position) / stated, 1.0) if stated > 24 else None)
        if stated < 24:
            break
        position += -(-stated // 8) * 8
    return Header()


def _au(file: BinaryIO, size: int) -> Header:
    start, stated = _read(file, 4, ">II")
    unsized, stored = stated in (0, 0xFFFFFFFF), max(size - start, 0)
    if unsized or stored > (1 + TRIFLE) * stated:  # nothing but sound follows
        return Header(share=None if unsized else stored / stated, corrections=((8, b"\xff" * 4),))
    return Header(share=min(stored / stated, 1.0))


def _flac(file: BinaryIO, size: int) -> Header:
    """RFC 9639, 8.2: soundfile reads only the stated samples, and nothing if none are stated."""
    file.seek(4)
    if file.read(1)[0] & 0x7F:  # the first block is not STREAMINFO
        return Header("av")
    _, block, frame_bytes, packed = _read(file, 8, ">HH6sQ")
    rate, total = packed >> 44, packed & ((1 << 36) - 1)
    if not rate or not total:
        return Header("av")
    n_tail = max(2 * int.from_bytes(frame_bytes[3:], "big"), TAIL_BYTES)
    file.seek(max(size - n_tail, 0))
    tail = file.read(n_tail)
    is_whole = last_flac_sample(tail, block) == total and FLAC_START not in tail  # a longer one shows when read
    return Header("soundfile" if is_whole else "av", stated_s=total / rate)


def _ogg(file: BinaryIO, size: int) -> Header:
    """RFC 3533, 6: a page that begins a stream after sound begins another recording."""
    position, starts, numbers, last, kinds = 0, [], {}, 0, []
    beginning, together, holes = False, False, 0
    while position + 27 <= size and holes < MOST_PARTS:
        magic, _, flags, serial, number, n_segments = _read(file, position, "<4sBB8xII4xB")
        lengths = file.read(n_segments)
        end = position + 27 + n_segments + sum(lengths)
        if magic != b"OggS" or (end <= size and not page_is_whole(file, position, end - position)):
            position = next_page(file, position + 1, size)
            holes += magic == b"OggS" or position < size
            numbers.clear()
            continue
        last = flags
        if last & 2:
            file.seek(position + 27 + n_segments)
            kinds.append(file.read(8))
            together |= beginning
            if not beginning:
                starts.append(position)
        holes += not last & 2 and number != numbers.get(serial, number)
        numbers[serial], beginning, position = number + 1, bool(last & 2), end
    cut = position > size or not last & 4
    # soundfile would seek by sample counts, which are wrong where pages are missing
    by_soundfile = not together and all(kind.startswith((b"\x01vorbis", b"\x7fFLAC")) for kind in kinds)
    counted = len(kinds) == 1 and (by_soundfile or kinds[0].startswith(b"OpusHead"))
    if holes or not by_soundfile or not 1 < len(starts) <= MOST_PARTS:
        reader = "soundfile" if by_soundfile and not holes else "av"
        return Header(reader, cut=cut, counted=counted, holes=holes)
    return Header(parts=_from_to(starts, size), cut=cut)


def _other(file: BinaryIO, size: int) -> Header:
    """Return the header of formats that soundfile reads badly or not at all; unknown formats go to it first."""
    file.seek(0)
    head, end = file.read(8), end_of_id3(file)
    file.seek(end)
    start = file.read(4)
    if start[:1] == b"\xff" and start[1:2] >= b"\xe0":
        return Header("av", stated_s=stated_by_mp3(file, end))
    is_film = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    return Header("av" if end or is_film or head[:4] in (b"\x1aE\xdf\xa3", b"ADIF") else "soundfile")
