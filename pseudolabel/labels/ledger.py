"""Read and write ledgers: one row per added label, with the evidence for it.

| column | |
|---|---|
| `clip_id`, `class_id` | the added label |
| `error` | `I` (missing child), `II` (missing parent), `I+II` (both types proposed it) or `free` (no label did) |
| `because` | the labels that made it a candidate, in vocabulary order: a list in Parquet files, else joined by `;` |
| `score`, `threshold` | the teacher's score and the class's threshold (score > threshold); empty if added by rule |
| `probability` | that the label is right, if the rule estimates it, else empty |
| `round` | 1 for labels proposed by original labels, 2 for those proposed only by labels of round 1, ... |
| `window_s`, `onset_s` | length and start of the window with the evidence; empty for the whole clip |

Rows are ordered by clip, as in the label list, then by class, as in the vocabulary.
"""

from __future__ import annotations

import contextlib
import csv
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from pseudolabel.artefacts import whole_file
from pseudolabel.errors import InputError, first_line, no_file
from pseudolabel.labels.additions import ERROR_NAMES, Additions
from pseudolabel.labels.parquet import is_text, open_parquet, parquet_batches
from pseudolabel.labels.writers import as_text, csv_lines, packed_file
from pseudolabel.layout import CLASS_ID, CLIP_ID, LEDGER, LEDGER_CSV
from pseudolabel.machine import refuse_more_than_fits
from pseudolabel.tables import DAMAGED, delimiter_of, open_text, refuse_repeated

GROUP_ROWS = 1 << 20  # rows per Parquet row group
CSV_ROWS, PACKED_AHEAD = 1 << 16, 4  # rows compressed at once, and how many such batches may wait
GZIP_LEVEL = 4  # eight times as fast as 9, for a file a tenth larger

SCHEMA = pa.schema(
    [
        ("clip_id", pa.string()),
        ("class_id", pa.string()),
        ("error", pa.string()),
        ("because", pa.string()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("probability", pa.float64()),
        ("round", pa.int32()),
        ("window_s", pa.float64()),
        ("onset_s", pa.float64()),
    ]
)

BECAUSE, PROBABILITY = "because", "probability"
TYPES = {field.name: field.type for field in SCHEMA}
PARQUET_TYPES = {**TYPES, BECAUSE: pa.list_(pa.string())}  # in files; ledgers of earlier versions have joined texts
PIECE_ROWS, CSV_BLOCK = 1 << 18, 1 << 23  # rows read at once; bytes, longer than any line
FEW_ROWS, ROW_BYTES = 1 << 20, 250  # rows that always fit; bytes of memory per row, including what is derived from it


def ledger_rows(
    additions: Additions,
    support: tuple[np.ndarray, np.ndarray],
    clip_ids: pa.Array,
    class_ids: pa.Array,
    window_s: float | None = None,
) -> pa.Table:
    """Return the ledger of `additions`.

    Args:
        support: the additions' supporting labels (`Relations.supporting_labels`).
        clip_ids, class_ids: ids of the rows and columns that the additions refer to.
        window_s: length of the scored windows in seconds; None: whole clips.
    """
    offsets, labels = support
    because = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), class_ids.take(pa.array(labels)))
    lengths_s = np.where(np.isnan(additions.onsets_s), np.nan, window_s or np.nan)
    columns = [
        clip_ids.take(pa.array(additions.clips)),
        class_ids.take(pa.array(additions.classes)),
        pa.array(ERROR_NAMES).take(pa.array(additions.types)),
        pc.binary_join(because, ";"),
        pa.array(additions.scores, from_pandas=True),
        pa.array(additions.thresholds, from_pandas=True),
        pa.array(additions.probabilities, from_pandas=True),
        pa.array(additions.rounds),
        pa.array(lengths_s, from_pandas=True),
        pa.array(additions.onsets_s, from_pandas=True),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def write_ledger(ledger: pa.Table, folder: str | Path) -> None:
    """Write `ledger.parquet` and `ledger.csv.gz` (floats with 17 significant digits, no timestamp) into `folder`."""
    with written_ledger(folder, ledger.schema) as write:
        write(ledger)


@contextlib.contextmanager
def written_ledger(folder: str | Path, schema: pa.Schema = SCHEMA) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes a ledger piece by piece, so that it is never all in memory.

    How it is divided does not change the bytes of either file, except that Parquet pages end where pieces do.
    """
    folder = Path(folder)
    with (
        _row_groups(folder / LEDGER, schema) as add,
        packed_file(folder / LEDGER_CSV, GZIP_LEVEL) as packed,
        ThreadPoolExecutor(1) as packer,
    ):
        packed.write(csv_lines([pa.array([name]) for name in schema.names]))
        packing = deque()

        def write(piece: pa.Table) -> None:
            piece = _with_texts(piece)
            add(piece)
            for batch in piece.to_batches(max_chunksize=CSV_ROWS):
                packing.append(packer.submit(packed.write, csv_lines([as_text(column) for column in batch.columns])))
                while len(packing) > PACKED_AHEAD:
                    packing.popleft().result()

        yield write
        for pack in packing:
            pack.result()


@contextlib.contextmanager
def _row_groups(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Yield a function that writes tables to a Parquet file in row groups of equal size."""
    waiting = [_with_texts(schema.empty_table())]
    stored = _with_lists(waiting[0]).schema
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, stored, compression="zstd") as file:

        def write(n_rows: int) -> None:
            rows = pa.concat_tables(waiting)
            file.write_table(_with_lists(rows.slice(0, n_rows)), row_group_size=GROUP_ROWS)
            waiting[:] = [rows.slice(n_rows)]

        def add(piece: pa.Table) -> None:
            waiting.append(piece)
            while sum(map(len, waiting)) >= GROUP_ROWS:
                write(GROUP_ROWS)

        yield add
        if n_left := sum(map(len, waiting)):  # the `datasets` library does not read empty row groups
            write(n_left)


