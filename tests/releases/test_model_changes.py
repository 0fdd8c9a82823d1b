"""A released model whose checksums were computed again: what else was changed is still noticed."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from pseudolabel import release as verb
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.models.files import save_model
from pseudolabel.models.tagger import build_tagger
from pseudolabel.releases.folder import checksums


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A release of a small model with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    config = {"name": "mobilenetv2", "options": {"width": 0.1, "last_channels": 16}}
    names = {"class_ids": ["/m/a", "/m/b"], "class_names": ["Oboe", "Rain"]}
    save_model(folder / "run", build_tagger({**config, **names}))
    write_csv(folder / "run" / "train_clips.csv", ("clip_id",), [["x"], ["y"]])
    write_json(folder / "run" / "run.json", {"verb": "train", "row": "student", "n_train_clips": 2, "options": {}})
    assert verb.main(["model", str(folder / "run"), "--out", str(folder / "released")]) == 0
    return folder / "released"


def record(**changed):
    def change(folder):
        path = folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return change


CHANGES = {
    "classes.csv: its classes are not those": lambda f: (f / "classes.csv").write_text(
        "class_id,name\n/m/b,Rain\n/m/a,Oboe\n"
    ),
    "changed: train_clips.csv": lambda f: (f / "train_clips.csv").write_text("clip_id\nx\n"),
    "missing: train_clips.csv": lambda f: (f / "train_clips.csv").unlink(),
    "missing: LICENSE": lambda f: (f / "LICENSE").unlink(),
    "not part of the release: model.onnx": lambda f: (f / "model.onnx").write_bytes(b"x"),
    "README.md: does not say": lambda f: (f / "README.md").write_bytes(b"\xff\xfe"),
    "its classes are not those of config.json": record(classes=None),
    "run.json: names no files": record(files=[1]),
}


@pytest.mark.parametrize("named", CHANGES)
def test_what_was_changed_below_new_checksums_is_named(made, tmp_path, capsys, named):
    folder = shutil.copytree(made, tmp_path / "released")
    assert verb.main(["verify", str(folder)]) == 0
    CHANGES[named](folder)
    (folder / "SHA256SUMS").write_text(checksums(folder))
    capsys.readouterr()
    assert verb.main(["verify", str(folder)]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1


def test_the_card_lists_every_file_of_the_folder(made):
    card = (made / "README.md").read_text()
    assert all(f"| `{path.name}` |" in card for path in made.iterdir())
