"""Selection of weights: the centre of the best average, whose weights are still there."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.training.validation import Selection, best_of, smoothed


def test_average_over_three_by_hand():
    assert smoothed([1, 2, 6, 1], 3)[1:3].tolist() == [3, 3] and np.isnan(smoothed([1, 2, 6, 1], 3)[[0, 3]]).all()
    assert smoothed([1, 2, 6], 1).tolist() == [1, 2, 6]


def test_a_series_that_is_too_short_is_averaged_over_what_there_is():
    assert smoothed([1, 4], 7).tolist() == [2.5, 2.5]
    assert smoothed([1, 2, 6], 5).tolist() == [3, 3, 3]


def test_a_single_peak_loses_to_a_broad_one():
    series = [0, 0, 9, 0, 0, 4, 5, 4, 0]
    assert best_of(series, 1) == 2 and best_of(series, 3) == 6
    assert best_of([1, 5, 5], 1) == 1  # the first of equals
    assert best_of([np.nan, 1, np.nan], 1) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=25), st.sampled_from([1, 3, 7]))
def test_the_chosen_weights_are_at_hand_at_every_time_and_few_are_kept(values, smooth):
    selection = Selection(smooth)
    for at, value in enumerate(values):
        selection.add(value, {"w": torch.tensor([float(at)])})
        assert float(selection.weights[selection.best]["w"]) == selection.best == best_of(values[: at + 1], smooth)
        assert len(selection.weights) <= smooth + 1


def test_weights_are_copied_and_only_where_they_may_be_chosen():
    weights, none = {"w": torch.zeros(1)}, Selection(keeps=False)
    kept = Selection()
    for selection in (kept, none):
        selection.add(1.0, weights)
    weights["w"] += 5
    assert float(kept.weights[0]["w"]) == 0 and none.weights == {} and none.best == 0


def test_waiting_begins_where_the_best_was_decided():
    selection, waited = Selection(3), []
    for value in [1, 2, 3, 2, 1, 1, 1]:
        selection.add(value, {})
        waited.append(selection.waited)
    assert waited == [0, 0, 0, 0, 1, 2, 3]  # the best centre, evaluation 2, is known after evaluation 3
