"""Balanced sampling: PSLA's sum rule as fractions, and its identity."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from pseudolabel.labels.sampling import balanced_weights


def test_weight_is_the_sum_of_the_inverse_counts_of_a_clips_labels():
    labels = [
        [1, 1, 0, 0],  # speech, dog
        [1, 0, 0, 0],  # speech
        [1, 0, 1, 0],  # speech, rain
        [0, 0, 1, 0],  # rain
        [0, 0, 0, 0],  # nothing
    ]
    third, half = Fraction(1, 3), Fraction(1, 2)
    expected = [third + 1, third, third + half, half, Fraction(0)]
    weights = balanced_weights(sparse.csr_array(np.array(labels, bool)))
    assert np.allclose(weights, [float(weight) for weight in expected], rtol=1e-15, atol=0)
    assert weights.dtype == np.float64


@settings(max_examples=30, deadline=None)
@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans()))
def test_weights_sum_to_the_number_of_classes_that_occur(labels):
    weights = balanced_weights(sparse.csr_array(labels))
    assert np.isclose(weights.sum(), labels.any(axis=0).sum())
    assert ((weights > 0) == labels.any(axis=1)).all()


def test_many_labels_count_without_overflow():
    labels = np.ones((70_000, 1), bool)  # more than 16 bits, and bool sums would stop at 1
    assert np.allclose(balanced_weights(sparse.csr_array(labels)), 1 / 70_000)
