"""The verb `release`: its folder, the same bytes everywhere, what the card is told, and its error lines."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.artefacts import write_csv
from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import balanced_weights, max_rule_weights
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main, make_release
from pseudolabel.release_options import DocumentOptions, MakeOptions
from pseudolabel.scores.store import ScoreStore

ONTOLOGY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wolf,
dog,Dog,bark,
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
"""
FIVE = Vocabulary("five", *(("animal", "dog", "wolf", "bark", "howl"),) * 3)
CLIPS = tuple(f"-c{i:02d}" for i in range(40))
ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "labels.csv", "labels.parquet", "original_labels.csv.gz", "psla.json", "added_labels.csv.gz",
    "added_labels.parquet", "thresholds.csv", "classes.csv", "missing.csv", "targets.h5", "sampling_weights.csv.gz",
    "README.md", "croissant.json", "CITATION.cff", "LICENSE", "LICENSE-ontology", "run.json", "SHA256SUMS",
    "thresholds.parquet", "classes.parquet", "missing.parquet", "original_labels.parquet", "sampling_weights.parquet",
    "class_labels_indices.csv",
}  # fmt: skip
DIGEST = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def work(tmp_path):
    """A work folder of random labels and scores, and what enhance adds at the 25th percentile."""
    folder, rng = tmp_path / "work", np.random.default_rng(6)
    folder.mkdir()
    (tmp_path / "ontology.csv").write_text(ONTOLOGY)
    LabelTable(CLIPS, rng.random((40, 5)) < 0.3, FIVE).write(folder / "labels.csv")
    FIVE.write(folder / "vocabulary.csv")
    attributes = {
        "model": f"efficientnet_b2 {DIGEST}",
        "trained_on_sha256": hashlib.sha256(b"clip_id\nx\ny\n").hexdigest(),
        "front_end": '[{"name": "kaldi", "n_mels": 128}]',
        "out_of_fold": False,
    }
    scores = {"clip": rng.random((38, 5))}
    ScoreStore.write(folder / "scores.h5", CLIPS[:38], FIVE.class_ids, scores, attributes)
    add(folder, "--threshold", "25p")
    return folder


def add(work, *options: object) -> None:
    assert enhance(["--work", str(work), "--ontology", str(work.parent / "ontology.csv"), *map(str, options)]) == 0


def run(work, *options: object) -> int:
    return main(["--work", str(work), *map(str, options)])


def facts_of(folder) -> dict:
    return json.loads((folder / "run.json").read_text(encoding="utf-8"))


def files_of(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def one_error_line(capsys) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_every_file_is_there_and_sha256sum_reads_the_checksums(work):
    assert run(work, "--soft", "uint8") == 0
    folder = work / "release-25p"
    assert set(files_of(folder)) == FILES
    assert run(work, "verify", folder) == 0
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_lists_and_weights_are_read_by_plain_code(work):
    assert run(work, "--beta", "0.3", "--wav", "/audio/{clip_id}.flac") == 0
    folder = work / "release-25p"
    original, labels = LabelTable.read(work / "labels.csv", FIVE), LabelTable.read(folder / "labels.csv", FIVE)
    assert gzip.decompress((folder / "original_labels.csv.gz").read_bytes()) == (work / "labels.csv").read_bytes()
    with gzip.open(folder / "added_labels.csv.gz", "rt") as file:
        added = {(row["clip_id"], row["class_id"]) for row in csv.DictReader(file)}
    listed = [
        {(clip, k) for clip, classes in zip(CLIPS, t.label_sets(), strict=True) for k in classes}
        for t in (original, labels)
    ]
    assert listed[1] - listed[0] == added
    assert added
    entries = json.loads((folder / "psla.json").read_text())["data"]
    sets = zip(CLIPS, labels.label_sets(), strict=True)
    assert entries == [{"wav": f"/audio/{clip}.flac", "labels": ",".join(of)} for clip, of in sets if of]
    with gzip.open(folder / "sampling_weights.csv.gz", "rt") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["clip_id", "sum_rule", "max_rule_beta_0.3"]
    assert [float(row[1]) for row in rows[1:]] == balanced_weights(labels.matrix).tolist()
    assert [float(row[2]) for row in rows[1:]] == max_rule_weights(labels.matrix, 0.3).tolist()
    assert not np.array_equal(balanced_weights(labels.matrix), balanced_weights(original.matrix))


def test_the_same_bytes_from_another_folder_with_another_hash_seed(work, tmp_path):
    assert run(work, "--soft", "float16") == 0
    other = tmp_path / "elsewhere" / "deep"
    other.mkdir(parents=True)
    for name in ("labels.csv", "vocabulary.csv", "scores.h5"):
        shutil.copy(work / name, other)
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}
    options = {"enhance": ["--ontology", str(tmp_path / "ontology.csv"), "--threshold", "25p"]}
    options["release"] = ["--enhanced", "enhanced-25p", "--out", "another-name", "--soft", "float16"]
    for verb, given in options.items():
        command = [sys.executable, "-m", f"pseudolabel.{verb}", "--work", ".", *given]
        subprocess.run(command, cwd=other, env=environment, check=True, capture_output=True)
    assert files_of(other / "another-name") == files_of(work / "release-25p")


