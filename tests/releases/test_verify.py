"""Verify: every kind of change to a release is named, also where checksums were made to fit it."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.ledger import write_ledger
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.release import main as release
from pseudolabel.releases import folder as files
from pseudolabel.releases.facts import Facts
from pseudolabel.releases.tables import label_rows, write_rows
from pseudolabel.releases.verify import verify_release
from pseudolabel.scores.store import ScoreStore
from pseudolabel.tables import read_csv

ONTOLOGY = """class_id,name,child_ids,restrictions
animal,Animal,dog;wolf,
dog,Dog,bark,
wolf,Wolf,howl,
bark,Bark,,
howl,Howl,,
"""
FIVE = Vocabulary("five", *(("animal", "dog", "wolf", "bark", "howl"),) * 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release with soft targets, of random labels and scores."""
    work, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(8)
    (work / "ontology.csv").write_text(ONTOLOGY)
    clips = [f"c{i:02d}" for i in range(60)]
    LabelTable(clips, rng.random((60, 5)) < 0.3, FIVE).write(work / "labels.csv")
    FIVE.write(work / "vocabulary.csv")
    windows = rng.random((58, 5, 5)).astype(np.float16)
    ScoreStore.write(work / "scores.h5", clips[:58], FIVE.class_ids, {"clip": windows.mean(axis=1), 2: windows})
    options = ["--work", str(work), "--ontology", str(work / "ontology.csv"), "--evidence", "2s", "--rounds", "2"]
    assert enhance([*options, "--threshold", "25p"]) == 0
    assert release(["--work", str(work), "--soft", "float16", "--soft-windows", "clip", "2s"]) == 0
    return work / "release-25p"


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "release")


def seal(folder, **changed) -> None:
    """Make run.json, the documents and the checksums fit files that were changed, as a careful forger would."""
    facts = Facts.from_json(json.loads((folder / "run.json").read_text()))
    facts = replace(facts, **changed, files=files.described_files(folder))
    for name, text in files.documents(facts).items():
        (folder / name).write_text(text, encoding="utf-8")
    write_json(folder / "run.json", facts.to_json())
    (folder / "SHA256SUMS").write_text(files.checksums(folder))


def change_ledger(folder, **columns) -> None:
    """Replace columns of the ledger, in both its forms."""
    ledger = pq.read_table(folder / files.ADDED)
    for name, values in columns.items():
        place = ledger.column_names.index(name)
        ledger = ledger.set_column(place, ledger.schema.field(name), pa.array(values, ledger.schema.field(name).type))
    write_ledger(ledger, folder)
    (folder / "ledger.parquet").replace(folder / files.ADDED)
    (folder / "ledger.csv.gz").replace(folder / files.ADDED_CSV)


def column(folder, name) -> list:
    return pq.read_table(folder / files.ADDED)[name].to_pylist()


def refused(folder, match):
    with pytest.raises(InputError, match=match):
        verify_release(folder)


def test_a_release_as_it_was_made_holds(made, copy):
    lines = verify_release(made)
    seal(copy)  # a forger who changes nothing changes no byte
    assert verify_release(copy) == lines
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == {p.name: p.read_bytes() for p in made.iterdir()}
    assert len(column(made, "clip_id")) > 20, "the release is too small to show anything"
    assert set(column(made, "round")) == {1, 2}


def test_any_changed_byte_is_found_in_the_file_that_has_it(made, copy):
    rng = np.random.default_rng(1)
    for path in sorted(made.iterdir()):
        original = path.read_bytes()
        changed = bytearray(original)
        changed[int(rng.integers(len(original)))] ^= 1 << int(rng.integers(7))
        (copy / path.name).write_bytes(changed)
        refused(copy, "SHA256SUMS|missing:" if path.name == "SHA256SUMS" else f"changed: {path.name}")
        (copy / path.name).write_bytes(original)
    verify_release(copy)


def test_missing_and_further_files_are_named(copy):
    kept = (copy / "labels.parquet").read_bytes()
    (copy / "labels.parquet").unlink()
    refused(copy, r"missing: labels\.parquet")
    (copy / "labels.parquet").write_bytes(kept)
    (copy / "notes").mkdir()
    (copy / "notes" / "more.txt").write_text("x")
    refused(copy, r"not part of the release: notes/more\.txt")


def test_sums_that_leave_a_file_out_do_not_help(copy):
    (copy / "labels.parquet").unlink()
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, r"missing: labels\.parquet")


@pytest.mark.parametrize("line", ["", "0" * 64 + " labels.csv", "0" * 64 + "  ../labels.csv", "x" * 64 + "  a"])
def test_lines_of_the_checksums_that_are_none_are_named(copy, line):
    sums = copy / "SHA256SUMS"
    sums.write_text(sums.read_text() + line + "\n")
    refused(copy, rf"SHA256SUMS:{sums.read_text().count(chr(10))}: not a line")


