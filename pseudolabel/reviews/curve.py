"""Precision over thresholds, and the lowest threshold that gives additions the wanted precision.

A floor raises every class's threshold to at least its value: additions with score > floor stay. Additions by rule have
no score, so no floor removes them, and the curve leaves them out. The judgements that choose a floor also estimate it:
it meets the target on average, and falls a little short in half of all samples (in two thirds, by 0.02 on average, if
hardly any floor could reach the target). If the interval's low end has to reach the target, few fall short (2 to 4 % in
simulations, a fifth if hardly any floor could reach it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pseudolabel.errors import InputError
from pseudolabel.labels.thresholds import read_thresholds
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.layout import THRESHOLDS
from pseudolabel.reports.figures import BLUE, GREY, Picture, draw_picture, panels_of
from pseudolabel.reviews.precision import Estimate, Weighed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MIN_JUDGED = 10  # with fewer judged items above a floor, the estimate is too rough to choose it by
OWN_JUDGED = 30  # a class with this many judged items gets its own floor
FLOORS = {"score": "floor of the thresholds (score)", "probability": "lowest probability"}
POOLED, OWN, NONE_REACHES, UNCHANGED = "pooled floor", "own floor", "no floor reaches it", "as before"


@dataclass(frozen=True)
class Point:
    """What is left with `score > floor`, and how precise it is."""

    floor: float
    additions: int
    estimate: Estimate


@dataclass(frozen=True)
class NewThreshold:
    """A class's new threshold, None for no additions; `rule` gives the reason."""

    threshold: float | None
    rule: str


@dataclass(frozen=True)
class Target:
    """The precision that a floor must reach: by its estimate or, if `sure`, by the low end of its interval.

    A class with `own_judged` judged items has its own floor.
    """

    precision: float
    sure: bool = False
    own_judged: int = OWN_JUDGED

    def value(self, point: Point) -> float:
        """Return the value of a point that is compared with the target."""
        return point.estimate.low if self.sure else point.estimate.precision

    def lowest_floor(self, points: Sequence[Point]) -> Point | None:
        """Return the first point that reaches the target with enough judged items."""
        usable = (point for point in points if point.estimate.judged >= MIN_JUDGED)
        return next((point for point in usable if self.value(point) >= self.precision), None)

    def out_of_reach(self, points: Sequence[Point]) -> InputError:
        """Return the error for a target that none of these points reaches."""
        usable = [point for point in points if point.estimate.judged >= MIN_JUDGED]
        message = f"fewer than {MIN_JUDGED} additions with a score are judged: no floor can be chosen"
        if usable:
            best = max(usable, key=self.value)
            message = (
                f"no floor reaches {self.precision:g}: {'the low end of the interval' if self.sure else 'the estimate'}"
                f" is at most {self.value(best):.3f}, above {best.floor:.4g} ({best.estimate.judged} judged)"
            )
        return InputError(message, "--target-precision", "Lower it, or judge more items.")


def thresholds_before(path: Path, ledger: pa.Table, vocabulary: Vocabulary) -> dict[str, float | None]:
    """Return every class's threshold, None if it has none: as `enhance` wrote it, or else from the ledger."""
    beside = path.with_name(THRESHOLDS)
    if beside.is_file():
        values = read_thresholds(beside, vocabulary).tolist()
        pairs = zip(vocabulary.class_ids, values, strict=True)
        return {class_id: None if value != value else value for class_id, value in pairs}
    pairs = zip(ledger["class_id"].to_pylist(), ledger["threshold"].to_pylist(), strict=True)
    thresholds = {class_id: threshold for class_id, threshold in pairs if threshold is not None}  # None: added by rule
    return {class_id: thresholds.get(class_id) for class_id in vocabulary.class_ids}