def test_nothing_in_a_release_tells_the_machine_or_the_folder(work, tmp_path):
    import platform

    assert run(work) == 0
    for name, content in files_of(work / "release-25p").items():
        assert str(tmp_path).encode() not in content, name
        assert len(platform.node()) < 4 or platform.node().encode() not in content, name


def test_the_facts_say_rule_teacher_and_inputs(work):
    run_folder = work / "runs" / "teacher"
    run_folder.mkdir(parents=True)
    (run_folder / "train_clips.csv").write_text("clip_id\nx\ny\n")
    (work / "eval.csv").write_text("clip_id,labels\nelsewhere,\n")
    assert run(work, "--author", "Doe, Jane", "--name", "mine", "--release-version", "1.2.0") == 0
    facts = facts_of(work / "release-25p")
    assert (facts["name"], facts["version"], facts["authors"], facts["source"]) == ("mine", "1.2.0", ["Doe, Jane"], "")
    assert [facts["rule"][name] for name in ("threshold", "type1", "evidence")] == ["25p", "children", "clip"]
    teacher = facts["teacher"]
    assert (teacher["name"], teacher["sha256"]) == ("efficientnet_b2", DIGEST)
    assert teacher["trained_on_clips"] == 2
    assert teacher["front_end"] == {"name": "kaldi", "n_mels": 128}
    assert facts["out_of_fold"] is False
    assert facts["evaluation_touched"] is False
    names = {row["name"]: row["sha256"] for row in facts["inputs"]}
    assert names["labels.csv"] == sha256(work / "labels.csv")
    assert names["eval.csv"] == sha256(work / "eval.csv")
    summary = json.loads((work / "enhanced-25p" / "summary.json").read_text())
    same = "clips clips_changed clips_without_scores labels_before labels_after added added_by_type"
    for key in same.split():
        assert facts["counts"][key] == summary[key], key
    for row, expected in zip(facts["by_class"], summary["by_class"], strict=True):
        assert row | expected == row


def test_evaluation_clips_whose_labels_changed_are_told(work):
    before, after = (LabelTable.read(work / name, FIVE).matrix for name in ("labels.csv", "enhanced-25p/labels.csv"))
    changed = before != after
    clips = [CLIPS[row] for row in sorted(set(changed.nonzero()[0].tolist()))]
    unchanged = next(clip for clip in CLIPS if clip not in clips)
    for name, listed, touched in (("a", clips[:1], True), ("b", [unchanged], False)):
        write_csv(work / f"{name}.csv", ("clip_id", "labels"), ((clip, "") for clip in listed))
        assert run(work, "--evaluation", work / f"{name}.csv", "--overwrite") == 0
        assert facts_of(work / "release-25p")["evaluation_touched"] is touched
    assert run(work, "--overwrite") == 0
    assert facts_of(work / "release-25p")["evaluation_touched"] is None


