"""Cross-validation from end to end: train --fold leaves groups out, score --folds asks who never saw them."""

from __future__ import annotations

import csv
import itertools
import json
import shutil

import numpy as np
import pytest
import torch

import pseudolabel.score as score_verb
from pseudolabel.audio.clips import ClipStore, ClipTable, encode, write_clips
from pseudolabel.blocks import Blocks
from pseudolabel.errors import InputError
from pseudolabel.labels.splits import Fold
from pseudolabel.models import load_model
from pseudolabel.score import main as score_main
from pseudolabel.scores.store import ScoreStore
from pseudolabel.train import main as train_main

MODEL = ("--model-options", "width=.1", "last_channels=32", "input_norm=batch", "--front-end", "hop_s=.04")
TRAINING = ("--threads", "1", "--clip-seconds", "2", "--batch-size", "4", "--epochs", "1", "--learning-rate", ".02")
SECONDS = [2.0, 2.0, 5.0, 2.0, 3.1, 2.0, 0.7, 2.0, 4.9, 2.0, 2.0, 3.0]
HALF_STEP = 2.0**-11
CLIP_IDS = [f"t{i:02d}" for i in range(12)]


@pytest.fixture(scope="module", autouse=True)
def same_threads_after():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def train(work, *options) -> int:
    return train_main([str(part) for part in ("--work", work, *TRAINING, *MODEL, "--row", "teacher", *options)])


def score(work, out, *options) -> int:
    command = ("--work", work, "--out", out, "--threads", "1", "--windows", "clip", "2s", *options)
    return score_main([str(part) for part in command])


def refused(capsys, run, *command) -> str:
    capsys.readouterr()
    assert run(*command) == 2
    return capsys.readouterr().err


