"""Defaults: what belongs to a named folder is taken from beside it, never from another project's ./work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.artefacts import write_csv
from pseudolabel.enhance import main as enhance
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.release import main as release
from pseudolabel.scores.store import ScoreStore

ONTOLOGY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wolf,
dog,Dog,bark,
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
"""
NAMES = ("animal", "dog", "wolf", "bark", "howl")
FIVE = Vocabulary("five", NAMES, tuple(map(str.title, NAMES)), NAMES)
RENAMED = Vocabulary("five", NAMES, tuple(f"Not {name}" for name in NAMES), NAMES)
TRAINED_ON = "clip_id\nx\ny\n"
CLIPS = tuple(f"c{i:02d}" for i in range(30))


def make_work(work: Path, seed: int, vocabulary: Vocabulary = FIVE) -> Path:
    rng = np.random.default_rng(seed)
    work.mkdir(parents=True)
    (work / "ontology.csv").write_text(ONTOLOGY)
    vocabulary.write(work / "vocabulary.csv")
    LabelTable(CLIPS, rng.random((30, 5)) < 0.3, vocabulary).write(work / "labels.csv")
    attributes = {"model": "m " + "0" * 64, "trained_on_sha256": hashlib.sha256(TRAINED_ON.encode()).hexdigest()}
    ScoreStore.write(work / "scores.h5", CLIPS, FIVE.class_ids, {"clip": rng.random((30, 5))}, attributes)
    assert enhance(["--work", str(work), "--ontology", str(work / "ontology.csv"), "--threshold", "25p"]) == 0
    return work


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ours(tmp_path) -> Path:
    """A project in a folder of its own."""
    return make_work(tmp_path / "elsewhere" / "ours", 1)


@pytest.fixture
def other(tmp_path, monkeypatch) -> Path:
    """Another project, in ./work of the current folder, with every file that a default of release has the name of."""
    (tmp_path / "here").mkdir()
    work = make_work(tmp_path / "here" / "work", 2, RENAMED)
    monkeypatch.chdir(tmp_path / "here")
    (work / "eval.csv").write_text("clip_id,labels\n" + "".join(f"{clip},\n" for clip in CLIPS))
    (work / "runs" / "teacher").mkdir(parents=True)
    (work / "runs" / "teacher" / "train_clips.csv").write_text(TRAINED_ON)
    (work / "review-result").mkdir()
    precision = {"overall": {"precision": 0.9, "low": 0.8, "high": 1.0, "judged": 30}}
    for path in (work / "precision.json", work / "review-result" / "precision.json"):
        path.write_text(json.dumps(precision))
    return work