def test_the_lists_may_be_gone(work, capsys):
    (work / "labels.csv").unlink()
    (work / "scores.h5").unlink()
    assert run(work) == 0
    said = capsys.readouterr().err
    assert "the list before is computed from the ledger alone" in said
    assert "the card names no teacher" in said
    assert facts_of(work / "release-25p")["teacher"] is None
    assert run(work, "--soft", "uint8", "--overwrite") == 2
    assert "--soft uint8: the teacher's scores are not here" in capsys.readouterr().err


def test_precision_of_this_ledger_is_taken_and_that_of_another_refused(work, capsys):
    precision = {"overall": {"precision": 0.8, "low": 0.7, "high": 0.9, "judged": 50}}
    precision["ledger_sha256"] = sha256(work / "enhanced-25p" / "ledger.parquet")
    (work / "precision.json").write_text(json.dumps(precision))
    assert run(work, "--precision", work / "precision.json") == 0
    assert facts_of(work / "release-25p")["precision"] == precision
    same = precision | {"ledger_sha256": sha256(work / "enhanced-25p" / "ledger.csv.gz")}  # the same additions as text
    (work / "precision.json").write_text(json.dumps(same))
    assert run(work, "--precision", work / "precision.json", "--overwrite") == 0
    (work / "precision.json").write_text(json.dumps(precision | {"ledger_sha256": DIGEST}))
    capsys.readouterr()
    assert run(work, "--precision", work / "precision.json", "--overwrite") == 2
    assert "precision.json: the judgements are of another ledger" in one_error_line(capsys)
    (work / "precision.json").write_text('{"overall": 1}')
    assert run(work, "--precision", work / "precision.json", "--overwrite") == 2
    assert "no overall precision" in one_error_line(capsys)


