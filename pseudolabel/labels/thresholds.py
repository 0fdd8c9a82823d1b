"""Thresholds: how sure the teacher must be before a class may be added (PSLA, Algorithm 2, procedure 1)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable

VALID_RULES = "mean, median, or a percentile from 0p to 100p such as 25p"


@dataclass(frozen=True)
class ThresholdRule:
    """A statistic of the scores of the clips that carry a label; `text` is its one spelling: mean, median, 25p."""

    text: str
    percent: float | None = None

    def of(self, values: np.ndarray) -> float:
        """Return the statistic of float64 `values`; it does not depend on their order."""
        if self.percent is not None:
            return float(np.percentile(values, self.percent, method="linear"))
        return float(np.median(values)) if self.text == "median" else math.fsum(values) / len(values)


def parse_rule(text: str) -> ThresholdRule:
    """Return the rule that `text` names.

    Raises:
        InputError: it names none, or a percentile outside 0 to 100.
    """
    text = text.strip()
    if text in ("mean", "median"):
        return ThresholdRule(text)
    number = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(p?)", text, flags=re.ASCII)
    if not number:
        raise InputError(f"no threshold rule {text!r}", "--threshold", f"Give {VALID_RULES}.")
    percent = float(number[1])
    if not number[2]:
        meant = f"did you mean {text}p?" if "." not in text and 0 <= percent <= 100 else ""
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
    order = np.argsort(classes, kind="stable")
    bounds = np.searchsorted(classes[order], np.arange(n_classes + 1))
    values = values[order]
    thresholds = np.full(n_classes, np.nan)
    for k in range(n_classes):
        if bounds[k + 1] - bounds[k] >= min_positives:
            thresholds[k] = rule.of(values[bounds[k] : bounds[k + 1]])
    return thresholds
