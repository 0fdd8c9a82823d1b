"""The recipe on known truth: its labels are those of `simulate --annotator`, and it compares what it has made."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pseudolabel import simulate as verb
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.known_truth_students import TRAINED_ON
from pseudolabel.score import main as score

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "known_truth.py"


def program():
    spec = importlib.util.spec_from_file_location("recipes_known_truth", RECIPE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


known_truth = program()


def simulate(work: Path, letter: str) -> None:
    few = ["--scenes", "200", "--validation", "1", "--eval", "1", "--duration", "1", "--sources", "7"]
    options = ["--work", str(work), *few, "--seed", "3", "--processes", "1", "--annotator", letter]
    assert verb.main(options) == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A corpus with labels by A and D, and scores of a teacher that is right more often than not."""
    folder = tmp_path_factory.mktemp("known") / "corpus-3"
    simulate(folder, "A")
    assert known_truth.main(["annotate", str(folder), "--annotators", "A", "D"]) == 0
    vocabulary = Vocabulary.load(folder / "vocabulary.csv")
    given = LabelTable.read(folder / "labels.csv", vocabulary)
    truth = LabelTable.read(folder / "truth.csv", vocabulary)
    row_of = {clip_id: row for row, clip_id in enumerate(truth.clip_ids)}
    true = truth.matrix.toarray()[[row_of[clip_id] for clip_id in given.clip_ids]]
    noisy = np.clip(0.3 + 0.4 * true + 0.15 * np.random.default_rng(0).standard_normal(true.shape), 0, 1)
    np.save(folder / "answers.npy", noisy.astype(np.float32)[::-1])
    (folder / "ids.txt").write_text("".join(f"{clip_id}\n" for clip_id in given.clip_ids[::-1]))
    (folder / "classes.txt").write_text("".join(f"{class_id}\n" for class_id in vocabulary.class_ids))
    for letter in "AD":
        names = ["--ids", f"{folder}/ids.txt", "--classes", f"{folder}/classes.txt", "--name", "noise"]
        out = ["--out", f"{folder}/scores/{letter}-in_fold.h5", "--work", str(folder)]
        assert score(["import", f"{folder}/answers.npy", *names, *out]) == 0
    return folder


def test_labels_of_each_annotator_are_those_that_simulate_gives(corpus, tmp_path):
    simulate(tmp_path / "d", "D")
    there = (tmp_path / "d" / "labels.csv").read_text()
    assert (corpus / "labels" / "D.csv").read_text() == there
    assert (corpus / "labels" / "A.csv").read_text() == (corpus / "labels.csv").read_text() != there


def test_all_rules_are_compared_on_all_corpora(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(known_truth, "has_cleanlab", lambda: False)
    monkeypatch.setattr("pseudolabel.reports.known_truth.has_cleanlab", lambda: False)
    command = ["compare", str(tmp_path), str(corpus), "--annotators", "A", "D", "--teachers", "in_fold", "--students"]
    assert known_truth.main(command) == 0
    assert not (tmp_path / "comparison" / "students.csv").exists()
    assert "cleanlab is not installed: its rows are left out. pip install 'pseudolabel[compare]'" in (
        capsys.readouterr().err
    )
    with open(tmp_path / "comparison" / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["corpus"], row["sounds"], row["teacher"]) for row in rows} == {("corpus-3", "synthesised", "in_fold")}
    rules = {row["rule"] for row in rows}
    assert {"mean", "25p", "10p", "5p", "closure", "propagation", "precision:0.7"} <= rules and len(rules) == 11
    f1 = {(row["annotator"], row["rule"], row["errors"]): float(row["f1"]) for row in rows}
    for letter in "AD":
        assert f1[letter, "precision:0.7", "I II free"] > f1[letter, "closure", "II"]
    assert (tmp_path / "comparison" / "report.html").is_file()


@pytest.fixture
def recorded(tmp_path) -> Path:
    """True labels of 150 clips without the parent that they imply, and a teacher who does not know tools or bells."""
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    dog, cat, tool = rng.random((3, 150)) < [[0.4], [0.3], [0.2]]
    names = ["Dog", "Cat", "Tool"]
    sets = [[name for name, there in zip(names, row, strict=True) if there] for row in zip(dog, cat, tool, strict=True)]
    ids = [f"c{i}" for i in range(150)]
    rows = [f"{clip_id},{';'.join(labels)}\n" for clip_id, labels in zip(ids, sets, strict=True)]
    (folder / "truth.csv").write_text("clip_id,labels\n" + "".join(rows))
    (folder / "vocabulary.csv").write_text("class_id,name\nAnimal,Animal\nDog,Dog\nCat,Cat\nBell,Bell\nTool,Tool\n")
    (folder / "ontology.csv").write_text(
        "class_id,name,child_ids,restrictions\nAnimal,Animal,Dog;Cat,\nDog,Dog,,\nCat,Cat,,\nBell,Bell,,\nTool,Tool,,\n"
    )
    true = np.stack([dog | cat, dog, cat], axis=1)
    scores = np.clip(0.3 + 0.4 * true + 0.1 * rng.standard_normal(true.shape), 0, 1)[:-1]  # the last clip has none
    np.save(tmp_path / "answers.npy", scores.astype(np.float32))
    (tmp_path / "ids.txt").write_text("".join(f"{clip_id}\n" for clip_id in ids[:-1]))
    (tmp_path / "classes.txt").write_text("Animal\nDog\nCat\n")
    names = ["--ids", f"{tmp_path}/ids.txt", "--classes", f"{tmp_path}/classes.txt", "--name", "noise"]
    assert score(["import", f"{tmp_path}/answers.npy", *names, "--work", str(folder)]) == 0
    return folder


