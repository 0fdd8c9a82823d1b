"""`prepare` with segments, tar shards, and recordings that come later."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import pseudolabel.prepare as verb
from pseudolabel.audio import clip_blocks
from pseudolabel.audio.clips import CODECS, ClipStore
from pseudolabel.audio.frontend import build_frontend
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256

RATE = 16_000


@pytest.fixture
def work(tmp_path) -> Path:
    Vocabulary("one", ("ant",), ("Ant",), ("",)).write(tmp_path / "work" / "vocabulary.csv")
    return tmp_path / "work"


def record(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        rng = np.random.default_rng(ord(name[0]))
        soundfile.write(folder / f"{name}.wav", rng.uniform(-0.5, 0.5, 3000 + ord(name[0])), RATE)


def prepare(work: Path, *options: object) -> int:
    return verb.main(["--work", str(work), "--processes", "1", *map(str, options)])


@pytest.mark.parametrize("codec", CODECS)
def test_recordings_that_come_later_are_added_as_if_all_had_been_there(work, codec, monkeypatch, capsys):
    audio, options = work / "audio", ("--codec", codec, "--audio", work / "audio")
    record(audio, "b", "d", "f")
    (audio / "bad.wav").write_text("no sound")
    assert prepare(work, *options) == 0
    record(audio, "a", "c", "g")
    decoded = []
    encode = clip_blocks.encode_into
    monkeypatch.setattr(clip_blocks, "encode_into", lambda *a: decoded.append(a[1].stem) or encode(*a))
    assert prepare(work, *options, "--add") == 0
    assert sorted(decoded) == ["a", "bad", "c", "g"]
    assert "6 clips (3 of them added)" in capsys.readouterr().out
    assert prepare(work, *options, "--out", work / "once.h5") == 0
    assert sha256(work / "clips.h5") == sha256(work / "once.h5")
    assert ClipStore.open(work / "clips.h5").verify()
    assert prepare(work, *options, "--add") == 0
    assert sha256(work / "clips.h5") == sha256(work / "once.h5")


def test_adding_needs_the_store_s_own_rate_and_codec(work, capsys):
    record(work / "audio", "b")
    prepare(work, "--audio", work / "audio")
    before = sha256(work / "clips.h5")
    for options, message in (
        (("--sample-rate", 8000), "--sample-rate: the store has 16000, not 8000. Give --sample-rate 16000."),
        (("--codec", "flac"), "--codec: the store has pcm16, not flac. Give --codec pcm16."),
        (("--overwrite",), "--overwrite: --add keeps the existing store."),
    ):
        assert prepare(work, "--audio", work / "audio", "--add", *options) == 2
        assert message in capsys.readouterr().err
    assert sha256(work / "clips.h5") == before


def test_adding_to_nothing_is_preparing(work):
    record(work / "audio", "b")
    assert prepare(work, "--audio", work / "audio", "--add") == 0
    assert ClipStore.open(work / "clips.h5").clip_ids == ("b",)


def test_shards_give_the_same_store_as_the_files_in_them(work):
    record(work / "loose", "a", "b")
    (work / "packed").mkdir()
    with tarfile.open(work / "packed" / "000.tar", "w") as shard:
        for name in ("b.wav", "a.wav"):
            shard.add(work / "loose" / name, name)
    assert prepare(work, "--audio", work / "loose", "--out", work / "loose.h5") == 0
    assert prepare(work, "--audio", work / "packed", "--out", work / "packed.h5") == 0
    first, second = ClipStore.open(work / "loose.h5"), ClipStore.open(work / "packed.h5")
    assert first.clip_ids == second.clip_ids == ("a", "b")
    assert all(np.array_equal(first.read(clip_id), second.read(clip_id)) for clip_id in "ab")


def test_segments_of_a_recording_are_clips_of_one_group(work):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    (work / "audio").mkdir()
    soundfile.write(work / "audio" / "long.flac", sound, RATE)
    table = "clip_id,file,start,end\nx,long.flac,0,1\n,long.flac,1,3\ny,long.flac,9,10\nz,gone.flac,0,1\n"
    (work / "segments.csv").write_text(table)
    (work / "gone.csv").write_text("clip_id,labels\nx,ant\ny,ant\nlong_1_3,\n")
    options = ("--segments", work / "segments.csv", "--labels", work / "gone.csv")
    assert prepare(work, "--audio", work / "audio", *options) == 0
    store = ClipStore.open(work / "clips.h5")
    assert (store.clip_ids, store.groups) == (("long_1_3", "x"), ("long", "long"))
    assert store.n_samples.tolist() == [2 * RATE, RATE]
    skipped = (work / "skipped.csv").read_text()
    assert "y," in skipped and "is 4.000 s long and ends before 9 s" in skipped
    assert "z," in skipped and "is missing: no such file" in skipped
    assert "y,labels.csv,is 4.000 s long" in (work / "missing.csv").read_text()


def test_statistics_are_those_of_every_frame_of_every_clip(work, capsys):
    record(work / "audio", "b", "d")
    assert prepare(work, "--audio", work / "audio", "--stats", "kaldi_fbank", "--front-end", "n_mels=40") == 0
    store, front_end = ClipStore.open(work / "clips.h5"), build_frontend({"name": "kaldi_fbank", "n_mels": 40})
    values = torch.cat([front_end(torch.from_numpy(store.read(clip))[None])[0] for clip in store.clip_ids]).double()
    found = json.loads((work / "clips.kaldi_fbank.json").read_text())
    assert found["mean"] == pytest.approx(float(values.mean()), rel=1e-6)
    assert found["std"] == pytest.approx(float(values.std(correction=0)), rel=1e-6)
    before = sha256(work / "clips.h5")
    assert prepare(work, "--stats", "log_mel") == 0  # of the store that is there
    assert f"train --front-end mean={json.loads((work / 'clips.log_mel.json').read_text())['mean']:.6g}" in (
        capsys.readouterr().out
    )
    assert sha256(work / "clips.h5") == before
    assert prepare(work, "--stats", "log_mel", "--front-end", "name=kaldi_fbank") == 2
    assert "--front-end: name is 'log_mel' here, not 'kaldi_fbank'. Leave it out." in capsys.readouterr().err
    assert prepare(work, "--front-end", "n_mels=40") == 2
    assert "--front-end: has no effect without --stats. Give --stats too" in capsys.readouterr().err
