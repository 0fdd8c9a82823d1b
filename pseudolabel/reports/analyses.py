"""The papers' analyses of an evaluation: which classes enhancement changes, and what a class's AP goes with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pseudolabel.formatting import fraction, percent
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.rows import Row
from pseudolabel.reports.text_tables import Table

FEWEST = 3  # classes of a correlation


class Correlation(NamedTuple):
    """Pearson's r over classes, the two-sided p of no correlation, and the number of classes."""

    r: float
    p: float
    n: int

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Correlation:
        """Return the correlation of two values of classes (K,), where both are known; NaN if it is undefined."""
        from scipy.stats import pearsonr

        known = np.isfinite(x) & np.isfinite(y)
        x, y = np.asarray(x, np.float64)[known], np.asarray(y, np.float64)[known]
        if len(x) < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
            return cls(math.nan, math.nan, len(x))
        return cls(*map(float, pearsonr(x, y)), len(x))

    def text(self) -> str:
        """Return `.169 (p = .002)`, or `-`."""
        return "-" if math.isnan(self.r) else f"{fraction(self.r)} ({p_text(self.p)})"


def p_text(p: float) -> str:
    """Return `p = .045`, or `p < .001`."""
    return "p < .001" if p < 0.001 else f"p = {fraction(p)}"


class Impact(NamedTuple):
    """How AP changes from one row to another, relative to the first (PSLA, Table VIII): percent, or None.

    Args:
        n_classes: classes that received labels.
        of_impacted, of_others, of_all: the mean over classes of the relative change of AP.
        of_map: the relative change of mAP.
    """

    n_classes: int
    of_impacted: float | None
    of_others: float | None
    of_all: float | None
    of_map: float | None


def impact(before: np.ndarray, after: np.ndarray, impacted: np.ndarray) -> Impact:
    """Return how each kind of class gains.

    Args:
        before, after: (K,) AP, NaN where unknown; classes of AP 0 before have no relative change and are left out.
        impacted: (K,) bool, whether a class received labels.
    """
    known = np.isfinite(before) & np.isfinite(after)
    used = known & (before > 0)
    change = 100 * (after - before) / np.where(used, before, 1)

    def mean_of(chosen: np.ndarray) -> float | None:
        return float(change[chosen & used].mean()) if (chosen & used).any() else None

    every = np.ones(len(before), bool)
    of_map = 100 * (after[known].mean() / before[known].mean() - 1) if used.any() else None
    return Impact(int(impacted.sum()), mean_of(impacted), mean_of(~impacted), mean_of(every), of_map)


def enhanced_rows(evaluation: Evaluation) -> Iterator[tuple[Row, dict]]:
    """Yield each row that was trained on an enhanced list, with the judgement of that list."""
    lists = {judged.get("sha256"): judged for judged in evaluation.enhanced.values()}
    for row in evaluation.rows:
        trained_on = {run.labels_sha256 for run in row.runs} - {None}
        if len(trained_on) == 1 and (judged := lists.get(trained_on.pop())) is not None:
            yield row, judged


def impact_table(evaluation: Evaluation) -> Table | None:
    """Return how classes that received labels gain, and all others (PSLA, Table VIII); None without such rows."""
    weak, against = evaluation.row("weak"), evaluation.main
    lines = []
    for row, judged in enhanced_rows(evaluation) if weak else ():
        added = np.array([of_class["added"] > 0 for of_class in judged["by_class"]])
        gains = impact(weak.class_mean(against, "ap"), row.class_mean(against, "ap"), added)
        lines.append([row.name, str(gains.n_classes), percent(judged["added_percent"])])
        lines[-1] += [percent(gain, signed=True) for gain in gains[1:]]
    header = ["row", "impacted classes", "labels added", "AP of impacted", "AP of others", "AP of all", "mAP"]
    return Table(header, lines) if lines else None


def training_counts(evaluation: Evaluation) -> np.ndarray | None:
    """Return how many clips of the training list have each label, (K,); None if it is unknown."""
    for judged in evaluation.enhanced.values():
        return np.array([of_class["before"] for of_class in judged["by_class"]], np.float64)
    return None


def correlations_table(evaluation: Evaluation) -> Table | None:
    """Return how AP goes with labels in training, and with the quality of annotation (PSLA, Table VII)."""
    known = {"training clips": training_counts(evaluation), "annotation quality": evaluation.quality}
    known = {name: values for name, values in known.items() if values is not None}
    if not known or not evaluation.rows:
        return None
    lines = []
    for row in evaluation.rows:
        ap = row.class_mean(evaluation.main, "ap")
        lines.append([row.name, *(Correlation.of(values, ap).text() for values in known.values())])
    return Table(["row", *(f"AP and {name}" for name in known)], lines)
