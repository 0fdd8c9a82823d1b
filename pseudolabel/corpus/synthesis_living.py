"""Synthesise people and animals: each function draws one individual and renders it for a whole take."""

from __future__ import annotations

import numpy as np

from pseudolabel.corpus.synthesis_take import Take, level


def rolloff(count: int, slope: float) -> np.ndarray:
    """Return (count,) strengths of harmonics, falling as a power of their order."""
    return np.arange(1.0, count + 1) ** -slope


def roughness(take: Take, rate_hz: float, depth: float) -> np.ndarray:
    """Return factors around 1 that perturb a pitch, like the jitter of a voice."""
    return np.exp(depth * take.wander(rate_hz))


def every(take: Take, period_s: float, jitter: float = 0.12, start_s: float = 0.02) -> np.ndarray:
    """Return onsets of calls about `period_s` apart."""
    return take.beats(1 / period_s, jitter, start_s)


# People


def clapping(take: Take) -> np.ndarray:
    """One to three people, each with their own pace and cupped hands."""
    sound = np.zeros(take.n_samples)
    for _ in range(take.rng.integers(1, 4)):
        onsets_s = take.beats(take.log_uniform(1.8, 5), 0.04, take.uniform(0.01, 0.2))
        bursts = take.noise() * take.strokes(onsets_s, take.vary(len(onsets_s), 0.25), take.log_uniform(0.004, 0.014))
        hands = (take.log_uniform(700, 2200), take.log_uniform(2200, 5000))
        sound += take.formants(bursts, hands, (500, 1500), (1, take.uniform(0.3, 1))) + 0.1 * bursts
    return sound


def applause(take: Take) -> np.ndarray:
    """A crowd: hundreds of claps a second that swell and fade."""
    onsets_s = take.scatter(take.log_uniform(60, 400))
    crowd = take.strokes(onsets_s, take.vary(len(onsets_s), 0.7), take.log_uniform(0.005, 0.012))
    bursts = take.noise() * crowd * np.exp(0.3 * take.wander(0.7))
    peaks = (take.log_uniform(800, 1400), take.log_uniform(1500, 3500))
    return take.formants(bursts, peaks, (900, 2000), (1, 0.8)) + 0.1 * level(bursts)


def footsteps(take: Take) -> np.ndarray:
    """Heel and toe on a floor between hard wood and gravel."""
    heels_s = take.beats(take.log_uniform(1.3, 2.6), 0.03, take.uniform(0.02, 0.2))
    toes_s = heels_s + take.uniform(0.07, 0.16)
    force = take.vary(len(heels_s), 0.2)
    crunch, floor_hz = take.uniform(0, 1), take.log_uniform(70, 220)
    hits = take.strokes(heels_s, force, 0.006) + take.uniform(0.2, 0.7) * take.strokes(toes_s, force, 0.004)
    thump = take.ring(hits * take.noise((80, 0), (1000, -20)), (floor_hz, 2.3 * floor_hz), (0.03, 0.02), (0.3, 0.15))
    scrape = take.strokes(heels_s, force, 0.04, 0.01) + 0.8 * take.strokes(toes_s, force, 0.05, 0.01)
    gravel = scrape * take.noise((300, -15), (take.log_uniform(900, 4000), 0), (9000, -12))
    tap = hits * take.noise((500, -12), (take.log_uniform(1000, 3500), 0), (9000, -15))
    return level(thump) + (1 - crunch) * 0.7 * level(tap) + crunch * level(gravel)


def snoring(take: Take) -> np.ndarray:
    """Rattling pulses of the soft palate while breathing in, a hiss while breathing out."""
    period_s, length_s = take.uniform(2.2, 3.6), take.uniform(0.8, 1.5)
    onsets_s = every(take, period_s, 0.05)
    pitch, loud = take.calls(onsets_s, length_s, take.log_uniform(28, 75) * np.array([0.9, 1.1, 0.9]), (0, 0.7, 1, 0))
    rattle = take.tone(pitch * roughness(take, 40, 0.08), rolloff(60, 0.6)) * (1 + 0.3 * take.wander(30))
    throat = (take.log_uniform(250, 450), take.log_uniform(800, 1300), take.log_uniform(1800, 3000))
    rattle = take.formants(rattle + 0.4 * take.noise(), throat, (120, 200, 400), (1, 0.6, 0.3))
    _, sigh = take.calls(onsets_s + length_s + 0.2, 0.8, (1.0,), (0, 1, 0.5, 0))
    return level(rattle * loud) + take.uniform(0.05, 0.2) * sigh * take.noise((300, -10), (1500, 0), (6000, -15))