def test_a_folder_that_is_no_release_is_said(tmp_path):
    refused(tmp_path / "nowhere", "no such folder")
    refused(tmp_path, "there is no SHA256SUMS")


def test_a_label_that_is_not_in_the_ledger_is_found(copy):
    rows = read_csv(copy / "labels.csv")
    first = next(row for row in rows if row["labels"] == "")
    first["labels"] = "howl"
    write_csv(copy / "labels.csv", ("clip_id", "labels"), ((row["clip_id"], row["labels"]) for row in rows))
    seal(copy)
    refused(copy, r"original_labels\.csv\.gz: labels\.csv without the additions")


def test_a_label_taken_away_that_is_in_the_ledger_is_found(copy):
    clip_id, class_id = column(copy, "clip_id")[0], column(copy, "class_id")[0]
    rows = read_csv(copy / "labels.csv")
    for row in rows:
        if row["clip_id"] == clip_id:
            row["labels"] = ";".join(label for label in row["labels"].split(";") if label != class_id)
    write_csv(copy / "labels.csv", ("clip_id", "labels"), ((row["clip_id"], row["labels"]) for row in rows))
    seal(copy)
    refused(copy, f"1 added labels are not in the list: clips {clip_id}")


def test_a_class_that_is_none_is_found(copy):
    text = (copy / "labels.csv").read_text()
    (copy / "labels.csv").write_text(text.replace("howl", "hoot", 1))
    seal(copy)
    refused(copy, r"labels\.csv:\d+: .*'hoot'")


@pytest.mark.parametrize("name", ["labels.parquet", "psla.json"])
def test_forms_that_say_other_labels_are_found(copy, name):
    labels = LabelTable.read(copy / "labels.csv", Vocabulary.load(copy / "classes.csv"))
    other = LabelTable(labels.clip_ids, labels.matrix[::-1], labels.vocabulary)
    if name == "psla.json":
        other.write(copy / name, "psla")
    else:
        write_rows(label_rows(other), copy / name)
    seal(copy)
    refused(copy, f"{name}: has other labels than labels.csv")


@pytest.mark.parametrize("name", ["thresholds", "classes", "original_labels", "missing", "sampling_weights"])
def test_parquet_files_that_differ_from_their_csv_are_found(copy, name):
    rows = pq.read_table(copy / f"{name}.parquet")
    write_rows(rows.slice(1), copy / f"{name}.parquet")
    seal(copy)
    refused(copy, rf"{name}\.parquet: has other rows than the same table as CSV")
    write_rows(rows.rename_columns(["x", *rows.column_names[1:]]), copy / f"{name}.parquet")
    seal(copy)
    refused(copy, rf"{name}\.parquet: its columns are x \(string\)")


def test_class_numbers_that_are_not_those_of_the_labels_are_found(copy):
    rows = pq.read_table(copy / "labels.parquet")
    numbers = pa.array([[number + 1 for number in row] for row in rows["classes"].to_pylist()], pa.list_(pa.int64()))
    write_rows(rows.set_column(2, "classes", numbers), copy / "labels.parquet")
    seal(copy)
    refused(copy, r"labels\.parquet: has other labels than labels\.csv")


def test_a_list_of_classes_for_psla_that_differs_is_found(copy):
    path = copy / "class_labels_indices.csv"
    path.write_text(path.read_text().replace("0,", "1,", 1))
    seal(copy)
    refused(copy, r"class_labels_indices\.csv: has other labels than labels\.csv")


def test_a_ledger_whose_forms_differ_is_found(copy):
    text = gzip.decompress((copy / files.ADDED_CSV).read_bytes()).decode().splitlines(keepends=True)
    (copy / files.ADDED_CSV).write_bytes(gzip.compress("".join(text[:-1]).encode(), mtime=0))
    seal(copy)
    refused(copy, r"added_labels\.csv\.gz: has other rows")


def test_scores_not_above_their_threshold_are_found(copy):
    scores, thresholds = column(copy, "score"), column(copy, "threshold")
    change_ledger(copy, score=[thresholds[0], *scores[1:]])
    seal(copy)
    refused(copy, r"the score is not above the threshold \(1 added labels, first")
    change_ledger(copy, score=[None, *scores[1:]])
    seal(copy)
    refused(copy, "a score without a threshold")


def test_thresholds_other_than_the_classs_are_found(copy):
    thresholds = column(copy, "threshold")
    change_ledger(copy, threshold=[np.nextafter(thresholds[0], 0), *thresholds[1:]])
    seal(copy)
    refused(copy, r"the threshold is not the one of thresholds\.csv \(1 added labels")


