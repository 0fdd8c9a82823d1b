"""The papers' figures: AP of every class, training clips of every class, labels of a clip, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.layout import HISTORY
from pseudolabel.reports.analyses import Correlation, training_counts
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.figures import BLUE, LIST_COLOURS, VALIDATION, VERMILION, Picture, draw_picture, panels_of
from pseudolabel.reports.rows import Row
from pseudolabel.scores.windows import CLIP
from pseudolabel.tables import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS_SHOWN = len(LIST_COLOURS)


def analysis_pictures(evaluation: Evaluation) -> list[Picture]:
    """Draw every figure that the evaluation has numbers for."""
    rows = [row for row in evaluation.rows if row.scale == CLIP][:ROWS_SHOWN]
    pictures = [draw_picture("class_ap", _class_ap_figure, evaluation, rows)] if rows else []
    if rows and training_counts(evaluation) is not None:
        pictures.append(draw_picture("ap_counts", _ap_counts_figure, evaluation, evaluation.student or rows[0]))
    for name, judged in evaluation.enhanced.items():
        file_name = name.replace("/", "_")
        pictures.append(draw_picture(f"class_counts-{file_name}", _class_counts_figure, name, judged))
        pictures.append(draw_picture(f"clip_labels-{file_name}", _clip_labels_figure, name, judged))
    histories = {row.name: read_histories(row) for row in rows}
    if any(histories.values()):
        pictures.append(draw_picture("learning_curves", _learning_figure, histories))
    return pictures


def _class_ap_figure(evaluation: Evaluation, rows: Sequence[Row]) -> tuple[Figure, str, str]:
    """Draw the AP of each class, sorted, with its spread over seeds (PSLA, Fig. 7)."""
    figure, (axes,) = panels_of(3.8)
    against = evaluation.main
    for row, colour in zip(rows, LIST_COLOURS, strict=False):
        ap = np.stack([run.classes[against]["ap"] for run in row.runs])
        mean = ap.mean(axis=0)
        order = np.argsort(-mean[np.isfinite(mean)], kind="stable")
        mean, at = mean[np.isfinite(mean)][order], np.arange(1, len(order) + 1)
        axes.plot(at, mean, color=colour, lw=1.4, label=row.name)
        if len(ap) > 1:
            sd = ap.std(axis=0, ddof=1)[np.isfinite(ap.mean(axis=0))][order]
            axes.fill_between(at, mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)
    axes.set(xlabel="class, by falling AP of each row", ylabel="AP", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)
    caption = f"Against the {evaluation.word(against)} labels; bands: one standard deviation over seeds."
    return figure, "AP of every class", caption


def _ap_counts_figure(evaluation: Evaluation, row: Row) -> tuple[Figure, str, str]:
    """Draw the AP of each class over its training clips (PSLA, Table VII)."""
    figure, (axes,) = panels_of(3.8)
    counts, ap = training_counts(evaluation), row.class_mean(evaluation.main, "ap")
    shown = (counts > 0) & np.isfinite(ap)
    axes.plot(counts[shown], ap[shown], "o", ms=4, mec="none", alpha=0.65, color=BLUE)
    axes.set(xscale="log", xlabel="training clips with the label", ylabel=f"AP of {row.name}", ylim=(0, 1.02))
    found = Correlation.of(counts, ap)
    caption = f"Each dot a class; Pearson's r of AP and number of clips, {found.n} classes: {found.text()}."
    return figure, "AP of a class over its training clips", caption


def _class_counts_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Draw how many clips have each label, before and after, classes by number before (PSLA, Fig. 4)."""
    figure, (axes,) = panels_of(3.4)
    before = np.array([of_class["before"] for of_class in judged["by_class"]])
    after = before + np.array([of_class["added"] for of_class in judged["by_class"]])
    order, at = np.argsort(-before, kind="stable"), np.arange(1, len(before) + 1)
    axes.plot(at, np.maximum(after[order], 0.5), ".", ms=4, color=VERMILION, label="after")
    axes.plot(at, np.maximum(before[order], 0.5), color=BLUE, lw=1.6, label="before")
    axes.set(yscale="log", xlabel="class, by clips before", ylabel="clips with the label")
    axes.legend(frameon=False, fontsize=9)
    n_empty = int((before == 0).sum())
    caption = f"Training list before and after {name}."
    caption += f" {n_empty} classes without a clip before are drawn at .5." if n_empty else ""
    return figure, f"Clips of every class, {name}", caption


def _clip_labels_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Draw how many clips have how many labels, before and after."""
    figure, (axes,) = panels_of(3.2)
    before, after = (np.array(judged["labels_per_clip"][when], float) for when in ("before", "after"))
    for offset, counts, colour, when in ((-0.2, before, BLUE, "before"), (0.2, after, VERMILION, "after")):
        mean = (counts * np.arange(len(counts))).sum() / max(counts.sum(), 1)
        axes.bar(np.arange(len(counts)) + offset, counts, 0.4, color=colour, label=f"{when}: {mean:.2f} on average")
    axes.set(xlabel="labels of a clip", ylabel="clips")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=9)
    return figure, f"Labels of a clip, {name}", f"Training list before and after {name}."


def _learning_figure(histories: Mapping[str, Sequence[Mapping[int, float]]]) -> tuple[Figure, str, str]:
    """Draw the validation mAP of every row over its steps, with the spread over seeds (PSLA, Fig. 9)."""
    figure, (axes,) = panels_of(3.6)
    for (name, runs), colour in zip(histories.items(), LIST_COLOURS, strict=False):
        if runs:
            _draw_history(axes, name, runs, colour)
    axes.set(xlabel="step", ylabel="mAP on the validation list")
    axes.legend(frameon=False, fontsize=9)
    return figure, "Learning curves", "Means over seeds; bands: one standard deviation."


def _draw_history(axes: Axes, name: str, runs: Sequence[Mapping[int, float]], colour: str) -> None:
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    values = np.array([[run[step] for step in steps] for run in runs])
    mean = values.mean(axis=0)
    axes.plot(steps, mean, color=colour, lw=1.5, label=name)
    if len(values) > 1:
        sd = values.std(axis=0, ddof=1)
        axes.fill_between(steps, mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)


def read_histories(row: Row) -> list[dict[int, float]]:
    """Return {step: validation mAP} of each run of a row that was validated."""
    column, found = VALIDATION[0][0], []
    for run in row.runs:
        path = Path(run.path) / HISTORY
        if not path.is_file():
            continue
        history = {int(line["step"]): float(line[column]) for line in read_csv(path) if line.get(column)}
        found += [history] if history else []
    return found
