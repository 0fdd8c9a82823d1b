"""Synthesise things, natural sounds, sounds without a clear source, and channel noise."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter, square

from pseudolabel.corpus.synthesis_living import rolloff
from pseudolabel.corpus.synthesis_take import Take, level

# Alarms


def horn(take: Take, pitch_hz: np.ndarray, slope: float) -> np.ndarray:
    """Return a harmonic tone filtered by the resonances of a loudspeaker horn."""
    driver = take.tone(pitch_hz, rolloff(14, slope))
    peaks_hz = (take.log_uniform(600, 1300), take.log_uniform(1500, 3200))
    return driver + take.uniform(0.3, 1.5) * take.formants(driver, peaks_hz, (300, 700), (1, 0.7))


def police_siren(take: Take) -> np.ndarray:
    """Wail, yelp, or one after the other, of an electronic siren, between about 550 and 1,500 Hz."""
    wail_hz, yelp_hz = take.log_uniform(0.18, 0.5), take.log_uniform(2.2, 5)
    yelping = take.time_s > take.rng.choice([0, take.uniform(0.3, 0.7) * take.duration_s, 1e9], p=[0.35, 0.3, 0.35])
    cycles = np.cumsum(np.where(yelping, yelp_hz, wail_hz)) / take.sample_rate + take.rng.random()
    skew = take.uniform(0.3, 0.7)
    climb = np.interp(cycles % 1, (0, skew, 1), (0, 1, 0))
    low_hz = take.log_uniform(480, 750)
    return horn(take, low_hz * take.uniform(1.9, 2.9) ** climb, take.uniform(0.8, 1.8))


def ambulance_siren(take: Take) -> np.ndarray:
    """Two notes in turn, about a fourth apart."""
    cycles = take.time_s * take.log_uniform(0.5, 1.3) + take.rng.random()
    step = np.clip(20 * np.sin(2 * np.pi * cycles), -1, 1) / 2
    low_hz = take.log_uniform(380, 720)
    return horn(take, low_hz * take.uniform(1.2, 1.5) ** (step + 0.5), take.uniform(0.6, 1.8))


def civil_defense_siren(take: Take) -> np.ndarray:
    """A motor siren: a rotor that slowly speeds up and slows down, two choppers a minor third apart."""
    turn = np.sin(2 * np.pi * (take.time_s * take.log_uniform(0.06, 0.2) + take.rng.random()))
    run = take.log_uniform(260, 520) * (1 + take.uniform(0.05, 0.45) * turn) * np.exp(0.003 * take.wander(3))
    pitch = run * (1 - take.uniform(0, 0.8) * np.exp(-take.time_s / take.uniform(0.3, 1.5)))
    choppers = take.tone(pitch, rolloff(20, take.uniform(0.7, 1.3)))
    if take.chance(0.6):
        choppers = choppers + take.uniform(0.4, 1) * take.tone(pitch * 1.2, rolloff(16, 1))
    return choppers * np.exp(0.15 * take.wander(2)) + 0.03 * take.noise((500, 0), (4000, -10))


def cadence(take: Take, on_s: float, off_s: float) -> np.ndarray:
    """Return 1 while a repeated tone is on and 0 elsewhere, starting at a random point of its period."""
    place_s = (take.time_s + take.rng.random() * on_s) % (on_s + off_s)
    return uniform_filter1d((place_s < on_s).astype(float), max(1, int(0.004 * take.sample_rate)))


def smoke_detector(take: Take) -> np.ndarray:
    """A piezo near 3 kHz: three long beeps and a pause, or quick pulses."""
    on_s = take.rng.choice([take.uniform(0.4, 0.6), take.uniform(0.05, 0.15)])
    on = cadence(take, on_s, on_s * take.uniform(0.7, 1.1))
    if on_s > 0.3:
        on = on * (take.time_s % (8 * on_s) < 6 * on_s)
    buzz = 1 + take.uniform(0, 0.5) * square(2 * np.pi * take.uniform(60, 250) * take.time_s)
    return take.tone(take.log_uniform(2500, 3600), (1, take.uniform(0.05, 0.5), take.uniform(0, 0.4))) * on * buzz


def telephone_bell(take: Take) -> np.ndarray:
    """A hammer between two gongs, ringing for a second or two at a time."""
    hammer_hz, gong_hz = take.uniform(17, 27), take.log_uniform(800, 2000)
    blows_s = take.beats(hammer_hz, 0.02)
    ringing = cadence(take, take.uniform(0.8, 2), take.uniform(0.5, 2.5))
    gains = take.vary(len(blows_s), 0.15) * ringing[(blows_s * take.sample_rate).astype(int)]
    ratios, decay_s = np.array([1, 1.93, 2.7, 3.9]) * take.vary(4, 0.05), take.log_uniform(0.06, 0.3)
    sides = (np.arange(len(blows_s)) % 2 == side for side in (0, 1))
    gongs = (gong_hz, gong_hz * take.uniform(1.05, 1.3))
    return sum(
        take.ring(take.impulses(blows_s, gains * side), pitch * ratios, decay_s / ratios**0.5, (1, 0.8, 0.6, 0.4))
        for side, pitch in zip(sides, gongs, strict=True)
    )


def busy_signal(take: Take) -> np.ndarray:
    """Line tones of several countries, half a second on and off or faster, through an earpiece."""
    tones_hz = [(480, 620), (425, 425), (400, 400), (440, 480)][take.rng.integers(4)]
    on_s = take.uniform(0.2, 0.55)
    line = sum(take.tone(tone_hz * take.uniform(0.98, 1.02), (1, take.uniform(0, 0.1))) for tone_hz in tones_hz)
    clipped = np.tanh(take.uniform(0.2, 2) * line) * cadence(take, on_s, on_s * take.uniform(0.8, 1.2))
    hiss = take.uniform(0.003, 0.05) * take.noise((200, -20), (1000, 0), (3400, 0), (4500, -40))
    earpiece = (take.log_uniform(700, 1300), take.log_uniform(1800, 3000))
    return clipped + take.formants(clipped, earpiece, (400, 700), (1, 0.6)) + hiss


def reversing_beeps(take: Take) -> np.ndarray:
    """A lorry's beeper: one note between 900 and 1,500 Hz, evenly spaced, over its engine."""
    on_s = take.log_uniform(0.3, 0.65)
    beep = take.tone(take.log_uniform(900, 1500), rolloff(6, take.uniform(0.8, 2.5)) * take.rng.uniform(0.3, 1, 6))
    return beep * cadence(take, on_s, on_s * take.uniform(0.7, 1.2)) + take.uniform(0, 0.15) * idling(take)


