"""The verb `review`: from a ledger to a page, from judgements to estimates, and back into `enhance`."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pseudolabel import enhance
from pseudolabel.audio.clips import ClipTable, write_clips
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.review import main
from pseudolabel.reviews.items import read_sample
from pseudolabel.scores.store import ScoreStore

PARENTS, PER_PARENT, N_CLIPS = 4, 4, 400
HEADER = ("page", "item", "clip_id", "class_id", "error", "decision", "judge")


def class_names() -> tuple[list[str], list[str]]:
    parents = [f"p{i}" for i in range(PARENTS)]
    return parents, [f"p{i}c{j}" for i in range(PARENTS) for j in range(PER_PARENT)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A work folder with an enhancement of 400 clips, and the truth: the higher the score the likelier right."""
    folder = tmp_path_factory.mktemp("world")
    work, rng = folder / "work", np.random.default_rng(5)
    work.mkdir()
    parents, children = class_names()
    rows = [f'{p},{p},"{";".join(c for c in children if c.startswith(p))}",' for p in parents]
    rows += [f"{c},{c},," for c in children]
    (folder / "ontology.csv").write_text("\n".join(["class_id,name,child_ids,restrictions", *rows, ""]))
    vocabulary = Vocabulary("sixteen", *((tuple(parents + children),) * 3))
    clips = [f"clip{i:03d}" for i in range(N_CLIPS)]
    sets, truth, scores = [], set(), rng.random((N_CLIPS, len(vocabulary))) ** 2
    for row, clip in enumerate(clips):
        child = children[int(rng.integers(len(children)))]
        sets.append({child} if rng.random() < 0.3 else {child[:2]})
        for k, name in enumerate(vocabulary.class_ids):
            if name == child or name == child[:2] or rng.random() < scores[row, k]:
                truth.add((clip, name))
    LabelTable.from_sets(clips, sets, vocabulary).write(work / "labels.csv")
    vocabulary.write(work / "vocabulary.csv")
    ScoreStore.write(work / "scores.h5", clips, vocabulary.class_ids, {"clip": scores})
    assert enhance.main(["--work", str(work), "--ontology", str(folder / "ontology.csv"), "--threshold", "25p"]) == 0
    return work, truth


@pytest.fixture(scope="module")
def options(world):
    work, _ = world
    return ["--work", str(work), "--ontology", str(work.parent / "ontology.csv")]


