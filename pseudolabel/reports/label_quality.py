"""Results of labels and targets judged against events: a table by window, label counts of clips, a figure of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel import layout
from pseudolabel.artefacts import whole_folder, write_csv, write_json, write_text
from pseudolabel.formatting import fraction, plural
from pseudolabel.records import write_run_record
from pseudolabel.reports.figures import LIST_COLOURS, Picture, draw_picture, panels_of
from pseudolabel.reports.report import finite
from pseudolabel.reports.text_tables import Table
from pseudolabel.scores.detection import Counts
from pseudolabel.scores.label_quality import distribution, more_often

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = "# Labels against events"  # the first line of results.md
MOST_LABELS = 10  # bars of the figure: 0 to 9, and 10 or more
MANY = 4  # the poster's "clips with more than 4 labels"
RATES = ("precision", "recall", "f1_micro", "f1_macro")


@dataclass(frozen=True)
class Judged:
    """Labels or targets at one length of windows.

    Args:
        name: such as `weak labels`, `25p, type I`, `scores > .5`.
        window: the scale. counts: of windows, by clip and class.
    """

    name: str
    window: str
    counts: Counts

    def rates(self) -> dict[str, float]:
        """Return precision, recall and F1 over all (window, class) pairs, and the mean F1 of classes."""
        rates = self.counts.rates()
        return {name: float(rates[name][0]) for name in RATES}


@dataclass(frozen=True)
class LabelQuality:
    """The outcome.

    Args:
        judged: what was judged, in the order of the table.
        label_counts: {`weak labels`, `10s`, ...: (N,) number of labels of each clip}.
        threshold: above which a target counts as a label, for the counts.
        n_classes, n_clips, missing, remarks: as in a `Detection`.
    """

    judged: Sequence[Judged]
    label_counts: dict[str, np.ndarray]
    threshold: float
    n_classes: int
    n_clips: int
    missing: Sequence[tuple[str, str]]
    remarks: Sequence[str] = ()


def table(quality: LabelQuality) -> Table:
    """Return the table: a row for each kind of labels and length of windows."""
    lines = []
    for each in quality.judged:
        n_given, n_true = (f"{int(part.sum()):,}" for part in (each.counts.n_found, each.counts.n_true))
        lines.append([each.name, each.window, n_given, n_true, *map(fraction, each.rates().values())])
    header = ["labels", "windows", "given", "true", "precision", "recall", "F1", "F1 macro"]
    return Table(header, lines, n_text=2)


def counts_table(quality: LabelQuality) -> Table:
    """Return how many labels clips have: the share with none, mean, and more than four."""
    lines = []
    weak = next(iter(quality.label_counts.values()))
    for name, counts in quality.label_counts.items():
        none, many = (f"{100 * np.mean(part):.1f} %" for part in (counts == 0, counts > MANY))
        lines.append([name, none, f"{counts.mean():.2f}", many, fraction(more_often(counts, weak, MANY), 2)])
    more = f"more than the first row, of its clips with over {MANY}"
    return Table(["labels", "clips without any", "mean", f"clips with over {MANY}", more], lines)


def results_markdown(quality: LabelQuality) -> str:
    """Return results.md."""
    parts = [HEAD, headline(quality), table(quality).markdown(), counts_table(quality).markdown()]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in notes(quality))]) + "\n"


def results_terminal(quality: LabelQuality) -> str:
    """Return the results for a terminal."""
    listed = "\n".join(f"- {line}" for line in notes(quality))
    return "\n\n".join([headline(quality), table(quality).folded(), counts_table(quality).folded(), listed])


def headline(quality: LabelQuality) -> str:
    """Return the first sentence: the best labels at the shortest windows."""
    shortest = quality.judged[-1].window
    of_windows = [each for each in quality.judged if each.window == shortest and ", type" not in each.name]
    best = max(of_windows, key=lambda each: np.nan_to_num(each.rates()["f1_micro"]))
    on = f"in windows of {shortest} of {plural(quality.n_clips, 'clip')}, {plural(quality.n_classes, 'class')}"
    rates = best.rates()
    said = f"precision {fraction(rates['precision'])}, recall {fraction(rates['recall'])}"
    return f"Nearest to the events {on}: {best.name}, F1 {fraction(rates['f1_micro'])} ({said})."


def notes(quality: LabelQuality) -> list[str]:
    """Return the legend."""
    return [
        "given: pairs of window and class that the labels state; true: pairs in which an event overlaps the window",
        "labels of a clip count for each of its windows; additions are compared with what the list lacked before",
        f"labels of clips by scores: classes with a window above {fraction(quality.threshold, 2)}",
        *quality.remarks,
    ]


def counts_picture(quality: LabelQuality) -> Picture:
    """Draw how many labels clips have, by kind of labels (the PSL poster's figure)."""
    return draw_picture("label_counts", _counts, quality)


def _counts(quality: LabelQuality) -> tuple[Figure, str, str]:
    figure, (axes,) = panels_of(3.6)
    n, width = len(quality.label_counts), 0.8 / max(len(quality.label_counts), 1)
    for i, (name, counts) in enumerate(quality.label_counts.items()):
        places = np.arange(MOST_LABELS + 1) + (i - (n - 1) / 2) * width
        colour = LIST_COLOURS[i % len(LIST_COLOURS)]
        axes.bar(places, 100 * distribution(counts, MOST_LABELS), width * 0.94, color=colour, label=name)
    axes.set_xticks(range(MOST_LABELS + 1), [*map(str, range(MOST_LABELS)), f"{MOST_LABELS}+"])
    axes.set(xlabel="labels of a clip", ylabel="clips (%)")
    axes.legend(frameon=False, fontsize=9)
    caption = f"Of scores: the classes with a window above {fraction(quality.threshold, 2)}."
    return figure, "How many labels clips have", caption


def write_label_quality(out: Path, quality: LabelQuality, record: dict, overwrite: bool) -> None:
    """Write the folder: metrics.json, label_counts.csv, figures/, results.md, missing.csv, run.json."""
    picture = counts_picture(quality)
    with whole_folder(out, overwrite, "evaluate") as folder:
        write_json(folder / layout.METRICS_FILE, metrics_record(quality))
        names = list(quality.label_counts)
        shares = [distribution(quality.label_counts[name], MOST_LABELS) for name in names]
        rows = [[n, *(f"{share[n]:.6f}" for share in shares)] for n in range(MOST_LABELS + 1)]
        write_csv(folder / "label_counts.csv", ["n_labels", *names], rows)
        (folder / "figures").mkdir()
        (folder / "figures" / f"{picture.name}.png").write_bytes(picture.png)
        write_text(folder / layout.RESULTS, results_markdown(quality))
        if quality.missing:
            write_csv(folder / layout.MISSING, (layout.CLIP_ID, "reason"), quality.missing)
        write_run_record(folder, record)


def metrics_record(quality: LabelQuality) -> dict[str, object]:
    """Return metrics.json."""
    rows = [
        {
            "labels": each.name,
            "window": each.window,
            **{name: int(getattr(each.counts, name).sum()) for name in ("hits", "n_found", "n_true")},
            **each.rates(),
        }
        for each in quality.judged
    ]
    counts = {
        name: {"mean": float(of_clips.mean()), "without": float(np.mean(of_clips == 0))}
        for name, of_clips in quality.label_counts.items()
    }
    return finite({
        "n_clips": quality.n_clips,
        "n_classes": quality.n_classes,
        "n_missing": len(quality.missing),
        "threshold": quality.threshold,
        "rows": rows,
        "label_counts": counts,
        "remarks": list(quality.remarks),
    })  # fmt: skip