def ding_dong(take: Take) -> np.ndarray:
    """Two chime bars, the high one first."""
    high_hz, gap_s = take.log_uniform(520, 950), take.uniform(0.35, 0.8)
    period_s = gap_s * take.uniform(3, 5)
    ratios = np.array([1, 2.76, 4.1, 5.4]) * take.vary(4, 0.03)
    decays_s = take.log_uniform(0.35, 1.2) * np.array([1, 0.4, 0.3, 0.2])
    gains = (1, take.uniform(0.1, 0.6), take.uniform(0, 0.3), 0.15)
    ding_s = take.beats(1 / period_s)
    ding = take.ring(take.impulses(ding_s), high_hz * ratios, decays_s, gains)
    low_hz = high_hz / take.rng.choice([1.19, 1.26, 1.335, 1.5])
    return ding + take.ring(take.impulses(ding_s + gap_s), low_hz * ratios, decays_s, gains)


# Engines and mechanisms


def firing(take: Take, rate_hz: np.ndarray | float, cylinders: int, unevenness: float) -> np.ndarray:
    """Return one impulse per firing of a cylinder; cylinders differ, and each varies a little from firing to firing."""
    turns = np.cumsum(np.broadcast_to(rate_hz, take.n_samples)) / take.sample_rate
    onsets_s = np.searchsorted(turns, np.arange(1, int(turns[-1]) + 1)) / take.sample_rate
    gains = np.resize(take.vary(cylinders, unevenness), len(onsets_s)) * take.vary(len(onsets_s), unevenness / 2)
    return take.impulses(
        onsets_s + 0.03 * unevenness / np.mean(rate_hz) * take.rng.standard_normal(len(onsets_s)), gains
    )


