"""Parquet files from elsewhere: what one claims is compared with its size before memory is taken.

A few bytes of Parquet can claim billions of rows, or one long text that all rows repeat: the longest text of each
dictionary is looked up before rows are read. pyarrow ends the process where a damaged footer lacks a part, so footers
are parsed here first (`parquet.thrift` of Apache Parquet format 2, in Thrift's compact protocol).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pseudolabel.errors import InputError
from pseudolabel.tables import MOST_UNPACKED, SMALL

MOST_VALUES, FEW_VALUES = 16, 1 << 20  # that a byte of a file may stand for; so many are always read
LONGEST_TEXT, MOST_TEXT = 1 << 17, 1 << 29  # bytes of one text, as in CSV files; of all that are read at once
ROWS_OF_UNKNOWN = 16  # that are read at once where a text may be of any length
BYTE_ARRAY, DELTA_BYTE_ARRAY = 6, 7  # a type, an encoding
CODECS = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
AGAIN, REMEDY = "Download it again.", "Is the file whole? Otherwise write it again, as CSV."
DEEPEST = 16  # structures within structures
TRUE, FALSE, BYTE, DOUBLE, TEXT, LIST, SET, STRUCT = 1, 2, 3, 7, 8, 9, 10, 12  # kinds of Thrift values
NUMBERS = (4, 5, 6)  # of 16, 32 and 64 bits


class Chunk(NamedTuple):
    """A column of a row group, as the footer describes it; offsets and sizes are in bytes."""

    path: tuple[str, ...]
    is_text: bool
    encodings: Sequence[int]
    codec: int
    n_values: int
    unpacked: int
    data_at: int
    dictionary_at: int | None


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        InputError: it is none, is damaged, or claims more rows, values or bytes than a file of its size can hold.
        pa.ArrowException, OSError: it is damaged in another way.
    """
    n_rows, chunks = read_footer(path)
    size, values = path.stat().st_size, [n_rows, *(chunk.n_values for chunk in chunks)]
    if max(values) > MOST_VALUES * size + FEW_VALUES or min(values) < 0:
        raise InputError(f"claims {max(values):,} values in {size:,} bytes", path, REMEDY)
    unpacked = sum(chunk.unpacked for chunk in chunks)
    if unpacked > max(SMALL, MOST_UNPACKED * size):
        raise InputError(f"its {size:,} bytes unpack to {unpacked:,}", path, REMEDY)
    return pq.ParquetFile(path, page_checksum_verification=True)


def parquet_batches(file: pq.ParquetFile, path: Path, columns: Sequence[str], n_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield some columns, at most `n_rows` rows at a time.

    Raises:
        InputError: a text, or all texts of a column, are too large; the file has another number of rows than it claims.
    """
    n_read, (claimed, chunks) = 0, read_footer(path)
    texts = [chunk for chunk in chunks if chunk.is_text and chunk.path[0] in columns]
    n_rows = min([n_rows, *(_rows_at_once(chunk, path) for chunk in texts)])
    for batch in file.iter_batches(n_rows, columns=list(columns)):
        batch.validate(full=True)  # texts are UTF-8
        n_read += len(batch)
        yield batch
    if n_read != claimed:
        raise InputError(f"has {n_read} rows, its footer says {claimed}", path, AGAIN)


def read_footer(path: Path) -> tuple[int, list[Chunk]]:
    """Return the number of rows and the columns of all row groups; InputError where the footer is damaged."""
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
        n_columns = sum(5 not in element for element in footer[2])  # 5: the number of its children
        if footer[3] != sum(n_rows for n_rows, _ in groups) or any(len(chunks) != n_columns for _, chunks in groups):
            raise ValueError("row groups do not add up")
        return footer[3], [chunk for _, chunks in groups for chunk in chunks]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"cannot be read as Parquet (its footer is damaged: {error})", path, AGAIN) from error


def _chunk(column: dict[int, object]) -> Chunk:
    parts = tuple(part.decode() for part in column[3])
    numbers = [column[key] + 0 for key in (4, 5, 6, 9)]
    return Chunk(parts, column[1] == BYTE_ARRAY, column[2], *numbers, column.get(11))


def _rows_at_once(chunk: Chunk, path: Path) -> int:
    """Return how many rows of a column of texts are read at once, so that they do not fill the memory."""
    longest, place = _longest_text(chunk, path), f"{path}, column {chunk.path[0]!r}"
    if longest is None:
        return ROWS_OF_UNKNOWN
    if longest > LONGEST_TEXT:
        raise InputError(f"a text of {longest:,} bytes", place, REMEDY)
    if len(chunk.path) > 1 and chunk.n_values * longest > 8 * MOST_TEXT:
        raise InputError(f"{chunk.n_values:,} texts of up to {longest:,} bytes", place, REMEDY)
    return max(MOST_TEXT // max(longest, 1), 1)


def _longest_text(chunk: Chunk, path: Path) -> int | None:
    """Return the length of the longest text that rows may repeat; None where the file does not say."""
    if DELTA_BYTE_ARRAY in chunk.encodings:
        return None
    if not chunk.dictionary_at:
        return 0  # each text is in the file by itself
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
    """Return the unpacked page of texts: a length of four bytes before each."""
    with open(path, "rb") as file:
        file.seek(chunk.dictionary_at)
        content = file.read(max(chunk.data_at - chunk.dictionary_at, 0))
    header = Compact(content)
    fields = header.structure()  # 2: size unpacked, 3: size packed
    if not 0 <= fields[2] <= max(SMALL, chunk.unpacked) or fields[3] < 0:
        raise ValueError("unpacks to more than its column")
    page, codec = content[header.at : header.at + fields[3]], CODECS[chunk.codec]
    return page if codec is None else pa.decompress(page, fields[2], codec, asbytes=True)


class Compact:
    """Reads Thrift values one after the other; ValueError where the bytes are damaged."""

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
        if size > len(self.content) - self.at:  # each has a byte at least
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
