"""The figure of a review: precision and what is left of the additions, over the floor of the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pseudolabel.reports.figures import BLUE, GREY, WIDTH_IN, Picture, draw_picture
from pseudolabel.reviews.curve import Point

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curve_figure(points: Sequence[Point]) -> Picture:
    """Draw the precision with its interval, and the additions that are left."""
    return draw_picture("curve", _curve, points)


def _curve(points: Sequence[Point]) -> tuple[Figure, str, str]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    floors = [point.floor for point in points]
    ends = ([getattr(point.estimate, name) for point in points] for name in ("low", "high"))
    above.fill_between(floors, *ends, step="post", color=BLUE, alpha=0.2, lw=0, label="95 % interval")
    above.step(floors, [point.estimate.precision for point in points], where="post", color=BLUE, label="estimate")
    above.set(ylim=(0, 1.02), ylabel="precision")
    above.legend(loc="lower right", frameon=False)
    below.step(floors, [point.additions for point in points], where="post", color=GREY)
    below.set(ylabel="additions left", xlabel="floor of the thresholds (score)", ylim=(0, None))
    caption = "Estimated from the judged sample; additions by rule have no score and are left out."
    return figure, "Precision over thresholds", caption
