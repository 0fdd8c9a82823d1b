"""Candidates equal a nested loop written from PSLA's Algorithm 2, and name every label that speaks for them."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from pseudolabel.labels.additions import ERROR_NAMES
from pseudolabel.labels.candidates import Relations


def as_sets(labels, relations) -> dict[tuple[int, int], tuple[str, list[int]]]:
    """Return (clip, class) -> (error, labels that speak for it), in the order in which they are listed."""
    labels = sparse.csr_array(labels, dtype=bool)
    relations = {error: sparse.csr_array(relation, dtype=bool) for error, relation in relations.items()}
    relations = Relations(relations)
    candidates = relations.candidates(labels)
    offsets, because = relations.supporting_labels(labels, *candidates[:2])
    found = {}
    for row, (clip, k, types) in enumerate(zip(*(column.tolist() for column in candidates), strict=True)):
        found[clip, k] = (ERROR_NAMES[types], because[offsets[row] : offsets[row + 1]].tolist())
    assert len(found) == len(candidates[0])
    return found


def nested_loop(labels, relations) -> dict[tuple[int, int], tuple[str, list[int]]]:
    found = {}
    for clip, carried in enumerate(labels):
        for k in range(len(carried)):
            labels_of_clip = np.flatnonzero(carried).tolist()
            speak = {e: {label for label in labels_of_clip if rel[label, k]} for e, rel in relations.items()}
            errors = [error for error in ("I", "II") if speak.get(error)]
            if errors and not carried[k]:
                found[clip, k] = ("+".join(errors), sorted(set().union(*speak.values())))
    return found


def test_class_between_two_labels_is_proposed_by_both_types():
    children = np.zeros((3, 3), bool)  # 0 is the parent of 1, 1 of 2
    children[0, 1] = children[1, 2] = True
    ancestors = np.zeros((3, 3), bool)
    ancestors[1, 0] = ancestors[2, 1] = ancestors[2, 0] = True
    relations = {"I": children, "II": ancestors}
    assert as_sets([[1, 0, 1]], relations) == {(0, 1): ("I+II", [0, 2])}
    assert as_sets([[0, 0, 1]], relations) == {(0, 0): ("II", [2]), (0, 1): ("II", [2])}
    assert as_sets([[1, 1, 1], [0, 0, 0]], relations) == {}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_candidates_and_their_reasons_equal_the_nested_loop(data):
    n, k = data.draw(st.integers(1, 5)), data.draw(st.one_of(st.integers(1, 6), st.integers(63, 66)))
    labels = data.draw(arrays.arrays(bool, (n, k)))
    relations = {}
    for error in data.draw(st.sampled_from([("I",), ("II",), ("I", "II")])):
        relation = data.draw(arrays.arrays(bool, (k, k)))
        np.fill_diagonal(relation, False)
        relations[error] = relation
    found = as_sets(labels, relations)
    assert found == nested_loop(labels, relations)
    assert list(found) == sorted(found)


def test_a_clip_with_hundreds_of_labels_does_not_overflow():
    children = np.zeros((400, 400), bool)
    children[:399, 399] = True  # 399 labels all propose the last class; an int8 count would wrap round
    labels = np.ones((1, 400), bool)
    labels[0, 399] = False
    assert as_sets(labels, {"I": children}) == {(0, 399): ("I", list(range(399)))}


def test_relations_of_many_classes_are_never_dense():
    """20,000 classes: three dense relations would take 1.2 GB."""
    n = 20_000
    chain = sparse.eye_array(n, k=1, dtype=bool, format="csr")
    labels = sparse.csr_array(([True, True], ([0, 1], [5, n - 2])), shape=(2, n))
    tracemalloc.start()
    relations = Relations({"I": chain, "II": sparse.csr_array(chain.T)})
    found = relations.candidates(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [places.tolist() for places in found] == [[0, 0, 1, 1], [4, 6, n - 3, n - 1], [2, 1, 2, 1]]
    assert relations.supporting_labels(labels, *found[:2])[1].tolist() == [5, 5, n - 2, n - 2]
    assert peak < 600 << 20
