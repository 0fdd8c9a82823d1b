"""Rows of the results table: runs that differ only in their seed, with mean and spread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.formatting import fraction
from pseudolabel.scores.bootstrap import Interval, interval, variance
from pseudolabel.scores.metrics import UNBOUNDED
from pseudolabel.scores.windows import CLIP

STUDENT_ROWS = ("weak", "enhanced", "precision-0.7", "psl_10s", "psl_5s", "psl_2s", "psl_2s_calibrated", "true")
STANDARD_ROWS = ("teacher", *STUDENT_ROWS)
TRAINED_ON = {
    "teacher": "weak labels",
    "weak": "weak labels",
    "enhanced": "enhanced labels",
    "precision-0.7": "labels enhanced by precision:0.7",
    "psl_10s": "the teacher's 10 s scores",
    "psl_5s": "the teacher's 5 s scores",
    "psl_2s": "the teacher's 2 s scores",
    "psl_2s_calibrated": "the teacher's 2 s scores, shifted to each label's probability",
    "psl_2s_half": "the teacher's 2 s scores and weak labels, half each",
    "true": "true labels (the ceiling)",
}


@dataclass(frozen=True)
class RunResult:
    """One run or score store, and its results on the evaluated clips.

    Args:
        run: name of the run folder or of the store.
        row: its row in the table.
        command: the command that made it, from run.json.
        epoch: set if the run is the model of that one epoch. fold: such as `1/5`, if it left that fold out.
        n_seen: how many of the evaluated clips it was trained on; None if its training list is unknown.
        labels_sha256: checksum of the label list that it was trained on, from run.json.
        scale: which scores: `clip`, or the mean (`2s`) or maximum (`2s-max`) over windows, in the row NAME@2s.
        beta: the oversampling exponent of its training, 0 if clips were only shuffled.
        last_evaluations: {metric: mean over the last five evaluations of its validation list}.
        metrics: {set of labels (`truth`, `noisy`, ...): metrics (`summary_and_classes`)}.
        classes: {set of labels: per-class arrays (K,): `ap`, `auc`, `n_positive`}.
        draws: {set of labels: {metric: (D,) in each draw of clips}}, the same draws for all runs of a set.
    """

    run: str
    row: str
    path: str
    command: str | None = None
    seed: int | None = None
    epoch: int | None = None
    fold: str | None = None
    model: str | None = None
    n_parameters: int | None = None
    n_train_clips: int | None = None
    train_seconds: float | None = None
    n_seen: int | None = None
    labels_sha256: str | None = None
    scale: str = CLIP
    beta: float | None = None
    last_evaluations: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    classes: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    draws: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def record(self) -> dict[str, object]:
        """Return the run as stored in metrics.json, without arrays."""
        return {name: value for name, value in vars(self).items() if name not in ("classes", "draws")}

    def at_scale(self, scale: str) -> RunResult:
        """Return the same run at another scale, which its row's name includes, not yet measured."""
        if scale == CLIP:
            return self
        return replace(self, row=f"{self.row}@{scale}", scale=scale, metrics={}, classes={}, draws={})


@dataclass(frozen=True)
class Spread:
    """Mean over runs, and sample standard deviation, None for fewer than two runs."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values; NaN if there are none."""
        if not len(values):
            return cls(math.nan, None, 0)
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))

    @property
    def of_mean(self) -> tuple[float, int]:
        """The variance of the mean, 0 for fewer than two values, and the number of values."""
        return (0.0 if self.sd is None else self.sd**2 / self.n), self.n

    def text(self, digits: int = 3) -> str:
        """Return `.412 ± .010`, or the mean alone if there is no spread."""
        mean = fraction(self.mean, digits)
        return mean if self.sd is None or mean == "-" else f"{mean} ± {fraction(self.sd, digits)}"

    def signed(self, digits: int = 3) -> str:
        """Return a difference as text: `+.012 ± .004`, `-.012`."""
        text = self.text(digits)
        return text if text.startswith("-") else f"+{text}"


