"""The outcome of an evaluation: rows, sets of labels, metrics. Every report is written from it alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.reports.rows import Row
from pseudolabel.scores.metrics import METRICS, Metric, metrics_of

if TYPE_CHECKING:
    from pseudolabel.reports.beta_sweep import BetaSweep
    from pseudolabel.reports.gallery import Gallery
    from pseudolabel.reports.tree import Branch
    from pseudolabel.reports.watch import ClassClips

NOISY_SET, TRUE_SET = "noisy", "truth"  # names of the sets that the user did not name
PREFERRED = ("psl_2s", "psl_5s", "psl_10s", "enhanced")  # the headline is about the first of these that was run
USUAL = ("map", "d_prime")  # columns against every set
USUAL_OF_MAIN = ("f1_micro", "f1_macro")  # more columns against the first set
SIDE_BY_SIDE = ("map", "auc", "d_prime")  # columns against each of several sets (PSLA, Table IX)


class Column(NamedTuple):
    """A column of metrics in the table of rows."""

    against: str
    metric: Metric
    heading: str


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation.

    Args:
        rows: rows of the table, in order.
        enhanced: {folder name: its `judge_additions`, and its `folder`}.
        n_clips: number of evaluated clips. missing: (clip id, reason) of listed clips that were left out.
        work, out: the work folder, and the folder of the evaluation.
        lists: {set of labels other than the truth (`noisy`, or the names of --labels-set): its list}.
        truth: the list of true labels; None if they are unknown.
        command: the command that repeats the evaluation.
        metrics: the names in --metrics; None: the usual columns.
        scales: the scored scales, `clip`, `10s`, ...
        resamples: number of draws of clips for intervals, 0 for none. n_groups: of clips that are drawn together.
        ablation: the row that all others are compared with.
        betas: runs that differ in the oversampling exponent.
        quality: (K,) share of a class's labels that raters confirmed, NaN where unknown; None if it is not given.
        list_words: the options that say how the lists are read, for `enhance`; None: the scores are of other classes.
        remarks: what else a reader of the tables must know.
        tree: the classes in the ontology. class_clips: of each class, those that surprise most, () if not looked for.
        gallery: clips about which models or labels disagree most.
    """

    rows: list[Row]
    enhanced: dict[str, dict]
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    n_clips: int
    missing: list[tuple[str, str]]
    work: Path
    out: Path
    lists: dict[str, Path]
    truth: Path | None = None
    command: str = ""
    metrics: tuple[str, ...] | None = None
    scales: tuple[str, ...] = ("clip",)
    resamples: int = 0
    n_groups: int = 0
    ablation: str | None = None
    betas: BetaSweep | None = None
    quality: np.ndarray | None = None
    list_words: tuple[str, ...] | None = None
    remarks: tuple[str, ...] = ()
    tree: tuple[Branch, ...] = ()
    class_clips: Sequence[ClassClips] = ()
    gallery: Gallery | None = None

    def row(self, name: str) -> Row | None:
        """Return a row by name; None if there is none."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def student(self) -> Row | None:
        """The row that the headline is about."""
        return next((row for name in PREFERRED if (row := self.row(name))), None)

    @property
    def has_named_sets(self) -> bool:
        """Whether the user named the sets of labels."""
        return tuple(self.lists) != (NOISY_SET,)

    @property
    def against(self) -> list[str]:
        """Every set of labels, in the order of the tables: the truth if known, then `lists`."""
        return [*([] if self.truth is None else [TRUE_SET]), *self.lists]

    @property
    def measured_against(self) -> list[str]:
        """The sets of labels that a row was measured against."""
        return [name for name in self.against if any(name in row.against() for row in self.rows)]

    @property
    def main(self) -> str:
        """The headline's set of labels: `truth` if known."""
        return self.against[0]

    def word(self, against: str) -> str:
        """Return a set's display name: true, noisy, given if no truth is known, or its own name."""
        if against == TRUE_SET:
            return "true"
        return "given" if against == NOISY_SET and self.truth is None else against

    def columns(self) -> list[Column]:
        """Return the columns of metrics in the table of rows."""
        columns = []
        for against in self.against:
            if self.metrics is not None:
                shown = [metric for option in self.metrics for metric in metrics_of(option)]
            else:
                of_main = USUAL_OF_MAIN if against == self.main else ()
                shown = [METRICS[key] for key in (SIDE_BY_SIDE if self.has_named_sets else (*USUAL, *of_main))]
            for metric in shown:
                only_of_main = self.metrics is None and metric.key in USUAL_OF_MAIN
                heading = metric.heading if only_of_main else f"{metric.heading} {self.word(against)}"
                columns.append(Column(against, metric, heading))
        return columns
