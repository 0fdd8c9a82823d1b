"""List recordings: those in folders, tar shards and Parquet files, or segments of longer ones named in a table.

Ids are compared in Unicode NFC, whatever form the disk or the table uses. Links are followed; a folder or file reached
twice counts once, as do copies of a recording under one name. Files already known to be unusable are listed with the
reason.
"""

from __future__ import annotations

import functools
import glob
import itertools
import math
import os
import posixpath
import tarfile
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from pseudolabel.audio.files import AudioSource, UnreadableAudio, named_in_table
from pseudolabel.errors import InputError, NoFile, first_few
from pseudolabel.formatting import plural
from pseudolabel.labels.cells import ENDS, FILES, OWN, RECORDINGS, STARTS, heading
from pseudolabel.progress import note
from pseudolabel.tables import read_csv, read_header

SHARD_SUFFIX = ".tar"
PARQUET_SUFFIX = ".parquet"
ARCHIVES = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".zip", ".7z", ".rar")
SEGMENT_COLUMNS = {"file": ("file", *FILES), "start": STARTS, "end": ENDS, "clip_id": (OWN,)}  # headings of each
MOST_SECONDS = 1e9  # thirty years; more is not a time in a recording
PIECE_BYTES = 1 << 20  # compared at a time


def nfc(text: str) -> str:
    """Return an id or a name in Unicode NFC, the form in which ids are compared."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def find_audio(*paths: str | Path) -> dict[str, AudioSource]:
    """Return {clip id: source}, sorted, of every recording in folders, tar shards and Parquet files.

    Folders are searched for all three. The clip id is the name of the file or member without its folder and suffix; in
    a Parquet file, that of its column of ids, if it has one. A path may be a pattern (`data/train-*.parquet`).

    Raises:
        InputError: there is no such folder or file, a name is not UTF-8, different recordings share an id, or a shard
            is compressed or damaged.
    """
    sources: dict[str, AudioSource] = {}
    copies: list[str] = []
    clashes: list[tuple[str, AudioSource, AudioSource]] = []
    listed = [file for path in paths for file in _expanded(Path(path))]
    for clip_id, source in itertools.chain.from_iterable(map(_recordings_of, listed)):
        earlier = sources.setdefault(clip_id, source)
        if earlier is source or _is_same_file(earlier, source):
            continue
        if _is_copy(earlier, source):
            copies.append(f"{source} is {earlier}")
        else:
            clashes.append((clip_id, earlier, source))
    if clashes:
        clip_id, earlier, source = clashes[0]
        more = f" ({len(clashes)} such pairs)" if len(clashes) > 1 else ""
        rule = f"two recordings have the clip id {clip_id!r}: {earlier} and {source}{more}"
        remedy = "Rename or remove one of them, or give each an id: --segments with columns clip_id,file,start,end."
        raise InputError(rule, paths[0], remedy)
    if copies:
        same = f"{plural(len(copies), 'recording')} left out, byte for byte the same as another of this name"
        note(f"{same}: {first_few(copies)}")
    return dict(sorted(sources.items()))


def is_pattern(path: Path) -> bool:
    """Return whether a path is not a file or folder but a pattern that some match."""
    return not path.exists() and any(glob.iglob(str(path)))


def _expanded(path: Path) -> list[Path]:
    """Return the files and folders that a path names or, as a pattern, matches."""
    return sorted(map(Path, glob.iglob(str(path)))) if is_pattern(path) else [path]


def _recordings_of(path: Path) -> Iterable[tuple[str, AudioSource]]:
    """Return (clip id, source) of the recordings that a path names."""
    if path.is_dir():
        return itertools.chain.from_iterable(map(_recordings_in, _files_below(path)))
    if not path.is_file():
        raise NoFile("no such folder or file of recordings", path)
    if path.suffix.lower() == PARQUET_SUFFIX:
        return _rows(path)
    if path.name.lower().endswith((SHARD_SUFFIX, ".arrow", *ARCHIVES, *RECORDINGS)):
        return _recordings_in(path)
    raise InputError("neither recordings nor a .tar or .parquet file of them", path, "Give the folder of recordings.")


def _is_same_file(first: AudioSource, second: AudioSource) -> bool:
    """Return whether two sources are the same file, reached twice."""
    if any(source.member or source.problem or source.row is not None for source in (first, second)):
        of_first, of_second = (
            (source.path.resolve(), source.member, source.offset, source.row) for source in (first, second)
        )
        return of_first == of_second
    return first.path.samefile(second.path)


def _is_copy(first: AudioSource, second: AudioSource) -> bool:
    """Return whether two recordings have the same bytes, or are unusable for the same reason."""
    stored, reasons = [], []
    for source in (first, second):
        try:
            stored.append(source.stored())
        except UnreadableAudio as error:
            reasons.append(error.reason)
    if reasons:
        return not stored and reasons[0] == reasons[1]
    if stored[0].n_bytes != stored[1].n_bytes:
        return False
    with stored[0].view() as one, stored[1].view() as other:
        return all(piece == other.read(len(piece)) for piece in iter(lambda: one.read(PIECE_BYTES), b""))


def other_files(folder: Path, clip_ids: Collection[str]) -> dict[str, Path]:
    """Return {clip id: file} of files in a folder that are named after these clips but lack an audio suffix."""
    if not folder.is_dir() or not clip_ids:
        return {}
    named = {nfc(path.stem): path for path in _files_below(folder) if path.suffix.lower() not in RECORDINGS}
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
    if path.suffix.lower() in RECORDINGS:
        _refuse_odd_name(str(path))
        yield nfc(path.stem), AudioSource(path, problem=_broken(path))
    elif path.suffix == SHARD_SUFFIX:
        yield from shard_members(path)
    elif path.suffix.lower() == PARQUET_SUFFIX:
        yield from _rows(path, only_bytes=True)
    elif path.suffix.lower() == ".arrow":
        remedy = "Write Parquet: datasets.load_from_disk(FOLDER).to_parquet(FILE)."
        raise InputError("a table as the library `datasets` stores it", path, remedy)
    elif path.name.lower().endswith(ARCHIVES):
        remedy = "Unpack it, and move it out of the folder of recordings."
        raise InputError("a packed archive: its members cannot be read one by one", path, remedy)


def _rows(path: Path, only_bytes: bool = False) -> Iterator[tuple[str, AudioSource]]:
    """Yield (clip id, source) of the recordings in a Parquet file, or of the files that it names.

    Args:
        only_bytes: yield nothing if the file has no bytes: the folder has the recordings that it may name.
    """
    from pseudolabel.audio.embedded import Shard  # pyarrow is slow to import

    shard = Shard(path)
    has_bytes = shard.has_bytes()
    if only_bytes and not has_bytes:
        return
    for clip_id, number, name in shard.rows():
        yield nfc(clip_id), AudioSource(path, member=name, row=number) if has_bytes else named_in_table(path, name)


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
        if member.isdir() or base.startswith(".") or suffix.lower() not in RECORDINGS:
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
    """Return {clip id: source}, sorted, of a table with columns `file,start,end` and optionally `clip_id`.

    Files are relative to `folder`. Start and end are in seconds; an empty end means the end of the recording. A
    segment without an id is called `<name>_<start>_<end>`, as in copies of AudioSet.

    Raises:
        InputError: a column is missing, a start or end is not a time, or two segments share an id.
    """
    sources: dict[str, AudioSource] = {}
    line_of: dict[str, str] = {}
    names_in = functools.cache(_names_by_nfc)
    for line, file, start, end, clip_id in _segment_rows(table):
        if not file:
            raise InputError("the file is empty", line)
        start_s, end_s = _seconds(start or "0", line), _seconds(end, line) if end else None
        if end_s is not None and end_s <= start_s:
            raise InputError(f"the segment ends at {end_s:g} s, not after its start at {start_s:g} s", line)
        clip_id = nfc(clip_id or f"{Path(file).stem}_{start or 0}_{end or 'end'}")
        if clip_id in sources:
            first = line_of[clip_id].rpartition(":")[2]
            raise InputError(f"clip {clip_id!r} is listed twice, first in line {first}", line)
        sources[clip_id] = AudioSource(_path_in(Path(folder), file, names_in), start_s, end_s)
        line_of[clip_id] = line
    if not sources:
        raise InputError("the table has no segments", table)
    return dict(sorted(sources.items()))


def _segment_rows(table: str | Path) -> Iterator[tuple[str, ...]]:
    """Yield place, file, start, end and clip id of each segment; '' for an id that the table lacks."""
    wanted = segment_columns(table)
    for row in read_csv(table):
        yield f"{table}:{row['line']}", *(row[name] if name else "" for name in wanted)


def segment_columns(table: str | Path) -> list[str]:
    """Return the columns of file, start, end and clip id, '' without the last; InputError if another is missing."""
    header = read_header(table)
    names = {heading(name): name for name in header}
    wanted = {
        column: next((names[name] for name in accepted if name in names), "")
        for column, accepted in SEGMENT_COLUMNS.items()
    }
    absent = next((column for column, name in wanted.items() if not name and column != "clip_id"), "")
    if absent:
        message = f"column {absent!r} is missing; columns found: {', '.join(header) or 'none'}"
        raise InputError(message, table, "The header needs: file,start,end.")
    return list(wanted.values())


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
    if not 0 <= seconds <= MOST_SECONDS:
        raise InputError(f"{text!r} is not a time in seconds", line)
    return seconds


def _refuse_odd_name(name: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are not UTF-8
        raise InputError("this file name is not UTF-8 text", ascii(name), "Rename it or its folder.")
