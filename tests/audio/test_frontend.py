"""Front ends against torchaudio's reference, clip by clip."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.audio.frontend import KaldiFbank, KaldiFbankOptions, LogMel, LogMelOptions, build_frontend
from pseudolabel.audio.frontend_options import lengths_in_seconds
from pseudolabel.errors import InputError
from pseudolabel.scores.windows import window_bounds

BOTH = pytest.mark.parametrize("front_end", [LogMel(), KaldiFbank()], ids=["log_mel", "kaldi_fbank"])


# Sample rate, window, hop, mel bands: windows of 25 to 46 ms, some of them powers of two.
FORMS = [(8_000, 200, 80, 64), (16_000, 512, 320, 40), (22_050, 1024, 220, 80), (22_050, 551, 331, 64),
         (32_000, 800, 320, 128), (44_100, 1102, 441, 128), (48_000, 1536, 480, 96)]  # fmt: skip


def in_samples(kind, rate: int, window: int, hop: int, **options):
    """Return options of so many samples, whose levels are those at their own rate, as torchaudio's are."""
    lengths = {"window_s": window / rate, "hop_s": hop / rate}
    return kind(rate, **lengths, f_max=0.45 * rate, reference_rate=rate, **options)


def reference_fbank(waveform: torch.Tensor, options: KaldiFbankOptions | None = None) -> torch.Tensor:
    """Return what PSLA and AST compute of one clip."""
    o = options or KaldiFbankOptions()
    milliseconds = [1_000 * (samples + 0.5) / o.sample_rate for samples in (o.window, o.hop)]  # cut to whole samples
    return torchaudio.compliance.kaldi.fbank(
        waveform[None], htk_compat=True, sample_frequency=o.sample_rate, use_energy=False, window_type="hanning",
        num_mel_bins=o.n_mels, dither=0.0, frame_length=milliseconds[0], frame_shift=milliseconds[1],
        low_freq=o.f_min, high_freq=o.f_max or 0.0,
    )  # fmt: skip


def reference_log_mel(waveform: torch.Tensor, options: LogMelOptions | None = None) -> torch.Tensor:
    """Return what PSL computes of one clip that has no neighbours."""
    o = options or LogMelOptions()
    power = torchaudio.transforms.MelSpectrogram(
        o.sample_rate, n_fft=o.window, hop_length=o.hop, n_mels=o.n_mels, f_min=o.f_min, f_max=o.f_max
    )
    return torchaudio.transforms.AmplitudeToDB(top_db=o.top_db)(power(waveform)).T


def noise(n_clips: int = 3, n_samples: int = 16_000, seed: int = 0) -> torch.Tensor:
    levels = torch.logspace(-3, -0.5, n_clips)[:, None]
    return torch.randn(n_clips, n_samples, generator=torch.Generator().manual_seed(seed)) * levels