@dataclass(frozen=True)
class Row:
    """All runs of one row, by seed."""

    name: str
    runs: tuple[RunResult, ...]

    @property
    def scale(self) -> str:
        """`clip`, or the length of the windows."""
        return self.runs[0].scale

    @property
    def base(self) -> str:
        """The name without the scale."""
        return self.name.removesuffix(f"@{self.scale}")

    def against(self) -> list[str]:
        """Return the sets of labels that the row was measured against."""
        return list(self.runs[0].metrics)

    def values(self, against: str, metric: str) -> list[float]:
        """Return a metric of each run that has it."""
        return [run.metrics[against][metric] for run in self.runs if against in run.metrics]

    def spread(self, against: str, metric: str) -> Spread:
        """Return mean and standard deviation of a metric over the runs."""
        return Spread.of(self.values(against, metric))

    def interval(self, against: str, metric: str) -> Interval:
        """Return a metric's mean over the runs, and its confidence interval over clips and seeds."""
        spread = self.spread(against, metric)
        found = interval(spread.mean, variance(self._draws(against, metric)), [spread.of_mean])
        return found if metric in UNBOUNDED else found.within(0, 1)

    def above(self, other: Row, against: str, metric: str) -> Interval:
        """Return how much higher a metric is than another row's, paired by clips, and by seeds if they are the same."""
        ours, theirs = self.spread(against, metric), other.spread(against, metric)
        with np.errstate(invalid="ignore"):  # d' is infinite where a draw of few clips is ranked perfectly
            draws = self._draws(against, metric) - other._draws(against, metric)
        seeds = [run.seed for run in self.runs]
        if len(seeds) > 1 and None not in seeds and seeds == [run.seed for run in other.runs]:
            pairs = zip(self.values(against, metric), other.values(against, metric), strict=True)
            of_seeds = [Spread.of([ours - theirs for ours, theirs in pairs]).of_mean]
        else:
            of_seeds = [ours.of_mean, theirs.of_mean]
        return interval(ours.mean - theirs.mean, variance(draws), of_seeds)

    def _draws(self, against: str, metric: str) -> np.ndarray:
        """Return the mean over runs of a metric in each draw of clips, (D,); empty if no clips were drawn."""
        drawn = [run.draws[against][metric] for run in self.runs if against in run.draws]
        return np.mean(drawn, axis=0) if drawn else np.zeros(0)

    def class_mean(self, against: str, metric: str) -> np.ndarray:
        """Return the mean over runs of a per-class metric (K,)."""
        return np.mean([run.classes[against][metric] for run in self.runs], axis=0)

    def recorded(self, attribute: str) -> list:
        """Return an attribute of each run that has it."""
        values = (getattr(run, attribute) for run in self.runs)
        return [value for value in values if value is not None]

    def last_evaluations(self) -> dict[str, Spread]:
        """Return {metric: spread over the runs of their mean over the last evaluations}."""
        means = [mean for run in self.runs for mean in run.last_evaluations.items()]
        return {
            name: Spread.of([value for metric, value in means if metric == name])
            for name in dict.fromkeys(metric for metric, _ in means)
        }

    def _recorded_metric(self, against: str, metric: str) -> dict[str, object]:
        recorded = dict(vars(self.spread(against, metric)))
        if any(metric in run.draws.get(against, ()) for run in self.runs):
            recorded["interval"] = self.interval(against, metric)[1:]
        return recorded

    def record(self) -> dict[str, object]:
        """Return the row as stored in metrics.json: every metric as mean, sd, number of runs and interval."""
        seconds = Spread.of(self.recorded("train_seconds"))
        return {
            "row": self.name,
            "runs": [run.run for run in self.runs],
            "seeds": [run.seed for run in self.runs],
            "n_parameters": sorted(set(self.recorded("n_parameters"))),
            "n_train_clips": sorted(set(self.recorded("n_train_clips"))),
            "train_seconds": vars(seconds) if seconds.n else None,
            "last_evaluations": {metric: vars(spread) for metric, spread in self.last_evaluations().items()},
            **{
                against: {metric: self._recorded_metric(against, metric) for metric in self.runs[0].metrics[against]}
                for against in self.against()
            },
        }


def rows_of(runs: Sequence[RunResult]) -> list[Row]:
    """Return the rows in the table's order: teacher, the standard students, then others by name.

    Raises:
        InputError: two runs of a row have the same seed and are not models of different epochs or folds; counting them
            as two samples would understate the spread.
    """
    by_name: dict[str, list[RunResult]] = {}
    for run in runs:
        by_name.setdefault(run.row, []).append(run)
    for name, members in by_name.items():
        members.sort(key=lambda run: (run.seed is None, run.seed or 0, run.epoch or 0, run.fold or "", run.run))
        for one, other in itertools.pairwise(members):
            if (one.seed, one.epoch, one.fold) == (other.seed, other.epoch, other.fold):
                message = f"runs {one.run!r} and {other.run!r} of the row {name!r} have the same seed ({one.seed})"
                raise InputError(message, "--runs", "Name the runs to compare with --runs.")
    order = {name: number for number, name in enumerate(STANDARD_ROWS)}
    scales = {scale: number for number, scale in enumerate(dict.fromkeys(run.scale for run in runs))}
    rows = [Row(name, tuple(members)) for name, members in by_name.items()]
    return sorted(rows, key=lambda row: (order.get(row.base, len(order)), row.base, scales[row.scale]))


def named_row(rows: Sequence[Row], name: str, option: str) -> Row:
    """Return a row by name; if there is none, InputError names the nearest one."""
    for row in rows:
        if row.name == name:
            return row
    names = [row.name for row in rows]
    close = nearest(name, names)
    remedy = f"Nearest: {close!r}." if close else ""
    raise InputError(f"no row {name!r}; there are: {first_few(names, 8)}", option, remedy)
