"""Evidence finds the score of each clip and class, exactly as it is stored, and of the best window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.evidence import Evidence
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary

EVERY = np.arange(0x3C01, dtype=np.uint16).view(np.float16)  # all float16 from 0 to 1
WRONG = np.array([np.nan, -0.0, -0.5, 1.5, np.inf], np.float16)


class Scores:
    """Scores in another order than the labels, as a store holds them."""

    def __init__(self, clip_ids, class_ids, values, n_windows=None):
        self.clip_ids, self.class_ids, self.values, self.counts = clip_ids, class_ids, values, n_windows

    def clip_scores(self):
        return self.values

    def scores(self, window_s):
        return self.values

    def n_windows(self, window_s):
        return self.counts


def table(n_clips: int, n_classes: int) -> LabelTable:
    ids = tuple(f"k{k}" for k in range(n_classes))
    return LabelTable([f"c{n}" for n in range(n_clips)], np.zeros((n_clips, n_classes)), Vocabulary("v", ids, ids, ids))


def compared(evidence: Evidence, limits) -> tuple[set, set]:
    """Return the (clip, class) pairs whose score is above the limit of the class, and those whose score is improper."""
    above, improper = set(), set()
    for clip, number in np.ndindex(evidence.labels.matrix.shape):
        try:
            if evidence.at(np.array([clip]), np.array([number]))[0] > limits[number]:
                above.add((clip, number))
        except InputError:
            improper.add((clip, number))
    return above, improper


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1), st.integers(0, len(EVERY) - 1))
def test_a_limit_falls_between_the_stored_values_where_its_float64_does(any_limit, place):
    evidence = Evidence.match(table(len(EVERY), 1), EVERY[:, None])
    for limit in (any_limit, float(EVERY[place])):
        above = evidence.at(np.arange(len(EVERY)), np.zeros(len(EVERY), int)) > limit
        assert np.flatnonzero(above).tolist() == np.flatnonzero(EVERY.astype(np.float64) > limit).tolist()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_comparison_equals_the_loop_over_clips_and_classes(data):
    n, k, w = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    scale, kind = data.draw(st.sampled_from(["clip", "2s"])), data.draw(st.sampled_from([np.float16, np.float32]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.choice(EVERY[::1500], (n, w, k)).astype(kind)
    if data.draw(st.booleans()):
        values[rng.random(values.shape) < 0.2] = rng.choice(WRONG)
    assume(not np.isnan(values[:, 0]).all())  # not one clip with scores is an error
    counts = rng.integers(1, w + 1, n)
    clips, classes = rng.permutation(n + 1)[:n], rng.permutation(k + 1)[:k]  # some clips and classes have none
    limits = rng.choice([*EVERY[::1500].astype(np.float64), 0.3, np.nan], k + 1)
    named = [f"c{clip}" for clip in clips], [f"k{number}" for number in classes]
    scores = Scores(*named, values[:, 0] if scale == "clip" else values, counts)
    labels = table(n + 1, k + 1)
    evidence = Evidence.match(labels, scores, scale=scale)
    expected, wrong = set(), set()
    for row, clip in enumerate(clips.tolist()):
        heard = values[row, : counts[row] if scale == "2s" else 1].astype(np.float64)
        if np.isnan(heard[0]).all():
            continue  # a clip without scores
        for column, number in enumerate(classes.tolist()):
            if any(score > limits[number] for score in heard[:, column]):
                expected.add((clip, number))
            if any(not 0 <= score <= 1 for score in heard[:, column]):
                wrong.add((clip, number))
    assert compared(evidence, limits) == (expected - wrong, wrong)


def test_no_clip_is_above_a_limit_that_a_class_does_not_have():
    evidence = Evidence.match(table(1, 2), np.ones((1, 2), np.float16))
    assert compared(evidence, [np.nan, 0.5])[0] == {(0, 1)}


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0, 1]])
def test_clips_in_another_order_keep_their_scores(rows):
    values = np.array([[0.1], [0.6], [0.9]], np.float16)
    evidence = Evidence.match(table(3, 1), Scores([f"c{row}" for row in rows], ["k0"], values))
    assert compared(evidence, [0.5])[0] == {(row, 0) for row in rows[1:]}


ID = "KK227gPpRn4"


def test_clips_scored_under_another_id_get_their_scores_and_keep_their_own_id():
    vocabulary = Vocabulary("v", ("k",), ("k",), ("",))
    labels = LabelTable(["a", f"Y{ID}", "gone", "x/b.wav"], np.ones((4, 1)), vocabulary)
    scores = Scores(["b", "other", f"{ID}_30.000_40.000", "a"], ["k"], np.array([[0.5], [0.0], [0.25], [0.75]]))
    evidence = Evidence.match(labels, scores)
    assert evidence.row_of.tolist() == [3, 2, -1, 0]
    assert evidence.aliases == {f"Y{ID}": f"{ID}_30.000_40.000", "x/b.wav": "b"}
    assert evidence.missing == (("gone", "no scores"),)
    assert evidence.at(np.arange(4), np.zeros(4, int)).tolist()[:2] == [0.75, 0.25]
    assert evidence.aliases_report() == (
        f"2 of 4 clips found under another id (scores): Y{ID} is {ID}_30.000_40.000, x/b.wav is b"
    )


def test_ids_that_fit_several_clips_are_refused():
    def match(clips, scored):
        labels = LabelTable(clips, np.ones((len(clips), 1)), Vocabulary("v", ("k",), ("k",), ("",)))
        return Evidence.match(labels, Scores(scored, ["k"], np.full((len(scored), 1), 0.5)))

    with pytest.raises(ClipMismatch, match=f"clip '{ID}' may be any of Y{ID}, {ID}_0"):
        match(["a", ID], ["a", f"Y{ID}", f"{ID}_0"])
    with pytest.raises(ClipMismatch, match=r"clips 'a' and 'a\.wav' are both 'a'"):
        match(["a", "a.wav"], ["a"])
    assert match(["a", "b"], ["b", "a"]).aliases == {}
    assert match(["a", "b"], ["b", "a"]).aliases_report() == ""
