"""Parquet files that claim more than they hold are refused before memory is taken; others are read as pyarrow reads."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.errors import InputError
from pseudolabel.labels import parquet
from pseudolabel.labels.ledger import SCHEMA, read_ledger
from pseudolabel.labels.parquet import open_parquet, parquet_batches
from pseudolabel.labels.table import LabelTable

TEXTS, LISTS = ["a", "", None, "日本", "a"], [["x", "y"], [], None, ["z"], ["x"]]


def repeated(value: str, n_rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([value]))


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("n_rows", [1, 2, 100])
def test_batches_have_what_pyarrow_reads(tmp_path, kind, store_schema, n_rows):
    columns = {"t": pa.array(TEXTS).cast(kind), "l": pa.array(LISTS), "n": pa.array([1.5, None, 2, 3, 4])}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet", store_schema=store_schema, row_group_size=3)
    with open_parquet(tmp_path / "t.parquet") as file:
        batches = [
            batch.to_pylist() for batch in parquet_batches(file, tmp_path / "t.parquet", ("l", "t", "n"), n_rows)
        ]
    rows = [row for batch in batches for row in batch]
    assert rows == [{"l": labels, "t": text, "n": n} for labels, text, n in
                    zip(LISTS, TEXTS, [1.5, None, 2, 3, 4], strict=True)]  # fmt: skip


def test_rows_that_the_file_cannot_hold_are_refused(tmp_path):
    table = pa.table({"clip_id": ["a"] * (1 << 20), "labels": ["/m/09x0r"] * (1 << 20)})
    with pq.ParquetWriter(tmp_path / "t.parquet", table.schema) as file:
        for _ in range(8):
            file.write_table(table)
    with pytest.raises(InputError, match=r"t\.parquet: claims 8,388,608 values in [\d,]+ bytes"):
        LabelTable.read(tmp_path / "t.parquet", "audioset")


def test_labels_that_the_file_cannot_hold_are_refused(tmp_path):
    labels = pa.ListArray.from_arrays(pa.array([0, 1 << 23], pa.int32()), repeated("/m/09x0r", 1 << 23))
    pq.write_table(pa.table({"clip_id": ["a"], "labels": labels}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: claims 8,388,608 values"):
        LabelTable.read(tmp_path / "t.parquet", "audioset")


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "brotli", "none"])
def test_long_text_that_all_rows_repeat_is_refused(tmp_path, compression):
    n_rows = 10_000
    table = pa.table({"clip_id": [f"c{n}" for n in range(n_rows)], "labels": repeated("x" * (1 << 18), n_rows)})
    for store_schema in (True, False):
        pq.write_table(table, tmp_path / "t.parquet", compression=compression, store_schema=store_schema)
        with pytest.raises(InputError, match=r"t\.parquet, column 'labels': a text of 262,144 bytes"):
            LabelTable.read(tmp_path / "t.parquet", "audioset")


def test_long_texts_are_read_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "MOST_TEXT", 1 << 20)
    table = pa.table({"t": repeated("x" * (1 << 17), 100), "u": repeated("é", 100), "n": [1] * 100})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd", store_schema=False)
    for columns, sizes in ((["u", "n"], [100]), (["n", "t"], [8] * 12 + [4])):
        with open_parquet(tmp_path / "t.parquet") as file:
            batches = parquet_batches(file, tmp_path / "t.parquet", columns, 1000)
            assert [len(batch) for batch in batches] == sizes
    schema = {"use_dictionary": False, "column_encoding": {"t": "DELTA_BYTE_ARRAY"}}
    pq.write_table(pa.table({"t": ["x"] * 20}), tmp_path / "t.parquet", **schema)
    with open_parquet(tmp_path / "t.parquet") as file:
        assert [len(batch) for batch in parquet_batches(file, tmp_path / "t.parquet", ["t"], 1000)] == [16, 4]


def test_lists_of_long_texts_are_refused(tmp_path):
    labels = pa.ListArray.from_arrays(pa.array([0, 1 << 16], pa.int32()), repeated("x" * (1 << 17), 1 << 16))
    pq.write_table(pa.table({"clip_id": ["a"], "labels": labels}), tmp_path / "t.parquet", compression="zstd")
    with pytest.raises(InputError, match="65,536 texts of up to 131,072 bytes"):
        LabelTable.read(tmp_path / "t.parquet", "audioset")


def test_ledger_of_rows_that_its_file_cannot_hold_is_refused(tmp_path):
    columns = {name: ["a"] * (1 << 20) if kind == pa.string() else pa.nulls(1 << 20, kind)
               for name, kind in zip(SCHEMA.names, SCHEMA.types, strict=True)}  # fmt: skip
    with pq.ParquetWriter(tmp_path / "ledger.parquet", SCHEMA, compression="zstd") as file:
        for _ in range(4):
            file.write_table(pa.table(columns, schema=SCHEMA))
    with pytest.raises(InputError, match="claims 4,194,304 values"):
        read_ledger(tmp_path / "ledger.parquet")


def test_text_that_is_not_utf8_is_refused(tmp_path):
    strange = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes()), pa.py_buffer(b"a\xe9")
    )  # fmt: skip
    pq.write_table(pa.table({"clip_id": strange, "labels": ["", ""]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: cannot be read as Parquet \(.*[Uu][Tt][Ff]"):
        LabelTable.read(tmp_path / "t.parquet", "audioset")