def share_within(ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> float:
    assert ours.shape == reference.shape
    return float(((ours - reference).abs() <= tolerance).float().mean())


@contextlib.contextmanager
def threads(number: int):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def recordings(shared_data) -> torch.Tensor:
    """Real recordings, 5 s at 16 kHz, zeros after the end of those that are shorter."""
    paths = [*sorted((shared_data / "esc" / "clips").glob("*.flac"))[::40], *(shared_data / "misc").glob("*.flac")]
    if not paths:
        pytest.skip("no recordings")
    clips = []
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        clip = soxr.resample(samples.mean(axis=1), rate, 16_000)[:80_000]
        clips.append(np.pad(clip, (0, 80_000 - len(clip))))
    return torch.from_numpy(np.stack(clips))


def check_kaldi_fbank(waveforms: torch.Tensor, options: KaldiFbankOptions | None = None) -> None:
    """99.9 % within 1e-4 of torchaudio's, and no further from float64 than twice torchaudio's own error."""
    reference = torch.stack([reference_fbank(waveform, options) for waveform in waveforms])
    exact = torch.stack([reference_fbank(waveform, options) for waveform in waveforms.double()])
    ours = KaldiFbank(options)(waveforms)
    assert share_within(ours, reference, 1e-4) >= 0.999
    assert (ours - exact).abs().mean() <= 2 * (reference - exact).abs().mean()
    assert (ours - exact).abs().max() <= 2 * (reference - exact).abs().max()


def test_kaldi_fbank_equals_torchaudio_on_noise():
    check_kaldi_fbank(noise(n_samples=80_000))


def test_kaldi_fbank_equals_torchaudio_on_real_recordings(recordings):
    """Loud lows beside faint highs, fading ends and digital silence: where rounding shows."""
    check_kaldi_fbank(recordings)


@pytest.mark.parametrize("level", [1e-3, 1e-5])
def test_kaldi_fbank_equals_torchaudio_on_faint_recordings(recordings, level):
    check_kaldi_fbank(recordings[:8] * level)


@pytest.mark.parametrize(("rate", "window", "hop", "n_mels"), FORMS)
def test_kaldi_fbank_equals_torchaudio_at_any_rate_and_size(rate, window, hop, n_mels):
    check_kaldi_fbank(noise(n_samples=rate), in_samples(KaldiFbankOptions, rate, window, hop, n_mels=n_mels))


@pytest.mark.parametrize(("rate", "window", "hop", "n_mels"), FORMS)
def test_log_mel_equals_torchaudio_at_any_rate_and_size(rate, window, hop, n_mels):
    options = in_samples(LogMelOptions, rate, window, hop, n_mels=n_mels, f_min=50.0, top_db=80.0)
    waveforms = noise(n_samples=rate)
    reference = torch.stack([reference_log_mel(waveform, options) for waveform in waveforms])
    torch.testing.assert_close(LogMel(options)(waveforms), reference, atol=1e-4, rtol=0)


def test_kaldi_fbank_ignores_a_constant_offset():
    waveforms = noise(2)
    torch.testing.assert_close(KaldiFbank()(waveforms + 0.25), KaldiFbank()(waveforms), atol=0.02, rtol=0)


@pytest.mark.parametrize("hop_s", [0.01, 0.02])
def test_log_mel_equals_torchaudio_of_each_clip(hop_s):
    waveforms = noise(n_samples=20_001)
    options = LogMelOptions(hop_s=hop_s)
    reference = torch.stack([reference_log_mel(waveform, options) for waveform in waveforms])
    torch.testing.assert_close(LogMel(options)(waveforms), reference, atol=1e-4, rtol=0)


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
@pytest.mark.parametrize("n_samples", [700, 16_000, 200_123])  # a few frames, one piece, several pieces
def test_features_do_not_depend_on_the_number_of_threads(front_end, n_samples):
    waveforms = noise(2, n_samples)
    found = []
    for number in (1, 2, 3):
        with threads(number):
            found.append(front_end(waveforms))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@BOTH
def test_a_long_waveform_has_the_frames_of_its_parts(front_end):
    waveform = noise(1, 500_000)
    features, hop = front_end(waveform), front_end.settings.hop
    middle = front_end(waveform[:, 1_000 * hop : 1_500 * hop])
    torch.testing.assert_close(features[:, 1_010:1_490], middle[:, 10:490], atol=1e-4, rtol=0)


@BOTH
def test_features_that_carry_a_gradient_are_the_same_features(front_end):
    waveforms = noise(2, 30_000)
    differentiable = front_end(waveforms.clone().requires_grad_())
    assert differentiable.requires_grad
    torch.testing.assert_close(differentiable.detach(), front_end(waveforms), atol=2e-5, rtol=0)


@BOTH
def test_waveforms_are_left_as_they_were(front_end):
    waveforms = noise(2, 4_000)
    before = waveforms.clone()
    front_end(waveforms)
    assert torch.equal(waveforms, before)


@BOTH
@pytest.mark.parametrize("length_s", [5, 2, 0.5, 0.01])
@pytest.mark.parametrize("n_samples", [160_000, 135_777])
def test_windows_have_the_features_they_have_alone(front_end, length_s, n_samples):
    waveforms, bounds = noise(2, n_samples), window_bounds(n_samples, round(16_000 * length_s))
    found = front_end.windows(waveforms, bounds)
    assert len(found) == len(bounds)
    for features, (start, end) in list(zip(found, bounds.tolist(), strict=True))[:: max(1, len(bounds) // 20)]:
        missing = max(0, front_end.min_samples - (end - start))  # a window may be too short for a frame
        alone = torch.nn.functional.pad(waveforms[:, start:end], (0, missing))
        assert torch.equal(features, front_end(alone))


def test_kaldi_windows_are_cut_from_the_clips_features_where_that_is_exact(monkeypatch):
    front_end, waveforms = KaldiFbank(KaldiFbankOptions(mean=-4.0, std=2.0)), noise(2, 64_000)
    features, computed = front_end(waveforms), []
    monkeypatch.setattr(front_end, "forward", lambda waveforms: computed.append(waveforms.shape[1]))
    for window in front_end.windows(waveforms, window_bounds(64_000, 32_000), features):
        assert window.untyped_storage().data_ptr() == features.untyped_storage().data_ptr()
    assert computed == []
    front_end.windows(waveforms, [(0, 32_000), (100, 32_100)], features)  # 100 is no multiple of the hop
    assert computed == [32_000]
    assert KaldiFbank.cuts_exactly and not LogMel.cuts_exactly


def test_log_mel_of_a_window_is_not_cut_from_the_clips():
    """Mirrored ends and the floor under the window's own maximum make it another one."""
    waveforms = torch.cat([noise(1, 32_000) * 100, noise(1, 32_000, seed=1) * 1e-4], dim=1)
    front_end = LogMel(LogMelOptions(top_db=60.0))
    clip, (_, quiet) = front_end(waveforms), front_end.windows(waveforms, [(0, 32_000), (32_000, 64_000)])
    assert quiet.shape[1] == 201
    assert clip[:, 205:].min() > quiet.min() + 10  # the clip's floor hides what the window has


@BOTH
@settings(max_examples=20, deadline=None)
@given(n_samples=st.integers(1, 3_000))
def test_n_frames_is_the_number_of_frames(front_end, n_samples):
    if n_samples < front_end.min_samples:
        assert front_end.n_frames(n_samples) == 0
        with pytest.raises(InputError, match=f"need {front_end.min_samples} samples or more, found {n_samples}"):
            front_end(torch.zeros(1, n_samples))
    else:
        for waveforms in (torch.zeros(1, n_samples), torch.zeros(1, n_samples, requires_grad=True)):
            features = front_end(waveforms)
            assert features.shape == (1, front_end.n_frames(n_samples), front_end.n_mels)
            assert features.max() <= front_end.silence + 1e-4  # every frame was written


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


@pytest.fixture(scope="module")
def sound_at():
    """Return the same sound, nothing above 6 kHz, at a sample rate: (1, T)."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.01, 1.0, 20), 4_800)
    low = scipy.signal.butter(8, 6_000, fs=48_000, output="sos")
    at_48 = scipy.signal.sosfilt(low, 0.1 * rng.standard_normal(96_000)) * loudness
    return lambda rate: torch.from_numpy(soxr.resample(at_48, 48_000, rate, "VHQ").astype(np.float32))[None]


@pytest.mark.parametrize("name", ["log_mel", "kaldi_fbank"])
@pytest.mark.parametrize(("rate", "apart"), [(32_000, 0.02), (24_000, 0.2), (44_100, 0.2), (48_000, 0.2)])
def test_a_sound_has_nearly_the_same_features_at_any_rate(sound_at, name, rate, apart):
    """Bands under 6 kHz; `apart` is in standard deviations: an FFT of another length leaks otherwise."""
    here, there = build_frontend({"name": name}), build_frontend({"name": name, "sample_rate": rate})
    ours, theirs = here(sound_at(16_000)), there(sound_at(rate))
    assert theirs.shape == ours.shape
    difference, spread = (theirs - ours)[..., : 4 * here.n_mels // 5], ours.std()
    assert difference.abs().mean() < apart * spread and difference.mean().abs() < 0.05 * spread
    assert difference.abs().median() < 0.02 * spread


def test_lengths_in_seconds_are_the_papers_samples_at_16_khz_and_twice_as_many_at_32():
    for kind, options_class, window, n_fft in (
        (LogMel, LogMelOptions, 512, 512),
        (KaldiFbank, KaldiFbankOptions, 400, 512),
    ):
        for times in (1, 2):
            front_end = kind(options_class(times * 16_000))
            assert (len(front_end.window), front_end.settings.hop) == (times * window, times * 160)
            assert front_end.n_fft == times * n_fft
            assert front_end.n_frames(times * 160_000) == kind().n_frames(160_000)


def test_a_higher_rate_alone_adds_no_bands_above_8_khz():
    front_end = KaldiFbank(KaldiFbankOptions(32_000))
    hertz = torch.arange(front_end.n_fft // 2 + 1) * 32_000 / front_end.n_fft
    assert not front_end.mel[hertz > 8_000].any() and front_end.mel[(hertz > 100) & (hertz < 7_900)].any(dim=1).all()


OF_EARLIER_VERSIONS = [  # as their config.json has them, with the frames that they have in 3 s
    ({"name": "log_mel", "sample_rate": 32_000, "n_fft": 512, "hop": 160, "n_mels": 64, "f_min": 0.0, "f_max": 8000.0,
      "top_db": 120.0, "mean": None, "std": None}, 601),
    ({"name": "log_mel", "sample_rate": 22_050, "n_fft": 551, "hop": 331, "n_mels": 40, "f_min": 0.0, "f_max": 9000.0,
      "top_db": 80.0, "mean": -40.0, "std": 20.0}, 200),
    ({"name": "kaldi_fbank", "sample_rate": 32_000, "window": 400, "hop": 160, "n_mels": 128, "f_min": 20.0,
      "f_max": None, "preemphasis": 0.97, "mean": -4.0, "std": 4.0}, 598),
    ({"name": "kaldi_fbank", "sample_rate": 44_100, "window": 1102, "hop": 441, "n_mels": 80, "f_min": 20.0,
      "f_max": 20_000.0, "preemphasis": 0.9, "mean": None, "std": None}, 298),
]  # fmt: skip


@pytest.mark.parametrize(("config", "n_frames"), OF_EARLIER_VERSIONS)
def test_configs_in_samples_have_the_features_that_they_had(config, n_frames):
    front_end, waveforms = build_frontend(config), noise(2, 3 * config["sample_rate"])
    features, again = front_end(waveforms), build_frontend(front_end.options())(waveforms)
    assert features.shape == (2, n_frames, config["n_mels"]) and torch.equal(features, again)
    plain = build_frontend({**config, "mean": None, "std": None})
    if config["name"] == "log_mel":
        banks = torchaudio.functional.melscale_fbanks(
            config["n_fft"] // 2 + 1, config["f_min"], config["f_max"], config["n_mels"], config["sample_rate"]
        )
        reference = torch.stack([reference_log_mel(waveform, plain.settings) for waveform in waveforms])
    else:
        banks, _ = torchaudio.compliance.kaldi.get_mel_banks(
            config["n_mels"], plain.n_fft, config["sample_rate"], config["f_min"],
            config["f_max"] or config["sample_rate"] / 2, 100.0, -500.0, 1.0,
        )  # fmt: skip
        banks = torch.nn.functional.pad(banks, (0, 1)).T
        reference = plain(waveforms) if config["preemphasis"] != 0.97 else torch.stack(
            [reference_fbank(waveform, plain.settings) for waveform in waveforms]
        )  # fmt: skip
    assert torch.equal(front_end.mel, banks)  # to the last bit: no level, no pre-emphasis of another rate
    expected = reference if config["mean"] is None else (reference - config["mean"]) / config["std"]
    assert share_within(features, expected, 1e-3) >= 0.999


def test_what_a_config_in_samples_leaves_out_is_what_it_was_then():
    settings = build_frontend({"name": "kaldi_fbank", "sample_rate": 32_000, "hop": 320}).settings
    assert (settings.window, settings.hop, settings.f_max, settings.reference_rate) == (400, 320, None, 32_000)
    settings = build_frontend({"name": "log_mel", "n_fft": 1024}).settings
    assert (settings.window, settings.hop, settings.f_max, settings.sample_rate) == (1024, 160, 8_000.0, 16_000)


def test_options_in_samples_are_converted_with_a_line():
    found, line = lengths_in_seconds({"hop": 640, "n_mels": 40, "n_fft": 1024}, 32_000)
    assert found == {"n_mels": 40, "hop_s": 0.02, "window_s": 0.032}
    assert "hop=640 is taken as hop_s=0.02" in line and "32000 Hz" in line
    assert lengths_in_seconds({"hop_s": 0.02}, 32_000) == ({"hop_s": 0.02}, "")


@pytest.mark.parametrize(
    "options",
    [
        {"name": "log_mel", "hop_s": 0.02, "n_mels": 32, "top_db": None},
        {"name": "kaldi_fbank", "n_mels": 40, "mean": -4.6476, "std": 4.5699},
        {"name": "kaldi_fbank", "sample_rate": 32_000, "window_s": 0.04, "hop_s": 0.02, "f_max": None},
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


def test_fill_is_silence_or_what_psla_has_or_any_value():
    front_end = KaldiFbank(KaldiFbankOptions(mean=-4.6476, std=4.5699))
    assert front_end.fill_value() == front_end.fill_value("silence") == front_end.silence
    assert front_end.fill_value("psla") == pytest.approx(1.0170, abs=1e-4)  # PSLA's code: 0 before normalisation
    assert front_end.fill_value(-2) == -2.0
    assert LogMel().fill_value("psla") == 0.0
    for fill in ("mean", float("nan")):
        with pytest.raises(InputError, match="neither a finite number nor one of: silence, psla"):
            front_end.fill_value(fill)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "mfcc"}, "unknown front end 'mfcc'; known: log_mel, kaldi_fbank"),
        ({"name": "log_mel", "hopp": 160}, "unknown option 'hopp' of log_mel. Nearest: hop"),
        ({"name": "log_mel", "mean": 1.0}, "mean=1.0 without std=None"),
        ({"name": "log_mel", "sample_rate": 8_000}, "f_max=8000.0, sample_rate=8000. Give f_max=4000."),
        ({"name": "kaldi_fbank", "sample_rate": 8_000}, "f_max=8000.0, sample_rate=8000. Give f_max=4000."),
        ({"name": "kaldi_fbank", "hop_s": 0}, "must be positive"),
        ({"name": "kaldi_fbank", "hop": 0}, "must be positive"),
        ({"name": "log_mel", "hop": 160, "sample_rate": 0}, "sample_rate=0"),
        ({"name": "log_mel", "hop_s": 160}, "hop_s is 160 s, which must be 1 samples or more and at most 1 s"),
        ({"name": "log_mel", "window_s": float("nan")}, "window_s must be a finite number, not nan"),
        ({"name": "kaldi_fbank", "hop_s": "often"}, "hop_s: must be a number, not 'often'"),
        ({"name": "kaldi_fbank", "hop": "often"}, "hop_s: must be a number, not 'often'"),
        ({"name": "kaldi_fbank", "hop": 160, "sample_rate": "high"}, "sample_rate=high"),
        ({"name": "kaldi_fbank", "std": float("inf"), "mean": 0.0}, "std must be a finite number, not inf"),
        ({"name": "log_mel", "top_db": -1.0}, "top_db must be positive, not -1"),
        ({"name": "log_mel", "reference_rate": 1}, "window_s is 0.032 s, which must be 2 samples or more"),
        ({"name": "log_mel", "n_mels": True}, "n_mels: must be a whole number, not True"),
        ({"name": "log_mel", "n_mels": None}, "n_mels: must be a whole number, not None"),
        ({"name": "log_mel", "n_mels": 10**9}, "1000000000 bands of windows of 0.032 s are too many"),
        ({"name": "log_mel", "sample_rate": 10**9}, "sample_rate is 1000000000 Hz, above 1000000"),
        ({"name": "log_mel", "hop_s": 1e-5}, "hop_s is 1e-05 s, which must be 1 samples or more"),
        ({"name": "log_mel", "hop": 160, "window_s": 0.032}, "lengths in samples beside window_s. Give all of them in"),
        ({"name": "log_mel", "window": 400}, "unknown option 'window' of log_mel. Nearest: window_s"),
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
