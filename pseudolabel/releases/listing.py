"""The files of a release, their checksums and sizes; links and special files are never followed.

Before memory is taken, sizes are checked: how much files hold when unpacked, and whether it fits.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import struct
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pseudolabel.errors import InputError, first_few, first_line
from pseudolabel.labels.parquet import read_footer
from pseudolabel.layout import RUN
from pseudolabel.machine import refuse_more_than_fits
from pseudolabel.ownership import JUNK, files_in, read_run
from pseudolabel.records import sha256

GET_AGAIN = "Get the release again, or make a new one."
RECORD, SUMS = RUN, "SHA256SUMS"
SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^/\\\0]+)")
MOST_SUMS_BYTES = 1 << 20
PIECE = 1 << 20
LARGEST_TABLE = 1 << 26  # bytes of a table with one row per class: classes.csv, thresholds.csv
PACKED_SLACK = 1 << 16  # bytes of a Parquet file beside its values: counts, statistics
ROW_BYTES = 500  # upper bound on the memory that releasing a ledger takes per added label
UNEXPECTED = (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError, MemoryError)
UNEXPECTED_BY_LIBRARIES = (zlib.error, struct.error, pa.ArrowException)
# files that version control, hosting sites and file browsers put into a folder; never opened
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
    """Turn library errors about unexpected values in files from elsewhere into an InputError."""
    try:
        yield
    except InputError:  # a ValueError that already says what is wrong
        raise
    except (*UNEXPECTED, *UNEXPECTED_BY_LIBRARIES) as error:
        raise InputError(f"{message} ({' '.join(str(error).split())[:200]})", place, GET_AGAIN) from error


@contextlib.contextmanager
def with_a_remedy() -> Iterator[None]:
    """Give an InputError without a remedy the remedy for releases that fail verification."""
    try:
        yield
    except InputError as error:
        if error.remedy:
            raise
        raise InputError(error.message, error.place, GET_AGAIN) from error


class Listing(NamedTuple):
    """The files of a release, as paths relative to its folder with `/`, and those of ADDED_BY_OTHERS."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]


def list_files(folder: Path) -> Listing:
    """Return all files in a folder; an empty subfolder is listed too, with a final `/`.

    Raises:
        InputError: the folder does not exist, or holds a link or something that is neither a file nor a folder.
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
    """Compare every file of a release, of labels or of a model, with its checksum; return what holds, one line each.

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
        raise InputError(f"changed: {first_few(changed)} (other bytes than {SUMS} says)", folder, GET_AGAIN)
    lines = [f"{len(digests)} files have the bytes that {SUMS} says"]
    return [*lines, f"not part of the release, not read: {', '.join(ignored)}"] if ignored else lines


def refuse_others(folder: Path, expected: Collection[str], there: Collection[str]) -> None:
    """Raise InputError if an expected file is missing, or there is an unexpected one."""
    missing, further = sorted({*expected} - {*there}), sorted({*there} - {*expected})
    if missing:
        raise InputError(f"missing: {first_few(missing)}", folder, GET_AGAIN)
    if further:
        raise InputError(f"not part of the release: {first_few(further)}", folder, "Remove it.")


def checksums(folder: Path) -> str:
    """Return the lines of SHA256SUMS, which `sha256sum --check` reads: every file but itself, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.name != SUMS)
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in names)


def why_not_replaced(folder: Path, is_release: Callable[[dict], bool], names: Collection[str]) -> str:
    """Return why a folder is not a replaceable release, or "" if it is one and holds nothing else.

    Args:
        is_release: whether the content of run.json is that of such a release.
        names: allowed file names.
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
        raise InputError(f"larger than {MOST_SUMS_BYTES:,} bytes", path, GET_AGAIN)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path, GET_AGAIN) from error
    if lines.pop() != "":
        raise InputError("does not end with a line end", path, GET_AGAIN)
    for number, line in enumerate(lines, 1):
        match = SUM_LINE.fullmatch(line)
        if match is None or match[2] in digests:
            raise InputError("not a line `checksum  file`, once a file", f"{path}:{number}", GET_AGAIN)
        digests[match[2]] = match[1]
    return digests


def refuse_larger(path: Path, most: int) -> None:
    """Raise InputError if a file has more bytes than it can have."""
    if path.stat().st_size > most:
        raise InputError(f"larger than the {most:,} bytes that it can have", path, GET_AGAIN)


def refuse_unpacked(path: Path, most: int) -> None:
    """Raise InputError if a .gz file holds more bytes than it can have, or is damaged."""
    n_bytes = 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(PIECE):
                n_bytes += len(piece)
                if n_bytes > most:
                    raise InputError(f"unpacks to more than the {most:,} bytes that it can hold", path, GET_AGAIN)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", path, GET_AGAIN) from error


def refuse_parquet(
    path: Path, schema: Mapping[str, pa.DataType | tuple[pa.DataType, ...]], n_rows: int, n_values: int, most: int
) -> tuple[int, int]:
    """Return a Parquet file's number of rows and bytes of text; refuse other columns, and more than is possible.

    Texts are counted by their numbers in the file's dictionaries, so a long repeated text takes no memory here.

    Args:
        schema: its columns; a tuple: any of these types.
        n_rows, n_values: upper bounds on its rows, and on the values in a column.
        most: upper bound on the bytes of text.
    """
    try:
        rows, chunks = read_footer(path)
        names = list(dict.fromkeys(".".join(chunk.path) for chunk in chunks))
        with pq.ParquetFile(path) as file:
            columns = {field.name: field.type for field in file.schema_arrow}
            if list(columns) != list(schema) or any(not _alike(columns[name], schema[name]) for name in schema):
                raise InputError(f"its columns are {', '.join(f'{n} ({t})' for n, t in columns.items())[:200]}", path)
        counted = sum(chunk.n_values for chunk in chunks)
        if rows > n_rows or counted > n_values * len(names):
            message = f"has {rows:,} rows and {counted:,} values, more than the labels can have"
            raise InputError(message, path, GET_AGAIN)
        held = sum(chunk.unpacked for chunk in chunks)
        if held > most + 16 * n_values * len(names) + PACKED_SLACK * (1 + len(chunks)):
            raise InputError(f"claims to hold {held:,} bytes, more than it can", path, GET_AGAIN)
        texts = 0
        with pq.ParquetFile(path, read_dictionary=names, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=1 << 16):
                texts += sum(_text_bytes(column) for column in batch.columns)
                if texts > most:
                    raise InputError(f"its texts have more than the {most:,} bytes that they can have", path, GET_AGAIN)
        return rows, texts
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as Parquet ({first_line(error)})", path, GET_AGAIN) from error


def _alike(stored: pa.DataType, expected: pa.DataType | tuple[pa.DataType, ...]) -> bool:
    if isinstance(expected, tuple):
        return any(_alike(stored, kind) for kind in expected)
    if pa.types.is_list(stored) and pa.types.is_list(expected):
        return _alike(stored.value_type, expected.value_type)
    return stored == expected


def _text_bytes(column: pa.Array) -> int:
    while pa.types.is_list(column.type):
        column = column.flatten()
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False).astype(np.int64)
    numbers = pc.drop_null(column.indices).to_numpy(zero_copy_only=False)
    return int(lengths[numbers].sum())


def refuse_for_memory(n_added: int, place: Path) -> None:
    """Raise InputError if a release with this many additions takes more memory than there is."""
    remedy = "Enhance with a higher --threshold, or release on a larger machine."
    refuse_more_than_fits(n_added * ROW_BYTES, f"{n_added:,} additions", place, remedy)
