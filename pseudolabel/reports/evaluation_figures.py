"""Figures of an evaluation: mAP of every row, change of AP by class, labels and additions by class."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.formatting import fraction
from pseudolabel.reports.analysis_figures import analysis_pictures
from pseudolabel.reports.beta_sweep import beta_pictures
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.figures import (
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    PURPLE,
    SET_COLOURS,
    VERMILION,
    Picture,
    draw_picture,
    panels_of,
)
from pseudolabel.reports.inline_svg import INK, PAPER
from pseudolabel.reports.rows import Row, Spread
from pseudolabel.scores.windows import CLIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLASSES_SHOWN = 40
BARS_SHOWN, ROWS_SHOWN, PANELS_SHOWN = 12, 60, 6  # rows of an evaluation: as bars, as lines, as panels
LONGEST_NAME = 28  # of a class name beside a bar


def evaluation_figures(evaluation: Evaluation, folder: Path) -> list[Picture]:
    """Draw every figure that the evaluation has numbers for, and write them to `folder` as PNG."""
    pictures = []
    if evaluation.rows:
        draw = _rows_figure if len(evaluation.rows) <= BARS_SHOWN else _many_rows_figure
        pictures.append(draw_picture("map", draw, evaluation))
    if evaluation.row("weak") and len(evaluation.rows) > 1 and _compared(evaluation):
        pictures.append(draw_picture("ap_change", _ap_change_figure, evaluation))
    if evaluation.betas is not None:
        pictures += beta_pictures(evaluation.betas)
    pictures += analysis_pictures(evaluation)
    for name, judged in evaluation.enhanced.items():
        file_name = name.replace("/", "_")
        pictures.append(draw_picture(f"labels-{file_name}", _labels_figure, name, judged))
        if "labels_before" in judged and judged["n_added"]:
            pictures.append(draw_picture(f"additions-{file_name}", _additions_figure, name, judged))
    for picture in pictures:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    return pictures


def _rows_figure(evaluation: Evaluation) -> tuple[Figure, str, str]:
    """Draw each row's mAP against each set of labels: bars, whiskers of one standard deviation, a dot per run."""
    sets, rows = evaluation.measured_against, evaluation.rows
    figure, (axes,) = panels_of(3.8)
    width = 0.8 / len(sets)
    turned = 90 if len(rows) * len(sets) > 16 else 0
    for i, (against, colour) in enumerate(zip(sets, itertools.cycle(SET_COLOURS), strict=False)):
        offset = (i - (len(sets) - 1) / 2) * width
        for x, row in enumerate(rows):
            spread = row.spread(against, "map")
            label = f"against {evaluation.word(against)} labels" if x == 0 else None
            axes.bar(x + offset, spread.mean, width * 0.94, color=colour, label=label)
            axes.errorbar(x + offset, spread.mean, spread.sd or 0, color=INK, capsize=3 if spread.sd else 0, lw=1.2)
            ink = "white" if colour == BLUE else "#111111"  # on a bar, also of a dark page
            number = {"ha": "center", "va": "bottom", "fontsize": 8, "color": ink, "rotation": turned}
            axes.text(x + offset, 0.012, f"{spread.mean:.3f}".lstrip("0"), **number)
            _draw_runs(axes, x + offset, row.values(against, "map"), width * 0.15)
    names = [row.name for row in rows]
    axes.set_xticks(range(len(names)), names, **({"rotation": 30, "ha": "right"} if sum(map(len, names)) > 90 else {}))
    axes.set(ylabel="mAP (macro mean)", xlabel="row: what the model was trained on")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.08)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, ncols=min(len(sets), 3), loc="lower right", bbox_to_anchor=(1, 1))
    caption = "Mean over seeds; whiskers: one standard deviation; dots: single runs."
    return figure, "mAP of teacher and students", caption


