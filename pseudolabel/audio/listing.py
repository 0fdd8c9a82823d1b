"""List recordings: those in a folder and its tar shards, or segments of longer ones named in a table.

Ids are compared in Unicode NFC, whatever form the disk or the table uses. Links are followed; a folder or file reached
twice counts once. Files already known to be unusable are listed with the reason.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
import posixpath
import tarfile
import unicodedata
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from pseudolabel.audio.files import AUDIO_SUFFIXES, AudioSource
from pseudolabel.errors import InputError
from pseudolabel.tables import read_csv

SHARD_SUFFIX = ".tar"
PACKED_SHARDS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")
SEGMENT_COLUMNS = ("file", "start", "end")


def nfc(text: str) -> str:
    """Return an id or a name in Unicode NFC, the form in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def find_audio(path: str | Path) -> dict[str, AudioSource]:
    """Return {clip id: source}, sorted, of every recording below a folder and in its tar shards, or in one shard.

    The clip id is the name of the file or member without its folder and suffix.

    Raises:
        InputError: the folder does not exist, a name is not UTF-8, two recordings share an id, or a shard is
            compressed or damaged.
    """
    path = Path(path)
    if not path.is_dir() and not (path.is_file() and path.suffix == SHARD_SUFFIX):
        raise InputError("no such folder of recordings", path)
    files = _files_below(path) if path.is_dir() else [path]
    sources: dict[str, AudioSource] = {}
    for clip_id, source in itertools.chain.from_iterable(map(_recordings_in, files)):
        earlier = sources.setdefault(clip_id, source)
        if earlier is not source and not _is_same_file(earlier, source):
            rule = f"two recordings have the clip id {clip_id!r}: {earlier} and {source}"
            raise InputError(rule, path, "Rename or remove one of them.")
    return dict(sorted(sources.items()))


def _is_same_file(first: AudioSource, second: AudioSource) -> bool:
    """Return whether two sources are the same file, reached twice."""
    if first.member or second.member or first.problem or second.problem:
        of_first, of_second = ((source.path.resolve(), source.member, source.offset) for source in (first, second))
        return of_first == of_second
    return first.path.samefile(second.path)


def other_files(folder: Path, clip_ids: Collection[str]) -> dict[str, Path]:
    """Return {clip id: file} of files in a folder that are named after these clips but lack an audio suffix."""
    if not folder.is_dir():
        return {}
    named = {nfc(path.stem): path for path in _files_below(folder) if path.suffix.lower() not in AUDIO_SUFFIXES}
    return {clip_id: named[clip_id] for clip_id in clip_ids if clip_id in named}


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, visiting each folder once.

    Raises:
        OSError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for path, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:  # through another link, or a cycle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(path, name) for name in sorted(names) if not name.startswith("."))


def _recordings_in(path: Path) -> Iterator[tuple[str, AudioSource]]:
    """Yield (clip id, source) of a recording, or of each in a shard; nothing for other files."""
    if path.suffix.lower() in AUDIO_SUFFIXES:
        _refuse_odd_name(str(path))
        yield nfc(path.stem), AudioSource(path, problem=_broken(path))
    elif path.suffix == SHARD_SUFFIX:
        yield from shard_members(path)
    elif path.name.endswith(PACKED_SHARDS):
        raise InputError("a packed shard: its members cannot be read one by one", path, "Unpack it to .tar.")


def _broken(path: Path) -> str:
    """Return what is wrong with a broken link; an empty string for any other file."""
    if not path.is_symlink():
        return ""
    try:
        path.stat()
    except OSError:  # no such file, or a cycle
        return f"is a link to a missing file ({os.readlink(path)})"
    return ""


def shard_members(path: Path) -> Iterator[tuple[str, AudioSource]]:
    """Yield (clip id, source) of the recordings in a tar shard, reading only its headers.

    A member that is a link has the bytes of its target.

    Raises:
        InputError: the shard is damaged, or a name is not UTF-8.
    """
    try:
        with tarfile.open(path, "r:") as shard:
            members = list(shard)
            _refuse_rest(path, shard.offset)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        raise InputError(f"not a readable tar shard ({error})", path, "Download or remove it.") from error
    by_name = {posixpath.normpath(member.name): member for member in members}
    for member in members:
        name = member.name
        base, suffix = posixpath.splitext(posixpath.basename(name))
        if member.isdir() or base.startswith(".") or suffix.lower() not in AUDIO_SUFFIXES:
            continue
        _refuse_odd_name(name)
        yield nfc(base), _member(path, member, by_name)


