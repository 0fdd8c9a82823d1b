"""The verb `enhance`: a world small enough to check by hand, Algorithm 2 as a nested loop, files and error lines."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pseudolabel.labels.enhancement as engine
from pseudolabel.enhance import EnhanceOptions, enhance, main
from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.ledger import read_ledger
from pseudolabel.labels.ontology import Node, Ontology
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.scores.store import ScoreStore

# wild is abstract and no class; howl is a child of dog and of wolf.
ONTOLOGY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wild,
dog,Dog,bark;howl,
wild,Wild animals,wolf,abstract
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
vehicle,Vehicle,,
"""
SIX = Vocabulary("six", *(("animal", "dog", "wolf", "bark", "howl", "vehicle"),) * 3)
CLIPS = ("c1", "c2", "c3", "c4", "c5")
SETS = [{"dog"}, {"howl"}, {"animal", "dog"}, {"animal", "bark", "vehicle"}, {"wolf", "bark"}]
LABELS = LabelTable.from_sets(CLIPS, SETS, SIX)
SCORES = np.array(
    [
        [0.750, 0.500, 0.000, 0.75, 0.250, 0.875],
        [0.500, 0.750, 0.250, 0.00, 0.500, 0.000],
        [0.500, 0.250, 0.125, 0.50, 0.625, 0.000],
        [0.500, 0.500, 0.250, 0.50, 1.000, 0.500],
        [0.625, 0.375, 0.500, 0.50, 0.500, 0.000],
    ]
)
# Thresholds at the mean: dog 3/8, all others 1/2. c3's bark and c2's animal are exactly at theirs: not added.
ADDED = {
    ("c1", "animal"): ("II", "dog"),
    ("c1", "bark"): ("I", "dog"),
    ("c2", "dog"): ("II", "howl"),
    ("c3", "howl"): ("I", "dog"),
    ("c4", "dog"): ("I+II", "animal;bark"),
    ("c5", "animal"): ("II", "wolf;bark"),
}


@pytest.fixture
def ontology(tmp_path) -> Ontology:
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    return Ontology.load(tmp_path / "ontology.csv")


@pytest.fixture
def work(tmp_path):
    """A work folder whose score store has other clips, other classes and another order than the labels."""
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    LABELS.write(folder / "labels.csv")
    SIX.write(folder / "vocabulary.csv")
    write_scores(folder / "scores.h5")
    return folder


def write_scores(path, clips=("c4", "c2", "other", "c1", "c5", "c3"), classes=("x", *SIX.class_ids[::-1]), **options):
    scores = np.ones((len(clips), len(classes)))
    for row, clip in enumerate(clips):
        for column, class_id in enumerate(classes):
            if clip in CLIPS and class_id in SIX.index:
                scores[row, column] = SCORES[CLIPS.index(clip), SIX.index[class_id]]
    ScoreStore.write(path, clips, classes, {"clip": scores}, **options)


def run(work, *options: str) -> int:
    return main(["--work", str(work), "--ontology", str(work.parent / "ontology.csv"), *options])


def additions(ledger) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row["clip_id"], row["class_id"]): (row["error"], row["because"]) for row in ledger.to_pylist()}


def test_five_clips_get_the_labels_worked_out_by_hand(ontology):
    found = enhance(LABELS, SCORES, ontology)
    assert additions(found.ledger) == ADDED
    assert found.thresholds.tolist() == [1 / 2, 3 / 8, 1 / 2, 1 / 2, 1 / 2, 1 / 2]
    assert [set(labels) for labels in found.labels.label_sets()] == [
        {"animal", "dog", "bark"}, {"dog", "howl"}, {"animal", "dog", "howl"},
        {"animal", "dog", "bark", "vehicle"}, {"animal", "wolf", "bark"},
    ]  # fmt: skip
    assert found.missing == ()


def test_ledger_runs_by_clip_then_class_with_the_evidence(ontology):
    ledger = enhance(LABELS, SCORES, ontology).ledger
    assert list(additions(ledger)) == list(ADDED)
    names = "clip_id class_id error because score threshold probability round window_s onset_s"
    assert ledger.column_names == names.split()
    assert list(ledger.to_pylist()[2].values()) == ["c2", "dog", "II", "howl", 0.75, 0.375, None, 1, None, None]


