"""Disagreements and surprising clips are those that loops over all scores find."""

from __future__ import annotations

import numpy as np
import pytest

from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports import watch as module
from pseudolabel.reports.rows import RunResult
from pseudolabel.reports.watch import SPLIT, UNHEARD, UNLABELLED, Watch

N, K, RUNS = 40, 6, ("a", "b", "c")
VOCABULARY = Vocabulary("toy", tuple("uvwxyz"), tuple("UVWXYZ"), ("",) * K)


@pytest.fixture
def seen():
    """A watch that saw three runs, the runs' scores (3, N, K), and the labels; clip 0 is not in the list."""
    rng = np.random.default_rng(2)
    scores, labels = rng.random((3, N, K)).round(2).astype(np.float32), rng.random((N - 1, K)) < 0.3
    clip_ids = [f"c{i}" for i in range(N)]
    watch = Watch(clip_ids, LabelTable(clip_ids[1:], labels, VOCABULARY))
    for name, values in zip(RUNS, scores, strict=True):
        watch.see(RunResult(name, name, name), values)
        watch.see(RunResult(name, f"{name}@2s", name, scale="2s"), 1 - values)  # of another scale
    return watch, scores, labels


def by_loops(scores, labels, kind):
    """Return (surprise, clip, class) of every clip and class of a kind, largest first, in the order of clips."""
    found = []
    for i in range(1, N):
        for k in range(K):
            mean, spread = scores[:, i, k].mean(), np.ptp(scores[:, i, k])
            surprise = {SPLIT: spread, UNHEARD: 1 - mean if labels[i - 1, k] else -1}
            surprise[UNLABELLED] = -1 if labels[i - 1, k] else mean
            if surprise[kind] >= 0:
                found.append((surprise[kind], i, k))
    return sorted(found, key=lambda one: -one[0])


def test_disagreements_are_the_largest_of_different_clips_with_two_of_a_class_at_most(seen):
    watch, scores, labels = seen
    found = watch.disagreements(12)
    assert [one.kind for one in found] == [SPLIT] * 4 + [UNLABELLED] * 4 + [UNHEARD] * 4
    taken = set()
    for kind in (SPLIT, UNLABELLED, UNHEARD):
        per_class, expected = {}, []
        for surprise, i, k in by_loops(scores, labels, kind):
            if len(expected) < 4 and i not in taken and per_class.get(k, 0) < 2:
                expected.append((pytest.approx(surprise, abs=1e-6), f"c{i}", k))
                taken.add(i)
                per_class[k] = per_class.get(k, 0) + 1
        of = {SPLIT: lambda one: one.highest[0] - one.lowest[0], UNLABELLED: lambda one: one.mean,
              UNHEARD: lambda one: 1 - one.mean}[kind]  # fmt: skip
        assert [(of(one), one.clip_id, one.column) for one in found if one.kind == kind] == expected
    for one in found:
        values = scores[:, int(one.clip_id[1:]), one.column]
        assert one.lowest == (pytest.approx(values.min()), RUNS[values.argmin()])
        assert one.highest == (pytest.approx(values.max()), RUNS[values.argmax()])
        assert one.mean == pytest.approx(values.mean(), abs=1e-6)


def test_clips_of_a_class_are_the_lowest_with_and_the_highest_without_the_label(seen):
    watch, scores, labels = seen
    mean = scores.mean(axis=0)
    for k, (unheard, unlabelled) in enumerate(watch.of_classes()):
        held = [i for i in range(1, N) if labels[i - 1, k]]
        lacking = [i for i in range(1, N) if not labels[i - 1, k]]
        assert [clip for clip, _ in unheard] == [f"c{i}" for i in sorted(held, key=lambda i: mean[i, k])[:3]]
        assert [clip for clip, _ in unlabelled] == [f"c{i}" for i in sorted(lacking, key=lambda i: -mean[i, k])[:3]]
        assert unlabelled[0][1] == pytest.approx(mean[int(unlabelled[0][0][1:]), k], abs=1e-6)


def test_one_run_disagrees_with_labels_alone_and_few_clips_are_no_error(seen):
    watch, scores, labels = seen
    alone = Watch(watch.clip_ids, LabelTable(watch.clip_ids, labels, VOCABULARY))
    alone.see(RunResult("a", "a", "a"), scores[0, 1:])
    assert {one.kind for one in alone.disagreements(4)} == {UNLABELLED, UNHEARD}
    assert len(alone.disagreements(500)) <= 2 * 2 * K and alone.disagreements(0) == []


def test_of_too_many_clips_every_second_is_watched(seen, monkeypatch):
    watch, scores, labels = seen
    monkeypatch.setattr(module, "CELLS_WATCHED", 20 * K)
    half = Watch([f"c{i}" for i in range(N)], LabelTable(watch.clip_ids, labels, VOCABULARY))
    half.see(RunResult("a", "a", "a"), scores[0])
    assert half.clip_ids == [f"c{i}" for i in range(1, N, 2)] and half.n_labelled == N - 1
    assert half.mean_of_clip("c3") == pytest.approx(scores[0, 3])
