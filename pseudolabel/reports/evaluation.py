"""What an evaluation found: rows, sets of labels, metrics; every report is written from it alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel.errors import InputError, first_few, nearest
from pseudolabel.reports.rows import Row

if TYPE_CHECKING:
    from pseudolabel.reports.beta_sweep import BetaSweep

# what --metrics names: (key of a run's metrics, heading, digits)
METRICS = {
    "map": (("map", "mAP", 3),),
    "auc": (("auc", "AUC", 3),),
    "d-prime": (("d_prime", "d'", 2), ("d_prime_class_mean", "mean d'", 2)),
    "lwlrap": (("lwlrap", "lwlrap", 3),),
    "map@3": (("map_at_3", "mAP@3", 3),),
    "accuracy": (("accuracy", "accuracy", 3),),
    "f1": (("f1_micro", "F1 micro", 3), ("f1_macro", "F1 macro", 3)),
}
SIDE_BY_SIDE = ("map", "auc", "d-prime")  # against several sets (PSLA, Table IX), where no others are asked for


@dataclass(frozen=True)
class Evaluation:
    """All that an evaluation found; the reports are written from it alone.

    Args:
        rows: rows of the table, in its order.
        enhanced: folder name -> `judge_additions` of it, and its `folder`.
        n_clips: evaluated clips; `missing`: (clip id, reason) of those of the list that were left out.
        has_truth: whether true labels are known for the evaluated clips.
        paths: what the reader may want to open next: `work`, `out`, `labels`, `truth`.
        sets: the sets of labels beside the truth: `noisy`, or the names of --labels-set.
        metrics: names of METRICS that the table of rows shall have; None: the usual ones.
        scales: the scales that were scored, `clip`, `10s`, ...
        ablation: the row that all others are compared with.
        betas: runs that differ in the oversampling exponent.
        remarks: what else must be known to read the tables rightly.
    """

    rows: list[Row]
    enhanced: dict[str, dict]
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    n_clips: int
    missing: list[tuple[str, str]]
    has_truth: bool
    paths: dict[str, Path | None] = field(default_factory=dict)
    sets: tuple[str, ...] = ("noisy",)
    metrics: tuple[str, ...] | None = None
    scales: tuple[str, ...] = ("clip",)
    ablation: str | None = None
    betas: BetaSweep | None = None
    remarks: tuple[str, ...] = ()

    def row(self, name: str) -> Row | None:
        """Return a row by name."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def main(self) -> str:
        """What the headline is measured against: `truth` where it is known."""
        return self.against[0]

    @property
    def against(self) -> list[str]:
        """Every set of labels, in the order of the tables: the truth where it is known, then `sets`."""
        return [*(["truth"] if self.has_truth else []), *self.sets]

    def columns(self) -> list[tuple[str, str, str, int]]:
        """Return the figures of the table of rows: (set, metric key, heading, digits)."""
        columns = []
        for against in self.against:
            if self.metrics is not None:
                shown = [part for name in self.metrics for part in METRICS[name]]
            elif self.sets != ("noisy",):
                shown = [METRICS[name][0] for name in SIDE_BY_SIDE]
            else:
                shown = [METRICS["map"][0], METRICS["d-prime"][0], *(METRICS["f1"] if against == self.main else ())]
            for key, heading, digits in shown:
                plain = self.metrics is None and key.startswith("f1")
                columns.append((against, key, heading if plain else f"{heading} {labels_word(self, against)}", digits))
        return columns


def labels_word(evaluation: Evaluation, against: str) -> str:
    """Return how the reader knows a set of labels: true, noisy, its name, or given where no truth is known."""
    if against == "truth":
        return "true"
    return against if against != "noisy" else "noisy" if evaluation.has_truth else "given"


def named_row(rows: list[Row], name: str, option: str) -> Row:
    """Return a row by name; InputError naming the nearest one where it is not there."""
    for row in rows:
        if row.name == name:
            return row
    names = [row.name for row in rows]
    remedy = f"Nearest: {found!r}." if (found := nearest(name, names)) else ""
    raise InputError(f"no row {name!r}; there are: {first_few(names, 8)}", option, remedy)