def _with_lists(ledger: pa.Table) -> pa.Table:
    """Return a ledger with `because` as lists of class ids."""
    if BECAUSE not in ledger.column_names:
        return ledger
    joined = ledger[BECAUSE]
    if not pc.min(pc.binary_length(joined)).as_py() or joined.null_count:  # rows that nothing proposed are rare
        joined = pc.if_else(pc.equal(joined, ""), None, joined)
    lists = pc.split_pattern(joined, ";")
    lists = pc.coalesce(lists, pa.scalar([], PARQUET_TYPES[BECAUSE])) if lists.null_count else lists
    return ledger.set_column(ledger.column_names.index(BECAUSE), BECAUSE, lists)


def _with_texts(ledger: pa.Table) -> pa.Table:
    """Return a ledger with all texts as `string`, and `because` joined by `;`, as all that read ledgers take it.

    Other programs write texts as `large_string`, `string_view` or categories, and lists that are all empty as lists of
    nothing.
    """
    for number, (name, kind) in enumerate(zip(ledger.column_names, ledger.schema.types, strict=True)):
        column, is_because = ledger[name], name == BECAUSE
        if kind == pa.string() and not (is_because and column.null_count):
            continue
        if is_because and pa.types.is_nested(kind):
            column = pc.binary_join(column.cast(PARQUET_TYPES[BECAUSE]), ";")
        if is_text(kind) or is_because:
            column = column.cast(pa.string())
            ledger = ledger.set_column(number, name, pc.fill_null(column, "") if is_because else column)
    return ledger


def read_ledger(path: str | Path, required: Iterable[str] = (CLIP_ID, CLASS_ID), only: bool = False) -> pa.Table:
    """Read a ledger (`.parquet`, `.csv.gz` or `.csv`); extra columns keep their type, text in CSV files.

    With `only`, just the required columns are read.

    Raises:
        InputError: the file is missing or damaged, a column is missing, a row lacks a required value, or the rows do
            not fit into memory.
    """
    pieces, n_rows = [], 0
    for piece in ledger_pieces(path, required, only):
        if not pieces and Path(path).suffix == ".parquet":
            refuse_many(pq.read_metadata(path).num_rows, path)
        pieces.append(piece)
        n_rows += len(piece)
        refuse_many(n_rows, path)
    return pa.concat_tables(pieces)


def numbers(ledger: pa.Table, name: str) -> np.ndarray:
    """Return a column as (M,) float64, NaN for empty cells and for a column that ledgers of earlier versions lack."""
    if name not in ledger.column_names:
        return np.full(len(ledger), np.nan)
    return pc.fill_null(ledger[name].cast(pa.float64()), float("nan")).to_numpy()


def sureness(ledger: pa.Table) -> tuple[np.ndarray, str]:
    """Return how sure each addition is, (M,) float64, NaN if added by rule; and whether it is a probability or a score.

    Either all additions have probabilities, but for those by rule, or none has one.
    """
    probabilities = numbers(ledger, PROBABILITY)
    return (numbers(ledger, "score"), "score") if np.isnan(probabilities).all() else (probabilities, PROBABILITY)


