"""Rows of the results table: the runs that differ only in their seed, their mean and their spread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pseudolabel.errors import InputError

STUDENT_ROWS = ("weak", "enhanced", "psl_10s", "psl_5s", "psl_2s", "true")
STANDARD_ROWS = ("teacher", *STUDENT_ROWS)
TRAINED_ON = {
    "teacher": "weak labels",
    "weak": "weak labels",
    "enhanced": "enhanced labels",
    "psl_10s": "the teacher's 10 s scores",
    "psl_5s": "the teacher's 5 s scores",
    "psl_2s": "the teacher's 2 s scores",
    "true": "true labels (the ceiling)",
}


@dataclass(frozen=True)
class RunResult:
    """One run, or one score store, and how it did on the evaluated clips.

    Args:
        run: name of the run folder or of the store.
        row: the row of the table that it belongs to.
        command: what made it, as run.json says.
        metrics: `truth` and `noisy` (where known) -> summary_metrics.
        classes: `truth` and `noisy` -> per-class arrays (K,): `ap`, `auc`, `n_positive`.
        n_seen: how many of the evaluated clips were in its training list; None where the list is unknown.
    """

    run: str
    row: str
    path: str
    command: str | None = None
    seed: int | None = None
    model: str | None = None
    n_parameters: int | None = None
    n_train_clips: int | None = None
    train_seconds: float | None = None
    n_seen: int | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    classes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def record(self) -> dict[str, object]:
        """Return what metrics.json says of the run: everything but the per-class arrays."""
        return {name: value for name, value in vars(self).items() if name != "classes"}


@dataclass(frozen=True)
class Spread:
    """Mean over runs and the sample standard deviation, None with fewer than two runs."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values; NaN where there are none."""
        if not len(values):
            return cls(math.nan, None, 0)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Row:
    """All runs of one row, in order of their seeds."""

    name: str
    runs: tuple[RunResult, ...]

    def against(self) -> list[str]:
        """Return what the row was measured against: `truth`, `noisy`."""
        return list(self.runs[0].metrics)

    def values(self, against: str, metric: str) -> list[float]:
        """Return a metric of each run that has it."""
        return [run.metrics[against][metric] for run in self.runs if against in run.metrics]

    def spread(self, against: str, metric: str) -> Spread:
        """Return mean and standard deviation of a metric over the runs."""
        return Spread.of(self.values(against, metric))

    def class_mean(self, against: str, metric: str) -> np.ndarray:
        """Return the mean over runs of a per-class figure (K,)."""
        return np.mean([run.classes[against][metric] for run in self.runs], axis=0)

    def known(self, attribute: str) -> list:
        """Return an attribute of the runs where it is recorded."""
        values = (getattr(run, attribute) for run in self.runs)
        return [value for value in values if value is not None]

    def record(self) -> dict[str, object]:
        """Return what metrics.json says of the row: every metric as mean, sd and number of runs."""
        seconds = Spread.of(self.known("train_seconds"))
        return {
            "row": self.name,
            "runs": [run.run for run in self.runs],
            "seeds": [run.seed for run in self.runs],
            "n_parameters": sorted(set(self.known("n_parameters"))),
            "n_train_clips": sorted(set(self.known("n_train_clips"))),
            "train_seconds": vars(seconds) if seconds.n else None,
            **{
                against: {metric: vars(self.spread(against, metric)) for metric in self.runs[0].metrics[against]}
                for against in self.against()
            },
        }


def rows_of(runs: Sequence[RunResult]) -> list[Row]:
    """Return the rows in the table's order: teacher, the standard students, then others by name.

    Raises:
        InputError: two runs of a row have the same seed: as two samples they would understate the spread.
    """
    by_name: dict[str, list[RunResult]] = {}
    for run in runs:
        by_name.setdefault(run.row, []).append(run)
    for name, members in by_name.items():
        members.sort(key=lambda run: (run.seed is None, run.seed or 0, run.run))
        for one, other in itertools.pairwise(members):
            if one.seed == other.seed:
                raise InputError(
                    f"runs {one.run!r} and {other.run!r} of the row {name!r} have the same seed ({one.seed})",
                    "--runs",
                    "Name the runs to compare with --runs.",
                )
    order = {name: place for place, name in enumerate(STANDARD_ROWS)}
    names = sorted(by_name, key=lambda name: (order.get(name, len(order)), name))
    return [Row(name, tuple(by_name[name])) for name in names]
