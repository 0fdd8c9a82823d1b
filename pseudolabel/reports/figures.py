"""Figures of an evaluation: the same numbers give the same PNG bytes, whatever the user's matplotlib settings.

Colours are Okabe and Ito's, which colour-blind readers can tell apart. Drawn with the Agg canvas, no display needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.reports.evaluation import labels_word
from pseudolabel.scores.windows import CLIP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pseudolabel.reports.evaluation import Evaluation

BLUE, GREEN, ORANGE, VERMILION, PURPLE, GREY = "#0072B2", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#8a8a8a"
WIDTH_IN, DPI = 9.0, 150  # 1350 pixels, sharp when shown 900 wide
CLASSES_SHOWN = 40
SET_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", VERMILION, "#F0E442")
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Picture:
    """A figure on a page: file name, heading, what it shows, and its PNG bytes."""

    name: str
    title: str
    caption: str
    png: bytes


def evaluation_figures(evaluation: Evaluation, folder: Path) -> list[Picture]:
    """Draw every figure that the evaluation has numbers for, and write them as PNG into `folder`."""
    pictures = []
    if evaluation.rows:
        pictures.append(draw_picture("map", rows_figure, evaluation))
    if evaluation.row("weak") and len(evaluation.rows) > 1 and _compared(evaluation):
        pictures.append(draw_picture("ap_change", ap_change_figure, evaluation))
    if evaluation.betas is not None:
        from pseudolabel.reports.beta_figures import beta_pictures

        pictures += beta_pictures(evaluation.betas)
    for name, judged in evaluation.enhanced.items():
        pictures.append(draw_picture(f"labels-{name.replace('/', '_')}", label_counts_figure, name, judged))
        if "labels_before" in judged and judged["n_added"]:
            pictures.append(draw_picture(f"additions-{name.replace('/', '_')}", additions_figure, name, judged))
    for picture in pictures:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{picture.name}.png").write_bytes(picture.png)
    return pictures


def draw_picture(name: str, draw: Callable[..., tuple[Figure, str, str]], *what: object) -> Picture:
    import io

    from matplotlib.style import context

    with context(["default", STYLE]):
        figure, title, caption = draw(*what)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")
    return Picture(name, title, caption, buffer.getvalue())


def _panels(height_in: float, n: int = 1, **options: object) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False, **options)[0]
    return figure, list(axes)


def rows_figure(evaluation: Evaluation) -> tuple[Figure, str, str]:
    """Bars of mAP a row against each set of labels, whiskers of one standard deviation, a dot for every run."""
    sets = [name for name in evaluation.against if any(name in row.against() for row in evaluation.rows)]
    figure, (axes,) = _panels(3.8)
    width = 0.8 / len(sets)
    for place, (against, colour) in enumerate(zip(sets, itertools.cycle(SET_COLOURS), strict=False)):
        offset = (place - (len(sets) - 1) / 2) * width
        for x, row in enumerate(evaluation.rows):
            spread, values = row.spread(against, "map"), row.values(against, "map")
            label = f"against {labels_word(evaluation, against)} labels" if x == 0 else None
            axes.bar(x + offset, spread.mean, width * 0.94, color=colour, label=label)
            axes.errorbar(x + offset, spread.mean, spread.sd or 0, color="black", capsize=3 if spread.sd else 0, lw=1.2)
            narrow = len(evaluation.rows) * len(sets) > 16
            axes.text(x + offset, 0.012, f"{spread.mean:.3f}".lstrip("0"), ha="center", va="bottom", fontsize=8,
                      color="white" if colour == BLUE else "black", rotation=90 if narrow else 0)  # fmt: skip
            if len(values) > 1:
                jitter = (np.arange(len(values)) - (len(values) - 1) / 2) * width * 0.15
                axes.plot(x + offset + jitter, values, "o", ms=3.5, mfc="white", mec="black", mew=0.7, ls="none")
    names = [row.name for row in evaluation.rows]
    turned = {"rotation": 30, "ha": "right"} if sum(map(len, names)) > 90 else {}
    axes.set_xticks(range(len(names)), names, **turned)
    axes.set(ylabel="mAP (macro mean)", xlabel="row: what the model was trained on")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.08)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, ncols=min(len(sets), 3), loc="lower right", bbox_to_anchor=(1, 1))
    caption = "Mean over seeds; whiskers: one standard deviation; dots: single runs."
    return figure, "mAP of teacher and students", caption


def _compared(evaluation: Evaluation) -> list:
    return [row for row in evaluation.rows if row.name not in ("weak", "teacher") and row.scale == CLIP]


def ap_change_figure(evaluation: Evaluation) -> tuple[Figure, str, str]:
    """Change of each class's AP against the weak row, one panel a student row, classes by mean change."""
    against = evaluation.main
    rows = _compared(evaluation)
    base = evaluation.row("weak").class_mean(against, "ap")
    changes = np.stack([row.class_mean(against, "ap") - base for row in rows])
    n_positive = rows[0].runs[0].classes[against]["n_positive"]
    scored = np.flatnonzero(np.isfinite(changes).all(axis=0))
    order = scored[np.argsort(changes[:, scored].mean(axis=0), kind="stable")]
    n_hidden = max(len(order) - CLASSES_SHOWN, 0)
    if n_hidden:
        order = np.concatenate([order[: CLASSES_SHOWN // 2], order[-(CLASSES_SHOWN // 2) :]])
    names = [f"{_short(evaluation.class_names[k])} ({int(n_positive[k])})" for k in order]

    figure, panels = _panels(1.3 + 0.21 * len(order), len(rows), sharey=True, sharex=True)
    places = np.arange(len(order))
    for axes, row, change in zip(panels, rows, changes, strict=True):
        axes.barh(places, change[order], 0.75, color=np.where(change[order] >= 0, BLUE, VERMILION))
        axes.axvline(0, color="black", lw=0.8)
        mean = f"{change[scored].mean():+.3f}".replace("0.", ".", 1) if len(scored) else "-"
        axes.set_title(f"{row.name}\nmean {mean}", fontsize=10)
        axes.grid(axis="y", visible=False)
        axes.locator_params(axis="x", nbins=4 if len(rows) > 2 else 8)
        axes.margins(y=0.01)
    panels[0].set_yticks(places, names, fontsize=8.5)
    figure.supxlabel("change of AP against the row 'weak'", fontsize=10)
    caption = (
        f"AP against the {labels_word(evaluation, against)} labels, means over seeds; in brackets the class's positive "
        "clips. Classes with few clips move most by chance."
    )
    if n_hidden:
        caption += f" {CLASSES_SHOWN // 2} classes at each end are shown; {n_hidden} between them are in per_class.csv."
    return figure, "Change of AP by class", caption


def label_counts_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Labels of each class before and after; where the truth is known, right and wrong ones and how many are true."""
    known = "labels_before" in judged
    size = "true" if known else "before"
    classes = _most(judged["by_class"], lambda figures: figures[size] + figures["added"])
    places = np.arange(len(classes))[::-1]
    figure, (axes,) = _panels(1.4 + 0.23 * len(classes))
    given, added = (
        np.array([figures[key] for figures in classes], dtype=float)
        for key in (("before_judged", "judged") if known else ("before", "added"))
    )
    if known:
        given_right = np.array([figures["before_right"] for figures in classes], dtype=float)
        added_right = np.array([figures["right"] for figures in classes], dtype=float)
        parts = [
            (given_right, GREY, "given, right"),
            (added_right, BLUE, "added, right"),
            (added - added_right, VERMILION, "added, wrong"),
            (given - given_right, PURPLE, "given, wrong"),
        ]
    else:
        parts = [(given, GREY, "given"), (added, BLUE, "added")]
    left = np.zeros(len(classes))
    for values, colour, label in parts:
        axes.barh(places, values, 0.72, left, color=colour, label=label)
        left += values
    if known:
        true = [figures["true"] for figures in classes]
        axes.plot(true, places, "|", color="white", ms=14, mew=4, ls="none")
        axes.plot(true, places, "|", color="black", ms=13, mew=1.8, ls="none", label="true labels")
    axes.set_yticks(places, [_short(figures["name"]) for figures in classes], fontsize=8.5)
    axes.set(xlabel="clips with the label")
    axes.grid(axis="y", visible=False)
    axes.margins(y=0.01)
    axes.legend(frameon=False, ncols=5, loc="lower right", bbox_to_anchor=(1, 1), fontsize=9, columnspacing=1.2)
    caption = f"Training list before and after {name}."
    if known:
        caption += " From a bar's right parts to the mark: labels that are still missing."
    return figure, f"Labels by class, {name}", caption + _hidden(judged["by_class"], classes)


def additions_figure(name: str, judged: dict) -> tuple[Figure, str, str]:
    """Precision and recall of the additions of each class that got or lacked any."""
    candidates = [figures for figures in judged["by_class"] if figures["added"] or figures["missing"]]
    classes = _most(candidates, lambda figures: figures["missing"] + figures["added"])
    places = np.arange(len(classes))[::-1]
    figure, panels = _panels(1.3 + 0.23 * len(classes), 2, sharey=True)
    whole = judged["by_error"]["all"]
    titles = (("precision", "right of the added", "added"), ("recall", "found of the missing", "missing"))
    for axes, (rate, meaning, total) in zip(panels, titles, strict=True):
        for place, figures in zip(places, classes, strict=True):
            value = figures[rate]
            if value is not None:
                axes.barh(place, value, 0.72, color=BLUE if rate == "precision" else GREEN)
            part = f"{figures['right']} of {figures['judged' if total == 'added' else total]}"
            axes.text(1.02, place, part, va="center", fontsize=8, color="#333333")
        if whole[rate] is not None:
            axes.axvline(whole[rate], color="black", lw=1, ls="--", label=f"all classes: {whole[rate]:.2f}")
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), fontsize=9, borderpad=0.1)
        axes.set(xlim=(0, 1.28), xlabel=f"{rate}: {meaning}")
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
        axes.grid(axis="y", visible=False)
        axes.margins(y=0.01)
    panels[0].set_yticks(places, [_short(figures["name"]) for figures in classes], fontsize=8.5)
    caption = "Classes by how many labels were missing or added; no bar: nothing was added, or nothing was missing."
    return figure, f"Additions by class, {name}", caption + _hidden(candidates, classes)


def _most(classes: list[dict], size: Callable[[dict], float]) -> list[dict]:
    """Return the largest classes, largest first; equal ones in vocabulary order; without the empty ones."""
    return sorted((figures for figures in classes if size(figures)), key=lambda f: -size(f))[:CLASSES_SHOWN]


def _hidden(classes: list[dict], shown: list[dict]) -> str:
    n_hidden = len(classes) - len(shown)
    return f" The largest {len(shown)} classes; {n_hidden} others are in metrics.json." if n_hidden else ""


def _short(name: str, limit: int = 28) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"
