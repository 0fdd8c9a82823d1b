"""The recipe on known truth: its labels are those of `simulate --annotator`, and it compares what it has made."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from pseudolabel import simulate as verb
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
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
    command = ["compare", str(tmp_path), str(corpus), "--annotators", "A", "D", "--teachers", "in_fold"]
    assert known_truth.main(command) == 0
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


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    assert known_truth.main(["--dry-run", "compare", str(tmp_path), str(tmp_path)]) == 2
    assert "neither a simulated corpus nor a folder of .npz files" in capsys.readouterr().err