def _many_rows_figure(evaluation: Evaluation) -> tuple[Figure, str, str]:
    """Draw the mAP of many rows, a line each: a mark for each set of labels, whiskers of one standard deviation."""
    rows = evaluation.rows[:ROWS_SHOWN]
    figure, (axes,), heights = _class_panels([_short(row.name) for row in rows], 1.2 + 0.21 * len(rows))
    for i, against in enumerate(evaluation.measured_against):
        spreads = [row.spread(against, "map") for row in rows]
        look = {"fmt": MARKERS[i % len(MARKERS)], "ms": 5, "color": SET_COLOURS[i % len(SET_COLOURS)], "lw": 1.2}
        label = f"against {evaluation.word(against)} labels"
        deviations = [spread.sd or 0 for spread in spreads]
        axes.errorbar([spread.mean for spread in spreads], heights, xerr=deviations, capsize=2, label=label, **look)
    axes.grid(axis="y", visible=True)
    axes.set(xlabel="mAP (macro mean)")
    axes.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
    caption = "Mean over seeds; whiskers: one standard deviation."
    if len(evaluation.rows) > len(rows):
        caption += f" The first {len(rows)} rows; {len(evaluation.rows) - len(rows)} others are in metrics.json."
    return figure, "mAP of all rows", caption


def _draw_runs(axes: Axes, x: float, values: Sequence[float], step: float) -> None:
    """Draw a dot for each of several runs, side by side around `x`."""
    if len(values) > 1:
        at = x + (np.arange(len(values)) - (len(values) - 1) / 2) * step
        axes.plot(at, values, "o", ms=3.5, mfc=PAPER, mec=INK, mew=0.7, ls="none")


def _compared(evaluation: Evaluation) -> list[Row]:
    return [row for row in evaluation.rows if row.name not in ("weak", "teacher") and row.scale == CLIP]


