"""Additions judged against the truth: four clips and four classes, answers as fractions."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.labels.judging import JUDGED, judge_additions
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

VOCABULARY = Vocabulary("toy", tuple("abcd"), ("Animal", "Dog", "Cat", "Rain"), tuple("abcd"))


def labels(**label_sets: str) -> LabelTable:
    """Clip -> its class ids, one letter each."""
    return LabelTable.from_sets(label_sets, label_sets.values(), VOCABULARY)


BEFORE = labels(one="b", two="a", three="c", four="d")
# Missing: a (one), b (two), a (three), c (four). Given label c of three is false.
TRUTH = labels(one="ab", two="ab", three="a", four="cd")
AFTER = labels(four="bd", three="ac", two="ac", one="ab")
ROWS = [("two", "c", "I"), ("one", "a", "II"), ("three", "a", "II"), ("four", "b", "I+II")]


def ledger_of(*rows: tuple[str, str, str]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [()] * 3
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(JUDGED, columns, strict=True)})


LEDGER = ledger_of(*ROWS)


def test_precision_and_recall_of_additions_by_hand():
    judged = judge_additions(BEFORE, AFTER, LEDGER, TRUTH)
    assert (judged["n_added"], judged["n_labels_before"], judged["added_percent"]) == (4, 4, 100.0)
    assert (judged["n_clips_touched"], judged["n_classes_touched"]) == (4, 3)
    everything = judged["by_error"]["all"]
    assert (everything["right"], everything["missing"]) == (2, 4)
    assert (everything["precision"], everything["recall"]) == (2 / 4, 2 / 4)
    assert judged["by_error"]["I"] == {
        "added": 1, "judged": 1, "right": 0, "missing": 4, "precision": 0.0, "recall": 0.0,
    }  # fmt: skip
    assert (judged["by_error"]["II"]["precision"], judged["by_error"]["II"]["recall"]) == (1.0, 2 / 4)
    assert judged["by_error"]["I+II"]["precision"] == 0.0
    assert judged["labels_before"] == {"precision": 3 / 4, "recall": 3 / 7}
    assert judged["labels_after"] == {"precision": 5 / 8, "recall": 5 / 7}


def test_recall_of_a_type_is_taken_over_the_missing_labels_that_it_can_find():
    # Animal is the parent of Dog and Cat: `two` proposes b and c (Type I), `one` and `three` propose a (Type II).
    proposed = {
        "I": labels(one="", two="bc", three="", four="").matrix,
        "II": labels(one="a", two="", three="a", four="").matrix,
    }
    judged = judge_additions(BEFORE, AFTER, LEDGER, TRUTH, proposed=proposed)
    missing = {kind: figures["missing"] for kind, figures in judged["by_error"].items()}
    assert missing == {"I": 1, "II": 2, "I+II": 0, "all": 4}
    assert judged["by_error"]["II"]["recall"] == 2 / 2 and judged["by_error"]["all"]["recall"] == 2 / 4
    assert judged["n_missing_not_proposed"] == 1  # c of `four`, whose label Rain has no relative


def test_ledger_of_one_type_alone_counts_what_both_could_have_found():
    both = labels(one="a", two="b", three="", four="").matrix
    after, ledger = labels(one="ab", two="a", three="c", four="d"), ledger_of(("one", "a", "II"))
    judged = judge_additions(BEFORE, after, ledger, TRUTH, proposed={"I": both, "II": both})
    assert {kind: judged["by_error"][kind]["missing"] for kind in ("I", "II", "I+II")} == {"I": 0, "II": 2, "I+II": 0}


def test_additions_by_class_by_hand():
    animal, dog, cat, rain = judge_additions(BEFORE, AFTER, LEDGER, TRUTH)["by_class"]
    assert (animal["before"], animal["before_right"], animal["true"]) == (1, 1, 3)
    assert (animal["added"], animal["right"], animal["precision"], animal["recall"]) == (2, 2, 1.0, 1.0)
    assert (dog["precision"], dog["recall"], dog["missing"]) == (0.0, 0.0, 1)
    assert (cat["before"], cat["before_right"], cat["true"], cat["recall"]) == (1, 0, 1, 0.0)
    assert (rain["added"], rain["precision"], rain["recall"]) == (0, None, None)


def test_clips_without_truth_are_counted_and_left_out_of_every_rate():
    judged = judge_additions(BEFORE, AFTER, LEDGER, TRUTH.select(["three", "one"]))
    assert judged["n_clips_without_truth"] == 2
    assert judged["by_error"]["all"] == {
        "added": 4, "judged": 2, "right": 2, "missing": 2, "precision": 1.0, "recall": 1.0,
    }  # fmt: skip
    assert judged["labels_before"] == {"precision": 1 / 2, "recall": 1 / 3}
    assert [figures["before_judged"] for figures in judged["by_class"]] == [0, 1, 1, 0]


def test_without_truth_only_counts_are_told():
    judged = judge_additions(BEFORE, AFTER, LEDGER)
    assert judged["by_error"]["II"] == {"added": 2}
    assert "labels_before" not in judged and "precision" not in judged["by_class"][0]


def test_a_list_that_gained_nothing_is_judged_too():
    judged = judge_additions(BEFORE, BEFORE, ledger_of(), TRUTH)
    assert judged["n_added"] == 0 and judged["by_error"]["all"]["precision"] is None
    assert judged["by_error"]["all"]["recall"] == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_judgement_equals_a_loop_over_sets(seed):
    rng = np.random.default_rng(seed)
    ids = [f"clip{i}" for i in range(6)]
    given_labels, true = rng.random((6, 4)) < 0.4, rng.random((6, 4)) < 0.5
    added = (rng.random((6, 4)) < 0.4) & ~given_labels
    pairs = rng.permutation(np.argwhere(added)).tolist()
    ledger = [(ids[i], VOCABULARY.class_ids[k], ["I", "II", "I+II"][(i + k) % 3]) for i, k in pairs]
    shuffled = rng.permutation(6)
    before = LabelTable(ids, given_labels, VOCABULARY)
    after = LabelTable([ids[i] for i in shuffled], (given_labels | added)[shuffled], VOCABULARY)
    truth = LabelTable(ids, true, VOCABULARY).select([ids[i] for i in shuffled])
    judged = judge_additions(before, after, ledger_of(*ledger), truth)

    true_pairs = {(ids[i], VOCABULARY.class_ids[k]) for i, k in zip(*true.nonzero(), strict=True)}
    given_pairs = {(ids[i], VOCABULARY.class_ids[k]) for i, k in zip(*given_labels.nonzero(), strict=True)}
    for error in ("I", "II", "I+II", "all"):
        pairs = {(clip, label) for clip, label, kind in ledger if error in (kind, "all")}
        found = judged["by_error"][error]
        assert (found["added"], found["right"]) == (len(pairs), len(pairs & true_pairs))
        assert found["missing"] == len(true_pairs - given_pairs)
    hits = len((given_pairs | {(clip, label) for clip, label, _ in ledger}) & true_pairs)
    if true_pairs:
        assert judged["labels_after"]["recall"] == hits / len(true_pairs)


def test_a_ledger_that_contradicts_the_lists_is_refused():
    with pytest.raises(InputError, match=r"enhanced-25p: the ledger and the change of the labels differ in 1 labels"):
        judge_additions(BEFORE, AFTER, LEDGER[1:], TRUTH, "enhanced-25p")
    with pytest.raises(InputError, match="differ in 4 labels"):  # four labels were removed
        judge_additions(AFTER, BEFORE, ledger_of())
    with pytest.raises(InputError, match="differ in 1 labels"):  # the label was there already
        judge_additions(BEFORE, BEFORE, ledger_of(("two", "a", "I")))
    with pytest.raises(InputError, match="1 additions are listed twice in the ledger"):
        judge_additions(BEFORE, AFTER, ledger_of(*ROWS, ROWS[0]), TRUTH)


def test_lists_of_other_clips_are_refused():
    with pytest.raises(ClipMismatch, match="1 clips are in only one of the two lists: four"):
        judge_additions(BEFORE.select(["one", "two", "three"]), AFTER, LEDGER)
    with pytest.raises(ClipMismatch, match="clips of 1 added labels are not in the list: five"):
        judge_additions(BEFORE, AFTER, ledger_of(*ROWS, ("five", "a", "I")))
    with pytest.raises(ClipMismatch, match="none of the 4 enhanced clips has true labels"):
        judge_additions(BEFORE, AFTER, LEDGER, labels(elsewhere="a"))
    with pytest.raises(UnknownClass, match="class 'e' is not in the vocabulary"):
        judge_additions(BEFORE, AFTER, ledger_of(*ROWS, ("one", "e", "I")))


def test_ledger_file_is_read_by_column_name_and_checked(tmp_path):
    path = tmp_path / "ledger.csv.gz"
    path.write_bytes(gzip.compress(b"error,clip_id,score,class_id\nI,one,0.5,a\n"))
    assert read_ledger(path, JUDGED, only=True).equals(ledger_of(("one", "a", "I")))
    path.write_bytes(gzip.compress(b"clip_id,class_id\none,a\n"))
    with pytest.raises(InputError, match=r"ledger.csv.gz: column 'error' is missing"):
        read_ledger(path, JUDGED, only=True)
    path.write_bytes(b"clip_id,class_id,error\n")
    with pytest.raises(InputError, match="its content is not packed"):
        read_ledger(path, JUDGED, only=True)