def baby_cry(take: Take) -> np.ndarray:
    """Rising and falling wails of a short vocal tract, rough when loud."""
    length_s, pitch_hz = take.uniform(0.5, 1.2), take.log_uniform(330, 560)
    onsets_s = every(take, length_s + take.uniform(0.25, 0.6), 0.06)
    shape = np.array([0.8, 1.1, 1.15, 1.05, 0.75]) * take.vary(5, 0.05)
    pitch, loud = take.calls(onsets_s, length_s, pitch_hz * shape, (0, 0.8, 1, 0.9, 0), 0.05)
    vibrato = 1 + take.uniform(0.005, 0.03) * np.sin(2 * np.pi * take.uniform(4, 8) * take.time_s)
    folds = take.tone(pitch * vibrato * roughness(take, 60, 0.015), rolloff(20, take.uniform(0.4, 1)))
    tract = np.array([1100, 2400, 3700, 5500]) * take.vary(1, 0.1)
    voice = take.formants(folds, tract, (180, 250, 400, 600), (1, take.uniform(0.3, 0.9), 0.5, 0.2))
    breath = take.noise((500, -20), (3000, 0), (7000, -6)) * take.uniform(0.01, 0.06)
    return (level(voice) + breath) * loud


def whistling(take: Take) -> np.ndarray:
    """A tune on pursed lips: nearly pure, gliding from note to note, with a little breath."""
    length_s = take.log_uniform(0.18, 0.6)
    onsets_s = every(take, length_s, 0.05)
    notes = take.melody(len(onsets_s), 800, 2200)
    pitch = notes[np.maximum(np.searchsorted(onsets_s, take.time_s) - 1, 0)]
    glide = int(take.uniform(0.02, 0.09) * take.sample_rate)
    pitch = np.convolve(np.pad(pitch, (glide, glide), "edge"), np.ones(glide) / glide, "same")[glide:-glide]
    pitch = pitch * (1 + take.uniform(0.003, 0.02) * np.sin(2 * np.pi * take.uniform(4, 7) * take.time_s))
    loud = take.gate(onsets_s, length_s * take.uniform(0.75, 1.05), 0.04) * np.exp(0.15 * take.wander(4))
    breath = take.noise((500, -25), (float(notes[0]), 0), (7000, -15)) * take.uniform(0.02, 0.15)
    return (take.tone(pitch, (1, take.uniform(0.01, 0.15), 0.02)) + breath) * loud


def heartbeat(take: Take) -> np.ndarray:
    """Lub and dub through a chest or a stethoscope, with the rush of blood."""
    lubs_s = take.beats(take.log_uniform(0.85, 2.2), 0.02, take.uniform(0.02, 0.2))
    dubs_s = lubs_s + take.uniform(0.24, 0.34)
    low_hz = take.log_uniform(38, 75)
    lub = take.strokes(lubs_s, take.vary(len(lubs_s), 0.1), 0.035, 0.01)
    dub = take.strokes(dubs_s, take.uniform(0.4, 1), 0.025, 0.008)
    sound = take.tone(low_hz, (1, 0.6, 0.2)) * lub + take.tone(low_hz * take.uniform(1.2, 1.6), (1, 0.5, 0.2)) * dub
    rush = take.noise((60, 0), (take.log_uniform(150, 500), -6), (1500, -40))
    return sound + rush * (take.uniform(0.2, 0.6) * (lub + dub) + take.uniform(0.005, 0.04))


# Animals


def bark(take: Take) -> np.ndarray:
    """Short hoarse shouts: a pitch that jumps up and falls, through a muzzle."""
    length_s, size = take.log_uniform(0.09, 0.24), take.log_uniform(0.7, 1.6)
    onsets_s = every(take, length_s + take.log_uniform(0.12, 0.7), 0.15)
    knots = 420 / size * np.array([0.7, 1.15, 1.0, 0.6]) * take.vary(4, 0.08)
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 1, 0.7, 0.25, 0), 0.06)
    folds = take.tone(pitch * roughness(take, 150, 0.06), rolloff(30, 0.8)) + take.uniform(0.2, 0.8) * take.noise()
    muzzle = np.array([650, 1350, 2600]) / size**0.7 * take.vary(3, 0.1)
    return take.formants(folds * loud, muzzle, (200, 300, 500), (1, take.uniform(0.4, 1), take.uniform(0.1, 0.4)))


