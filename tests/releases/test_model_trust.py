"""A released model is verified without belief: links, files of others, documents of another version, odd values."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.models.files import save_model
from pseudolabel.models.tagger import build_tagger
from pseudolabel.release import main as release
from pseudolabel.releases.facts import Document
from pseudolabel.releases.listing import checksums
from pseudolabel.releases.model import model_documents

SMALL = {"name": "mobilenetv2", "options": {"width": 0.1, "last_channels": 16}}
OTHER_VALUES = (None, True, False, 0, -1, 1.5, 10**30, "", "x", [], [1], {}, {"x": 1}, "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("trust") / "runs" / "student"
    torch.manual_seed(0)
    save_model(run, build_tagger({**SMALL, "class_ids": ["/m/a", "/m/b"], "class_names": ["Oboe", "Rain"]}))
    write_csv(run / "train_clips.csv", ("clip_id",), [["x"], ["y"]])
    write_json(run / "run.json", {
        "verb": "train", "row": "student", "seed": 4, "n_train_clips": 2, "validation_map": 0.25, "options": {},
        "inputs": {},
    })  # fmt: skip
    assert release(["model", str(run)]) == 0
    return run.parent.parent / "release-student"


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "release")


def verdict(folder: Path, capsys) -> str:
    """Return what verify said of a release that it refused, in one line; nothing where it holds."""
    capsys.readouterr()
    code = release(["verify", str(folder)])
    said = capsys.readouterr().err.strip()
    assert (code, said.count("\n")) == (2, 0) or (code, said) == (0, ""), said
    return said


def forge(folder: Path, version: str | None = None, **changed: object) -> None:
    record = {**json.loads((folder / "run.json").read_text()), **changed}
    if version:
        texts = {name: (folder / name).read_text() for name in ("README.md", "CITATION.cff", "LICENSE")}
        record |= {"pseudolabel": version, "documents": [vars(Document.of(folder / name)) for name in texts]}
    write_json(folder / "run.json", record)
    (folder / "SHA256SUMS").write_text(checksums(folder))


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "run.json", "README.md", "SHA256SUMS"])
def test_links_are_not_followed(copy, tmp_path, capsys, name):
    (copy / name).rename(tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    assert f"release/{name}: a link, which is not followed" in verdict(copy, capsys)


def test_what_hosting_sites_add_is_passed_over(copy, capsys):
    (copy / ".git").mkdir()
    (copy / ".gitattributes").write_text("x")
    assert release(["verify", str(copy)]) == 0
    assert "not part of the release, not read: .git, .gitattributes" in capsys.readouterr().out
    (copy / "model.py").write_text("x")
    assert "not part of the release: model.py" in verdict(copy, capsys)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("README.md", "0.2500", "0.9500"),
        ("README.md", "2 clips", "2,000 clips"),
        ("README.md", "# mobilenetv2", "# efficientnet_b9"),
        ("README.md", 'license: "cc-by-4.0"', 'license: "mit"'),
        ("LICENSE", "SPDX-License-Identifier: CC-BY-4.0", "SPDX-License-Identifier: MIT"),
    ],
)
def test_documents_of_another_version_have_true_figures(copy, capsys, name, old, new):
    forge(copy, "0.0.9")
    assert not verdict(copy, capsys)
    edit(copy / "README.md", "not calibrated probabilities", "no calibrated probabilities")
    assert "changed: README.md" in verdict(copy, capsys)
    (copy / "SHA256SUMS").write_text(checksums(copy))
    assert "README.md: does not say what run.json says" in verdict(copy, capsys)
    forge(copy, "0.0.9")
    assert not verdict(copy, capsys)
    edit(copy / name, old, new)
    forge(copy, "0.0.9")
    assert name in verdict(copy, capsys)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"n_train_clips": 3}, "n_train_clips is 3, the files say 2"),
        ({"n_classes": 2.0}, "n_classes is 2.0, the files say 2"),
        ({"sample_rate": 44_100}, "sample_rate is 44100"),
        ({"network": "resnet50"}, "network is 'resnet50'"),
        ({"documents": 1}, "names no documents"),
        ({"files": [{"name": []}]}, "names no files"),
    ],
)
def test_what_the_model_says_itself_is_compared(copy, capsys, changed, said):
    record = {**json.loads((copy / "run.json").read_text()), **changed}
    if set(changed) <= {"n_train_clips", "n_classes", "sample_rate", "network"}:
        for name, text in model_documents(record).items():
            (copy / name).write_text(text)
    forge(copy, **changed)
    assert said in verdict(copy, capsys)


def test_odd_values_end_in_one_line(made, copy, capsys):
    rng = random.Random(5)
    for name in ("run.json", "config.json"):
        right = json.loads((made / name).read_text())
        for key in right:
            value = rng.choice(OTHER_VALUES)
            if value == right[key] or (
                name == "run.json" and key in ("seed", "row", "trained_with", "training", "pseudolabel")
            ):
                continue  # what no document says, or what reads the same
            (copy / name).write_text(json.dumps({**right, key: value}))
            if name == "config.json":
                record = json.loads((made / "run.json").read_text())
                for row in record["files"]:
                    if row["name"] == name:
                        content = (copy / name).read_bytes()
                        row |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                (copy / "run.json").write_text(json.dumps(record))
            (copy / "SHA256SUMS").write_text(checksums(copy))
            assert verdict(copy, capsys), f"{name}: {key} {value!r} instead of {right[key]!r}"
        shutil.copyfile(made / name, copy / name)
        shutil.copyfile(made / "run.json", copy / "run.json")


def test_cut_and_flipped_files_end_in_one_line(made, copy, capsys):
    rng = random.Random(6)
    for name in ("model.safetensors", "config.json", "classes.csv", "train_clips.csv", "run.json"):
        content = (made / name).read_bytes()
        for cut in (0, len(content) // 2, len(content) - 1):
            (copy / name).write_bytes(content[:cut])
            changed = bytearray(content)
            changed[rng.randrange(min(len(content), 400))] ^= 1 << rng.randrange(8)
            for mutated in (content[:cut], bytes(changed)):
                (copy / name).write_bytes(mutated)
                (copy / "SHA256SUMS").write_text(checksums(copy))
                assert verdict(copy, capsys) or json.loads(mutated) == json.loads(content)
        (copy / name).write_bytes(content)
