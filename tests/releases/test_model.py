"""A model as others get it: its files, its card, its ONNX forms, and what is found when one of them is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from pseudolabel import release as verb
from pseudolabel.artefacts import write_csv, write_json
from pseudolabel.models.files import save_model
from pseudolabel.models.tagger import build_tagger

CLASSES = {"class_ids": ["/m/a", "/m/b", "/m/c"], "class_names": ["Oboe", 'Say "hi", | loud', "Rain"]}
SMALL = {"name": "mobilenetv2", "options": {"width": 0.1, "last_channels": 16}}


def make_run(folder: Path, **config: object) -> Path:
    """Write a run folder with random weights, as training leaves it."""
    torch.manual_seed(0)
    save_model(folder, build_tagger({**SMALL, **CLASSES, **config}))
    write_csv(folder / "train_clips.csv", ("clip_id",), [["x"], ["y"]])
    options = {"epochs": 3, "targets": "/home/anna/work/scores.h5", "learning_rate": 0.002, "work": "/home/anna/work"}
    write_json(folder / "run.json", {
        "verb": "train", "row": "student", "seed": 4, "fold": None, "n_train_clips": 2, "validation_map": 0.25,
        "command": "python -m pseudolabel.train --work /home/anna/work", "options": options, "host": "annas-machine",
        "inputs": {"/home/anna/work/scores.h5": "0" * 64}, "finished": "2026-01-31T10:00:00+00:00", "commit": "abc",
        "pseudolabel": "0.1.0", "versions": {"torch": "2.14"},
    })  # fmt: skip
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "runs" / "student")


@pytest.fixture
def released(run, tmp_path) -> Path:
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released")]) == 0
    return tmp_path / "released"


def code_blocks(card: str) -> list[str]:
    return [part.split("```")[0] for part in card.split("```python\n")[1:]]


def test_the_folder_builds_the_model_and_says_nothing_of_where_it_was_made(released, run):
    names = (
        "CITATION.cff LICENSE README.md SHA256SUMS classes.csv config.json model.safetensors run.json train_clips.csv"
    )
    assert sorted(path.name for path in released.iterdir()) == names.split()
    assert (released / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    for name in ("README.md", "run.json", "LICENSE", "SHA256SUMS"):
        text = (released / name).read_text()
        assert not [word for word in ("anna", "/home", "2026-01-31") if word in text], name
    card = (released / "README.md").read_text()
    header = yaml.safe_load(card.split("---\n")[1])
    assert header["license"] == "cc-by-4.0" and header["library_name"] == "pseudolabel"
    assert "2 clips with soft targets" in card and "0.2500" in card and 'Say "hi", \\| loud' in card
    sums = subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=released, check=False)
    assert sums.returncode == 0


def test_the_code_of_the_card_works(released):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000)
    soundfile.write(released.parent / "clip.wav", noise, 16_000)
    code = code_blocks((released / "README.md").read_text())[0].replace('"clip.wav"', '"../clip.wav"')
    said = subprocess.run([sys.executable, "-c", code], cwd=released, capture_output=True, text=True, check=True).stdout
    assert "Oboe" in said and said.count("(0.") == 3


def test_it_is_the_same_when_made_again(released, run):
    again = released.parent / "again"
    assert verb.main(["model", str(run), "--out", str(again)]) == 0
    for path in released.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def mend_sums(folder: Path) -> None:
    from pseudolabel.releases.folder import checksums

    (folder / "SHA256SUMS").write_text(checksums(folder))


@pytest.mark.parametrize(
    ("change", "mended", "named"),
    [
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-1] + b"x"), False,
         "changed: model.safetensors"),
        (lambda f: (f / "classes.csv").unlink(), False, "missing: classes.csv"),
        (lambda f: (f / "more.txt").write_text("x"), False, "not part of the release: more.txt"),
        (lambda f: (f / "README.md").write_text("# another"), True, "README.md: does not say what run.json says"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), True, "cannot be read as plain tensors"),
        (lambda f: (f / "run.json").write_text((f / "run.json").read_text().replace("Oboe", "Flute")), True,
         "its classes are not those of config.json"),
        (lambda f: (f / "run.json").write_text(json.dumps({**json.loads((f / "run.json").read_text()),
                                                           "format_version": 3})), True, "format_version is 3"),
        (lambda f: (f / "run.json").write_text(json.dumps({**json.loads((f / "run.json").read_text()),
                                                           "n_parameters": 7})), True, "n_parameters is 7"),
    ],
)  # fmt: skip
def test_what_was_changed_is_named(released, capsys, change, mended, named):
    assert verb.main(["verify", str(released)]) == 0
    assert f"{released}: verified" in capsys.readouterr().out
    change(released)
    if mended:
        mend_sums(released)
    assert verb.main(["verify", str(released)]) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "fewer than 32 frames (0.32 s) are filled, after the front end, with -100; longer ones are scored whole."),
        ({"window_s": 2.0, "fill": 0.5}, "fewer than 201 frames (2.01 s) are filled, after the front end, with 0.5;"),
        ({"min_frames": 1056, "max_frames": 1056}, "of longer ones, what is beyond 1,056 frames (10.56 s) is cut."),
        ({"name": "ast_tiny", "options": {"stride": 16}}, "pieces of 1,024 frames (10.24 s) are scored, the last"),
    ],
)  # fmt: skip
def test_the_card_says_what_shorter_and_longer_clips_meet(tmp_path, config, said):
    run = make_run(tmp_path / "run", **config)
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released")]) == 0
    assert said in (tmp_path / "released" / "README.md").read_text().replace("\n", " ")


@pytest.mark.parametrize("absent", ["train_clips.csv", "config.json", "run.json", "model.safetensors"])
def test_a_run_folder_that_is_not_whole_makes_no_release(run, tmp_path, capsys, absent):
    (run / absent).unlink()
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released")]) == 2
    assert absent in capsys.readouterr().err and not (tmp_path / "released").exists()


def test_an_unknown_licence_is_refused_before_anything_is_written(run, tmp_path, capsys):
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released"), "--licence", "CC-BY-4"]) == 2
    assert "nearest: 'CC-BY-4.0'" in capsys.readouterr().err and not (tmp_path / "released").exists()


def test_onnx_answers_as_pytorch_does_for_clips_of_any_length(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "released"
    assert verb.main(["model", str(run), "--out", str(out), "--onnx"]) == 0
    assert verb.main(["verify", str(out)]) == 0
    from pseudolabel.models.files import load_model

    tagger = load_model(out)
    session = onnxruntime.InferenceSession(out / "model.onnx")
    for n_clips, seconds in ((1, 0.7), (3, 2.0), (2, 11.3)):
        waveforms = 0.2 * torch.randn(n_clips, round(16_000 * seconds))
        (scores,) = session.run(None, {"waveforms": waveforms.numpy()})
        with torch.inference_mode():
            assert np.abs(scores - tagger(waveforms).numpy()).max() < 1e-5
    card = (out / "README.md").read_text()
    soundfile.write(tmp_path / "clip.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 48_000), 16_000)
    code = code_blocks(card)[1].replace('"clip.wav"', '"../clip.wav"')
    assert "Rain" in subprocess.run([sys.executable, "-c", code], cwd=out, capture_output=True, text=True).stdout
    for path in out.glob("*.onnx"):
        assert str(Path(verb.__file__).parent).encode() not in path.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "files"),
    [
        ("efficientnet_b0", {}, ["model.onnx", "network.onnx"]),
        ("ast_tiny", {"stride": 16}, ["network.onnx"]),
        ("resnet50", {}, ["model.onnx", "network.onnx"]),
        ("mbnet", {}, ["model.onnx", "network.onnx"]),
    ],
)
def test_every_kind_of_network_has_its_onnx_form(tmp_path, name, options, files):
    pytest.importorskip("onnxruntime")
    run = make_run(tmp_path / "run", name=name, options=options)
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released"), "--onnx"]) == 0
    assert sorted(path.name for path in (tmp_path / "released").glob("*.onnx")) == files
    exported = json.loads((tmp_path / "released" / "run.json").read_text())["onnx"]
    assert all(file["difference"] < 1e-5 for file in exported)


def test_dynamic_padding_is_refused_instead_of_an_export_that_does_not_end(tmp_path, capsys):
    run = make_run(tmp_path / "run", name="efficientnet_b0", options={"padding": "dynamic"})
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released"), "--onnx"]) == 2
    assert "padding depends on the input" in capsys.readouterr().err


def test_an_onnx_form_that_answers_otherwise_is_not_released(run, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("pseudolabel.releases.onnx_export.TOLERANCE", -1.0)
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released"), "--onnx"]) == 2
    assert "scores of network.onnx differ from PyTorch's" in capsys.readouterr().err
    assert not (tmp_path / "released").exists()