def idling(take: Take) -> np.ndarray:
    """A petrol or diesel engine at rest: firing pulses in a body, clatter on top."""
    rate_hz = take.log_uniform(17, 45) * np.exp(0.02 * take.wander(2))
    pulses = firing(take, rate_hz, take.rng.choice([3, 4, 6]), take.uniform(0.1, 0.6))
    body_hz = (take.log_uniform(55, 110), take.log_uniform(130, 260), take.log_uniform(300, 700))
    exhaust = take.formants(pulses, body_hz, (30, 70, 200), (1, take.uniform(0.3, 0.8), take.uniform(0.1, 0.5)))
    beat = lfilter([1], [1, -np.exp(-1 / (0.006 * take.sample_rate))], pulses)
    clatter = take.noise((300, -20), (take.log_uniform(900, 3000), 0), (8000, -18)) * (0.15 + beat)
    fan = take.noise((60, 0), (400, -10), (4000, -30))
    return level(exhaust) + take.uniform(0.05, 0.5) * level(clatter) + take.uniform(0.1, 0.4) * fan


def chainsaw(take: Take) -> np.ndarray:
    """A two-stroke engine revved and loaded: dense bright harmonics with a rasp."""
    revs = np.clip(np.interp(take.wander(take.log_uniform(0.8, 2.5)), (-0.8, 0.8), (0, 1)), 0, 1)
    rate_hz = take.log_uniform(55, 95) * take.uniform(1.6, 2.6) ** revs * np.exp(0.015 * take.wander(20))
    pulses = firing(take, rate_hz, 2, take.uniform(0.1, 0.4))
    body_hz = (take.log_uniform(180, 400), take.log_uniform(700, 1500), take.log_uniform(2200, 4500))
    engine = take.formants(pulses, body_hz, (120, 400, 1500), (1, 1, take.uniform(0.5, 1.5)))
    chain = take.noise((500, -25), (take.log_uniform(2000, 4500), 0), (9000, -10)) * (0.3 + revs)
    return level(np.tanh(2 * level(engine))) * (0.5 + revs) + take.uniform(0.1, 0.5) * chain


def helicopter(take: Take) -> np.ndarray:
    """Blade slap 10 to 25 times a second, and a turbine, passing by."""
    rate_hz = take.log_uniform(10, 24)
    slaps_s = take.beats(rate_hz, 0.01)
    slap = take.strokes(slaps_s, take.vary(len(slaps_s), 0.15), take.uniform(0.15, 0.4) / rate_hz, 0.004)
    thump = slap * take.noise((40, 0), (take.log_uniform(150, 500), -3), (2500, -25), (8000, -40))
    wash = take.noise((100, -5), (600, 0), (5000, -20)) * (0.4 + slap)
    turbine = take.tone(take.log_uniform(1500, 4500) * (1 + 0.002 * take.wander(2)), (1, 0.3))
    near = np.exp(take.uniform(0.2, 0.9) * take.wander(0.4))
    return (level(thump) + take.uniform(0.1, 0.5) * level(wash) + take.uniform(0, 0.06) * turbine) * near


