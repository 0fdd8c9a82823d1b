"""Lines: rows of a CSV file, many at once, the bytes that `csv.writer` writes with LF line ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

QUOTED = '[,"\r\n]'  # cells with one of these are quoted


def as_text(column: pa.Array) -> pa.Array:
    """Return a column as CSV files have it: floats with 17 significant digits, nothing for a null."""
    if pa.types.is_floating(column.type):
        distinct = column.dictionary_encode()  # scores are mostly float16, of which there are few
        texts = pa.array([f"{value:.17g}" for value in distinct.dictionary.to_pylist()], pa.string())
        column = texts.take(distinct.indices)
    return pc.fill_null(column.cast(pa.string()), "")


def csv_lines(columns: Sequence[pa.Array]) -> bytes:
    """Return the rows of two columns or more, of text without nulls."""
    if any(pc.any(pc.match_substring_regex(column, QUOTED)).as_py() for column in columns):
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(zip(*(column.to_pylist() for column in columns), strict=True))
        return text.getvalue().encode()
    *others, last = columns
    lines = pc.binary_join_element_wise(*others, pc.binary_join_element_wise(last, "", "\n"), ",")
    together = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return pc.binary_join(together, "")[0].as_buffer().to_pybytes()


def label_lines(clip_ids: Sequence[str], matrix: sparse.csr_array, class_ids: Sequence[str]) -> bytes:
    """Return the rows `clip_id,labels` of labels.csv, labels joined by `;` in the order of the columns."""
    labels = pa.array(class_ids, pa.string()).take(pa.array(matrix.indices))
    lists = pa.ListArray.from_arrays(pa.array(matrix.indptr, pa.int32()), labels)
    return csv_lines([pa.array(clip_ids, pa.string()), pc.binary_join(lists, ";")])
