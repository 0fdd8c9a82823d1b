"""The figure of a training: its loss and what the held-out set says, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pseudolabel.reports.figures import BLUE, GREEN, GREY, VERMILION, WIDTH_IN, Picture, draw_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE = "learning_curve.png"
METRICS = (("validation_map", "mAP", BLUE), ("validation_d_prime", "d'", GREEN))


def learning_curve(history: Sequence[Mapping[str, object]], selected_step: int) -> Picture:
    """Draw the rows of history.csv; the step whose weights were kept is marked."""
    return draw_picture("learning_curve", _curves, history, selected_step)


def _curves(history: Sequence[Mapping[str, object]], selected_step: int) -> tuple[Figure, str, str]:
    from matplotlib.figure import Figure

    drawn = [metric for metric in METRICS if any(row[metric[0]] != "" for row in history)]
    figure = Figure(figsize=(WIDTH_IN, 2.2 * (1 + len(drawn))), layout="constrained")
    panels = figure.subplots(1 + len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    steps, marker = [row["step"] for row in history], "o" if len(history) <= 60 else ""
    panels[0].plot(steps, [float(row["loss"]) for row in history], color=VERMILION, marker=marker, ms=3, lw=1.4)
    panels[0].set(ylabel="training loss")
    for axes, (column, name, colour) in zip(panels[1:], drawn, strict=True):
        known = [(row["step"], float(row[column])) for row in history if row[column] != ""]
        axes.plot(*zip(*known, strict=True), color=colour, marker=marker, ms=3, lw=1.4)
        axes.set(ylabel=f"validation {name}")
    for axes in panels:
        axes.axvline(selected_step, color=GREY, lw=1, ls="--")
    panels[-1].set(xlabel="step (dashed: the weights that were kept)")
    return figure, "Learning curve", "Loss of the training pieces as they were seen; metrics of the held-out clips."
