"""Scenes are what they are said to be: events within the scene, at the stated level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.corpus.scenes import PEAK, SceneOptions, cut_event, fade, make_scene, mix_events, trim_silence
from pseudolabel.errors import InputError

SHORT = SceneOptions(duration_s=1.0, sample_rate=8000)


def power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


@settings(max_examples=20, deadline=None)
@given(snr=st.floats(-20, 60), level=st.floats(1e-4, 2.0), onset=st.integers(0, 4000))
def test_stated_snr_is_met_whatever_the_levels(snr, level, onset):
    rng = np.random.default_rng(0)
    background = (0.01 * rng.standard_normal(8000)).astype(np.float32)
    event = (level * rng.standard_normal(4000)).astype(np.float32)
    scene = mix_events(background, [event], [onset], [snr])
    gain = power(scene[:onset]) / power(background[:onset]) if onset > 100 else None
    scaled = scene / np.sqrt(gain) if gain else scene
    if gain is None and np.abs(scene).max() >= PEAK * 0.999:
        return  # scaled down, and no stretch of pure background to tell by how much
    heard = (scaled - background)[onset : onset + 4000]
    assert 10 * np.log10(power(heard) / power(background)) == pytest.approx(snr, abs=0.02)


def test_a_loud_scene_is_scaled_as_a_whole():
    background = np.full(1000, 0.01, dtype=np.float32)
    event = np.ones(500, dtype=np.float32)
    scene = mix_events(background, [event, event], [0, 250], [60.0, 60.0])
    assert np.abs(scene).max() == pytest.approx(PEAK)
    assert scene[300] - scene[999] == pytest.approx(2 * (scene[100] - scene[999]), rel=1e-5)


def test_events_lie_within_the_scene_and_nothing_sounds_outside_them():
    def draw(rng):
        return "/m/x", "source", np.random.default_rng(5).standard_normal(6000).astype(np.float32)

    for seed in range(30):
        scene, events = make_scene(draw, np.random.default_rng(seed), SHORT)
        assert scene.shape == (8000,)
        assert scene.dtype == np.float32
        assert 1 <= len(events) <= 4
        assert np.abs(scene).max() <= PEAK * 1.000001
        for event in events:
            assert 0 <= event.onset_s < event.offset_s <= 1.0
            assert 5 <= event.snr_db <= 25
        assert [event.onset_s for event in events] == sorted(event.onset_s for event in events)
        again, _ = make_scene(draw, np.random.default_rng(seed), SHORT)
        assert np.array_equal(scene, again)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 20_000), seed=st.integers(0, 1000))
def test_every_event_fits_and_is_audible(n, seed):
    sound = np.zeros(n, dtype=np.float32)
    sound[0] = sound[-1] = 1.0  # two clicks and a long pause: most crops would be empty
    event = cut_event(sound, np.random.default_rng(seed), SHORT)
    assert 1 <= len(event) <= SHORT.n_samples
    assert power(event) > 0


def test_short_sounds_may_repeat_and_long_ones_do_not():
    options = SceneOptions(duration_s=10.0, sample_rate=1000 * 8)
    lengths = {len(cut_event(np.ones(800, np.float32), np.random.default_rng(seed), options)) for seed in range(40)}
    assert min(lengths) == 800
    assert max(lengths) > 2 * 800
    assert all(
        len(cut_event(np.ones(40_000, np.float32), np.random.default_rng(seed), options)) <= 40_000
        for seed in range(20)
    )


def test_fades_start_and_end_near_zero_and_leave_the_middle():
    faded = fade(np.ones(8000, dtype=np.float32), 8000)
    assert faded[0] < 0.01
    assert faded[-1] < 0.01
    assert (faded[100:-500] == 1).all()
    assert (np.diff(faded[:80]) > 0).all()


def test_silence_is_trimmed_at_both_ends_only():
    sound = np.array([0, 0, 1e-6, 0.5, 0, 0, -0.2, 0, 0], dtype=np.float32)
    assert trim_silence(sound).tolist() == sound[3:7].tolist()
    assert len(trim_silence(np.zeros(5, dtype=np.float32))) == 0


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"duration_s": 0.0}, "--duration"),
        ({"duration_s": float("nan")}, "--duration"),
        ({"sample_rate": 10}, "--sample-rate"),
        ({"events": (0, 3)}, r"SceneOptions\.events: must be a whole number of at least 1"),
        ({"events": (4, 3)}, "--events"),
        ({"snr_db": (10.0, 5.0)}, "--snr"),
        ({"snr_db": (0.0, float("inf"))}, "--snr"),
    ],
)
def test_impossible_options_name_themselves(wrong, place):
    with pytest.raises(InputError, match=place):
        SceneOptions(**wrong)
