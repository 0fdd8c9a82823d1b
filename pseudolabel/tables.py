"""Read text tables (CSV, TSV) and JSON strictly, plain or compressed (.gz, .xz): no row is lost, no size is trusted.

Refused, with file and line: a quote that is not closed on its line, a row whose length differs from the header's, a
column listed twice, bytes that are not UTF-8, NUL bytes, a byte-order mark inside the text, and lines or compressed
files that are too large. No field can hold a line break, because its first line would have an unclosed quote.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path

from pseudolabel.errors import InputError, no_file

Fields = tuple[int, list[str]]  # line number, the fields of the row
OPENERS = {".gz": gzip.open, ".xz": lzma.open}
PACKED = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz"}  # by their first bytes, whatever the file is called
ARCHIVES = {
    b"PK\3\4": "a ZIP archive or a spreadsheet",
    b"BZh": "packed by bzip2",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
}
LONGEST_LINE = 1 << 22  # bytes
LARGEST_JSON = 1 << 30  # bytes, uncompressed: JSON is read whole
SMALL, MOST_UNPACKED = 1 << 26, 50  # a compressed file may expand to SMALL bytes, or MOST_UNPACKED times its size
PIECE = 1 << 18  # bytes read at a time
MARK = codecs.BOM_UTF8
DAMAGED = (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error)  # compressed file
ODD = re.compile("[\0\n\r\ufeff\ud800-\udfff]")  # characters that no table can hold, so no id or name may
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # in JSON; half a character unless part of a pair
STATED = re.compile('"?sep=([,;\t])"?')  # the separator of columns, in a first line that Excel writes and hides
UTF8 = "Save it as UTF-8 text."


class _CheckedText(io.RawIOBase):
    """The uncompressed bytes of a text file, each checked before it is passed on."""

    def __init__(self, path: Path, longest_line: int, largest: int | None):
        self.path, self.longest_line, self.largest = path, longest_line, largest
        opener = _opener(path)
        self._file = opener(path, "rb")
        self._packed = path.stat().st_size if opener is not open else None
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._n_bytes = self._n_line = 0  # so far; of the current line
        self._ends = {b"\n": 0, b"\r": 0}
        self._tail = b""

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Read the next piece."""
        piece = self._file.read(len(buffer))
        self._check(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _check(self, piece: bytes) -> None:
        if b"\0" in piece:
            message = "not UTF-8 text but UTF-16" if self._looks_like_utf16(piece) else "a NUL byte in the text"
            raise InputError(message, self._place(piece, piece.index(b"\0")), UTF8)
        try:
            self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8 text ({error.reason})", self._place(piece, error.start), UTF8) from None
        joined = self._tail + piece  # a mark may span two pieces
        if (at := joined.find(MARK, 1 if self._n_bytes == 0 else 0)) >= 0:
            place = self._place(piece, max(at - len(self._tail), 0))
            raise InputError("a byte-order mark inside the text", place, "Were files joined? Take the mark out.")
        self._tail = joined[-2:]
        self._count(piece)

    def _looks_like_utf16(self, piece: bytes) -> bool:
        return self._n_bytes == 0 and (piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)))

    def _count(self, piece: bytes) -> None:
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        self._n_line = len(piece) - end - 1 + (self._n_line if end < 0 else 0)
        if self._n_line > self.longest_line:
            raise InputError(f"a line has more than {self.longest_line:,} bytes", self._place(b"", 0))
        self._n_bytes += len(piece)
        if self.largest is not None and self._n_bytes > self.largest:
            raise InputError(f"has more than {self.largest:,} bytes", self.path, "Give the list as CSV or Parquet.")
        if self._packed is not None and self._n_bytes > max(SMALL, MOST_UNPACKED * self._packed):
            message = f"its {self._packed:,} bytes unpack to more than {self._n_bytes:,}"
            raise InputError(message, self.path, "Unpack it first if that is right.")
        for mark in self._ends:
            self._ends[mark] += piece.count(mark)

    def _place(self, piece: bytes, at: int) -> str:
        """Return the file and line of byte `at` of a piece; lines end with LF, or with CR."""
        return f"{self.path}:{max(n + piece.count(mark, 0, at) for mark, n in self._ends.items()) + 1}"


