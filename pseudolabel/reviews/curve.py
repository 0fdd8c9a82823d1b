"""Curve: precision over thresholds, and the lowest threshold with which additions are as precise as wanted.

A floor raises every class's threshold to it: additions with score > floor stay. Additions by rule have no score, no
floor takes them away, and the curve leaves them out. A floor is chosen by the judgements that then
estimate it: it meets the target on average, and falls a little short in half of all samples (in two thirds, by 0.02 on
average, where hardly a floor could reach it). Where the interval's low end has to reach it, few fall short (2 to 4 % in
simulations, a fifth where hardly a floor could reach it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pseudolabel.errors import InputError
from pseudolabel.reviews.precision import Estimate, Weighed

MIN_JUDGED = 10  # fewer judged items above a floor: the estimate is too rough to choose it by
OWN_JUDGED = 30  # a class with so many judged items gets a floor of its own
POOLED, OWN, NONE_REACHES, UNCHANGED = "pooled floor", "own floor", "no floor reaches it", "as before"


@dataclass(frozen=True)
class Point:
    """What is left with `score > floor`, and how precise it is."""

    floor: float
    additions: int
    estimate: Estimate


@dataclass(frozen=True)
class NewThreshold:
    """The threshold of a class, None for no additions; `rule` says why it is that."""

    threshold: float | None
    rule: str


def precision_curve(weighed: Weighed, scores: np.ndarray, chosen: np.ndarray | None = None) -> list[Point]:
    """Return the precision at floor 0 (all scored additions) and at every judged score below the highest.

    Args:
        scores: the scores of all additions that the judged ones speak for, NaN where added by rule.
        chosen: (n,) bool, the judged items that count; all by default.
    """
    judged = np.array([math.nan if item.score is None else item.score for item in weighed.items])
    counted = ~np.isnan(judged) if chosen is None else chosen & ~np.isnan(judged)
    ascending = np.sort(scores[~np.isnan(scores)])
    points = []
    for floor in [-1.0, *np.unique(judged[counted])[:-1].tolist()] if counted.any() else []:
        left = len(ascending) - int(np.searchsorted(ascending, floor, side="right"))
        points.append(Point(max(floor, 0.0), left, weighed.estimate(counted & (judged > floor))))
    return points


def lowest_floor(points: Sequence[Point], target: float, sure: bool) -> Point | None:
    """Return the first point that reaches `target`: its estimate, or, to be `sure`, the low end of its interval."""
    for point in points:
        estimate = point.estimate
        if estimate.judged >= MIN_JUDGED and (estimate.low if sure else estimate.precision) >= target:
            return point
    return None


def thresholds_for(
    target: float,
    before: dict[str, float | None],
    weighed: Weighed,
    class_of: Sequence[str],
    scores: np.ndarray,
    sure: bool = False,
    own_judged: int = OWN_JUDGED,
) -> tuple[dict[str, NewThreshold], Point]:
    """Return the new threshold of every class, and the point of the pooled floor.

    A class with `own_judged` judged items has a floor of its own, or none of its additions where none reaches the
    target; all others have the lowest floor at which they reach it together. Thresholds only rise.

    Args:
        before: threshold of every class of the vocabulary, None where it has none.
        class_of, scores: (M,) of all additions.

    Raises:
        InputError: no pooled floor reaches the target.
    """
    item_class = np.array([item.class_id for item in weighed.items])
    scored = np.array([item.score is not None for item in weighed.items])
    classes, counts = np.unique(item_class[scored], return_counts=True)
    own = set(classes[counts >= own_judged].tolist())
    class_of, known = np.asarray(class_of), sorted(own)
    rest = scored & ~np.isin(item_class, known)
    if rest.sum() < MIN_JUDGED:  # too few to speak for the other classes: all speak for them
        pooled = precision_curve(weighed, scores)
    else:
        pooled = precision_curve(weighed, scores[~np.isin(class_of, known)], rest)
    point = lowest_floor(pooled, target, sure)
    if point is None:
        raise InputError(_out_of_reach(pooled, target, sure), "--target-precision", "Lower it, or judge more items.")
    new = {}
    for class_id, threshold in before.items():
        if threshold is None:
            new[class_id] = NewThreshold(None, UNCHANGED)
            continue
        reached, rule = point, POOLED
        if class_id in own:
            curve = precision_curve(weighed, scores[class_of == class_id], item_class == class_id)
            reached, rule = lowest_floor(curve, target, sure), OWN
        if reached is None:
            new[class_id] = NewThreshold(None, NONE_REACHES)
        else:
            raised = reached.floor > threshold
            new[class_id] = NewThreshold(max(threshold, reached.floor), rule if raised else UNCHANGED)
    return new, point


def _out_of_reach(points: Sequence[Point], target: float, sure: bool) -> str:
    what = "the low end of the interval" if sure else "the estimate"
    usable = [point for point in points if point.estimate.judged >= MIN_JUDGED]
    if not usable:
        return f"fewer than {MIN_JUDGED} additions with a score are judged: no floor can be chosen"
    best = max(usable, key=lambda point: point.estimate.low if sure else point.estimate.precision)
    reached = best.estimate.low if sure else best.estimate.precision
    return (
        f"no floor reaches {target:g}: {what} is at most {reached:.3f}, above {best.floor:.4g} "
        f"({best.estimate.judged} judged)"
    )