def test_original_labels_and_ledger_make_the_enhanced_labels(ontology):
    found = enhance(LABELS, SCORES, ontology, EnhanceOptions("10p"))
    sets = [set(labels) for labels in LABELS.label_sets()]
    for clip_id, class_id in additions(found.ledger):
        assert class_id not in sets[LABELS.row_of[clip_id]]
        sets[LABELS.row_of[clip_id]].add(class_id)
    assert found.labels == LabelTable.from_sets(CLIPS, sets, SIX)


def test_summary_has_the_figures_of_table_viii(ontology):
    summary = enhance(LABELS, SCORES, ontology).summary
    assert (summary["labels_before"], summary["labels_after"], summary["clips_changed"]) == (9, 15, 5)
    assert summary["added"] == {"classes_touched": 4, "labels_added": 6, "added_percent": round(600 / 9, 4)}
    assert summary["added_by_type"]["I"] == {"classes_touched": 3, "labels_added": 3, "added_percent": 33.3333}
    assert summary["added_by_type"]["II"] == {"classes_touched": 2, "labels_added": 4, "added_percent": 44.4444}
    assert summary["added_by_both_types"] == 1
    dog = summary["by_class"][1]
    assert (dog["before"], dog["added"], dog["added_I"], dog["added_II"], dog["threshold"]) == (2, 2, 1, 2, 0.375)


def test_each_type_alone_adds_its_own(ontology):
    first = enhance(LABELS, SCORES, ontology, EnhanceOptions(errors=("I",)))
    second = enhance(LABELS, SCORES, ontology, EnhanceOptions(errors=("II",)))
    assert additions(first.ledger) == {
        ("c1", "bark"): ("I", "dog"), ("c3", "howl"): ("I", "dog"), ("c4", "dog"): ("I", "animal"),
    }  # fmt: skip
    assert {pair for pair, (error, _) in ADDED.items() if "II" in error} == set(additions(second.ledger))
    assert list(first.summary["added_by_type"]) == ["I"]


def test_parents_propose_less_than_ancestors(ontology):
    found = enhance(LABELS, SCORES, ontology, EnhanceOptions(errors=("II",), type2="parents"))
    assert additions(found.ledger)["c5", "animal"] == ("II", "wolf")  # bark's only parent is dog


def test_class_below_min_positives_is_not_added_and_named(ontology):
    found = enhance(LABELS, SCORES, ontology, EnhanceOptions(min_positives=2))
    without = [row["class_id"] for row in found.summary["classes_without_threshold"]]
    assert without == ["wolf", "howl", "vehicle"]
    assert {class_id for _, class_id in additions(found.ledger)} == {"animal", "bark", "dog"}
    assert found.summary["classes_without_threshold"][0]["reason"] == "1 labelled clips with scores, fewer than 2"


def test_class_below_min_positives_may_have_a_threshold_of_its_own(work, capsys):
    options = ("--min-positives", "2", "--fallback-threshold", "0.25", "--out", str(work / "fallback"))
    assert run(work, *options) == 0
    named = "wolf; howl; vehicle"
    assert f"  threshold    0.25 for 3 classes with too few clips: {named}\n" in capsys.readouterr().out
    with open(work / "fallback" / "thresholds.csv", newline="") as file:
        rows = {row["class_id"]: (row["threshold"], row["reason"]) for row in csv.DictReader(file)}
    reason = "too few labelled clips with scores: --fallback-threshold"
    assert [rows[k] for k in ("wolf", "howl", "vehicle")] == [("0.25", reason)] * 3
    assert rows["animal"] == ("0.5", "")
    assert json.loads((work / "fallback" / "run.json").read_text())["options"]["fallback_threshold"] == 0.25
    found = additions(read_ledger(work / "fallback" / "ledger.parquet"))
    assert found["c3", "howl"] == ("I", "dog") and set(found) > {pair for pair in ADDED if pair[1] != "howl"}


