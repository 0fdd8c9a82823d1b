"""The held-out list: enough clips of each class, drawn by seed and clip id alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import class_counts, gini
from pseudolabel.labels.splits import held_out_rows
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

NAMES = ("speech", "dog", "rain", "never")
FOUR = Vocabulary("four", NAMES, NAMES, ("",) * 4)


def table(sets, clip_ids=None) -> LabelTable:
    return LabelTable.from_sets(clip_ids or [f"c{i}" for i in range(len(sets))], sets, FOUR)


def held_out_ids(labels: LabelTable, *arguments) -> set[str]:
    return {labels.clip_ids[row] for row in held_out_rows(labels, *arguments)}


def test_a_common_class_is_served_by_the_clips_of_the_rare_ones():
    labels = table([{"rain", "speech"}, {"rain", "speech"}, {"dog"}, {"dog"}, {"dog"}, {"speech"}, {"speech"}, set()])
    rows = held_out_rows(labels, 2)
    assert rows[:2].tolist() == [0, 1]  # both rain clips; speech then has its two
    assert len(rows) == 4
    assert set(rows[2:]) <= {2, 3, 4}


label_sets = st.lists(st.sets(st.sampled_from(NAMES[:3])), min_size=1, max_size=25)


@settings(max_examples=40, deadline=None)
@given(label_sets, st.integers(0, 3), st.randoms(use_true_random=False))
def test_every_class_has_enough_and_the_order_of_the_list_does_not_matter(sets, seed, random):
    labels = table(sets)
    counts = class_counts(labels.matrix)
    min_clips = int(min(counts[counts > 0], default=1))
    held = held_out_ids(labels, min_clips, seed)
    drawn = class_counts(labels.select(sorted(held)).matrix)
    assert (drawn[counts > 0] >= min_clips).all()
    assert len(held) <= min_clips * (counts > 0).sum()
    assert all(sets[int(clip_id[1:])] for clip_id in held)
    order = list(labels.clip_ids)
    random.shuffle(order)
    assert held_out_ids(labels.select(order), min_clips, seed) == held


def test_another_seed_draws_other_clips():
    labels = table([{"dog"}] * 50)
    draws = {tuple(held_out_rows(labels, 5, seed)) for seed in range(4)}
    assert len(draws) == 4
    assert tuple(held_out_rows(labels, 5, 0)) in draws


def test_a_class_with_too_few_clips_is_named():
    with pytest.raises(InputError, match=r"classes with fewer than 3 clips: 2, the first is 'dog' with 2\. Give 1"):
        held_out_rows(table([{"dog"}, {"dog"}, {"rain"}, *[{"speech"}] * 5]), 3)


def test_five_of_each_class_of_the_balanced_list_are_a_tenth_of_it(shared_data):
    labels = LabelTable.read(shared_data / "audioset" / "balanced_train_segments.csv", Vocabulary.load("audioset"))
    rows = held_out_rows(labels)
    counts = class_counts(labels.matrix[rows])
    assert counts.min() == 5
    assert 0.06 < len(rows) / len(labels) < 0.1  # Moore et al.: 1715 clips, from the full list
    assert (np.diff(rows) > 0).all()
    assert 0.35 < gini(counts) < 0.45
