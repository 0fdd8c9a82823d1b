"""Out of fold: who may answer what, and means over those alone."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.audio.clips import ClipStore, write_clips
from pseudolabel.errors import InputError
from pseudolabel.training.out_of_fold import fold_attributes, mean_answers, seen_by, unseen_clips

GROUPS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "c2": "c"}


@pytest.fixture
def clips(tmp_path) -> ClipStore:
    empty = (np.zeros(0, np.uint8) for _ in GROUPS)
    write_clips(tmp_path / "clips.h5", list(GROUPS), list(GROUPS.values()), [0] * 5, [0] * 5, empty, 16_000)
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
    with pytest.raises(InputError, match=r"every one of 2 runs .* on 4 of the clips .*: c2, c1, a2 and 1 more"):
        unseen_clips(runs, clips, np.arange(5)[::-1])


def test_a_run_given_twice_is_refused(clips, run):
    one = run("one", "a1")
    with pytest.raises(InputError, match="given twice"):
        unseen_clips([one, one.parent / "." / "one"], clips, np.array([4]))


def test_means_are_over_the_allowed_models_only():
    """Model r answers r + 1 plus the clip's number; clip 2 has three windows, the others one."""
    unseen = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [1, 1, 1]], bool)

    def answers(model, positions):
        windows = 3 if 2 in positions else 1
        scores = np.zeros((len(positions), windows, 1), np.float32)
        scores[:, 0, 0] = model + 1 + positions
        scores[positions == 2, 1:] = 9
        return {"clip": scores[:, 0], "2s": scores}

    means = mean_answers(unseen, answers)
    assert means["clip"][:, 0].tolist() == [1, 1 + 3 / 2, 2 + 5 / 2, 3 + 6 / 3]
    assert means["2s"].tolist() == [[[1], [0], [0]], [[2.5], [0], [0]], [[4.5], [9], [9]], [[5], [0], [0]]]


def test_means_of_all_models_are_the_plain_mean():
    scores = np.random.default_rng(0).random((3, 5, 2, 4), np.float32)
    means = mean_answers(np.ones((5, 3), bool), lambda model, at: {"2s": scores[model, at]})
    assert means["2s"].dtype == np.float32 and np.array_equal(means["2s"], np.mean(list(scores), axis=0))


def test_attributes_tell_divisions_apart():
    one, two = np.array([[1, 0], [0, 1]], bool), np.array([[0, 1], [1, 1]], bool)
    assert fold_attributes(one)["models_per_clip"] == "1" and fold_attributes(two)["models_per_clip"] == "1 to 2"
    assert fold_attributes(one)["out_of_fold"] is True
    assert fold_attributes(one)["answered_by_sha256"] != fold_attributes(one[::-1])["answered_by_sha256"]
