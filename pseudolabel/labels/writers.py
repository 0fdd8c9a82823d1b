"""Write label lists and long tables: the same bytes as `csv.writer`, but many rows at once."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from scipy import sparse

from pseudolabel.artefacts import whole_file
from pseudolabel.errors import InputError
from pseudolabel.formatting import exact

LabelRows = Iterable[tuple[str, Sequence[str]]]  # clip id, class ids
UNQUOTED = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none", batch_size=1 << 16)


def as_text(column: pa.Array) -> pa.Array:
    """Return a column as CSV text: floats at full precision, empty for null."""
    if pa.types.is_floating(column.type):
        distinct = column.dictionary_encode()  # scores are mostly float16, with few distinct values
        texts = pa.array([exact(value) for value in distinct.dictionary.to_pylist()], pa.string())
        column = texts.take(distinct.indices)
    return pc.fill_null(column.cast(pa.string()), "")


def csv_lines(columns: Sequence[pa.Array]) -> bytes:
    """Return rows as `csv.writer` writes them with LF; takes two or more text columns without nulls."""
    lines = pa.BufferOutputStream()
    try:
        pyarrow.csv.write_csv(pa.table(list(columns), list(map(str, range(len(columns))))), lines, UNQUOTED)
    except pa.ArrowInvalid:  # a cell needs quotes
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(zip(*(column.to_pylist() for column in columns), strict=True))
        return text.getvalue().encode()
    return lines.getvalue().to_pybytes()


def label_lines(clip_ids: Sequence[str], matrix: sparse.csr_array, class_ids: Sequence[str]) -> bytes:
    """Return the rows `clip_id,labels` of labels.csv, labels joined by `;` in column order."""
    return csv_lines([pa.array(clip_ids, pa.string()), pc.binary_join(label_lists(matrix, class_ids), ";")])


def label_lists(matrix: sparse.csr_array, class_ids: Sequence[str]) -> pa.ListArray:
    """Return the class ids of each row of a (N, K) matrix."""
    labels = pa.array(class_ids, pa.string()).take(pa.array(matrix.indices))
    return pa.ListArray.from_arrays(pa.array(matrix.indptr, pa.int32()), labels)


@contextlib.contextmanager
def packed_file(path: Path, level: int) -> Iterator[gzip.GzipFile]:
    """Yield a .gz file without a timestamp; it appears under its name only when complete."""
    with (
        whole_file(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=level) as packed,
    ):
        yield packed
        packed.flush()  # as a text file on top would: keeps the bytes of earlier releases


def write_audioset(
    path: str | Path,
    rows: LabelRows,
    segments: Mapping[str, tuple[str, str]],
    overwrite: bool = True,
    above: Sequence[str] = (),
) -> None:
    """Write rows `YTID, start, end, "id,id"` under the published comment line of columns, preceded by lines `above`.

    Raises:
        InputError: a clip has no segment, or an id cannot be written in this format.
    """
    with _whole_text(path, overwrite) as file:
        file.writelines(f"{line}\n" for line in above)
        file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
        for clip_id, labels in rows:
            if clip_id not in segments:
                remedy = "Give the segments of these clips, or write another format."
                raise InputError(f"clip {clip_id!r} has no start and end", path, remedy)
            if set(clip_id) & set(',"\r\n') or clip_id.startswith("# "):
                raise InputError(f"clip id {clip_id!r} does not fit a segment list", path, "Write another format.")
            start, end = segments[clip_id]
            file.write(f'{clip_id}, {start}, {end}, "{_joined(labels, path)}"\n')


def write_psla(path: str | Path, rows: LabelRows, wav: str, overwrite: bool = True) -> None:
    """Write `{"data": [{"wav": PATH, "labels": "id,id"}]}`, one entry per line; `{clip_id}` in `wav` is replaced."""
    if "{clip_id}" not in wav:
        raise InputError(f"{wav!r} names the same recording for every clip", path, "It needs {clip_id} in it.")
    with _whole_text(path, overwrite) as file:
        file.write('{"data": [')
        for number, (clip_id, labels) in enumerate(rows):
            entry = {"wav": wav.replace("{clip_id}", clip_id), "labels": _joined(labels, path)}
            file.write(f"{',' if number else ''}\n{json.dumps(entry, ensure_ascii=False)}")
        file.write("\n]}\n")


def write_parquet(
    path: str | Path,
    clip_ids: Sequence[str],
    matrix: sparse.csr_array,
    class_ids: Sequence[str],
    overwrite: bool = True,
) -> None:
    """Write the columns `clip_id` (text) and `labels` (list of texts), with a checksum for each page."""
    import pyarrow.parquet as pq

    table = pa.table({"clip_id": pa.array(clip_ids, pa.string()), "labels": label_lists(matrix, class_ids)})
    with whole_file(path, overwrite) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


@contextlib.contextmanager
def _whole_text(path: str | Path, overwrite: bool) -> Iterator[io.TextIOWrapper]:
    with whole_file(path, overwrite) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        yield file


def _joined(labels: Sequence[str], path: str | Path) -> str:
    text = ",".join(labels)
    if text.count(",") > max(len(labels) - 1, 0) or '"' in text:
        raise InputError(f"a class id of {list(labels)} has a comma or a quote", path, "Write csv or parquet.")
    return text