def test_labels_are_left_out_of_a_list_of_true_ones(recorded, tmp_path, capsys, monkeypatch):
    """Ancestors complete the truth; clips without scores are named; a class without scores gets no other class's."""
    monkeypatch.setattr(known_truth, "DRAWINGS", 2)
    command = ["compare", str(tmp_path / "work"), str(recorded), "--annotators", "A", "D", *known_truth.KINDS]
    assert known_truth.main(command) == 0
    said = capsys.readouterr().err
    assert "ancestors of true labels added" in said and "annotator D goes by the level of events" in said
    assert "1 clip without scores left out: c149" in said
    with open(tmp_path / "work" / "comparison" / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["corpus"] for row in rows} == {f"mine-{seed}" for seed in range(2)}
    assert {row["annotator"] for row in rows} == {"A", "children", "parents", "events"}
    assert {(row["sounds"], row["teacher"], row["clips"], row["classes"]) for row in rows} == {
        ("mine", "scores", "149", "4")
    }
    for row in rows:
        if (row["rule"], row["annotator"]) == ("closure", "parents"):
            assert float(row["f1"]) == float(row["reached"]) == 1
        elif (row["rule"], row["annotator"]) == ("closure", "children"):
            assert (row["precision"], float(row["recall"]), float(row["reached"])) == ("", 0, 1)
    right = [float(row["guesses_right"]) for row in rows if (row["annotator"], row["rule"]) == ("children", "mean")]
    assert len(right) == 2 and min(right) > 0.8
    known = next(known for _, _, known in known_truth.recorded(recorded, ["events"]))
    carried = known.given["events"] | known.closure("events")
    each = [roc_auc_score(carried[:, k], known.scores[:, k]) for k in range(3)]
    (auc,) = {row["auc"] for row in rows if (row["corpus"], row["annotator"]) == ("mine-0", "events")}
    assert float(auc) == pytest.approx(np.median(each), abs=1e-6)
    assert known.vocabulary.class_ids == ("Animal", "Dog", "Cat", "Tool")  # no clip has a bell
    assert np.isnan(known.scores[:, 3]).all() and not np.isnan(known.scores[:, :3]).any()
    judged = known_truth.judge(known, "events", known_truth.calibration_of(known, "events"))
    assert all(one.measures.recall < 1 for one in judged)


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    assert known_truth.main(["--dry-run", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "neither a simulated corpus, nor true labels, nor .npz files" in capsys.readouterr().err
    (tmp_path / "truth.csv").write_text("clip_id,labels\na,b\n")
    assert known_truth.main(["--dry-run", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "has truth.csv, but no scores (scores*.h5). Make them with" in capsys.readouterr().err


def test_students_are_read_from_the_evaluation_of_their_annotator(tmp_path, capsys):
    corpus = tmp_path / "corpus-3"
    corpus.mkdir()
    (corpus / "events.csv").touch()
    (corpus / "run.json").write_text(json.dumps({"command": "python -m pseudolabel.simulate --sounds clips"}))
    command = ["compare", str(tmp_path), str(corpus), "--annotators", "A", "--teachers", "in_fold", "--students", "A"]
    for name in ("scores/A-in_fold.h5", "evaluation/A/metrics.json"):
        assert known_truth.main(["--dry-run", *command]) == 2
        assert f"{name}: no such file" in capsys.readouterr().err
        (corpus / name).parent.mkdir(parents=True)
        (corpus / name).touch()
    assert known_truth.main(["--dry-run", *command]) == 0
    rows = [{"row": name, "truth": {"map": {"mean": i / 8}}} for i, name in enumerate(TRAINED_ON)]
    (corpus / "evaluation" / "A" / "metrics.json").write_text(json.dumps({"rows": rows}))
    options = known_truth.CompareOptions(work=tmp_path, corpora=(corpus, tmp_path), students=("A",))
    (trained,) = known_truth.trained(options)
    assert (trained.corpus, trained.sounds, trained.annotator) == ("corpus-3", "recorded", "A")
    assert trained.maps == {"weak": 0, "25p": 0.125, "precision-0.7": 0.25, "soft": 0.375, "true": 0.5}
    (corpus / "evaluation" / "A" / "metrics.json").write_text(json.dumps({"rows": rows[:-1]}))
    with pytest.raises(InputError, match="has no row 'true' measured against true labels"):
        known_truth.trained(options)
