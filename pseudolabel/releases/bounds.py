"""Sizes of files that are checked before memory is taken: what they hold unpacked, and whether it fits into memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pseudolabel.errors import InputError
from pseudolabel.labels.parquet import read_footer
from pseudolabel.machine import refuse_more_than_fits
from pseudolabel.releases.listing import GET_ANEW

PIECE = 1 << 20
LARGEST_TABLE = 1 << 26  # bytes of tables of one row a class: classes.csv, thresholds.csv
PACKED_SLACK = 1 << 16  # bytes of a Parquet file beside its values: counts, statistics
ROW_BYTES = 500  # of memory that a release of a ledger takes for each added label, at most


def refuse_larger(path: Path, most: int) -> None:
    """Raise InputError where a file has more bytes than it can have."""
    if path.stat().st_size > most:
        raise InputError(f"larger than the {most:,} bytes that it can have", path, GET_ANEW)


def refuse_unpacked(path: Path, most: int) -> None:
    """Raise InputError where a .gz file holds more bytes than it can, or is damaged."""
    n_bytes = 0
    try:
        with gzip.open(path) as file:
            while piece := file.read(PIECE):
                n_bytes += len(piece)
                if n_bytes > most:
                    raise InputError(f"unpacks to more than the {most:,} bytes that it can hold", path, GET_ANEW)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"cannot be read ({error})", path, GET_ANEW) from error


def refuse_parquet(
    path: Path, schema: Mapping[str, pa.DataType], n_rows: int, n_values: int, most: int
) -> tuple[int, int]:
    """Return the rows of a Parquet file and the bytes of all its texts; refuse other columns, and more than can be.

    Texts are counted by their numbers in the file's dictionaries: a long one that is repeated takes no memory here.

    Args:
        schema: its columns.
        n_rows, n_values: at most how many rows it has, and values in a column.
        most: bytes that the texts have at most.
    """
    try:
        rows, chunks = read_footer(path)
        names = list(dict.fromkeys(".".join(chunk.path) for chunk in chunks))
        with pq.ParquetFile(path) as file:
            found = {field.name: field.type for field in file.schema_arrow}
            if list(found) != list(schema) or any(not _alike(found[name], schema[name]) for name in schema):
                raise InputError(f"its columns are {', '.join(f'{n} ({t})' for n, t in found.items())[:200]}", path)
        counted = sum(chunk.n_values for chunk in chunks)
        if rows > n_rows or counted > n_values * len(names):
            message = f"has {rows:,} rows and {counted:,} values, more than the labels can have"
            raise InputError(message, path, GET_ANEW)
        held = sum(chunk.unpacked for chunk in chunks)
        if held > most + 16 * n_values * len(names) + PACKED_SLACK * (1 + len(chunks)):
            raise InputError(f"claims to hold {held:,} bytes, more than it can", path, GET_ANEW)
        texts = 0
        with pq.ParquetFile(path, read_dictionary=names, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=1 << 16):
                texts += sum(_text_bytes(column) for column in batch.columns)
                if texts > most:
                    raise InputError(f"its texts have more than the {most:,} bytes that they can have", path, GET_ANEW)
        return rows, texts
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read as Parquet ({str(error).splitlines()[0]})", path, GET_ANEW) from error


def _alike(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(found) and pa.types.is_list(expected):
        return _alike(found.value_type, expected.value_type)
    return found == expected


def _text_bytes(column: pa.Array) -> int:
    while pa.types.is_list(column.type):
        column = column.flatten()
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False).astype(np.int64)
    numbers = pc.drop_null(column.indices).to_numpy(zero_copy_only=False)
    return int(lengths[numbers].sum())


def refuse_for_memory(n_added: int, place: Path) -> None:
    """Raise InputError where a release of so many additions takes more memory than there is."""
    remedy = "Enhance with a higher --threshold, or release on a larger machine."
    refuse_more_than_fits(n_added * ROW_BYTES, f"{n_added:,} additions", place, remedy)