def precision_curve(weighed: Weighed, scores: np.ndarray, chosen: np.ndarray | None = None) -> list[Point]:
    """Return the precision at floor 0 (all scored additions) and at every judged score below the highest.

    Args:
        scores: of all additions that the judged ones represent, NaN if added by rule.
        chosen: (n,) bool, the judged items that count; by default all.
    """
    judged = _scores_of(weighed)
    counted = ~np.isnan(judged) if chosen is None else chosen & ~np.isnan(judged)
    ascending = np.sort(scores[~np.isnan(scores)])
    points = []
    for floor in [-1.0, *np.unique(judged[counted])[:-1].tolist()] if counted.any() else []:
        left = len(ascending) - int(np.searchsorted(ascending, floor, side="right"))
        points.append(Point(max(floor, 0.0), left, weighed.estimate(counted & (judged > floor))))
    return points


def _scores_of(weighed: Weighed) -> np.ndarray:
    return np.array([item.sureness for item in weighed.items])


def thresholds_for(
    target: Target,
    before: dict[str, float | None],
    weighed: Weighed,
    class_of: Sequence[str],
    scores: np.ndarray,
) -> tuple[dict[str, NewThreshold], Point]:
    """Return the new threshold of every class, and the point of the pooled floor.

    A class with `target.own_judged` judged items gets its own floor, or loses all its additions if no floor reaches the
    target; the others share the lowest floor at which they reach it together. Thresholds only rise.

    Args:
        before: threshold of every class of the vocabulary, None if it has none.
        class_of, scores: (M,) of all additions.

    Raises:
        InputError: no pooled floor reaches the target.
    """
    item_class, class_of = np.array([item.class_id for item in weighed.items]), np.asarray(class_of)
    scored = ~np.isnan(_scores_of(weighed))
    classes, counts = np.unique(item_class[scored], return_counts=True)
    own = classes[counts >= target.own_judged].tolist()
    rest = scored & ~np.isin(item_class, own)
    if rest.sum() < MIN_JUDGED:  # too few for the other classes alone: use all
        pooled = precision_curve(weighed, scores)
    else:
        pooled = precision_curve(weighed, scores[~np.isin(class_of, own)], rest)
    point = target.lowest_floor(pooled)
    if point is None:
        raise target.out_of_reach(pooled)
    own_floors = {
        class_id: target.lowest_floor(precision_curve(weighed, scores[class_of == class_id], item_class == class_id))
        for class_id in own
    }
    new = {
        class_id: _raised(threshold, own_floors.get(class_id, point), OWN if class_id in own_floors else POOLED)
        for class_id, threshold in before.items()
    }
    return new, point


def _raised(threshold: float | None, reached: Point | None, rule: str) -> NewThreshold:
    """Return a threshold raised to a floor; `reached` is None if no floor reaches the target."""
    if threshold is None:
        return NewThreshold(None, UNCHANGED)
    if reached is None:
        return NewThreshold(None, NONE_REACHES)
    return NewThreshold(max(threshold, reached.floor), rule if reached.floor > threshold else UNCHANGED)


def curve_figure(points: Sequence[Point], kind: str = "score") -> Picture:
    """Draw the precision with its interval, and the remaining additions, over the floor of the score or probability."""
    return draw_picture("curve", _curve, points, kind)


def _curve(points: Sequence[Point], kind: str) -> tuple[Figure, str, str]:
    figure, (above, below) = panels_of(4.6, n_rows=2, sharex=True, height_ratios=(2, 1))
    floors, estimates = [point.floor for point in points], [point.estimate for point in points]
    low, high = [estimate.low for estimate in estimates], [estimate.high for estimate in estimates]
    above.fill_between(floors, low, high, step="post", color=BLUE, alpha=0.2, lw=0, label="95 % interval")
    above.step(floors, [estimate.precision for estimate in estimates], where="post", color=BLUE, label="estimate")
    above.set(ylim=(0, 1.02), ylabel="precision")
    above.legend(loc="lower right", frameon=False)
    below.step(floors, [point.additions for point in points], where="post", color=GREY)
    below.set(ylabel="additions left", xlabel=FLOORS[kind], ylim=(0, None))
    caption = f"Estimated from the judged sample; additions by rule have no {kind} and are left out."
    return figure, "Precision over thresholds" if kind == "score" else "Precision over probabilities", caption
