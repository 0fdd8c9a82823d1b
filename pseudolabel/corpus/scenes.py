"""Mix scenes from isolated sounds and background noise, so it is known exactly what sounds when and how loud."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pseudolabel.corpus.synthesis import background_noise
from pseudolabel.errors import InputError
from pseudolabel.options import COUNT, Options, option

SHORTEST_CROP_S = 0.5  # shorter sounds are used whole
REPEATED_BELOW_S = 1.5  # a shorter sound may be repeated within one event: a dog barks more than once
MOST_REPEATS, GAP_S = 4, (0.1, 0.8)
FADE_IN_S, FADE_OUT_S = 0.01, 0.05  # raised cosine; short at the start, because the attack distinguishes classes
BACKGROUND_DB = (-55.0, -30.0)  # RMS of the background in dB below full scale
PEAK = 0.95  # a scene with a higher peak is scaled down as a whole, which keeps every SNR
SILENCE = 1e-4  # of the peak (-80 dB); either end of a recording is trimmed where it is quieter


@dataclass(frozen=True)
class SceneOptions(Options):
    """Options shared by all scenes of a corpus."""

    duration_s: float = option(10.0, "seconds a scene", flag="--duration", metavar="N")
    sample_rate: int = option(16_000, "Hz", COUNT, metavar="N")
    # Ranges of the number of events and of an event's level in dB; both are drawn uniformly.
    events: tuple[int, int] = option((1, 4), "events a scene", COUNT.up_to(1000), metavar=("LOW", "HIGH"))
    snr_db: tuple[float, float] = option(
        (5.0, 25.0), "dB of an event over the background", flag="--snr", metavar=("LOW", "HIGH")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.1 <= self.duration_s <= 600:
            raise InputError(f"a scene lasts 0.1 to 600 s, not {self.duration_s:g}", "--duration")
        if not 4_000 <= self.sample_rate <= 192_000:
            raise InputError(f"a sample rate is between 4000 and 192000 Hz, not {self.sample_rate}", "--sample-rate")
        if not 1 <= self.events[0] <= self.events[1]:
            raise InputError(f"lowest and highest count must be 1 <= LOW <= HIGH, not {self.events}", "--events")
        if not -100 <= self.snr_db[0] <= self.snr_db[1] <= 100:
            raise InputError(f"must be LOW <= HIGH within -100 and 100 dB, not {self.snr_db}", "--snr")

    @property
    def n_samples(self) -> int:
        """Length of a scene in samples."""
        return round(self.duration_s * self.sample_rate)


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Trim silence (80 dB below the peak, or digital) from both ends of samples (T,)."""
    loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max(initial=0))
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


def cut_event(sound: np.ndarray, rng: np.random.Generator, options: SceneOptions) -> np.ndarray:
    """Make one event (T,) float32, no longer than the scene, from an isolated sound.

    The event is a random crop between half a second and the whole sound, faded at both ends; a crop below 1.5 s may be
    repeated, up to four times in all. A crop that falls in a pause (mean power 10 dB below that of the whole sound) is
    drawn again; after eight draws it is placed around the sound's peak.
    """
    rate, longest = options.sample_rate, min(len(sound), options.n_samples)
    shortest = min(round(SHORTEST_CROP_S * rate), longest)
    length = int(rng.integers(shortest, longest + 1))
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    starts = rng.integers(0, len(sound) - length + 1, size=8)
    powers = (energy[starts + length] - energy[starts]) / length
    loud_enough = np.flatnonzero(powers >= 0.1 * energy[-1] / len(sound))
    around_peak = min(max(int(np.argmax(np.abs(sound))) - length // 2, 0), len(sound) - length)
    start = int(starts[loud_enough[0]]) if len(loud_enough) else around_peak
    crop = fade(sound[start : start + length], rate)

    n_repeats = int(rng.integers(1, MOST_REPEATS + 1))
    gaps = (rng.uniform(*GAP_S, size=MOST_REPEATS) * rate).astype(int)
    if len(crop) >= REPEATED_BELOW_S * rate:
        return crop
    pieces = [crop]
    for gap in gaps[: n_repeats - 1]:
        if sum(map(len, pieces)) + gap + len(crop) <= options.n_samples:
            pieces += [np.zeros(gap, dtype=np.float32), crop]
    return np.concatenate(pieces)


def fade(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return a copy (T,) float32 with raised-cosine fades at both ends, each at most a quarter of the whole."""
    faded = np.array(samples, dtype=np.float32)
    for seconds, part in ((FADE_IN_S, faded), (FADE_OUT_S, faded[::-1])):
        n = min(round(seconds * sample_rate), len(faded) // 4)
        part[:n] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(n, dtype=np.float32) + 0.5) / max(n, 1))
    return faded


def mix_events(
    background: np.ndarray, events: Sequence[np.ndarray], onsets: Sequence[int], snr_db: Sequence[float]
) -> np.ndarray:
    """Return the scene (T,) float32 with every event at its SNR over the background and a peak of at most PEAK.

    An event's SNR is its mean power, from onset to offset, over the mean power of the whole background, in dB.

    Args:
        background: (T,) noise at its own level.
        events: sounds of any level, each short enough to fit into the scene at its onset.
        onsets: first sample of each event.
        snr_db: level of each event.
    """
    scene = background.astype(np.float64)
    noise_power = np.mean(np.square(scene))
    for event, onset, snr in zip(events, onsets, snr_db, strict=True):
        power = np.mean(np.square(event, dtype=np.float64))
        scene[onset : onset + len(event)] += event * np.sqrt(noise_power * 10 ** (snr / 10) / power)
    peak = np.abs(scene).max()
    return (scene * (PEAK / peak if peak > PEAK else 1.0)).astype(np.float32)


@dataclass(frozen=True)
class Event:
    """One event of a scene; times are in seconds from the scene's start."""

    onset_s: float
    offset_s: float
    class_id: str
    snr_db: float
    source: str


def make_scene(draw_sound, rng: np.random.Generator, options: SceneOptions) -> tuple[np.ndarray, list[Event]]:
    """Draw and mix one scene; all randomness comes from `rng`.

    Args:
        draw_sound: function of `rng` that returns (class id, source, sound (T,) float32).
    Returns:
        The scene (options.n_samples,) float32 and its events sorted by onset.
    """
    rate = options.sample_rate
    level_db = rng.uniform(*BACKGROUND_DB)
    background = background_noise(rng, options.n_samples, rate) * np.float32(10 ** (level_db / 20))
    sounds, onsets, snrs, events = [], [], [], []
    for _ in range(int(rng.integers(options.events[0], options.events[1] + 1))):
        class_id, source, sound = draw_sound(rng)
        sounds.append(cut_event(sound, rng, options))
        onsets.append(int(rng.integers(0, options.n_samples - len(sounds[-1]) + 1)))
        snrs.append(round(float(rng.uniform(*options.snr_db)), 2))
        offset_s = (onsets[-1] + len(sounds[-1])) / rate
        events.append(Event(onsets[-1] / rate, offset_s, class_id, snrs[-1], source))
    scene = mix_events(background, sounds, onsets, snrs)
    return scene, sorted(events, key=lambda event: (event.onset_s, event.offset_s, event.class_id))