def facts_of(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


@pytest.fixture
def released(ours, other, capsys) -> dict:
    """What run.json says of a release of our enhancement, made beside the other project; the output is beside it."""
    before = files_of(other)
    capsys.readouterr()
    assert release(["--enhanced", str(ours / "enhanced-25p")]) == 0
    assert files_of(other) == before, "the other project was changed"
    return facts_of(ours / "release-25p") | {"said": capsys.readouterr().err}


def test_the_evaluation_list_of_another_project_is_not_read(released, ours):
    assert released["evaluation_touched"] is None
    assert "no evaluation list: work/eval.csv does not belong to" in released["said"]
    assert "eval.csv" not in [row["name"] for row in released["inputs"]]


def test_the_evaluation_list_beside_the_enhancement_is_read(ours, other):
    write_csv(ours / "eval.csv", ("clip_id", "labels"), [("nowhere", "")])
    assert release(["--enhanced", str(ours / "enhanced-25p")]) == 0
    assert facts_of(ours / "release-25p")["evaluation_touched"] is False


def test_the_teacher_of_another_project_is_not_asked(released):
    assert "trained_on_clips" not in released["teacher"]


def test_the_teacher_beside_the_enhancement_is(ours, other):
    (ours / "runs" / "teacher").mkdir(parents=True)
    (ours / "runs" / "teacher" / "train_clips.csv").write_text(TRAINED_ON)
    assert release(["--enhanced", str(ours / "enhanced-25p")]) == 0
    assert facts_of(ours / "release-25p")["teacher"]["trained_on_clips"] == 2


def test_a_work_folder_that_is_named_has_the_teacher_but_not_the_truth(ours, other):
    assert release(["--enhanced", str(ours / "enhanced-25p"), "--work", "work/../work"]) == 0
    facts = facts_of(ours / "release-25p")
    assert facts["teacher"]["trained_on_clips"] == 2 and facts["evaluation_touched"] is None


def test_the_vocabulary_of_another_project_is_not_taken(released, ours):
    assert [row["name"] for row in released["by_class"]] == list(FIVE.names)
    assert (ours / "release-25p" / "classes.csv").read_text().count("Not") == 0


def test_no_precision_is_taken_that_nobody_gave(released):
    assert released["precision"] is None


@pytest.mark.parametrize(
    ("name", "said"), [("labels.csv", "computed from the ledger alone"), ("scores.h5", "no teacher")]
)
def test_labels_and_scores_of_another_project_do_not_stand_for_ours(ours, other, capsys, name, said):
    (ours / name).unlink()
    before = files_of(other)
    assert release(["--enhanced", str(ours / "enhanced-25p")]) == 0
    assert said in capsys.readouterr().err
    facts = facts_of(ours / "release-25p")
    assert (facts["teacher"] is None) == (name == "scores.h5")
    assert files_of(other) == before


def test_an_enhancement_that_was_moved_alone_is_released_where_it_is(ours, other, tmp_path, capsys):
    (tmp_path / "alone").mkdir()
    moved = (ours / "enhanced-25p").rename(tmp_path / "alone" / "enhanced-25p")
    before = files_of(other)
    assert release(["--enhanced", str(moved), "--vocabulary", str(ours / "vocabulary.csv")]) == 0
    assert (tmp_path / "alone" / "release-25p").is_dir() and files_of(other) == before


def test_scores_for_thresholds_are_not_taken_for_the_teachers(ours, capsys):
    work = str(ours)
    rng = np.random.default_rng(9)
    LabelTable(CLIPS, rng.random((30, 5)) < 0.5, FIVE).write(ours / "held_out.csv")
    attributes = {"model": "calibrator " + "1" * 64}
    ScoreStore.write(ours / "a.h5", CLIPS, FIVE.class_ids, {"clip": rng.random((30, 5))}, attributes)
    pair = ["--thresholds-from", str(ours / "held_out.csv"), str(ours / "a.h5")]
    assert (
        enhance(["--work", work, "--ontology", str(ours / "ontology.csv"), "--out", f"{work}/enhanced-b", *pair]) == 0
    )
    assert release(["--work", work, "--enhanced", f"{work}/enhanced-b"]) == 0
    assert facts_of(ours / "release-b")["teacher"]["name"] == "m"
    assert "alone" not in capsys.readouterr().err


def test_the_vocabulary_of_a_comparison_is_that_of_its_lists(ours, other, tmp_path):
    out = tmp_path / "difference"
    both = [str(ours / "labels.csv"), str(ours / "enhanced-25p")]
    before = files_of(other)
    assert release(["diff", *both, "--ontology", str(ours / "ontology.csv"), "--out", str(out)]) == 0
    assert "Not" not in (out / "by_class.csv").read_text()
    assert str(ours / "vocabulary.csv") in facts_of(out)["inputs"] and files_of(other) == before


def test_a_model_is_released_beside_its_run(other, tmp_path, capsys):
    import torch

    from pseudolabel.artefacts import write_json
    from pseudolabel.models.files import save_model
    from pseudolabel.models.tagger import build_tagger

    run = tmp_path / "elsewhere" / "runs" / "student"
    torch.manual_seed(0)
    small = {"name": "mobilenetv2", "options": {"width": 0.1, "last_channels": 16}}
    save_model(run, build_tagger({**small, "class_ids": ["a"], "class_names": ["A"]}))
    write_csv(run / "train_clips.csv", ("clip_id",), [["x"]])
    write_json(run / "run.json", {"verb": "train", "n_train_clips": 1, "options": {}, "inputs": {}})
    before = files_of(other)
    assert release(["model", str(run)]) == 0
    assert (tmp_path / "elsewhere" / "release-student").is_dir() and files_of(other) == before
