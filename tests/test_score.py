"""The verb score: the store equals a slow reference, a killed run goes on to the same bytes, answers are imported."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import pseudolabel.score as verb
import pseudolabel.training.scoring as verb_scoring
from pseudolabel.audio.clips import ClipStore
from pseudolabel.blocks import Blocks
from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import load_model, save_model
from pseudolabel.models.tagger import build_tagger
from pseudolabel.records import sha256
from pseudolabel.score import main
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import WINDOW_RULE
from pseudolabel.stores import fixed_length_text
from pseudolabel.training.scoring import score_clips

CLASSES = ["low", "middle", "high"]
SECONDS = [2.0, 5.0, 3.1, 0.7, 4.9, 2.0, 3.4]
N_WINDOWS = {2: [1, 3, 2, 1, 2, 1, 2], 1: [2, 5, 3, 1, 5, 2, 3]}  # a rest of half a window or more is one
RATE = 16_000
HALF_STEP = 2.0**-11  # the float16 values nearest to scores below 1 are this far away at most


@pytest.fixture(scope="module", autouse=True)
def same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def write_run(folder, seed: int, class_ids=CLASSES, sample_rate=RATE) -> None:
    """Write an untrained model whose answers differ from clip to clip."""
    torch.manual_seed(seed)
    options = {"width": 0.1, "last_channels": 32, "input_norm": "batch"}
    front_end = {"hop": 640, "sample_rate": sample_rate, "f_max": sample_rate / 2}
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": class_ids, "options": options, "front_end": front_end})
    for module in tagger.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    torch.nn.init.normal_(tagger.network.head.linear.weight, std=1.0)
    times = torch.arange(2 * sample_rate) / sample_rate
    with torch.no_grad():
        tagger.train()(torch.stack([torch.sin(6.28 * hertz * times) for hertz in (300.0, 500.0, 1000.0, 3500.0)]))
    save_model(folder, tagger.eval())


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory):
    work = write_tones(tmp_path_factory.mktemp("score") / "work", SECONDS)
    for name, seed in (("teacher", 0), ("second", 1)):
        write_run(work / "runs" / name, seed)
    (work / "runs" / "teacher" / "train_clips.csv").write_text("clip_id\nt00\n")
    return work


def score(work, out, *options) -> int:
    given = options if "import" in options else ("--threads", "1", *options)
    return main([str(part) for part in ("--work", work, *given, "--out", out)])


def refused(capsys, *command) -> str:
    capsys.readouterr()
    assert score(*command) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.match("pseudolabel score( import)?: error: ", lines[0])
    return lines[0]


def reference(work, run: str, clip_id: str, window_s) -> np.ndarray:
    """Return (W, K): the model called on each window of a clip alone."""
    samples = ClipStore.open(work / "clips.h5").read(clip_id)
    tagger = load_model(work / "runs" / run)
    n = 1 if window_s == "clip" else N_WINDOWS[window_s][int(clip_id[1:])]
    size = len(samples) if window_s == "clip" else window_s * RATE
    answers = []
    for window in range(n):
        end = None if window == n - 1 else (window + 1) * size
        with torch.no_grad():
            answers.append(tagger(torch.from_numpy(samples[window * size : end])[None])[0].numpy())
    return np.array(answers)


def read_rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_scores_equal_the_model_called_on_each_window_alone(work, tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "BLOCK_SIZE", 3)
    assert score(work, tmp_path / "scores.h5", "--windows", "clip", "2s", "1s") == 0
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert store.clip_ids == tuple(f"t{i:02d}" for i in range(7)) and list(store.class_ids) == CLASSES
    for window_s in ("clip", 2, 1):
        scores = store.scores(window_s)
        n_windows = [1] * 7 if window_s == "clip" else N_WINDOWS[window_s]
        kind, step = (np.float32, 2e-5) if window_s == "clip" else (np.float16, HALF_STEP)
        assert scores.dtype == kind and scores.shape == (7, max(n_windows), 3)
        assert store.n_windows(window_s).tolist() == n_windows
        for clip_id, found, n in zip(store.clip_ids, scores, n_windows, strict=True):
            assert np.allclose(found[:n], reference(work, "teacher", clip_id, window_s), rtol=0, atol=step)
            assert not found[n:].any()
    assert store.clip_scores().std() > 0.05  # the answers differ, so that a mix-up would show


@pytest.mark.parametrize("store", [None, "float32", "float16"])
def test_whole_clips_keep_every_bit_of_a_sure_teachers_answers(write_tones, tmp_path, store):
    work = write_tones(tmp_path / "work", SECONDS)
    write_run(work / "runs" / "teacher", 0)
    tagger = load_model(work / "runs" / "teacher")
    torch.nn.init.constant_(tagger.network.head.linear.bias, 12)
    save_model(work / "runs" / "teacher", tagger)
    assert score(work, tmp_path / "scores.h5", "--windows", "clip", "1s", *(("--store", store) if store else ())) == 0
    found, clips = ScoreStore.open(tmp_path / "scores.h5"), ClipStore.open(work / "clips.h5")
    for scale, kind in (("clip", store or "float32"), (1, store or "float16")):
        answers = score_clips(tagger, clips, np.arange(7), scale)
        assert np.array_equal(found.scores(scale), answers.astype(kind)) and found.stored_as(scale) == kind
    assert (answers > 0.9995).mean() > 0.3 and len(np.unique(answers)) > 3 * len(np.unique(answers.astype(np.float16)))
    assert found.verify()


def test_blocks_of_another_type_are_not_mixed_in(work, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.h5"
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(verb, "write_scores", lambda *_: 1 / 0)
        score(work, out, "--windows", "clip", "--store", "float16")
    assert "an unfinished run with other store is here" in refused(capsys, work, out, "--windows", "clip")
    assert score(work, out, "--windows", "clip", "--overwrite") == 0
    assert ScoreStore.open(out).stored_as("clip") == np.float32


def test_ten_second_clips_are_their_own_window_of_ten_seconds(write_tones, work, tmp_path):
    long = write_tones(tmp_path / "long", [10.0, 10.0])
    assert score(long, tmp_path / "scores.h5", "--run", work / "runs" / "teacher") == 0
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert set(store.scales) == {"clip", "10s", "5s", "2s"}
    assert [store.scores(window_s).shape for window_s in ("clip", 10, 5, 2)] == [(2, w, 3) for w in (1, 1, 2, 5)]
    assert np.array_equal(store.scores("clip").astype(np.float16), store.scores(10))
    alone = tmp_path / "alone.h5"
    score(long, alone, "--run", work / "runs" / "teacher", "--windows", "10s")
    found = ScoreStore.open(alone).scores(10)  # skipping a scale changes nothing else: these stand for whole clips
    assert np.array_equal(found, store.scores("clip")) and found.dtype == np.float32
    assert store.n_windows(2).tolist() == [5, 5]


def test_list_gives_the_order_and_its_clips_without_audio_are_listed(work, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("clip_id,labels\nt05,low\nabsent,low\nt01,high\nt03,\n")
    out = tmp_path / "some.h5"
    command = (work, out, "--windows", "clip", "--list", tmp_path / "list.csv")
    assert "1 of 4 clips have no audio" in refused(capsys, *command, "--strict")
    assert score(*command) == 0
    store = ScoreStore.open(out)
    assert store.clip_ids == ("t05", "t01", "t03")
    for clip_id, found in zip(store.clip_ids, store.clip_scores(), strict=True):
        assert np.allclose(found, reference(work, "teacher", clip_id, "clip")[0], rtol=0, atol=HALF_STEP)
    assert read_rows(tmp_path / "some.missing.csv") == [{"clip_id": "absent", "reason": "no audio"}]
    assert "1 listed clips have no audio" in capsys.readouterr().out


def test_list_of_other_clips_is_refused(work, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("clip_id,labels\nx,low\ny,low\n")
    line = refused(capsys, work, tmp_path / "scores.h5", "--list", tmp_path / "list.csv")
    assert "2 of 2 clips have no audio" in line and "x, y" in line


def test_several_runs_are_averaged(work, tmp_path):
    runs = [work / "runs" / name for name in ("teacher", "second")]
    assert score(work, tmp_path / "both.h5", "--windows", "clip", "2s", "--run", *runs) == 0
    store = ScoreStore.open(tmp_path / "both.h5")
    for row, clip_id in enumerate(store.clip_ids):
        each = [reference(work, name, clip_id, 2) for name in ("teacher", "second")]
        assert not np.allclose(*each, atol=0.01)
        found = store.scores(2)[row][: len(each[0])]
        assert np.allclose(found, np.mean(each, axis=0), rtol=0, atol=HALF_STEP)


def test_frames_are_the_models_own_and_a_last_one_under_half_is_left_out(work, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(verb, "BLOCK_SIZE", 3)
    runs, clips = [work / "runs" / name for name in ("teacher", "second")], ClipStore.open(work / "clips.h5")
    assert score(work, tmp_path / "frames.h5", "--frames", "--run", *runs, "--store", "float32") == 0
    store = ScoreStore.open(tmp_path / "frames.h5")
    assert store.scales == ("1.28s",) and store.attributes["frames"]  # 32 of .04 s
    assert store.n_windows(1.28).tolist() == [2, 4, 2, 1, 4, 2, 3]
    for row, clip_id in enumerate(store.clip_ids):
        with torch.no_grad():
            each = [load_model(run).frame_scores(torch.from_numpy(clips.read(clip_id))[None])[0] for run in runs]
        n = store.n_windows(1.28)[row]
        assert n <= len(each[0]) and not np.allclose(*each, atol=0.01)
        assert np.allclose(store.scores(1.28)[row, :n], sum(each)[:n] / 2, rtol=0, atol=2e-5)
    line = refused(capsys, work, tmp_path / "x.h5", "--frames", "--windows", "2s")
    assert "--windows: has no effect with --frames. Leave one out" in line
    assert score(work, tmp_path / "x.h5", "--frames", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("clips.h5, frames\n")


@pytest.mark.parametrize("finished", [0, 2, 4])
def test_killed_run_goes_on_to_the_same_bytes(work, tmp_path, monkeypatch, finished):
    monkeypatch.setattr(verb, "BLOCK_SIZE", 2)
    assert score(work, tmp_path / "straight.h5", "--windows", "clip", "2s") == 0

    class Killed(Exception):
        pass

    whole, made = Blocks.write, []

    def killed(blocks, block, fill):
        if len(made) == finished:
            raise Killed
        made.append(block)
        whole(blocks, block, fill)

    out = tmp_path / "killed.h5"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(Blocks, "write", killed)
        if finished == 4:  # all blocks are there, the store is not
            patched.setattr(verb, "write_scores", lambda *_: (_ for _ in ()).throw(Killed))
        score(work, out, "--windows", "clip", "2s")
    assert made == list(range(finished)) and not out.exists()
    made.clear()
    monkeypatch.setattr(Blocks, "write", lambda *args: (made.append(args[1]), whole(*args)))
    assert score(work, out, "--windows", "clip", "2s") == 0
    assert made == list(range(finished, 4))  # only what was missing
    assert out.read_bytes() == (tmp_path / "straight.h5").read_bytes()
    assert not out.with_name("killed.h5.parts").exists()


def test_unfinished_run_of_another_model_is_refused(work, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.h5"
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(verb, "write_scores", lambda *_: 1 / 0)
        score(work, out, "--windows", "clip")
    command = (work, out, "--windows", "clip", "--run", work / "runs" / "second")
    assert "an unfinished run with other model, out_of_fold, trained_on_sha256 is here" in refused(capsys, *command)
    assert "other windows is here" in refused(capsys, work, out, "--windows", "2s")
    shutil.copytree(work / "runs" / "teacher", tmp_path / "cut")  # the same weights, but longer clips are cut
    config = json.loads((tmp_path / "cut" / "config.json").read_text())
    (tmp_path / "cut" / "config.json").write_text(json.dumps({**config, "max_frames": config["min_frames"] + 9999}))
    said = refused(capsys, work, out, "--windows", "clip", "--run", tmp_path / "cut")
    assert "an unfinished run with other lengths" in said
    assert score(*command, "--overwrite") == 0
    assert np.allclose(ScoreStore.open(out).clip_scores()[0], reference(work, "second", "t00", "clip"), atol=HALF_STEP)


def test_store_says_what_made_it(work, tmp_path):
    score(work, tmp_path / "scores.h5", "--windows", "clip", "1s")
    weights = sha256(work / "runs" / "teacher" / "model.safetensors")
    attributes = ScoreStore.open(tmp_path / "scores.h5").attributes
    assert attributes["format"] == "pseudolabel-scores" and attributes["format_version"] == 1
    assert attributes["model"] == f"mobilenetv2 {weights}"
    assert attributes["trained_on_sha256"] == sha256(work / "runs" / "teacher" / "train_clips.csv")
    assert attributes["vocabulary"] == "vocabulary.csv"
    assert attributes["threads"] == 1 and attributes["batch_size"] == 32
    assert json.loads(attributes["front_end"])[0]["hop_s"] == 0.04 and attributes["window_rule"] == WINDOW_RULE
    assert not attributes["out_of_fold"]
    record = json.loads((tmp_path / "scores.run.json").read_text())
    assert record["verb"] == "score"
    made_from = [
        work / "clips.h5",
        *(work / "runs" / "teacher" / name for name in ("model.safetensors", "train_clips.csv")),
    ]
    assert record["inputs"] == {str(path): sha256(path) for path in made_from}


def test_store_says_in_which_precision_its_models_answered(work, tmp_path):
    run = shutil.copytree(work / "runs" / "second", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "precision": "bf16"}))

    def precision(*options: object) -> str:
        assert score(work, tmp_path / "s.h5", "--windows", "clip", "--overwrite", *options) == 0
        return ScoreStore.open(tmp_path / "s.h5").attributes["precision"]

    assert precision("--run", work / "runs" / "second") == "float32"  # on a CPU, where a model says nothing
    assert precision("--run", run) == "bf16"
    assert precision("--run", run, "--precision", "float32") == "float32"
    assert precision("--run", work / "runs" / "second", run) == "float32; bf16"


def test_store_is_out_of_fold_where_the_model_never_saw_the_clips(work, tmp_path):
    (tmp_path / "list.csv").write_text("clip_id,labels\nt01,\nt02,\n")
    score(work, tmp_path / "scores.h5", "--windows", "clip", "--list", tmp_path / "list.csv")
    assert ScoreStore.open(tmp_path / "scores.h5").attributes["out_of_fold"]


def test_store_is_the_same_whatever_the_folder(work, tmp_path, monkeypatch):
    score(work, tmp_path / "a.h5", "--windows", "2s")
    monkeypatch.chdir(work.parent)
    score("work", tmp_path / "b.h5", "--windows", "2s")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_existing_store_is_refused_and_replaced_on_request(work, tmp_path, capsys):
    out = tmp_path / "scores.h5"
    out.write_text("precious")
    assert "output exists. Give --overwrite" in refused(capsys, work, out, "--windows", "clip")
    assert out.read_text() == "precious"
    assert "not a score store of pseudolabel, so it is not replaced" in refused(
        capsys, work, out, "--windows", "clip", "--overwrite"
    )
    assert out.read_text() == "precious"
    out.unlink()
    assert score(work, out, "--windows", "clip") == 0
    before = sha256(out)
    assert score(work, out, "--windows", "clip", "--overwrite") == 0
    assert sha256(out) == before and len(ScoreStore.open(out)) == 7


@pytest.mark.parametrize("name", ["s.run.json", "s.missing.csv", "s.h5.parts/notes.txt", ".s.h5.mine.tmp"])
def test_files_of_other_people_beside_the_store_stay(work, tmp_path, capsys, name):
    foreign = tmp_path / "out" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_text("precious")
    for option in ((), ("--overwrite",)):
        code = score(work, tmp_path / "out" / "s.h5", "--windows", "clip", *option)
        assert foreign.read_text() == "precious"
        assert code == (0 if name.endswith(".tmp") else 2)
    capsys.readouterr()


def test_nan_weights_and_nan_answers_are_refused(work, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(work / "runs" / "teacher", tmp_path / "run")
    state = load_file(run / "model.safetensors")
    state["head.linear.bias"][1] = float("nan")
    save_file(state, run / "model.safetensors")
    line = refused(capsys, work, tmp_path / "s.h5", "--run", run)
    assert "1 hold NaN or infinite numbers (head.linear.bias)" in line
    answers = verb_scoring.Scorer.answers

    def some_nan(self, portion):
        found = answers(self, portion).clone()
        found[1, 0] = float("nan")
        return found

    monkeypatch.setattr(verb_scoring.Scorer, "answers", some_nan)
    line = refused(capsys, work, tmp_path / "s.h5", "--windows", "clip")
    assert "clip 't01': the model answers NaN at scale clip" in line
    assert not (tmp_path / "s.h5").exists()


def test_a_damaged_block_is_named_and_made_anew(work, tmp_path, capsys, monkeypatch):
    out = tmp_path / "s.h5"
    monkeypatch.setattr(verb, "BLOCK_SIZE", 3)
    monkeypatch.setattr(verb, "write_scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(work, out, "--windows", "clip")
    monkeypatch.undo()
    monkeypatch.setattr(verb, "BLOCK_SIZE", 3)
    block = tmp_path / "s.h5.parts" / "block-00001.h5"
    with h5py.File(block, "r+") as file:
        file["clip"][1, 1] += 0.25
    assert f"{block}: the block is damaged. Remove this file" in refused(capsys, work, out, "--windows", "clip")
    block.unlink()
    assert score(work, out, "--windows", "clip") == 0
    assert score(work, tmp_path / "again.h5", "--windows", "clip") == 0
    assert sha256(out) == sha256(tmp_path / "again.h5")


def test_a_run_killed_before_its_blocks_were_removed_is_finished_by_the_next(work, tmp_path, monkeypatch, capsys):
    out = tmp_path / "s.h5"
    monkeypatch.setattr(Blocks, "remove", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(work, out, "--windows", "clip")
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == {"s.h5", "s.h5.parts", "s.run.json", "s.missing.csv"}
    before = sha256(out)
    assert score(work, out, "--windows", "clip") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"s.h5", "s.run.json", "s.missing.csv"}
    assert sha256(out) == before
    assert "output exists" in refused(capsys, work, out, "--windows", "clip")


def test_blocks_of_a_run_that_is_to_replace_the_store_are_kept(work, tmp_path, monkeypatch, capsys):
    out = tmp_path / "s.h5"
    assert score(work, out, "--windows", "clip") == 0
    monkeypatch.setattr(verb, "write_scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(work, out, "--windows", "1s", "--overwrite")
    monkeypatch.undo()
    assert "output exists" in refused(capsys, work, out, "--windows", "1s")
    assert (tmp_path / "s.h5.parts" / "block-00000.h5").exists()


def test_clips_that_were_replaced_by_others_of_the_same_names_and_sizes_are_not_mixed_in(
    work, write_tones, tmp_path, monkeypatch, capsys
):
    other = write_tones(tmp_path / "other", SECONDS)
    stat = (other / "clips.h5").stat()
    options = ("--run", work / "runs" / "teacher", "--windows", "clip")
    monkeypatch.setattr(verb, "write_scores", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        score(other, tmp_path / "s.h5", *options)
    monkeypatch.undo()
    with h5py.File(other / "clips.h5", "r+") as file:
        audio = file["bytes"][:]
        audio[:2] = 255 - audio[:2]
        file["bytes"][:], file["crc32"][0] = audio, zlib.crc32(audio[: file["offset"][1]])
        ClipStore.seal(file)
    os.utime(other / "clips.h5", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    line = refused(capsys, other, tmp_path / "s.h5", *options)
    assert "an unfinished run with other clip_store is here" in line


@pytest.mark.parametrize("named", ["run", "folds", "list", "clips"])
def test_what_lies_beside_a_named_input_is_read_and_never_another_work_folder(
    work, write_tones, tmp_path, monkeypatch, capsys, named
):
    monkeypatch.chdir(tmp_path)
    write_tones(tmp_path / "work", [1.0])  # of another project
    shutil.copytree(work / "runs", tmp_path / "work" / "runs")
    theirs = tmp_path / "A"
    shutil.copytree(work, theirs)
    for run in theirs.glob("runs/*"):
        (run / "run.json").write_text('{"verb": "train"}')
    options = {"run": "runs/teacher", "folds": "runs/second", "list": "labels.csv", "clips": "clips.h5"}
    command = [f"--{named}", str(theirs / options[named]), "--windows", "clip", "--threads", "1"]
    if named == "folds":
        (theirs / "runs" / "second" / "train_clips.csv").write_text("clip_id\n")
    assert main(command) == 0
    assert ScoreStore.open(theirs / "scores.h5").clip_ids == tuple(f"t{i:02d}" for i in range(7))
    assert not (tmp_path / "work" / "scores.h5").exists()
    record = json.loads((theirs / "scores.run.json").read_text())
    assert all(Path(path).is_relative_to(theirs) for path in record["inputs"])
    (theirs / ("clips.h5" if named != "clips" else "runs/teacher/config.json")).unlink()
    capsys.readouterr()
    assert main([*command, "--overwrite"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "Give --clips" in line if named != "clips" else "not a model folder" in line


def test_models_that_do_not_fit_are_refused(work, tmp_path, capsys):
    out = tmp_path / "scores.h5"
    write_run(tmp_path / "slow", 0, sample_rate=8000)
    line = refused(capsys, work, out, "--run", tmp_path / "slow")
    assert "the model expects 8000 Hz, the clips have 16000 Hz. Prepare the clips with --sample-rate 8000." in line
    write_run(tmp_path / "two", 0, class_ids=["low", "high"])
    assert "classes differ" in refused(capsys, work, out, "--run", work / "runs" / "teacher", tmp_path / "two")
    assert "not a model folder" in refused(capsys, work, out, "--run", tmp_path / "absent")
    assert "no such device 'tpu'" in refused(capsys, work, out, "--device", "tpu")
    assert not list(tmp_path.glob("scores*"))


@pytest.mark.parametrize("window", ["0", "-2s", "soon", "inf", "nan"])
def test_windows_that_are_no_length_are_refused(work, tmp_path, capsys, window):
    with pytest.raises(SystemExit) as stop:
        score(work, tmp_path / "scores.h5", f"--windows={window}")
    assert stop.value.code == 2 and "--windows" in capsys.readouterr().err


def test_a_notebook_gives_windows_by_name_or_length():
    assert verb.ScoreOptions(windows=("clip", "2s", 2, 1.5)).windows == ("clip", 2, 1.5)
    with pytest.raises(InputError, match="must be `clip` or a length in seconds"):
        verb.ScoreOptions(windows=("soon",))


def test_clips_shorter_than_a_window_are_counted(work, tmp_path, capsys):
    score(work, tmp_path / "scores.h5", "--windows", "1s")
    assert "1 clips are shorter than 1 s and are one window each" in capsys.readouterr().out


# ---- answers of another model -----------------------------------------------------------------------------------


@pytest.fixture
def given(tmp_path):
    """A work folder with a vocabulary, and the answers of another model to four clips in windows of 5 s."""
    vocabulary = Vocabulary("toy", ("/m/a", "/m/b"), ("Animal", "Dog"), ("/m/a", "/m/b"))
    vocabulary.write(tmp_path / "work" / "vocabulary.csv")
    np.save(tmp_path / "answers.npy", np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 2, 2))
    (tmp_path / "ids.txt").write_text("d\nc\nb\na\n")
    (tmp_path / "classes.txt").write_text("Dog\n/m/a\n")
    return tmp_path


def import_options(given) -> tuple:
    return ("import", given / "answers.npy", "--ids", given / "ids.txt", "--classes", given / "classes.txt")


def test_answers_of_another_model_become_a_store_that_says_whose_they_are(given, capsys):
    out = given / "work" / "scores.h5"
    assert score(given / "work", out, *import_options(given), "--window-s", "5", "--name", "PANNs") == 0
    assert capsys.readouterr().out == f"wrote {out}: 4 clips x 2 classes at 5s\n"
    store = ScoreStore.open(out)
    assert (store.clip_ids, store.class_ids, store.scales) == (("d", "c", "b", "a"), ("/m/b", "/m/a"), ("5s",))
    assert np.array_equal(store.scores(5), np.load(given / "answers.npy").astype(np.float16))
    digest = sha256(given / "answers.npy")
    found = {name: store.attributes[name] for name in ("model", "imported_sha256", "vocabulary")}
    assert found == {"model": "PANNs", "imported_sha256": digest, "vocabulary": "vocabulary.csv"}
    assert "out_of_fold" not in store.attributes and store.out_of_fold is None  # nobody said
    record = json.loads((given / "work" / "scores.run.json").read_text())
    assert record["inputs"][str(given / "answers.npy")] == digest and len(record["inputs"]) == 4
    again = given / "again.h5"
    score(given / "work", again, *import_options(given), "--window-s", "5", "--name", "PANNs", "--out-of-fold")
    assert ScoreStore.open(again).attributes["out_of_fold"]
    score(given / "work", again, *import_options(given), "--window-s", "5", "--name", "PANNs", "--overwrite")
    assert again.read_bytes() == out.read_bytes()


def test_imported_classes_that_the_vocabulary_lacks_are_named_and_kept(given, capsys):
    (given / "classes.txt").write_text("Wolf\nDog\n")
    command = (given / "work", given / "scores.h5", *import_options(given), "--window-s", "5")
    assert "work/vocabulary.csv: Wolf. Give the" in refused(capsys, *command, "--strict")
    assert score(*command) == 0 and "1 classes are not in the vocabulary" in capsys.readouterr().out
    assert ScoreStore.open(given / "scores.h5").class_ids == ("Wolf", "/m/b")


def test_options_of_models_and_of_imports_do_not_mix(given, capsys):
    work, out = given / "work", given / "scores.h5"
    for command, option in (((*import_options(given), "--run", "r"), "--run"), (("--window-s", "2"), "--window-s")):
        with pytest.raises(SystemExit) as caught:
            score(work, out, *command)
        assert caught.value.code == 2 and f"unrecognized arguments: {option}" in capsys.readouterr().err
    assert "--ids: answers.npy holds no clip ids" in refused(capsys, work, out, "import", given / "answers.npy")
    assert "--window-s: answers.npy holds 2 windows a clip" in refused(capsys, work, out, *import_options(given))
    (given / "ids.txt").write_text("a\nb\n")
    line = refused(capsys, work, out, *import_options(given), "--window-s", "2")
    assert "[4, 2, 2]; --ids names 2 clips, --classes 2 classes" in line
    assert not out.exists() and not (given / "scores.run.json").exists()


def test_importing_answers_loads_no_torch(given):
    arguments = [str(part) for part in ("--work", given / "work", *import_options(given), "--window-s", "5")]
    program = f"import sys\nfrom pseudolabel.score import main\nprint(main({arguments!r}), 'torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False"


TUBE = "KK227gPpRn4"


def test_list_that_names_clips_in_another_way_names_the_scores(work, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("clips.h5", "vocabulary.csv"):
        (other / name).write_bytes((work / name).read_bytes())
    with h5py.File(other / "clips.h5", "r+") as file:
        ids = [f"Y{TUBE}", *(text.decode() for text in file["clip_id"][1:])]
        del file["clip_id"]
        file["clip_id"] = fixed_length_text(ids)
        ClipStore.seal(file)
    write_run(other / "runs" / "teacher", 0)
    (other / "runs" / "teacher" / "train_clips.csv").write_text(f"clip_id\n{TUBE}_0\n")
    (other / "list.csv").write_text(f"clip_id,labels\nt02,unheard of\n{TUBE},\n")
    assert score(other, tmp_path / "scores.h5", "--list", other / "list.csv") == 0
    assert f"1 of 2 clips found under another id (audio in {other / 'clips.h5'}): {TUBE} is Y{TUBE}" in (
        capsys.readouterr().err
    )
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert store.clip_ids == ("t02", TUBE)
    assert np.abs(store.clip_scores()[1] - reference(work, "teacher", "t00", "clip")[0]).max() <= HALF_STEP
    assert not store.attributes["out_of_fold"]  # trained on the clip under a third id
    assert json.loads((tmp_path / "scores.run.json").read_text())["clips_under_another_id"] == 1
