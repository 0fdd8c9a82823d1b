"""`enhance --explain CLIP`: of the options of a run, of an existing folder, of one that a reviewer corrected."""

from __future__ import annotations

import csv
import gzip
import json

import numpy as np
import pytest

from pseudolabel.enhance import main
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.store import ScoreStore

ONTOLOGY = "class_id,name,child_ids,restrictions\nanimal,Animal,dog;cat,\ndog,Dog,bark,\ncat,Cat,,\nbark,Bark,,\n"
CLASSES = ("animal", "dog", "cat", "bark")
VOCABULARY = Vocabulary("four", CLASSES, ("Animal", "Dog", "Cat", "Bark"), CLASSES)
CLIPS = ("-c1", "c2", "c3")
LABELS = LabelTable.from_sets(CLIPS, [{"dog"}, {"bark", "cat"}, {"animal"}], VOCABULARY)
SCORES = np.array([[0.75, 0.5, 0.25, 0.75], [0.25, 0.75, 0.5, 0.5], [0.5, 0.25, 0.75, 0.25]])
# thresholds at the mean: 1/2 each; -c1 gets animal and bark, c2 gets dog, c3 gets cat
OF_C1 = """  given            Dog         .500
  added            Animal  II  .750 > .500  proposed by Dog
  added            Bark    I   .750 > .500  proposed by Dog
  not a candidate  Cat         .250         only labels added in the last round would propose it: more --rounds (Animal)
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A work folder of three clips, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    LABELS.write(folder / "labels.csv")
    VOCABULARY.write(folder / "vocabulary.csv")
    ScoreStore.write(folder / "scores.h5", CLIPS, CLASSES, {"clip": SCORES})
    return folder


def run(*options: str) -> int:
    return main([*options, "--ontology", "ontology.csv"])


def refused(capsys, *options: str) -> str:
    capsys.readouterr()
    assert main(list(options)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("pseudolabel enhance: error: ")


@pytest.mark.parametrize("clip", ["-c1", "audio/-c1.wav"])
@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_clip_is_explained_and_nothing_is_written(work, capsys, clip, more):
    before = {path: path.stat().st_mtime_ns for path in work.parent.rglob("*")}
    assert run(f"--explain={clip}", *more) == 0
    heading = "-c1: work/labels.csv, threshold mean, work/scores.h5\n2 of 2 candidates are added\n"
    assert capsys.readouterr().out == heading + OF_C1
    assert {path: path.stat().st_mtime_ns for path in work.parent.rglob("*")} == before


def test_an_existing_folder_is_explained_as_it_was_made(work, capsys):
    assert run("--threshold", "0.5", "--rounds", "2", "--out", "made") == 0
    options = json.loads((work.parent / "made" / "run.json").read_text())["options"]
    names = ("ontology", "threshold", "rounds", "soft", "format", "vocabulary", "thresholds_from", "work", "out")
    assert [options[name] for name in names] == ["ontology.csv", "0.5", 2, False, None, None, None, "work", "made"]
    capsys.readouterr()
    assert main(["--explain", "c2", "--enhanced", "made"]) == 0
    of_folder = capsys.readouterr().out.splitlines()
    assert run("--explain", "c2", "--threshold", "0.5", "--rounds", "2") == 0
    of_options = capsys.readouterr().out.splitlines()
    assert of_folder[0] == of_options[0] + ", made" and of_folder[1:] == of_options[1:]


def test_all_that_a_run_was_made_from_is_found_again(work, capsys):
    table = "class_id,threshold\n" + "".join(f"{k},0.5\n" for k in CLASSES)
    (work / "table.csv").write_text(table)
    pair = ["--thresholds-from", "work/labels.csv", "work/scores.h5"]
    assert run("--threshold", "work/table.csv", *pair, "--out", "table") == 0
    assert run("--errors", "II", "--type2", "closure", "--out", "closure") == 0
    for name in ("table", "closure"):
        capsys.readouterr()
        assert main(["--explain=-c1", "--enhanced", name]) == 0
        assert "  Animal  II  " in capsys.readouterr().out


def test_what_a_reviewer_decided_is_said(work, capsys):
    assert run("--out", "work/enhanced-mean") == 0
    with gzip.open("work/enhanced-mean/ledger.csv.gz", "rt", newline="") as file:
        header, *rows = csv.reader(file)
    decisions = {("-c1", "animal"): "wrong", ("-c1", "bark"): "right", ("c2", "dog"): "unsure"}
    with open("work/enhanced-mean/reviewed.csv", "w", newline="") as file:
        decided = [[*row, decisions.get((row[0], row[1]), "")] for row in rows]
        csv.writer(file).writerows([[*header, "decision"], *decided])
    assert main(["apply", "work/enhanced-mean/reviewed.csv", "--out", "work/enhanced-reviewed"]) == 0
    said = {}
    for clip in CLIPS:
        capsys.readouterr()
        assert main([f"--explain={clip}", "--enhanced", "work/enhanced-reviewed"]) == 0
        said[clip] = capsys.readouterr().out
    assert "1 of 2 candidates are added" in said["-c1"]
    assert "  not added        Animal  II  .750 > .500  a reviewer rejected it, proposed by Dog\n" in said["-c1"]
    assert "  added            Bark    I   .750 > .500  a reviewer found it right, proposed by Dog\n" in said["-c1"]
    assert "a reviewer was unsure, proposed by Bark" in said["c2"]
    assert "no reviewer decided, proposed by Animal" in said["c3"]


def test_bad_requests_are_one_line(work, capsys):
    assert run("--out", "made") == 0
    line = refused(capsys, "--explain", "c9", "--ontology", "ontology.csv")
    assert line.startswith("work/labels.csv: no clip 'c9' in the label list. Nearest: c")
    of_folder = ("--explain", "c2", "--enhanced", "made")
    assert refused(capsys, *of_folder, "--threshold", "25p") == (
        "--threshold: the run.json of made records it. Omit it, or --enhanced."
    )
    assert refused(capsys, *of_folder, "--labels", "work/labels.csv") == (
        "--labels: the run.json of made records it. Omit it, or --enhanced."
    )
    assert refused(capsys, "--explain", "c2", "--enhanced", "work") == (
        "work: its run.json does not say how it was made. Give a folder that enhance wrote, such as work/enhanced-25p."
    )
    assert refused(capsys, "--explain", "c2", "--soft") == "--soft: nothing is written with --explain. Omit it."
    assert refused(capsys, "--enhanced", "made").startswith("--enhanced: has no effect without --explain.")
    (work / "labels.csv").write_text("clip_id,labels\nc2,dog\n")
    assert refused(capsys, "--explain", "c2", "--enhanced", "made") == (
        "work/labels.csv: an input of made was changed or removed. Enhance again, or restore it."
    )
