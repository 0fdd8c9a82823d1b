"""Thresholds: how sure the teacher must be before a class may be added (PSLA, Algorithm 2, procedure 1)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.tables import read_csv

VALID_RULES = "mean, median, or a percentile from 0p to 100p such as 25p, a constant such as 0.5, or a file.csv"
COLUMNS = ("class_id", "threshold")
LOOKED_UP = 1 << 20  # labels whose scores are looked up at once


@dataclass(frozen=True)
class ThresholdRule:
    """A statistic of the scores of the clips that carry a label, or a constant.

    `text` is its one spelling: mean, median, 25p, 0.5.
    """

    text: str
    percent: float | None = None
    constant: float | None = None

    def of(self, values: np.ndarray) -> float:
        """Return the statistic of float64 `values`; it does not depend on their order."""
        if self.constant is not None:
            return self.constant
        if self.percent is not None:
            return _percentile(np.sort(values), self.percent)
        return float(np.median(values)) if self.text == "median" else math.fsum(values.tolist()) / len(values)


def _percentile(ascending: np.ndarray, percent: float) -> float:
    """Return what `np.percentile(ascending, percent)` does, to the last bit, in a tenth of its time."""
    place = percent / 100 * (len(ascending) - 1)
    below = math.floor(place)
    low, high = ascending[below : below + 2].tolist() if below + 1 < len(ascending) else [ascending[-1].item()] * 2
    share = place - below
    return low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share)


def parse_rule(text: str) -> ThresholdRule:
    """Return the rule that `text` names.

    Raises:
        InputError: it names none, a percentile outside 0 to 100, or a constant outside 0 to 1.
    """
    text = text.strip()
    if text in ("mean", "median"):
        return ThresholdRule(text)
    number = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(p?)", text, flags=re.ASCII)
    if not number:
        raise InputError(f"no threshold rule {text!r}", "--threshold", f"Give {VALID_RULES}.")
    percent = float(number[1])
    if not number[2] and "." in text:
        if not 0 <= percent <= 1:
            raise InputError(f"constant {text!r} is not between 0.0 and 1.0", "--threshold", f"Give {VALID_RULES}.")
        return ThresholdRule(f"{abs(percent)!r}", constant=abs(percent))
    if not number[2]:
        meant = f"did you mean {text}p?" if 0 <= percent <= 100 else ""
        raise InputError(
            f"no threshold rule {text!r}{': ' * bool(meant)}{meant}", "--threshold", f"Give {VALID_RULES}."
        )
    if not 0 <= percent <= 100:
        raise InputError(f"percentile {text!r} is not between 0p and 100p", "--threshold", f"Give {VALID_RULES}.")
    return ThresholdRule(f"{abs(percent):.12g}p", abs(percent))


def class_thresholds(
    labels: LabelTable | sparse.sparray, scores: np.ndarray, rule: str | ThresholdRule, min_positives: int = 1
) -> np.ndarray:
    """Return each class's threshold, (K,) float64; NaN where it has none.

    Args:
        labels: (N, K) hard labels.
        scores: (N, K) in [0, 1], rows as in `labels`; NaN marks a missing score, which does not count.
        rule: `mean`, `median` or a percentile `25p`, over the scores of the clips that carry the label.
        min_positives: a class with fewer scored clips that carry it gets no threshold.
    """
    matrix = labels.matrix if isinstance(labels, LabelTable) else sparse.csr_array(labels, dtype=bool)
    if matrix.shape != scores.shape:
        raise InputError(f"labels have the shape {matrix.shape}, scores {scores.shape}")
    clips, classes = matrix.nonzero()
    return thresholds_of_values(classes, scores[clips, classes], matrix.shape[1], rule, min_positives)


def thresholds_of_values(
    classes: np.ndarray, values: np.ndarray, n_classes: int, rule: str | ThresholdRule, min_positives: int = 1
) -> np.ndarray:
    """Return (K,) thresholds from the scores at the label positions alone: `values[j]` belongs to `classes[j]`."""
    if min_positives < 1:
        raise InputError(f"at least 1 positive is needed, not {min_positives}", "--min-positives")
    rule = parse_rule(rule) if isinstance(rule, str) else rule
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    classes, values = classes[known], values[known]
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        strange = values[(values < 0) | (values > 1)][0]
        raise InputError(
            f"the score {strange:g} is not in [0, 1]", remedy="Scores are probabilities: apply the sigmoid."
        )
    order = np.argsort(classes.astype(np.min_scalar_type(n_classes)), kind="stable")  # small integers: a radix sort
    bounds = np.searchsorted(classes[order], np.arange(n_classes + 1))
    values = values[order]
    thresholds = np.full(n_classes, np.nan)
    for k in range(n_classes):
        if bounds[k + 1] - bounds[k] >= min_positives:
            thresholds[k] = rule.of(values[bounds[k] : bounds[k + 1]])
    return thresholds


@dataclass(frozen=True, eq=False)
class PositiveScores:
    """The scores at the label positions, which thresholds are statistics of: `values[j]` belongs to `classes[j]`.

    `scored` (K,) bool says which classes the scores have at all.
    """

    classes: np.ndarray
    values: np.ndarray
    scored: np.ndarray

    @classmethod
    def of(cls, evidence: Evidence) -> PositiveScores:
        """Look up the score of every label."""
        matrix = evidence.labels.matrix
        values = np.empty(matrix.nnz)
        for start in range(0, len(values), LOOKED_UP):
            places = np.arange(start, min(start + LOOKED_UP, len(values)))
            clips = np.searchsorted(matrix.indptr, places, side="right") - 1
            values[places] = evidence.at(clips, matrix.indices[places])
        return cls(matrix.indices, values, evidence.column_of >= 0)

    @property
    def counts(self) -> np.ndarray:
        """Return how many clips carry each class and have its score, (K,) int64."""
        return np.bincount(self.classes[~np.isnan(self.values)], minlength=len(self.scored))

    def thresholds(self, rule: str, min_positives: int, vocabulary: Vocabulary, floor: float = 0.0) -> np.ndarray:
        """Return each class's threshold, (K,) float64, by a rule or from the file that it names, not below `floor`."""
        if is_threshold_file(rule):
            found = read_thresholds(rule, vocabulary)
        else:
            found = thresholds_of_values(self.classes, self.values, len(vocabulary), rule, min_positives)
        return np.maximum(found, floor)  # NaN stays NaN

    def why_none(self, thresholds: np.ndarray, rule: str, min_positives: int) -> dict[int, str]:
        """Return the reason for each class that has no threshold."""
        counts, reasons = self.counts, {}
        for k in np.flatnonzero(np.isnan(thresholds)).tolist():
            few = f"{counts[k]} labelled clips with scores, fewer than {min_positives}"
            reasons[k] = few if self.scored[k] else "not among the scored classes"
            if not self.scored.any():
                reasons[k] = "no scores: all is added by rule"
            elif is_threshold_file(rule):
                reasons[k] = "none in the threshold file"
        return reasons


