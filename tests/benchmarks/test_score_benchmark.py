"""The benchmark of scoring runs to its end, reports every stage, and times the batches that the pipeline makes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pseudolabel.bench import main
from pseudolabel.benchmarks import score as benchmark
from pseudolabel.benchmarks.measure import STATUS
from pseudolabel.benchmarks.score import ScoreBenchmark, draw_clips
from pseudolabel.models.tagger import build_tagger
from pseudolabel.training.scoring import Scorer


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Clips of 2 s and few of everything; the number of threads is as it was afterwards."""
    for name, value in (("CLIP_S", 2), ("SCALES", ("clip", 2, 1, 0.5)), ("N_CLASSES", 5), ("BLOCK_SIZE", 3),
                        ("ROUNDS", 1), ("MEMORY_CLIPS", 3), ("MEMORY_CLIP_S", 1)):  # fmt: skip
        monkeypatch.setattr(benchmark, name, value)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_drawn_clips_are_bursts_of_other_loudness_and_drawn_once(tmp_path):
    clips = draw_clips(tmp_path / "clips.h5", 3, 2)
    made = (tmp_path / "clips.h5").stat().st_mtime_ns
    assert np.array_equal(draw_clips(tmp_path / "clips.h5", 3, 2).read("clip000002"), clips.read("clip000002"))
    assert (tmp_path / "clips.h5").stat().st_mtime_ns == made
    loudness = np.array([clips.read(clip_id).reshape(4, 8000).std(axis=1) for clip_id in clips.clip_ids])
    assert len(clips) == 3 and loudness.max() > 4 * loudness.min()


def test_clips_drawn_as_flac_are_those_drawn_as_pcm16(tmp_path):
    pcm16, flac = (draw_clips(tmp_path / codec, 3, 1, codec) for codec in ("pcm16", "flac"))
    assert flac.codec == "flac" and all(np.array_equal(flac.read_pcm16(row), pcm16.read_pcm16(row)) for row in range(3))


def test_the_model_alone_gets_the_batches_that_the_pipeline_makes(tmp_path):
    clips = draw_clips(tmp_path / "clips.h5", 4, 2)
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": ["a"], "options": {"width": 0.1, "last_channels": 8}})
    measured = ScoreBenchmark(tmp_path, 4, ["mobilenetv2"], 0.1, torch.device("cpu"), 1)
    scorer, heard = Scorer([tagger], batch_size=1), []
    portions = list(measured._blocks_of(clips))
    ready = [batch for portion in portions for batch in measured._batches(scorer, portion)]
    handle = tagger.front_end.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    for portion in portions:
        scorer.answers(portion)
    handle.remove()
    assert len(portions) == 2 and len(ready) == len(heard) > 4
    assert all(torch.equal(one, other) for one, other in zip(ready, heard, strict=True))


def test_every_stage_is_reported(tmp_path, capsys):
    options = ["--work", str(tmp_path), "--clips", "4", "--width", "0.1", "--threads", "1"]
    assert main(["score", *options, "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "bench" / "score" / "report.json").read_text())
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert list(stages) == [
        "mobilenetv2 alone, features in memory",
        "front end and mobilenetv2, waveforms in memory",
        "score with mobilenetv2, all scales",
        "score with mobilenetv2, 2s",
        "score with mobilenetv2, 1s",
        "score with mobilenetv2, 0.5s",
        "the whole command with mobilenetv2, all scales",
        "memory: score 3 clips of 1 s",
        "memory: score 12 clips of 1 s",
    ]
    assert all(stage["seconds"] > 0 and stage["items"] > 0 for stage in stages.values())
    assert stages["score with mobilenetv2, all scales"]["ratio"] > 0
    assert "the device waits" in stages["score with mobilenetv2, 1s"]["note"]
    if STATUS.exists():
        assert stages["memory: score 12 clips of 1 s"]["note"].endswith("MB for 9 clips more")
    assert report["facts"]["threads"] == 1 and report["facts"]["clips"].startswith("4 of 2 s")
    assert not (tmp_path / "bench" / "score" / "scores.h5").exists()
    assert "of the rate of front end and mobilenetv2" in capsys.readouterr().out