def machine_gun(take: Take) -> np.ndarray:
    """Bursts of shots: a crack, a thump, the action's clatter."""
    shots_s = take.beats(take.log_uniform(7, 16), 0.02)
    burst_s = take.uniform(0.8, 2.5)
    shots_s = shots_s[shots_s % burst_s < burst_s * take.uniform(0.4, 1)]
    force = take.vary(len(shots_s), 0.1)
    crack = take.noise((200, -6), (take.log_uniform(600, 2500), 0), (10000, -14))
    crack = crack * take.strokes(shots_s, force, take.log_uniform(0.008, 0.03), 0.0002)
    thump = take.ring(take.impulses(shots_s, force), (take.log_uniform(70, 180),), (0.02,), (1,))
    action = take.noise((2500, 0), (6000, 0), (800, -30)) * take.strokes(shots_s + 0.03, force, 0.004)
    return level(crack) + take.uniform(0.3, 0.9) * level(thump) + take.uniform(0.05, 0.3) * level(action)


def tick_tock(take: Take) -> np.ndarray:
    """A clock: two alternating clicks, each with its own modes, in a case."""
    beats_s = take.beats(take.log_uniform(1, 5), 0.004, take.uniform(0.01, 0.2))
    case_hz, tick_hz = take.log_uniform(300, 900), take.log_uniform(1600, 3800)
    case = take.ring(take.impulses(beats_s), (case_hz,), (0.012,), (take.uniform(0.1, 0.7),))
    for side, detune in ((0, 1.0), (1, take.uniform(0.65, 0.95))):
        hits = take.impulses(beats_s[side::2], take.uniform(0.6, 1)) + take.impulses(beats_s[side::2] + 0.008, 0.3)
        modes_hz = tick_hz * detune * np.array([1, 1.47, 2.2]) * take.vary(3, 0.05)
        case += take.ring(hits, modes_hz, take.log_uniform(0.003, 0.015) * take.vary(3, 0.3), (1, 0.8, 0.5))
    return case + take.uniform(0, 0.004) * take.noise()


def computer_keyboard(take: Take) -> np.ndarray:
    """Keys go down and come up in uneven flurries."""
    downs_s = take.scatter(take.log_uniform(4, 10))
    downs_s = downs_s[np.diff(downs_s, prepend=-1) > 0.05] - downs_s[0] + 0.01
    ups_s = downs_s + take.rng.uniform(0.06, 0.13, len(downs_s))
    force = take.vary(len(downs_s), 0.35)
    hits = take.strokes(downs_s, force, take.log_uniform(0.002, 0.006))
    hits = hits + take.strokes(ups_s, take.uniform(0.2, 0.6) * force, 0.002)
    click = hits * take.noise((400, -12), (take.log_uniform(1800, 5000), 0), (10000, -6))
    board_hz = take.log_uniform(180, 450)
    return level(click) + take.uniform(0.2, 0.8) * level(
        take.ring(hits, (board_hz, 2.7 * board_hz), (0.012, 0.008), (1, 0.5))
    )


# Nature


def rain_on_surface(take: Take) -> np.ndarray:
    """Dense random drops on a roof or a tent, each a tap on the surface, over hiss."""
    drops_s = take.scatter(take.log_uniform(40, 350))
    force = take.rng.exponential(1, len(drops_s)) ** 1.5
    taps = take.strokes(drops_s, force, take.log_uniform(0.0015, 0.006)) * take.noise()
    surface_hz = (take.log_uniform(400, 1200), take.log_uniform(1500, 4500))
    roof = take.formants(taps, surface_hz, (take.log_uniform(80, 800), 1500), (take.uniform(0.3, 1.2), 1))
    hiss = take.noise((300, -15), (take.log_uniform(2500, 6000), 0), (12000, -8)) * np.exp(0.1 * take.wander(1))
    return level(roof) + take.uniform(0.2, 0.9) * hiss


