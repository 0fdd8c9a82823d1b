"""Every format decodes to the same samples, and nothing that a model must not see gets through."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudolabel.audio.files import AudioSource, UnreadableAudio
from pseudolabel.audio.streams import read_audio
from pseudolabel.errors import InputError

RATE = 16_000


def tone(rate: int = RATE, seconds: float = 0.5, hz: float = 440.0, peak: float = 0.5) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1e-2),
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 1e-6),
        ("wav", "DOUBLE", 1e-6),
        ("flac", "PCM_16", 1e-4),
        ("flac", "PCM_24", 1e-6),
        ("ogg", "VORBIS", 5e-2),
        ("mp3", "MPEG_LAYER_III", 5e-2),
    ],
)
def test_every_sample_format_decodes_to_the_same_tone(tmp_path, suffix, subtype, tolerance):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(), RATE, subtype=subtype)
    recording = read_audio(path, RATE)
    assert recording.samples.dtype == np.float32
    assert recording.samples.shape == (8000,)
    assert not recording.scaled
    inner = slice(1000, -1000)  # compressed formats ring at the edges
    np.testing.assert_allclose(recording.samples[inner], tone()[inner], atol=tolerance)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_length_and_tone(tmp_path, rate):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate), rate, subtype="FLOAT")
    samples = read_audio(path, RATE).samples
    assert abs(len(samples) - 8000) <= 1
    np.testing.assert_allclose(samples[1000:-1000], tone()[1000 : len(samples) - 1000], atol=2e-3)


def test_channels_become_their_mean(tmp_path):
    path = tmp_path / "three.wav"
    channels = np.stack([tone(hz=440), tone(hz=880), np.zeros(8000)], axis=1)
    soundfile.write(path, channels, RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, RATE).samples, channels.mean(axis=1), atol=1e-6)


def test_float_samples_beyond_full_scale_are_scaled_not_clipped(tmp_path):
    path = tmp_path / "loud.wav"
    soundfile.write(path, tone(peak=4.0), RATE, subtype="FLOAT")
    recording = read_audio(path, RATE)
    assert recording.scaled
    assert np.abs(recording.samples).max() == 1.0
    np.testing.assert_allclose(recording.samples, tone(peak=1.0), atol=1e-3)


def test_overshoot_of_resampling_is_scaled(tmp_path):
    path = tmp_path / "square.wav"
    soundfile.write(path, np.sign(tone(44_100, hz=1000)), 44_100, subtype="FLOAT")
    recording = read_audio(path, RATE)
    assert recording.scaled
    assert np.abs(recording.samples).max() <= 1.0


def test_limit_reads_only_the_beginning(tmp_path):
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone(48_000, 2.0), 48_000)
    assert len(read_audio(path, RATE, limit_s=0.25).samples) == 4000
    assert len(read_audio(path, RATE, limit_s=9.0).samples) == 32_000


def broken(path, kind: str) -> None:
    """Write a file that must be refused."""
    if kind == "no bytes":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this is no sound\n" * 50)
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 1)), RATE, subtype="PCM_16")
    elif kind == "silence":
        soundfile.write(path, np.zeros(8000), RATE, subtype="PCM_U8")
    elif kind == "cancelling":
        soundfile.write(path, np.stack([tone(), -tone()], axis=1), RATE, subtype="FLOAT")
    elif kind == "nan":
        soundfile.write(path, np.where(np.arange(8000) == 77, np.nan, tone()), RATE, subtype="FLOAT")
    elif kind == "infinite":
        soundfile.write(path, np.where(np.arange(8000) == 77, np.inf, tone()), RATE, subtype="FLOAT")
    elif kind == "absurd rate":
        soundfile.write(path, tone(), 7, subtype="PCM_16")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "no such file"),
        ("no bytes", "is empty"),
        ("no samples", "is empty"),
        ("text", "cannot be decoded"),
        ("silence", "digital silence"),
        ("cancelling", "cancel each other"),
        ("nan", "NaN or infinite"),
        ("infinite", "NaN or infinite"),
        ("absurd rate", "sample rate of 7 Hz"),
    ],
)
def test_unusable_recordings_are_refused_with_their_reason(tmp_path, kind, reason):
    path = tmp_path / "clip.wav"
    broken(path, kind)
    with pytest.raises(UnreadableAudio) as caught:
        read_audio(path, RATE)
    assert reason in caught.value.reason
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, InputError)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=st.integers(0, 400), garbage=st.binary(min_size=1, max_size=60), suffix=st.sampled_from(["wav", "flac"]))
def test_damaged_files_give_sound_samples_or_a_reason(tmp_path, start, garbage, suffix):
    path = tmp_path / f"damaged.{suffix}"
    soundfile.write(path, tone(), RATE)
    content = bytearray(path.read_bytes())
    content[start : start + len(garbage)] = garbage
    path.write_bytes(content)
    try:
        samples = read_audio(path, RATE, limit_s=1.0).samples
    except UnreadableAudio as error:
        assert error.reason
    else:
        assert np.isfinite(samples).all()
        assert 0 < np.abs(samples).max() <= 1


def test_a_segment_is_decoded_alone_and_cut_at_the_end(tmp_path):
    path = tmp_path / "long.flac"
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 4 * RATE)
    soundfile.write(path, sound, RATE)
    whole = read_audio(path, RATE).samples
    for start_s, end_s in ((0, 1), (1, 2.5), (3, None), (2, 9)):
        stop = None if end_s is None else round(end_s * RATE)
        found = read_audio(AudioSource(path, start_s, end_s), RATE).samples
        np.testing.assert_array_equal(found, whole[round(start_s * RATE) : stop])
    assert len(read_audio(AudioSource(path, 1, 3), RATE, limit_s=0.5).samples) == RATE // 2


def test_a_segment_beyond_the_end_says_so(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, tone(), RATE)
    with pytest.raises(UnreadableAudio, match=r"from 2 s to 3 s: recording is 0.500 s long and ends before 2 s"):
        read_audio(AudioSource(path, 2, 3), RATE)


def test_real_recordings_decode(shared_data):
    paths = sorted((shared_data / "misc").glob("*.flac"))
    assert paths
    for path in paths:
        samples = read_audio(path, RATE, limit_s=1.0).samples
        assert 0 < len(samples) <= RATE
        assert 0 < np.abs(samples).max() <= 1