def clips_of(run) -> set[str]:
    with open(run / "train_clips.csv", newline="") as file:
        return {row["clip_id"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory):
    """Twelve clips of six recordings, `t00` and `t01` of one and so on, and a teacher for each of three folds."""
    work = write_tones(tmp_path_factory.mktemp("folds") / "work", SECONDS)
    tones = ClipStore.open(work / "clips.h5")
    pieces = [encode(tones.read(clip), "pcm16", 16_000) for clip in CLIP_IDS]
    groups = [f"recording{i // 2}" for i in range(12)]
    sizes = tones.n_samples.tolist(), [len(piece) for piece in pieces]
    write_clips(work / "clips.h5", ClipTable(CLIP_IDS, groups, *sizes, 16_000), pieces, overwrite=True)
    for number in (1, 2, 3):
        assert train(work, "--fold", f"{number}/3") == 0
    return work


@pytest.fixture(scope="module")
def runs(work):
    return [work / "runs" / f"teacher-fold{number}of3" for number in (1, 2, 3)]


def test_folds_of_a_teacher_leave_each_recording_out_once(runs):
    left_out = [set(CLIP_IDS) - clips_of(run) for run in runs]
    assert sorted(clip for fold in left_out for clip in fold) == CLIP_IDS
    assert [len(fold) for fold in left_out] == [4, 4, 4]
    for fold in left_out:
        assert {int(clip[1:]) // 2 for clip in fold} == {int(clip[1:]) // 2 for clip in fold if int(clip[1:]) % 2}


def test_run_folder_says_which_fold_it_left_out(runs):
    record = json.loads((runs[1] / "run.json").read_text())
    assert (record["row"], record["fold"], record["n_train_clips"]) == ("teacher-fold2of3", "2/3", 8)
    assert record["options"]["fold"] == "2/3"


def test_order_of_the_list_does_not_change_the_folds(work, runs, tmp_path):
    other = shutil.copytree(work, tmp_path / "work", ignore=shutil.ignore_patterns("runs"))
    header, *rows = (work / "labels.csv").read_text().splitlines()
    (other / "labels.csv").write_text("\n".join([header, *rows[::-1]]) + "\n")
    assert train(other, "--fold", "1/3") == 0
    assert clips_of(other / "runs" / "teacher-fold1of3") == clips_of(runs[0])
    assert train(other, "--fold", "1/3", "--seed", "3", "--out", other / "other") == 0
    assert clips_of(other / "other") != clips_of(runs[0])


def test_stratified_folds_spread_the_labels(work, tmp_path):
    other = shutil.copytree(work, tmp_path / "work", ignore=shutil.ignore_patterns("runs"))
    rare = ("t00", "t04", "t08")
    (other / "labels.csv").write_text("clip_id,labels\n" + "".join(
        f"{clip},{'high' if clip in rare else 'low'}\n" for clip in CLIP_IDS))  # fmt: skip
    for number in (1, 2, 3):
        assert train(other, "--fold", f"{number}/3", "--stratify", "--out", other / str(number)) == 0
        assert len(clips_of(other / str(number)) & set(rare)) == 2


def test_folds_that_cannot_be_are_refused(work, capsys):
    assert "--fold: 6 groups of clips cannot make 7 folds" in refused(capsys, train, work, "--fold", "1/7")
    assert "--stratify: has no effect without --fold. Give --fold too" in refused(capsys, train, work, "--stratify")
    with pytest.raises(SystemExit):
        train(work, "--fold", "4/3")
    assert "must be a fold from 1/n to n/n" in capsys.readouterr().err


def test_unfinished_fold_refuses_another_one(work, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr("pseudolabel.models.save_model", lambda *_: 1 / 0)
        train(work, "--fold", "1/3", "--out", tmp_path / "run")
    assert "other fold is here" in refused(capsys, train, work, "--fold", "2/3", "--out", tmp_path / "run")


def alone(tagger, samples: np.ndarray, window_s) -> np.ndarray:
    """Return (W, K): a model called on each window of a clip alone."""
    size = len(samples) if window_s == "clip" else window_s * 16_000
    starts = list(range(0, len(samples), size))
    if len(starts) > 1 and len(samples) - starts[-1] < size / 2:
        starts.pop()
    ends = [*starts[1:], len(samples)]
    pieces = [torch.from_numpy(samples[a:b])[None] for a, b in zip(starts, ends, strict=True)]
    with torch.no_grad():
        return np.concatenate([tagger.from_features(tagger.features(piece), len(pieces) == 1) for piece in pieces])


@pytest.fixture(scope="module")
def expected(work, runs) -> dict:
    """(run, clip, scale) -> scores of the model called on each window alone."""
    clips, taggers = ClipStore.open(work / "clips.h5"), {run: load_model(run) for run in runs}
    every = itertools.product(runs, CLIP_IDS, ("clip", 2))
    return {(run, clip, scale): alone(taggers[run], clips.read(clip), scale) for run, clip, scale in every}


def check(store: ScoreStore, expected: dict, allowed) -> None:
    """Compare a store with the mean over `allowed(clip)`, the runs that may answer a clip."""
    for row, clip in enumerate(store.clip_ids):
        for scale in ("clip", 2):
            mean = np.mean([expected[run, clip, scale] for run in allowed(clip)], axis=0)
            assert np.allclose(store.scores(scale)[row][: len(mean)], mean, rtol=0, atol=HALF_STEP)
            assert not store.scores(scale)[row][len(mean) :].any()


def test_every_clip_is_scored_by_the_model_that_left_its_recording_out(work, runs, expected, tmp_path):
    assert not np.allclose(expected[runs[0], "t00", "clip"], expected[runs[1], "t00", "clip"], atol=0.01)
    assert score(work, tmp_path / "scores.h5", "--folds", *runs) == 0
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert store.clip_ids == tuple(CLIP_IDS)
    check(store, expected, lambda clip: [run for run in runs if clip not in clips_of(run)])
    assert store.attributes["out_of_fold"] and store.attributes["models_per_clip"] == "1"
    assert len(store.attributes["model"].split("; ")) == 3


def test_clips_that_several_runs_did_not_see_get_their_mean(work, runs, expected, tmp_path):
    """The second run is made to have seen only t00: t01 counts as seen with it, all others as unseen."""
    second = shutil.copytree(runs[1], tmp_path / "second")
    (second / "train_clips.csv").write_text("clip_id\nt00\n")
    folds = [runs[0], second, runs[2]]
    assert score(work, tmp_path / "scores.h5", "--folds", *folds) == 0
    seen = {runs[0]: clips_of(runs[0]), runs[1]: {"t00", "t01"}, runs[2]: clips_of(runs[2])}
    counts = {sum(clip not in ids for ids in seen.values()) for clip in CLIP_IDS}
    store = ScoreStore.open(tmp_path / "scores.h5")
    assert len(counts) > 1 and store.attributes["models_per_clip"] == f"{min(counts)} to {max(counts)}"
    check(store, expected, lambda clip: [run for run in runs if clip not in seen[run]])


def test_clips_that_every_run_saw_are_refused(work, runs, tmp_path, capsys):
    left_out = sorted(set(CLIP_IDS) - clips_of(runs[2]))
    said = refused(capsys, score, work, tmp_path / "scores.h5", "--folds", *runs[:2])
    assert "--folds: each of 2 runs" in said and f"{', '.join(left_out[:3])} and 1 more" in said
    assert not list(tmp_path.glob("scores*"))
    (tmp_path / "list.csv").write_text("clip_id,labels\n" + "".join(
        f"{clip},\n" for clip in CLIP_IDS if clip not in left_out))  # fmt: skip
    assert score(work, tmp_path / "scores.h5", "--folds", *runs[:2], "--list", tmp_path / "list.csv") == 0
    assert "Name them once" in refused(capsys, score, work, tmp_path / "x.h5", "--folds", *runs, "--run", runs[0])


def test_clip_of_a_seen_recording_is_not_out_of_fold_without_folds_either(work, runs, tmp_path):
    run = shutil.copytree(runs[0], tmp_path / "run")
    (run / "train_clips.csv").write_text("clip_id\nt00\n")
    for clip, unseen in (("t01", False), ("t02", True)):
        (tmp_path / "list.csv").write_text(f"clip_id,labels\n{clip},\n")
        out = tmp_path / f"{clip}.h5"
        assert score(work, out, "--run", run, "--list", tmp_path / "list.csv") == 0
        assert bool(ScoreStore.open(out).attributes["out_of_fold"]) is unseen


def test_killed_scoring_with_folds_goes_on_to_the_same_bytes(work, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(score_verb, "BLOCK_SIZE", 5)
    assert score(work, tmp_path / "straight.h5", "--folds", *runs) == 0
    whole, made = Blocks.write, []

    def killed(blocks, block, fill):
        if len(made) == 1:
            raise ZeroDivisionError
        made.append(block)
        whole(blocks, block, fill)

    with monkeypatch.context() as patched, pytest.raises(ZeroDivisionError):
        patched.setattr(Blocks, "write", killed)
        score(work, tmp_path / "killed.h5", "--folds", *runs)
    assert "other answered_by_sha256, models_per_clip, out_of_fold is here" in refused(
        capsys, score, work, tmp_path / "killed.h5", "--run", *runs
    )
    assert score(work, tmp_path / "killed.h5", "--folds", *runs) == 0
    assert (tmp_path / "killed.h5").read_bytes() == (tmp_path / "straight.h5").read_bytes()


@pytest.mark.parametrize("number, of", [(7, 5), (0, 5), (1, 1), (0, 0)])
def test_a_fold_that_does_not_exist_is_refused_wherever_it_is_made(number, of):
    with pytest.raises(InputError, match=f"must be a fold from 1/n to n/n of at least two, not '{number}/{of}'"):
        Fold(number, of)
    with pytest.raises(InputError, match="must be a whole number"):
        Fold("1", 5)
