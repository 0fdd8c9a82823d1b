"""Synthesise musical instruments and bells: modes with individual decays, plucked strings, drawbars, breath."""

from __future__ import annotations

import numpy as np

from pseudolabel.corpus.synthesis_take import Take, Values, level

CHURCH_BELL = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.5, 2.67, 3.0, 4.0, 5.3])  # hum, prime, tierce, quint, nominal ...
DRUM_HEAD = np.array([1.0, 1.5, 1.99, 2.44, 2.9, 3.4])  # a kettledrum's preferred modes
DRAWBARS = np.array([1, 3, 2, 4, 6, 8, 10, 12, 16])  # harmonics of the note an octave below


def struck(take: Take, onsets_s: np.ndarray, gains: np.ndarray, hardness_s: float) -> np.ndarray:
    """Return an excitation: one click per onset, `hardness_s` seconds wide (wider for a softer beater)."""
    width = max(1, int(hardness_s * take.sample_rate))
    return np.convolve(take.impulses(onsets_s, gains), np.hanning(width + 2)[1:-1])[: take.n_samples]


# Bells


def church_bell(take: Take) -> np.ndarray:
    """One bell, struck now and then; each partial is a beating pair."""
    prime_hz = take.log_uniform(170, 620)
    modes_hz = prime_hz * CHURCH_BELL * take.vary(10, 0.012)
    decays_s = take.log_uniform(1.2, 3) * (prime_hz / 300) ** -0.3 * CHURCH_BELL**-0.9 * take.vary(10, 0.2)
    gains = np.array([0.5, 0.7, 0.7, 0.4, 1.0, 0.4, 0.4, 0.5, 0.4, 0.3]) * take.vary(10, 0.4)
    onsets_s = take.beats(take.log_uniform(0.4, 1.3), 0.03)
    blows = struck(take, onsets_s, take.vary(len(onsets_s), 0.15), take.log_uniform(0.0001, 0.0006))
    pair = np.r_[modes_hz, modes_hz + take.rng.uniform(0.3, 2.5, 10)]
    return take.ring(blows, pair, np.r_[decays_s, decays_s], np.r_[gains, 0.5 * gains])


def jingle_bell(take: Take) -> np.ndarray:
    """A shaken bunch of small bells: many short high modes, hit at random within each shake."""
    count, shake_hz = take.rng.integers(8, 16), take.log_uniform(2.5, 8)
    shakes_s = take.beats(shake_hz, 0.04)
    onsets_s = (shakes_s[:, None] + take.rng.exponential(0.02, (len(shakes_s), 12))).ravel()
    modes_hz = take.log_uniform(2600, 4200) * np.exp(take.rng.uniform(0, 0.9, count))
    hits = take.impulses(onsets_s, take.rng.exponential(1, len(onsets_s)))
    return take.ring(hits, modes_hz, take.log_uniform(0.02, 0.09) * take.vary(count, 0.4), take.vary(count, 0.5))


def bicycle_bell(take: Take) -> np.ndarray:
    """A thumb lever: each push is a short trill on one steel dome, which rings on."""
    dome_hz = take.log_uniform(1300, 2900)
    trills_s = take.beats(take.log_uniform(0.8, 2.2), 0.08)
    strokes_s = np.arange(take.rng.integers(3, 12)) / take.uniform(14, 30)
    onsets_s = (trills_s[:, None] + strokes_s).ravel()
    onsets_s = onsets_s + 0.004 * take.rng.standard_normal(len(onsets_s))
    modes_hz = dome_hz * np.array([1, 1.006, 1.62, 2.41, 3.2]) * take.vary(5, 0.02)
    blows = struck(take, onsets_s, take.vary(len(onsets_s), 0.3), 0.0002)
    return take.ring(
        blows, modes_hz, take.log_uniform(0.25, 0.8) * np.array([1, 0.9, 0.6, 0.4, 0.3]), (1, 0.6, 0.7, 0.5, 0.3)
    )


# Drums


def bass_drum(take: Take) -> np.ndarray:
    """A pitch that drops under a soft click, in a simple rhythm."""
    onsets_s = take.beats(take.log_uniform(1.2, 4), 0.01)
    onsets_s = onsets_s[(take.rng.random(len(onsets_s)) < 0.75) | (np.arange(len(onsets_s)) == 0)]
    force, decay_s = take.vary(len(onsets_s), 0.2), take.log_uniform(0.06, 0.3)
    drop = take.strokes(onsets_s, 1.0, take.log_uniform(0.015, 0.05))
    boom = take.tone(take.log_uniform(42, 95) * (1 + take.uniform(0.5, 3) * drop), (1, take.uniform(0, 0.3), 0.1))
    click = take.noise((200, 0), (take.log_uniform(1500, 4000), 0), (8000, -20)) * take.strokes(onsets_s, force, 0.004)
    return boom * take.strokes(onsets_s, force, decay_s, 0.002) + take.uniform(0.05, 0.5) * click