def stream(take: Take) -> np.ndarray:
    """Bubbles: thousands of short tones that rise as they shrink, over the murmur of water."""
    bubbles_s = take.scatter(take.log_uniform(50, 140))
    count, length = len(bubbles_s), int(0.06 * take.sample_rate)
    time_s = np.arange(length) / take.sample_rate
    pitch_hz = np.clip(take.log_uniform(500, 1100) * take.vary(count, 0.55), 200, 3500)[:, None]
    rise, decay_s = take.rng.uniform(0, 6, (count, 1)), (8 / pitch_hz) * take.vary(count, 0.3)[:, None]
    grains = np.sin(2 * np.pi * pitch_hz * time_s * (1 + rise * time_s)) * np.exp(-time_s / decay_s)
    grains *= np.minimum(time_s / 0.001, 1) * take.vary(count, 0.7)[:, None]
    where = (bubbles_s * take.sample_rate).astype(int)[:, None] + np.arange(length)
    gurgle = np.bincount(where.ravel(), grains.ravel(), take.n_samples + length)[: take.n_samples]
    murmur = take.noise((100, -12), (take.log_uniform(500, 1200), 0), (7000, -22)) * np.exp(0.15 * take.wander(3))
    return level(gurgle) + take.uniform(0.2, 0.7) * murmur


def waves(take: Take) -> np.ndarray:
    """Surf: each wave swells darkly, breaks brightly and runs out hissing."""
    onsets_s = take.beats(take.log_uniform(0.18, 0.5), 0.1, take.uniform(-1, 0.5))
    swell = take.strokes(onsets_s, take.vary(len(onsets_s), 0.3), take.uniform(0.7, 1.6), take.uniform(0.3, 0.6))
    foam = take.strokes(onsets_s + 0.5, take.vary(len(onsets_s), 0.3), take.uniform(0.5, 1.8), 0.25)
    dark = take.noise((50, 0), (take.log_uniform(250, 600), -3), (3000, -28))
    bright = take.noise((300, -20), (take.log_uniform(1200, 3500), 0), (9000, -9))
    return dark * (0.15 + swell) + take.uniform(0.4, 1.1) * bright * (0.05 + foam)


def thunder(take: Take) -> np.ndarray:
    """A crack, then claps that roll on, lower and lower."""
    claps_s = np.r_[0.03, take.rng.exponential(take.duration_s / 3, take.rng.integers(3, 9))]
    roll = take.strokes(claps_s, take.rng.uniform(0.3, 1, len(claps_s)), take.uniform(0.3, 1.1), 0.04)
    low = take.noise((30, 0), (take.log_uniform(70, 180), -2), (900, -24), (4000, -45))
    bolt_s = take.rng.exponential(0.06, take.rng.integers(4, 20))
    bolt = take.strokes(0.03 + bolt_s, take.rng.exponential(1, len(bolt_s)), take.log_uniform(0.02, 0.09), 0.002)
    crack = bolt * take.noise((150, 0), (take.log_uniform(1000, 3500), -4), (8000, -20))
    return level(low * (roll + 0.02)) * np.exp(0.3 * take.wander(7)) + take.uniform(0, 1) ** 2 * level(crack)


def wind_in_microphone(take: Take) -> np.ndarray:
    """Gusts that buffet the membrane: rough noise below a few hundred Hz, overdriven at its peaks."""
    gusts = np.exp(take.uniform(0.4, 0.9) * take.wander(take.log_uniform(0.5, 1.5)))
    buffets = np.exp(take.uniform(0.3, 0.8) * take.wander(take.uniform(6, 15)))
    rumble = take.noise((25, 0), (take.log_uniform(60, 160), -3), (700, -28), (5000, -55)) * gusts * buffets
    air = take.noise((200, -10), (take.log_uniform(400, 1200), 0), (6000, -24)) * gusts**1.5
    return np.tanh(take.uniform(0.4, 1.5) * level(rumble)) + take.uniform(0.02, 0.2) * air


