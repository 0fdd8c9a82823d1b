"""Read tables of scores from Parquet: a column for each class, or one column of lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.parquet import is_binary, is_text, open_parquet, parquet_batches, readable
from pseudolabel.scores.arrays import FileArray, Names, rows_a_block
from pseudolabel.scores.score_tables import ROW_NUMBERS, choose_ids, id_columns

INDEX = "__index_level_0__"  # what pandas calls the column of its index in Parquet
ROWS = 1 << 13  # read at once, of ids
REMEDY = "Is the file whole?"


def open_scores(path: Path, column: str | None = None) -> FileArray:
    """Open the scores in a Parquet file.

    Args:
        column: the one of lists to read; None if there is only one.

    Raises:
        InputError: the file is damaged, has no scores, or has columns of both forms.
    """
    with readable(path, REMEDY), open_parquet(path) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        names = ["" if name == INDEX else name for name in schema.names]
        candidates = [number for number in id_columns(names) if _is_id(schema.field(number).type)]
        if INDEX in schema.names and _is_id(schema.field(INDEX).type):
            candidates = list(dict.fromkeys([*candidates, schema.names.index(INDEX)]))
        texts = {number: _ids(file, path, schema.names[number]) for number in candidates}
        chosen = choose_ids({number: names[number].casefold() for number in candidates}, texts)
        columns = _score_columns(schema, [schema.names[number] for number in candidates], column, path)
        is_list = not pa.types.is_floating(schema.field(columns[0]).type)
        shape = (n_rows, *(_list_shape(file, path, columns[0]) if is_list else (len(columns),)))
        dtype = np.result_type(*(_leaf(schema.field(name).type).to_pandas_dtype() for name in columns))
    read = {*columns, *(schema.names[number] for number in candidates if number == chosen or not names[number])}
    clips = None if chosen is None else _named(path, names[chosen] or "index", texts[chosen])
    classes = None if is_list else Names("columns", columns, lambda number: f"{path}, column {columns[number]!r}")
    unread = tuple(
        name
        for name, known in zip(schema.names, names, strict=True)
        if name not in read and known.casefold() not in ROW_NUMBERS
    )

    def blocks() -> Iterator[np.ndarray]:
        start, size = 0, rows_a_block(shape, dtype.itemsize)
        with readable(path, REMEDY), open_parquet(path) as file:
            for batch in parquet_batches(file, path, columns, size):
                yield _of_lists(batch.column(0), shape, start, path) if is_list else _side_by_side(batch, columns)
                start += len(batch)

    return FileArray(shape, dtype, blocks, columns[0] if is_list else "", clips, classes, unread)


def _named(path: Path, title: str, texts: Sequence[str]) -> Names:
    return Names(title, texts, lambda number: f"{path}, row {number + 1}")


# ---- which column is what ---------------------------------------------------------------------------------------


def _is_id(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_integer(kind) or is_text(kind) or is_binary(kind)


def _leaf(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values in lists, of any depth."""
    while _is_list(kind):
        kind = kind.value_type
    return kind


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _score_columns(schema: pa.Schema, ids: Sequence[str], column: str | None, path: Path) -> list[str]:
    """Return the columns of scores: one for each class, or a single one of lists."""
    others = [field for field in schema if field.name not in ids]
    floats = [field.name for field in others if pa.types.is_floating(field.type)]
    lists = [field.name for field in others if _is_list(field.type) and pa.types.is_floating(_leaf(field.type))]
    if column is not None and column in lists:
        return [column]
    if column is None and len(lists) == 1 and not floats:
        return lists
    if column is None and floats and not lists:
        whole = [field.name for field in others if pa.types.is_integer(field.type)]
        if whole:
            message = f"columns of whole numbers, not scores: {first_few(whole)}"
            raise InputError(message, path, "Remove them, or save scores as float32.")
        return floats
    has = (
        f"columns of lists of scores: {first_few(lists, 8) or 'none'}; columns of scores: {first_few(floats) or 'none'}"
    )
    message = has if column is None else f"no column {column!r}; {has}"
    remedy = "Name a column of lists by --dataset." if lists else "It needs clip_id and a column for each class."
    raise InputError(message, path, remedy)


# ---- values -----------------------------------------------------------------------------------------------------


def _ids(file: pq.ParquetFile, path: Path, name: str) -> list[str]:
    texts = []
    for batch in parquet_batches(file, path, [name], ROWS):
        values = batch.column(0).to_pylist()
        texts += ["" if id_ is None else id_.decode() if isinstance(id_, bytes) else str(id_) for id_ in values]
    return texts


def _list_shape(file: pq.ParquetFile, path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of the first row's lists: (K,), or (W, K) where they are nested."""
    batch = next(parquet_batches(file, path, [name], 1), None)
    shape, values = [], None if batch is None else batch.column(0)
    while values is not None and len(values) and _is_list(values.type):
        values = values.slice(0, 1).flatten()
        shape.append(len(values))
    return tuple(shape)


def _side_by_side(batch: pa.RecordBatch, columns: Sequence[str]) -> np.ndarray:
    """Return (n, K) scores of one column for each class; empty ones are NaN."""
    values = (batch.column(batch.schema.get_field_index(name)) for name in columns)
    return np.stack([column.to_numpy(zero_copy_only=False) for column in values], axis=1)


def _of_lists(column: pa.Array, shape: Sequence[int], start: int, path: Path) -> np.ndarray:
    """Return (n, K) or (n, W, K) scores of a column of lists, all as long as those of the first row."""
    n_rows, n_lists = len(column), 1
    for axis in shape[1:]:
        lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
        if len(other := np.flatnonzero(lengths != axis)):
            message = f"a list of {lengths[other[0]]} values; those of the first row have {axis}"
            place = f"{path}, row {start + other[0] // n_lists + 1}"
            raise InputError(message, place, "Give every clip a score of every class.")
        column, n_lists = column.flatten(), n_lists * axis
    return column.to_numpy(zero_copy_only=False).reshape(n_rows, *shape[1:])
