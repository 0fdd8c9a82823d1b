"""Evidence that other labels do not explain: hand-made cases, and nested loops on random corpora."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.labels.residuals import ExplanationSums, Kinship, joined, log_odds

ANIMAL, DOG, CAT, BARK, CAR = range(5)


def kinship(n_classes: int, edges: list[tuple[int, int]]) -> Kinship:
    """Return the kinship of a graph of classes, all of them in the vocabulary; edges are (parent, child)."""
    children = np.zeros((n_classes, n_classes), bool)
    for parent, child in edges:
        children[parent, child] = True
    above = children.T.copy()
    for _ in range(n_classes):
        above |= above.astype(int) @ above.astype(int) > 0
    return Kinship(above, children)


PETS = kinship(5, [(ANIMAL, DOG), (ANIMAL, CAT), (DOG, BARK)])


def evidence(scores: np.ndarray, closed: np.ndarray, of: Kinship, block: int = 2) -> np.ndarray:
    """Return r as the package computes it, in blocks of clips."""
    matrix, sums = sparse.csr_array(closed), ExplanationSums(closed.shape[1])
    for start in range(0, len(closed), block):
        sums += ExplanationSums.of(scores[start : start + block], matrix[start : start + block])
    explanation = sums.explanation(of)
    return explanation.residuals(explanation.standardised(scores), matrix)


def evidence_in_loops(scores: np.ndarray, closed: np.ndarray, of: Kinship) -> np.ndarray:
    n_clips, n_classes = scores.shape
    z, r = np.full(scores.shape, np.nan), np.zeros(scores.shape)
    for k in range(n_classes):
        scored = [i for i in range(n_clips) if not math.isnan(scores[i, k])]
        odds = {i: min(max(scores[i, k], 1e-4), 1 - 1e-4) for i in scored}
        odds = {i: math.log(value / (1 - value)) for i, value in odds.items()}
        for i in scored:
            mean = sum(odds.values()) / len(odds)
            spread = math.sqrt(sum((value - mean) ** 2 for value in odds.values()) / len(odds)) + 0.3
            z[i, k] = (odds[i] - mean) / spread
    for i in range(n_clips):
        for k in range(n_classes):
            if math.isnan(z[i, k]):
                continue
            most = 0.0
            for j in range(n_classes):
                related = j == k or of.ancestors[j, k] or of.ancestors[k, j]
                if closed[i, j] and not closed[i, k] and not related:
                    others = [
                        m for m in range(n_clips) if closed[m, j] and not closed[m, k] and not math.isnan(z[m, k])
                    ]
                    most = max(most, sum(z[m, k] for m in others) / (len(others) + 10))
            r[i, k] = z[i, k] - most
    return r


@st.composite
def corpora(draw):
    """Scores with clips and classes that have none, labels closed under their ancestors, and a random hierarchy."""
    n_clips, n_classes = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pairs = [(a, b) for a in range(n_classes) for b in range(a + 1, n_classes)]
    of = kinship(n_classes, [pair for pair in pairs if rng.random() < 0.3])
    scores = rng.random((n_clips, n_classes)).astype(np.float32)
    scores[rng.random(n_clips) < 0.2] = np.nan
    scores[:, rng.random(n_classes) < 0.2] = np.nan
    labels = rng.random((n_clips, n_classes)) < rng.choice([0, 0.2, 0.6, 1])
    return scores, labels | (labels.astype(int) @ of.ancestors > 0), of


@given(corpora())
def test_evidence_is_what_nested_loops_compute(corpus):
    scores, closed, of = corpus
    assert evidence(scores, closed, of) == pytest.approx(evidence_in_loops(scores, closed, of), abs=1e-3)


def test_a_label_explains_the_mean_evidence_on_other_clips_that_carry_it():
    """Ten clips carry a car, ten carry nothing; wherever there is a car the teacher also says cat."""
    closed = np.zeros((20, 5), bool)
    closed[:10, CAR] = True
    scores = np.full((20, 5), 0.5)
    scores[:10, CAT] = 0.9
    spread = math.log(9) / 2 + 0.3  # half of the clips have the log-odds log 9, half 0
    z = math.log(9) / 2 / spread
    r = evidence(scores, closed, PETS)
    assert r[:10, CAT] == pytest.approx(z - 10 * z / (10 + 10), abs=1e-6)
    assert r[10:, CAT] == pytest.approx(-z, abs=1e-6)
    assert r[:, [ANIMAL, DOG, BARK, CAR]] == pytest.approx(0)


def test_a_label_keeps_its_evidence_and_relatives_explain_nothing():
    closed = np.zeros((4, 5), bool)
    closed[:2, [ANIMAL, CAR]] = True
    closed[1, CAT] = True
    scores = np.full((4, 5), 0.5)
    scores[:2, CAT] = 0.9
    mean = math.log(9) / 2
    z = mean / (mean + 0.3)
    r = evidence(scores, closed, PETS)
    assert r[1, CAT] == pytest.approx(z, abs=1e-6)  # is a label
    assert r[0, CAT] == pytest.approx(z - z / (1 + 10), abs=1e-6)  # explained by the car of clip 0, not by its animal


def test_scores_are_clipped_before_their_log_odds():
    most = math.log((1 - 1e-4) / 1e-4)
    assert log_odds(np.array([0, 1e-9, 0.5, 1])) == pytest.approx([-most, -most, 0, most], abs=1e-3)
    assert log_odds(np.array([np.nan])).dtype == np.float32
    assert np.isnan(log_odds(np.array([np.nan])))[0]


def test_closure_adds_all_ancestors_and_siblings_share_a_nearest_parent():
    labels = sparse.csr_array(np.eye(5, dtype=bool)[[BARK, CAR]])
    assert PETS.closure(labels).toarray().tolist() == [[1, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert np.argwhere(PETS.siblings).tolist() == [[DOG, CAT], [CAT, DOG]]
    assert joined(labels, PETS.children).nnz == 0
    assert joined(PETS.closure(labels), PETS.children).toarray().tolist() == [[0, 1, 1, 1, 0], [0] * 5]
