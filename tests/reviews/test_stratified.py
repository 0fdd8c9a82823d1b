"""Sampling: known inclusion probabilities, weights that add up to the ledger, strata as fine as the budget allows."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.reviews.stratified import (
    allocate,
    band_edges,
    band_names,
    band_numbers,
    draw,
    float_column,
    items_of,
    levels_of,
)

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def test_bands_hold_about_as_many_each_and_additions_by_rule_are_their_own():
    scores = np.array([*np.arange(101) / 100, np.nan, np.nan])
    edges = band_edges(scores, 4)
    assert edges == (0.25, 0.5, 0.75)
    assert band_names(edges) == ("0-0.25", "0.25-0.5", "0.5-0.75", "0.75-1", "by rule")
    assert np.bincount(band_numbers(scores, edges)).tolist() == [25, 25, 25, 26, 2]
    assert band_numbers([0.25], edges).tolist() == [1]


def test_no_band_is_empty_where_scores_are_few():
    assert band_edges(np.array([0.5] * 10), 5) == ()
    assert band_edges(np.array([np.nan]), 5) == ()
    for scores in ([0.1] * 9 + [0.9], [0.1, 0.9], [0.123, 0.1234, 0.12341]):
        edges = band_edges(np.array(scores), 5)
        assert np.bincount(band_numbers(scores, edges), minlength=len(edges) + 2)[:-1].all()


def test_allocation_worked_out_by_hand():
    assert allocate([10, 30], 8).tolist() == [2, 6]
    assert allocate([1, 5, 94], 10, 2).tolist() == [1, 2, 7]
    assert allocate([1, 5, 94], 500).tolist() == [1, 5, 94]
    assert allocate([3, 3, 3], 4).tolist() == [2, 1, 1]
    with pytest.raises(InputError, match="3 items are fewer than the 4"):
        allocate([5, 5], 3, 2)


@given(SIZES, st.integers(1, 300), st.integers(0, 3))
@settings(max_examples=80)
def test_allocation_spends_the_budget_within_the_bounds(sizes, total, least):
    floors = np.minimum(sizes, least)
    if floors.sum() > min(total, sum(sizes)):
        return
    counts = allocate(np.array(sizes), total, least)
    assert counts.sum() == min(total, sum(sizes))
    assert (counts >= floors).all()
    assert (counts <= sizes).all()
    larger = np.argsort(sizes)
    assert (np.diff(counts[larger][np.diff(np.array(sizes)[larger], prepend=-1) > 0]) >= -1).all()


@pytest.mark.parametrize(
    ("budget", "per_class", "kind"),
    [(3000, None, 3), (120, None, 2), (20, None, 1), (4, None, 1), (None, 3, 1), (150, 2, 1), (1, None, 1)],
)
def test_weights_add_up_to_every_stratum_and_strata_are_as_fine_as_the_budget_allows(
    simulate_ledger, budget, per_class, kind
):
    ledger, _ = simulate_ledger(1500, 20, 0.8)
    drawn = draw(ledger, band_edges(float_column(ledger, "score"), 5), budget, per_class, 0)
    assert len(set(drawn.rows.tolist())) == len(drawn.rows)
    assert sum(drawn.strata.values()) == 1500
    total = dict.fromkeys(drawn.strata, 0.0)
    for name, weight in zip(drawn.strata_of_rows, drawn.weights.tolist(), strict=True):
        total[name] += weight
    assert total == pytest.approx(drawn.strata)
    assert {name.count("|") + 1 for name in drawn.strata} == {kind}
    assert budget is None or len(drawn.rows) == min(budget, 1500)
    if per_class:
        counts, sizes = Counter(drawn.strata_of_rows), Counter(ledger["class_id"].to_pylist())
        assert all(counts[name] >= min(per_class, sizes[name]) for name in sizes)


def test_every_addition_is_drawn_as_often_as_its_weight_says(simulate_ledger):
    ledger, _ = simulate_ledger(60, 6, 0.8, seed=3)
    edges, n_seeds = band_edges(float_column(ledger, "score"), 2), 600
    for budget, per_class in ((24, None), (None, 2)):
        drawn, promised = np.zeros(60), np.zeros(60)
        for seed in range(n_seeds):
            found = draw(ledger, edges, budget, per_class, seed)
            drawn[found.rows] += 1
            promised[found.rows] = 1 / found.weights
        assert (promised > 0).all()
        spread = np.sqrt(promised * (1 - promised) / n_seeds)
        assert (np.abs(drawn / n_seeds - promised) <= 4.5 * spread + 1e-9).all()


def test_classes_are_spread_inside_strata_as_in_the_ledger(simulate_ledger):
    ledger, _ = simulate_ledger(4000, 12, 0.8)
    drawn = draw(ledger, (), 100, None, 0)  # 4 strata: types, and by rule
    types, bands, classes = (levels_of(ledger, ())[name].numbers for name in ("type", "band", "class"))
    for name in drawn.strata:
        rows = drawn.rows[np.array(drawn.strata_of_rows) == name]
        in_stratum = (types == types[rows[0]]) & (bands == bands[rows[0]])
        expected = np.bincount(classes[in_stratum], minlength=12) * len(rows) / in_stratum.sum()
        assert (np.abs(np.bincount(classes[rows], minlength=12) - expected) <= 1 + 1e-9).all()


def test_same_seed_draws_the_same_and_another_seed_another(simulate_ledger):
    ledger, _ = simulate_ledger(500, 10, 0.8)
    first, again, other = (draw(ledger, (0.5,), 50, None, seed).rows.tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_items_carry_what_the_ledger_says(simulate_ledger):
    ledger, _ = simulate_ledger(50, 4, 0.8)
    drawn = draw(ledger, (0.5,), 50, None, 0)
    items = items_of(ledger, drawn)
    assert [(i.clip_id, i.error, i.score) for i in items] == [
        (row["clip_id"], row["error"], row["score"]) for row in ledger.to_pylist()
    ]
    assert {item.weight for item in items} == {1.0}
    assert items[0].because == ("k000",)


def test_ledgers_that_cannot_be_sampled_are_named(simulate_ledger):
    ledger, _ = simulate_ledger(20, 2, 0.8)
    with pytest.raises(InputError, match="no additions"):
        draw(ledger.slice(0, 0), (), 5, None, 0)
    with pytest.raises(InputError, match="column 'score' is missing"):
        levels_of(ledger.drop_columns(["score"]), ())
    strange = ledger.set_column(2, "error", pa.array(["I"] * 19 + ["III"]))
    with pytest.raises(InputError, match="error 'III' in data row 20"):
        levels_of(strange, ())
    with pytest.raises(InputError, match="fewer than the"):
        draw(ledger, (), 3, 5, 0)
