"""Label lists as others write them: one short reader a format, all giving the same rows.

| format | rows | clip id | labels |
|---|---|---|---|
| `csv` | header `clip_id,labels`, more columns are passed over | as written | class ids or names, joined by `;` |
| `audioset` | `YTID, start, end, "id,id"`, with or without `#` lines | the YouTube id | class ids, joined by `,` |
| `esc50` | header `filename,...,category,...` | the file name without its ending | one category |

Files may be packed (.gz, .xz). AudioSet's lists: Google, CC BY 4.0. ESC-50's meta: K. J. Piczak, CC BY-NC 3.0.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pseudolabel.errors import InputError

Fields = tuple[int, list[str]]  # line number, the fields of the row
Row = tuple[int, str, str]  # line number, clip id, labels joined by the format's separator
OPENERS = {".gz": gzip.open, ".xz": lzma.open}


class Format(NamedTuple):
    """How one kind of label list is told apart (from its first rows) and read (`read(rows, path)`)."""

    sniff: Callable[[list[list[str]]], bool]
    read: Callable[[Iterable[Fields], Path], Iterator[Row]]
    separator: str


def read_label_rows(path: str | Path, format: str | None = None) -> tuple[Iterator[Row], str]:
    """Return the rows of a label list and what its labels are joined by.

    Args:
        path: the list, plain or packed (.gz, .xz).
        format: a key of FORMATS; None takes the one that the first rows look like, else `csv`.

    Raises:
        InputError: no such file, nothing in it, unreadable text, an unknown format; while reading: a missing column.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", path)
    if format is not None and format not in FORMATS:
        raise InputError(f"no label format {format!r}", path, f"Formats: {', '.join(FORMATS)}.")
    rows = _csv_rows(path)
    head = list(itertools.islice(rows, 5))
    if not head:
        raise InputError("the file is empty", path, "A label list has the header clip_id,labels.")
    if format is None:
        first = [fields for _, fields in head]
        format = next((name for name, known in FORMATS.items() if known.sniff(first)), "csv")
    return FORMATS[format].read(itertools.chain(head, rows), path), FORMATS[format].separator


def _csv_rows(path: Path) -> Iterator[Fields]:
    """Yield the rows of a CSV file, empty lines left out, spaces after commas passed over."""
    try:
        with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text ({error.reason} at byte {error.start})", path) from error
    except (csv.Error, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", path) from error


def _columns(header: Fields, path: Path, *wanted: tuple[str, ...]) -> list[int]:
    """Return where each wanted column stands; each may have several names, the first is named in the error."""
    line, names = header
    places = []
    for choices in wanted:
        place = next((names.index(name) for name in choices if name in names), None)
        if place is None:
            needed = ",".join(choices[0] for choices in wanted)
            found = ", ".join(names)
            raise InputError(
                f"column {choices[0]!r} is missing; columns found: {found}", f"{path}:{line}",
                f"The header needs: {needed}.",
            )  # fmt: skip
        places.append(place)
    return places


def _short_row(fields: list[str], path: Path, line: int) -> InputError:
    return InputError(f"row has only {len(fields)} columns", f"{path}:{line}", "Quote labels that contain a comma.")


def read_csv_list(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read the project's own label list."""
    rows = iter(rows)
    header = next(rows)
    clip, labels = _columns(header, path, ("clip_id",), ("labels",))
    width = len(header[1])
    for line, fields in rows:
        if len(fields) != width:
            message = f"row has {len(fields)} columns, the header {width}"
            raise InputError(message, f"{path}:{line}", "Labels are joined by `;`.")
        yield line, fields[clip], fields[labels]


def read_audioset(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read a published AudioSet segment list; ids may start with `-`."""
    for line, fields in rows:
        if fields[0].startswith("#"):
            continue
        if len(fields) != 4:
            remedy = 'Segment lists have rows `YTID, start, end, "id,id"`.'
            raise InputError(f"row has {len(fields)} columns, not 4", f"{path}:{line}", remedy)
        yield line, fields[0], fields[3]


def read_esc50(rows: Iterable[Fields], path: Path) -> Iterator[Row]:
    """Read ESC-50's meta/esc50.csv."""
    rows = iter(rows)
    name, category = _columns(next(rows), path, ("filename", "file"), ("category",))
    for line, fields in rows:
        if len(fields) <= max(name, category):
            raise _short_row(fields, path, line)
        yield line, PurePosixPath(fields[name]).stem, fields[category]


def _is_segment(fields: list[str]) -> bool:
    return len(fields) == 4 and all(text.replace(".", "", 1).isdigit() for text in fields[1:3])


def _looks_like_audioset(first: list[list[str]]) -> bool:
    rows = [fields for fields in first if not fields[0].startswith("#")]
    return bool(rows) and _is_segment(rows[0])


def _looks_like_esc50(first: list[list[str]]) -> bool:
    return "category" in first[0] and bool({"filename", "file"} & set(first[0]))


def _looks_like_csv(first: list[list[str]]) -> bool:
    return {"clip_id", "labels"} <= set(first[0])


FORMATS = {
    "csv": Format(_looks_like_csv, read_csv_list, ";"),
    "audioset": Format(_looks_like_audioset, read_audioset, ","),
    "esc50": Format(_looks_like_esc50, read_esc50, ";"),
}