def _ap_change_figure(evaluation: Evaluation) -> tuple[Figure, str, str]:
    """Draw the change of each class's AP against the weak row, one panel per student row, classes by mean change."""
    against, compared = evaluation.main, _compared(evaluation)
    rows = compared[:PANELS_SHOWN]
    base = evaluation.row("weak").class_mean(against, "ap")
    changes = np.stack([row.class_mean(against, "ap") - base for row in rows])
    n_positive = rows[0].runs[0].classes[against]["n_positive"]
    scored = np.flatnonzero(np.isfinite(changes).all(axis=0))
    order = scored[np.argsort(changes[:, scored].mean(axis=0), kind="stable")][::-1]
    n_hidden = max(len(order) - CLASSES_SHOWN, 0)
    if n_hidden:
        order = np.concatenate([order[: CLASSES_SHOWN // 2], order[-(CLASSES_SHOWN // 2) :]])
    names = [f"{_short(evaluation.class_names[k])} ({int(n_positive[k])})" for k in order]
    figure, panels, heights = _class_panels(names, 1.3 + 0.21 * len(names), len(rows), sharex=True)
    for axes, row, change in zip(panels, rows, changes, strict=True):
        axes.barh(heights, change[order], 0.75, color=np.where(change[order] >= 0, BLUE, VERMILION))
        axes.axvline(0, color=INK, lw=0.8)
        mean = Spread(float(change[scored].mean()), None, 1).signed() if len(scored) else "-"
        axes.set_title(f"{row.name}\nmean {mean}", fontsize=10)
        axes.locator_params(axis="x", nbins=4 if len(rows) > 2 else 8)
    figure.supxlabel("change of AP against the row 'weak'", fontsize=10)
    caption = (
        f"AP against the {evaluation.word(against)} labels, means over seeds; in brackets the class's positive clips. "
        "Classes with few clips move most by chance."
    )
    if n_hidden:
        caption += f" {CLASSES_SHOWN // 2} classes at each end are shown; {n_hidden} between them are in per_class.csv."
    if len(compared) > len(rows):
        caption += f" The first {len(rows)} rows; {len(compared) - len(rows)} others are in per_class.csv."
    return figure, "Change of AP by class", caption


def _labels_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Draw each class's labels before and after; if the truth is known, right and wrong ones and how many are true."""
    with_truth = "labels_before" in judged
    size = "true" if with_truth else "before"
    classes = _largest(judged["by_class"], lambda row: row[size] + row["added"])
    figure, (axes,), heights = _class_panels(_names(classes), 1.4 + 0.23 * len(classes))
    left = np.zeros(len(classes))
    for values, colour, label in _label_bars(classes, with_truth):
        axes.barh(heights, values, 0.72, left, color=colour, label=label)
        left += values
    if with_truth:
        true = [row["true"] for row in classes]
        axes.plot(true, heights, "|", color=PAPER, ms=14, mew=4, ls="none")
        axes.plot(true, heights, "|", color=INK, ms=13, mew=1.8, ls="none", label="true labels")
    axes.set(xlabel="clips with the label")
    axes.legend(frameon=False, ncols=5, loc="lower right", bbox_to_anchor=(1, 1), fontsize=9, columnspacing=1.2)
    caption = f"Training list before and after {name}."
    if with_truth:
        caption += " From a bar's right parts to the mark: labels that are still missing."
    return figure, f"Labels by class, {name}", caption + _hidden(judged["by_class"], classes)


def _label_bars(classes: Sequence[dict], with_truth: bool) -> list[tuple[np.ndarray, str, str]]:
    """Return (length for each class, colour, legend) for each part of the bars, from left to right."""

    def counts(key: str) -> np.ndarray:
        return np.array([row[key] for row in classes], dtype=float)

    if not with_truth:
        return [(counts("before"), GREY, "given"), (counts("added"), BLUE, "added")]
    return [
        (counts("before_right"), GREY, "given, right"),
        (counts("right"), BLUE, "added, right"),
        (counts("judged") - counts("right"), VERMILION, "added, wrong"),
        (counts("before_judged") - counts("before_right"), PURPLE, "given, wrong"),
    ]


def _additions_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Draw precision and recall of the additions, for each class with any added or missing."""
    candidates = [row for row in judged["by_class"] if row["added"] or row["missing"]]
    classes = _largest(candidates, lambda row: row["missing"] + row["added"])
    figure, panels, heights = _class_panels(_names(classes), 1.3 + 0.23 * len(classes), 2)
    overall = judged["by_error"]["all"]
    of_rates = (
        ("precision", "right of the added", "judged", BLUE),
        ("recall", "right of the missing", "missing", GREEN),
    )
    for axes, (rate, meaning, total, colour) in zip(panels, of_rates, strict=True):
        for height, row in zip(heights, classes, strict=True):
            if row[rate] is not None:
                axes.barh(height, row[rate], 0.72, color=colour)
            axes.text(1.02, height, f"{row['right']} of {row[total]}", va="center", fontsize=8)
        if overall[rate] is not None:
            axes.axvline(overall[rate], color=INK, lw=1, ls="--", label=f"all classes: {fraction(overall[rate], 2)}")
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9, borderpad=0.1)
        axes.set(xlim=(0, 1.28), xlabel=f"{rate}: {meaning}")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    caption = "Classes by how many labels were missing or added; no bar: nothing was added, or nothing was missing."
    return figure, f"Additions by class, {name}", caption + _hidden(candidates, classes)


def _class_panels(
    names: Sequence[str], height_in: float, n: int = 1, **options: object
) -> tuple[Figure, list[Axes], np.ndarray]:
    """Return a figure, its panels with one line per class, and the heights of the lines, the first at the top."""
    figure, panels = panels_of(height_in, n, sharey=True, **options)
    heights = np.arange(len(names))[::-1]
    panels[0].set_yticks(heights, names, fontsize=8.5)
    for axes in panels:
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.01)
    return figure, panels, heights


def _names(classes: Sequence[dict]) -> list[str]:
    return [_short(row["name"]) for row in classes]


def _largest(classes: list[dict], size: Callable[[dict], float]) -> list[dict]:
    """Return the largest classes, largest first, ties in vocabulary order, without empty ones."""
    return sorted(filter(size, classes), key=lambda row: -size(row))[:CLASSES_SHOWN]


def _hidden(classes: list[dict], shown: list[dict]) -> str:
    n_hidden = len(classes) - len(shown)
    return f" The largest {len(shown)} classes; {n_hidden} others are in metrics.json." if n_hidden else ""


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
