"""The benchmark of audio reports every stage beside its rival, and leaves nothing behind but its report."""

from __future__ import annotations

import json

import pytest
import torch

from pseudolabel.bench import main
from pseudolabel.benchmarks import audio, preparing
from pseudolabel.benchmarks.audio import kaldi_fbank


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    work, before = tmp_path_factory.mktemp("work"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as small:
        for name, size in {"BATCH": 2, "ROUNDS": 2, "COPIED_BYTES": 1 << 20}.items():
            small.setattr(audio, name, size)
        for name, size in {"BLOCK_SIZE": 2, "N_DIFFERENT": 2, "ROUNDS": 1}.items():
            small.setattr(preparing, name, size)
        assert main(["audio", "--work", str(work), "--clips", "8", "--threads", "1"]) == 0
    assert torch.get_num_threads() == before
    assert sorted(path.name for path in (work / "bench" / "audio").rglob("*")) == ["report.json"]
    return json.loads((work / "bench/audio/report.json").read_text())


def test_ours_stands_beside_its_rival(report):
    compared = {stage["name"]: stage["than"] for stage in report["stages"] if stage["ratio"] is not None}
    assert compared["KaldiFbank, 1 thread"] == compared["LogMel, 1 thread"] == "torchaudio"
    for clips in ("80 clips of 1 s", "8 clips of 10 s"):
        for order in ("sequential", "random"):
            assert compared[f"ClipStore, {order}: {clips}"] == "one object per clip"
    assert compared["prepare, 2 processes"] == "decode and resample alone, 2 processes"
    assert len(compared) == 7


def test_bounds_and_facts_are_there(report):
    names = [stage["name"] for stage in report["stages"]]
    assert "FFT of KaldiFbank alone, 1 thread" in names
    assert [n for n in names if "mem" in n] == ["memory: prepare 2 clips of 0.5 s", "memory: prepare 8 clips of 0.5 s"]
    assert "% of the rate of decoding and resampling alone" in report["facts"]["prepare, 2 processes"]
    assert "random row of a ScoreStore, 80 x 5 x 527" in names
    assert report["facts"]["memory bandwidth"].endswith("GB/s, one thread")
    assert report["facts"]["KaldiFbank, 1 thread"].endswith("% within 1e-4 of torchaudio's")
    assert all(stage["seconds"] > 0 and stage["items"] > 0 for stage in report["stages"])


def test_the_reference_gives_one_clips_features():
    assert kaldi_fbank(torch.zeros(16_000)).shape == (98, 128)
