"""Listing: which recordings there are, in a folder with its tar shards, or in a table of segments of longer ones."""

from __future__ import annotations

import math
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from pseudolabel.artefacts import read_csv
from pseudolabel.audio.files import AUDIO_SUFFIXES, Source
from pseudolabel.errors import InputError

SHARD_SUFFIX = ".tar"
PACKED_SHARDS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
SEGMENT_COLUMNS = ("file", "start", "end")


def find_audio(place: str | Path) -> dict[str, Source]:
    """Return {clip id: source} of every recording below a folder and in its tar shards, or in one shard.

    The clip id is the name of the file or member without folder and suffix; the result is sorted by it.

    Raises:
        InputError: there is no such folder, a name is not UTF-8 text, two recordings have one id, or a shard is packed
            or damaged.
    """
    place = Path(place)
    if not place.is_dir() and not (place.is_file() and place.suffix == SHARD_SUFFIX):
        raise InputError("no such folder of recordings", place)
    found: dict[str, Source] = {}
    for clip_id, source in _walk(place) if place.is_dir() else shard_members(place):
        if found.setdefault(clip_id, source) is not source:
            raise InputError(
                f"two recordings have the clip id {clip_id!r}: {found[clip_id]} and {source}", place,
                "Rename one of them or leave it out.",
            )  # fmt: skip
    return dict(sorted(found.items()))


def _walk(folder: Path) -> Iterator[tuple[str, Source]]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in AUDIO_SUFFIXES:
                _refuse_odd_name(str(path))
                yield path.stem, Source(path)
            elif path.suffix == SHARD_SUFFIX:
                yield from shard_members(path)
            elif name.endswith(PACKED_SHARDS):
                raise InputError("a packed shard: its members cannot be read one by one", path, "Unpack it to .tar.")


def shard_members(path: Path) -> Iterator[tuple[str, Source]]:
    """Yield (clip id, source) of the recordings in a tar shard; only its headers are read.

    Raises:
        InputError: it is damaged, or a name is not UTF-8 text.
    """
    try:
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                name = Path(member.name)
                if not member.isfile() or name.name.startswith(".") or name.suffix.lower() not in AUDIO_SUFFIXES:
                    continue
                _refuse_odd_name(member.name)
                yield name.stem, Source(path, member=member.name, offset=member.offset_data, size=member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"not a readable tar shard ({error})", path, "Fetch it again or leave it out.") from error


def read_segments(table: str | Path, folder: str | Path) -> dict[str, Source]:
    """Return {clip id: source} of a CSV table `file,start,end` and optionally `clip_id`, sorted by clip id.

    Files are relative to `folder`; start and end are seconds, an empty end is the recording's. Without an id of its own
    a segment is called `<name>_<start>_<end>`, as AudioSet's copies do.

    Raises:
        InputError: a missing column, a start or end that is no time, two segments with one id.
    """
    found: dict[str, Source] = {}
    line_of: dict[str, str] = {}
    for row in read_csv(table, SEGMENT_COLUMNS):
        place = f"{table}:{row['line']}"
        if not row["file"]:
            raise InputError("the file is empty", place)
        start_s, end_s = _seconds(row["start"] or "0", place), _seconds(row["end"], place) if row["end"] else None
        if end_s is not None and end_s <= start_s:
            raise InputError(f"the segment ends at {end_s:g} s, not after its start at {start_s:g} s", place)
        clip_id = row.get("clip_id") or f"{Path(row['file']).stem}_{row['start'] or 0}_{row['end'] or 'end'}"
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} stands there twice, first in line {line_of[clip_id]}", place)
        found[clip_id], line_of[clip_id] = Source(Path(folder, row["file"]), start_s, end_s), row["line"]
    if not found:
        raise InputError("the table has no segments", table)
    return dict(sorted(found.items()))


def _seconds(text: str, place: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{text!r} is no time in seconds", place)
    return seconds


def _refuse_odd_name(name: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are no UTF-8
        raise InputError("this file name is not UTF-8 text", ascii(name), "Rename it or its folder.")
