"""Thresholds are exact statistics of the scores of the clips that carry a label."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pseudolabel.errors import InputError
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.thresholds import PositiveScores, Statistic, parse_rule, read_thresholds
from pseudolabel.labels.vocabulary import Vocabulary

# Class 0 is carried by all five clips, class 1 by two, class 2 by none.
LABELS = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
SCORES = np.array([[1, 0.5, 1], [0, 8, 1], [0.5, 8, 1], [0.25, 0.25, 1], [0.75, 8, 1]]) / 8


def class_thresholds(labels, scores, rule, min_positives=1) -> np.ndarray:
    """Return the thresholds (K,) of labels and scores (N, K)."""
    ids = tuple(f"k{k}" for k in range(labels.shape[1]))
    table = LabelTable([f"c{i}" for i in range(len(labels))], labels, Vocabulary("v", ids, ids, ids))
    positives = PositiveScores.of(Evidence.match(table, scores))
    return positives.thresholds(rule, min_positives, table.vocabulary)


def brute_percentile(values: list[float], percent: float) -> float:
    values, place = sorted(values), (len(values) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("mean", 1 / 16, 3 / 64),
        ("median", 1 / 16, 3 / 64),
        ("0p", 0, 1 / 32),
        ("25p", 1 / 32, 5 / 128),
        ("10p", 0.1 / 8, 0.275 / 8),
        ("100p", 1 / 8, 1 / 16),
        ("12.5p", 1 / 64, (0.25 + 0.125 / 4) / 8),
    ],
)
def test_rules_give_hand_computed_values(rule, first, second):
    found = class_thresholds(LABELS, SCORES, rule)
    assert found.dtype == np.float64
    assert np.allclose(found[:2], [first, second], rtol=1e-15, atol=0)
    assert np.isnan(found[2])


def test_class_with_too_few_positives_has_no_threshold():
    assert np.isnan(class_thresholds(LABELS, SCORES, "mean", min_positives=3)).tolist() == [False, True, True]


def test_missing_scores_do_not_count():
    scores = SCORES.copy()
    scores[[1, 3]] = np.nan
    assert class_thresholds(LABELS, scores, "mean")[:2].tolist() == [2.25 / 24, 0.0625]
    assert np.isnan(class_thresholds(LABELS, scores, "mean", min_positives=2)).tolist() == [False, True, True]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("rule", ["mean", "median", "25p", "10p"])
def test_equal_stored_scores_are_their_own_threshold_so_nothing_is_above(dtype, rule):
    scores = np.full((1000, 1), 0.1, dtype=dtype)
    assert class_thresholds(np.ones((1000, 1)), scores, rule)[0] == np.float64(scores[0, 0])


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(np.float16, st.integers(1, 12), elements=st.floats(0, 1, width=16)), st.integers(0, 100))
def test_statistics_equal_their_definitions_in_any_order(values, percent):
    column, ones = values[:, None], np.ones((len(values), 1))
    wide = [float(value) for value in values]
    assert class_thresholds(ones, column, "mean")[0] == sum(wide) / len(wide)  # float16 sums are exact in float64
    found = class_thresholds(ones, column, f"{percent}p")[0]
    assert found == pytest.approx(brute_percentile(wide, percent), rel=1e-12, abs=1e-15)
    for rule in ("mean", "median", f"{percent}p"):
        assert class_thresholds(ones, column[::-1], rule) == class_thresholds(ones, column, rule)


@pytest.mark.parametrize(
    ("text", "spelling"), [("mean", "mean"), ("25p", "25p"), ("025.0p", "25p"), (" 2.5p ", "2.5p")]
)
def test_a_rule_has_one_spelling(text, spelling):
    assert parse_rule(text).text == spelling


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("25", r"--threshold: no threshold rule '25': did you mean 25p\?"),
        ("abc", r"no threshold rule 'abc'\. Give mean, median, a percentile from 0p to 100p such as 25p"),
        ("1.5", r"constant .1\.5. is not between 0\.0 and 1\.0"),
        ("101p", r"percentile '101p' is not between 0p and 100p"),
        ("-5p", r"percentile '-5p' is not between"),
        ("250", r"no threshold rule '250'\. Give"),
        ("nanp", "no threshold rule"),
        ("", "no threshold rule"),
        ("p", "no threshold rule"),
    ],
)
def test_bad_rules_are_refused_with_what_is_valid(text, message):
    with pytest.raises(InputError, match=message):
        parse_rule(text)


def test_shapes_must_agree():
    with pytest.raises(InputError, match=r"scores have the shape \(5, 2\), labels \(5, 3\)"):
        class_thresholds(LABELS, SCORES[:, :2], "mean")


THREE = Vocabulary("three", ("a", "b", "c"), ("A", "B", "C"), ("",) * 3)


def test_constant_is_the_threshold_of_every_class_with_enough_positives():
    assert parse_rule("0.50").text == parse_rule("00.5").text == "0.5"
    found = class_thresholds(LABELS, SCORES, "0.5")
    assert found[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found[2])
    assert np.isnan(class_thresholds(LABELS, SCORES, "0.5", min_positives=3)).tolist() == [False, True, True]


@pytest.mark.parametrize("text", ["-0.3", "1.01", "0.5.5", "1e-3", "0."])
def test_other_constants_are_refused(text):
    with pytest.raises(InputError, match="--threshold"):
        parse_rule(text)


def test_floor_lifts_low_thresholds_and_gives_none():
    positives = PositiveScores(np.array([0, 0, 1]), np.array([0.25, 0.75, 0.125]), np.array([True, True, False]))
    found = positives.thresholds("mean", 1, THREE, floor=0.3)
    assert found[:2].tolist() == [0.5, 0.3]
    assert np.isnan(found[2])
    assert positives.why_none(found, "mean", 1) == {2: "not among the scored classes"}
    nothing = PositiveScores(np.zeros(0, int), np.zeros(0), np.zeros(3, bool))
    reason = "no scores: all is added by rule"
    assert nothing.why_none(nothing.thresholds("0.5", 1, THREE), "0.5", 1) == dict.fromkeys(range(3), reason)


@pytest.mark.parametrize(("floor", "expected"), [(0.0, 0.25), (0.5, 0.5)])
def test_a_fallback_is_the_threshold_of_scored_classes_with_too_few_positives(floor, expected):
    positives = PositiveScores(np.array([0, 0, 1]), np.array([0.75, 1, 0.125]), np.array([True, True, False]))
    found = positives.thresholds("mean", 2, THREE, floor, fallback=0.25)
    assert found[:2].tolist() == [0.875, expected]
    assert np.isnan(found[2])  # class c has no scores
    assert positives.without_enough(2).tolist() == [False, True, False]


def test_threshold_file_is_read_by_class_in_any_order(tmp_path):
    (tmp_path / "t.csv").write_text("name,threshold,class_id\nC,0.25,c\nA,,a\nB,1,b\n")
    found = read_thresholds(tmp_path / "t.csv", THREE)
    assert np.isnan(found[0])
    assert found[1:].tolist() == [1, 0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "class_id,threshold\na,0.5\nb,0.5\n",
            r"t\.csv: 1 classes have no row: c\. Give each class a row; an empty thr",
        ),
        (
            "class_id,threshold\na,0.5\nb,\na,0.5\n",
            r"t\.csv:4: class 'a' is listed twice, first in line 2\. Keep one",
        ),
        (
            "class_id,threshold\na,0.5\nd,0.5\n",
            r"t\.csv:3: class 'd' is not in the vocabulary 'three' \(3.*\. Correct",
        ),
        (
            "class_id,threshold\na,1.5\n",
            r"t\.csv:2: threshold '1\.5' is not a number from 0 to 1\. Leave it empty for no",
        ),
        ("class_id,threshold\na,-0.1\n", r"t\.csv:2: threshold '-0\.1' is not"),
        ("class_id,threshold\na,inf\n", r"t\.csv:2: threshold 'inf' is not"),
        ("class_id,threshold\na,nan\n", r"t\.csv:2: threshold 'nan' is not"),
        ("class_id,threshold\na,x\n", r"t\.csv:2: threshold 'x' is not"),
        ("class_id,thresholds\na,0.5\n", r"t\.csv:1: column 'threshold' is missing; columns .*The header needs"),
    ],
)
def test_bad_threshold_files_are_refused_with_their_line(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_thresholds(tmp_path / "t.csv", THREE)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, width=16), min_size=1, max_size=60), st.floats(0, 100))
def test_a_percentile_is_numpys_to_the_last_bit(values, percent):
    for share in (percent, 25, 5):
        found = Statistic("p", percent=share).of(np.array(values))
        assert found == np.percentile(np.array(values), share, method="linear")


@pytest.mark.parametrize("strange", [1.5, -0.25, np.inf, -np.inf])
def test_a_score_outside_0_and_1_makes_no_threshold(strange):
    labels, scores = np.eye(3, dtype=bool), np.full((3, 3), 0.5)
    scores[1, 1] = strange
    with pytest.raises(InputError, match=rf"c1: the score {strange:g} of class 'k1' is not in \[0, 1\]"):
        class_thresholds(labels, scores, "mean")
    scores[1, 1], scores[0, 1] = 0.5, strange  # no label there
    assert class_thresholds(labels, scores, "mean").tolist() == [0.5] * 3
