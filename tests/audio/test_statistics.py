"""Statistics of a data set's features equal those of all its values at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pseudolabel.audio import statistics
from pseudolabel.audio.clips import ClipStore, ClipTable, encode, write_clips
from pseudolabel.audio.frontend import KaldiFbank, KaldiFbankOptions, LogMel, LogMelOptions
from pseudolabel.audio.statistics import feature_statistics
from pseudolabel.errors import InputError

RATE = 16_000
LENGTHS = (8_000, 8_000, 8_000, 12_345, 100, 8_000, 400, 30_000)
FRONT_ENDS = [LogMel(), KaldiFbank(KaldiFbankOptions(n_mels=40, mean=-4.0, std=2.0))]
BOTH = pytest.mark.parametrize("front_end", FRONT_ENDS, ids=["log_mel", "kaldi_fbank"])


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a store of noise, each clip at another level."""

    def write(lengths=LENGTHS, rate: int = RATE) -> ClipStore:
        rng = np.random.default_rng(0)
        encoded = [encode(rng.normal(0, 0.3 / (i + 1), length), "pcm16", rate) for i, length in enumerate(lengths)]
        ids = [f"clip{i}" for i in range(len(lengths))]
        path = tmp_path / "clips.h5"
        write_clips(
            path, ClipTable(ids, ids, lengths, [len(piece) for piece in encoded], rate), encoded, overwrite=True
        )
        return ClipStore.open(path)

    return write


def all_values(clips: ClipStore, front_end: torch.nn.Module, rows) -> np.ndarray:
    """Return every feature value of every clip, one clip after the other, without normalisation."""
    kind, options = type(front_end), {**front_end.options(), "mean": None, "std": None}
    del options["name"]
    plain = kind((KaldiFbankOptions if kind is KaldiFbank else LogMelOptions)(**options))
    waveforms = [torch.from_numpy(clips.read(clips.clip_ids[row]))[None] for row in rows]
    features = [plain(waveform).numpy().ravel() for waveform in waveforms if waveform.shape[1] >= plain.min_samples]
    return np.concatenate(features).astype(np.float64)


@BOTH
@pytest.mark.parametrize("batch_samples", [1, 16_000, 1 << 22])
def test_statistics_are_those_of_all_values(write, front_end, batch_samples, monkeypatch):
    monkeypatch.setattr(statistics, "BATCH_SAMPLES", batch_samples)
    clips = write()
    found, values = feature_statistics(clips, front_end), all_values(clips, front_end, range(len(clips)))
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert found.std == pytest.approx(values.std(), rel=1e-12)
    assert (found.n_clips, found.n_too_short) == (7, 1)
    assert found.n_frames == len(values) // front_end.n_mels


@BOTH
def test_statistics_of_some_rows(write, front_end):
    clips, rows = write(), [7, 0, 3]
    found, values = feature_statistics(clips, front_end, rows), all_values(clips, front_end, rows)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()), rel=1e-12)
    assert found.n_clips == 3


def test_features_normalised_by_the_statistics_have_mean_0_and_deviation_1(write):
    clips = write()
    found = feature_statistics(clips, KaldiFbank())
    front_end = KaldiFbank(KaldiFbankOptions(mean=found.mean, std=found.std))
    waveforms = [torch.from_numpy(clips.read(clip_id))[None] for clip_id in clips.clip_ids]
    values = torch.cat([front_end(waveform).flatten() for waveform in waveforms if waveform.shape[1] >= 400]).double()
    assert float(values.mean()) == pytest.approx(0, abs=1e-5)
    assert float(values.std()) == pytest.approx(1, abs=1e-4)


def test_clips_too_short_for_a_frame_are_refused_when_there_are_no_others(write):
    with pytest.raises(InputError, match="none of 2 clips has 400 samples"):
        feature_statistics(write((100, 399)), KaldiFbank())


def test_another_sample_rate_is_refused(write):
    with pytest.raises(InputError, match="the clips have 8000 Hz, the front end 16000 Hz"):
        feature_statistics(write(rate=8_000), KaldiFbank())
