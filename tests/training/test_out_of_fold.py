"""Out of fold: who may answer what, and means over those alone."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.audio.clips import ClipStore, ClipTable, write_clips
from pseudolabel.errors import InputError
from pseudolabel.training.out_of_fold import fold_attributes, seen_by, unseen_clips

GROUPS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c"}


@pytest.fixture
def clips(tmp_path) -> ClipStore:
    empty = (np.zeros(0, np.uint8) for _ in GROUPS)
    write_clips(tmp_path / "clips.h5", ClipTable(list(GROUPS), list(GROUPS.values()), [0] * 5, [0] * 5, 16_000), empty)
    return ClipStore.open(tmp_path / "clips.h5")


@pytest.fixture
def run(tmp_path):
    """Return a function that makes a run folder which saw some clips."""

    def make(name: str, *seen: str):
        (tmp_path / name).mkdir()
        (tmp_path / name / "train_clips.csv").write_text("clip_id\n" + "".join(f"{clip}\n" for clip in seen))
        return tmp_path / name

    return make


def test_a_clip_of_the_group_of_a_seen_clip_counts_as_seen(clips, run):
    assert seen_by(run("one", "a1", "b1"), clips).tolist() == [True, True, True, False, False]


def test_a_seen_clip_that_the_store_lacks_is_its_own_group(clips, run):
    assert seen_by(run("one", "elsewhere", "c"), clips).tolist() == [False, False, False, True, True]


def test_a_run_that_does_not_say_what_it_saw_is_unknown(clips, run, tmp_path):
    assert seen_by(tmp_path, clips) is None
    with pytest.raises(InputError, match=r"no train_clips\.csv: which clips it was trained on is unknown"):
        unseen_clips([run("one", "a1"), tmp_path], clips, np.arange(5))


def test_runs_answer_what_they_did_not_see_in_the_order_asked_for(clips, run):
    runs = [run("one", "a1", "b1"), run("two", "b1", "c2"), run("three", "a2", "c1")]
    assert unseen_clips(runs, clips, np.array([4, 0, 2])).tolist() == [
        [True, False, False],  # c2: only the first
        [False, True, False],  # a1: the third saw a2
        [False, False, True],  # b1
    ]
    assert unseen_clips(runs[:2], clips, np.array([3, 1])).tolist() == [[True, False], [False, True]]


def test_clips_that_every_run_saw_are_refused_by_name(clips, run):
    runs = [run("one", "a1", "c1"), run("two", "a2", "b1", "c1")]
    with pytest.raises(InputError, match=r"each of 2 runs .* on 4 of the clips .*: c2, c1, a2 and 1 more"):
        unseen_clips(runs, clips, np.arange(5)[::-1])


def test_a_run_given_twice_is_refused(clips, run):
    one = run("one", "a1")
    with pytest.raises(InputError, match="given twice"):
        unseen_clips([one, one.parent / "." / "one"], clips, np.array([4]))


def test_attributes_tell_divisions_apart():
    one, two = np.array([[1, 0], [0, 1]], bool), np.array([[0, 1], [1, 1]], bool)
    assert fold_attributes(one)["models_per_clip"] == "1" and fold_attributes(two)["models_per_clip"] == "1 to 2"
    assert fold_attributes(one)["out_of_fold"] is True
    assert fold_attributes(one)["answered_by_sha256"] != fold_attributes(one[::-1])["answered_by_sha256"]
