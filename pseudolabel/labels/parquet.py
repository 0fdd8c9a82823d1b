"""Read untrusted Parquet files: compare what a file claims with its size before allocating memory.

A few bytes of Parquet can claim billions of rows, or one long text that every row repeats, so the longest text of each
dictionary is looked up before rows are read. pyarrow kills the process if a damaged footer lacks a part, so footers are
parsed here first (`parquet.thrift` of Apache Parquet format 2, in Thrift's compact protocol).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pseudolabel.errors import InputError, first_line
from pseudolabel.tables import MOST_UNPACKED, SMALL

MOST_VALUES, FEW_VALUES = 16, 1 << 20  # values allowed per byte of a file, and always allowed
LONGEST_TEXT, MOST_TEXT = 1 << 17, 1 << 29  # bytes of one text, and of all texts read at once
ROWS_OF_UNKNOWN = 16  # rows read at once if texts may have any length
BYTE_ARRAY, DELTA_BYTE_ARRAY = 6, 7  # a Parquet type, a Parquet encoding
CODECS = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
AGAIN, REMEDY = "Download it again.", "Is the file whole? Otherwise write it again, as CSV."
FEW_BYTES, MOST_HEADER = 1 << 10, 1 << 24  # bytes of a page read to find its header, at first and at most
DEEPEST = 16  # nesting of structures
TRUE, FALSE, BYTE, DOUBLE, TEXT, LIST, SET, STRUCT = 1, 2, 3, 7, 8, 9, 10, 12  # Thrift types
NUMBERS = (4, 5, 6)  # 16, 32 and 64 bits


class Chunk(NamedTuple):
    """A column of a row group as the footer describes it; offsets and sizes in bytes."""

    path: tuple[str, ...]
    is_text: bool
    encodings: Sequence[int]
    codec: int
    n_values: int
    unpacked: int
    packed: int
    data_at: int
    dictionary_at: int | None


@contextlib.contextmanager
def readable(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn errors of pyarrow while a file is read into an InputError with this remedy."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as Parquet ({first_line(error)})", path, remedy) from error


def open_parquet(path: Path, buffer_bytes: int = 0) -> pq.ParquetFile:
    """Open a Parquet file.

    Args:
        buffer_bytes: read this much of a column at a time; 0: all of a row group.

    Raises:
        InputError: the file is not Parquet, is damaged, or claims more rows, values or bytes than its size can hold.
        pa.ArrowException, OSError: the file is damaged in another way.
    """
    n_rows, chunks = read_footer(path)
    size, values = path.stat().st_size, [n_rows, *(chunk.n_values for chunk in chunks)]
    if max(values) > MOST_VALUES * size + FEW_VALUES or min(values) < 0:
        raise InputError(f"claims {max(values):,} values in {size:,} bytes", path, REMEDY)
    unpacked = sum(chunk.unpacked for chunk in chunks)
    if unpacked > max(SMALL, MOST_UNPACKED * size):
        raise InputError(f"its {size:,} bytes unpack to {unpacked:,}", path, REMEDY)
    how = {"buffer_size": buffer_bytes, "pre_buffer": not buffer_bytes}
    return pq.ParquetFile(path, page_checksum_verification=True, **how)


def parquet_batches(file: pq.ParquetFile, path: Path, columns: Sequence[str], n_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the given columns (`audio.path` for a part of a struct), at most `n_rows` rows at a time.

    Raises:
        InputError: a text, or all texts of a column, are too large, or the file has not as many rows as it claims.
    """
    n_read, (claimed, chunks) = 0, read_footer(path)
    texts = [chunk for chunk in chunks if chunk.is_text and {chunk.path[0], ".".join(chunk.path)} & {*columns}]
    n_rows = min([n_rows, *(_rows_at_once(chunk, path) for chunk in texts)])
    for batch in file.iter_batches(n_rows, columns=list(columns)):
        batch.validate(full=True)  # including that texts are UTF-8
        n_read += len(batch)
        yield batch
    if n_read != claimed:
        raise InputError(f"has {n_read} rows, its footer says {claimed}", path, AGAIN)


def is_text(kind: pa.DataType | None) -> bool:
    """Return whether a column's type is text, each stored or numbered in a dictionary."""
    kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
    return str(kind) in ("string", "large_string", "string_view")


def is_binary(kind: pa.DataType | None) -> bool:
    """Return whether a column's type is bytes of any length."""
    return str(kind) in ("binary", "large_binary", "binary_view")


def read_footer(path: Path) -> tuple[int, list[Chunk]]:
    """Return the number of rows and the columns of all row groups; InputError if the footer is damaged."""
    with open(path, "rb") as file:
        content = file.seek(max(path.stat().st_size - 8, 0)) and file.read(8)
        size = struct.unpack("<I", content[:4])[0] if content and content.endswith(b"PAR1") else 0
        if not 0 < size <= path.stat().st_size - 12:
            raise InputError("cannot be read as Parquet (it does not end as such a file does)", path, AGAIN)
        file.seek(-8 - size, 2)
        content = file.read(size)
    try:
        footer = Compact(content).structure()
        groups = [(group[3], [_chunk(column[3]) for column in group[1]]) for group in footer[4]]
        n_columns = sum(5 not in element for element in footer[2])  # field 5: number of children
        if footer[3] != sum(n_rows for n_rows, _ in groups) or any(len(chunks) != n_columns for _, chunks in groups):
            raise ValueError("row groups do not add up")
        return footer[3], [chunk for _, chunks in groups for chunk in chunks]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"cannot be read as Parquet (its footer is damaged: {error})", path, AGAIN) from error