def _opener(path: Path) -> Callable:
    """Return what opens a file, by its first bytes; InputError if they say otherwise than its name."""
    with open(path, "rb") as file:
        first = file.read(6)
    packed = next((ending for mark, ending in PACKED.items() if first.startswith(mark)), "")
    if first and not packed and path.suffix.lower() in OPENERS:
        remedy = f"Call it {path.stem} if it is text; otherwise copy or download it again."
        raise InputError(f"its content is not packed as {path.suffix} says", path, remedy)
    for mark, what in ARCHIVES.items():
        if first.startswith(mark) and (mark != b"BZh" or first[3:4].isdigit()):
            raise InputError(f"not text but {what}", path, "Unpack it, or save it as CSV.")
    return OPENERS.get(packed or path.suffix.lower(), open)


def is_file(path: str | Path) -> bool:
    """Return whether `path` is a file; False if it cannot be a file name."""
    try:
        return Path(path).is_file()
    except OSError:  # name too long, or no access to a folder
        return False


def open_text(path: str | Path, longest_line: int = LONGEST_LINE, largest: int | None = None) -> io.TextIOWrapper:
    """Open a text file, plain or compressed; reading raises InputError for anything that this module refuses.

    A leading byte-order mark is skipped; line endings stay as they are. Damaged compressed files raise one of DAMAGED.
    """
    path = Path(path)
    if not is_file(path):
        raise no_file(path)
    bytes_ = io.BufferedReader(_CheckedText(path, longest_line, largest), PIECE)
    return io.TextIOWrapper(bytes_, encoding="utf-8-sig", newline="")


def text_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, line without its ending) for each nonempty line."""
    try:
        with open_text(path) as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except DAMAGED as error:
        raise InputError(f"cannot be read ({error})", path, "Copy or download it again.") from error


def text_rows(path: str | Path, quoted: bool = True) -> Iterator[Fields]:
    """Yield (line number, fields) for each row of a table separated by commas, tabs or semicolons; skip empty lines.

    The first line that is not a comment determines the separator; Excel's `sep=;` is not a row. Spaces around fields
    are removed.

    Args:
        quoted: whether quotes enclose fields; otherwise they are ordinary characters.

    Raises:
        InputError: no such file, or something that this module refuses, except row lengths, which are not checked.
    """
    path, line = Path(path), 0
    try:
        with open_text(path) as file:
            delimiter = delimiter_of(file)
        with open_text(path) as file:
            reader = csv.reader(
                file, delimiter=delimiter, skipinitialspace=delimiter == ",", strict=True,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )  # fmt: skip
            for line, fields in enumerate(reader, 1):
                if reader.line_num != line:
                    raise InputError("a quoted field does not end on its line", f"{path}:{line}", "Close the quote.")
                if fields and not (line == 1 and STATED.fullmatch(delimiter.join(fields))):
                    yield line, [field.strip() for field in fields]
    except csv.Error as error:
        raise InputError(f"cannot be read ({error})", f"{path}:{line + 1}", "Look for a quote too many.") from error
    except DAMAGED as error:
        raise InputError(f"cannot be read ({error})", path, "Copy or download it again.") from error


def delimiter_of(file: Iterable[str]) -> str:
    """Return what separates the columns of a table: a tab, a comma or a semicolon, by its first line."""
    first = next((line for line in file if line.strip() and not line.startswith("#")), "")
    if stated := STATED.fullmatch(first.rstrip("\r\n")):
        return stated[1]
    return next((mark for mark in "\t,;" if mark in first), ",")


def refuse_repeated(names: Sequence[str], place: object) -> None:
    """Raise InputError if a header lists a column twice; several columns may be unnamed."""
    again = _first_repeated(name for name in names if name)
    if again is not None:
        raise InputError(f"column {again!r} is listed twice", place, "Keep one.")


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    return next((name for name in names if name in seen or seen.add(name)), None)


def wrong_length(fields: Sequence[str], width: int, place: object) -> InputError:
    """Return the error for a row whose length differs from the header's."""
    message = f"row has {len(fields)} columns, the header {width}"
    return InputError(message, place, "Quote fields that contain the separator of the columns.")


