"""From other programs' scores to added labels: each form of file gives the same additions, through both commands."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.enhance import main as enhance
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.score import main as score

AUDIOSET = Vocabulary.load("audioset")
ANIMAL, DOG, BARK = (AUDIOSET.find(name) for name in ("Domestic animals, pets", "Dog", "Bark"))
CLIPS = ("c1", "c2", "c3")
BOTH, CLASSES = ("--ids", "ids.txt", "--classes", "config.json"), ("--classes", "config.json")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with labels, and the lists that name what is in files of scores."""
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").write_text(f"clip_id,labels\nc1,{ANIMAL}\nc2,{ANIMAL};{DOG};{BARK}\nc3,{ANIMAL}\n")
    Path("ids.txt").write_text("c1.wav\nc2.wav\nc3.wav\n")
    config = {"model_type": "audio-spectrogram-transformer", "id2label": dict(enumerate(AUDIOSET.names))}
    Path("config.json").write_text(json.dumps(config))
    return tmp_path


def scores() -> np.ndarray:
    """Return scores (3, 527): Dog is above its threshold, 0.5 of c2, only in c1."""
    array = np.full((3, 527), 0.0625, np.float32)
    array[:, AUDIOSET.index[DOG]] = 0.875, 0.5, 0.25
    array[1, AUDIOSET.index[BARK]] = 0.5
    return array


def write_npy(array):
    np.save("p.npy", array)
    return "p.npy", *BOTH


def write_big_endian_columns(array):
    np.save("p.npy", np.asarray(array, ">f8", order="F"))
    return "p.npy", *BOTH


def write_above_1(array):
    near = array.copy()
    near[0, 0] = 1.0000001
    np.save("p.npy", near)
    return "p.npy", *BOTH


def write_savetxt(array):
    np.savetxt("predictions.csv", array, delimiter=",")
    return "predictions.csv", *BOTH


def write_npz(array):
    np.savez("p.npz", probs=array, names=np.array([f"audio/{clip}.wav" for clip in CLIPS]))
    return "p.npz", *CLASSES


def write_panns(array):
    with h5py.File("p.h5", "w") as file:
        file["audio_name"] = np.array([f"{clip}.wav".encode() for clip in CLIPS])
        file["target"], file["clipwise_output"] = np.zeros((3, 527), bool), array
    return "p.h5", *CLASSES


def write_packed(array):
    with gzip.open("p.csv.gz", "wt", newline="") as file:
        rows = [[*row, f"{clip}.wav"] for clip, row in zip(CLIPS, array.tolist(), strict=True)]
        csv.writer(file).writerows([[*AUDIOSET.names, "file"], *rows])
    return ("p.csv.gz",)


def write_wide(array):
    pq.write_table(pa.table({"clip_id": CLIPS} | dict(zip(AUDIOSET.class_ids, array.T, strict=True))), "p.parquet")
    return ("p.parquet",)


def write_lists(array):
    pq.write_table(pa.table({"video_id": CLIPS, "labels": ["a"] * 3, "scores": array.tolist()}), "p.parquet")
    return "p.parquet", *CLASSES


def write_overlap(array):
    np.save("p.npy", np.repeat(array[:, None], 9, axis=1))
    return "p.npy", *BOTH, "--window-s", "2", "--hop-s", "1"


@pytest.mark.parametrize(
    "write",
    [write_npy, write_big_endian_columns, write_above_1, write_savetxt, write_npz, write_panns, write_packed,
     write_wide, write_lists, write_overlap],
)  # fmt: skip
def test_every_form_of_scores_adds_the_same_label(here, write):
    assert score(["import", *write(scores())]) == 0
    evidence = "2" if write is write_overlap else "clip"
    options = ["--labels", "labels.csv", "--scores", "work/scores.h5", "--evidence", evidence, "--threshold", "0p"]
    assert enhance([*options, "--type1", "descendants", "--errors", "I", "--out", "enhanced"]) == 0
    with open("enhanced/labels.csv", newline="") as file:
        rows = dict(csv.reader(file))
    three = ";".join(sorted((ANIMAL, DOG, BARK), key=AUDIOSET.index.get))
    two = ";".join(sorted((ANIMAL, DOG), key=AUDIOSET.index.get))
    assert rows == {"clip_id": "labels", "c1": two, "c2": three, "c3": ANIMAL}