def meow(take: Take) -> np.ndarray:
    """A mouth that opens and closes around a pitch that rises and falls."""
    length_s, pitch_hz = take.log_uniform(0.4, 1.1), take.log_uniform(380, 800)
    onsets_s = every(take, length_s + take.uniform(0.3, 1), 0.1)
    knots = pitch_hz * np.array([0.8, 1.1, 1.1, 1.0, 0.75]) * take.vary(5, 0.07)
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 0.5, 1, 0.8, 0.4, 0), 0.04)
    opening = np.clip(take.calls(onsets_s, length_s, (1.0,), (0, 0.3, 1, 0.6, 0), 0.01)[1], 0, 1)
    folds = take.tone(pitch * roughness(take, 80, 0.008), rolloff(16, 0.8)) + 0.05 * take.noise()
    size = float(take.vary(1, 0.1)[0])
    closed = take.formants(folds, np.array([500, 2300, 3500]) * size, (150, 300, 400), (1, 0.5, 0.1))
    opened = take.formants(folds, np.array([1300, 1900, 4000]) * size, (200, 300, 500), (1, 0.8, 0.4))
    return (closed * (1 - opening) + opened * opening) * loud


def purr(take: Take) -> np.ndarray:
    """Pulses at 22 to 32 Hz, stronger when breathing out than in."""
    breath = np.sin(2 * np.pi * (take.uniform(0.35, 0.7) * take.time_s + take.rng.random()))
    rate_hz = take.uniform(22, 32) * (1 + 0.04 * breath + 0.02 * take.wander(6))
    pulses = take.tone(rate_hz, rolloff(50, 0.3)) * (1 + 0.3 * take.wander(25))
    body = (take.log_uniform(60, 160), take.log_uniform(200, 450), take.log_uniform(600, 1500))
    sound = take.formants(pulses, body, (80, 150, 400), (1, take.uniform(0.3, 0.9), take.uniform(0.1, 0.4)))
    hiss = take.noise((200, -10), (1200, 0), (6000, -20)) * take.uniform(0.02, 0.12) * (1 + breath)
    return level(sound) * (0.75 + 0.25 * breath) + hiss


def hoot(take: Take) -> np.ndarray:
    """An owl's soft, nearly pure notes, in its own rhythm."""
    pitch_hz, length_s = take.log_uniform(260, 620), take.log_uniform(0.15, 0.5)
    phrase = length_s * np.r_[take.rng.choice([1.4, 1.8, 2.4], take.rng.integers(1, 5)), take.uniform(2, 4)]
    onsets_s = 0.02 + np.cumsum(np.r_[0.0, np.resize(phrase, int(take.duration_s / length_s))])
    knots = pitch_hz * np.array([0.94, 1.0, 1.0, 0.93]) * take.vary(4, 0.01)
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 0.8, 1, 0.7, 0), 0.02)
    quaver = 1 + take.uniform(0, 0.35) * np.sin(2 * np.pi * take.uniform(9, 16) * take.time_s)
    note = take.tone(pitch, (1, take.uniform(0.03, 0.2), take.uniform(0.01, 0.06)))
    return (note + take.uniform(0.01, 0.05) * take.noise((200, 0), (2000, -20))) * loud * quaver


def caw(take: Take) -> np.ndarray:
    """A crow's harsh, noisy calls, in twos to fives."""
    length_s = take.log_uniform(0.18, 0.45)
    onsets_s = every(take, length_s + take.log_uniform(0.12, 0.5), 0.08)
    knots = take.log_uniform(380, 700) * np.array([0.85, 1.05, 1.0, 0.85])
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 0.9, 1, 0.8, 0), 0.04)
    flaps = np.cumsum(take.uniform(60, 110) + 10 * take.wander(30)) / take.sample_rate
    rasp = 1 + 0.7 * np.sign(np.sin(2 * np.pi * flaps))
    folds = take.tone(pitch * roughness(take, 250, 0.05), rolloff(16, 0.4)) * rasp + take.uniform(0.3, 1) * take.noise()
    throat = (take.log_uniform(1000, 1400), take.log_uniform(1600, 2300), take.log_uniform(2800, 4200))
    return take.formants(folds * loud, throat, (250, 350, 700), (1, take.uniform(0.5, 1), take.uniform(0.1, 0.5)))


def coo(take: Take) -> np.ndarray:
    """A pigeon's low rolling notes, long and short."""
    pitch_hz, length_s = take.log_uniform(280, 520), take.log_uniform(0.3, 0.7)
    onsets_s = every(take, length_s * take.uniform(1.3, 2.2), 0.1)
    knots = pitch_hz * np.array([0.85, 1.0, 1.12, 0.95, 0.85]) * take.vary(5, 0.03)
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 0.6, 1, 0.6, 0.8, 0), 0.03)
    roll = 1 + take.uniform(0.3, 0.8) * np.sin(2 * np.pi * take.uniform(18, 32) * take.time_s)
    note = take.tone(pitch * roughness(take, 60, 0.01), (1, take.uniform(0.1, 0.4), 0.1, 0.05))
    return (note + 0.03 * take.noise((200, 0), (3000, -25))) * loud * roll


