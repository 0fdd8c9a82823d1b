"""Calibrate the guesses of a corpus: how probable is each label that a clip may miss, and which reach a precision.

A candidate is `child` if a nearest parent of it is a label of the clip or an ancestor of one, else `free`; each kind
has its regression. Clips without a score, classes that no teacher has and classes with fewer than 3 labelled clips have
no candidates.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from pseudolabel.labels.calibration import (
    STEPS,
    TRUST,
    Histogram,
    Recalibration,
    Regression,
    counted,
    fit,
    median_auc,
    steps_of,
)
from pseudolabel.labels.drawing import CHILD, EVERY_PAIR, FREE, LABELLED, draw, kinds_of
from pseudolabel.labels.residuals import joined
from pseudolabel.labels.views import Corpus, View, Viewer

EVERY_ERROR = ("I", "II", "free")
MIN_CARRIERS = 3
CHILD_SHARES, FREE_SHARES = 0.3, 30.0  # how strongly a class's c is shrunk to the mean; `free` has one for all classes
ALL_PAIRS = 2_000_000  # so many pairs are all learnt from, of more a sample
PER_STRATUM = 16  # at 20,000 clips of 527 classes all probabilities are within .003 of those from all pairs


class Block(NamedTuple):
    """The guesses of n consecutive clips.

    Args:
        probabilities: (n, K) float32, NaN for what is not a candidate.
        child: (n, K) bool, whether a nearest parent is a label of the clip or an ancestor of one.
    """

    probabilities: np.ndarray
    child: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """The probability of every candidate of a corpus.

    Args:
        usable: (K,) bool, the classes that have candidates.
        child, free: the regression of each kind of candidates; None if there are none.
        auc: (T,) for each teacher the median over classes of the AUC of labelled clips against the rest.
        recalibration: learnt from judgements; None before.
    """

    viewer: Viewer
    usable: np.ndarray
    child: Regression | None
    free: Regression | None
    auc: np.ndarray
    recalibration: Recalibration | None = None

    @classmethod
    def of(cls, corpus: Corpus, per_stratum: int | None = None) -> Self:
        """Calibrate a corpus: on all its pairs, or on about `per_stratum` of each stratum (pseudolabel.labels.drawing).

        By default a corpus of more than ALL_PAIRS pairs is drawn from.
        """
        n_clips, n_classes = corpus.labels.matrix.shape
        if per_stratum is None:
            per_stratum = PER_STRATUM if n_clips * n_classes > ALL_PAIRS else EVERY_PAIR
        viewer = Viewer.of(corpus)
        usable = viewer.carriers >= MIN_CARRIERS
        pairs = draw(viewer, usable, per_stratum)
        child, free = pairs.of_kind(CHILD, n_classes), pairs.of_kind(FREE, n_classes)
        return cls(
            viewer,
            usable,
            fit(child, CHILD_SHARES) if child else None,
            fit(free, FREE_SHARES) if free else None,
            median_auc(pairs.classes, pairs.kinds == LABELLED, pairs.z, pairs.weights),
        )

    def recalibrated(self, recalibration: Recalibration) -> Calibration:
        """Return the calibration with probabilities corrected by judgements."""
        return replace(self, recalibration=recalibration)

    def block(self, start: int, stop: int, errors: Collection[str] = EVERY_ERROR, raw: bool = False) -> Block:
        """Return the guesses of the clips in rows `start` to `stop` (exclusive).

        Args:
            errors: which guesses: `I` those that a parent proposes, `free` the others. Without `II`, an ancestor that
                is only implied proposes nothing.
            raw: return P(true | not labelled, x) itself, before trust or recalibration.
        """
        view = self.viewer.view(start, stop)
        kinds = kinds_of(view, self.usable)
        probabilities, child = self._raw(view, kinds), kinds == CHILD
        if not raw and self.recalibration is not None:
            probabilities = self.recalibration(probabilities, child)
        elif not raw:
            probabilities *= np.float32(TRUST)
        if "free" not in errors:
            probabilities[~child] = np.nan
        if "I" not in errors:
            probabilities[child] = np.nan
        elif "II" not in errors:
            corpus = self.viewer.corpus
            given = joined(corpus.labels.matrix[start:stop], corpus.kinship.children).toarray()
            probabilities[child & ~given] = np.nan
        return Block(probabilities, child)

    def _raw(self, view: View, kinds: np.ndarray) -> np.ndarray:
        raw = np.full(kinds.shape, np.nan, np.float32)
        if self.free is not None:
            eta = np.broadcast_to(self.free.unlabelled_offsets.astype(np.float32), kinds.shape).copy()
            for slope, feature in zip(self.free.slopes, view.free_features, strict=True):
                eta += np.float32(slope) * feature
            np.copyto(raw, sigmoid(eta), where=kinds == FREE)
        if self.child is not None:
            rows, classes = np.nonzero(kinds == CHILD)
            features = np.stack([feature[rows, classes] for feature in view.child_features], axis=1)
            raw[rows, classes] = self.child.probability(features, classes)
        return raw

    def histograms(self, errors: Collection[str] = EVERY_ERROR) -> tuple[Histogram, Histogram]:
        """Return the histograms of the probabilities of `child` and of `free` candidates; `errors` as for `block`."""

        def steps(start: int, stop: int) -> np.ndarray:
            block = self.block(start, stop, errors)
            candidates = ~np.isnan(block.probabilities)
            return steps_of(block.probabilities[candidates]) + (STEPS + 1) * ~block.child[candidates]

        both = counted(self.viewer.corpus.each_block(steps, "probabilities"), 2 * (STEPS + 1))
        return Histogram(both[: STEPS + 1]), Histogram(both[STEPS + 1 :])


def sigmoid(eta: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-eta)), written over float32 `eta`."""
    np.clip(eta, -80, None, out=eta)
    np.negative(eta, out=eta)
    np.exp(eta, out=eta)
    eta += 1
    return np.reciprocal(eta, out=eta)
