"""The verb `balance`: its files on a list small enough to check by hand, before and after, and its errors."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import pytest

from pseudolabel.balance import main
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256

NAMES = ("speech", "dog", "rain", "never")
FOUR = Vocabulary("four", NAMES, NAMES, ("",) * 4)
SETS = [{"speech"}, {"speech"}, {"speech", "dog"}, {"dog"}, {"speech", "rain"}, set()]
CLIPS = tuple(f"c{i}" for i in range(6))
ENHANCED = [{"speech"}, {"speech"}, {"speech", "dog"}, {"speech", "dog"}, {"speech", "rain", "dog"}, set()]
TABLES = {"statistics.csv", "classes.csv", "betas.csv", "balance.json", "balance.txt", "balance.png", "run.json"}


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    LabelTable.from_sets(CLIPS, SETS, FOUR).write(folder / "labels.csv")
    FOUR.write(folder / "vocabulary.csv")
    return folder


def enhanced_folder(work, sets=ENHANCED, clips=CLIPS, name="enhanced-25p"):
    (work / name).mkdir()
    LabelTable.from_sets(clips, sets, FOUR).write(work / name / "labels.csv")
    return work / name


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refused(capsys, *argv) -> str:
    assert main([str(argument) for argument in argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_all_figures_of_a_small_list_stand_in_every_form(work, capsys):
    assert main(["--work", str(work), "--betas", "0", "1"]) == 0
    out = work / "balance"
    assert {path.name for path in out.iterdir()} == TABLES
    row = rows_of(out / "statistics.csv")[0]
    assert [row[key] for key in ("list", "clips", "labels", "classes", "most_frequent", "rarest")] == [
        "labels", "6", "7", "3", "speech", "rain",
    ]  # fmt: skip
    assert (row["clips_without_labels"], row["classes_without_clips"], row["imbalance_ratio"]) == ("1", "1", "4.0")
    assert [row["clips"] for row in rows_of(out / "classes.csv")] == ["4", "2", "1", "0"]
    assert float(rows_of(out / "classes.csv")[1]["prior"]) == 2 / 6
    assert [(row["beta"], row["rows"], row["imbalance_ratio"]) for row in rows_of(out / "betas.csv")] == [
        ("0.0", "6", "4.0"), ("1.0", "11", "2.0"),
    ]  # fmt: skip
    record = json.loads((out / "balance.json").read_text())
    assert record["rule_of_betas"] == "max"
    assert record["lists"]["labels"]["betas"][1]["largest_factor"] == 4
    text = (out / "balance.txt").read_text()
    assert "classes without a clip, left out: 1; clips without a label: 1" in text
    assert capsys.readouterr().out.startswith(text)
    assert (out / "balance.png").read_bytes().startswith(b"\x89PNG")


def test_lists_before_and_after_enhancement_stand_beside_each_other(work):
    folder = enhanced_folder(work, ENHANCED[::-1], CLIPS[::-1])  # another order of the same clips
    assert main(["--work", str(work), "--rule", "sum"]) == 0  # the folder is found
    assert [row["list"] for row in rows_of(work / "balance" / "statistics.csv")] == ["labels", "enhanced-25p"]
    classes = rows_of(work / "balance" / "classes.csv")
    assert [(row["clips"], row["clips_enhanced-25p"]) for row in classes] == [
        ("4", "5"),
        ("2", "3"),
        ("1", "1"),
        ("0", "0"),
    ]
    weights = rows_of(work / "balance" / "weights-enhanced-25p.csv")
    assert [row["clip_id"] for row in weights] == list(CLIPS)
    assert float(weights[3]["weight"]) == pytest.approx(1 / 5 + 1 / 3)  # counted after relabelling
    given = ["--work", str(work), "--labels", str(work / "labels.csv"), "--enhanced", str(folder / "labels.csv")]
    assert main([*given, "--rule", "sum", "--out", str(work / "named")]) == 0
    for name in sorted(path.name for path in (work / "balance").iterdir() if path.name != "run.json"):
        assert sha256(work / "balance" / name) == sha256(work / "named" / name), name


def test_both_rules_are_written_under_their_own_names(work):
    assert main(["--work", str(work), "--rule", "sum", "max", "--beta", "0.5"]) == 0
    factors = rows_of(work / "balance" / "factors.csv")
    assert [row["factor"] for row in factors] == ["1", "1", "1", "1", "2", "1"]
    assert float(factors[3]["weight"]) == 2**0.5  # before rounding
    weights = [float(row["weight"]) for row in rows_of(work / "balance" / "weights.csv")]
    assert weights == pytest.approx([1 / 4, 1 / 4, 3 / 4, 1 / 2, 5 / 4, 0])


def test_validation_and_training_lists_divide_the_clips(work, capsys):
    assert main(["--work", str(work), "--validation-clips", "1", "--seed", "3"]) == 0
    held, rest = (LabelTable.read(work / "balance" / f"{name}.csv", FOUR) for name in ("validation", "training"))
    assert sorted(held.clip_ids + rest.clip_ids) == list(CLIPS)
    assert "c4" in held.clip_ids  # the only rain
    assert held == LabelTable.from_sets(CLIPS, SETS, FOUR).select(held.clip_ids)
    assert "; 1 class without a clip in training.csv: rain" in capsys.readouterr().out
    line = refused(capsys, "--work", work, "--validation-clips", "2", "--overwrite")
    assert "classes with fewer than 2 clips: 1, the first is 'rain' with 1. Give 1" in line
    assert (work / "balance" / "validation.csv").exists()  # what was there stays


def test_the_text_says_when_the_rule_does_nothing_and_when_too_much(tmp_path, capsys):
    sets = [{"speech"}] * 90 + [{"dog"}] * 2 + [{"speech", "rain"}]
    LabelTable.from_sets([f"c{i}" for i in range(93)], sets, FOUR).write(tmp_path / "labels.csv")
    FOUR.write(tmp_path / "vocabulary.csv")
    told = []
    for betas in (["0"], ["0.5"], ["2", "1", "3"]):
        assert main(["--work", str(tmp_path), "--overwrite", "--betas", *betas]) == 0
        told.append(capsys.readouterr().out)
    assert ["none of these exponents" in text for text in told] == [True, False, False]
    assert ["From beta 2 on, draw" in text for text in told] == [False, False, True]  # at 1: 2.9 times the clips


def test_several_lists_count_as_one(work, tmp_path):
    for name, part in (("first", slice(0, 2)), ("second", slice(2, 6))):
        LabelTable.from_sets(CLIPS[part], SETS[part], FOUR).write(tmp_path / f"{name}.csv")
    both = [str(tmp_path / "first.csv"), str(tmp_path / "second.csv")]
    assert main(["--work", str(work)]) == 0
    assert main(["--work", str(work), "--labels", *both, "--out", str(tmp_path / "joined")]) == 0
    assert sha256(work / "balance" / "balance.json") == sha256(tmp_path / "joined" / "balance.json")


def test_the_hash_seed_and_the_folder_change_no_byte(work, tmp_path):
    enhanced_folder(work)
    options = ["--work", str(work), "--rule", "sum", "max", "--validation-clips", "1"]
    sums = []
    for seed in ("0", "1"):
        out = tmp_path / f"other{seed}" / "out"
        command = [sys.executable, "-m", "pseudolabel.balance", *options, "--out", str(out)]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": seed})
        sums.append({path.name: sha256(path) for path in out.iterdir() if path.name != "run.json"})
    assert sums[0] == sums[1]
    assert len(sums[0]) == len(TABLES) - 1 + 6


def test_what_does_not_fit_ends_in_one_line(work, tmp_path, capsys):
    labels = work / "labels.csv"
    (tmp_path / "again.csv").write_text(f"clip_id,labels\n{CLIPS[0]},\n")
    assert f"clip {CLIPS[0]!r} has other labels" in refused(
        capsys, "--work", work, "--labels", labels, tmp_path / "again.csv"
    )
    other = enhanced_folder(work, ENHANCED, (*CLIPS[:5], "c9"), "other")
    line = refused(capsys, "--work", work, "--enhanced", other)
    assert "other/labels.csv: not the clips of --labels: 1 are missing, 1 are others: c5." in line
    assert "two lists are called 'labels'" in refused(
        capsys, "--work", work, "--enhanced", enhanced_folder(work, name="labels")
    )
    (tmp_path / "empty.csv").write_text("clip_id,labels\nc1,\n")
    assert "empty.csv: not one clip has a label" in refused(capsys, "--work", work, "--labels", tmp_path / "empty.csv")
    assert "no such file" in refused(capsys, "--work", work, "--labels", tmp_path / "none.csv")
    assert "beta 60 repeats a clip" in refused(capsys, "--work", work, "--betas", "60")
    line = refused(capsys, "--work", work, "--betas", "0", "--rule", "max", "--beta", "60")
    assert "--beta: beta 60 repeats a clip" in line
    assert not (work / "balance").exists()


def test_what_is_there_is_replaced_only_on_request_and_only_its_own(work, capsys):
    assert main(["--work", str(work)]) == 0
    capsys.readouterr()
    assert "output exists" in refused(capsys, "--work", work)
    assert main(["--work", str(work), "--overwrite", "--betas", "0.5"]) == 0
    assert [row["beta"] for row in rows_of(work / "balance" / "betas.csv")] == ["0.5"]
    capsys.readouterr()
    assert "not a folder that balance wrote" in refused(capsys, "--work", work, "--out", work, "--overwrite")


def test_unknown_labels_are_left_out_on_request_and_lists_read_in_the_named_form(work, capsys):
    (work / "l.csv").write_text('clip_id,labels\na,"speech,elk"\nb,elk\nc,dog\n')
    options = "--work", work, "--labels", work / "l.csv"
    assert "l.csv:2: class 'elk' is not in" in refused(capsys, *options, "--format", "csv")
    assert "or --unknown-labels skip." in refused(capsys, *options, "--format", "plain")
    assert main([*map(str, options), "--format", "plain", "--unknown-labels", "skip"]) == 0
    assert "l.csv: 2 labels left out, of 1 classes that are not in the vocabulary" in capsys.readouterr().err
    (row,) = rows_of(work / "balance" / "statistics.csv")
    assert (row["clips"], row["labels"], row["clips_without_labels"]) == ("3", "2", "1")
    assert json.loads((work / "balance" / "run.json").read_text())["labels_left_out"] == {"elk": 2}