def test_store_in_another_order_with_more_clips_and_classes_gives_the_same(ontology, work):
    found = enhance(LABELS, ScoreStore.open(work / "scores.h5"), ontology)
    assert found.ledger.equals(enhance(LABELS, SCORES, ontology).ledger)


def test_small_blocks_give_the_same_ledger(ontology, monkeypatch):
    whole = enhance(LABELS, SCORES, ontology)
    monkeypatch.setattr(engine, "BLOCK_CLIPS", 2)
    parts = enhance(LABELS, SCORES, ontology)
    assert parts.ledger.equals(whole.ledger)
    assert parts.labels == whole.labels
    assert parts.summary == whole.summary


def test_clip_without_scores_keeps_its_labels_and_is_listed(ontology):
    scores = SCORES.copy()
    scores[0] = np.nan
    found = enhance(LABELS, scores, ontology)
    assert found.missing == (("c1", "scores are NaN"),)
    assert found.labels.label_sets()[0] == ("dog",)
    assert found.thresholds[1] == 0.25  # c3 alone
    with pytest.raises(ClipMismatch, match="1 of 5 labelled clips have no scores: c1"):
        enhance(LABELS, scores, ontology, EnhanceOptions(strict=True))


def test_class_absent_from_the_scores_gets_no_threshold_and_is_named(ontology, tmp_path):
    write_scores(tmp_path / "s.h5", CLIPS, ("dog", "animal"))
    found = enhance(LABELS, ScoreStore.open(tmp_path / "s.h5"), ontology)
    assert {class_id for _, class_id in additions(found.ledger)} == {"dog", "animal"}
    absent = [row["class_id"] for row in found.summary["classes_without_threshold"]]
    assert absent == ["wolf", "bark", "howl", "vehicle"]
    assert found.summary["classes_without_threshold"][0]["reason"] == "not among the scored classes"


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [(3.5, "apply the sigmoid"), (-0.1, "apply the sigmoid"), (np.inf, "sigmoid"), (np.nan, "Score this clip again")],
)
def test_scores_that_are_no_probabilities_are_refused(ontology, wrong, remedy):
    scores = SCORES.copy()
    scores[4, 2] = wrong
    with pytest.raises(InputError, match=rf"c5: the score {wrong:g} of class 'wolf' is not in \[0, 1\]\. .*{remedy}"):
        enhance(LABELS, scores, ontology)


def test_other_clips_other_classes_and_other_shapes_are_refused(ontology, tmp_path):
    write_scores(tmp_path / "clips.h5", ("p", "q"))
    remedy = r"\. Give the scores of the same clips"
    message = r"clips\.h5: not one of the 5 labelled clips \(c1, c2, c3 and 2 more\).* 2 scored ones \(p, q\)" + remedy
    with pytest.raises(ClipMismatch, match=message):
        enhance(LABELS, ScoreStore.open(tmp_path / "clips.h5"), ontology)
    write_scores(tmp_path / "classes.h5", CLIPS, ("x", "y"))
    remedy = r"\. Give the --vocabulary that the scores were made with"
    message = (
        r"classes\.h5: not one of the 6 classes \(animal, dog, wolf and 3 more\).* 2 scored ones \(x, y\)" + remedy
    )
    with pytest.raises(InputError, match=message):
        enhance(LABELS, ScoreStore.open(tmp_path / "classes.h5"), ontology)
    with pytest.raises(InputError, match=r"scores have the shape \(4, 6\), labels \(5, 6\)"):
        enhance(LABELS, SCORES[:4], ontology)