def columns(rows: Iterable[Fields], path: Path, *wanted: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each row's line number and wanted columns; `wanted` gives the alternative names of each column.

    Errors show the first alternative.
    """
    rows = iter(rows)
    line, names = next(rows, (1, []))
    places = []
    for choices in wanted:
        known = [name for name in choices if name in names]
        if not known:
            needed = ",".join(choices[0] for choices in wanted)
            message = f"column {choices[0]!r} is missing; columns found: {', '.join(names)}"
            raise InputError(message, f"{path}:{line}", f"The header needs: {needed}.")
        places.append(names.index(known[0]))
    refuse_repeated(names, f"{path}:{line}")
    pick, width = itemgetter(*places), len(names)
    for line, fields in rows:
        if len(fields) != width:
            raise wrong_length(fields, width, f"{path}:{line}")
        yield line, pick(fields)


def read_header(path: str | Path, required: Iterable[str] = ()) -> list[str]:
    """Return the names of a table's columns; errors as `read_csv`, but its rows are not read."""
    return _header(text_rows(path), path, tuple(required))


def _header(rows: Iterator[Fields], path: str | Path, required: Sequence[str]) -> list[str]:
    line, names = next(rows, (1, []))
    absent = [name for name in required if name not in names]
    if absent:
        message = f"column {absent[0]!r} is missing; columns found: {', '.join(names) or 'none'}"
        raise InputError(message, f"{path}:{line}", f"The header needs: {','.join(required)}.")
    refuse_repeated(names, f"{path}:{line}")
    return names


def read_csv(path: str | Path, required: Iterable[str] = ()) -> list[dict[str, str]]:
    """Read a table with a header; each row also has its line number under the key `line`.

    Raises:
        InputError: as `text_rows`; a required column is missing, a column is listed twice, or a row has another length.
    """
    rows, found = text_rows(path), []
    names = _header(rows, path, tuple(required))
    for line, fields in rows:
        if len(fields) != len(names):
            raise wrong_length(fields, len(names), f"{path}:{line}")
        found.append({**dict(zip(names, fields, strict=True)), "line": str(line)})
    return found


def read_json(path: str | Path, remedy: str = "") -> object:
    """Return the content of a JSON file; errors end with `remedy`.

    Raises:
        InputError: no such file, not JSON, a key listed twice, NaN, a number with thousands of digits, or nested too
            deeply.
    """
    path = Path(path)
    try:
        with open_text(path, LARGEST_JSON, LARGEST_JSON) as file:
            text = file.read()
    except DAMAGED as error:
        raise InputError(f"cannot be read ({error})", path, "Copy or download it again.") from error
    return parse_json(text, path, 0, remedy)


def parse_json(text: str, path: object, line: int = 0, remedy: str = "") -> object:
    """Return the content of JSON text from line `line` of a file, or from the whole file if `line` is 0."""
    try:
        value = json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON ({error.msg})", f"{path}:{line or error.lineno}", remedy) from error
    except RecursionError as error:
        where = f"{path}:{line}" if line else path
        raise InputError("cannot be read (nested too deeply)", where, remedy or "Are its brackets closed?") from error
    except UnicodeEncodeError as error:
        raise InputError("half a character (a lone surrogate)", f"{path}:{line}" if line else path, UTF8) from error
    except ValueError as error:
        raise InputError(f"cannot be read ({error})", f"{path}:{line}" if line else path, remedy) from error
    return value


def _distinct_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        raise ValueError(f"key {_first_repeated(key for key, _ in pairs)!r} is listed twice")
    return entry


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