def timpani(take: Take) -> np.ndarray:
    """A tuned kettle: a few nearly harmonic modes, struck with felt, sometimes rolled."""
    rate_hz = take.log_uniform(8, 14) if take.chance(0.25) else take.log_uniform(0.8, 3)
    onsets_s = take.beats(rate_hz, 0.03)
    blows = struck(take, onsets_s, take.vary(len(onsets_s), 0.25), take.log_uniform(0.001, 0.004))
    decays_s = take.log_uniform(0.4, 1.4) * np.array([0.6, 1, 0.8, 0.7, 0.5, 0.4])
    head = take.ring(blows, take.log_uniform(75, 190) * DRUM_HEAD * take.vary(6, 0.01), decays_s, take.vary(6, 0.5))
    thud = take.noise((60, 0), (500, -20)) * take.strokes(onsets_s, 1.0, 0.03)
    return level(head) + take.uniform(0.1, 0.5) * level(thud)


def drum_roll(take: Take) -> np.ndarray:
    """A snare drum rolled: two sticks, wires that buzz, a swell."""
    onsets_s = take.beats(take.log_uniform(17, 32), 0.07)
    sticks = np.where(np.arange(len(onsets_s)) % 2, 1, take.uniform(0.7, 1)) * take.vary(len(onsets_s), 0.15)
    wires = take.noise((150, -15), (take.log_uniform(1800, 4500), 0), (9000, -6))
    wires = wires * take.strokes(onsets_s, sticks, take.log_uniform(0.02, 0.07))
    shell_hz = take.log_uniform(160, 280)
    shell = take.ring(
        take.impulses(onsets_s, sticks), (shell_hz, 1.6 * shell_hz, 2.2 * shell_hz), (0.04, 0.03, 0.02), (1, 0.6, 0.4)
    )
    swell = take.contour(np.exp(take.rng.uniform(-1.6, 0, 4)))
    return (level(wires) + take.uniform(0.3, 1) * level(shell)) * swell


