"""Building blocks of synthesised sounds: oscillators, resonators, noise, strokes, calls and a room.

A `Take` is one recording in the making: a random generator, a length and a sample rate. Every block returns (T,)
float64, as long as the take, so blocks can be added and multiplied. Partials near or above Nyquist are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.ndimage import uniform_filter1d
from scipy.signal import fftconvolve, lfilter

HIGHEST = 0.47  # of the sample rate; tones and modes above it are left out to avoid aliasing
TABLE_LENGTH = 4096  # samples per period in the oscillator's table
Values = Sequence[float] | np.ndarray


class Take:
    """One sound in the making.

    Args:
        rng: source of all randomness, used in a fixed order.
        n_samples: T.
        sample_rate: Hz.
    """

    def __init__(self, rng: np.random.Generator, n_samples: int, sample_rate: int):
        self.rng, self.n_samples, self.sample_rate = rng, n_samples, sample_rate
        self.duration_s = n_samples / sample_rate
        self.time_s = np.arange(n_samples) / sample_rate

    # Numbers

    def uniform(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return float(self.rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """Return a log-uniform number between `low` and `high`, for frequencies, times and rates."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def vary(self, count: int, spread: float) -> np.ndarray:
        """Return (count,) factors around 1 whose logarithms have the standard deviation `spread`."""
        return np.exp(spread * self.rng.standard_normal(count))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return bool(self.rng.random() < probability)

    # Onsets in seconds

    def beats(self, rate_hz: float, jitter: float = 0.0, start_s: float = 0.01) -> np.ndarray:
        """Return (M,) regular onsets, all but the first displaced by `jitter` periods (standard deviation)."""
        beats_s = np.arange(min(start_s, self.duration_s / 4), self.duration_s, 1 / rate_hz)
        beats_s[1:] += jitter / rate_hz * self.rng.standard_normal(len(beats_s) - 1)
        return np.clip(np.sort(beats_s), 0, self.duration_s * 0.999)

    def scatter(self, rate_hz: float) -> np.ndarray:
        """Return (M,) onsets of a Poisson process, at least one."""
        count = max(1, self.rng.poisson(rate_hz * self.duration_s))
        return np.sort(self.rng.uniform(0, self.duration_s, count))

    # Control signals

    def wander(self, rate_hz: float) -> np.ndarray:
        """Return smooth noise around 0 through random knots of unit variance, `rate_hz` knots per second."""
        knots = self.rng.standard_normal(int(np.ceil(self.duration_s * rate_hz)) + 2)
        where = self.time_s * rate_hz + self.rng.random()
        left = np.minimum(where.astype(np.int64), len(knots) - 2)
        ease = (where - left) ** 2 * (3 - 2 * (where - left))
        return knots[left] + (knots[left + 1] - knots[left]) * ease

    def contour(self, knots: Values) -> np.ndarray:
        """Interpolate linearly between `knots`, equally spaced over the whole take."""
        return np.interp(self.time_s, np.linspace(0, self.duration_s, len(knots)), knots)

    def impulses(self, onsets_s: np.ndarray, gains: Values | float = 1.0) -> np.ndarray:
        """Return single-sample impulses of height `gains` at the onsets within the take."""
        where = (np.asarray(onsets_s) * self.sample_rate).astype(np.int64)
        inside = (where >= 0) & (where < self.n_samples)
        gains = np.broadcast_to(gains, where.shape)
        return np.bincount(where[inside], gains[inside], minlength=self.n_samples)

    def strokes(
        self, onsets_s: np.ndarray, gains: Values | float, decay_s: float, attack_s: float = 0.0005
    ) -> np.ndarray:
        """Return an envelope that rises within `attack_s` at every onset and falls to 1/e in `decay_s`."""
        hits = self.impulses(onsets_s, gains)
        fall, rise = (np.exp(-1 / (max(seconds, 1e-4) * self.sample_rate)) for seconds in (decay_s, attack_s))
        return lfilter([1.0], [1.0, -fall], hits) - lfilter([1.0], [1.0, -rise], hits)

    def gate(self, onsets_s: Values, lengths_s: Values | float, edge_s: float = 0.01) -> np.ndarray:
        """Return 1 while a sound is on and 0 elsewhere, with edges `edge_s` long."""
        onsets_s = np.asarray(onsets_s, float)
        switch = self.impulses(onsets_s) - self.impulses(onsets_s + lengths_s)
        return uniform_filter1d(np.minimum(np.cumsum(switch), 1.0), max(1, int(edge_s * self.sample_rate)))

    def calls(
        self, onsets_s: np.ndarray, length_s: float, pitch_hz: Values, loudness: Values, spread: float = 0.03
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return pitch (T,) in Hz and loudness (T,) of one call repeated at every onset with random variation.

        Args:
            onsets_s: (M,) where a call begins.
            length_s: of one call.
            pitch_hz: knots of the pitch contour, equally spaced over the call.
            loudness: knots of the loudness contour, from 0 to 0.
            spread: relative variation of pitch between calls; length varies twice as much, loudness five times.
        """
        pitch, level = np.full(self.n_samples, float(pitch_hz[0])), np.zeros(self.n_samples)
        for onset_s in onsets_s:
            length = length_s * float(self.vary(1, 2 * spread)[0])
            first, last = (min(int(at * self.sample_rate), self.n_samples) for at in (onset_s, onset_s + length))
            position = np.linspace(0, 1, max(last - first, 0))
            knots = np.asarray(pitch_hz) * self.vary(1, spread) * self.vary(len(pitch_hz), spread / 3)
            pitch[first:last] = np.interp(position, np.linspace(0, 1, len(knots)), knots)
            pitch[last:] = knots[-1]
            level[first:last] = np.interp(position, np.linspace(0, 1, len(loudness)), loudness)
            level[first:last] *= self.vary(1, 5 * spread)
        return pitch, level

    # Sources

    def noise(self, *points: tuple[float, float]) -> np.ndarray:
        """Return noise of unit RMS whose spectrum follows `points`, pairs of (Hz, dB); white without points."""
        length = next_fast_len(self.n_samples, real=True)
        spectrum = self.rng.standard_normal((length // 2 + 1, 2)) @ np.array([1, 1j])
        if points:
            hz, level_db = np.array(sorted(points)).T
            octaves = np.log2(np.maximum(rfftfreq(length, 1 / self.sample_rate), 1.0))
            spectrum *= 10 ** (np.interp(octaves, np.log2(hz), level_db) / 20)
        spectrum[0] = 0
        noise = irfft(spectrum, length)[: self.n_samples]
        return noise / max(np.sqrt(np.mean(noise**2)), 1e-12)

    def tone(self, frequency_hz: np.ndarray | float, partials: Values = (1.0,)) -> np.ndarray:
        """Return a periodic sound of unit RMS with harmonics 1, 2, ... of the given strengths, all in cosine phase.

        In-phase harmonics form pulses, like those of vocal folds, engines and horns.
        """
        frequency_hz = np.broadcast_to(np.minimum(frequency_hz, HIGHEST * self.sample_rate), self.n_samples)
        partials = np.array(partials, float)
        order = np.arange(1, len(partials) + 1)
        partials[order * frequency_hz.max() > HIGHEST * self.sample_rate * 1.0001] = 0
        spectrum = np.zeros(TABLE_LENGTH // 2 + 1)
        spectrum[1 : len(partials) + 1] = partials
        table = irfft(spectrum, TABLE_LENGTH)
        table = np.append(table, table[0]) / max(table.std(), 1e-12)
        where = (np.cumsum(frequency_hz) / self.sample_rate + self.rng.random()) % 1 * TABLE_LENGTH
        left = np.minimum(where.astype(np.int64), TABLE_LENGTH - 1)
        return table[left] + (table[left + 1] - table[left]) * (where - left)

    def ring(self, excitation: np.ndarray, modes_hz: Values, decays_s: Values, gains: Values) -> np.ndarray:
        """Return the response of modes to an excitation: a unit impulse gives `gain` * sin, at 1/e after `decay`."""
        answer = np.zeros(self.n_samples)
        for mode_hz, decay_s, gain in zip(modes_hz, decays_s, gains, strict=True):
            if mode_hz < HIGHEST * self.sample_rate:
                angle, radius = 2 * np.pi * mode_hz / self.sample_rate, np.exp(-1 / (decay_s * self.sample_rate))
                answer += lfilter([gain * np.sin(angle)], [1, -2 * radius * np.cos(angle), radius**2], excitation)
        return answer

    def formants(self, source: np.ndarray, peaks_hz: Values, widths_hz: Values, gains: Values) -> np.ndarray:
        """Filter `source` through parallel resonances of the given bandwidths; each gain is the one at the peak."""
        decays_s = 1 / (np.pi * np.asarray(widths_hz, float))
        peak = 2 * (1 - np.exp(-1 / (decays_s * self.sample_rate)))
        return self.ring(source, peaks_hz, decays_s, np.asarray(gains, float) * peak)

    def string(
        self, onsets_s: np.ndarray, gains: Values, pitch_hz: float, decay_s: float, damping: float, pluck_at: float
    ) -> np.ndarray:
        """Return one string plucked at every onset: Karplus-Strong, solved in the frequency domain to stay in tune.

        Args:
            onsets_s: (M,) times of the plucks.
            gains: (M,) strengths of the plucks.
            pitch_hz: fundamental.
            decay_s: time in which the fundamental falls to 1/e.
            damping: how much faster high partials fall, 0 to 1.
            pluck_at: where the string is plucked, 0 to 1: partials with a node there are missing.
        """
        length = next_fast_len(self.n_samples + int(3 * decay_s * self.sample_rate), real=True)
        hz = rfftfreq(length, 1 / self.sample_rate)
        pluck = self.rng.uniform(-1, 1, max(2, int(self.sample_rate / pitch_hz)))
        turn = np.exp(-2j * np.pi / pitch_hz * hz)
        loss = np.exp(-1 / (pitch_hz * decay_s)) * (1 - damping * (hz / self.sample_rate) ** 2)
        comb = 1 - np.exp(-2j * np.pi * pluck_at / pitch_hz * hz)
        plucks = fftconvolve(self.impulses(onsets_s, gains), pluck)[: self.n_samples]
        return irfft(rfft(plucks, length) * comb / (1 - loss * turn), length)[: self.n_samples]

    def melody(self, count: int, low_hz: float, high_hz: float) -> np.ndarray:
        """Return (count,) pitches in Hz: a random walk on a pentatonic scale whose root is drawn from the range."""
        scale = np.array([0, 2, 4, 7, 9])
        steps = np.cumsum(self.rng.integers(-2, 3, count))
        semitones = scale[steps % 5] + 12 * (steps // 5)
        return np.clip(self.log_uniform(low_hz, high_hz) * 2 ** (semitones / 12), low_hz / 2, high_hz * 2)


def level(signal: np.ndarray) -> np.ndarray:
    """Return the signal at unit RMS; silence stays silence."""
    return signal / max(np.sqrt(np.mean(signal**2)), 1e-12)


def in_a_room(take: Take, signal: np.ndarray, wettest: float) -> np.ndarray:
    """Return the signal as recorded in a random room: reverberation, gentle coloration, little below 25 Hz.

    The room is decaying noise, high frequencies faster, with a reverberation time of 0.15 to 1.5 s.
    `wettest` is the highest ratio of reverberant to direct amplitude.
    """
    t60_s, wet = take.log_uniform(0.15, 1.5), wettest * take.uniform(0, 1) ** 2
    tail_s = np.arange(int(min(t60_s, 0.8) * take.sample_rate)) / take.sample_rate
    hits = take.rng.standard_normal(len(tail_s)) * np.exp(-6.9 * tail_s / t60_s)
    dull = lfilter([0.35], [1, -0.65], hits)
    tail = dull + (hits - dull) * np.exp(-tail_s * take.uniform(5, 25))
    tail *= wet / max(np.sqrt(np.sum(tail**2)), 1e-12)
    tail[0] += 1
    length = next_fast_len(take.n_samples + len(tail), real=True)
    hz = rfftfreq(length, 1 / take.sample_rate)
    octaves = np.log2(np.maximum(hz, 20) / 20)
    colour_db = np.interp(octaves, np.arange(11), take.rng.normal(0, 2.5, 11)) + take.uniform(-1, 1) * (octaves - 5)
    below = (hz / 25) ** 4 / (1 + (hz / 25) ** 4)
    return irfft(rfft(signal, length) * rfft(tail, length) * 10 ** (colour_db / 20) * below, length)[: take.n_samples]
