"""Reliability of a judge, measured on decoys, and what the precision would be with a judge who never errs.

With sensitivity s (share of right things found right) and false alarm f (share of wrong things found right), a share
p of right answers means (p - f) / (s - f) right things (Rogan and Gladen 1978). The interval adds up the uncertainty
of p, s and f after Lang and Reiczigel (2014): adjusted shares, so that it is honest at 0 and 100 %.
Where some given labels are wrong, or absent classes there, s is too low and f too high. The first raises the corrected
share, the second lowers it: with 4 % of both and a judge who never errs, 86 % become 89 %. Only the share as a whole
is corrected; errors of the judge that differ between parts are not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pseudolabel.reviews.items import ABSENT, GIVEN, Sample
from pseudolabel.reviews.judgements import RIGHT, UNSURE, WRONG
from pseudolabel.reviews.precision import Estimate, Z, wilson


def reliability(sample: Sample, decisions: Mapping[str, str]) -> dict[str, dict] | None:
    """Return {sensitivity, false_alarm}: share found right among given and absent decoys, with Wilson's interval.

    None where the sample has no decoys. Unsure ones are left out and counted; `share` is None where none is decided.
    """
    if not sample.decoys:
        return None
    found = {}
    for name, kind in (("sensitivity", GIVEN), ("false_alarm", ABSENT)):
        answers = [decisions.get(item.item) for item in sample.decoys if item.kind == kind]
        right, n = answers.count(RIGHT), answers.count(RIGHT) + answers.count(WRONG)
        low, high = wilson(right / n, n) if n else (0.0, 1.0)
        share = right / n if n else None
        found[name] = {"share": share, "low": low, "high": high, "judged": n, "unsure": answers.count(UNSURE)}
    return found


def corrected(estimate: Estimate, measured: Mapping[str, Mapping] | None) -> dict[str, float] | None:
    """Return {precision, low, high} for a judge without errors; None where decoys do not allow it.

    They do not where there are none of one kind, or the judge finds absent classes as often as given ones.
    """
    if not measured or estimate.precision is None or not all(row["judged"] for row in measured.values()):
        return None
    sensitivity, false_alarm = measured["sensitivity"], measured["false_alarm"]
    if sensitivity["share"] <= false_alarm["share"]:
        return None
    p, n = estimate.precision, estimate.effective_n
    precision = (p - false_alarm["share"]) / (sensitivity["share"] - false_alarm["share"])
    p_near, p_n = (p, math.inf) if math.isinf(n) else ((n * p + Z**2 / 2) / (n + Z**2), n + Z**2)
    s_near, s_n = _nearer(sensitivity)
    f_near, f_n = _nearer(false_alarm)
    gain = s_near - f_near
    if gain <= 0:
        return {"precision": min(1.0, max(0.0, precision)), "low": 0.0, "high": 1.0}
    middle = (p_near - f_near) / gain
    shift = 2 * Z**2 * (middle * s_near * (1 - s_near) / s_n - (1 - middle) * f_near * (1 - f_near) / f_n)
    variance = p_near * (1 - p_near) / p_n
    variance += middle**2 * s_near * (1 - s_near) / s_n + (1 - middle) ** 2 * f_near * (1 - f_near) / f_n
    half = Z * math.sqrt(variance) / gain
    low, precision, high = (
        min(1.0, max(0.0, value)) for value in (middle + shift - half, precision, middle + shift + half)
    )
    return {"precision": precision, "low": min(low, precision), "high": max(high, precision)}


def _nearer(row: Mapping) -> tuple[float, float]:
    """Return the share and number after one right and one wrong answer were added."""
    n = row["judged"] + 2
    return (row["share"] * row["judged"] + 1) / n, n