def is_threshold_file(text: str) -> bool:
    """Return whether a threshold option names a CSV file, not a rule."""
    return text.lower().endswith(".csv")


def read_thresholds(path: str | Path, vocabulary: Vocabulary | str | Path) -> np.ndarray:
    """Return the thresholds (K,) float64 that a CSV `class_id,threshold` gives; an empty one is NaN: no threshold.

    Raises:
        InputError: a class without a row or with two, a threshold that is not a number in [0, 1].
        UnknownClass: a row's class is not in the vocabulary.
    """
    vocabulary = Vocabulary.of(vocabulary)
    thresholds, line_of = np.full(len(vocabulary), np.nan), {}
    for row in read_csv(path, COLUMNS):
        place = f"{path}:{row['line']}"
        k = vocabulary.index[vocabulary.find(row["class_id"].strip(), place)]
        if k in line_of:
            message = f"class {row['class_id']!r} is listed twice, first in line {line_of[k]}"
            raise InputError(message, place, "Keep one of them.")
        line_of[k], text = row["line"], row["threshold"].strip()
        try:
            value = float(text) if text else 0.0
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            remedy = "Leave it empty for no threshold."
            raise InputError(f"threshold {text!r} is not a number from 0 to 1", place, remedy)
        thresholds[k] = value if text else np.nan
    absent = [class_id for k, class_id in enumerate(vocabulary.class_ids) if k not in line_of]
    if absent:
        raise InputError(
            f"{len(absent)} classes have no row: {first_few(absent)}", path,
            "Give each class a row; an empty threshold means none.",
        )  # fmt: skip
    return thresholds
