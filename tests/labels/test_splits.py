"""Folds: whole groups, every clip in one, about equal in size, decided by names and seed alone."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.errors import InputError
from pseudolabel.labels.splits import Fold, fold_numbers, parse_fold

clips = st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(0, 3))), min_size=1, max_size=40)


def table(drawn) -> tuple[list[str], sparse.csr_array]:
    """Return groups and labels of drawn clips."""
    matrix = np.zeros((len(drawn), 4), bool)
    for row, (_, labels) in enumerate(drawn):
        matrix[row, sorted(labels)] = True
    return [f"g{group}" for group, _ in drawn], sparse.csr_array(matrix)


@settings(max_examples=60)
@given(clips, st.integers(2, 5), st.integers(0, 3), st.booleans(), st.randoms())
def test_groups_stay_whole_folds_are_of_about_equal_size_and_order_does_not_matter(drawn, n, seed, stratify, random):
    groups, labels = table(drawn)
    labels = labels if stratify else None
    if len(set(groups)) < n:
        with pytest.raises(InputError, match=rf"--fold: {len(set(groups))} groups of clips cannot make {n} folds"):
            fold_numbers(groups, n, seed, labels)
        return
    numbers = fold_numbers(groups, n, seed, labels)
    assert numbers.shape == (len(groups),) and set(numbers) <= set(range(1, n + 1))  # every clip in exactly one
    assert len(set(zip(groups, numbers.tolist(), strict=True))) == len(set(groups))  # no group in two
    sizes = [int((numbers == fold).sum()) for fold in range(1, n + 1)]
    assert max(sizes) - min(sizes) <= max(Counter(groups).values())
    order = list(range(len(groups)))
    random.shuffle(order)
    shuffled = fold_numbers([groups[i] for i in order], n, seed, labels if labels is None else labels[order])
    assert shuffled.tolist() == numbers[order].tolist()


def test_folds_without_groups_differ_by_one_clip_at_most():
    sizes = Counter(fold_numbers([f"c{i}" for i in range(23)], 5).tolist())
    assert sorted(sizes.values()) == [4, 4, 5, 5, 5]


def test_large_groups_are_balanced_by_small_ones():
    groups = ["long"] * 4 + ["a", "b", "c", "d"]
    numbers = fold_numbers(groups, 2)
    assert set(numbers[:4]) == {1} and set(numbers[4:]) == {2}


def test_division_follows_from_names_and_seed():
    names = [f"c{i}" for i in range(40)]
    first = fold_numbers(names, 4, seed=1)
    assert first.tolist() == fold_numbers(names, 4, seed=1).tolist() != fold_numbers(names, 4, seed=2).tolist()
    by_checksum = sorted(names, key=lambda name: hashlib.blake2b(f"1 {name}".encode(), digest_size=8).digest())
    assert [first[names.index(name)] for name in by_checksum] == [1, 2, 3, 4] * 10


def test_rare_classes_are_spread():
    labels = np.zeros((100, 3), bool)
    labels[:80, 0] = labels[80:95, 1] = labels[95:, 2] = True
    labels[::2, 0] = True  # of several labels the rarest decides
    numbers = fold_numbers([f"c{i}" for i in range(100)], 5, 0, sparse.csr_array(labels))
    for k, most in ((1, 3), (2, 1)):
        assert [int(labels[numbers == fold, k].sum()) for fold in range(1, 6)] == [most] * 5
    assert sorted(Counter(numbers.tolist()).values()) == [20] * 5


def test_rare_classes_are_spread_with_groups():
    """Four groups of two clips carry the rare class in one clip each, six others do not."""
    groups = [f"g{i // 2}" for i in range(20)]
    labels = np.ones((20, 2), bool)
    labels[:, 1] = False
    labels[[0, 2, 4, 6], 1] = True
    for seed in range(5):
        numbers = fold_numbers(groups, 2, seed, sparse.csr_array(labels))
        assert [int(labels[numbers == fold, 1].sum()) for fold in (1, 2)] == [2, 2]


def test_clips_without_labels_are_divided_too():
    numbers = fold_numbers(list("abcdef"), 3, 0, sparse.csr_array((6, 2), dtype=bool))
    assert sorted(numbers.tolist()) == [1, 1, 2, 2, 3, 3]


def test_fold_is_written_as_number_and_count():
    assert parse_fold("2/5") == Fold(2, 5) and str(Fold(2, 5)) == "2/5" and Fold(2, 5).name == "fold2of5"


@pytest.mark.parametrize("text", ["", "1", "0/5", "6/5", "1/1", "-1/5", "1/5/2", "a/b", "1.0/5", "²/5", "1/"])
def test_what_is_no_fold_is_refused(text):
    with pytest.raises(ValueError, match=r"must be"):
        parse_fold(text)
