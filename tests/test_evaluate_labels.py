"""`evaluate labels`: weak labels, additions and targets judged by events, window by window, against loops."""

from __future__ import annotations

import csv
import gzip
import itertools
import json

import numpy as np
import pytest

from pseudolabel import evaluate
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.label_quality import distribution, more_often
from pseudolabel.scores.store import ScoreStore

VOCABULARY = Vocabulary("toy", ("/m/a", "/m/b", "/m/c"), ("Animal", "Dog", "Rain"), ("/m/a", "/m/b", "/m/c"))
CLIPS = [f"full-{i:05d}" for i in range(10)]
N, WINDOWS = len(CLIPS), {"clip": 1, "5s": 2, "2s": 5}


@pytest.fixture
def work(tmp_path):
    """Ten clips of 10 s with events of two classes, weak labels, two additions, a teacher's scores."""
    work, rng = tmp_path / "work", np.random.default_rng(4)
    (work / "enhanced-25p").mkdir(parents=True)
    VOCABULARY.write(work / "vocabulary.csv")
    rows, events = ["clip_id,onset_s,offset_s,class_id"], []
    for clip, clip_id in enumerate(CLIPS):
        for column in {1, 2} if clip % 3 else {1}:
            onset, length = int(rng.integers(0, 7)), int(rng.integers(1, 4))
            events.append((clip, column, onset, onset + length))
            rows.append(f"{clip_id},{onset},{onset + length},{VOCABULARY.class_ids[column]}")
    (work / "events.csv").write_text("\n".join(rows) + "\n")
    weak = {clip_id: ["/m/a", "/m/b"] if clip % 2 else [] for clip, clip_id in enumerate(CLIPS)}
    (work / "labels.csv").write_text("clip_id,labels\n" + "".join(f"{c},{';'.join(w)}\n" for c, w in weak.items()))
    ledger = "clip_id,class_id,error\nfull-00000,/m/b,I\nfull-00001,/m/c,II\nfull-00004,/m/a,II\nelsewhere,/m/b,I\n"
    (work / "enhanced-25p" / "ledger.csv.gz").write_bytes(gzip.compress(ledger.encode()))
    scores = {"clip": rng.random((N, 3)), 5: rng.random((N, 2, 3)), 2: rng.random((N, 5, 3))}
    ScoreStore.write(work / "scores.h5", CLIPS, VOCABULARY.class_ids, scores, store="float32")
    return work, events, weak, {scale: np.asarray(each).reshape(N, -1, 3) for scale, each in scores.items()}


def run(work, *options: str) -> int:
    return evaluate.main(["labels", "--work", str(work), *options])


def loop(windows: int, events, states, true_if=lambda clip, column: True) -> dict[str, float]:
    """Precision, recall and F1 over all windows and the two classes with events."""
    hits = given = true = 0
    for clip, window, column in itertools.product(range(N), range(windows), (1, 2)):
        low, high = window * 10 / windows, (window + 1) * 10 / windows
        sounds = any((c, k) == (clip, column) and on < high and off > low for c, k, on, off in events)
        sounds = sounds and true_if(clip, column)
        stated = states(clip, window, column)
        hits, given, true = hits + (sounds and stated), given + stated, true + sounds
    return {"precision": hits / given, "recall": hits / true, "f1_micro": 2 * hits / (given + true)}


def test_labels_additions_and_targets_are_judged_in_each_window(work, capsys):
    folder, events, weak, scores = work
    assert run(folder) == 0
    found = json.loads((folder / "label-quality" / "metrics.json").read_text())
    rows = {(row["labels"], row["window"]): row for row in found["rows"]}
    assert list(dict.fromkeys(window for _, window in rows)) == list(WINDOWS) and found["n_classes"] == 2
    names = ["weak labels", "25p, type I", "25p, type II", "25p", "scores > .10", "scores > .30", "scores > .50"]
    assert list(dict.fromkeys(name for name, _ in rows)) == names

    def labelled(clip, _, column) -> bool:
        return VOCABULARY.class_ids[column] in weak[CLIPS[clip]]

    def lacks(clip, column) -> bool:
        return not labelled(clip, 0, column)

    added = {"I": {(0, 1)}, "II": {(1, 2)}}
    for window, n in WINDOWS.items():
        values = scores["clip" if window == "clip" else int(window[0])]
        wanted = {
            "weak labels": loop(n, events, labelled),
            "25p": loop(n, events, lambda c, w, k: labelled(c, w, k) or (c, k) in added["I"] | added["II"]),
            "25p, type I": loop(n, events, lambda c, w, k: (c, k) in added["I"], lacks),
            "25p, type II": loop(n, events, lambda c, w, k: (c, k) in added["II"], lacks),
            "scores > .30": loop(n, events, lambda c, w, k, v=values: bool(v[c, w, k] > 0.3)),
        }
        for name, rates in wanted.items():
            assert {key: rows[name, window][key] for key in rates} == pytest.approx(rates), (name, window)
    printed = capsys.readouterr().out
    assert printed.startswith("Nearest to the events in windows of 2s of 10 clips, 2 classes: ")
    assert "left out, without an event in these clips: 1 class of the vocabulary" in printed
    assert (folder / "label-quality" / "results.md").read_text().startswith("# Labels against events\n")


def test_label_counts_of_clips_are_those_of_a_loop_and_are_drawn(work):
    folder, events, weak, scores = work
    assert run(folder, "--windows", "2s", "--thresholds", "0.6", "--enhanced") == 0
    with open(folder / "label-quality" / "label_counts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {
        "weak labels": [sum(label != "/m/a" for label in weak[clip_id]) for clip_id in CLIPS],
        "scores, 2s": [int((scores[2][clip, :, 1:] > 0.6).any(axis=0).sum()) for clip in range(N)],
        "events": [len({k for c, k, *_ in events if c == clip}) for clip in range(N)],
    }
    for name, of_clips in counts.items():
        assert [float(row[name]) for row in rows] == pytest.approx([of_clips.count(n) / N for n in range(11)])
    figure = (folder / "label-quality" / "figures" / "label_counts.png").read_bytes()
    assert figure.startswith(b"\x89PNG") and len(figure) > 10_000


def test_counts_of_hand_made_clips():
    counts, reference = np.array([0, 3, 9, 6]), np.array([0, 5, 5, 6])
    assert distribution(counts, 4).tolist() == [0.25, 0, 0, 0.25, 0.5]
    assert more_often(counts, reference, 4) == pytest.approx(1 / 3) and np.isnan(more_often(counts, reference, 6))


def test_what_is_missing_or_does_not_fit_is_said_in_one_line(work, capsys):
    folder, *_ = work

    def refused(*options: str) -> str:
        assert run(folder, *options) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "scale '1s' is not there; there are: 2s, 5s, clip. Give --windows" in refused("--windows", "1s")
    assert "--scores: judges the targets of one store. Name one" in refused("--scores", "a.h5", "b.h5")
    assert "enhanced-9p" in refused("--enhanced", str(folder / "enhanced-9p"))
    assert run(folder, "--dry-run") == 0 and not (folder / "label-quality").exists()
    (folder / "labels.csv").write_text("clip_id,labels\nother,/m/a\n")
    assert "1 of 1 clips have no events in" in refused()
