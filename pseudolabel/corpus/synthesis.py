"""Synthesise isolated sounds of AudioSet classes, and background noise, for corpora whose truth is known.

One seed is one source: the voice of one bird, one bell, one engine. Two seeds differ in pitch, resonances, rates,
envelopes, number of events and room, so training and evaluation have different sources.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pseudolabel.corpus import synthesis_living as living
from pseudolabel.corpus import synthesis_music as music
from pseudolabel.corpus import synthesis_things as things
from pseudolabel.corpus.synthesis_take import Take, in_a_room, level
from pseudolabel.errors import InputError, UnknownClass, nearest

LOWEST_RATE = 16_000  # Hz; at lower rates the small bells would be silent
SHORTEST_S = 0.1  # a shorter source could be nothing but its own fade


@dataclass(frozen=True)
class Synthesiser:
    """How one class sounds.

    Args:
        voice: draws one individual of the class and renders it for a whole `Take`.
        shortest_s, longest_s: range from which the duration is drawn if none is given.
        wettest: highest ratio of reverberant to direct amplitude in its rooms.
    """

    voice: Callable[[Take], np.ndarray]
    shortest_s: float
    longest_s: float
    wettest: float = 0.5


SYNTHESISERS: dict[str, Synthesiser] = {
    # Human sounds
    "/m/0l15bq": Synthesiser(living.clapping, 0.8, 5.0),
    "/m/028ght": Synthesiser(living.applause, 2.0, 6.0),
    "/m/07pbtc8": Synthesiser(living.footsteps, 1.0, 6.0),  # Walk, footsteps
    "/m/01d3sd": Synthesiser(living.snoring, 2.0, 6.0, 0.3),
    "/t/dd00002": Synthesiser(living.baby_cry, 1.0, 6.0),
    "/m/01w250": Synthesiser(living.whistling, 0.6, 5.0),
    "/m/01jg02": Synthesiser(living.heartbeat, 1.5, 6.0, 0.1),
    # Animal
    "/m/05tny_": Synthesiser(living.bark, 0.3, 4.0),
    "/m/07qrkrw": Synthesiser(living.meow, 0.5, 4.0),
    "/m/02yds9": Synthesiser(living.purr, 1.5, 6.0, 0.2),
    "/m/07r_80w": Synthesiser(living.hoot, 0.8, 5.0),
    "/m/07r5c2p": Synthesiser(living.caw, 0.4, 4.0),
    "/m/07r_25d": Synthesiser(living.coo, 0.6, 5.0),
    "/m/07pggtn": Synthesiser(living.chirp_tweet, 0.4, 5.0),
    "/m/09xqv": Synthesiser(living.cricket, 1.0, 6.0, 0.3),
    "/m/09f96": Synthesiser(living.mosquito, 1.0, 5.0, 0.2),
    "/m/07st88b": Synthesiser(living.croak, 0.4, 5.0),
    "/m/07rpkh9": Synthesiser(living.moo, 1.0, 5.0),
    # Music, and bells, which are also things
    "/m/03w41f": Synthesiser(music.church_bell, 1.5, 6.0),
    "/m/027m70_": Synthesiser(music.jingle_bell, 0.5, 5.0),
    "/m/0gy1t2s": Synthesiser(music.bicycle_bell, 0.6, 3.5),
    "/m/0bm02": Synthesiser(music.bass_drum, 0.4, 4.0, 0.4),
    "/m/011k_j": Synthesiser(music.timpani, 0.8, 5.0),
    "/m/02k_mr": Synthesiser(music.drum_roll, 0.8, 5.0),
    "/m/03qtq": Synthesiser(music.hi_hat, 0.4, 4.0),
    "/m/042v_gx": Synthesiser(music.acoustic_guitar, 0.8, 5.0),
    "/m/018j2": Synthesiser(music.banjo, 0.8, 5.0),
    "/m/03gvt": Synthesiser(music.hammond_organ, 1.0, 6.0),
    "/m/0dwsp": Synthesiser(music.marimba, 0.6, 5.0),  # Marimba, xylophone
    "/m/0dwtp": Synthesiser(music.glockenspiel, 0.6, 5.0),
    "/m/0l14j_": Synthesiser(music.flute, 1.0, 6.0),
    # Sounds of things
    "/m/04qvtq": Synthesiser(things.police_siren, 2.0, 6.0),
    "/m/012n7d": Synthesiser(things.ambulance_siren, 2.0, 6.0),
    "/m/0dgbq": Synthesiser(things.civil_defense_siren, 3.0, 6.0, 0.8),
    "/m/01y3hg": Synthesiser(things.smoke_detector, 1.0, 5.0),
    "/m/07pp8cl": Synthesiser(things.telephone_bell, 1.0, 5.0),
    "/m/01z47d": Synthesiser(things.busy_signal, 1.0, 5.0, 0.1),
    "/m/02rhddq": Synthesiser(things.reversing_beeps, 1.5, 6.0),
    "/m/07r67yg": Synthesiser(things.ding_dong, 0.9, 3.0),
    "/m/07pb8fc": Synthesiser(things.idling, 2.0, 6.0, 0.3),
    "/m/01j4z9": Synthesiser(things.chainsaw, 1.5, 6.0, 0.3),
    "/m/09ct_": Synthesiser(things.helicopter, 2.0, 6.0, 0.3),
    "/m/04zjc": Synthesiser(things.machine_gun, 0.5, 3.0, 0.7),
    "/m/07qjznl": Synthesiser(things.tick_tock, 1.5, 6.0, 0.3),
    "/m/01m2v": Synthesiser(things.computer_keyboard, 1.0, 6.0, 0.3),
    # Natural sounds
    "/t/dd00038": Synthesiser(things.rain_on_surface, 2.0, 6.0, 0.3),
    "/m/0j6m2": Synthesiser(things.stream, 2.0, 6.0, 0.3),
    "/m/034srq": Synthesiser(things.waves, 3.0, 6.0, 0.2),  # Waves, surf
    "/m/0ngt1": Synthesiser(things.thunder, 1.5, 6.0),
    "/t/dd00092": Synthesiser(things.wind_in_microphone, 2.0, 6.0, 0.0),
    "/m/07pzfmf": Synthesiser(things.crackle, 1.5, 6.0, 0.2),
    # Source-ambiguous sounds
    "/m/0hdsk": Synthesiser(things.chirp_tone, 0.3, 4.0),
    "/t/dd00121": Synthesiser(things.boing, 0.4, 2.5),
    # Channel, environment and background
    "/m/06xkwv": Synthesiser(things.mains_hum, 2.0, 6.0, 0.1),
    "/m/07rgkc5": Synthesiser(things.static, 1.0, 6.0, 0.1),
}

# Ten leaves with 18 ancestors among AudioSet's 527 classes, on five branches: two sirens and two bells that share
# Alarm, two birds, two waters, thumps that are easily confused, long sounds and short ones.
DEMO_CLASSES: tuple[str, ...] = (
    "/m/04qvtq",  # Police car (siren): Emergency vehicle, Motor vehicle (road), Vehicle, Siren, Alarm
    "/m/0dgbq",  # Civil defense siren: Siren, Alarm
    "/m/0gy1t2s",  # Bicycle bell: Bicycle, Vehicle, Alarm, Bell, Musical instrument, Music
    "/m/03w41f",  # Church bell: Bell, Musical instrument, Music
    "/m/0bm02",  # Bass drum: Drum, Percussion, Musical instrument, Music
    "/m/07r_80w",  # Hoot: Owl, Bird, Wild animals, Animal
    "/m/07r5c2p",  # Caw: Crow, Bird, Wild animals, Animal
    "/t/dd00038",  # Rain on surface: Rain, Water
    "/m/0j6m2",  # Stream: Water
    "/m/07pbtc8",  # Walk, footsteps
)


def synthesise(
    class_id: str, rng: np.random.Generator, sample_rate: int, duration_s: float | None = None
) -> np.ndarray:
    """Return one source of a class, (T,) float32 with a peak of 1.

    Args:
        class_id: a key of `SYNTHESISERS`.
        rng: its state decides the source: the same state gives the same bytes.
        sample_rate: Hz.
        duration_s: T / sample_rate; None: drawn from the range of the class.

    Raises:
        UnknownClass: no synthesiser has this id.
        InputError: the duration or the sample rate is too small for a sound.
    """
    if class_id not in SYNTHESISERS:
        hint = nearest(class_id, SYNTHESISERS)
        message = f"class '{class_id}' has no synthesiser ({len(SYNTHESISERS)} classes have)"
        remedy = "Use one of pseudolabel.corpus.synthesis.SYNTHESISERS, or give a folder of recordings."
        raise UnknownClass(f"{message}; nearest: '{hint}'" if hint else message, "class_id", remedy)
    if sample_rate < LOWEST_RATE:
        remedy = "Synthesise at a higher rate and resample."
        raise InputError(f"sample rate {sample_rate} Hz is below {LOWEST_RATE} Hz", "sample_rate", remedy)
    kind = SYNTHESISERS[class_id]
    drawn_s = float(np.exp(rng.uniform(np.log(kind.shortest_s), np.log(kind.longest_s))))
    duration_s = drawn_s if duration_s is None else duration_s
    if not SHORTEST_S <= duration_s < np.inf:
        raise InputError(f"duration {duration_s} s is below {SHORTEST_S} s", "duration_s", "Ask for a longer source.")
    take = Take(rng, round(duration_s * sample_rate), sample_rate)
    sound = in_a_room(take, kind.voice(take), kind.wettest)
    edge_s = min(0.02, duration_s / 8)
    edges = np.clip(np.minimum(take.time_s / 0.002, (duration_s - take.time_s) / edge_s), 0, 1)
    sound = (sound - np.average(sound, weights=edges)) * edges  # zero mean, fades included
    return (sound / np.abs(sound).max()).astype(np.float32)


def background_noise(rng: np.random.Generator, n_samples: int, sample_rate: int) -> np.ndarray:
    """Return background noise (T,) float32 of unit RMS, between white and brown, gently coloured and fluctuating.

    Args:
        rng: its state decides everything.
        n_samples: T.
        sample_rate: Hz.
    """
    take = Take(rng, n_samples, sample_rate)
    hz = np.geomspace(40, sample_rate / 2, 12)
    level_db = -take.uniform(0, 6) * np.log2(hz / 40) + take.rng.normal(0, 3, len(hz))
    noise = take.noise((20, level_db[0] - 12), *zip(hz, level_db, strict=True))
    return level(noise * np.exp(take.uniform(0.02, 0.25) * take.wander(0.4))).astype(np.float32)