def test_reasons_that_are_not_on_the_clip_are_found(copy):
    because, rounds = column(copy, "because"), column(copy, "round")
    later = rounds.index(2)
    change_ledger(copy, round=[1 if place == later else number for place, number in enumerate(rounds)])
    seal(copy)
    refused(copy, r"proposed by a label that is not on the clip \(1 added labels")
    change_ledger(copy, round=rounds, because=[["cat"], *because[1:]])
    seal(copy)
    refused(copy, r"proposed by a label that is not on the clip \(1 added labels")


def test_scores_other_than_the_ledgers_are_found(copy):
    scores, clips = column(copy, "score"), column(copy, "clip_id")
    with h5py.File(copy / "targets.h5", "r+") as file:
        row = file["clip_id"][:].tolist().index(clips[0].encode())
        file["scores_2s"][row] = 0.0
    seal(copy)
    refused(copy, rf"targets\.h5: \d+ scores are not those of the ledger \(first \w+ of {clips[0]}\)")
    assert all(score > 0 for score in scores)


def test_targets_of_other_clips_are_found(copy):
    with h5py.File(copy / "targets.h5", "r+") as file:
        file["clip_id"][0] = b"zzz"
        ScoreStore.seal(file)
    seal(copy)
    refused(copy, r"targets\.h5: its clips are not those")


def test_weights_of_other_labels_are_found(copy):
    path = copy / files.WEIGHTS
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    clip_id, first, second = lines[1].split(",")
    for changed, name in (
        (f"{clip_id},{float(first) + 1e-3},{second}", "sum_rule"),
        (f"{clip_id},{first},9", "max_rule"),
    ):
        path.write_bytes(gzip.compress("\n".join([lines[0], changed, *lines[2:], ""]).encode(), mtime=0))
        seal(copy)
        refused(copy, rf"{files.WEIGHTS}: {name}\S* is not that of the labels")


def test_counts_that_are_not_true_are_found(copy):
    facts = Facts.from_json(json.loads((copy / "run.json").read_text()))
    seal(copy, counts=replace(facts.counts, clips_changed=3))
    refused(copy, r"run\.json: counts are not what the files say: clips_changed 3 instead of")
    rows = [replace(row, added_I=7) for row in facts.by_class]
    seal(copy, counts=facts.counts, by_class=rows)
    refused(copy, "by_class are not what the files say: added_I 7 instead of")
    seal(copy, by_class=facts.by_class, weak_classes=())
    refused(copy, "weak_classes are not what the files say")


def test_facts_of_another_kind_are_no_traceback(copy):
    facts = Facts.from_json(json.loads((copy / "run.json").read_text()))
    record = facts.to_json()
    record["counts"]["added_by_type"]["III"] = record["counts"]["added_by_type"]["I"]
    write_json(copy / "run.json", record)
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, "a file holds a value of another kind")
    change_ledger(copy, onset_s=[1e6] * len(column(copy, "onset_s")))
    seal(copy, counts=facts.counts)
    refused(copy, "a file holds a value of another kind")


def test_a_document_that_says_something_else_is_found(copy):
    card = copy / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "Every label is right.\n", encoding="utf-8")
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, r"README\.md: does not say what run\.json says")


def test_new_sums_hide_no_changed_missing_or_further_file(copy):
    for path in sorted(copy.iterdir()):
        if path.name in ("SHA256SUMS", "run.json"):
            continue
        original = path.read_bytes()
        path.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        (copy / "SHA256SUMS").write_text(files.checksums(copy))
        refused(copy, f"changed: {path.name}|{path.name}: does not say")
        path.unlink()
        (copy / "SHA256SUMS").write_text(files.checksums(copy))
        refused(copy, f"missing: {path.name}")
        path.write_bytes(original)
    (copy / "notes.txt").write_text("x")
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, r"not part of the release: notes\.txt")


def test_an_empty_folder_does_not_belong_there(copy):
    (copy / "more").mkdir()
    refused(copy, "not part of the release: more")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"licence": "mine"}, "run.json: licence 'mine' is not a known"),
        ({"teacher": "me"}, "run.json, teacher: is str"),
    ],
)
def test_a_record_of_another_kind_is_named(copy, changed, said):
    record = json.loads((copy / "run.json").read_text())
    write_json(copy / "run.json", {**record, **changed})
    (copy / "SHA256SUMS").write_text(files.checksums(copy))
    refused(copy, said)


def test_a_form_that_lacks_a_clip_is_named(copy):
    labels = LabelTable.read(copy / "labels.csv", Vocabulary.load(copy / "classes.csv"))
    LabelTable(labels.clip_ids[1:], labels.matrix[1:], labels.vocabulary).write(copy / "psla.json", "psla")
    seal(copy)
    refused(copy, r"psla\.json: has other labels than labels\.csv")
