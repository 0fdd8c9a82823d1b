"""Ids of clips come back from every form of a release as they went in."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudolabel.enhance import main as enhance
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.release import main as release
from pseudolabel.scores.store import ScoreStore

TWO = Vocabulary("two", ("dog", "bark"), ("Dog", "Bark"), ("dog", "bark"))
IDS = (
    "a/b", "a/c", "b", "x.y/z", "x/y.wav", "deep/er/still/007", "007", "7", "1e3", "NA", "null", "true", "-dash",
    "--out",
    "two words", "Größe/鳥", "q'uote", 'double"quote', "com,ma", "semi;colon", "#hash", "# hash", "a|b", "{clip_id}",
    "é",
    "100%", "back\\slash", "*_x_*",
)  # fmt: skip


def released(work: Path, ids: tuple[str, ...]) -> Path:
    """Return the release of these clips, each of which gets the label dog by its score."""
    work.mkdir(exist_ok=True)
    (work / "ontology.csv").write_text("class_id,name,child_ids,restrictions\ndog,Dog,bark,\nbark,Bark,,\n")
    TWO.write(work / "vocabulary.csv")
    labels = [["bark"] if number else ["bark", "dog"] for number in range(len(ids))]
    LabelTable.from_sets(ids, labels, TWO).write(work / "labels.csv")
    scores = np.linspace(0.25, 0.75, 2 * len(ids)).reshape(-1, 2)
    ScoreStore.write(work / "scores.h5", ids, TWO.class_ids, {"clip": scores}, overwrite=True)
    common = ["--work", str(work), "--overwrite"]
    assert enhance([*common, "--ontology", str(work / "ontology.csv"), "--threshold", "0.1"]) == 0
    assert release([*common, "--enhanced", str(work / "enhanced-0.1"), "--soft", "uint8"]) == 0
    return work / "release-0.1"


def check(folder: Path, ids: tuple[str, ...]) -> None:
    vocabulary = Vocabulary.load(folder / "classes.csv")
    before = LabelTable.read(folder / "original_labels.csv.gz", vocabulary)
    for name in ("labels.csv", "labels.parquet"):
        table = LabelTable.read(folder / name, vocabulary)
        assert table.clip_ids == ids == before.clip_ids, name
    assert pq.read_table(folder / "labels.parquet")["clip_id"].to_pylist() == list(ids)
    assert [entry["wav"] for entry in json.loads((folder / "psla.json").read_text())["data"]] == [
        f"{i}.wav" for i in ids
    ]
    assert pq.read_table(folder / "added_labels.parquet")["clip_id"].to_pylist() == list(ids[1:])
    for name, listed in (("added_labels.csv.gz", ids[1:]), ("sampling_weights.csv.gz", ids)):
        with gzip.open(folder / name, "rt", encoding="utf-8", newline="") as file:
            assert [row["clip_id"] for row in csv.DictReader(file)] == list(listed), name
    assert ScoreStore.open(folder / "targets.h5").clip_ids == ids
    assert release(["verify", str(folder)]) == 0


def test_awkward_ids_come_back_from_every_form(tmp_path):
    check(released(tmp_path / "work", IDS), IDS)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.sampled_from("ab/.-_ 0é鳥'"), min_size=1, max_size=6).filter(lambda text: text == text.strip()),
        min_size=2, max_size=6, unique=True,
    )
)  # fmt: skip
def test_ids_of_any_characters_come_back(tmp_path, ids):
    check(released(tmp_path / "work", tuple(ids)), tuple(ids))


def test_a_recording_of_another_folder_is_found_in_psla(tmp_path, capsys):
    """Two clips of one name in two folders: who exchanges their labels in psla.json is found out."""
    from pseudolabel.releases import folder as files

    folder = released(tmp_path / "work", ("a/x", "b/x"))
    text = (folder / "psla.json").read_text()
    (folder / "psla.json").write_text(text.replace("a/x", "c/x"))
    record = json.loads((folder / "run.json").read_text())
    record["files"] = [vars(row) for row in files.described_files(folder)]
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "SHA256SUMS").write_text(files.checksums(folder))
    capsys.readouterr()
    assert release(["verify", str(folder)]) == 2
    assert "psla.json: has other labels than labels.csv" in capsys.readouterr().err


@pytest.mark.parametrize("wav", ["/audio/{clip_id}.flac", "{clip_id}"])
def test_recordings_lie_where_wav_says(tmp_path, wav):
    folder = released(tmp_path / "work", ("a/x", "b/x"))
    again = ["--work", str(tmp_path / "work"), "--enhanced", str(tmp_path / "work" / "enhanced-0.1"), "--wav", wav]
    assert release([*again, "--out", str(tmp_path / "again")]) == 0
    entries = json.loads((tmp_path / "again" / "psla.json").read_text())["data"]
    assert [entry["wav"] for entry in entries] == [wav.replace("{clip_id}", clip) for clip in ("a/x", "b/x")]
    assert json.loads((folder / "run.json").read_text())["wav"] == "{clip_id}.wav"
