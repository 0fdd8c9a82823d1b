"""Pictures and sound of the clips on a review page."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import soundfile
from PIL import Image

from pseudolabel.audio.clips import ClipStore, ClipTable, encode, write_clips
from pseudolabel.audio.media import N_MELS, WIDEST, flac_bytes, frequency_ticks, log_mel_png, video_of


def opened(png: bytes) -> np.ndarray:
    """Return the levels (height, width), as numbers of colours."""
    return np.asarray(Image.open(io.BytesIO(png)))


def tone(hertz: float, seconds: float, sample_rate: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * sample_rate)) / sample_rate)).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("hertz", [300, 1_000, 3_000])
def test_tone_is_brightest_where_the_axis_writes_its_frequency(sample_rate, hertz):
    levels = opened(log_mel_png(tone(hertz, 2.0, sample_rate), sample_rate))
    height = {frequency: height for height, frequency in frequency_ticks(sample_rate)}[hertz]
    brightest = levels.mean(axis=1).argmax()
    assert abs((1 - height) * N_MELS - brightest - 0.5) <= 1.5  # row 0 is the top


def test_time_runs_from_left_to_right_whatever_the_length():
    for seconds in (0.5, 5.0, 40.0):
        samples = np.concatenate([np.zeros(round(seconds * 12_000)), tone(1_000, seconds / 4, 16_000)])
        levels = opened(log_mel_png(samples.astype(np.float32), 16_000)).max(axis=0)
        assert len(levels) <= WIDEST
        start = np.flatnonzero(levels > 30)[0] / len(levels)
        assert start == pytest.approx(0.75, abs=0.08)


def test_silence_and_the_shortest_clips_have_a_picture_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for samples in (np.zeros(0), np.zeros(1), np.zeros(16_000), np.ones(3)):
            assert opened(log_mel_png(samples.astype(np.float32), 16_000)).shape[0] == N_MELS


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_sound_on_the_page_is_the_store_s_sample_by_sample(tmp_path, codec):
    samples = tone(440, 1.0, 16_000)
    stored = encode(samples.copy(), codec, 16_000)
    write_clips(tmp_path / "clips.h5", ClipTable(["a"], ["a"], [len(samples)], [len(stored)], 16_000, codec), [stored])
    clips = ClipStore.open(tmp_path / "clips.h5")
    found, sample_rate = soundfile.read(io.BytesIO(flac_bytes(clips, "a")), dtype="int16")
    assert sample_rate == 16_000
    assert np.array_equal(found[: len(samples)], clips.read_pcm16(0))
    assert len(found) < len(samples) + sample_rate and not found[len(samples) :].any()


@pytest.mark.parametrize(
    ("clip_id", "segments", "expected"),
    [
        ("KK227gPpRn4", {"KK227gPpRn4": (30.0, 40.0)}, ("KK227gPpRn4", 30.0)),
        ("YKK227gPpRn4", {"KK227gPpRn4": (30.0, 40.0)}, ("KK227gPpRn4", 30.0)),
        ("KK227gPpRn4_12.500_22.500", None, ("KK227gPpRn4", 12.5)),
        ("KK227gPpRn4_30000", None, ("KK227gPpRn4", 30.0)),
        ("KK227gPpRn4", None, None),
        ("jazz_guitar", None, None),
        ("1-100032-A-0", None, None),
        ("two words !", {"two words !": (0.0, 1.0)}, None),
    ],
)
def test_video_is_known_from_id_and_segments(clip_id, segments, expected):
    assert video_of(clip_id, segments) == expected
