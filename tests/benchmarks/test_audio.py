"""The benchmark of audio reports every stage beside its rival, and leaves nothing behind but its report."""

from __future__ import annotations

import json
import time

import pytest
import torch

from pseudolabel.bench import main
from pseudolabel.benchmarks import audio
from pseudolabel.benchmarks.audio import ROUNDS, kaldi_fbank, rivals
from pseudolabel.benchmarks.measure import Report


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    work, before = tmp_path_factory.mktemp("work"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as small:
        for name, size in {"BATCH": 2, "ROUNDS": 2, "DECODED": 2, "COPIED_BYTES": 1 << 20}.items():
            small.setattr(audio, name, size)
        assert main(["audio", "--work", str(work), "--clips", "3", "--threads", "1"]) == 0
    assert torch.get_num_threads() == before
    assert sorted(path.name for path in (work / "bench" / "audio").rglob("*")) == ["report.json"]
    return json.loads((work / "bench/audio/report.json").read_text())


def test_ours_stands_beside_its_rival(report):
    compared = {stage["name"]: stage["than"] for stage in report["stages"] if stage["ratio"] is not None}
    assert compared["KaldiFbank, 1 thread"] == compared["LogMel, 1 thread"] == "torchaudio"
    for clips in ("30 clips of 1 s", "3 clips of 10 s"):
        for order in ("sequential", "random"):
            assert compared[f"ClipStore, {order}: {clips}"] == "one object per clip"
    assert len(compared) == 6


def test_bounds_and_facts_are_there(report):
    names = [stage["name"] for stage in report["stages"]]
    assert "FFT of KaldiFbank alone, 1 thread" in names
    assert "decode FLAC and resample, 44100 to 16000 Hz" in names
    assert "random row of a ScoreStore, 30 x 5 x 527" in names
    assert report["facts"]["memory bandwidth"].endswith("GB/s, one thread")
    assert report["facts"]["KaldiFbank, 1 thread"].endswith("% within 1e-4 of torchaudio's")
    assert all(stage["seconds"] > 0 and stage["items"] > 0 for stage in report["stages"])


def test_rivals_take_turns_and_the_best_round_counts():
    order, report = [], Report("test")

    def run(name: str) -> None:
        order.append(name)
        time.sleep(0.2 if len(order) < 5 else 0.001)  # the round that does not count and one that does

    found = rivals(report, 10, "clips", {"a": lambda: run("a"), "b": lambda: run("b")})
    assert order == ["a", "b"] * (1 + ROUNDS)
    assert report.stages == found
    assert [stage.name for stage in found] == ["a", "b"]
    assert all(stage.seconds < 0.2 for stage in found)


def test_the_reference_gives_one_clips_features():
    assert kaldi_fbank(torch.zeros(16_000)).shape == (98, 128)
