"""Front ends against torchaudio's reference, clip by clip."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.frontend import KaldiFbank, KaldiFbankOptions, LogMel, LogMelOptions, build_frontend
from pseudolabel.errors import InputError

BOTH = pytest.mark.parametrize("front_end", [LogMel(), KaldiFbank()], ids=["log_mel", "kaldi_fbank"])


def reference_fbank(waveform: torch.Tensor) -> torch.Tensor:
    """Return what PSLA and AST compute of one clip."""
    return torchaudio.compliance.kaldi.fbank(
        waveform[None], htk_compat=True, sample_frequency=16_000, use_energy=False, window_type="hanning",
        num_mel_bins=128, dither=0.0, frame_shift=10,
    )  # fmt: skip


def reference_log_mel(waveform: torch.Tensor, hop: int = 160) -> torch.Tensor:
    """Return what PSL computes of one clip that has no neighbours."""
    power = torchaudio.transforms.MelSpectrogram(16_000, n_fft=512, hop_length=hop, n_mels=64)(waveform)
    return torchaudio.transforms.AmplitudeToDB(top_db=120)(power).T


def noise(n_clips: int = 3, n_samples: int = 16_000, seed: int = 0) -> torch.Tensor:
    levels = torch.logspace(-3, -0.5, n_clips)[:, None]
    return torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(seed)) * levels


def share_within(ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> float:
    assert ours.shape == reference.shape
    return float(((ours - reference).abs() <= tolerance).float().mean())


@pytest.fixture(scope="module")
def recordings(shared_data) -> torch.Tensor:
    """Real recordings as they are, 44.1 kHz samples taken as if 16 kHz: the front end cannot know."""
    paths = sorted((shared_data / "esc" / "clips").glob("*.flac"))[::60]
    if not paths:
        pytest.skip("no ESC recordings")
    clips = [soundfile.read(path, dtype="float32", always_2d=True)[0][:80_000, 0] for path in paths]
    return torch.from_numpy(np.stack([np.pad(clip, (0, 80_000 - len(clip))) for clip in clips]))


def test_kaldi_fbank_equals_torchaudio_on_noise():
    waveforms = noise()
    reference = torch.stack([reference_fbank(waveform) for waveform in waveforms])
    ours = KaldiFbank()(waveforms)
    assert share_within(ours, reference, 1e-4) >= 0.999
    assert share_within(ours, reference, 1e-2) == 1.0


def test_kaldi_fbank_equals_torchaudio_on_real_recordings(recordings):
    """float32 rounding shows where a band holds little beside a loud one; ours may not exceed the reference's."""
    reference = torch.stack([reference_fbank(waveform) for waveform in recordings])
    ours = KaldiFbank()(recordings)
    assert share_within(ours, reference, 1e-3) >= 0.999
    assert share_within(ours, reference, 1e-2) == 1.0
    exact = torch.stack([reference_fbank(waveform) for waveform in recordings.double()])
    assert (ours - exact).abs().mean() <= 1.5 * (reference - exact).abs().mean() + 1e-6


def test_kaldi_fbank_ignores_a_constant_offset():
    waveforms = noise(2)
    torch.testing.assert_close(KaldiFbank()(waveforms + 0.25), KaldiFbank()(waveforms), atol=0.02, rtol=0)


@pytest.mark.parametrize("hop", [160, 320])
def test_log_mel_equals_torchaudio_of_each_clip(hop):
    waveforms = noise(n_samples=20_001)
    reference = torch.stack([reference_log_mel(waveform, hop) for waveform in waveforms])
    torch.testing.assert_close(LogMel(LogMelOptions(hop=hop))(waveforms), reference, atol=1e-4, rtol=0)


def test_log_mel_equals_torchaudio_on_real_recordings(recordings):
    reference = torch.stack([reference_log_mel(waveform) for waveform in recordings])
    assert share_within(LogMel()(recordings), reference, 1e-3) >= 0.999


