"""Listing: which recordings there are, in a folder with its tar shards, or in a table of segments of longer ones.

Ids are compared in Unicode NFC, whatever form a disk or a table writes names in. Links are followed; a folder or file
that is reached twice counts once. What is no recording for a reason that is known here is listed with that reason.
"""

from __future__ import annotations

import itertools
import math
import os
import posixpath
import tarfile
import unicodedata
from collections.abc import Collection, Iterator
from pathlib import Path

from pseudolabel.audio.files import AUDIO_SUFFIXES, Source
from pseudolabel.errors import InputError
from pseudolabel.tables import read_csv

SHARD_SUFFIX = ".tar"
PACKED_SHARDS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
SEGMENT_COLUMNS = ("file", "start", "end")


def nfc(text: str) -> str:
    """Return an id or a name as ids are compared: in Unicode NFC."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


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
        earlier = found.setdefault(clip_id, source)
        if earlier is not source and not _one_file(earlier, source):
            raise InputError(
                f"two recordings have the clip id {clip_id!r}: {earlier} and {source}", place,
                "Rename one of them or leave it out.",
            )  # fmt: skip
    return dict(sorted(found.items()))


def _one_file(first: Source, second: Source) -> bool:
    """Return whether two sources are the same file, reached twice."""
    if first.member or second.member or first.problem or second.problem:
        of_first, of_second = ((source.path.resolve(), source.member, source.offset) for source in (first, second))
        return of_first == of_second
    return first.path.samefile(second.path)


def _walk(folder: Path) -> Iterator[tuple[str, Source]]:
    for path in _files_below(folder):
        yield from _recordings_in(path)


def other_files(folder: Path, clip_ids: Collection[str]) -> dict[str, Path]:
    """Return {clip id: file} of the files of a folder that are named as these clips but not as recordings."""
    if not folder.is_dir():
        return {}
    named = {nfc(path.stem): path for path in _files_below(folder) if path.suffix.lower() not in AUDIO_SUFFIXES}
    return {clip_id: named[clip_id] for clip_id in clip_ids if clip_id in named}


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, each folder once, none that is hidden.

    Raises:
        OSError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # by another link, or one that leads back here
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _recordings_in(path: Path) -> Iterator[tuple[str, Source]]:
    if path.suffix.lower() in AUDIO_SUFFIXES:
        _refuse_odd_name(str(path))
        yield nfc(path.stem), Source(path, problem=_broken(path))
    elif path.suffix == SHARD_SUFFIX:
        yield from shard_members(path)
    elif path.name.endswith(PACKED_SHARDS):
        raise InputError("a packed shard: its members cannot be read one by one", path, "Unpack it to .tar.")


def _broken(path: Path) -> str:
    """Return why a link leads nowhere, '' where it leads to something or is none."""
    if not path.is_symlink():
        return ""
    try:
        path.stat()
    except OSError:  # no such file, or a circle
        return f"is a link to a file that is not there ({os.readlink(path)})"
    return ""


def shard_members(path: Path) -> Iterator[tuple[str, Source]]:
    """Yield (clip id, source) of the recordings in a tar shard; only its headers are read.

    A member that is a link is what it links to.

    Raises:
        InputError: it is damaged, or a name is not UTF-8 text.
    """
    try:
        with tarfile.open(path, "r:") as shard:
            members = list(shard)
            _refuse_rest(path, shard.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise InputError(f"not a readable tar shard ({error})", path, "Fetch it again or leave it out.") from error
    by_name = {posixpath.normpath(member.name): member for member in members}
    for member in members:
        name = member.name
        base, suffix = posixpath.splitext(posixpath.basename(name))
        if member.isdir() or base.startswith(".") or suffix.lower() not in AUDIO_SUFFIXES:
            continue
        _refuse_odd_name(name)
        yield nfc(base), _member(path, member, by_name)


def _refuse_rest(path: Path, end: int) -> None:
    """Raise InputError where more than zeros follows the last member: what lies there would be lost."""
    with open(path, "rb") as file:
        file.seek(end)
        while piece := file.read(1 << 20):
            if piece.strip(b"\0"):
                message = f"bytes follow the end that is marked at byte {end}: damaged, or shards joined to one"
                raise InputError(message, path, "Unpack it (tar -i reads over marks), or fetch it again.")


def _member(path: Path, member: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> Source:
    """Return the source of a member, that of its target where it is a link."""
    name, target, n_links = member.name, member, 0
    while target is not None and (target.issym() or target.islnk()):
        linked = target.linkname if target.islnk() else posixpath.join(posixpath.dirname(target.name), target.linkname)
        target, n_links = members.get(posixpath.normpath(linked)), n_links + 1
        if target is None or n_links > len(members):
            return Source(path, member=name, problem=f"is a link to {member.linkname}, which the shard does not hold")
    if not target.isreg():
        return Source(path, member=name, problem="is neither a file nor a link")
    if target.sparse is None:
        return Source(path, member=name, offset=target.offset_data, size=target.size)
    spans, offset = [], target.offset_data
    for position, length in target.sparse:
        if length:
            spans.append((position, offset, length))
        offset += length
    if not spans or any(a + n > b for (a, _, n), (b, _, _) in itertools.pairwise(spans)):
        return Source(path, member=name, problem="is a sparse member whose map cannot be read")
    return Source(path, member=name, offset=target.offset_data, size=target.size, spans=tuple(spans))


def read_segments(table: str | Path, folder: str | Path) -> dict[str, Source]:
    """Return {clip id: source} of a CSV table `file,start,end` and optionally `clip_id`, sorted by clip id.

    Files are relative to `folder`; start and end are seconds, an empty end is the recording's. Without an id of its own
    a segment is called `<name>_<start>_<end>`, as AudioSet's copies do.

    Raises:
        InputError: a missing column, a start or end that is no time, two segments with one id.
    """
    found: dict[str, Source] = {}
    line_of: dict[str, str] = {}
    names = _Names(Path(folder))
    for row in read_csv(table, SEGMENT_COLUMNS):
        place = f"{table}:{row['line']}"
        if not row["file"]:
            raise InputError("the file is empty", place)
        start_s, end_s = _seconds(row["start"] or "0", place), _seconds(row["end"], place) if row["end"] else None
        if end_s is not None and end_s <= start_s:
            raise InputError(f"the segment ends at {end_s:g} s, not after its start at {start_s:g} s", place)
        clip_id = nfc(row.get("clip_id") or f"{Path(row['file']).stem}_{row['start'] or 0}_{row['end'] or 'end'}")
        if clip_id in found:
            raise InputError(f"clip {clip_id!r} is listed twice, first in line {line_of[clip_id]}", place)
        found[clip_id], line_of[clip_id] = Source(names.path(row["file"]), start_s, end_s), row["line"]
    if not found:
        raise InputError("the table has no segments", table)
    return dict(sorted(found.items()))


class _Names:
    """Files of a folder by their name, in whatever Unicode form the disk and a table have it."""

    def __init__(self, folder: Path):
        self.folder, self._listed = folder, {}

    def path(self, name: str) -> Path:
        """Return the file; where there is none of this name, that of an equal one."""
        path = self.folder / name
        if name.isascii() or path.exists():
            return path
        here = self.folder
        for part in Path(name).parts:
            here = here / self._in(here).get(nfc(part), part)
        return here

    def _in(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            self._listed[folder] = {nfc(name): name for name in os.listdir(folder)} if folder.is_dir() else {}
        return self._listed[folder]


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