def refuse_many(n_rows: int, path: object) -> None:
    """Raise InputError if a ledger of `n_rows`, with the data derived from it, does not fit into memory."""
    if n_rows >= FEW_ROWS:
        remedy = "Keep fewer rows (only those with a decision), enhance with a higher --threshold, or take more memory."
        refuse_more_than_fits(n_rows * ROW_BYTES, f"{n_rows:,} additions", path, remedy)


def ledger_pieces(
    path: str | Path, required: Iterable[str] = (CLIP_ID, CLASS_ID), only: bool = False
) -> Iterator[pa.Table]:
    """Yield the rows of a ledger in pieces, at least one; with `only`, just the required columns.

    Raises:
        InputError: as `read_ledger`, except for the size.
    """
    path, required = Path(path), tuple(required)
    if not path.is_file():
        raise no_file(path)
    read = _parquet_pieces if path.suffix == ".parquet" else _csv_pieces
    try:
        for piece in read(path, required, only):
            for name in required:
                if piece[name].type != TYPES.get(name, pa.string()) or piece[name].null_count:
                    raise InputError(f"column {name!r} is not text in every row", path)
            yield piece
    except (pa.ArrowException, OSError, csv.Error, *DAMAGED) as error:
        message = f"not a readable ledger ({first_line(error)})"
        raise InputError(message, path, "Give ledger.parquet or ledger.csv.gz.") from error


def _parquet_pieces(path: Path, required: Sequence[str], only: bool) -> Iterator[pa.Table]:
    with open_parquet(path) as file:
        schema = file.schema_arrow
        _check_columns(schema.names, required, path)
        columns = required if only else schema.names
        if not file.metadata.num_rows:
            yield _with_texts(pq.read_table(path, columns=list(columns)))
        for batch in parquet_batches(file, path, columns, PIECE_ROWS):
            yield _with_texts(pa.Table.from_batches([batch]))


def _csv_pieces(path: Path, required: Sequence[str], only: bool) -> Iterator[pa.Table]:
    with open_text(path) as text:
        header = text.readline()
    delimiter = delimiter_of([header])
    names = next(csv.reader([header], delimiter=delimiter), [])
    if not names:
        raise InputError("not a readable ledger (it is empty)", path, "Give ledger.parquet or ledger.csv.gz.")
    _check_columns(names, required, path)
    types = {name: TYPES.get(name, pa.string()) for name in names}
    with open_text(path) as text:
        reader = pyarrow.csv.open_csv(
            text.buffer,
            pyarrow.csv.ReadOptions(block_size=CSV_BLOCK),
            pyarrow.csv.ParseOptions(delimiter=delimiter),
            convert_options=pyarrow.csv.ConvertOptions(column_types=types),
        )
        n_rows = 0
        for batch in reader:
            _refuse_open_quotes(batch, n_rows, path)
            n_rows += len(batch)
            piece = pa.Table.from_batches([batch])
            yield piece.select(list(required)) if only else piece
        if not n_rows:
            yield pa.schema(types.items()).empty_table().select(list(required) if only else names)


def _check_columns(names: Sequence[str], required: Sequence[str], path: Path) -> None:
    absent = [name for name in required if name not in names]
    if absent:
        remedy = "Give the ledger that enhance wrote."
        if absent[0] == "decision":
            remedy = "Give reviewed.csv of `review estimate`, or add the column: right, wrong or unsure."
        raise InputError(f"column {absent[0]!r} is missing; columns found: {', '.join(names)}", path, remedy)
    refuse_repeated(names, path)


def _refuse_open_quotes(batch: pa.RecordBatch, n_before: int, path: Path) -> None:
    """Raise InputError if a text has a line break: its quote was not closed on its line and swallowed rows."""
    for column in batch.columns:
        if pa.types.is_string(column.type):
            broken = pc.index(pc.match_substring_regex(column, "[\r\n]"), True).as_py()
            if broken >= 0:
                message = "a quoted field does not end on its line"
                raise InputError(message, f"{path}: data row {n_before + broken + 1}", "Close the quote.")


def csv_rows(ledger: pa.Table) -> Iterator[tuple[str, ...]]:
    """Yield the rows as they are written to CSV files."""
    for batch in ledger.to_batches(max_chunksize=CSV_ROWS):
        yield from zip(*(as_text(column).to_pylist() for column in batch.columns), strict=True)
