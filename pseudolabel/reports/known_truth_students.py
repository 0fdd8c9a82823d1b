"""Students of enhanced labels, judged by the truth of held-out scenes: mAP, gap closed, differences over corpora."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.formatting import fraction, plural
from pseudolabel.layout import METRICS_FILE
from pseudolabel.reports.combined import read_metrics
from pseudolabel.reports.evaluation import TRUE_SET
from pseudolabel.reports.figures import GREY, MARKERS, SET_COLOURS, panels_of
from pseudolabel.reports.rows import Spread
from pseudolabel.reports.text_tables import Table
from pseudolabel.scores.bootstrap import interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEAK, REFERENCE, TRUE = "weak", "25p", "true"
TRAINED_ON = {
    WEAK: "weak labels",
    REFERENCE: "25p",
    "precision-0.7": "precision:0.7",
    "soft": "precision:0.7, soft targets",
    TRUE: "true labels",
}
HEADER = ("corpus", "sounds", "annotator", "row", "map")


@dataclass(frozen=True)
class Trained:
    """The students of one corpus and annotator: `maps` has the mAP against the true labels by row."""

    corpus: str
    sounds: str
    annotator: str
    maps: dict[str, float]

    @classmethod
    def read(cls, evaluation: Path, corpus: str, sounds: str, annotator: str) -> Trained:
        """Read an evaluation of runs of all rows of TRAINED_ON.

        Raises:
            InputError: a row is missing, or has no true labels.
        """
        rows = {row["row"]: row for row in read_metrics(evaluation)["rows"]}
        for row in TRAINED_ON:
            if TRUE_SET not in rows.get(row, {}):
                message = f"has no row {row!r} measured against true labels"
                raise InputError(message, evaluation / METRICS_FILE, "Evaluate again.")
        return cls(corpus, sounds, annotator, {row: rows[row][TRUE_SET]["map"]["mean"] for row in TRAINED_ON})


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences over corpora, and half the width of its t interval, None for fewer than two."""

    mean: float
    half: float | None

    @classmethod
    def over(cls, group: Sequence[Trained], row: str, base: str) -> Difference:
        """Return how much more mAP one row has than another."""
        spread = Spread.of(np.subtract(maps_of(group, row), maps_of(group, base)))
        if spread.sd is None:
            return cls(spread.mean, None)
        return cls(spread.mean, interval(spread.mean, 0.0, [spread.of_mean]).high - spread.mean)

    def text(self) -> str:
        """Return `+.031 [+.010, +.052]`, the mean alone if there is no interval."""
        if self.half is None:
            return signed(self.mean)
        return f"{signed(self.mean)} [{signed(self.mean - self.half)}, {signed(self.mean + self.half)}]"


def signed(value: float) -> str:
    """Return `+.012` or `-.012`."""
    return f"{'' if value < 0 else '+'}{fraction(value)}"


def grouped_by_annotator(students: Sequence[Trained]) -> dict[tuple[str, str], list[Trained]]:
    """Return the students of each kind of sounds and annotator."""
    grouped: dict[tuple[str, str], list[Trained]] = {}
    for trained in students:
        grouped.setdefault((trained.sounds, trained.annotator), []).append(trained)
    return grouped


def maps_of(group: Sequence[Trained], row: str) -> list[float]:
    """Return the mAP of a row on each corpus."""
    return [trained.maps[row] for trained in group]


def gap_closed(group: Sequence[Trained], row: str) -> float:
    """Return (row - weak) / (true - weak) of the mean mAP over corpora; NaN unless true labels are clearly better.

    They are where the interval of their gain is above 0, and on one corpus, which has none, where the gain is.
    """
    gap, ours = Difference.over(group, TRUE, WEAK), Difference.over(group, row, WEAK)
    return ours.mean / gap.mean if gap.mean > (gap.half or 0) else math.nan


def student_tables(students: Sequence[Trained]) -> list[tuple[str, Table]]:
    """Return for each kind of sounds and annotator a title and a table with a line for each row."""
    tables = []
    for (sounds, annotator), group in grouped_by_annotator(students).items():
        lines = []
        for row, words in TRAINED_ON.items():
            ours = maps_of(group, row)
            gap = "" if row in (WEAK, TRUE) else fraction(gap_closed(group, row), 2)
            over = ["" if row == base else Difference.over(group, row, base).text() for base in (WEAK, REFERENCE)]
            lines.append([words, Spread.of(ours).text(), gap, *over])
        header = ["trained on", "mAP", "gap closed", "over weak", f"over {REFERENCE}"]
        corpora = "one corpus" if len(group) == 1 else f"{len(group)} corpora"
        tables.append((f"{sounds}, annotator {annotator}, {corpora}", Table(header, lines)))
    return tables


def sentence(students: Sequence[Trained]) -> str:
    """Return the mean mAP of each row, over corpora and annotators."""
    means = [f"{fraction(float(np.mean(maps_of(students, row))))} on {words}" for row, words in TRAINED_ON.items()]
    return f"Mean mAP of {plural(len(students), 'student')} each: {'; '.join(means)}."


def student_lines(students: Sequence[Trained]) -> list[tuple[str, ...]]:
    """Return one line for each corpus, annotator and row."""
    return [
        (trained.corpus, trained.sounds, trained.annotator, row, f"{value:.6f}")
        for trained in students
        for row, value in trained.maps.items()
    ]


def draw_students(students: Sequence[Trained]) -> tuple[Figure, str, str]:
    """Draw what each row gains over 25p, with its interval, a colour for each kind of sounds and annotator."""
    grouped, rows = grouped_by_annotator(students), [row for row in TRAINED_ON if row != REFERENCE]
    figure, (axes,) = panels_of(1.6 + 0.18 * len(rows) * (len(grouped) + 1))
    for i, ((sounds, annotator), group) in enumerate(grouped.items()):
        differences = [Difference.over(group, row, REFERENCE) for row in rows]
        axes.errorbar(
            [difference.mean for difference in differences],
            np.arange(len(rows)) + (i + 0.5) / (len(grouped) + 1) - 0.5,
            xerr=[difference.half or 0 for difference in differences],
            fmt=MARKERS[i % len(MARKERS)],
            color=SET_COLOURS[i % len(SET_COLOURS)],
            label=f"{sounds}, annotator {annotator}",
            ms=5,
            lw=1.4,
        )
    axes.axvline(0, color=GREY, lw=1, ls="--")
    axes.set_yticks(range(len(rows)), [TRAINED_ON[row] for row in rows])
    axes.set(xlabel=f"mAP over that of the student on {REFERENCE} labels", ylim=(len(rows) - 0.4, -0.6))
    axes.legend(frameon=False, fontsize=8)
    caption = (
        f"Difference to the student on {REFERENCE} labels of the same corpus: mean over the corpora, with its 95 % t "
        "interval where there are several."
    )
    return figure, "What students gain", caption
