"""Compute thresholds: how sure the teacher must be before a class is added (PSLA, Algorithm 2, procedure 1)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pseudolabel.errors import InputError, first_few
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.tables import read_csv

VALID_RULES = (
    "mean, median, a percentile from 0p to 100p such as 25p, a constant such as 0.5, precision:P such as "
    "precision:0.7, or a file.csv"
)
THRESHOLD_COLUMNS = ("class_id", "threshold")
# Why a class has no threshold, if not for too few clips that carry it.
NOT_FOR_LACK_OF_CLIPS = (
    "not among the scored classes", "no scores: all is added by rule", "none in the threshold file",
)  # fmt: skip
LOOKED_UP = 1 << 20  # labels per lookup of scores


@dataclass(frozen=True)
class Statistic:
    """A statistic of the scores of the clips that carry a label, or a constant.

    `text` is its canonical spelling: mean, median, 25p, 0.5.
    """

    text: str
    percent: float | None = None
    constant: float | None = None

    @property
    def words(self) -> str:
        """What it is, in words, for a reader of a data card."""
        scores = "of the scores of the clips that carry the class"
        if self.constant is not None:
            return f"the constant {self.text}"
        return f"the {self.text if self.percent is None else f'{_ordinal(self.percent)} percentile'} {scores}"

    def of(self, values: np.ndarray) -> float:
        """Return the statistic of float64 `values`, independent of their order."""
        if self.constant is not None:
            return self.constant
        if self.percent is not None:
            return float(np.percentile(values, self.percent))
        return float({"mean": _mean, "median": np.median}[self.text](values))


def _mean(values: np.ndarray) -> float:
    return math.fsum(values.tolist()) / len(values)


def _ordinal(number: float) -> str:
    """Return `25th`, `1st`, `2.5th`."""
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number:.12g}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def parse_rule(text: str) -> Statistic:
    """Return the rule that `text` names.

    Raises:
        InputError: it names none, a percentile outside 0 to 100, or a constant outside 0 to 1.
    """
    text = text.strip()
    if text in ("mean", "median"):
        return Statistic(text)
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(p?)", text, flags=re.ASCII)
    value, is_percentile = float(match[1]) if match else math.nan, bool(match and match[2])
    if is_percentile and 0 <= value <= 100:
        return Statistic(f"{abs(value):.12g}p", abs(value))
    if match and not is_percentile and "." in text and 0 <= value <= 1:
        return Statistic(f"{abs(value)!r}", constant=abs(value))
    if is_percentile:
        message = f"percentile {text!r} is not between 0p and 100p"
    elif match and "." in text:
        message = f"constant {text!r} is not between 0.0 and 1.0"
    else:
        meant = f": did you mean {text}p?" if 0 <= value <= 100 else ""
        message = f"no threshold rule {text!r}{meant}"
    raise InputError(message, "--threshold", f"Give {VALID_RULES}.")


@dataclass(frozen=True, eq=False)
class PositiveScores:
    """The scores of all labels, from which thresholds are computed: `values[j]` is a score of class `classes[j]`.

    NaN marks a missing score, which is ignored. `scored` (K,) bool marks the classes that have scores at all.
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
        """Number of clips that carry each class and have its score, (K,) int64."""
        return np.bincount(self.classes[~np.isnan(self.values)], minlength=len(self.scored))

    def thresholds(
        self, rule: str, min_positives: int, vocabulary: Vocabulary, floor: float = 0.0, fallback: float | None = None
    ) -> np.ndarray:
        """Return each class's threshold, (K,) float64; NaN if it has none.

        Args:
            rule: `mean`, `median`, a percentile `25p`, a constant `0.5`, or a file of thresholds.
            min_positives: a class carried by fewer scored clips gets no threshold from a rule.
            floor: lowest threshold; lower ones are raised to it.
            fallback: the threshold of scored classes that get none from a rule.
        """
        if is_threshold_file(rule):
            return np.maximum(read_thresholds(rule, vocabulary), floor)  # NaN stays NaN
        scored = ~np.isnan(self.values)
        classes, values = self.classes[scored], self.values[scored]
        order = np.argsort(classes.astype(np.min_scalar_type(len(vocabulary))), kind="stable")  # radix: small integers
        bounds, values = np.searchsorted(classes[order], np.arange(len(vocabulary) + 1)), values[order]
        parsed, thresholds = parse_rule(rule), np.where(self.scored, np.nan if fallback is None else fallback, np.nan)
        for k in np.flatnonzero(np.diff(bounds) >= min_positives):
            thresholds[k] = parsed.of(values[bounds[k] : bounds[k + 1]])
        return np.maximum(thresholds, floor)

    def without_enough(self, min_positives: int) -> np.ndarray:
        """Return which scored classes too few clips carry for a threshold, (K,) bool."""
        return self.scored & (self.counts < min_positives)

    def why_none(self, thresholds: np.ndarray, rule: str, min_positives: int) -> dict[int, str]:
        """Return {class column: reason} for classes without a threshold."""
        counts, reasons = self.counts, {}
        for k in np.flatnonzero(np.isnan(thresholds)).tolist():
            few = f"{counts[k]} labelled clips with scores, fewer than {min_positives}"
            reasons[k] = few if counts[k] else "no scored clip carries it"
            if not self.scored[k]:
                reasons[k] = NOT_FOR_LACK_OF_CLIPS[0]
            if not self.scored.any():
                reasons[k] = NOT_FOR_LACK_OF_CLIPS[1]
            elif is_threshold_file(rule):
                reasons[k] = NOT_FOR_LACK_OF_CLIPS[2]
        return reasons


def is_threshold_file(text: str) -> bool:
    """Return whether a threshold option names a CSV file rather than a rule."""
    return text.lower().endswith(".csv")


def read_thresholds(path: str | Path, vocabulary: Vocabulary | str | Path) -> np.ndarray:
    """Read thresholds (K,) float64 from a CSV file `class_id,threshold`; an empty cell is NaN: no threshold.

    Raises:
        InputError: a class has no row or two, or a threshold is not a number in [0, 1].
        UnknownClass: a row's class is not in the vocabulary.
    """
    vocabulary = Vocabulary.of(vocabulary)
    thresholds, line_of = np.full(len(vocabulary), np.nan), {}
    for row in read_csv(path, THRESHOLD_COLUMNS):
        place, text = f"{path}:{row['line']}", row["threshold"].strip()
        k = vocabulary.index[vocabulary.find(row["class_id"].strip(), place)]
        if k in line_of:
            message = f"class {row['class_id']!r} is listed twice, first in line {line_of[k]}"
            raise InputError(message, place, "Keep one of them.")
        line_of[k] = row["line"]
        try:
            value = float(text or 0)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            message = f"threshold {text!r} is not a number from 0 to 1"
            raise InputError(message, place, "Leave it empty for no threshold.")
        thresholds[k] = value if text else np.nan
    absent = [class_id for k, class_id in enumerate(vocabulary.class_ids) if k not in line_of]
    if absent:
        remedy = "Give each class a row; an empty threshold means none."
        raise InputError(f"{len(absent)} classes have no row: {first_few(absent)}", path, remedy)
    return thresholds