def test_reviewed_additions_are_released(work):
    with gzip.open(work / "enhanced-25p" / "ledger.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    for number, row in enumerate(rows):
        row["decision"] = ("right", "wrong", "unsure")[number % 3]
    write_csv(work / "reviewed.csv", rows[0], (row.values() for row in rows))
    assert enhance(["apply", str(work / "reviewed.csv"), "--work", str(work)]) == 0
    assert run(work, "--enhanced", work / "enhanced-reviewed") == 0
    facts = facts_of(work / "release-reviewed")
    assert facts["counts"]["added"]["labels_added"] == facts["rule"]["reviewed"]["right"] == -(-len(rows) // 3)
    assert facts["weak_classes"] == [row for row in facts["weak_classes"] if "more than doubled" in row["why"]]
    assert run(work, "verify", work / "release-reviewed") == 0


def test_closure_needs_no_scores(work):
    (work / "scores.h5").unlink()
    add(work, "--errors", "II", "--type2", "closure")
    assert run(work, "--enhanced", work / "enhanced-closure") == 0
    facts = facts_of(work / "release-closure")
    assert (facts["name"], facts["teacher"], facts["rule"]["evidence"]) == ("labels-enhanced-closure", None, None)


def test_nothing_added_is_a_release_too(work):
    write_csv(work / "labels.csv", ("clip_id", "labels"), [(clip, "animal") for clip in CLIPS])
    add(work, "--errors", "II", "--type2", "closure", "--overwrite", "--out", work / "enhanced-none")
    assert run(work, "--enhanced", work / "enhanced-none") == 0
    assert facts_of(work / "release-none")["counts"]["added"]["labels_added"] == 0
    assert run(work, "verify", work / "release-none") == 0


def test_the_real_balanced_list_is_a_drop_in_for_the_published_one(shared_data, tmp_path):
    source = shared_data / "audioset" / "balanced_train_segments.csv"
    closure = ["--errors", "II", "--type2", "closure"]
    assert enhance(["--work", str(tmp_path), "--labels", str(source), *closure]) == 0
    evaluation = shared_data / "audioset" / "eval_segments.csv"
    assert run(tmp_path, "--evaluation", evaluation) == 0
    facts = facts_of(tmp_path / "release-closure")
    assert (facts["source"], facts["name"]) == ("AudioSet", "audioset-enhanced-closure")
    assert facts["evaluation_touched"] is False
    counts = facts["counts"]
    assert (counts["labels_before"], counts["labels_after"], counts["clips"]) == (52_882, 79_603, 22_160)
    with open(tmp_path / "release-closure" / "segments.csv", newline="") as file:
        ours = list(csv.reader(file, skipinitialspace=True))[3:]
    with open(source, newline="") as file:
        published = list(csv.reader(file, skipinitialspace=True))[3:]
    assert [row[:3] for row in ours] == [row[:3] for row in published]
    assert all(set(one[3].split(",")) >= set(two[3].split(",")) for one, two in zip(ours, published, strict=True))


def test_another_ledger_than_the_labels_is_refused(work, capsys):
    add(work, "--threshold", "5p")
    for name in ("ledger.parquet", "ledger.csv.gz"):
        shutil.copy(work / "enhanced-5p" / name, work / "enhanced-25p")
    assert run(work, "--enhanced", work / "enhanced-25p") == 2
    assert "added labels are not in the list" in one_error_line(capsys)
    assert not (work / "release-25p").exists()


def test_an_edited_list_is_refused(work, capsys):
    enhanced = work / "enhanced-25p" / "labels.csv"
    lines = enhanced.read_text().splitlines()
    row = next(row for row, line in enumerate(lines) if line.endswith(","))
    enhanced.write_text("\n".join([*lines[:row], f"{lines[row]}howl", *lines[row + 1 :], ""]))
    assert run(work) == 2
    assert "labels_before is" in one_error_line(capsys)


def test_other_inputs_than_enhance_read_are_refused(work, capsys):
    labels = LabelTable.read(work / "labels.csv", FIVE)
    LabelTable(CLIPS, labels.matrix[::-1], FIVE).write(work / "other.csv")
    assert run(work, "--labels", work / "other.csv") == 2
    assert "other.csv: its labels are not the enhanced ones without those of the ledger" in one_error_line(capsys)
    ScoreStore.write(work / "other.h5", CLIPS, FIVE.class_ids, {"clip": np.zeros((40, 5))})
    assert run(work, "--scores", work / "other.h5") == 2
    assert "other.h5: not the scores that enhance read" in one_error_line(capsys)
    assert run(work, "--vocabulary", "audioset") == 2
    assert "its 5 classes are not those of audioset" in one_error_line(capsys)


def test_which_folder_is_meant_must_be_clear(work, tmp_path, capsys):
    add(work, "--threshold", "5p")
    assert run(work) == 2
    assert "2 enhanced folders" in one_error_line(capsys)
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty") == 2
    assert "no folder enhanced-*" in one_error_line(capsys)
    assert run(work, "--enhanced", tmp_path / "empty") == 2
    assert "there is no labels.csv" in one_error_line(capsys)


def test_what_is_no_release_is_not_replaced(work, capsys):
    (work / "thesis").mkdir()
    (work / "thesis" / "chapter1.txt").write_text("x")
    assert run(work, "--out", work / "thesis") == 2
    assert "output exists" in one_error_line(capsys)
    assert run(work, "--out", work / "thesis", "--overwrite") == 2
    assert "not a release, so it is not replaced" in one_error_line(capsys)
    assert run(work) == 0
    before = files_of(work / "release-25p")
    capsys.readouterr()
    assert run(work) == 2
    assert "output exists" in one_error_line(capsys)
    assert run(work, "--overwrite") == 0
    assert files_of(work / "release-25p") == before


def test_a_changed_byte_ends_with_2_and_one_line(work, capsys):
    assert run(work) == 0
    capsys.readouterr()
    path = work / "release-25p" / "labels.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert run(work, "verify", work / "release-25p") == 2
    assert "changed: labels.parquet" in one_error_line(capsys)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--soft-windows", "2s"], "--soft-windows: says which scores --soft writes"),
        (["--soft", "uint8", "--soft-windows", "2s", "2"], "--soft-windows: a scale is listed twice"),
        (["--wav", "{clip_id}/a.wav"], "--wav: a recording's name must have the clip's id"),
    ],
)
def test_options_that_contradict_each_other_are_refused_in_one_line(work, capsys, options, said):
    capsys.readouterr()
    assert run(work, *options) == 2
    assert said in one_error_line(capsys)
    assert not (work / "release-25p").exists()


