"""Counts of a release: against nested loops over the same labels, and which classes are called weak."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.labels.additions import Additions, carried
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.releases.counts import count, count_by_class, read_threshold_table, weak_classes

FOUR = Vocabulary("four", *(("a", "b", "c", "d"),) * 3)


def ledger_of(rows) -> pa.Table:
    """Return a ledger of rows (clip id, class id, error, because, score, threshold)."""
    nothing = dict.fromkeys(SCHEMA.names)
    names = ("clip_id", "class_id", "error", "because", "score", "threshold")
    return pa.Table.from_pylist([{**nothing, "round": 1, **dict(zip(names, row, strict=True))} for row in rows], SCHEMA)


@settings(max_examples=25)
@given(st.lists(st.sampled_from("-goI2"), min_size=12, max_size=12))
def test_counts_are_those_of_loops_over_clips_and_classes(cells):
    clips, errors = ("x", "y", "z"), {"o": "I", "I": "I+II", "2": "II"}
    kind = {(clip, k): cells[4 * i + k] for i, clip in enumerate(clips) for k in range(4)}
    given_sets = [[FOUR.class_ids[k] for k in range(4) if kind[clip, k] == "g"] for clip in clips]
    original = LabelTable.from_sets(clips, given_sets, FOUR)
    rows = [
        (clip, FOUR.class_ids[k], errors[cell], "", None, None) for (clip, k), cell in kind.items() if cell in errors
    ]
    added = Additions.of(ledger_of(rows), original, "ledger")
    counts = count(original, added, ("I", "II"), 1)
    n_before = sum(cell == "g" for cell in cells)
    assert counts["labels_before"] == n_before
    assert counts["labels_after"] == n_before + len(rows)
    assert counts["clips_changed"] == len({row[0] for row in rows})
    assert counts["added"]["classes_touched"] == len({row[1] for row in rows})
    assert counts["added_by_both_types"] == sum(row[2] == "I+II" for row in rows)
    for error in ("I", "II"):
        of_type = [row for row in rows if error in row[2].split("+")]
        assert counts["added_by_type"][error]["labels_added"] == len(of_type)
        assert counts["added_by_type"][error]["classes_touched"] == len({row[1] for row in of_type})
    for k, row in enumerate(count_by_class(original, added, ("I", "II"), {})):
        column = [kind[clip, k] for clip in clips]
        assert (row["before"], row["added"]) == (column.count("g"), sum(cell in errors for cell in column))
        assert (row["added_I"], row["added_II"]) == (sum(c in "oI" for c in column), sum(c in "I2" for c in column))
        assert row["after"] == row["before"] + row["added"]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5), st.data())
def test_a_clip_carries_what_its_row_of_the_matrix_has(rows, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(-1, 2)), max_size=8))
    clips, classes = (np.array([pair[axis] for pair in pairs], np.int64) for axis in (0, 1))
    found = carried(sparse.csr_array(np.array(rows)), clips, classes)
    assert found.tolist() == [k >= 0 and rows[clip][k] for clip, k in pairs]


def test_a_class_is_weak_for_each_reason_that_holds():
    row = {"name": "A", "before": 4, "added": 1, "after": 5, "threshold": 0.5, "scored_positives": 30, "reason": ""}
    rows = [
        {**row, "class_id": "fine"},
        {**row, "class_id": "few", "scored_positives": 3},
        {**row, "class_id": "none", "threshold": None, "scored_positives": 0, "reason": "0 labelled clips"},
        {**row, "class_id": "doubled", "added": 5, "after": 9},
        {**row, "class_id": "heard"},
        {**row, "class_id": "hardly heard"},
    ]
    judged = [
        {"class_id": "heard", "precision": 0.4, "judged": 5},
        {"class_id": "hardly heard", "precision": 0.0, "judged": 4},
    ]
    found = {weak["class_id"]: weak["why"] for weak in weak_classes(rows, True, {"by_class": judged})}
    assert found == {
        "few": "threshold from fewer than 20 clips (3)",
        "none": "no threshold: 0 labelled clips",
        "doubled": "labels more than doubled (4 to 9)",
        "heard": "precision 0.40 of 5 judged",
    }
    assert {weak["class_id"] for weak in weak_classes(rows, False, None)} == {"doubled"}


def test_a_ledger_of_other_clips_classes_or_types_is_refused():
    labels = LabelTable.from_sets(("x",), [["a"]], FOUR)
    with pytest.raises(ClipMismatch, match="not in the list: y"):
        Additions.of(ledger_of([("y", "b", "I", "a", None, None)]), labels, "ledger")
    with pytest.raises(UnknownClass, match="'e'"):
        Additions.of(ledger_of([("x", "e", "I", "a", None, None)]), labels, "ledger")
    with pytest.raises(InputError, match="error type 'III'"):
        Additions.of(ledger_of([("x", "b", "III", "a", None, None)]), labels, "ledger")


def test_an_empty_ledger_adds_nothing():
    labels = LabelTable.from_sets(("x", "y"), [["a"], []], FOUR)
    added = Additions.of(ledger_of([]), labels, "ledger")
    counts = count(labels, added, ("I",), 0)
    assert (counts["labels_after"], counts["clips_changed"], counts["added"]["labels_added"]) == (1, 0, 0)
    assert np.array_equal([row["added"] for row in count_by_class(labels, added, ("I",), {})], [0, 0, 0, 0])


def test_thresholds_of_other_classes_are_refused(tmp_path):
    labels, path = LabelTable.from_sets(("x",), [["a"]], FOUR), tmp_path / "thresholds.csv"
    header = "class_id,name,threshold,scored_positives,reason\n"
    path.write_text(header + "a,a,0.5,3,\nb,b,,0,none\nc,c,0.25,1,\ne,e,1,1,\n")
    with pytest.raises(InputError, match="not the vocabulary's: d, e"):
        read_threshold_table(path, labels)
    path.write_text(header + "a,a,0.5,3,\nb,b,,0,none\nc,c,high,1,\nd,d,1,1,\n")
    with pytest.raises(InputError, match="csv:4: not a number"):
        read_threshold_table(path, labels)
    path.write_text(header + "a,a,0.5,3,\nb,b,,0,none\nc,c,0.25,1,\nd,d,1,1,\n")
    found = read_threshold_table(path, labels)
    assert [row["threshold"] for row in found.values()] == [0.5, None, 0.25, 1.0]
    assert found["b"] == {"threshold": None, "scored_positives": 0, "reason": "none"}
