"""The files of a release and their checksums; links and special files are never followed."""

from __future__ import annotations

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pseudolabel.errors import InputError, first_few
from pseudolabel.layout import RUN
from pseudolabel.ownership import JUNK, files_in, read_run
from pseudolabel.records import sha256

GET_ANEW = "Get the release anew, or make it again."
RECORD, SUMS = RUN, "SHA256SUMS"
SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]+)")
MOST_SUMS_BYTES = 1 << 20
UNEXPECTED = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError, MemoryError)
UNEXPECTED_BY_LIBRARIES = (zlib.error, struct.error, pa.ArrowException)
# what version control, hosting sites and file browsers put into a folder; never opened
ADDED_BY_OTHERS = {
    ".git",
    ".gitattributes",
    ".gitignore",
    ".huggingface",
    ".cache/huggingface",
    ".DS_Store",
    "Thumbs.db",
}


@contextlib.contextmanager
def values_of_their_kind(place: Path, message: str = "a file holds a value of another kind") -> Iterator[None]:
    """Turn what libraries raise for unexpected values in files from elsewhere into an InputError."""
    try:
        yield
    except InputError:  # a ValueError that says already what is wrong
        raise
    except (*UNEXPECTED, *UNEXPECTED_BY_LIBRARIES) as error:
        raise InputError(f"{message} ({' '.join(str(error).split())[:200]})", place, GET_ANEW) from error


@contextlib.contextmanager
def with_a_remedy() -> Iterator[None]:
    """Give an InputError without a remedy the one for releases that do not verify."""
    try:
        yield
    except InputError as error:
        if error.remedy:
            raise
        raise InputError(error.message, error.place, GET_ANEW) from error


class Listing(NamedTuple):
    """The files of a release, as paths relative to its folder with `/`, and those of ADDED_BY_OTHERS."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]


def list_files(folder: Path) -> Listing:
    """Return all files in a folder; an empty folder in it is listed too, with `/` at its end.

    Raises:
        InputError: no such folder, a link, or something that is neither a file nor a folder.
    """
    if not folder.is_dir():
        raise InputError("no such folder", folder, "Give the folder of a release.")
    files, ignored, waiting = [], [], [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as entries:
            named = {f"{inside}/{entry.name}".lstrip("/"): entry for entry in entries}
        if inside and not named:
            files.append(f"{inside}/")
        for name, entry in named.items():
            if entry.is_symlink():
                remedy = "Copy the folder with its links resolved (cp -rL), then give the copy."
                raise InputError("a link, which is not followed", folder / name, remedy)
            if name in ADDED_BY_OTHERS:
                ignored.append(name)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(name)
            elif entry.is_file(follow_symlinks=False):
                files.append(name)
            else:
                raise InputError("neither a file nor a folder", folder / name, "Remove it.")
    return Listing(tuple(sorted(files)), tuple(sorted(ignored)))


def verify_bytes(folder: Path) -> list[str]:
    """Compare every file of a release, of labels or of a model, with its checksum; return what holds, a line each.

    Raises:
        InputError: a file is missing, not listed, changed, or a link.
    """
    there, ignored = list_files(folder)
    if SUMS not in there:
        raise InputError(f"there is no {SUMS}", folder, "Give the folder of a release.")
    digests = _read_sums(folder / SUMS)
    refuse_others(folder, digests, {*there} - {SUMS})
    changed = [name for name, digest in digests.items() if sha256(folder / name) != digest]
    if changed:
        raise InputError(f"changed: {first_few(changed)} (other bytes than {SUMS} says)", folder, GET_ANEW)
    lines = [f"{len(digests)} files have the bytes that {SUMS} says"]
    return [*lines, f"not part of the release, not read: {', '.join(ignored)}"] if ignored else lines


def refuse_others(folder: Path, expected: Collection[str], there: Collection[str]) -> None:
    """Raise InputError where one of the expected files is missing, or there is another one."""
    missing, further = sorted({*expected} - {*there}), sorted({*there} - {*expected})
    if missing:
        raise InputError(f"missing: {first_few(missing)}", folder, GET_ANEW)
    if further:
        raise InputError(f"not part of the release: {first_few(further)}", folder, "Remove it.")


def checksums(folder: Path) -> str:
    """Return the lines of SHA256SUMS, which `sha256sum --check` reads: all files but itself, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in names)


def why_not_replaced(folder: Path, is_release: Callable[[dict], bool], names: Collection[str]) -> str:
    """Return why a folder is not a release that may be replaced; empty where it is one and holds nothing else.

    Args:
        is_release: whether the content of run.json is that of such a release.
        names: those that its files may have.
    """
    if folder.is_symlink() or not folder.is_dir():
        return "not a release"
    there = files_in(folder)
    others = [name for name in there if name not in names and Path(name).name not in JUNK]
    if there and not ({RECORD, SUMS} <= {*there} and is_release(read_run(folder))):
        return "not a release"
    return f"holds {first_few(others)}, which release did not write" if others else ""


def _read_sums(path: Path) -> dict[str, str]:
    digests: dict[str, str] = {}
    if path.stat().st_size > MOST_SUMS_BYTES:
        raise InputError(f"larger than {MOST_SUMS_BYTES:,} bytes", path, GET_ANEW)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path, GET_ANEW) from error
    if lines.pop() != "":
        raise InputError("does not end with a line end", path, GET_ANEW)
    for number, line in enumerate(lines, 1):
        match = SUM_LINE.fullmatch(line)
        if match is None or match[2] in digests:
            raise InputError("not a line `checksum  file`, once a file", f"{path}:{number}", GET_ANEW)
        digests[match[2]] = match[1]
    return digests