def _chunk(column: dict[int, object]) -> Chunk:
    parts = tuple(part.decode() for part in column[3])
    numbers = [column[key] + 0 for key in (4, 5, 6, 7, 9)]
    return Chunk(parts, column[1] == BYTE_ARRAY, column[2], *numbers, column.get(11))


def check_pages(path: Path, chunk: Chunk) -> None:
    """Raise InputError if a page of a column of a row group claims more than its bytes, or the column's, can hold."""
    place = f"{path}, column {'.'.join(chunk.path)!r}"
    at, n_values = min(filter(None, (chunk.dictionary_at, chunk.data_at))), 0
    end = at + chunk.packed
    with open(path, "rb") as file:
        while n_values < chunk.n_values:
            head, header = _page_header(file, at, end, place)
            unpacked, packed = header.get(2, -1), header.get(3, -1)
            if not (
                0 <= packed <= end - at - head
                and 0 <= unpacked <= min(chunk.unpacked, max(SMALL, MOST_UNPACKED * packed))
            ):
                raise InputError(f"a page of {packed:,} bytes claims {unpacked:,}", place, AGAIN)
            n_values += (header.get(5) or header.get(8) or {1: 0})[1]
            at += head + packed


def _page_header(file: BinaryIO, at: int, end: int, place: str) -> tuple[int, dict[int, object]]:
    """Return the size and the fields of the page header at byte `at` of a file."""
    size = FEW_BYTES
    while True:
        file.seek(at)
        page = Compact(file.read(min(size, end - at)))
        try:
            fields = page.structure()
            return page.at, fields
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            if size >= min(end - at, MOST_HEADER):
                raise InputError(f"cannot be read as Parquet (a page is damaged: {error})", place, AGAIN) from error
            size *= 16


def _rows_at_once(chunk: Chunk, path: Path) -> int:
    """Return how many rows of a text column to read at once without filling the memory."""
    longest, place = _longest_text(chunk, path), f"{path}, column {chunk.path[0]!r}"
    if longest is None:
        return ROWS_OF_UNKNOWN
    if longest > LONGEST_TEXT:
        raise InputError(f"a text of {longest:,} bytes", place, REMEDY)
    if len(chunk.path) > 1 and chunk.n_values * longest > 8 * MOST_TEXT:
        raise InputError(f"{chunk.n_values:,} texts of up to {longest:,} bytes", place, REMEDY)
    return max(MOST_TEXT // max(longest, 1), 1)


def _longest_text(chunk: Chunk, path: Path) -> int | None:
    """Return the length of the longest text that rows may repeat; None if the file does not say."""
    if DELTA_BYTE_ARRAY in chunk.encodings:
        return None
    if not chunk.dictionary_at:
        return 0  # each text is stored separately
    try:
        page = _dictionary(chunk, path)
        longest = at = 0
        while at < len(page):
            length = struct.unpack_from("<I", page, at)[0]
            longest, at = max(longest, length), at + 4 + length
    except (pa.ArrowException, ValueError, LookupError, TypeError, OSError, struct.error):
        return None
    return longest if at == len(page) else None


def _dictionary(chunk: Chunk, path: Path) -> bytes:
    """Return the decompressed dictionary page: texts, each after its length in four bytes."""
    with open(path, "rb") as file:
        file.seek(chunk.dictionary_at)
        content = file.read(max(chunk.data_at - chunk.dictionary_at, 0))
    header = Compact(content)
    fields = header.structure()  # 2: uncompressed size, 3: compressed size
    if not 0 <= fields[2] <= max(SMALL, chunk.unpacked) or fields[3] < 0:
        raise ValueError("unpacks to more than its column")
    page, codec = content[header.at : header.at + fields[3]], CODECS[chunk.codec]
    return page if codec is None else pa.decompress(page, fields[2], codec, asbytes=True)


class Compact:
    """Reads Thrift values one after another; ValueError if the bytes are damaged."""

    def __init__(self, content: bytes):
        self.content, self.at = content, 0

    def structure(self, depth: int = 0) -> dict[int, object]:
        """Return {field number: value}."""
        fields, number = {}, 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if kind in NUMBERS:
            return self._number()
        if kind == TEXT:
            return self._bytes(self._unsigned())
        if kind in (LIST, SET):
            return self._list(depth + 1)
        if kind == STRUCT:
            return self.structure(depth + 1)
        if kind in (TRUE, FALSE, BYTE):  # in a list
            return self._byte()
        if kind == DOUBLE:
            return self._bytes(8)
        raise ValueError(f"a value of kind {kind}")

    def _list(self, depth: int) -> list:
        head = self._byte()
        size = head >> 4 if head >> 4 < 15 else self._unsigned()
        if size > len(self.content) - self.at:  # each item takes at least one byte
            raise ValueError("a list is cut short")
        return [self._value(head & 15, depth) for _ in range(size)]

    def _number(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, size: int) -> bytes:
        if self.at + size > len(self.content):
            raise ValueError("cut short")
        self.at += size
        return self.content[self.at - size : self.at]