def _refuse_rest(path: Path, end: int) -> None:
    """Raise InputError if anything but zeros follows the last member, since it would be lost."""
    with open(path, "rb") as file:
        file.seek(end)
        while piece := file.read(1 << 20):
            if piece.strip(b"\0"):
                message = f"bytes follow the end that is marked at byte {end}: damaged, or shards joined to one"
                raise InputError(message, path, "Unpack it (tar -i reads over marks), or download it again.")


def _member(path: Path, member: tarfile.TarInfo, members: dict[str, tarfile.TarInfo]) -> AudioSource:
    """Return the source of a member, or of its target if it is a link."""
    name, target, n_links = member.name, member, 0
    while target is not None and (target.issym() or target.islnk()):
        linked = target.linkname if target.islnk() else posixpath.join(posixpath.dirname(target.name), target.linkname)
        target, n_links = members.get(posixpath.normpath(linked)), n_links + 1
        if target is None or n_links > len(members):
            problem = f"is a link to {member.linkname}, which the shard does not hold"
            return AudioSource(path, member=name, problem=problem)
    if not target.isreg():
        return AudioSource(path, member=name, problem="is neither a file nor a link")
    if target.sparse is None:
        return AudioSource(path, member=name, offset=target.offset_data, size=target.size)
    spans, offset = [], target.offset_data
    for position, length in target.sparse:
        if length:
            spans.append((position, offset, length))
        offset += length
    if not spans or any(a + n > b for (a, _, n), (b, _, _) in itertools.pairwise(spans)):
        return AudioSource(path, member=name, problem="is a sparse member whose map cannot be read")
    return AudioSource(path, member=name, offset=target.offset_data, size=target.size, spans=tuple(spans))


def read_segment_table(table: str | Path, folder: str | Path) -> dict[str, AudioSource]:
    """Return {clip id: source}, sorted, of a CSV table with columns `file,start,end` and optionally `clip_id`.

    Files are relative to `folder`. Start and end are in seconds; an empty end means the end of the recording. A
    segment without an id is called `<name>_<start>_<end>`, as in copies of AudioSet.

    Raises:
        InputError: a column is missing, a start or end is not a time, or two segments share an id.
    """
    sources: dict[str, AudioSource] = {}
    line_of: dict[str, str] = {}
    names_in = functools.cache(_names_by_nfc)
    for row in read_csv(table, SEGMENT_COLUMNS):
        line = f"{table}:{row['line']}"
        if not row["file"]:
            raise InputError("the file is empty", line)
        start_s, end_s = _seconds(row["start"] or "0", line), _seconds(row["end"], line) if row["end"] else None
        if end_s is not None and end_s <= start_s:
            raise InputError(f"the segment ends at {end_s:g} s, not after its start at {start_s:g} s", line)
        clip_id = nfc(row.get("clip_id") or f"{Path(row['file']).stem}_{row['start'] or 0}_{row['end'] or 'end'}")
        if clip_id in sources:
            raise InputError(f"clip {clip_id!r} is listed twice, first in line {line_of[clip_id]}", line)
        sources[clip_id] = AudioSource(_path_in(Path(folder), row["file"], names_in), start_s, end_s)
        line_of[clip_id] = row["line"]
    if not sources:
        raise InputError("the table has no segments", table)
    return dict(sorted(sources.items()))


def _path_in(folder: Path, name: str, names_in: Callable[[Path], dict[str, str]]) -> Path:
    """Return the path of a file in a folder, whatever Unicode form its name has on disk."""
    if name.isascii() or (folder / name).exists():
        return folder / name
    for part in Path(name).parts:
        folder = folder / names_in(folder).get(nfc(part), part)
    return folder


def _names_by_nfc(folder: Path) -> dict[str, str]:
    return {nfc(name): name for name in os.listdir(folder)} if folder.is_dir() else {}


def _seconds(text: str, line: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{text!r} is not a time in seconds", line)
    return seconds


def _refuse_odd_name(name: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are not UTF-8
        raise InputError("this file name is not UTF-8 text", ascii(name), "Rename it or its folder.")
