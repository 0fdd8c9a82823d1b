"""Balance: PSLA's sum rule and Moore's max rule as fractions and as loops, the published figures on the real lists."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from pseudolabel.enhance import EnhanceOptions, enhance
from pseudolabel.errors import InputError
from pseudolabel.labels.balancing import (
    MOORE_BETAS,
    balanced_weights,
    beta_table,
    class_counts,
    gini,
    imbalance_ratio,
    label_cardinality,
    max_rule_weights,
    oversampled,
    oversampling_factors,
    priors,
)
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.vocabulary import Vocabulary

label_matrices = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.booleans())


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
@given(label_matrices)
def test_weights_sum_to_the_number_of_classes_that_occur(labels):
    weights = balanced_weights(sparse.csr_array(labels))
    assert np.isclose(weights.sum(), labels.any(axis=0).sum())
    assert ((weights > 0) == labels.any(axis=1)).all()


def test_many_labels_count_without_overflow():
    labels = np.ones((70_000, 1), bool)  # more than 16 bits, and bool sums would stop at 1
    assert np.allclose(balanced_weights(sparse.csr_array(labels)), 1 / 70_000)


# Four classes on six clips: 4, 2, 1 and 0 clips; the last clip has no label.
SIX_CLIPS = sparse.csr_array(
    np.array([[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0] * 4], bool)
)


def test_statistics_of_six_clips_are_the_fractions_of_the_paper():
    assert class_counts(SIX_CLIPS).tolist() == [4, 2, 1, 0]
    assert priors(SIX_CLIPS).tolist() == [4 / 6, 2 / 6, 1 / 6, 0]
    assert label_cardinality(SIX_CLIPS) == 7 / 6
    assert imbalance_ratio(class_counts(SIX_CLIPS)) == 4
    # equation 3 on 1, 2, 4: running sums 1, 3, 7
    assert gini(class_counts(SIX_CLIPS)) == pytest.approx(float(1 - Fraction(2 * 11, 3 * 7)), abs=1e-15)
    assert gini(class_counts(SIX_CLIPS), "usual") == pytest.approx(float(Fraction(2, 7)), abs=1e-15)


def test_max_rule_repeats_a_clip_by_its_rarest_label():
    assert oversampling_factors(SIX_CLIPS, 0).tolist() == [1, 1, 1, 1, 1, 1]
    assert oversampling_factors(SIX_CLIPS, 1).tolist() == [1, 1, 2, 2, 4, 1]  # no label: once
    assert np.allclose(max_rule_weights(SIX_CLIPS, 0.5), [1, 1, 2**0.5, 2**0.5, 2, 1], rtol=1e-15)
    row = oversampled(SIX_CLIPS, 1)
    assert (row.rows, row.largest_factor) == (11, 4)
    assert row.times == 11 / 6
    assert row.imbalance_ratio == 2  # counts 8, 4, 4
    assert row.one_in == 11 / 4


def factors_by_loop(labels: np.ndarray, beta: float) -> list[int]:
    """Equations 1, 4 and 5 of Moore et al., clip by clip."""
    n_clips, n_classes = labels.shape
    prior = [sum(labels[j, k] for j in range(n_clips)) / n_clips for k in range(n_classes)]
    m = [max(((1 / prior[k]) ** beta for k in range(n_classes) if clip[k]), default=None) for clip in labels]
    least = min((value for value in m if value is not None), default=1)
    return [1 if value is None else value / least for value in m]


@settings(max_examples=60, deadline=None)
@given(label_matrices, st.sampled_from([0, 0.1, 0.3, 0.5, 1, 1.7]))
def test_max_rule_equals_the_papers_loop(labels, beta):
    matrix, expected = sparse.csr_array(labels), np.array(factors_by_loop(labels, beta))
    assert np.allclose(max_rule_weights(matrix, beta), expected, rtol=1e-12)
    clear = np.abs(expected % 1 - 0.5) > 1e-9  # a half may fall to either side
    factors = oversampling_factors(matrix, beta)
    assert (factors[clear] == np.rint(expected[clear])).all()
    row, repeated = oversampled(matrix, beta), np.repeat(labels, factors, axis=0)
    assert (row.rows, row.times) == (len(repeated), len(repeated) / len(labels))
    if labels.any():
        assert row.gini == gini(repeated.sum(axis=0))
        assert row.imbalance_ratio == imbalance_ratio(repeated.sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_gini_is_the_mean_difference_and_the_printed_form_is_lower_by_one_class(counts):
    counts = np.array(counts)
    differences = np.abs(counts[:, None] - counts[None, :]).mean() / (2 * counts.mean())
    assert gini(counts, "usual") == pytest.approx(differences, abs=1e-12)
    assert gini(counts) == pytest.approx(differences - 1 / len(counts), abs=1e-12)
    assert gini(np.append(counts, 0)) == gini(counts) == pytest.approx(gini(counts / counts.sum()), abs=1e-12)


def test_nothing_to_count_is_nan_and_not_an_error():
    empty = sparse.csr_array(np.zeros((2, 3), bool))
    assert np.isnan(
        [imbalance_ratio(class_counts(empty)), gini(class_counts(empty)), oversampled(empty, 1).one_in]
    ).all()
    assert oversampling_factors(empty, 1).tolist() == [1, 1]
    assert np.isnan(label_cardinality(sparse.csr_array((0, 3), dtype=bool)))
    assert oversampling_factors(sparse.csr_array((0, 3), dtype=bool), 1).tolist() == []


@pytest.mark.parametrize("beta", [-0.1, float("nan"), float("inf"), 40.0, 1e9])
def test_exponents_that_cannot_be_meant_are_refused(beta):
    with pytest.raises(InputError, match="beta"):
        oversampling_factors(SIX_CLIPS, beta)


def test_other_forms_of_the_gini_coefficient_are_refused():
    with pytest.raises(InputError, match=r"'corrected'.*printed or usual"):
        gini(np.array([1, 2]), "corrected")


@pytest.fixture(scope="module")
def balanced_list(shared_data) -> LabelTable:
    return LabelTable.read(shared_data / "audioset" / "balanced_train_segments.csv", Vocabulary.load("audioset"))


def test_on_the_balanced_list_the_max_rule_repeats_nothing_but_after_closure_it_does(balanced_list):
    matrix = balanced_list.matrix
    counts = class_counts(matrix)
    assert (len(balanced_list), counts.min(), counts.max()) == (22_160, 59, 6_244)
    assert f"{gini(counts):.3f}" == "0.386"
    assert all(row.largest_factor == 1 for row in beta_table(matrix))
    closed = matrix + (matrix @ Ontology.load().ancestors(balanced_list.vocabulary))
    assert oversampled(closed, 1).largest_factor > 1


@pytest.fixture(scope="module")
def train_list(shared_data, balanced_list) -> LabelTable:
    paths = [shared_data / "audioset" / f"{name}_train_segments.csv" for name in ("balanced", "unbalanced")]
    return read_lists([paths[0], paths[1].with_suffix(".csv.xz")], balanced_list.vocabulary)


CLOSURE = EnhanceOptions(errors=("II",), type2="closure")


def test_closure_of_the_balanced_list_adds_the_published_labels(balanced_list):
    closed = enhance(balanced_list, None, Ontology.load(), CLOSURE)
    summary = closed.summary
    assert (summary["labels_before"], summary["labels_after"], summary["clips_changed"]) == (52_882, 79_603, 14_251)
    assert round(summary["added"]["added_percent"], 1) == 50.5
    assert f"{gini(class_counts(closed.labels.matrix)):.3f}" == "0.557"
    assert len(closed.ledger) == 26_721
    assert closed.ledger.column("score").null_count == len(closed.ledger)


def test_closure_of_the_published_train_list_adds_the_published_labels(train_list):
    closed = enhance(train_list, None, Ontology.load(), CLOSURE)
    summary = closed.summary
    assert (len(train_list), summary["labels_before"]) == (2_063_949, 4_073_094)
    assert round(summary["added"]["added_percent"], 1) == 22.7
    assert round(100 * summary["clips_changed"] / summary["clips"], 1) == 26.9
    assert (len(closed.ledger), summary["clips_changed"], closed.missing) == (926_131, 554_856, ())


def test_speech_and_its_three_children_in_the_balanced_list(balanced_list):
    ids = balanced_list.vocabulary.class_ids[:4]
    names = balanced_list.vocabulary.names[:4]
    assert names[0] == "Speech"
    assert all(name.endswith(("speech, man speaking", "speech, woman speaking", "kid speaking")) for name in names[1:])
    assert class_counts(balanced_list.matrix)[:4].tolist() == [5_735, 60, 60, 154]
    carried = balanced_list.matrix[:, :4].toarray()
    assert (carried[:, 1:].any(axis=1) & ~carried[:, 0]).sum() == 45
    ledger = enhance(balanced_list, None, Ontology.load(), CLOSURE).ledger.to_pylist()
    because = [set(row["because"].split(";")) for row in ledger if row["class_id"] == ids[0]]
    assert sum(bool(labels & set(ids[1:])) for labels in because) == 45


def test_the_published_train_list_has_the_published_imbalance(train_list):
    table = {row.beta: row for row in beta_table(train_list.matrix)}
    assert tuple(table) == MOORE_BETAS
    assert table[0].rows == 2_063_949
    assert f"{table[0].imbalance_ratio:.2f} {table[0].gini:.3f}" == "15009.10 0.832"  # Moore et al., Table 1
    shown = {beta: f"{row.imbalance_ratio:.0f} {row.gini:.3f} {row.times:.1f}" for beta, row in table.items()}
    assert shown[0.3] == "2398 0.705 3.2"
    assert shown[0.5] == "936 0.629 9.2"
    assert shown[1.0] == "144 0.465 212.0"
    assert f"{table[1.0].one_in:.2f} {table[1.0].largest_factor}" == "435.22 15009"  # 2.4: 1 in 435
    published = {0.0: 0.83, 0.1: 0.79, 0.2: 0.75, 0.3: 0.71, 0.5: 0.63, 0.7: 0.56, 1.0: 0.47}  # Table 2, a later list
    assert all(row.gini == pytest.approx(published[beta], abs=0.01) for beta, row in table.items())