def crackle(take: Take) -> np.ndarray:
    """Burning wood: sparse snaps of widely varying strength, and a faint roar."""
    sound = np.zeros(take.n_samples)
    for rate_hz, decay_s in (
        (take.log_uniform(4, 14), take.log_uniform(0.002, 0.008)),
        (take.log_uniform(15, 70), 0.0008),
    ):
        snaps_s = take.scatter(rate_hz)
        snaps = take.strokes(snaps_s, take.rng.pareto(1.6, len(snaps_s)), decay_s, 0.0001)
        sound += level(snaps * take.noise((300, -12), (take.log_uniform(1500, 5500), 0), (12000, -6)))
    roar = take.noise((50, 0), (400, -8), (3000, -30)) * np.exp(0.3 * take.wander(5))
    return np.tanh(sound / 3) + take.uniform(0.01, 0.12) * roar


# Sounds without a clear source, and the channel


def chirp_tone(take: Take) -> np.ndarray:
    """A sine that sweeps up or down, once or repeatedly."""
    ends_hz = np.log(np.array([take.log_uniform(120, 900), take.log_uniform(1800, 6800)])[:: take.rng.choice([1, -1])])
    phase = (take.time_s / take.duration_s * take.rng.integers(1, 5)) % 1
    phase = phase ** take.log_uniform(0.6, 1.7)
    return take.tone(np.exp(ends_hz[0] + (ends_hz[1] - ends_hz[0]) * phase)) * np.exp(0.1 * take.wander(2))


def boing(take: Take) -> np.ndarray:
    """A released spring or ruler: a twang whose pitch quivers less and less."""
    onsets_s = take.beats(1 / take.uniform(0.6, 1.4), 0.1)
    since_s = take.time_s - onsets_s[np.maximum(np.searchsorted(onsets_s, take.time_s, "right") - 1, 0)]
    since_s = np.maximum(since_s, 0)
    quiver_hz, fade_s = take.log_uniform(7, 22), take.log_uniform(0.15, 0.5)
    bend = take.uniform(0.1, 0.5) * np.exp(-since_s / fade_s) * np.sin(2 * np.pi * quiver_hz * since_s * (1 + since_s))
    pitch = take.log_uniform(110, 420) * (1 + bend) * np.exp(take.uniform(-0.6, 0.8) * since_s)
    twang = take.formants(take.tone(pitch, rolloff(25, 0.7)), (take.log_uniform(500, 1800),), (200,), (1,))
    return twang * take.strokes(onsets_s, 1.0, fade_s, 0.003)


def mains_hum(take: Take) -> np.ndarray:
    """50 or 60 Hz with harmonics, the even ones strong, and the hiss of an amplifier."""
    partials = np.exp(take.rng.normal(0, 0.8, 30)) * rolloff(30, take.uniform(0.5, 1.6))
    partials[::2] *= take.uniform(0.05, 0.7)
    hum = take.tone(take.rng.choice([50.0, 60.0]) * (1 + 0.001 * take.wander(0.5)), partials)
    return hum * (1 + 0.04 * take.wander(3)) + take.uniform(0.005, 0.1) * take.noise((100, 0), (8000, -12))


def static(take: Take) -> np.ndarray:
    """A badly tuned radio: intermittent hiss, clicks, a wandering whistle."""
    flow = np.clip(0.5 + take.uniform(0.5, 2) * take.wander(take.log_uniform(3, 30)), 0.1, 1)
    hiss = take.noise((200, -12), (take.log_uniform(700, 3000), 0), (take.log_uniform(5000, 9000), -8)) * flow
    clicks_s = take.scatter(take.log_uniform(10, 120))
    clicks = take.strokes(clicks_s, take.rng.pareto(2.0, len(clicks_s)), 0.001) * take.noise()
    whistle = take.tone(take.log_uniform(700, 3000) * np.exp(0.1 * take.wander(1)))
    return hiss + take.uniform(0.1, 0.6) * level(clicks) + take.uniform(0, 0.2) ** 1.5 * whistle
