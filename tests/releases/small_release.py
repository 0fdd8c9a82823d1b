"""Make a small release of labels with awkward ids, and the release of a model with its evaluation."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.enhance import main as enhance
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.release import main as release
from pseudolabel.scores.store import ScoreStore

NAMES = ("Animal", "Dog", "Bark", "Meow", 'Say "hi", loud')
CLASS_IDS = ("/m/0jbk", "/m/0bt9lr", "/m/05tny_", "/m/07qrkrw", "/m/x")
VOCABULARY = Vocabulary("small", CLASS_IDS, NAMES, (*CLASS_IDS[:4], ""))
LABELS = {
    "007": ("Bark",), "7": ("Dog",), "NA": ("Meow",), "a/x": ("Bark",), "b/x": ("Dog", 'Say "hi", loud'),
    "é, b": ("Bark",), "none": (), "silent": ("Dog",),
}  # fmt: skip
FIGURES = {"truth": {"map": 0.5, "auc": 0.75, "d_prime": 0.95, "f1_micro": 0.25}, "noisy": {"map": 0.4, "auc": None}}


def make(folder: Path) -> tuple[Path, Path]:
    """Return a release of labels and a released model, made in an empty folder."""
    with contextlib.redirect_stdout(io.StringIO()):
        return make_labels(folder / "work"), make_model(folder / "work")


def make_labels(work: Path, *options: str) -> Path:
    """Make scores of all clips but the last, enhance, and release with soft targets."""
    work.mkdir(parents=True)
    VOCABULARY.write(work / "vocabulary.csv")
    LabelTable.from_sets(LABELS, LABELS.values(), VOCABULARY).write(work / "labels.csv")
    scores = np.linspace(0.9, 0.1, 5 * (len(LABELS) - 1)).reshape(-1, 5)
    ScoreStore.write(work / "scores.h5", list(LABELS)[:-1], CLASS_IDS, {"clip": scores})
    assert enhance(["--work", str(work), "--threshold", "0.2", "--type2", "ancestors"]) == 0
    assert release(["--work", str(work), "--soft", "uint8", "--author", "Doe, Jane", *options]) == 0
    return work / "release-0.2"


def make_run(folder: Path) -> Path:
    """Write a run folder with random weights, as training leaves it."""
    import torch

    from pseudolabel.models.files import save_model
    from pseudolabel.models.tagger import build_tagger

    torch.manual_seed(0)
    classes = {"class_ids": list(CLASS_IDS), "class_names": list(NAMES)}
    small = {"name": "mobilenetv2", "options": {"width": 0.02, "last_channels": 8}}
    save_model(folder, build_tagger({**small, **classes}))
    write_csv(folder / "train_clips.csv", ("clip_id",), [["007"], ["7"]])
    record = {"verb": "train", "row": "student", "n_train_clips": 2, "options": {"epochs": 3}, "inputs": {}}
    write_json(folder / "run.json", record)
    return folder


def make_evaluation(folder: Path, run: Path, figures: dict = FIGURES) -> Path:
    """Write metrics.json and run.json of an evaluation of a run, as `evaluate` does."""
    folder.mkdir()
    runs = [{"run": "student", "path": str(run), "scale": "clip", "n_seen": 0, "metrics": figures}]
    content = {"labels": "work/eval.csv", "truth": "work/truth.csv", "n_clips": 40, "n_classes": 5, "runs": runs}
    (folder / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    weights = run / "model.safetensors"
    write_json(folder / "run.json", {"verb": "evaluate", "inputs": {str(weights): sha256(weights)}})
    return folder


def make_model(work: Path) -> Path:
    """Release a run's model with the figures of its evaluation."""
    run = make_run(work / "runs" / "student")
    make_evaluation(work / "evaluation", run)
    out = work / "release-student"
    assert release(["model", str(run), "--author", "Doe, Jane", "--released", "2026-01-31", "--out", str(out)]) == 0
    return out
