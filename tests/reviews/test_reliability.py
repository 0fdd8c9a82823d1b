"""Reliability: what decoys say of a judge, and estimates that stay right though the judge errs."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.reviews.decoys import corrected, reliability
from pseudolabel.reviews.items import Item, make_sample
from pseudolabel.reviews.precision import Estimate, weigh, wilson


def decoys(n: int) -> list[Item]:
    return [Item(f"{kind}{i}", f"{kind}{i}", "k", kind) for kind in ("given", "absent") for i in range(n)]


def test_shares_worked_out_by_hand():
    sample = make_sample(decoys(4), "", {})
    answers = dict(
        zip([item.item for item in sample.items], ["right", "right", "wrong", "unsure", "wrong", "right"], strict=False)
    )
    found = reliability(sample, answers)
    assert found["sensitivity"] == {
        "share": 2 / 3, "low": wilson(2 / 3, 3)[0], "high": wilson(2 / 3, 3)[1], "judged": 3, "unsure": 1,
    }  # fmt: skip
    assert (found["false_alarm"]["share"], found["false_alarm"]["judged"]) == (1 / 2, 2)
    assert reliability(sample, {})["sensitivity"]["share"] is None
    assert reliability(make_sample([], "", {}), {}) is None


def measured(sensitivity: float, false_alarm: float, n: int) -> dict:
    return {"sensitivity": {"share": sensitivity, "judged": n}, "false_alarm": {"share": false_alarm, "judged": n}}


def test_correction_worked_out_by_hand():
    estimate = Estimate(0.74, 0.6, 0.8, 200, 200.0)
    assert corrected(estimate, measured(0.9, 0.1, 100))["precision"] == pytest.approx(0.8)  # .9 * .8 + .1 * .2
    found = corrected(Estimate(0.97, 0.9, 1, 100, 100.0), measured(0.9, 0.1, 20))
    assert found["precision"] == found["high"] == 1
    assert corrected(estimate, measured(0.5, 0.5, 100)) is None
    assert corrected(estimate, measured(0.5, None, 0)) is None
    assert corrected(estimate, None) is None
    wide, narrow = (corrected(estimate, measured(0.9, 0.1, n)) for n in (10, 1000))
    assert wide["high"] - wide["low"] > narrow["high"] - narrow["low"]


def test_corrected_interval_covers_the_truth_though_the_judge_errs(simulate_ledger, sample_of):
    right_of = {"given": 0.9, "absent": 0.15}
    plain, fixed, widths = 0, 0, []
    for seed in range(50):
        if seed % 10 == 0:
            ledger, truth = simulate_ledger(4000, 60, 0.9, seed)
        drawn, rng = sample_of(ledger, seed), np.random.default_rng(seed)
        sample = make_sample([*drawn.items, *decoys(40)], "", drawn.strata)
        answers = {}
        for item in sample.items:
            kind = item.kind if item.kind != "added" else "given" if truth[int(item.item)] else "absent"
            answers[item.item] = "right" if rng.random() < right_of[kind] else "wrong"
        estimate = weigh(sample, answers).estimate()
        found = corrected(estimate, reliability(sample, answers))
        plain += estimate.low <= truth.mean() <= estimate.high
        fixed += found["low"] <= truth.mean() <= found["high"]
        widths.append(found["high"] - found["low"])
    assert plain < 25  # such a judge finds .825 right
    assert fixed >= 45
    assert np.mean(widths) < 0.3