def hi_hat(take: Take) -> np.ndarray:
    """Two cymbals on a pedal: closed ticks and open sizzles in a pattern."""
    onsets_s = take.beats(take.log_uniform(2.5, 8), 0.01)
    accents = np.tile(take.rng.uniform(0.3, 1, 4), len(onsets_s) // 4 + 1)[: len(onsets_s)]
    is_open = take.rng.random(len(onsets_s)) < take.uniform(0, 0.4)
    closed = take.strokes(onsets_s[~is_open], accents[~is_open], take.log_uniform(0.015, 0.06))
    opened = take.strokes(onsets_s[is_open], accents[is_open], take.log_uniform(0.12, 0.4))
    low_hz = take.log_uniform(2500, 5500)
    metal = sum(np.sign(take.tone(low_hz * ratio)) for ratio in take.rng.uniform(0.6, 1.7, 4))
    sizzle = take.noise((low_hz / 4, -45), (low_hz, 0), (16000, 3))
    return (sizzle * (1 + 0.25 * metal)) * (closed + opened)


# Strings, keys, mallets, pipes


def plucked(take: Take, onsets_s: np.ndarray, notes_hz: np.ndarray, string: tuple[float, float, float]) -> np.ndarray:
    """Return plucked notes, one string per pitch; `string` is (decay_s, damping, pluck_at)."""
    sound, force = np.zeros(take.n_samples), take.vary(len(onsets_s), 0.2)
    for note_hz in np.unique(notes_hz):
        played = notes_hz == note_hz
        sound += take.string(onsets_s[played], force[played], note_hz, *string)
    return sound


def acoustic_guitar(take: Take) -> np.ndarray:
    """Plucked steel or nylon strings over a wooden box: a picked line or a strummed chord."""
    decay_s, damping, pluck_at = take.log_uniform(0.4, 1.3), take.uniform(0.3, 1.2), take.uniform(0.1, 0.4)
    if take.chance(0.5):
        onsets_s = take.beats(take.log_uniform(2, 6), 0.03)
        notes_hz = take.melody(len(onsets_s), 110, 300)
    else:
        chord_hz = take.log_uniform(82, 165) * np.array([1, 1.5, 2, 2.52, 3, 4])
        strums_s = take.beats(take.log_uniform(0.8, 2), 0.03)
        onsets_s = (strums_s[:, None] + np.arange(6) * take.uniform(0.01, 0.04)).ravel()
        notes_hz = np.tile(chord_hz, len(strums_s))
    strings = plucked(take, onsets_s, notes_hz, (decay_s, damping, pluck_at))
    box = take.formants(strings, np.array([100, 205, 420]) * take.vary(3, 0.1), (30, 50, 120), (1, 1, 0.6))
    return strings + take.uniform(0.3, 1.2) * box


def banjo(take: Take) -> np.ndarray:
    """A fast roll on bright strings over a skin: short decays, a nasal body."""
    decay_s, damping = take.log_uniform(0.1, 0.3), take.uniform(0.05, 0.5)
    onsets_s = take.beats(take.log_uniform(5, 10), 0.03)
    strings = plucked(take, onsets_s, take.melody(len(onsets_s), 220, 520), (decay_s, damping, 0.12))
    skin = take.formants(strings, np.array([550, 1100, 2600]) * take.vary(3, 0.12), (200, 350, 800), (1, 1, 0.7))
    return 0.3 * strings + skin


def hammond_organ(take: Take) -> np.ndarray:
    """Drawbars, a held chord that changes, a rotating loudspeaker."""
    bars = take.rng.integers(0, 9, 9) + np.array([6, 0, 8, 2, 0, 0, 0, 0, 0])
    partials = np.zeros(16)
    partials[DRAWBARS - 1] = 10 ** (3 * np.minimum(bars, 8) / 20) - 1
    spin = np.sin(2 * np.pi * (take.log_uniform(0.8, 7) * take.time_s + take.rng.random()))
    root_hz = take.melody(4, 60, 140)[np.minimum(take.time_s * take.uniform(0.5, 1.4), 3).astype(int)]
    chord = take.rng.choice([[1, 1.26, 1.5], [1, 1.19, 1.5], [1, 1.33, 1.68], [1, 2, 3]])
    voices = sum(take.tone(root_hz * ratio * (1 + 0.004 * spin), partials) for ratio in chord)
    return voices * (1 + take.uniform(0.05, 0.35) * spin)


def bars(
    take: Take, notes_hz: np.ndarray, onsets_s: np.ndarray, modes: tuple[Values, Values, Values], soft_s: float
) -> np.ndarray:
    """Return bars struck in turn, all with the same modes (ratios, decays, gains); low bars ring longer."""
    ratios, decays_s, gains = modes
    sound = np.zeros(take.n_samples)
    for note_hz in np.unique(notes_hz):
        played_s = onsets_s[notes_hz == note_hz]
        blows = struck(take, played_s, take.vary(len(played_s), 0.25), soft_s)
        sound += take.ring(blows, note_hz * ratios, decays_s * (notes_hz[0] / note_hz) ** 0.6, gains)
    return sound


def marimba(take: Take) -> np.ndarray:
    """Wooden bars whose first overtone is two octaves up, soft mallets, short decays."""
    onsets_s = take.beats(take.log_uniform(2.5, 8), 0.03)
    ratios = np.array([1, 3.95, 9.6]) * take.vary(3, 0.02)
    decays_s = take.log_uniform(0.07, 0.3) * np.array([1, 0.3, 0.12])
    notes_hz = take.melody(len(onsets_s), 150, 600)
    modes = (ratios, decays_s, (1, take.uniform(0.1, 0.6), 0.2))
    return bars(take, notes_hz, onsets_s, modes, take.log_uniform(0.0003, 0.001))


def glockenspiel(take: Take) -> np.ndarray:
    """Steel bars, hard mallets: high, inharmonic and long."""
    onsets_s = take.beats(take.log_uniform(1.5, 6), 0.03)
    ratios = np.array([1, 2.76, 5.4]) * take.vary(3, 0.01)
    decays_s = take.log_uniform(0.3, 1.1) * np.array([1, 0.5, 0.2])
    notes_hz = take.melody(len(onsets_s), 900, 2000)
    return bars(take, notes_hz, onsets_s, (ratios, decays_s, (1, take.uniform(0.2, 0.7), 0.3)), 0.0001)


def flute(take: Take) -> np.ndarray:
    """A slow tune: few harmonics, vibrato, breath around the note."""
    length_s = take.log_uniform(0.25, 1.1)
    onsets_s = take.beats(1 / length_s, 0.04)
    notes_hz = take.melody(len(onsets_s), 330, 900)
    pitch = notes_hz[np.maximum(np.searchsorted(onsets_s, take.time_s) - 1, 0)]
    quaver = np.sin(2 * np.pi * take.uniform(4.3, 6) * take.time_s)
    loud = take.gate(onsets_s, length_s * take.uniform(0.85, 1.1), take.uniform(0.03, 0.08))
    pipe = take.tone(pitch * (1 + take.uniform(0.002, 0.01) * quaver), (1, *take.rng.uniform(0.05, 0.5, 3), 0.03))
    breath = take.noise((300, -15), (float(np.median(notes_hz)) * 1.5, 0), (6000, -14)) * take.uniform(0.04, 0.2)
    return (pipe * (1 + take.uniform(0.05, 0.3) * quaver) + breath) * loud
