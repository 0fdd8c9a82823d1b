"""Time all metrics beside scikit-learn's average precision alone, and the draws of clips behind intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from pseudolabel.benchmarks.measure import Report, rivals
from pseudolabel.scores.bootstrap import drawn_weights
from pseudolabel.scores.metrics import resampled_metrics, summary_and_classes

SEED, ROUNDS = 0, 2
SHARE = 0.005  # of (clip, class) pairs that are labels: 2.7 labels a clip of AudioSet
OURS, THEIRS = "all metrics", "scikit-learn's average precision alone"


@dataclass(frozen=True)
class MetricsBenchmark:
    """What to measure: drawn labels and scores (`n_clips`, `n_classes`), `n_draws` of the clips."""

    n_clips: int
    n_classes: int
    n_draws: int

    def run(self) -> Report:
        """Measure every stage; return the report."""
        from sklearn.metrics import average_precision_score

        report, rng = Report("metrics"), np.random.default_rng(SEED)
        labels = rng.random((self.n_clips, self.n_classes)) < SHARE
        labels[0] = True  # every class has a clip
        scores = (0.7 * rng.random(labels.shape) + 0.3 * labels * rng.random(labels.shape)).astype(np.float32)
        average_precision = partial(average_precision_score, labels, scores, average=None)
        functions = {THEIRS: average_precision, OURS: partial(summary_and_classes, labels, scores)}
        theirs, ours = rivals(report, self.n_clips, "clips", functions, ROUNDS)
        ours.compare(theirs)
        with report.stage("draws of the clips", self.n_draws, "draws"):
            weights = drawn_weights(self.n_clips, self.n_draws, SEED)
        with report.stage("all metrics of every draw", self.n_draws, "draws"):
            drawn = resampled_metrics(labels, scores, weights)
        found, _ = summary_and_classes(labels, scores)
        report.facts |= {
            "clips": self.n_clips,
            "classes": self.n_classes,
            "difference of AP": float(np.abs(average_precision().mean() - found["map"])),
            "mAP": f"{found['map']:.4f}, standard deviation over draws {drawn['map'].std(ddof=1):.5f}",
        }
        return report