def judge_by(truth, sample, path, judge="", unsure=(), without=()):
    """Write what a judge who knows the truth would download."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for item in sample.items:
            decision = "right" if (item.clip_id, item.class_id) in truth or item.kind == "given" else "wrong"
            decision = "unsure" if item.item in unsure else decision
            if item.item not in without:
                error = "" if sample.blind else item.error
                writer.writerow((sample.page, item.item, item.clip_id, item.class_id, error, decision, judge))
    return path


def true_precision(work, truth):
    ledger = pq.read_table(work / "enhanced-25p" / "ledger.parquet").to_pylist()
    return np.mean([(row["clip_id"], row["class_id"]) in truth for row in ledger])


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def refused(capsys, *argv) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in argv]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def estimate(work, *arguments) -> int:
    return main(["estimate", "--work", str(work), *map(str, arguments)])


@pytest.fixture(scope="module")
def reviewed(world, options, tmp_path_factory):
    """A page of 120 items, judged, and what came of it."""
    truth = world[1]
    folder = tmp_path_factory.mktemp("reviewed")
    assert main([*options, "--budget", "120", "--seed", "3", "--out", str(folder / "review")]) == 0
    sample = read_sample(folder / "review")
    file = judge_by(truth, sample, folder / "judged.csv", "anna")
    arguments = [str(file), "--sample", str(folder / "review"), "--target-precision", "0.8"]
    assert estimate(world[0], *arguments, "--out", str(folder / "result")) == 0
    return folder, sample


def test_page_and_key_stand_in_one_folder_and_agree(reviewed):
    folder, sample = reviewed
    names = {path.name for path in (folder / "review").iterdir()}
    assert {"index.html", "sample.csv", "sample.json", "run.json"} <= names
    assert len(sample.additions) == 120
    assert not sample.decoys
    assert sample.page in (folder / "review" / "index.html").read_text(encoding="utf-8")


def test_estimate_covers_the_truth_and_stands_in_every_form(reviewed, world):
    folder, sample = reviewed
    found = json.loads((folder / "result" / "precision.json").read_text())
    overall = found["overall"]
    assert overall["low"] <= true_precision(*world) <= overall["high"]
    assert overall["judged"] == 120
    assert overall["high"] - overall["low"] < 0.2
    assert sum(row["judged"] for row in found["by_error"]) == sum(row["judged"] for row in found["by_band"]) == 120
    assert sum(row["additions"] for row in found["by_band"]) == sample.n_additions == overall["additions"]
    rows = rows_of(folder / "result" / "precision.csv")
    assert (rows[0]["part"], float(rows[0]["precision"])) == ("overall", overall["precision"])
    assert len(rows) == 1 + sum(len(found[part]) for part in ("by_error", "by_band", "by_class"))


def test_reviewed_ledger_is_what_apply_takes(reviewed, options, tmp_path, world):
    folder, _ = reviewed
    reviewed_rows = rows_of(folder / "result" / "reviewed.csv")
    right = [(row["clip_id"], row["class_id"]) for row in reviewed_rows if row["decision"] == "right"]
    arguments = [str(folder / "result" / "reviewed.csv"), "--out", str(tmp_path / "applied"), *options[:2]]
    assert enhance.main(["apply", *arguments]) == 0
    applied = pq.read_table(tmp_path / "applied" / "ledger.parquet")
    assert list(zip(applied["clip_id"].to_pylist(), applied["class_id"].to_pylist(), strict=True)) == right
    assert 0 < len(right) < 120
    original = pq.read_table(world[0] / "enhanced-25p" / "ledger.parquet").to_pylist()
    same = {(row["clip_id"], row["class_id"]): row for row in original}
    assert all(same[row["clip_id"], row["class_id"]] == row for row in applied.to_pylist())


def test_new_thresholds_enhance_to_the_additions_that_the_curve_counts(reviewed, options, tmp_path, world):
    folder, _ = reviewed
    new = rows_of(folder / "result" / "thresholds.csv")
    old = {row["class_id"]: row["threshold"] for row in rows_of(world[0] / "enhanced-25p" / "thresholds.csv")}
    assert {row["class_id"] for row in new} == set(old)
    raised = {row["class_id"]: float(row["threshold"]) for row in new}
    assert all(value >= float(old[class_id]) for class_id, value in raised.items())
    arguments = ["--threshold", str(folder / "result" / "thresholds.csv"), "--out", str(tmp_path / "precise")]
    assert enhance.main([*options, *arguments]) == 0
    before = pq.read_table(world[0] / "enhanced-25p" / "ledger.parquet").to_pylist()
    after = pq.read_table(tmp_path / "precise" / "ledger.parquet").to_pylist()
    expected = [row for row in before if row["score"] > raised[row["class_id"]]]
    assert [(row["clip_id"], row["class_id"]) for row in after] == [(r["clip_id"], r["class_id"]) for r in expected]
    curve = rows_of(folder / "result" / "curve.csv")
    chosen = next(row for row in curve if float(row["precision"]) >= 0.8 and int(row["judged"]) >= 10)
    assert int(chosen["additions"]) == len(after) < len(before)
    assert float(chosen["floor"]) == max(raised.values())


def test_same_inputs_and_seed_make_the_same_bytes_whatever_the_hash_seed(world, options, tmp_path):
    outs = []
    for seed in ("0", "7"):
        outs.append(tmp_path / seed)
        arguments = [*options, "--blind", "--budget", "20", "--out", str(outs[-1])]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-m", "pseudolabel.review", *arguments], env=environment, check=True)
    for name in ("sample.csv", "sample.json", "index.html"):
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes()


def test_blind_page_has_decoys_and_the_judge_is_measured_with_them(world, options, tmp_path, capsys):
    work, truth = world
    arguments = ["--blind", "--decoys", "0.25", "--budget", "90", "--out", str(tmp_path / "review")]
    assert main([*options, *arguments]) == 0
    sample = read_sample(tmp_path / "review")
    assert (len(sample.additions), len(sample.decoys)) == (90, 30)
    unsure = [item.item for item in sample.additions[:5]]
    file = judge_by(truth, sample, tmp_path / "judged.csv", unsure=unsure)
    capsys.readouterr()
    assert estimate(work, file, "--sample", tmp_path / "review", "--out", tmp_path / "result") == 0
    said = capsys.readouterr().out
    found = json.loads((tmp_path / "result" / "precision.json").read_text())
    measured, overall = found["judges"]["reliability"], found["overall"]
    assert measured["sensitivity"]["share"] == 1
    assert measured["sensitivity"]["judged"] == measured["false_alarm"]["judged"] == 15
    assert (overall["judged"], overall["unsure"]) == (85, 5)
    assert overall["if_unsure_wrong"] < overall["precision"] < overall["if_unsure_right"]
    assert overall["low"] <= true_precision(work, truth) <= overall["high"]
    assert overall["corrected"]["low"] <= true_precision(work, truth) <= overall["corrected"]["high"]
    assert "judge's sensitivity" in said
    assert "unsure: 5" in said
    assert sum(row["decision"] != "" for row in rows_of(tmp_path / "result" / "reviewed.csv")) == 90
    assert not (tmp_path / "result" / "thresholds.csv").exists()


def test_two_judges_are_compared(reviewed, world, options, tmp_path, capsys):
    folder, sample = reviewed
    wrong_once = {(item.clip_id, item.class_id) for item in sample.items[:6]} ^ world[1]
    files = [judge_by(world[1], sample, tmp_path / "a.csv"), judge_by(wrong_once, sample, tmp_path / "b.csv")]
    arguments = ["--sample", folder / "review" / "sample.csv", *files, "--out", tmp_path / "result"]
    assert estimate(world[0], *arguments) == 0
    found = json.loads((tmp_path / "result" / "precision.json").read_text())
    (pair,) = found["judges"]["agreement"]
    assert pair["judges"] == ["a", "b"]
    assert pair["agreement"] == 114 / 120
    assert found["overall"]["unsure"] == 6  # they contradict each other
    assert "kappa" in capsys.readouterr().out
    elsewhere = [tmp_path / "none", *arguments[:-1], tmp_path / "again"]  # the page's run.json says where the ledger is
    assert estimate(*elsewhere) == 0
    assert json.loads((tmp_path / "again" / "precision.json").read_text()) == found


def test_additions_by_rule_are_judged_without_scores_and_no_floor_is_chosen(world, options, tmp_path, capsys):
    closed, work = tmp_path / "enhanced-closure", world[0]
    assert enhance.main([*options, "--errors", "II", "--type2", "closure", "--out", str(closed)]) == 0
    arguments = [*options, "--ledger", str(closed / "ledger.csv.gz")]
    assert (
        main([*arguments, "--per-class", "2", "--scores", str(work / "scores.h5"), "--out", str(tmp_path / "review")])
        == 0
    )
    sample = read_sample(tmp_path / "review")
    assert len(sample.strata) == PARENTS
    assert len(sample.items) == 2 * PARENTS
    file = judge_by(world[1], sample, tmp_path / "judged.csv", without=[sample.items[0].item])
    arguments = ["--work", work, file, "--ledger", closed / "ledger.csv.gz", "--sample", tmp_path / "review"]
    arguments += ["--out", tmp_path / "result"]
    assert "no floor can be chosen" in refused(capsys, "estimate", *arguments, "--target-precision", "0.5")
    assert estimate(*arguments[1:]) == 0
    found = json.loads((tmp_path / "result" / "precision.json").read_text())
    assert [(row["band"], row["judged"], row["precision"]) for row in found["by_band"]] == [("by rule", 7, 1.0)]
    assert found["overall"]["low"] < 0.8  # seven right ones prove little
    assert (tmp_path / "result" / "curve.csv").read_text().count("\n") == 1
    assert not (tmp_path / "result" / "curve.png").exists()


def test_label_studio_has_a_task_for_each_item_and_no_hint_on_a_blind_page(options, tmp_path):
    for blind in ([], ["--blind"]):
        out = tmp_path / f"review{len(blind)}"
        assert main([*options, *blind, "--label-studio", "--budget", "20", "--out", str(out)]) == 0
        tasks, sample = json.loads((out / "label_studio.json").read_text()), read_sample(out)
        assert [task["data"]["item"] for task in tasks] == [item.item for item in sample.items]
        assert {bool(task["data"]["error"]) for task in tasks} == {not blind}
        assert "decision" in (out / "label_studio.xml").read_text()


def test_ledger_of_other_labels_is_named(world, options, tmp_path, capsys):
    lines = (world[0] / "labels.csv").read_text().splitlines()
    (tmp_path / "fewer.csv").write_text("\n".join(lines[:100]) + "\n")
    message = refused(capsys, *options, "--labels", tmp_path / "fewer.csv", "--out", tmp_path / "x")
    assert "not in the list" in message
    message = refused(capsys, *options, "--labels", world[0] / "enhanced-25p" / "labels.csv", "--out", tmp_path / "x")
    assert "were there already" in message
    assert not (tmp_path / "x").exists()


def test_ledger_without_additions_is_named_and_a_reviewed_one_is_a_ledger(reviewed, world, options, tmp_path, capsys):
    header = (reviewed[0] / "result" / "reviewed.csv").read_text().splitlines()[0]
    (tmp_path / "none.csv").write_text(header + "\n")
    assert "no additions" in refused(capsys, *options, "--ledger", tmp_path / "none.csv", "--out", tmp_path / "x")
    message = refused(capsys, *options, "--ledger", reviewed[0] / "judged.csv", "--out", tmp_path / "x")
    assert "column 'score' is missing" in message
    pq.write_table(pq.read_table(world[0] / "enhanced-25p" / "ledger.parquet").slice(0, 0), tmp_path / "none.parquet")
    assert "no additions" in refused(capsys, *options, "--ledger", tmp_path / "none.parquet", "--out", tmp_path / "x")
    arguments = [
        "--ledger",
        str(reviewed[0] / "result" / "reviewed.csv"),
        "--budget",
        "9",
        "--out",
        str(tmp_path / "x"),
    ]
    assert main([*options, *arguments]) == 0


def test_links_begin_where_the_segment_list_says_without_being_told_twice(tmp_path):
    (tmp_path / "segments.csv").write_text(
        'KK227gPpRn4, 30.000, 40.000, "/m/0bt9lr"\n-0RWZT-miFs, 7.000, 9.000, "/m/068hy"\n'
    )
    work, given = ["--work", str(tmp_path)], ["--labels", str(tmp_path / "segments.csv")]
    assert enhance.main([*work, *given, "--errors", "II", "--type2", "closure"]) == 0
    for labels in (given, []):
        assert main([*work, *labels, "--overwrite"]) == 0
        page = (tmp_path / "review" / "index.html").read_text(encoding="utf-8")
        assert '"start_s":30.0' in page and '"start_s":7.0' in page


def test_ids_of_eleven_letters_are_not_taken_for_videos(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("clip_id,labels\njazz_guitar,/m/0bt9lr\nrecording01,/m/068hy\n")
    arguments = ["--work", str(tmp_path)]
    assert enhance.main([*arguments, "--errors", "II", "--type2", "closure"]) == 0
    assert main(arguments) == 0
    assert "youtube" not in (tmp_path / "review" / "index.html").read_text(encoding="utf-8").lower()
    said = "the page has neither sound nor videos: give --clips, or AudioSet's list as --segments"
    assert said in capsys.readouterr().err


def test_download_of_a_blind_page_is_not_applied_as_it_is(world, options, tmp_path, capsys):
    assert main([*options, "--blind", "--budget", "30", "--out", str(tmp_path / "review")]) == 0
    file = judge_by(world[1], read_sample(tmp_path / "review"), tmp_path / "judged.csv")
    capsys.readouterr()
    assert enhance.main(["apply", str(file), "--out", str(tmp_path / "applied"), *options[:2]]) == 2
    assert "give the reviewed.csv" in capsys.readouterr().err


def test_judgements_of_another_page_or_ledger_are_named(reviewed, world, options, tmp_path, capsys):
    folder, _ = reviewed
    assert main([*options, "--budget", "30", "--out", str(tmp_path / "other")]) == 0
    arguments = [folder / "judged.csv", "--out", tmp_path / "result"]
    of_work = ["estimate", "--work", world[0]]
    message = refused(capsys, *of_work, "--sample", tmp_path / "other", *arguments)
    assert "judged on the page" in message
    assert f"{folder / 'judged.csv'}:2" in message
    ledger = world[0] / "enhanced-25p" / "ledger.csv.gz"
    message = refused(capsys, *of_work, "--sample", folder / "review", "--ledger", ledger, *arguments)
    assert "not the ledger" in message
    (tmp_path / "empty").mkdir()
    sample = shutil.copytree(folder / "review", tmp_path / "copy" / "review")
    (sample / "run.json").unlink()  # it says where the ledger is
    message = refused(capsys, "estimate", "--work", tmp_path / "empty", "--sample", sample, *arguments)
    assert "no enhanced-*" in message
    assert not (tmp_path / "result").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--decoys", "0.2"], "Add --blind"),
        (["--per-class", "9", "--budget", "20"], "Raise it"),
        (["--ledger", "no.parquet"], "no such file"),
    ],
)
def test_options_that_contradict_each_other_are_named(options, tmp_path, capsys, arguments, said):
    assert said in refused(capsys, *options, *arguments, "--out", tmp_path / "x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Name the files that judges downloaded"),
        (["x.csv", "--sure"], "--sure: is for new thresholds"),
        (["x.csv", "--own-judged", "3"], "--own-judged: is for new thresholds"),
    ],
)
def test_an_estimate_needs_judgements_and_options_of_thresholds_a_target(tmp_path, capsys, arguments, said):
    assert said in refused(capsys, "estimate", *arguments, "--out", tmp_path / "x")


@pytest.mark.parametrize(
    "argv",
    [
        ("--target-precision", "0.9"),
        ("page", "--own-judged", "3"),
        ("estimate", "x.csv", "--bands", "3"),
        ("estimate", "x.csv", "--seed", "0"),
        ("estimate", "x.csv", "--decoys", "0"),
    ],
)
def test_options_of_the_other_subcommand_are_refused(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(list(argv))
    assert "unrecognized arguments" in capsys.readouterr().err


def test_target_that_no_floor_reaches_is_an_error_and_nothing_is_written(reviewed, world, tmp_path, capsys):
    folder, _ = reviewed
    arguments = ["--sample", folder / "review", folder / "judged.csv", "--out", tmp_path / "result"]
    message = refused(capsys, "estimate", *arguments, "--work", world[0], "--target-precision", "1", "--sure")
    assert "no floor reaches 1" in message
    assert not (tmp_path / "result").exists()


def test_folder_of_somebody_else_is_not_replaced(options, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    assert "output exists" in refused(capsys, *options, "--out", tmp_path / "mine")
    assert "not a folder that review wrote" in refused(capsys, *options, "--out", tmp_path / "mine", "--overwrite")


def test_the_program_that_measures_reviews_by_the_truth_of_a_corpus_works(world, tmp_path):
    work, truth = world
    folder = shutil.copytree(work, tmp_path / "work")
    labels = LabelTable.read(work / "labels.csv", Vocabulary.load(work / "vocabulary.csv"))
    true_sets = [[name for name in labels.vocabulary.class_ids if (clip, name) in truth] for clip in labels.clip_ids]
    LabelTable.from_sets(labels.clip_ids, true_sets, labels.vocabulary).write(folder / "truth.csv")
    program = Path(__file__).parents[1] / "recipes" / "precision_coverage.py"
    command = [sys.executable, str(program), str(folder), "--budget", "100", "--seeds", "20"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"precision {true_precision(work, truth):.4f}; 100 judgements" in said
    assert int(said.split("holds it in ")[1].split()[0]) >= 17


# ---- what belongs to a named ledger ---------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(world, tmp_path, monkeypatch):
    """A copy of the work folder, A; in the current folder a `work` of the same clips, with other sound and scores."""
    shutil.copytree(world[0], tmp_path / "A")
    shutil.copytree(world[0], tmp_path / "here" / "work")
    for folder in ("A", "here/work"):
        (tmp_path / folder / "clips.h5").unlink(missing_ok=True)
    ids = LabelTable.read(tmp_path / "A" / "labels.csv", Vocabulary.load(tmp_path / "A" / "vocabulary.csv")).clip_ids
    for folder, level in (("A", 1), ("here/work", 9)):
        pieces = iter([np.full(2 * 1600 * len(ids), level, np.uint8)])
        write_clips(
            tmp_path / folder / "clips.h5", ClipTable(ids, ids, [1600] * len(ids), [3200] * len(ids), 1600), pieces
        )
    (tmp_path / "here" / "work" / "labels.csv").write_text("clip_id,labels\n")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "A"


def inputs_of(folder) -> set[str]:
    return {os.path.relpath(path, ".") for path in json.loads((folder / "run.json").read_text())["inputs"]}


def test_sound_list_and_scores_of_a_named_ledger_are_its_own_and_never_those_of_work(elsewhere, world):
    ontology = ("--ontology", str(world[0].parent / "ontology.csv"))
    made = ("enhanced-own", "--threshold", "25p", *ontology, "--work", str(elsewhere), "--out")
    assert enhance.main([*made[1:], str(elsewhere / made[0])]) == 0
    ledger = str(elsewhere / "enhanced-own" / "ledger.parquet")
    assert main(["--ledger", ledger, "--budget", "10", "--out", "page", *ontology]) == 0
    read = {name for name in inputs_of(Path("page")) if not name.endswith("ontology.csv")}
    names = ("enhanced-own/ledger.parquet", "labels.csv", "scores.h5", "clips.h5", "vocabulary.csv")
    assert read == {f"../A/{name}" for name in names}
    assert {path.name for path in Path("work").iterdir()}.isdisjoint({"review"})


def test_what_a_named_ledger_has_not_beside_it_is_absent_and_said_so(elsewhere, world, capsys):
    ontology = ("--ontology", str(world[0].parent / "ontology.csv"))
    own = ["--work", str(elsewhere), "--threshold", "25p", *ontology, "--out", str(elsewhere / "enhanced-own")]
    assert enhance.main(own) == 0
    (elsewhere / "clips.h5").unlink()
    with open(elsewhere / "scores.h5", "ab") as file:
        file.write(b"changed")
    arguments = ["--ledger", str(elsewhere / "enhanced-own" / "ledger.parquet"), "--budget", "10", "--out", "page"]
    capsys.readouterr()
    assert main([*arguments, *ontology]) == 0
    said = capsys.readouterr().err
    assert "no sound: work/clips.h5 does not belong to" in said
    assert "no scores on the page" in said and "was changed or removed" in said
    assert not {name for name in inputs_of(Path("page")) if name.endswith(".h5")}
    with open(elsewhere / "labels.csv", "a") as file:
        file.write("another,\n")
    said = refused(capsys, *arguments, *ontology, "--overwrite")
    assert "labels.csv: the list that was enhanced was changed or removed. Give --labels." in said


def test_a_page_or_a_ledger_is_not_replaced_by_what_is_made_of_it(reviewed, world, capsys):
    folder, _ = reviewed
    page = folder / "review"
    before = sorted(path.name for path in page.iterdir())
    arguments = ("--sample", page, folder / "judged.csv", "--out", page, "--overwrite")
    said = refused(capsys, "estimate", "--work", world[0], *arguments)
    assert "would be replaced while it is an input" in said
    assert sorted(path.name for path in page.iterdir()) == before


def test_items_without_sound_are_counted(tmp_path, capsys):
    from types import SimpleNamespace

    from pseudolabel import review as review_verb
    from pseudolabel.reviews.page import PageSources

    items = [SimpleNamespace(clip_id=clip_id) for clip_id in ("YgY1k1H3JwLw_30.000_40.000", "b", "b")]
    sources = PageSources(None, None)
    review_verb._note_silent(SimpleNamespace(items=items), sources)
    said = "3 of 3 items have no sound without --clips, 2 of them no video either: b\n"
    assert capsys.readouterr().err == said