def test_log_mel_floor_lies_top_db_under_the_clips_own_maximum():
    loud_then_silent = torch.cat([noise(1, 8_000) * 100, torch.zeros(1, 8_000)], dim=1)
    features = LogMel(LogMelOptions(top_db=40))(loud_then_silent)
    assert features.max() - features.min() == pytest.approx(40, abs=1e-4)


@BOTH
def test_features_of_a_clip_do_not_depend_on_its_neighbours(front_end):
    waveforms = noise(4)
    waveforms[3] *= 1_000
    together = front_end(waveforms)
    for waveform, features in zip(waveforms, together, strict=True):
        assert torch.equal(front_end(waveform[None])[0], features)


@BOTH
@settings(max_examples=20, deadline=None)
@given(n_samples=st.integers(1, 3_000))
def test_n_frames_is_the_number_of_frames(front_end, n_samples):
    if n_samples < front_end.min_samples:
        assert front_end.n_frames(n_samples) == 0
        with pytest.raises(InputError, match=f"need {front_end.min_samples} samples or more, found {n_samples}"):
            front_end(torch.zeros(1, n_samples))
    else:
        features = front_end(torch.zeros(1, n_samples))
        assert features.shape == (1, front_end.n_frames(n_samples), front_end.n_mels)


@BOTH
def test_digital_silence_has_the_stated_value(front_end):
    torch.testing.assert_close(
        front_end(torch.zeros(1, 1_000)),
        torch.full((1, *front_end(torch.zeros(1, 1_000)).shape[1:]), front_end.silence),
    )


@BOTH
def test_float32_inside_autocast(front_end):
    waveforms = noise(1, 4_000)
    with torch.autocast("cpu", torch.bfloat16):
        features = front_end(waveforms)
    assert features.dtype == torch.float32
    assert torch.equal(features, front_end(waveforms))


@BOTH
def test_nothing_is_stored_with_the_weights(front_end):
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"name": "log_mel", "hop": 320, "n_mels": 32, "top_db": None},
        {"name": "kaldi_fbank", "n_mels": 40, "mean": -4.6476, "std": 4.5699},
        {"name": "kaldi_fbank", "sample_rate": 32_000, "window": 800, "hop": 320},
    ],
)
def test_options_rebuild_the_same_front_end(options):
    front_end = build_frontend(options)
    again = build_frontend(front_end.options())
    assert again.options() == front_end.options()
    assert options.items() <= again.options().items()
    assert torch.equal(front_end(noise(1)), again(noise(1)))


def test_normalisation_is_applied_to_features_and_silence():
    plain, normalised = KaldiFbank(), KaldiFbank(KaldiFbankOptions(mean=-4.0, std=2.0))
    torch.testing.assert_close(normalised(noise(1)), (plain(noise(1)) + 4.0) / 2.0)
    assert normalised.silence == pytest.approx((plain.silence + 4.0) / 2.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "mfcc"}, "unknown front end 'mfcc'; known: log_mel, kaldi_fbank"),
        ({"name": "log_mel", "hopp": 160}, "unknown option 'hopp' of log_mel. Nearest: hop"),
        ({"name": "log_mel", "mean": 1.0}, "mean=1.0 without std=None"),
        ({"name": "log_mel", "sample_rate": 8_000}, "f_max=8000.0, sample_rate=8000"),
        ({"name": "kaldi_fbank", "hop": 0}, "must be positive"),
    ],
)
def test_bad_options_are_named(options, said):
    with pytest.raises(InputError) as caught:
        build_frontend(options)
    assert said in str(caught.value)


@BOTH
@pytest.mark.parametrize("waveforms", [torch.zeros(16_000), torch.zeros(1, 16_000, dtype=torch.int16)])
def test_wrong_shape_or_type_of_waveforms_is_refused(front_end, waveforms):
    with pytest.raises(InputError, match="must be \\(clips, samples\\) of floating point"):
        front_end(waveforms)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", [LogMel, KaldiFbank])
def test_the_accelerator_agrees_with_the_cpu(kind):
    waveforms = noise(8)
    assert share_within(kind().cuda()(waveforms.cuda()).cpu(), kind()(waveforms), 1e-3) >= 0.999
