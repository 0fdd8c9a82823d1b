"""Synthesised sources: the classes they cover, that a seed is a source, and that classes can be told apart by ear."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from scipy.signal import stft

from pseudolabel.corpus.synthesis import DEMO_CLASSES, SYNTHESISERS, background_noise, synthesise
from pseudolabel.corpus.synthesis_take import Take
from pseudolabel.errors import InputError, UnknownClass

RATE = 16_000


def band_levels(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return (80,) mean and standard deviation over time of the level in 40 bands, dB below the loudest."""
    hz, _, spectrum = stft(sound, sample_rate, nperseg=512)
    edges = np.searchsorted(hz, np.linspace(5, 110, 41) ** 2 * 0.49 * sample_rate / 110**2)
    power = np.stack([(np.abs(spectrum[low : max(high, low + 1)]) ** 2).sum(0) for low, high in pairwise(edges)])
    level_db = 10 * np.log10(power / power.max() + 1e-8)
    return np.r_[level_db.mean(1), level_db.std(1)]


def sources(class_ids, n_sources: int, duration_s: float) -> np.ndarray:
    """Return (K, n, 80) band levels of sources 0 ... n - 1 of each class."""
    return np.array(
        [
            [band_levels(synthesise(one, np.random.default_rng(k), RATE, duration_s), RATE) for k in range(n_sources)]
            for one in class_ids
        ]
    )