def algorithm_2(below, classes, label_sets, scores, rule, errors, type2):
    """PSLA's Algorithm 2 as a nested loop over clips, labels and relations; `below` lists each node's children."""

    def children(node):
        return {c for child in below[node] for c in ({child} if child in classes else children(child))}

    def descendants(node):
        return {c for child in below[node] for c in {child} | descendants(child)}

    thresholds = {}
    for k in classes:
        values = sorted(Fraction(scores[i][k]) for i, labels in enumerate(label_sets) if k in labels)
        if values and rule == "mean":
            thresholds[k] = float(sum(values) / len(values))
        elif values:
            place = Fraction(len(values) - 1) * int(rule[:-1]) / 100
            low, high = values[int(place)], values[min(int(place) + 1, len(values) - 1)]
            thresholds[k] = float(low + (high - low) * (place - int(place)))
    above = children if type2 == "parents" else descendants
    found = {}
    for i, labels in enumerate(label_sets):
        for label in labels:
            proposed = {"I": children(label), "II": {k for k in classes if label in above(k)}}
            for error in errors:
                for k in (proposed[error] & set(classes)) - set(labels):
                    if scores[i][k] > thresholds.get(k, float("inf")):
                        found.setdefault((str(i), str(k)), {}).setdefault(error, set()).add(label)
    return found


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_enhance_equals_the_nested_loop_on_random_worlds(data):
    n_nodes, n_clips = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 6))
    pairs = st.tuples(st.integers(0, n_nodes - 1), st.integers(0, n_nodes - 1)).filter(lambda pair: pair[0] < pair[1])
    edges = data.draw(st.sets(pairs))
    classes = data.draw(st.permutations(range(n_nodes)))[: data.draw(st.integers(1, n_nodes))]  # the rest are holes
    label_sets = data.draw(st.lists(st.sets(st.sampled_from(classes)), min_size=n_clips, max_size=n_clips))
    eighths = st.lists(st.integers(0, 8), min_size=n_nodes, max_size=n_nodes)
    scores = np.array(data.draw(st.lists(eighths, min_size=n_clips, max_size=n_clips))) / 8
    rule = data.draw(st.sampled_from(["mean", "25p", "50p", "0p"]))
    errors = data.draw(st.sampled_from([("I",), ("II",), ("I", "II")]))
    type2 = data.draw(st.sampled_from(["parents", "ancestors"]))

    below = {k: sorted(child for parent, child in edges if parent == k) for k in range(n_nodes)}
    world = Ontology.from_nodes(Node(str(k), str(k), tuple(map(str, below[k]))) for k in range(n_nodes))
    vocabulary = Vocabulary("random", *(tuple(map(str, classes)),) * 3)
    labels = LabelTable.from_sets(map(str, range(n_clips)), [map(str, chosen) for chosen in label_sets], vocabulary)
    options = EnhanceOptions(rule, errors, type2=type2)
    found = enhance(labels, scores[:, classes].astype(np.float16), world, options)

    expected = {}
    for pair, speak in algorithm_2(below, classes, label_sets, scores, rule, errors, type2).items():
        because = sorted(set().union(*speak.values()), key=classes.index)
        expected[pair] = ("+".join(sorted(speak)), ";".join(map(str, because)))
    assert additions(found.ledger) == expected
    enhanced = [set(map(str, chosen)) for chosen in label_sets]
    for clip_id, class_id in expected:
        enhanced[int(clip_id)].add(class_id)
    assert [set(labels) for labels in found.labels.label_sets()] == enhanced


def test_command_writes_every_file_and_says_what_it_did(work, capsys):
    assert run(work, "--threshold", "mean") == 0
    out = work / "enhanced-mean"
    names = "labels.csv ledger.csv.gz ledger.parquet missing.csv outside.csv run.json summary.json thresholds.csv"
    assert sorted(path.name for path in out.iterdir()) == names.split()
    assert LabelTable.read(out / "labels.csv", SIX).label_sets()[1] == ("dog", "howl")
    assert additions(read_ledger(out / "ledger.parquet")) == ADDED
    summary = json.loads((out / "summary.json").read_text())
    assert summary["labels_after"] == 15
    assert json.loads((out / "run.json").read_text())["options"]["threshold"] == "mean"
    printed = capsys.readouterr()
    assert "9 before, 15 after" in printed.out
    assert 5 <= len(printed.out.splitlines()) <= 12
    assert printed.err == ""


