"""Recordings inside Parquet files, as data sets on the Hugging Face hub have them: list the rows, read one at a time.

The column of recordings is called `audio`, or is the first struct with `bytes`. It is a struct {bytes, path}, bytes
alone, or paths of files. One page of the file and one recording are in memory at a time.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pseudolabel.errors import InputError
from pseudolabel.labels.cells import CLIPS, OWN, Source, clip_id_of, clip_place, heading, id_under
from pseudolabel.labels.parquet import (
    AGAIN,
    Chunk,
    check_pages,
    is_binary,
    is_text,
    open_parquet,
    parquet_batches,
    read_footer,
    readable,
)
from pseudolabel.tables import ODD

BUFFER_BYTES = 1 << 20  # read from the file at a time
ROWS, SAMPLED = 1 << 13, 5  # listed at a time; looked at to find the column of ids
REMEDY = "It needs a column `audio` of {bytes, path}, as `datasets` writes it."


class Columns(NamedTuple):
    """Names of the columns with bytes and file names of the recordings (`audio.bytes`), '' if absent; others of ids."""

    content: str
    name: str
    ids: tuple[str, ...]


class Row(NamedTuple):
    """A recording of a Parquet file: its clip id, row number from 0, and file name, '' if it has none."""

    clip_id: str
    number: int
    name: str


def audio_columns(schema: pa.Schema) -> Columns | None:
    """Return which columns hold recordings; None if none do."""
    named = [field for field in schema if field.name.lower() == "audio"]
    for field in named or schema:
        content, name = _parts(field)
        if content or (named and name):
            others = (other for other in schema if heading(other.name) in CLIPS and other.name != field.name)
            return Columns(content, name, tuple(other.name for other in others if _is_id(other)))
    return None


def _parts(field: pa.Field) -> tuple[str, str]:
    """Return the names of the parts of a column that hold bytes and file names; '' if absent."""
    if pa.types.is_struct(field.type):
        kinds = {f"{field.name}.{part.name}": part.type for part in field.type}
        content, name = f"{field.name}.bytes", f"{field.name}.path"
    else:
        kinds = {field.name: field.type} if field.name.lower() == "audio" else {}
        content = name = field.name
    return content if is_binary(kinds.get(content)) else "", name if is_text(kinds.get(name)) else ""


def _is_id(field: pa.Field) -> bool:
    """Return whether a column can hold clip ids: texts, whole numbers, or texts written as bytes."""
    is_bytes = heading(field.name) == OWN and is_binary(field.type)
    return is_bytes or is_text(field.type) or pa.types.is_integer(field.type)


class Shard:
    """An open Parquet file.

    Attributes:
        columns: those that hold recordings; None if none do.
    """

    def __init__(self, path: Path):
        self.path = path
        with readable(path, AGAIN):
            self.file = open_parquet(path, BUFFER_BYTES)
            self.columns = audio_columns(self.file.schema_arrow)
            groups = self.file.metadata
            self._starts = [
                0,
                *itertools.accumulate(groups.row_group(g).num_rows for g in range(groups.num_row_groups)),
            ]
        self._failed: dict[int, tuple[int, InputError]] = {}  # row group: first row that cannot be read, and why
        self._group, self._next, self._batches = -1, 0, iter(())

    def has_bytes(self) -> bool:
        """Return whether the file holds recordings, not only their names."""
        footer, content = self.file.metadata, self.columns and self.columns.content
        for group, number in itertools.product(range(footer.num_row_groups), range(footer.num_columns)):
            column = footer.row_group(group).column(number)
            if column.path_in_schema == content:
                known = column.statistics
                if known is None or not known.has_null_count or known.null_count < column.num_values:
                    return True
        return False

    def rows(self) -> Iterator[Row]:
        """Yield the recordings; no sound is read.

        Raises:
            InputError: the file has no recordings, or one without a usable clip id; or it is damaged.
        """
        if self.columns is None:
            message = f"no column of recordings; columns found: {', '.join(self.file.schema_arrow.names)}"
            raise InputError(message, self.path, REMEDY)
        _, name, ids = self.columns
        if not (ids or name):
            message = f"no clip ids: neither a column of them nor names in {self.columns.content!r}"
            raise InputError(message, self.path, "Add a column clip_id.")
        number = itertools.count()
        with readable(self.path, AGAIN):
            listed = self._column_of_ids()
            for batch in self._batches_of(listed, name):
                texts = [_texts(batch, column) if column else [None] * len(batch) for column in (listed, name)]
                for clip_id, of_file in zip(*texts, strict=True):
                    row = next(number)
                    yield Row(self._clip_id(listed, clip_id, of_file, row), row, of_file or "")

    def _column_of_ids(self) -> str:
        """Return the column that names the clips, judged by the first rows as in label lists; '': the file names."""
        _, name, ids = self.columns
        wanted = [*ids, *([name] if name else [])]
        batch = next(self._batches_of(*wanted, n_rows=SAMPLED), None)
        if not ids or batch is None:
            return ids[0] if ids else ""
        names = [column.partition(".")[0] for column in wanted]
        cells = [[text or "" for text in _texts(batch, column)] for column in wanted]
        probe = Source(self.path, enumerate([names, *map(list, zip(*cells, strict=True))]))
        chosen = wanted[clip_place(probe, names)]
        return "" if chosen == name else chosen

    def _batches_of(self, *columns: str, n_rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        return parquet_batches(self.file, self.path, [column for column in columns if column], n_rows)

    def _clip_id(self, column: str, listed: str | None, name: str | None, row: int) -> str:
        clip_id = id_under(column)(listed) if listed else clip_id_of(name or "")
        if not clip_id or ODD.search(clip_id):
            message = f"{clip_id!a} is not a clip id" if clip_id else "the recording has no clip id"
            raise InputError(message, f"{self.path}, row {row + 1}", f"Fill in its {column or 'path'}.")
        return clip_id

    def recording(self, row: int) -> bytes | None:
        """Return the bytes of a recording, None if it has none; rows are fastest in order.

        Raises:
            InputError: this part of the file is damaged.
        """
        group = bisect_right(self._starts, row) - 1
        first_failed, error = self._failed.get(group, (row + 1, None))
        if row >= first_failed:
            raise error
        try:
            with readable(self.path, AGAIN):
                return self._read(group, row)
        except InputError as error:
            self._failed[group] = (self._next, error)
            self._group = -1
            raise

    @cached_property
    def _chunks(self) -> list[Chunk]:
        """The column with the bytes of the recordings in each row group."""
        return [chunk for chunk in read_footer(self.path)[1] if ".".join(chunk.path) == self.columns.content]

    def _read(self, group: int, row: int) -> bytes | None:
        if group != self._group or row < self._next:
            column = self.columns.content
            check_pages(self.path, self._chunks[group])
            self._group, self._next = group, self._starts[group]
            self._batches = self.file.iter_batches(1, row_groups=[group], columns=[column], use_threads=False)
        while self._next <= row:
            batch = next(self._batches, None)
            if batch is None:
                raise InputError(f"has {self._next} rows, its footer says more", self.path, AGAIN)
            self._next += 1
        value = batch.column(0)[0].as_py()
        return value["bytes"] if isinstance(value, dict) else value


def _texts(batch: pa.RecordBatch, column: str) -> list[str | None]:
    """Return the texts of a column, which may be part of a struct."""
    outer, _, inner = column.partition(".")
    values = batch.column(outer)
    listed = (pc.struct_field(values, inner) if inner else values).to_pylist()
    return [value.decode() if isinstance(value, bytes) else value and str(value) for value in listed]


@lru_cache(maxsize=2)
def opened(path: Path, changed: int) -> Shard:
    """Return an open file, which stays open for the next recording; `changed` is its modification time."""
    return Shard(path)