def nearest_centroid_accuracy(levels: np.ndarray, n_train: int) -> float:
    """Return how many of the sources after the first `n_train` lie nearest to their own class's centre."""
    spread = levels[:, :n_train].std(axis=(0, 1))
    centres, tested = levels[:, :n_train].mean(1) / spread, levels[:, n_train:] / spread
    guesses = ((tested[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
    return float(np.mean(guesses == np.arange(len(levels))[:, None]))


@pytest.fixture(scope="module")
def ontology(shared_data: Path) -> nx.DiGraph:
    nodes = json.loads((shared_data / "audioset" / "ontology.json").read_text())
    graph = nx.DiGraph((node["id"], child) for node in nodes for child in node["child_ids"])
    graph.add_nodes_from(node["id"] for node in nodes)
    return graph


@pytest.fixture(scope="module")
def vocabulary(shared_data: Path) -> set[str]:
    with open(shared_data / "audioset" / "class_labels_indices.csv", newline="") as lines:
        return {row["mid"] for row in csv.DictReader(lines)}


@pytest.fixture(scope="module")
def short_sources() -> np.ndarray:
    return sources(SYNTHESISERS, 10, 0.8)


def branches(graph: nx.DiGraph, class_ids) -> set[str]:
    roots = {node for node, degree in graph.in_degree() if degree == 0}
    return {root for one in class_ids for root in nx.ancestors(graph, one) & roots}


def test_classes_are_leaves_of_audioset_over_seven_branches_and_several_levels(ontology, vocabulary):
    assert len(SYNTHESISERS) >= 50
    assert set(SYNTHESISERS) <= vocabulary
    assert all(
        nx.dag_longest_path_length(ontology.subgraph({one} | nx.descendants(ontology, one))) <= 1
        for one in SYNTHESISERS
    )
    assert sum(ontology.out_degree(one) > 0 for one in SYNTHESISERS) <= 2
    assert len(branches(ontology, SYNTHESISERS)) == 7
    roots = [node for node, degree in ontology.in_degree() if degree == 0]
    depths = nx.multi_source_dijkstra_path_length(ontology, roots)
    assert {depths[one] for one in SYNTHESISERS} >= {1, 2, 3, 4, 5}


def test_the_ten_demo_classes_share_ancestors_in_the_vocabulary(ontology, vocabulary):
    assert len(set(DEMO_CLASSES)) == 10
    assert set(DEMO_CLASSES) <= set(SYNTHESISERS)
    assert len(branches(ontology, DEMO_CLASSES)) >= 5
    ancestors = [nx.ancestors(ontology, one) & vocabulary for one in DEMO_CLASSES]
    assert len(set().union(*ancestors)) == 18
    shared = {parent for parent in set().union(*ancestors) if sum(parent in one for one in ancestors) > 1}
    assert len(shared) >= 8
    assert not shared & set(DEMO_CLASSES)


@pytest.mark.parametrize("class_id", SYNTHESISERS)
@pytest.mark.parametrize(("sample_rate", "duration_s"), [(16_000, None), (22_050, 0.3), (32_000, 0.9)])
def test_every_source_is_finite_loud_enough_and_centred(class_id, sample_rate, duration_s):
    sound = synthesise(class_id, np.random.default_rng(7), sample_rate, duration_s)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() == 1
    assert np.sqrt(np.mean(sound**2)) > 0.005
    assert abs(sound.mean()) < 1e-5
    kind = SYNTHESISERS[class_id]
    if duration_s is None:
        assert kind.shortest_s <= len(sound) / sample_rate <= kind.longest_s + 1 / sample_rate
    else:
        assert len(sound) == round(duration_s * sample_rate)


def test_the_shortest_source_of_every_class_and_many_seeds_is_a_sound():
    for class_id in SYNTHESISERS:
        for seed in range(8):
            sound = synthesise(class_id, np.random.default_rng(seed), RATE, 0.1)
            assert np.isfinite(sound).all() and np.abs(sound).max() == 1, (class_id, seed)


def test_sounds_begin_at_once_and_end_in_silence():
    for class_id in SYNTHESISERS:
        sound = synthesise(class_id, np.random.default_rng(3), RATE, 2.0)
        assert np.abs(sound[: int(0.3 * RATE)]).max() > 0.02, class_id
        assert np.abs(sound[-2:]).max() < 0.01, class_id


@pytest.mark.parametrize("class_id", SYNTHESISERS)
def test_one_seed_is_one_source_down_to_the_byte(class_id):
    first, second = (synthesise(class_id, np.random.default_rng(11), RATE, 0.5).tobytes() for _ in range(2))
    assert first == second


def test_two_seeds_of_a_class_differ_audibly(short_sources):
    distance_db = np.abs(short_sources[:, 0::2] - short_sources[:, 1::2]).mean(-1)
    assert distance_db.min() > 0.7
    assert np.median(distance_db, axis=1).min() > 1.5


def test_classes_can_be_told_apart_but_not_always(short_sources):
    accuracy = nearest_centroid_accuracy(short_sources, n_train=7)
    assert 5 / len(SYNTHESISERS) < 0.4 < accuracy < 0.95


def test_demo_classes_are_learnable():
    assert nearest_centroid_accuracy(sources(DEMO_CLASSES, 12, 2.0), n_train=8) > 0.6


def test_an_unknown_class_is_named_with_its_nearest():
    with pytest.raises(UnknownClass, match=r"'/m/0bm0'.*55 classes.*nearest: '/m/0bm02'"):
        synthesise("/m/0bm0", np.random.default_rng(0), RATE)


@pytest.mark.parametrize(("sample_rate", "duration_s"), [(RATE, 0.0), (RATE, -1.0), (RATE, np.nan), (8000, 1.0)])
def test_a_length_or_rate_that_holds_no_sound_is_refused(sample_rate, duration_s):
    with pytest.raises(InputError, match="below"):
        synthesise("/m/0bm02", np.random.default_rng(0), sample_rate, duration_s)


def test_tones_are_in_tune_and_never_fold_back():
    take = Take(np.random.default_rng(0), RATE, RATE)
    heights = np.abs(np.fft.rfft(take.tone(440.0, np.ones(40))))
    peaks = np.flatnonzero(heights > 0.1 * heights.max())
    assert peaks.tolist() == list(range(440, 7500, 440))


def test_a_plucked_string_is_in_tune():
    take = Take(np.random.default_rng(0), RATE, RATE)
    string = take.string(np.array([0.0]), np.array([1.0]), 311.0, 0.5, 0.3, 0.2)
    heights = np.abs(np.fft.rfft(string))
    assert abs(int(np.argmax(heights[280:340])) + 280 - 311) <= 1


def test_a_mode_rings_at_its_pitch_and_falls_to_1_e_in_its_decay():
    take = Take(np.random.default_rng(0), RATE, RATE)
    answer = take.ring(take.impulses(np.array([0.0])), (500.0,), (0.2,), (0.5,))
    expected = 0.5 * np.exp(-take.time_s / 0.2) * np.sin(2 * np.pi * 500 * (take.time_s + 1 / RATE))
    np.testing.assert_allclose(answer, expected, atol=1e-9)


@pytest.mark.parametrize("sample_rate", [16_000, 32_000])
def test_background_noise_has_unit_rms_and_falls_towards_high_frequencies(sample_rate):
    tilts = []
    for seed in range(12):
        noise = background_noise(np.random.default_rng(seed), 3 * sample_rate, sample_rate)
        assert noise.dtype == np.float32 and noise.shape == (3 * sample_rate,)
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)
        assert np.array_equal(noise, background_noise(np.random.default_rng(seed), 3 * sample_rate, sample_rate))
        power = np.abs(np.fft.rfft(noise)) ** 2  # bins a third of a hertz wide
        low_db, high_db = (10 * np.log10(power[3 * low : 6 * low].mean()) for low in (125, 4000))
        tilts.append((low_db - high_db) / 5)
    assert -2 < min(tilts) < 2 and 3 < max(tilts) < 8  # dB an octave: white is 0, brown is 6
