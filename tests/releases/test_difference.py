"""What two label lists have in common, on lists small enough to count by hand and on published ones."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import cohen_kappa_score

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.ledger import SCHEMA
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import Inputs
from pseudolabel.release import _side, compare
from pseudolabel.release import main as release
from pseudolabel.release_options import DiffOptions
from pseudolabel.releases.difference import (
    Side,
    agreement,
    difference_lines,
    list_difference,
    minus,
    psla_list,
    reached,
    violated_pairs,
)

SPEECH, CHILD, MUSIC = "/m/speech", "/m/child", "/m/music"
THREE = Vocabulary("three", (SPEECH, CHILD, MUSIC), ("Speech", "Child speech", "Music"), (SPEECH, CHILD, MUSIC))
FAMILY = Ontology.from_nodes([
    Node(SPEECH, "Speech", (CHILD,), ()), Node(CHILD, "Child speech", (), ()), Node(MUSIC, "Music", (), ()),
])  # fmt: skip


def side(name: str, labels: dict[str, tuple[str, ...]], ledger: list[tuple] = ()) -> Side:
    """Return a list; `ledger` rows are (clip, class, type, score)."""
    rows = [
        {**dict.fromkeys(SCHEMA.names), "clip_id": clip, "class_id": label, "error": error, "because": "", "round": 1,
         "score": score}
        for clip, label, error, score in ledger
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=SCHEMA) if rows else None
    return Side(name, LabelTable.from_sets(labels, labels.values(), THREE), table)


def test_psla_json_of_a_release_has_the_ids_that_its_run_json_gives(tmp_path):
    labels = LabelTable.from_sets(("a/x", "b/x"), ({SPEECH}, {SPEECH, MUSIC}), THREE)
    labels.write(tmp_path / "psla.json", "psla", wav="/audio/{clip_id}.wav")
    assert psla_list(tmp_path / "psla.json", THREE) is None
    (tmp_path / "run.json").write_text('{"wav": "/audio/{clip_id}.wav"}')
    assert psla_list(tmp_path / "psla.json", THREE) == labels
    labels.write(tmp_path / "other.csv")
    THREE.write(tmp_path / "vocabulary.csv")
    lists = (tmp_path / "psla.json", tmp_path / "other.csv")
    sides = [_side(DiffOptions(lists=lists), path.name, path, THREE, Inputs()) for path in lists]
    assert sides[0].labels == sides[1].labels == labels
    (tmp_path / "run.json").write_text('{"wav": "/elsewhere/{clip_id}.wav"}')
    assert psla_list(tmp_path / "psla.json", THREE) is None


WEAK = side("weak", {"a": (CHILD,), "b": (MUSIC,), "c": (SPEECH, MUSIC), "d": (), "only": (MUSIC,)})
RICH = side(
    "rich",
    {"d": (), "a": (SPEECH, CHILD), "b": (CHILD,), "c": (SPEECH, MUSIC), "other": ()},
    [("a", SPEECH, "II", math.nan), ("b", CHILD, "I", 0.75), ("other", MUSIC, "I", 0.5)],
)


def test_every_count_is_what_one_counts_by_hand():
    found = list_difference(WEAK, RICH, FAMILY)
    assert found["clips"] == {"both": 4, "only_first": 1, "only_second": 1, "under_another_id": 0}
    assert found["labels"] == {
        "first": 4, "second": 5, "kept": 3, "added": 2, "removed": 1, "added_that_the_ontology_implies": 1,
        "a_clip_first": 1.0, "a_clip_second": 1.25,
    }  # fmt: skip
    assert found["violations"] == {"weak": {"labels": 1, "clips": 1}, "rich": {"labels": 1, "clips": 1}}
    assert [(row["list"], row["name"], row["missing_name"], row["clips"]) for row in found["violated_pairs"]] == [
        ("weak", "Child speech", "Speech", 1), ("rich", "Child speech", "Speech", 1)
    ]  # fmt: skip
    assert [(row["kept"], row["added"], row["removed"]) for row in found["by_class"]] == [
        (1, 1, 0), (1, 1, 0), (1, 0, 1)
    ]  # fmt: skip
    agreed = found["agreement"]
    assert agreed["clips_alike"] == 2 / 4
    assert agreed["jaccard"] == pytest.approx((1 / 2 + 0 + 1 + 1) / 4)
    # 12 cells: 4 and 5 labels, 3 in both, 9 alike; by chance (4 * 5 + 8 * 7) / 144
    assert agreed["kappa"] == pytest.approx((9 / 12 - 76 / 144) / (1 - 76 / 144))


def test_additions_are_confirmed_by_the_other_list_type_by_type():
    found = list_difference(RICH, side("second", {"a": (SPEECH,), "b": (MUSIC,)}), FAMILY)["confirmed"]["rich"]
    assert [(row["additions"], row["confirmed"], row["in_both"]) for row in found] == [
        ("all", 1, 2), ("type I", 0, 1), ("type II", 1, 1), ("score 0.750 to 0.750", 0, 1), ("by rule", 1, 1)
    ]  # fmt: skip
    turned = list_difference(side("second", {"a": (SPEECH,), "b": (MUSIC,)}), RICH, FAMILY)["confirmed"]["rich"]
    assert turned == found


def test_ids_of_another_form_are_the_same_clips_and_their_additions_are_found():
    ours = side("ours", {"abcdefghijk": (SPEECH,)}, [("abcdefghijk", SPEECH, "II", 0.5)])
    theirs = side("theirs", {"Yabcdefghijk.wav": (SPEECH,)})
    for pair in ((ours, theirs), (theirs, ours)):
        found = list_difference(*pair, FAMILY)
        assert found["clips"]["under_another_id"] == 1 and found["labels"]["kept"] == 1
        assert found["confirmed"]["ours"][0]["confirmed"] == 1


def test_lists_of_other_clips_are_refused():
    with pytest.raises(ClipMismatch, match="it has no clip of weak"):
        list_difference(WEAK, side("far", {"z": ()}), FAMILY)


matrices = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=n, max_size=n)
)


@settings(max_examples=60, deadline=None)
@given(matrices, st.randoms(use_true_random=False))
def test_fast_counts_equal_plain_loops(rows, random):
    first = np.array(rows)
    second = np.array([[random.random() < 0.5 for _ in row] for row in rows])
    ancestors = np.triu(np.array([[random.random() < 0.5 for _ in range(4)] for _ in range(4)]), 1)
    a, b, up = (sparse.csr_array(matrix) for matrix in (first, second, ancestors))
    assert (minus(a, b).toarray() == (first & ~second)).all()
    expected = [[any(row[c] and ancestors[c, k] for c in range(4)) for k in range(4)] for row in first]
    assert (reached(a, up).toarray() == expected).all()
    pairs = {(c, k): n for c, k, n in violated_pairs(a, up)}
    for c in range(4):
        for k in range(4):
            lacking = sum(row[c] and not row[k] for row in first) if ancestors[c, k] else 0
            assert pairs.get((c, k), 0) == lacking
    found = agreement(a, b)
    if found["kappa"] is not None:
        assert found["kappa"] == pytest.approx(cohen_kappa_score(first.ravel(), second.ravel()))
    jaccard = [(x & y).sum() / (x | y).sum() if (x | y).any() else 1 for x, y in zip(first, second, strict=True)]
    assert found["jaccard"] == pytest.approx(np.mean(jaccard))
    assert found["clips_alike"] == pytest.approx((first == second).all(axis=1).mean())


def options(*lists: Path, **others: object) -> DiffOptions:
    return DiffOptions(lists=lists, **{"work": Path("no-such"), **others})


def test_the_published_evaluation_list_and_its_relabelling(shared_data, tmp_path, capsys):
    audioset = shared_data / "audioset"
    out = tmp_path / "difference"
    compare(options(audioset / "eval_segments.csv", audioset / "audioset_r_eval.tsv.xz", out=out))
    said = capsys.readouterr().out
    assert "9,544 in both, 10,827 only in the first, 0 only in the second" in said and "(7.26)" in said
    found = json.loads((out / "difference.json").read_text())
    assert found["labels"]["kept"] + found["labels"]["removed"] == found["labels"]["first"]
    assert found["labels"]["kept"] + found["labels"]["added"] == found["labels"]["second"]
    with open(out / "by_class.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 527 and sum(int(row["added"]) for row in rows) == found["labels"]["added"]
    with open(out / "violated_pairs.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) > 500
    assert (out / "confirmed.csv").read_text() == "list,additions,in_both,confirmed,share\n"


def test_a_list_with_itself_and_a_folder_without_labels_are_named(tmp_path):
    THREE.write(tmp_path / "classes.csv")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"clip_id,labels\nx,{SPEECH}\n")
    vocabulary = {"vocabulary": str(tmp_path / "classes.csv")}
    with pytest.raises(InputError, match="both are the same"):
        compare(options(tmp_path / "a.csv", tmp_path / "a.csv", **vocabulary))
    with pytest.raises(InputError, match=r"there is no labels\.csv"):
        compare(options(tmp_path / "a.csv", tmp_path, **vocabulary))
    (tmp_path / "b.csv").write_text("clip_id,labels\nx,Oboe\n")
    with pytest.raises(InputError, match=r"b\.csv:2.*Oboe"):
        compare(options(tmp_path / "a.csv", tmp_path / "b.csv", **vocabulary))


def test_alike_lists_say_so():
    found = list_difference(WEAK, side("twin", {"a": (CHILD,), "b": (MUSIC,)}), FAMILY)
    assert found["agreement"]["kappa"] == found["agreement"]["jaccard"] == 1
    assert any(line.split()[:2] == ["removed", "0:"] and "nothing" in line for line in difference_lines(found))


def test_lists_of_one_name_are_told_apart(tmp_path, capsys, monkeypatch):
    THREE.write(tmp_path / "classes.csv")
    for name, labels in (("one", CHILD), ("two", f"{CHILD};{SPEECH}")):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "labels.csv").write_text(f"clip_id,labels\nx,{labels}\n")
    table = tmp_path / "ontology.csv"
    rows = f"{SPEECH},Speech,{CHILD},\n{CHILD},Child speech,,\n{MUSIC},Music,,\n"
    table.write_text(f"class_id,name,child_ids,restrictions\n{rows}")
    given = {"vocabulary": str(tmp_path / "classes.csv"), "ontology": table, "out": tmp_path / "found"}
    paths = (tmp_path / "one" / "deep" / "labels.csv", tmp_path / "two" / "deep" / "labels.csv")
    compare(options(*paths, **given))
    found = json.loads((tmp_path / "found" / "difference.json").read_text())
    assert found["violations"] == {
        "one/deep/labels.csv": {"labels": 1, "clips": 1}, "two/deep/labels.csv": {"labels": 0, "clips": 0}
    }  # fmt: skip
    monkeypatch.chdir(tmp_path / "one" / "deep")
    capsys.readouterr()
    compare(options(Path("."), paths[1], **(given | {"out": None})))
    assert capsys.readouterr().out.startswith("deep -> labels.csv\n")


def test_the_list_before_the_additions_is_no_second_opinion_on_them():
    before = side("before", {"a": (CHILD,), "b": (), "c": (SPEECH, MUSIC), "d": ()})
    assert list_difference(before, RICH, FAMILY)["confirmed"] == {}
    other = side("other", {"a": (CHILD,), "b": (), "c": (SPEECH,), "d": ()})
    assert list_difference(other, RICH, FAMILY)["confirmed"]["rich"][0]["confirmed"] == 0


def test_labels_that_are_left_out_are_said(tmp_path, capsys):
    THREE.write(tmp_path / "classes.csv")
    (tmp_path / "a.csv").write_text(f"clip_id,labels\nx,{SPEECH}\n")
    (tmp_path / "b.csv").write_text(f"clip_id,labels\nx,{SPEECH};Oboe\n")
    given = {"vocabulary": str(tmp_path / "classes.csv"), "unknown_labels": "skip", "ontology": tmp_path / "o.csv"}
    (tmp_path / "o.csv").write_text(
        "class_id,name,child_ids,restrictions\n"
        + "".join(f"{class_id},{name},,\n" for class_id, name in zip(THREE.class_ids, THREE.names, strict=True))
    )
    compare(options(tmp_path / "a.csv", tmp_path / "b.csv", **given))
    said = capsys.readouterr().err
    assert "b.csv: 1 labels left out" in said and "classes.csv: Oboe (1)" in said


def test_a_dry_run_refuses_an_output_that_the_run_would_not_replace(tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("clip_id,labels\na,/m/09x0r\n")
    lists = [str(tmp_path / "one.csv"), str(tmp_path / "two.csv")]
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("x")
    assert release(["diff", *lists, "--out", str(tmp_path / "there"), "--dry-run"]) == 2
    assert "there: output exists" in capsys.readouterr().err
    assert release(["diff", *lists, "--out", str(tmp_path / "new"), "--dry-run"]) == 0
    assert not (tmp_path / "new").exists()