def test_ledger_as_csv_says_the_same_as_parquet(work):
    out = work / "out"
    run(work, "--threshold", "33.33333333p", "--out", str(out))  # dog's threshold needs more than ten digits
    with gzip.open(out / "ledger.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    stored = read_ledger(out / "ledger.parquet").to_pylist()
    assert len(rows) == len(stored) > 0
    for row, known in zip(rows, stored, strict=True):
        assert list(row) == list(known)
        for name in ("score", "threshold", "round"):
            assert float(row[name]) == known[name]
        for name in ("clip_id", "class_id", "error", "because"):
            assert row[name] == known[name]
        assert row["probability"] == row["window_s"] == row["onset_s"] == ""


def test_thresholds_file_holds_17_digits_and_the_reasons(work):
    run(work, "--threshold", "10p", "--min-positives", "2")
    with open(work / "enhanced-10p" / "thresholds.csv", newline="") as file:
        rows = {row["class_id"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(SIX.class_ids)
    assert float(rows["dog"]["threshold"]) == np.percentile([0.25, 0.5], 10)
    assert rows["wolf"]["threshold"] == ""
    assert "fewer than 2" in rows["wolf"]["reason"]


def test_same_inputs_give_the_same_bytes(work):
    for folder in ("one", "two"):
        assert run(work, "--out", str(work / folder)) == 0
    for path in (work / "one").iterdir():
        if path.name != "run.json":
            assert sha256(path) == sha256(work / "two" / path.name), path.name


def test_packed_ledger_carries_no_time(work):
    run(work)
    assert (work / "enhanced-mean" / "ledger.csv.gz").read_bytes()[4:8] == bytes(4)


def test_missing_clips_are_listed_counted_and_an_error_when_strict(work, capsys):
    write_scores(work / "scores.h5", ("c5", "c2", "c3"), overwrite=True)
    assert run(work) == 0
    assert (work / "enhanced-mean" / "missing.csv").read_text() == "clip_id,reason\nc1,no scores\nc4,no scores\n"
    assert "2 clips: they keep their labels (missing.csv)" in capsys.readouterr().out
    assert run(work, "--strict", "--overwrite") == 2
    assert "2 of 5 labelled clips have no scores: c1, c4" in capsys.readouterr().err


def test_second_run_needs_overwrite(work, capsys):
    assert run(work) == 0
    before = sha256(work / "enhanced-mean" / "ledger.parquet")
    assert run(work) == 2
    assert "enhanced-mean: output exists. Give --overwrite" in capsys.readouterr().err
    assert run(work, "--errors", "I", "--overwrite") == 0
    assert sha256(work / "enhanced-mean" / "ledger.parquet") != before


def test_overwrite_never_replaces_a_folder_of_something_else(work, capsys):
    assert run(work, "--out", str(work), "--overwrite") == 2
    assert "not a folder that enhance wrote" in capsys.readouterr().err
    assert (work / "labels.csv").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "25"], "--threshold: no threshold rule '25': did you mean 25p?"),
        (["--threshold", "abc"], "--threshold: no threshold rule 'abc'. Give mean, median, a percentile"),
        (["--threshold", "101p"], "'101p' is not between 0p and 100p"),
        (["--labels", "absent.csv"], "absent.csv: no such file"),
        (["--scores", "absent.h5"], "absent.h5: no such file"),
        (["--vocabulary", "audioste"], "no vocabulary 'audioste'"),
        (["--vocabulary", "audioset"], "labels.csv:6: class 'wolf' is not in the vocabulary 'audioset' (527"),
    ],
)
def test_bad_options_end_with_code_2_one_line_and_nothing_written(work, capsys, options, message):
    before = sorted(path.name for path in work.iterdir())
    assert run(work, *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(path.name for path in work.iterdir()) == before


@pytest.mark.parametrize("options", [{"errors": ()}, {"errors": ("III",)}, {"type2": "cousins"}, {"threshold": "x"}])
def test_options_are_checked_when_made(options):
    with pytest.raises(InputError):
        EnhanceOptions(**options)


def test_verb_imports_no_torch():
    code = "import sys, pseudolabel.enhance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