@pytest.mark.parametrize(
    ("options", "unknown"),
    [
        (["--onnx"], "--onnx"),
        (["--ontology", "x.csv"], "--ontology"),
        (["--unknown-labels", "skip"], "--unknown-labels"),
        (["verify", "x", "--soft", "uint8"], "--soft"),
        (["verify", "x", "--out", "y"], "--out"),
        (["verify", "x", "--model", "y"], "--model"),
        (["diff", "x", "y", "--precision", "z"], "--precision"),
        (["model", "x", "--name", "y"], "--name"),
    ],
)
def test_a_subcommand_has_its_own_options_only(work, capsys, options, unknown):
    with pytest.raises(SystemExit) as stopped:
        run(work, *options)
    assert stopped.value.code == 2 and f"unrecognized arguments: {unknown}" in capsys.readouterr().err
    assert not (work / "release-25p").exists()


def test_make_is_what_the_verb_does_without_a_subcommand(work):
    assert run(work, "make", "--out", work / "named") == run(work, "--out", work / "alone") == 0
    assert files_of(work / "named") == files_of(work / "alone")
    make_release(MakeOptions(work=work, out=work / "called", documents=DocumentOptions(authors=("Doe, Jane",))))
    assert facts_of(work / "called")["authors"] == ["Doe, Jane"]
    with pytest.raises(InputError, match=r"MakeOptions\.soft_windows: must be a tuple"):
        MakeOptions(soft_windows="2s")
    with pytest.raises(InputError, match=r"--soft-windows: says which scores --soft writes\. Give --soft too"):
        MakeOptions(soft_windows=("clip",))


def test_a_work_folder_that_was_moved_makes_the_same_release(work, tmp_path, capsys):
    assert run(work, "--soft", "uint8") == 0
    before = files_of(work / "release-25p")
    moved = work.rename(tmp_path / "moved")
    capsys.readouterr()
    for name, place in (("a", ["--work", str(moved)]), ("b", ["--enhanced", str(moved / "enhanced-25p")])):
        options = [] if name == "a" else ["--vocabulary", str(moved / "vocabulary.csv")]
        assert main([*place, *options, "--soft", "uint8", "--out", str(tmp_path / name)]) == 0
        assert "elsewhere" not in capsys.readouterr().err
        assert files_of(tmp_path / name) == before


def test_runs_that_did_not_make_the_scores_are_no_teachers(work, capsys):
    run_folder = work / "runs" / "other"
    run_folder.mkdir(parents=True)
    (run_folder / "train_clips.csv").write_text("clip_id\nz\n")
    capsys.readouterr()
    for folder in (run_folder, work / "nowhere"):
        assert run(work, "--teacher", folder) == 2
        assert "these runs do not have the lists of clips that the scores name" in one_error_line(capsys)


def test_with_strict_clips_without_scores_are_refused(work, capsys):
    capsys.readouterr()
    assert run(work, "--strict") == 2
    assert "2 clips have no scores: -c38, -c39" in one_error_line(capsys)


def test_a_list_of_no_known_source_is_refused(work, capsys):
    capsys.readouterr()
    assert run(work, "--list", work / "labels.csv") == 2
    assert "not a list of the form of AudioSet, FSD50K or ESC-50" in one_error_line(capsys)


def test_a_source_of_any_name_gives_a_name_to_the_release(work):
    assert run(work, "--source", "My Sounds (2)") == 0
    assert facts_of(work / "release-25p")["name"] == "my-sounds-2-enhanced-25p"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"by_class": [{"class_id": "dog"}]}, "by_class[0]: precision, low, high and 1 more is missing"),
        ({"by_error": {}, "by_band": 1}, "by_band: is int, not a list"),
        ({"overall": {"precision": "high", "low": 0, "high": 1, "judged": 3}}, "overall: a figure is not a number"),
    ],
)
def test_a_precision_with_other_figures_is_refused(work, capsys, changed, said):
    overall = {"precision": 0.8, "low": 0.7, "high": 0.9, "judged": 50}
    (work / "precision.json").write_text(json.dumps({"overall": overall, **changed}))
    capsys.readouterr()
    assert run(work, "--precision", work / "precision.json") == 2
    assert f"precision.json, {said}" in one_error_line(capsys)
