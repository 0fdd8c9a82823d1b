"""Sets of classes as bits equal Python's sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from pseudolabel.labels.bits import contains, members, packed, packed_rows, united

SIZES = st.tuples(st.integers(0, 6), st.sampled_from([1, 5, 63, 64, 65, 130]))


def test_527_classes_take_72_bytes():
    assert packed(np.ones((3, 527), bool)).nbytes == 3 * 72


@settings(max_examples=60, deadline=None)
@given(SIZES.flatmap(lambda size: arrays.arrays(bool, size)))
def test_members_are_what_was_packed(marks):
    sets = packed(marks)
    rows, classes = members(sets)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == [tuple(pair) for pair in np.argwhere(marks)]
    rows, classes = (places.reshape(-1) for places in np.indices(marks.shape))
    assert contains(sets, rows, classes).tolist() == marks.reshape(-1).tolist()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_union_holds_what_any_label_brings(data):
    n, k = data.draw(SIZES)
    labels, relation = data.draw(arrays.arrays(bool, (n, k))), data.draw(arrays.arrays(bool, (k, k)))
    expected = [set().union(*(np.flatnonzero(relation[label]) for label in np.flatnonzero(clip))) for clip in labels]
    rows, classes = members(united(sparse.csr_array(labels), packed(relation)))
    assert [set(classes[rows == row].tolist()) for row in range(n)] == expected


@given(arrays.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 130))))
def test_sparse_rows_are_packed_as_dense_ones(members_of):
    assert np.array_equal(packed_rows(sparse.csr_array(members_of)), packed(members_of))