def chirp_tweet(take: Take) -> np.ndarray:
    """Song birds: phrases of quick whistled sweeps, sometimes trilled."""
    length_s, middle_hz = take.log_uniform(0.04, 0.2), take.log_uniform(2600, 5000)
    onsets_s = every(take, length_s + take.log_uniform(0.04, 0.3), 0.15)
    phrase_s = take.uniform(0.8, 2)
    onsets_s = onsets_s[onsets_s % phrase_s < phrase_s * take.uniform(0.4, 1)]
    sweep = middle_hz * np.exp(take.uniform(0.1, 0.35) * take.rng.standard_normal(take.rng.integers(2, 5)))
    pitch, loud = take.calls(onsets_s, length_s, sweep, (0, 1, 0.8, 0), 0.06)
    trill = 1 + take.uniform(0, 0.06) * np.sin(2 * np.pi * take.uniform(20, 70) * take.time_s)
    return take.tone(np.clip(pitch * trill, 1200, 7400), (1, take.uniform(0.01, 0.15))) * loud


def cricket(take: Take) -> np.ndarray:
    """Scraped wings: a carrier near 4 kHz in pulses of about 20 ms, a few per chirp; sometimes a second cricket."""
    sound = np.zeros(take.n_samples)
    for distance in (1.0, take.uniform(0, 0.6))[: take.rng.integers(1, 3)]:
        pulse_hz, chirp_s = take.log_uniform(20, 45), take.log_uniform(0.12, 0.4)
        chirps_s = every(take, chirp_s * take.uniform(1.5, 3), 0.03, take.uniform(0.01, 0.1))
        pulses = np.clip(np.sin(2 * np.pi * (pulse_hz * take.time_s + take.rng.random())), 0, 1) ** take.uniform(0.7, 2)
        carrier = take.tone(take.log_uniform(3300, 5600) * (1 + 0.002 * take.wander(10)), (1, 0.1))
        sound += distance * carrier * pulses * (take.gate(chirps_s, chirp_s, 0.03) if take.chance(0.75) else 1)
    return sound


def mosquito(take: Take) -> np.ndarray:
    """The whine of passing wings: pitch and loudness wander."""
    pitch = take.log_uniform(380, 720) * np.exp(take.uniform(0.02, 0.08) * take.wander(1.5) + 0.01 * take.wander(12))
    near = np.exp(take.uniform(0.5, 1.1) * take.wander(take.uniform(0.5, 2)))
    wings = take.tone(pitch, rolloff(12, take.uniform(0.5, 1.3)))
    whine = take.formants(wings, (take.log_uniform(900, 3000),), (1200,), (2,)) + take.uniform(0.3, 1) * wings
    return (whine + take.uniform(0.01, 0.06) * take.noise()) * near


def croak(take: Take) -> np.ndarray:
    """A frog's pulsed calls through two resonances of the vocal sac."""
    length_s = take.log_uniform(0.12, 0.7)
    onsets_s = every(take, length_s + take.log_uniform(0.1, 0.6), 0.1)
    pulse_hz = take.log_uniform(25, 110) * np.array([0.8, 1.1, take.uniform(0.9, 1.5)])
    pitch, loud = take.calls(onsets_s, length_s, pulse_hz, (0, 0.7, 1, 0), 0.04)
    pulses = take.tone(pitch * roughness(take, 60, 0.02), rolloff(70, 0.1))
    sac_hz = take.log_uniform(450, 1300)
    return take.formants(pulses * loud, (sac_hz, sac_hz * take.uniform(2, 2.8)), (90, 220), (1, take.uniform(0.2, 0.7)))


def moo(take: Take) -> np.ndarray:
    """A cow: a long low call that opens and rises, then falls."""
    length_s, pitch_hz = take.uniform(0.9, 2.2), take.log_uniform(85, 190)
    onsets_s = every(take, length_s + take.uniform(0.4, 1.2), 0.1)
    knots = pitch_hz * np.array([0.75, 0.95, 1.1, 1.1, 0.8]) * take.vary(5, 0.05)
    pitch, loud = take.calls(onsets_s, length_s, knots, (0, 0.5, 0.9, 1, 0.7, 0), 0.03)
    folds = take.tone(pitch * roughness(take, 60, 0.015), rolloff(40, 0.7)) + 0.08 * take.noise()
    size, opening = float(take.vary(1, 0.12)[0]), np.clip(loud**2, 0, 1)
    closed = take.formants(folds, np.array([230, 900, 2100]) * size, (80, 150, 300), (1, 0.15, 0.03))
    opened = take.formants(folds, np.array([480, 850, 2400]) * size, (100, 150, 350), (1, 0.6, 0.15))
    return (closed * (1 - opening) + opened * opening) * loud
