"""The command `enhance`: thresholds from elsewhere, sweep, dry run, review, undo, soft targets, their error lines."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pseudolabel import artefacts
from pseudolabel.enhance import EnhanceFilesOptions, EnhanceOptions, main
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.review import main as review_main
from pseudolabel.scores.store import ScoreStore

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
N_CLIPS = 60
ROOT = Path(__file__).resolve().parents[1]
TABLES = ("labels.csv", "missing.csv", "outside.csv", "thresholds.csv")
ADDITIONS = (*TABLES, "ledger.csv.gz", "ledger.parquet", "summary.json")


@pytest.fixture
def work(tmp_path):
    """A work folder of random labels and scores of clips and 5 s windows."""
    folder, rng = tmp_path / "work", np.random.default_rng(5)
    folder.mkdir()
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    clips = [f"-c{i:02d}" for i in range(N_CLIPS)]
    LabelTable(clips, rng.random((N_CLIPS, 6)) < 0.3, SIX).write(folder / "labels.csv")
    SIX.write(folder / "vocabulary.csv")
    windows = rng.random((N_CLIPS, 2, 6))
    ScoreStore.write(folder / "scores.h5", clips, SIX.class_ids, {"clip": windows.mean(axis=1), 5: windows})
    return folder


def run(work, *options: object) -> int:
    ontology = [] if {"undo", "apply"} & set(options) else ["--ontology", str(work.parent / "ontology.csv")]
    return main([*map(str, options), "--work", str(work), *ontology])


def same_but_run_json(one, two) -> bool:
    return all(sha256(one / name) == sha256(two / name) for name in ADDITIONS if name != "summary.json")


@pytest.mark.parametrize(
    "options",
    [
        ["--threshold", "10p"],
        ["--threshold", "0.25", "--rounds", "all", "--type1", "descendants"],
        ["--type2", "closure", "--evidence", "5s", "--rounds", "2"],
        ["--profile", "psla"],
    ],
)
@pytest.mark.parametrize("ledger", ["ledger.parquet", "ledger.csv.gz"])
def test_undo_gives_the_original_list_byte_for_byte(work, options, ledger):
    assert run(work, *options, "--out", work / "enhanced") == 0
    assert sha256(work / "enhanced" / "labels.csv") != sha256(work / "labels.csv")
    assert run(work, "undo", work / "enhanced" / ledger) == 0
    assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()


@settings(max_examples=30)
@given(st.data())
def test_any_options_on_any_list_are_undone_byte_for_byte(tmp_path_factory, data):
    work = tmp_path_factory.mktemp("any") / "work"
    work.mkdir()
    (work.parent / "ontology.csv").write_text(ONTOLOGY)
    n_clips, n_windows = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 2))
    clips = data.draw(st.permutations(["a", "-b", "ü", "d e", "9"]))[:n_clips]
    LabelTable(clips, data.draw(arrays.arrays(bool, (n_clips, 6))), SIX).write(work / "labels.csv")
    SIX.write(work / "vocabulary.csv")
    windows = data.draw(arrays.arrays(np.float16, (n_clips, n_windows, 6), elements=st.floats(0, 1, width=16)))
    ScoreStore.write(work / "scores.h5", clips, SIX.class_ids, {"clip": windows[:, 0], 5: windows})
    errors = data.draw(st.sampled_from([("I",), ("II",), ("I", "II")]))
    options = ["--errors", *errors]
    for option, values in {
        "--type1": ("children", "descendants") if "I" in errors else ("children",),
        "--type2": ("parents", "ancestors", "closure") if "II" in errors else ("ancestors",),
        "--rounds": ("1", "2", "all"),
    }.items():
        options += [option, data.draw(st.sampled_from(values))]
    if errors != ("II",) or "closure" not in options:
        for option, values in {"--threshold": ("mean", "median", "5p", "0.25"), "--evidence": ("clip", "5s")}.items():
            options += [option, data.draw(st.sampled_from(values))]
    options += ["--soft"] * data.draw(st.booleans())
    assert run(work, *options, "--out", work / "enhanced") == 0
    for ledger in ("ledger.parquet", "ledger.csv.gz"):
        assert run(work, "undo", work / "enhanced" / ledger, "--overwrite") == 0
        assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()


@pytest.mark.parametrize("common", [["--type1", "descendants"], ["--type2", "closure"], ["--evidence", "5s", "--soft"]])
def test_all_rounds_with_the_first_thresholds_change_nothing_the_second_time(work, common):
    common = ("--rounds", "all", *common)
    assert run(work, "--threshold", "10p", *common, "--out", work / "first") == 0
    assert len(json.loads((work / "first" / "summary.json").read_text())["added_by_round"]) > 1
    enhanced = ("--labels", work / "first" / "labels.csv")
    for name, again in {
        "file": ("--threshold", work / "first" / "thresholds.csv"),
        "pair": ("--threshold", "10p", "--thresholds-from", work / "labels.csv", work / "scores.h5"),
    }.items():
        assert run(work, *enhanced, *again, *common, "--out", work / name) == 0
        assert sha256(work / "first" / "labels.csv") == sha256(work / name / "labels.csv")
        summary = json.loads((work / name / "summary.json").read_text())
        assert (summary["added"]["labels_added"], summary["added_by_round"]) == (0, [0])


def test_one_round_leaves_something_for_a_second(work):
    common = ("--rounds", "1", "--type1", "children")
    assert run(work, "--threshold", "10p", *common, "--out", work / "first") == 0
    again = ("--threshold", work / "first" / "thresholds.csv", "--labels", work / "first" / "labels.csv")
    assert run(work, *again, *common, "--out", work / "second") == 0
    assert json.loads((work / "second" / "summary.json").read_text())["added"]["labels_added"] > 0


@pytest.mark.parametrize(
    "options",
    [
        ["--rounds", "all", "--type1", "descendants", "--evidence", "5s", "--soft"],
        ["--errors", "II", "--type2", "closure"],
        ["sweep", "mean", "10p"],
    ],
)
def test_the_hash_seed_and_the_working_folder_change_no_byte(work, tmp_path, options):
    sums = []
    for seed in ("0", "1"):
        folder = tmp_path / f"folder{seed}"
        shutil.copytree(work, folder / "work")
        shutil.copy(tmp_path / "ontology.csv", folder / "ontology.csv")
        command = [sys.executable, "-m", "pseudolabel.enhance", *options, "--ontology", "ontology.csv", "--out", "out"]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, check=True, capture_output=True, cwd=folder, env=environment)
        sums.append({path.name: sha256(path) for path in (folder / "out").iterdir() if path.name != "run.json"})
    assert sums[0] == sums[1]
    expected = (
        {"sweep.csv"} if "sweep" in options else {*ADDITIONS, *["targets.h5", "mask.csv"] * ("--soft" in options)}
    )
    assert set(sums[0]) == expected


def test_closure_needs_no_score_store(work, capsys):
    assert (
        run(work, "--errors", "II", "--type2", "closure", "--scores", work / "scores.h5", "--out", work / "scored") == 0
    )
    (work / "scores.h5").unlink()
    capsys.readouterr()
    assert run(work, "--errors", "II", "--type2", "closure") == 0
    printed, folder = capsys.readouterr().out, work / "enhanced-closure"
    assert "enhanced-closure: by rule, without scores, 60 clips, 6 classes" in printed
    assert "no threshold" not in printed
    assert "no scores    for" not in printed
    for name in ("labels.csv", "ledger.parquet", "ledger.csv.gz", "outside.csv"):
        assert sha256(folder / name) == sha256(work / "scored" / name), name
    assert (folder / "missing.csv").read_text() == "clip_id,reason\n"
    with open(folder / "thresholds.csv", newline="") as file:
        cells = {(row["threshold"], row["scored_positives"], row["reason"]) for row in csv.DictReader(file)}
    assert cells == {("", "0", "no scores: all is added by rule")}
    with gzip.open(folder / "ledger.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["error"], row["score"], row["threshold"]) for row in rows} == {("II", "", "")}
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["threshold"], summary["evidence"], summary["clips_without_scores"]) == (None, None, 0)
    assert summary["adds"] == {"II": "ancestors, by rule"}
    assert summary["added"]["labels_added"] == len(rows) > 0
    assert not any("scores.h5" in name for name in json.loads((folder / "run.json").read_text())["inputs"])
    assert run(work, "undo", folder / "ledger.parquet") == 0
    assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()


def test_closure_passes_over_the_scores_of_other_clips(work, capsys):
    ScoreStore.write(work / "scores.h5", ("x",), ("y",), {"clip": np.ones((1, 1))}, overwrite=True)
    assert run(work, "--errors", "II", "--type2", "closure", "--strict", "--soft") == 0
    assert run(work, "sweep", "mean", "--errors", "II", "--type2", "closure") == 0
    pair = ("--thresholds-from", work / "labels.csv", work / "scores.h5")
    assert run(work, "--errors", "II", "--type2", "closure", *pair, "--overwrite", "--dry-run") == 2
    assert "--thresholds-from: nothing is compared with a threshold. Omit it." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "option", "mode"),
    [
        (["--errors", "II", "--type1", "descendants"], "--type1", "--errors II"),
        (["--errors", "I", "--type2", "parents"], "--type2", "--errors I"),
        *(
            (["--errors", "II", "--type2", "closure", *given], given[0], "--errors II --type2 closure, which compares")
            for given in (
                ["--threshold", "25p"],
                ["--floor", ".1"],
                ["--min-positives", "2"],
                ["--evidence", "5s"],
            )
        ),
    ],
)
def test_a_rule_that_these_rules_do_not_use_is_refused(work, capsys, options, option, mode):
    for form in ([], ["sweep", "mean"])[: 1 if option == "--threshold" else 2]:
        assert run(work, *form, *options) == 2
        assert f"error: {option}: has no effect with {mode}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "needing"),
    [
        (["--errors", "I", "II", "--type2", "closure"], "--errors I"),
        (["--errors", "I"], "--errors I"),
        (["--errors", "II"], "--type2 ancestors"),
        (["sweep", "mean"], "--errors I"),
        (["--errors", "II", "--profile", "psla"], "--type2 ancestors"),
    ],
)
def test_other_types_say_in_one_line_that_they_need_scores(work, capsys, options, needing):
    (work / "scores.h5").unlink()
    assert run(work, *options) == 2
    line = f"scores.h5: no such file, and {needing} needs the teacher's scores. Give --scores; only --errors II --type2"
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1


def test_nodes_outside_the_vocabulary_are_written_and_counted(work, capsys):
    assert run(work) == 0
    assert "1 of 7 nodes are not classes (outside.csv): 1 between classes (1 pairs)" in capsys.readouterr().out
    assert (work / "enhanced-mean" / "outside.csv").read_text().splitlines() == [
        "class_id,name,restrictions,role,parents,children,pairs,lost_by_psla",
        "wild,Wild animals,abstract,joins,animal,wolf,1,1",
    ]
    assert json.loads((work / "enhanced-mean" / "summary.json").read_text())["ontology"]["nodes_outside"]["joins"] == 1


def test_scores_that_add_more_than_twice_the_labels_are_warned_of(work, capsys):
    LabelTable([f"-c{i:02d}" for i in range(N_CLIPS)], np.eye(6, dtype=bool)[np.zeros(N_CLIPS, int)], SIX).write(
        work / "labels.csv"
    )
    options = ("--threshold", work / "low.csv", "--type1", "descendants", "--overwrite", "--out", work / "out")
    warned = []
    for threshold in ("0", "0.9"):
        (work / "low.csv").write_text("class_id,threshold\n" + "".join(f"{k},{threshold}\n" for k in SIX.class_ids))
        assert run(work, *options) == 0
        warned.append((capsys.readouterr().out, json.loads((work / "out" / "summary.json").read_text())["warnings"]))
    (loud, warnings), (quiet, none) = warned
    assert "  warning      added by score: 400 % of the labels before. Do the scores tell the classes apart?" in loud
    assert "A higher --threshold or --floor, --type1 children or fewer --rounds add less" in loud
    assert len(warnings) == 1
    assert "warning" not in quiet
    assert none == []


def test_what_closure_adds_is_no_reason_to_warn(work, capsys):
    LabelTable(["c"], [[0, 0, 0, 0, 1, 0]], SIX).write(work / "labels.csv")
    assert run(work, "--errors", "II", "--type2", "closure") == 0
    printed = capsys.readouterr().out
    assert "(+300.0 %)" in printed
    assert "warning" not in printed


def test_own_threshold_file_and_own_pair_give_the_same_as_the_rule(work):
    assert run(work, "--threshold", "25p", "--out", work / "rule") == 0
    assert run(work, "--threshold", work / "rule" / "thresholds.csv", "--out", work / "file") == 0
    pair = ("--thresholds-from", work / "labels.csv", work / "scores.h5")
    assert run(work, "--threshold", "25p", *pair, "--out", work / "pair") == 0
    assert same_but_run_json(work / "rule", work / "file")
    assert same_but_run_json(work / "rule", work / "pair")
    inputs = json.loads((work / "file" / "run.json").read_text())["inputs"]
    assert str(work / "rule" / "thresholds.csv") in inputs


def test_thresholds_come_from_the_other_pair(work):
    clips = ("x", "y")
    LabelTable(clips, np.ones((2, 6)), SIX).write(work / "other.csv")
    ScoreStore.write(work / "other.h5", clips, SIX.class_ids, {"clip": np.array([[0.25] * 6, [0.75] * 6])})
    assert run(work, "--thresholds-from", work / "other.csv", work / "other.h5", "--floor", "0.375") == 0
    with open(work / "enhanced-mean" / "thresholds.csv", newline="") as file:
        assert {row["threshold"] for row in csv.DictReader(file)} == {"0.5"}


def test_sweep_counts_what_each_threshold_adds(work, capsys):
    assert run(work, "sweep", "mean", "25p", "0.9", "--min-positives", "2") == 0
    printed = capsys.readouterr().out.splitlines()
    with open(work / "sweep-mean-25p-0.9" / "sweep.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["threshold"], row["type"]) for row in rows] == [
        (rule, kind) for rule in ("mean", "25p", "0.9") for kind in ("I", "II", "together")
    ]
    for rule in ("mean", "25p", "0.9"):
        assert run(work, "--threshold", rule, "--min-positives", "2") == 0
        summary = json.loads((work / f"enhanced-{rule}" / "summary.json").read_text())
        known = [*summary["added_by_type"].values(), summary["added"]]
        for row, counts in zip([row for row in rows if row["threshold"] == rule], known, strict=True):
            assert {name: float(row[name]) for name in counts} == counts
            assert int(row["labels_before"]) == summary["labels_before"]
    assert sorted(path.name for path in (work / "sweep-mean-25p-0.9").iterdir()) == ["run.json", "sweep.csv"]
    assert len(printed) == 5
    assert printed[1].split()[0] == "mean"
    assert run(work, "sweep", "mean") == 0  # in a folder of its own
    assert run(work, "sweep", "mean") == 2
    assert run(work, "sweep", "mean", "--overwrite") == 0
    many = [f"{n}p" for n in range(20)]
    assert run(work, "sweep", *many) == 0 and (work / "sweep-0p-to-19p" / "sweep.csv").is_file()


@pytest.mark.parametrize("options", [[], ["sweep", "mean", "5p"], ["--soft"]])
def test_dry_run_says_the_same_and_writes_nothing(work, capsys, options):
    before = sorted(work.rglob("*"))
    assert run(work, *options, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "nothing written" in said
    assert sorted(work.rglob("*")) == before
    assert run(work, *options) == 0
    really = capsys.readouterr().out.splitlines()
    assert sum(line in really for line in said.splitlines()) == len(said.splitlines()) - 1


def review(work, decide, name="reviewed.csv"):
    """Write a reviewed ledger from WORK/enhanced-10p; `decide(i)` is the decision of row i."""
    with gzip.open(work / "enhanced-10p" / "ledger.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    with open(work / name, "w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "decision"])
        writer.writeheader()
        writer.writerows({**row, "decision": decide(i)} for i, row in enumerate(rows))
    return rows


def test_apply_keeps_the_right_additions_and_can_be_undone(work, capsys):
    run(work, "--threshold", "10p")
    rows = review(work, lambda i: ("right", "wrong", "unsure", "")[i % 4])
    capsys.readouterr()
    assert run(work, "apply", work / "reviewed.csv") == 0
    n_right = len(rows[::4])
    assert f"enhanced-reviewed: {n_right} right, " in capsys.readouterr().out
    with gzip.open(work / "enhanced-reviewed" / "ledger.csv.gz", "rt", newline="") as file:
        assert list(csv.DictReader(file)) == rows[::4]
    assert run(work, "undo", work / "enhanced-reviewed" / "ledger.csv.gz") == 0
    assert (work / "labels-undone.csv").read_bytes() == (work / "labels.csv").read_bytes()


def test_all_right_is_the_enhanced_list_and_all_wrong_the_original(work):
    run(work, "--threshold", "10p")
    review(work, lambda i: "right")
    assert run(work, "apply", work / "reviewed.csv", "--out", work / "right") == 0
    for name in ("labels.csv", "ledger.parquet", "ledger.csv.gz"):
        assert sha256(work / "right" / name) == sha256(work / "enhanced-10p" / name)
    review(work, lambda i: "wrong")
    assert run(work, "apply", work / "reviewed.csv", "--out", work / "wrong") == 0
    assert sha256(work / "wrong" / "labels.csv") == sha256(work / "labels.csv")


def test_soft_targets_keep_the_teachers_score_where_it_is_unsure(work):
    assert run(work, "--soft", "--evidence", "5s") == 0
    folder = work / "enhanced-mean"
    targets, mask = ScoreStore.open(folder / "targets.h5"), LabelTable.read(folder / "mask.csv", SIX)
    labels = LabelTable.read(folder / "labels.csv", SIX)
    best = ScoreStore.open(work / "scores.h5").scores(5).max(axis=1)
    assert targets.clip_ids == labels.clip_ids == mask.clip_ids
    hard, unsure = labels.matrix.toarray(), mask.matrix.toarray()
    assert unsure.any()
    assert not (hard & unsure).any()
    assert np.array_equal(targets.clip_scores(), np.where(unsure, best, hard))


def test_only_soft_writes_targets(work):
    run(work)
    assert sorted(path.name for path in (work / "enhanced-mean").iterdir()) == sorted([*ADDITIONS, "run.json"])
    run(work, "--profile", "psla")
    assert (work / "enhanced-psla-mean" / "ledger.parquet").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "1.5"], "--threshold: constant '1.5' is not between 0.0 and 1.0"),
        (["--threshold", "absent.csv"], "absent.csv: no such file"),
        (["--profile", "psla", "--type2", "closure"], "--type2: is fixed by --profile psla"),
        (["--evidence", "2s"], "scale '2s' is not there; there are: 5s, clip. Give --evidence 5s or clip, or score"),
        (["--evidence", "best"], "--evidence: 'best' is neither `clip` nor a length of windows in seconds"),
        (["sweep", "mean", "x"], "no threshold rule 'x'"),
        (["sweep"], "sweep: no thresholds to compare"),
        (["sweep", "mean", "--threshold", "25p"], "--threshold: thresholds are named without it. Give sweep 25p."),
        (["undo", "absent.parquet"], "no such file"),
        (["apply", "absent.csv"], "absent.csv: no such file"),
        (["--thresholds-from", "absent.csv", "absent.h5"], "absent.csv: no such file"),
    ],
)
def test_bad_options_end_with_code_2_one_line_and_nothing_written(work, capsys, options, message):
    before = sorted(work.rglob("*"))
    assert run(work, *options) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(work.rglob("*")) == before


@pytest.mark.parametrize("mode", ["sweep", "undo", "apply"])
def test_a_mode_given_as_an_option_is_answered_with_its_subcommand(work, capsys, mode):
    with pytest.raises(SystemExit):
        main(["--work", str(work), f"--{mode}", "mean"])
    assert f"a subcommand comes first: pseudolabel enhance {mode}" in capsys.readouterr().err


def test_shared_options_mean_the_same_before_and_after_the_subcommand(work, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    work.rename(tmp_path / "elsewhere")
    for before, after in ((["--work", "elsewhere"], []), ([], ["--work", "elsewhere"])):
        assert main([*before, "sweep", "mean", "--ontology", "ontology.csv", *after, "--overwrite"]) == 0
        assert (tmp_path / "elsewhere" / "sweep-mean" / "sweep.csv").is_file()
        shutil.rmtree(tmp_path / "elsewhere" / "sweep-mean")
    assert not (tmp_path / "work").exists()


def test_undo_of_a_part_counts_what_only_that_part_proposed(tmp_path, capsys):
    folder, rows = tmp_path / "enhanced", [("b", "a"), ("c", "b"), ("d", "a;c")]
    folder.mkdir()
    (tmp_path / "vocabulary.csv").write_text("class_id,name\n" + "".join(f"{k},{k}\n" for k in "abcd"))
    (folder / "labels.csv").write_text("clip_id,labels\nx,a;b;c;d\n")
    header, lines = "clip_id,class_id,because\n", [f"x,{k},{because}\n" for k, because in rows]
    with gzip.open(folder / "ledger.csv.gz", "wt") as file:
        file.writelines([header, *lines])
    (folder / "part.csv").write_text(header + lines[0])
    assert main(["undo", str(folder / "part.csv"), "--work", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "1 labels taken back, 1 more that only these proposed, 2 left" in said
    assert (tmp_path / "labels-undone.csv").read_text() == "clip_id,labels\nx,a;d\n"
    (folder / "ledger.csv.gz").unlink()
    assert main(["undo", str(folder / "part.csv"), "--work", str(tmp_path), "--overwrite"]) == 0
    assert "no ledger beside" in (said := capsys.readouterr()).err and "1 labels taken back, 3 left" in said.out


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_undo_takes_back_no_given_label_and_replaces_no_list_of_others(work, capsys, dry):
    run(work)
    folder, theirs = work / "enhanced-mean", work / "mine.csv"
    given = next(iter((work / "labels.csv").read_text().splitlines()[1:])).partition(";")[0]
    (folder / "part.csv").write_text(f"clip_id,class_id\n{given}\n")
    theirs.write_text("clip_id,labels,annotator\n-c00,dog,me\n")
    for options, said in (
        (("part.csv", "undone.csv"), "1 label not in the ledger beside the list"),
        (("ledger.parquet", "mine.csv"), "not a label list of pseudolabel"),
        (("ledger.parquet", "labels.csv"), "would be replaced while it is an input"),
        (("ledger.parquet", "truth.csv"), "under a name that other verbs write"),
        (("ledger.parquet", "undone.csv.gz"), "a label list is not written as .gz"),
        (("ledger.parquet", "labels.csv/x.csv"), "is not a folder, so nothing can be written below it"),
    ):
        (work / "truth.csv").write_text("clip_id,labels\n-c00,dog\n")
        before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        ledger, out = options
        assert run(work, "undo", folder / ledger, "--out", work / out, "--overwrite", *dry) == 2
        assert said in capsys.readouterr().err
        assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}


def test_undo_of_the_wrong_list_says_so(work, capsys):
    run(work)
    assert run(work, "undo", work / "enhanced-mean" / "ledger.parquet", "--labels", work / "labels.csv") == 2
    assert "added labels are not in the list" in capsys.readouterr().err
    assert run(work, "apply", work / "enhanced-mean" / "ledger.csv.gz") == 2
    assert "ledger.csv.gz: column 'decision' is missing" in capsys.readouterr().err


def test_scores_of_the_work_folder_are_named_where_a_list_outside_it_has_none_beside(work, capsys, monkeypatch):
    monkeypatch.chdir(work.parent)
    (work / "labels.csv").rename("plain.csv")
    (work / "vocabulary.csv").rename("vocabulary.csv")
    options = ["--labels", "plain.csv", "--ontology", "ontology.csv", "--threshold", "0.5"]
    assert main(options) == 2
    remedy = "Give --scores work/scores.h5 if they are of these clips; only --errors II --type2 closure needs none."
    assert remedy in capsys.readouterr().err
    assert main([*options, "--scores", "work/scores.h5"]) == main([*options, "--work", "work", "--out", "two"]) == 0
    assert same_but_run_json(Path("work/enhanced-0.5"), Path("two"))


TUBE = {f"-c{i:02d}": f"KK227gPpR{i:02d}" for i in range(N_CLIPS)}


def test_scores_under_other_ids_give_the_same_ledger_under_the_ids_of_the_list(work, capsys):
    run(work, "--out", work / "exact")
    assert capsys.readouterr().err == ""
    labels, store = LabelTable.read(work / "labels.csv", SIX), ScoreStore.open(work / "scores.h5")
    labels.renamed(TUBE).write(work / "tube.csv")
    for name, form in {"tube.h5": "{}", "y.h5": "Y{}_30.000_40.000"}.items():
        ScoreStore.write(work / name, [form.format(TUBE[clip_id]) for clip_id in store.clip_ids], store.class_ids,
                         {"clip": np.array(store.clip_scores())})  # fmt: skip
    named = "--labels", work / "tube.csv"
    assert run(work, *named, "--scores", work / "tube.h5", "--out", work / "same") == 0
    assert "another id" not in capsys.readouterr().err
    assert run(work, *named, "--scores", work / "y.h5", "--out", work / "y") == 0
    said = f"60 of 60 clips found under another id (scores): {TUBE['-c00']} is Y{TUBE['-c00']}_30.000_40.000"
    assert capsys.readouterr().err.startswith(said)
    assert same_but_run_json(work / "y", work / "same")
    summary = json.loads((work / "y" / "summary.json").read_text())
    assert summary.pop("clips_under_another_id") == 60
    same = json.loads((work / "same" / "summary.json").read_text())
    assert same.pop("clips_under_another_id") == 0
    assert summary == same
    assert run(work, "sweep", "mean", "--thresholds-from", work / "tube.csv", work / "y.h5", "--dry-run") == 0
    assert capsys.readouterr().err.startswith(said)


def test_unknown_labels_are_left_out_on_request_and_counted(work, capsys):
    text = (work / "labels.csv").read_text()
    (work / "more.csv").write_text(text.replace("-c07,", "-c07,elk;").replace("elk;\n", "elk\n"))
    options = "--labels", work / "more.csv", "--out", work / "more"
    assert run(work, *options) == 2
    assert "more.csv:9: class 'elk' is not in the vocabulary" in capsys.readouterr().err
    assert run(work, *options, "--unknown-labels", "skip", "--format", "csv") == 0
    assert "more.csv: 1 labels left out, of 1 classes" in capsys.readouterr().err
    assert json.loads((work / "more" / "run.json").read_text())["options"]["labels_left_out"] == {"elk": 1}
    run(work, "--out", work / "without")
    assert same_but_run_json(work / "more", work / "without")
    ledger = pq.read_table(work / "more" / "ledger.parquet")
    decided = ledger.append_column("decision", pa.array(["right"] * len(ledger)))
    pq.write_table(decided, work / "more" / "reviewed.parquet")
    assert run(work, "apply", work / "more" / "reviewed.parquet", "--out", work / "reviewed") == 0
    assert (work / "reviewed" / "labels.csv").read_text() == (work / "more" / "labels.csv").read_text()
    recorded = json.loads((work / "reviewed" / "run.json").read_text())["options"]
    assert recorded["unknown_labels"] == "skip" and recorded["labels_left_out"] == {"elk": 1}
    named = ["--work", work, "--ontology", work.parent / "ontology.csv", "--ledger", work / "more" / "ledger.parquet"]
    assert review_main(["page", "--budget", "4", *map(str, named)]) == 0


def test_strict_rules_from_python_stay_strict():
    assert EnhanceFilesOptions(rules=EnhanceOptions(strict=True)).rules.strict
    assert EnhanceFilesOptions(strict=True).rules.strict and not EnhanceFilesOptions().rules.strict


@pytest.mark.parametrize("name", [*ADDITIONS, "targets.h5", "mask.csv", "run.json"])
def test_a_full_disk_names_the_file_and_leaves_nothing(work, capsys, monkeypatch, name):
    sync = artefacts.sync

    def full(path: Path) -> None:
        if path.name.startswith(f".{name}."):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    monkeypatch.setattr(artefacts, "sync", full)
    assert run(work, "--soft") == 2
    path = work / "enhanced-mean" / name
    message = f"pseudolabel enhance: error: {path}: No space left on device. Make room, or write to another disk\n"
    assert capsys.readouterr().err.endswith(message)
    assert sorted(path.name for path in work.iterdir()) == ["labels.csv", "scores.h5", "vocabulary.csv"]


@pytest.mark.parametrize("out", [".", "/"])
def test_an_output_without_a_name_is_one_line(work, capsys, out):
    assert run(work, "--threshold", "mean", "--out", out) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_classes_without_labelled_clips_are_told_of_the_option_that_gives_them_a_threshold(work, capsys):
    (work / "labels.csv").write_text("clip_id,labels\n" + "".join(f"-c{n:02},dog\n" for n in range(60)))
    hint = "--fallback-threshold P gives such classes P"
    assert run(work, "--threshold", "25p", "--out", work / "one") == 0
    assert hint in capsys.readouterr().out
    assert run(work, "--threshold", "25p", "--fallback-threshold", ".5", "--out", work / "two") == 0
    assert hint not in capsys.readouterr().out
