"""Additions are taken back exactly, and a reviewer's decisions keep what is right."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.labels.additions import label_keys, pair_keys
from pseudolabel.labels.ledger import SCHEMA, read_ledger, write_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.undo import _entries, apply_decisions, undo, without_additions
from pseudolabel.labels.vocabulary import Vocabulary

ABC = Vocabulary("abc", ("a", "b", "c"), ("A", "B", "C"), ("",) * 3)
BEFORE = LabelTable.from_sets(("x", "y", "z"), ({"a"}, {"b"}, set()), ABC)
AFTER = LabelTable.from_sets(("x", "y", "z"), ({"a", "c"}, {"a", "b"}, set()), ABC)


def ledger(*rows: tuple) -> pa.Table:
    names = ("clip_id", "class_id", "error", "decision")[: len(rows[0])]
    return pa.table({name: [row[column] for row in rows] for column, name in enumerate(names)})


ADDED = ledger(("y", "a", "II", "wrong"), ("x", "c", "I", " Right"))


def test_undo_gives_the_list_before():
    assert undo(AFTER, ADDED) == BEFORE
    assert undo(BEFORE, SCHEMA.empty_table()) == BEFORE


def test_undo_of_a_part_also_takes_back_what_only_that_part_proposed():
    five = Vocabulary("five", tuple("abcde"), tuple("ABCDE"), ("",) * 5)
    after = LabelTable.from_sets(("x", "y"), (set("abcde"), {"a", "b", "c"}), five)
    because = {"b": "a", "c": "b", "d": "c", "e": "a;c"}
    rows = [("x", k, because[k]) for k in "bcde"] + [("y", k, because[k]) for k in "bc"]
    whole = pa.table({name: [row[i] for row in rows] for i, name in enumerate(("clip_id", "class_id", "because"))})
    left, n_named, n_more = without_additions(after, [whole[:1]], "", [whole[:3], whole[3:]])
    assert left.label_sets() == [("a", "e"), ("a", "b", "c")] and (n_named, n_more) == (1, 2)
    assert undo(after, whole[:1], whole=whole) == left
    assert undo(after, whole[:1]).label_sets()[0] == ("a", "c", "d", "e")
    assert undo(after, whole, whole=whole).label_sets() == [("a",), ("a",)]


def test_a_given_label_is_not_taken_back_where_the_whole_ledger_is_known():
    with pytest.raises(
        InputError, match=r"1 label not in the ledger beside the list, so not added: clips x\. Give rows"
    ):
        undo(AFTER, ledger(("x", "a"), ("x", "c")), whole=ADDED.append_column("because", pa.array(["b", "a"])))


@settings(max_examples=40)
@given(st.data())
def test_undo_and_apply_are_opposite_on_random_lists(data):
    before = data.draw(arrays.arrays(bool, (4, 3)))
    added = data.draw(arrays.arrays(bool, (4, 3))) & ~before
    cells = data.draw(st.permutations(list(zip(*(part.tolist() for part in added.nonzero()), strict=True))))
    old, new = (LabelTable(tuple("pqrs"), matrix, ABC) for matrix in (before, before | added))
    rows = [("pqrs"[clip], "abc"[k], "I", data.draw(st.sampled_from(["right", "wrong", "unsure", ""])))
            for clip, k in cells]  # fmt: skip
    table = ledger(*rows) if rows else ledger(("", "", "", ""))[:0]
    assert undo(new, table) == old
    kept, of_kept, counts = apply_decisions(old, table)
    right = {(clip, k) for clip, k, _, decision in rows if decision == "right"}
    expected = [{k for j, k in enumerate("abc") if before[i, j]} | {k for c, k in right if c == clip}
                for i, clip in enumerate("pqrs")]  # fmt: skip
    assert [set(labels) for labels in kept.label_sets()] == expected
    assert [(row["clip_id"], row["class_id"]) for row in of_kept.to_pylist()] == sorted(right)
    assert sum(counts.values()) == len(rows)
    assert undo(kept, of_kept) == old


def test_decisions_are_counted_and_the_ledger_keeps_its_columns():
    kept, of_kept, counts = apply_decisions(BEFORE, ADDED)
    assert kept.label_sets() == [("a", "c"), ("b",), ()]
    assert counts == {"right": 1, "wrong": 1, "unsure": 0, "undecided": 0}
    assert of_kept.schema == SCHEMA
    assert of_kept.to_pylist()[0]["error"] == "I"


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (ledger(("w", "a")), ClipMismatch, "clips of 1 added labels are not in the list: w"),
        (ledger(("x", "b")), InputError, "1 added labels are not in the list: clips x"),
        (
            ledger(("x", "c"), ("x", "c")),
            InputError,
            "label 'c' of clip 'x' is listed twice in the ledger. Keep one row",
        ),
        (ledger(("x", "d")), UnknownClass, "class 'd' is not in the vocabulary"),
        (ledger(("x", "C")), InputError, "'C' is a class name"),
    ],
)
def test_ledger_of_another_list_cannot_be_undone(table, error, message):
    with pytest.raises(error, match=message):
        undo(AFTER, table)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x", "c", "I", "maybe"), "decision 'maybe' in data row 1"),
        (("x", "a", "I", "right"), "there already: clips x"),
    ],
)
def test_strange_decisions_are_refused(row, message):
    with pytest.raises(InputError, match=message):
        apply_decisions(BEFORE, ledger(row))


def test_apply_adds_nothing_that_only_labels_in_neither_list_proposed():
    rows = {"clip_id": ["x", "y"], "class_id": ["c", "c"], "error": ["I", "I"], "because": ["b", "a;b"]}
    reviewed = pa.table({**rows, "decision": ["right", "right"]})
    kept, of_kept, counts = apply_decisions(BEFORE, reviewed)
    assert kept.label_sets() == [("a",), ("b", "c"), ()] and len(of_kept) == 1
    assert counts["right"] == 2 and counts["unsupported"] == 1
    whole = pa.concat_tables([reviewed, pa.table({name: [value] for name, value in zip(
        reviewed.column_names, ("x", "b", "I", "a", "right"), strict=True)})])  # fmt: skip
    kept, _, counts = apply_decisions(BEFORE, whole)
    assert kept.label_sets()[0] == ("a", "b", "c") and "unsupported" not in counts


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("error", "QQ", "'QQ', not one of I, II, I\\+II, free"),
        ("probability", 7.0, "'7.0', not a number from 0 to 1"),
        ("round", -1, "'-1', not a whole number of 1 or more"),
        ("window_s", float("inf"), "'inf', not a length above 0"),
        ("score", float("nan"), "'nan', not a number"),
        ("onset_s", -2.0, "'-2.0', not 0 or more"),
        ("score", "high", "column 'score' has other values than numbers"),
    ],
)
def test_apply_takes_over_no_evidence_that_enhance_does_not_write(column, value, said):
    row = {"clip_id": "x", "class_id": "c", "error": "I", "decision": "right", "probability": 0.5, "round": 1}
    with pytest.raises(InputError, match=said):
        apply_decisions(BEFORE, pa.Table.from_pylist([{**row, column: value}]), "reviewed.csv")


def test_reviewed_ledgers_are_read_with_semicolons_and_tabs_too(tmp_path):
    for mark in ";\t":
        lines = (("clip_id", "class_id", "because", "decision"), ("x", "c", '"a;b"', "right"))
        (tmp_path / "reviewed.csv").write_text("".join(mark.join(line) + "\n" for line in lines))
        assert read_ledger(tmp_path / "reviewed.csv").to_pylist()[0] == {
            "clip_id": "x", "class_id": "c", "because": "a;b", "decision": "right",
        }  # fmt: skip


def test_every_form_of_a_ledger_reads_the_same(tmp_path):
    row = {"clip_id": "-001", "class_id": "a", "error": "II", "because": "b;c", "score": 0.1, "threshold": None}
    rows = [row | {"round": 2}, row | {"clip_id": "NA", "onset_s": 4.0, "window_s": 2.0, "round": 1}]
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    write_ledger(table, tmp_path)
    assert read_ledger(tmp_path / "ledger.parquet").equals(table)
    assert read_ledger(tmp_path / "ledger.csv.gz").equals(table)


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary"])
def test_ledgers_may_have_texts_and_lists_of_any_type(tmp_path, kind):
    text = pa.dictionary(pa.int32(), pa.large_string()) if kind == "dictionary" else getattr(pa, kind)()
    columns = {"clip_id": ["x", "y"], "class_id": ["c", "a"], "error": ["I", "free"], "decision": ["right", ""]}
    table = pa.table({name: pa.array(values, pa.string()).cast(text) for name, values in columns.items()})
    some, none = [["b", "c"], []], [[], None]
    lists = [(pa.large_list(text), some), (pa.list_view(pa.string()), some), (pa.list_(pa.null()), none)]
    lists += [(pa.list_(pa.string()), some), (pa.null(), [None, None]), (pa.large_string(), ["b;c", None])]
    for of_because, because in lists:
        pq.write_table(table.append_column("because", pa.array(because, of_because)), tmp_path / "l.parquet")
        read = read_ledger(tmp_path / "l.parquet", columns)
        assert read.to_pydict() == columns | {"because": ["b;c" if because[0] else "", ""]}
        assert set(read.schema.types) == {pa.string()}
        kept, _, counts = apply_decisions(BEFORE, read)
        assert kept.matrix.nnz == 3 and counts["right"] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "l.csv",
            b"clip_id,class\nx,a\n",
            "column 'class_id' is missing; columns found: clip_id, class. Give the ledger that enhance wrote",
        ),
        ("l.csv", b"clip_id,class_id\nx,a\ny\n", "not a readable ledger"),
        ("l.csv", b"", "not a readable ledger"),
        ("l.csv", b"clip_id,class_id\n\xff,a\n", "l.csv:2: not UTF-8"),
        ("l.csv.gz", b"clip_id,class_id\n", "its content is not packed as .gz says"),
        ("l.parquet", b"PAR1", "cannot be read as Parquet"),
    ],
)
def test_damaged_ledgers_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_ledger(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_ledger(tmp_path / "absent.csv")


def test_large_row_numbers_do_not_overflow():
    n, wide = 5000, Vocabulary("wide", *(tuple(f"k{k}" for k in range(500)),) * 2, ("",) * 500)
    matrix = np.zeros((n, 500), bool)
    matrix[-1, -1] = matrix[0, 0] = True
    labels = LabelTable([f"c{i}" for i in range(n)], matrix, wide)
    assert undo(labels, ledger((f"c{n - 1}", "k499"))).label_sets()[-1] == ()


@given(st.data())
def test_every_label_is_found_where_it_stands_and_no_other(data):
    matrix = data.draw(arrays.arrays(bool, (data.draw(st.integers(1, 5)), 4)))
    labels = LabelTable([f"c{i}" for i in range(len(matrix))], matrix, Vocabulary("four", *(tuple("abcd"),) * 3))
    clips, classes = (places.reshape(-1) for places in np.indices(matrix.shape))
    entries = _entries(label_keys(labels.matrix), pair_keys(clips, classes, 4))
    assert ((entries >= 0) == matrix.reshape(-1)).all()
    assert entries[entries >= 0].tolist() == list(range(matrix.sum()))
