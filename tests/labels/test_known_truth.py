"""Guesses judged by the truth: real scores of three corpora, and the working sketch that the rule was found with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PRECISIONS = (0.5, 0.7, 0.8)


def program(path: Path):
    """Return a program as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


known_truth = program(ROOT / "recipes" / "known_truth_rows.py")


@pytest.fixture(scope="module")
def corpora(shared_data):
    paths = sorted((shared_data / "known_truth").glob("corpus*.npz"))
    if len(paths) < 3:
        pytest.skip("the three corpora with known truth are missing")
    return [known_truth.Known.read(path) for path in paths]


@pytest.fixture(scope="module")
def table(corpora) -> dict[tuple[str, str, str], np.ndarray]:
    return {(annotator, rule, errors): values for annotator, rule, errors, values in known_truth.rows(corpora)}


def test_seven_of_ten_guesses_are_right_and_f1_is_far_above_25p(table):
    for annotator, gain in {"A": 0.1, "B": 0.05, "C": 0.05, "D": 0.1, "E": 0.05}.items():
        for errors, least in (("I II", gain), ("I II free", 0.1)):
            right, _, _, _, more = table[annotator, "precision:0.7", errors]
            assert 0.63 <= round(right, 3) <= 0.8
            assert more >= least


@pytest.mark.parametrize("annotator", "ABCDE")
def test_the_rows_are_those_of_the_sketch(shared_data, corpora, annotator):
    path = shared_data.parent / "reference" / "precision_rule.py"
    if not path.is_file():
        pytest.skip(f"the sketch is missing: {path}")
    known, given, sketch, n_compared = corpora[0], corpora[0].given[annotator], program(path), 0
    calibration = known_truth.calibration_of(known, annotator)
    ours = known_truth.calibrated(known, annotator, calibration, PRECISIONS)
    answer = sketch.propose(given, known.scores.astype(float), known.kinship.ancestors, known.kinship.children)
    for rule, errors, _, measures in ours:
        precision = float(rule.partition(":")[2])
        clips, classes = np.nonzero(answer["open"] & (answer["child"] | (errors == "I II free")))
        p = answer["p"][clips, classes]
        order = np.argsort(-p, kind="stable")
        n = int((np.cumsum(p[order]) / np.arange(1, len(p) + 1) >= precision).sum())
        guesses = np.zeros_like(given)
        guesses[clips[order[:n]], classes[order[:n]]] = True
        assert measures == pytest.approx(known.measured(annotator, guesses, answer["closed"]), abs=0.01)
        n_compared += 1
    assert n_compared == 6


def test_a_small_corpus_written_by_hand_is_read_and_judged(tmp_path, capsys):
    rng = np.random.default_rng(0)
    truth = rng.random((200, 2)) < 0.4
    truth[:, 0] |= truth[:, 1]  # Animal, and its child Dog
    relation = np.array([[False, True], [False, False]])
    given = truth & (rng.random(truth.shape) < 0.6)
    bits = {"truth": truth, "labels_A": given, "children": relation, "ancestors": relation.T}
    np.savez(
        tmp_path / "small.npz",
        class_id=["/m/0jbk", "/m/0bt9lr"],
        name=["Animal", "Dog"],
        clip_id=[f"c{i}" for i in range(200)],
        yamnet_max=np.clip(0.3 + 0.4 * truth + 0.1 * rng.standard_normal(truth.shape), 0, 1).astype(np.float16),
        **{name: np.packbits(matrix, axis=1) for name, matrix in bits.items()},
    )
    known = known_truth.Known.read(tmp_path / "small.npz")
    assert (known.truth == truth).all() and (known.given["A"] == given).all()
    nothing = np.zeros_like(truth)
    missing = truth & ~given
    assert known.measured("A", missing, nothing) == pytest.approx((1, 1, 1, 1))
    assert known.measured("A", ~truth, missing)[:3] == pytest.approx((0, missing.sum() / (missing | ~truth).sum(), 1))
    assert known_truth.main([str(tmp_path / "small.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 1 + 2 * len(PRECISIONS)
    assert lines[1].split()[:4] == ["A", "25p", "I", "II"]
