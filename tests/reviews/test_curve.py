"""Curve: precision over floors worked out by hand, and thresholds that reach a target where one can."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.errors import InputError
from pseudolabel.reviews.curve import NONE_REACHES, OWN, POOLED, UNCHANGED, Target, precision_curve, thresholds_for
from pseudolabel.reviews.items import Item, make_sample
from pseudolabel.reviews.precision import weigh
from pseudolabel.reviews.stratified import float_column


def weighed_of(rows):
    """Rows are (class, score, right); all additions are judged."""
    items = [
        Item(str(i), f"c{i}", class_id, "added", "I", score=score, stratum="I", weight=1.0)
        for i, (class_id, score, _) in enumerate(rows)
    ]
    decisions = {str(i): "right" if right else "wrong" for i, (_, _, right) in enumerate(rows)}
    return weigh(make_sample(items, "", {"I": len(rows)}), decisions)


def test_curve_worked_out_by_hand():
    weighed = weighed_of([("a", 0.2, 0), ("a", 0.4, 1), ("b", 0.4, 0), ("b", 0.8, 1), ("b", None, 1)])
    points = precision_curve(weighed, np.array([0.2, 0.4, 0.4, 0.8, np.nan]))
    assert [(p.floor, p.additions, p.estimate.judged, p.estimate.precision) for p in points] == [
        (0, 4, 4, 0.5), (0.2, 3, 3, pytest.approx(2 / 3)), (0.4, 1, 1, 1),
    ]  # fmt: skip
    assert precision_curve(weighed_of([("b", None, 1)]), np.array([np.nan])) == []
    assert len(precision_curve(weighed_of([("b", 0.5, 1)]), np.array([0.5]))) == 1


def test_lowest_floor_that_reaches_the_target_is_a_wrong_ones_score():
    rows = [("a", 0.1 + i / 100, i not in (0, 3, 5)) for i in range(40)]
    weighed, scores = weighed_of(rows), np.array([score for _, score, _ in rows])
    before = {"a": 0.12, "b": 0.5, "none": None}
    new, point = thresholds_for(Target(0.98, own_judged=100), before, weighed, ["a"] * 40, scores)
    assert point.floor == rows[5][1]
    assert point.estimate.precision == 1
    assert new["a"].threshold == point.floor
    assert (new["a"].rule, new["b"].rule, new["none"].rule) == (POOLED, UNCHANGED, UNCHANGED)
    assert new["b"].threshold == 0.5
    assert new["none"].threshold is None
    new, _ = thresholds_for(Target(0.5), before, weighed, ["a"] * 40, scores)
    assert new["a"].threshold == 0.12  # nothing needs to rise


def test_class_with_enough_judgements_has_its_own_floor_or_none():
    good = [("good", 0.3 + i / 100, i >= 4) for i in range(40)]
    bad = [("bad", 0.3 + i / 100, i % 2) for i in range(40)]
    rest = [(f"k{i}", 0.3 + i / 100, i >= 10) for i in range(20)]
    rows = good + bad + rest
    before = {class_id: 0.3 for class_id, _, _ in rows}
    scores, class_of = np.array([row[1] for row in rows]), [row[0] for row in rows]
    new, point = thresholds_for(Target(0.95), before, weighed_of(rows), class_of, scores)
    assert (new["good"].threshold, new["good"].rule) == (good[2][1], OWN)  # 26 of 27
    assert (new["bad"].threshold, new["bad"].rule) == (None, NONE_REACHES)
    assert {new[f"k{i}"].threshold for i in range(20)} == {point.floor} == {rest[9][1]}
    assert point.additions == 10


def test_target_out_of_reach_is_named_with_the_best_there_is():
    rows = [("a", 0.1 + i / 100, i % 2) for i in range(40)]
    scores = np.array([row[1] for row in rows])
    with pytest.raises(InputError, match=r"no floor reaches 0\.9: the estimate is at most 0\.5"):
        thresholds_for(Target(0.9), {"a": 0.1}, weighed_of(rows), ["a"] * 40, scores)
    with pytest.raises(InputError, match="fewer than 10 additions"):
        thresholds_for(Target(0.9), {"a": 0.1}, weighed_of(rows[:9]), ["a"] * 9, scores[:9])


def test_to_be_sure_the_floor_is_higher_and_keeps_its_promise(simulate_ledger, sample_of):
    kept = {False: [], True: []}
    for seed in range(40):
        ledger, truth = simulate_ledger(4000, 40, 0.8, seed)
        sample, scores = sample_of(ledger, seed), float_column(ledger, "score")
        answers = {item.item: "right" if truth[int(item.item)] else "wrong" for item in sample.items}
        weighed, before = weigh(sample, answers), dict.fromkeys(ledger["class_id"].to_pylist(), 0.0)
        for sure, found in kept.items():
            try:
                target = Target(0.8, sure, own_judged=1000)
                _, point = thresholds_for(target, before, weighed, ledger["class_id"].to_pylist(), scores)
            except InputError:
                continue
            found.append(truth[scores > point.floor].mean())
    assert np.mean(kept[False]) == pytest.approx(0.8, abs=0.03)
    assert len(kept[False]) > len(kept[True]) >= 15
    assert np.mean(np.array(kept[True]) >= 0.8) >= 0.9
