"""What the tests share: the real data beside the checkout, where it is there, and a corpus of tones."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None, print_blob=True)  # a busy machine is no failure
settings.load_profile("untimed")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TONES = {"low": 300.0, "middle": 1000.0, "high": 3500.0}  # Hz


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings and published label lists; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real data is missing: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def write_tones() -> Callable[..., Path]:
    """Return a function that fills a work folder with clips of one tone each: clips.h5, labels.csv, vocabulary.csv."""
    from pseudolabel.audio.clips import encode, write_clips
    from pseudolabel.labels.table import LabelTable
    from pseudolabel.labels.vocabulary import Vocabulary

    def write(work: Path, seconds: Sequence[float], sample_rate: int = 16_000) -> Path:
        """Clip `t00` is low, `t01` middle, `t02` high, `t03` low again, and so on."""
        rng = np.random.default_rng(7)
        vocabulary = Vocabulary("tones", tuple(TONES), tuple(TONES), ("",) * len(TONES))
        clip_ids = [f"t{i:02d}" for i in range(len(seconds))]
        clips = []
        for i, length_s in enumerate(seconds):
            times = np.arange(round(length_s * sample_rate)) / sample_rate
            tone = np.sin(2 * np.pi * (list(TONES.values())[i % 3] * times + rng.random()))
            clips.append(rng.uniform(0.2, 0.8) * tone + 0.01 * rng.standard_normal(len(times)))
        encoded = [encode(clip, "pcm16", sample_rate) for clip in clips]
        sizes = [len(clip) for clip in clips], [len(piece) for piece in encoded]
        write_clips(work / "clips.h5", clip_ids, clip_ids, *sizes, iter(encoded), sample_rate)
        names = [[list(TONES)[i % 3]] for i in range(len(clip_ids))]
        LabelTable.from_sets(clip_ids, names, vocabulary).write(work / "labels.csv")
        vocabulary.write(work / "vocabulary.csv")
        return work

    return write


@pytest.fixture(scope="module")
def same_threads_after():
    """Verbs set how many threads torch uses; what comes after the module has as many as before."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
