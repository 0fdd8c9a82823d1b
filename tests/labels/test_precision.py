"""Calibration of a corpus: slow obvious reference, answers for the extremes, order, sampling, several teachers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit, logit

from pseudolabel.errors import InputError
from pseudolabel.labels import views
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.precision import PER_STRATUM, Calibration
from pseudolabel.labels.residuals import Kinship
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.views import Corpus, scores_of
from pseudolabel.labels.vocabulary import Vocabulary

CLASSES = ("animal", "dog", "cat", "bark", "vehicle", "car", "horn", "music")
EDGES = {"dog": "animal", "cat": "animal", "bark": "dog", "car": "vehicle", "horn": "car"}


@dataclass
class Teacher:
    """Scores keyed by clip id and class id."""

    clip_ids: Sequence[str]
    class_ids: Sequence[str]
    values: np.ndarray

    def clip_scores(self) -> np.ndarray:
        return self.values


def kinship(class_ids: Sequence[str]) -> Kinship:
    """Return the kinship of these classes, in this order."""
    children, above = np.zeros((2, len(class_ids), len(class_ids)), bool)
    for k, class_id in enumerate(class_ids):
        parent = EDGES.get(class_id)
        if parent in class_ids:
            children[class_ids.index(parent), k] = True
        while parent:
            above[k, class_ids.index(parent)] = True
            parent = EDGES.get(parent)
    return Kinship(above, children)


def world(n_clips: int, seed: int = 0, given: float = 0.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth, labels (N, 8) bool and scores (N, 8) of a teacher that is right more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n_clips, len(CLASSES))) < [0.1, 0.12, 0.1, 0.08, 0.1, 0.1, 0.06, 0.15]
    truth |= truth.astype(int) @ kinship(CLASSES).ancestors > 0
    labels = truth & (rng.random(truth.shape) < given)
    return truth, labels, expit(rng.standard_normal(truth.shape) + 2.5 * truth - 3).astype(np.float32)


def table(labels: np.ndarray, clip_ids: Sequence[str] = (), class_ids: Sequence[str] = CLASSES) -> LabelTable:
    clip_ids = tuple(clip_ids) or tuple(f"c{i:05d}" for i in range(len(labels)))
    vocabulary = Vocabulary("sounds", tuple(class_ids), tuple(class_ids), tuple(class_ids))
    return LabelTable(clip_ids, sparse.csr_array(labels), vocabulary)


def corpus(labels: np.ndarray | LabelTable, *teachers: np.ndarray | Teacher) -> Corpus:
    labels = labels if isinstance(labels, LabelTable) else table(labels)
    return Corpus(labels, [Evidence.match(labels, one) for one in teachers], kinship(labels.vocabulary.class_ids))


def probabilities(calibration: Calibration) -> np.ndarray:
    """Return the probabilities of all pairs, (N, K)."""
    return calibration.block(0, len(calibration.viewer.corpus.labels)).probabilities


def added(calibration: Calibration, precision: float) -> np.ndarray:
    child, free = calibration.histograms()
    return probabilities(calibration) >= (child + free).cut(precision).lowest


# ---- the slow, obvious way ------------------------------------------------------------------------------------------


def plain_fit(rows: list[tuple[list[float], int, bool]], n_classes: int, share_precision: float):
    """Return a function (features, class) -> probability, its parameters found with finite differences."""
    x, k, y = (np.array(column) for column in zip(*rows, strict=True))
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    n = x.shape[1]

    def parts(t, features, of):
        pi = expit((features - mean) / spread @ t[:n] + t[n] + t[n + 2 : n + 2 + n_classes][of])
        return pi, expit(t[n + 1] + t[n + 2 + n_classes :][of])

    def loss(t):
        pi, c = parts(t, x, k)
        penalty = 0.1 * t[:n] @ t[:n] + (t[n + 1] - 0.5) ** 2
        penalty += 0.3 * t[n + 2 : n + 2 + n_classes] @ t[n + 2 : n + 2 + n_classes]
        penalty += share_precision * t[n + 2 + n_classes :] @ t[n + 2 + n_classes :]
        return -np.log(np.where(y, c * pi, 1 - c * pi)).sum() + 0.5 * penalty

    best = minimize(loss, np.zeros(n + 2 + 2 * n_classes), method="L-BFGS-B", options={"maxfun": 10**6}).x

    def probability(features, of):
        pi, c = parts(best, np.array(features), of)
        return 0.9 * (1 - c) * pi / (1 - c * pi)

    return probability


def obvious(labels: np.ndarray, evidence: np.ndarray, of: Kinship) -> np.ndarray:
    """Return the probability of every candidate, from loops over clips and classes; `evidence` (N, K) is r."""
    (n_clips, n_classes), given = labels.shape, labels.copy()
    for i, k in np.argwhere(labels):
        given[i] |= of.ancestors[k]
    known = [set(np.flatnonzero(row).tolist()) for row in given]
    has_parent = [[any(of.children[p, k] for p in known[i]) for k in range(n_classes)] for i in range(n_clips)]
    child, free, p = [], [], np.full(labels.shape, np.nan)
    features = {}
    for i in range(n_clips):
        for k in range(n_classes):
            if sum(k in clip for clip in known) < 3:
                continue
            r = float(evidence[i, k])
            sibling = any(of.children[q, k] and of.children[q, j] for j in known[i] - {k} for q in range(n_classes))
            below = max([float(evidence[i, j]) for j in range(n_classes) if of.ancestors[j, k]], default=-3)
            features[i, k] = [r, float(sibling)], [r, below]
            if has_parent[i][k]:
                child.append((features[i, k][0], k, k in known[i]))
            if k in known[i] or not has_parent[i][k]:
                free.append((features[i, k][1], k, k in known[i]))
    of_child, of_free = plain_fit(child, n_classes, 0.3), plain_fit(free, n_classes, 30)
    for i, k in features:
        if k not in known[i]:
            p[i, k] = of_child(features[i, k][0], k) if has_parent[i][k] else of_free(features[i, k][1], k)
    return p


def test_probabilities_are_those_of_the_slow_obvious_way(monkeypatch):
    monkeypatch.setattr(views, "BLOCK_CLIPS", 64)
    _, labels, scores = world(400)
    calibration = Calibration.of(corpus(labels, scores))
    evidence = calibration.viewer.view(0, 400).evidence[0]
    assert probabilities(calibration) == pytest.approx(
        obvious(labels, evidence, kinship(CLASSES)), abs=2e-3, nan_ok=True
    )


def test_guesses_are_right_as_often_as_expected_or_a_little_more():
    """The annotator gave no false label here, so more than TRUST of the surest guesses are right."""
    truth, labels, scores = world(30_000, seed=1)
    calibration = Calibration.of(corpus(labels, scores))
    for precision in (0.5, 0.7, 0.85):
        assert precision < truth[added(calibration, precision)].mean() < precision + 0.15


def test_the_probability_converges_to_the_true_one():
    """One class, on .15 of the clips, given on .6 of them; log-odds are N(-.5, 1) on these, N(-3, 1) on the others."""
    music, errors = [CLASSES.index("music")], []
    for n_clips in (1_000, 400_000):
        _, labels, scores = world(n_clips)
        calibration = Calibration.of(corpus(table(labels[:, music], class_ids=["music"]), scores[:, music]))
        pi = expit(logit(0.15) + 2.5 * (logit(scores[:, music].astype(float)) + 3) - 2.5**2 / 2)
        true = 0.4 * pi / (1 - 0.6 * pi)
        raw = calibration.block(0, n_clips, raw=True).probabilities
        errors.append(np.nanmax(np.abs(raw - true)))
    assert errors[1] < min(0.02, errors[0] / 5)


def test_blocks_and_threads_do_not_matter(monkeypatch):
    _, labels, scores = world(300)
    whole = probabilities(Calibration.of(corpus(labels, scores)))
    monkeypatch.setattr(views, "BLOCK_CLIPS", 7)
    assert probabilities(Calibration.of(corpus(labels, scores))) == pytest.approx(whole, abs=1e-6, nan_ok=True)


# ---- stated answers -------------------------------------------------------------------------------------------------


def test_a_class_with_fewer_than_three_carriers_has_no_answer():
    _, labels, scores = world(300)
    horn, music = CLASSES.index("horn"), CLASSES.index("music")
    labels[:, [horn, music]] = False
    labels[:2, music] = labels[:3, horn] = True
    calibration = Calibration.of(corpus(labels, scores))
    assert calibration.usable.tolist() == [name != "music" for name in CLASSES]
    assert np.isnan(probabilities(calibration)[:, music]).all()
    assert not np.isnan(probabilities(calibration)[3:, horn]).any()
    assert calibration.viewer.carriers[[horn, music]].tolist() == [3, 2]


@pytest.mark.parametrize("given", [False, True])
def test_without_labels_or_with_all_of_them_nothing_is_guessed(given):
    scores = world(50)[2]
    calibration = Calibration.of(corpus(np.full((50, len(CLASSES)), given), scores))
    assert (calibration.child, calibration.free) == (None, None)
    assert np.isnan(probabilities(calibration)).all()
    assert not added(calibration, 0.5).any()
    assert [histogram.cut(0.1).n for histogram in calibration.histograms()] == [0, 0]
    assert np.isnan(calibration.auc).all()


def test_one_class_alone_is_guessed():
    truth, labels, scores = world(30_000)
    music = [CLASSES.index("music")]
    calibration = Calibration.of(corpus(table(labels[:, music], class_ids=["music"]), scores[:, music]))
    assert calibration.child is None
    assert 0.7 < truth[:, music][added(calibration, 0.7)].mean() < 0.85


def test_equal_scores_are_guessed_together_or_not_at_all():
    labels = np.zeros((100, 1), bool)
    labels[:30] = True
    scores = np.where(np.arange(100) < 50, 0.9, 0.1)[:, None]
    calibration = Calibration.of(corpus(table(labels, class_ids=["music"]), scores))
    p = probabilities(calibration)[30:, 0]
    assert len(set(p[:20])) == len(set(p[20:])) == 1
    high, low = float(p[0]), float(p[-1])
    assert high > low
    for precision, n in ((high + 0.01, 0), (high - 0.001, 20), ((20 * high + 50 * low) / 70 - 0.001, 70)):
        assert added(calibration, precision).sum() == n


def test_a_clip_without_scores_has_no_guesses_and_does_not_matter():
    _, labels, scores = world(300)
    more = np.vstack([scores, np.full((2, len(CLASSES)), np.nan, np.float32)])
    with_more = Calibration.of(corpus(np.vstack([labels, labels[:2]]), more))
    assert np.isnan(probabilities(with_more)[300:]).all()
    alone = probabilities(Calibration.of(corpus(labels, scores)))
    assert probabilities(with_more)[:300] == pytest.approx(alone, abs=1e-6, nan_ok=True)


def test_a_score_that_is_not_a_probability_is_refused():
    _, labels, scores = world(20)
    scores[7, 2] = 1.5
    with pytest.raises(InputError, match=r"c00007: the score 1\.5 of class 'cat' is not in \[0, 1\]"):
        Calibration.of(corpus(labels, scores))


# ---- order and sampling ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_stratum", [None, 20])
def test_the_order_of_clips_and_classes_does_not_matter(per_stratum):
    _, labels, scores = world(2_000)
    clip_ids = np.array([f"c{i}" for i in range(2_000)])
    rng = np.random.default_rng(5)
    rows, columns = rng.permutation(2_000), rng.permutation(len(CLASSES))
    first = Calibration.of(corpus(table(labels, clip_ids), scores), per_stratum)
    class_ids = [CLASSES[k] for k in columns]
    other_labels = table(labels[rows][:, columns], clip_ids[rows].tolist(), class_ids)
    other = Calibration.of(corpus(other_labels, scores[rows][:, columns]), per_stratum)
    p = probabilities(first)[rows][:, columns]
    assert probabilities(other) == pytest.approx(p, abs=1e-6, nan_ok=True)
    for precision in (0.5, 0.7, 0.8):
        child, free = first.histograms()
        cut = (child + free).cut(precision).lowest
        differing = added(first, precision)[rows][:, columns] != added(other, precision)
        assert (np.abs(p[differing] - cut) < 1e-6).all()


def test_a_sample_gives_nearly_the_probabilities_of_all_pairs():
    _, labels, scores = world(20_000, seed=2)
    every, some = (Calibration.of(corpus(labels, scores), per_stratum) for per_stratum in (10**9, PER_STRATUM))
    assert np.nanmax(np.abs(probabilities(every) - probabilities(some))) < 0.005
    assert some.auc == pytest.approx(every.auc, abs=0.01)


# ---- several teachers -----------------------------------------------------------------------------------------------


def test_each_teacher_has_its_own_classes_and_clips():
    truth, labels, scores = world(4_000)
    clip_ids = [f"c{i:05d}" for i in range(4_000)]
    first = Teacher(clip_ids[::-1], CLASSES[:6], scores[::-1, :6])
    second = Teacher(clip_ids[:3_000], CLASSES[::-1], scores[:3_000, ::-1])
    calibration = Calibration.of(corpus(labels, first, second))
    view = calibration.viewer.view(0, 4_000)
    assert [flag[0].tolist() for flag in view.flags] == [[1, 1, 1, 1, 1, 1, 0, 0], [1] * 8]
    assert view.flags[1][:, 0].tolist() == [1] * 3_000 + [0] * 1_000
    assert (view.evidence[0][:, 6:] == 0).all()
    music, p = CLASSES.index("music"), probabilities(calibration)
    assert np.isnan(p[3_000:, music]).all()  # neither teacher has it there
    assert not np.isnan(p[:3_000, music][~labels[:3_000, music]]).any()
    assert truth[added(calibration, 0.7)].mean() > 0.7
    assert len(calibration.auc) == 2


def test_the_best_descendant_is_that_of_any_teacher():
    _, labels, scores = world(100)
    view = Calibration.of(corpus(labels, scores, scores[::-1].copy())).viewer.view(0, 100)
    dog, bark, horn = (CLASSES.index(name) for name in ("dog", "bark", "horn"))
    assert view.below[:, dog] == pytest.approx(np.maximum(view.evidence[0][:, bark], view.evidence[1][:, bark]))
    assert (view.below[:, horn] == -3).all()
    assert view.flags == []  # no teacher lacks anything


def test_the_best_real_window_is_the_score_of_a_clip():
    labels = table(np.zeros((2, 2), bool), class_ids=["dog", "cat"])
    windows = np.array([[[0.1, 0.2], [0.3, 0.1]], [[0.2, 0.5], [0.9, 0.9]]], np.float32)
    evidence = Evidence(labels, windows, np.array([1, 0]), np.array([0, 1]), window_s=2.0, n_windows=np.array([2, 1]))
    assert scores_of(evidence, 0, 2) == pytest.approx(np.array([[0.2, 0.5], [0.3, 0.2]]))
    assert math.isclose(scores_of(evidence, 1, 2)[0, 0], 0.3, rel_tol=1e-6)


def test_logit_of_the_probability_is_linear_in_the_evidence():
    """So a class's probability never falls when the teacher grows surer, all else equal."""
    _, labels, scores = world(500)
    calibration = Calibration.of(corpus(labels, scores))
    block, view = calibration.block(0, 500, raw=True), calibration.viewer.view(0, 500)
    music = CLASSES.index("music")
    candidates = ~np.isnan(block.probabilities[:, music])
    r, eta = view.evidence[0][candidates, music], logit(block.probabilities[candidates, music])
    order = np.argsort(r)
    assert (np.diff(eta[order]) >= -1e-4).all()
