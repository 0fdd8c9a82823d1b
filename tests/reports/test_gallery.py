"""Scores over time and clips of the gallery say what stores, models, labels and sound say."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from pseudolabel.audio.clips import ClipStore
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.gallery import gallery_of, step_line
from pseudolabel.reports.over_time import OverTime, over_time_of_model, over_time_of_store
from pseudolabel.reports.rows import RunResult
from pseudolabel.reports.watch import SPLIT, UNHEARD, UNLABELLED, Watch
from pseudolabel.scores.class_map import ClassMap
from pseudolabel.scores.store import ScoreStore

CLASSES, CLIPS = ("low", "middle", "high"), ("t00", "t01", "t02")
VOCABULARY = Vocabulary("tones", CLASSES, CLASSES, ("",) * 3)


def test_a_line_has_a_step_for_each_window_and_the_last_ends_with_the_clip():
    scores = np.array([[[0.25], [0.75], [0.0]]])
    over_time = OverTime("row", scores, np.array([2]), window_s=2, hop_s=2)
    assert step_line(over_time, 0, 0, 4.0) == "M0 75.0H500V25.0H1000"
    assert step_line(over_time, 0, 0, 5.0) == "M0 75.0H400V25.0H1000"


def test_a_store_tells_of_its_shortest_windows_for_the_evaluated_classes(tmp_path):
    rng = np.random.default_rng(0)
    scores = {scale: rng.random((3, n, 3)).astype(np.float32) for scale, n in ((2, 2), (1, 4))}
    ScoreStore.write(tmp_path / "a.h5", CLIPS, CLASSES, {"clip": rng.random((3, 3)), **scores}, hops_s={1: 0.5})
    ScoreStore.write(tmp_path / "b.h5", CLIPS, CLASSES, {"clip": rng.random((3, 3))})
    run, asked = RunResult("a", "a", "a.h5"), ("t02", "t00")
    classes = ClassMap({"tone": ("low", "high"), "mid": ("middle",)})
    found = over_time_of_store(run, ScoreStore.open(tmp_path / "a.h5"), asked, classes)
    assert (found.row, found.window_s, found.hop_s, found.n_windows.tolist()) == ("a", 1, 0.5, [4, 4])
    expected = np.stack([scores[1][[2, 0]][..., [0, 2]].max(axis=-1), scores[1][[2, 0]][..., 1]], axis=-1)
    np.testing.assert_allclose(found.scores, expected, atol=1e-3)  # stored as float16
    assert over_time_of_store(run, ScoreStore.open(tmp_path / "b.h5"), asked, classes) is None


def test_a_model_tells_of_its_windows(tmp_path, write_tones):
    from pseudolabel.models import save_model
    from pseudolabel.models.tagger import build_tagger
    from pseudolabel.training.scoring import score_clips

    work = write_tones(tmp_path, [4.0, 4.0, 5.0])
    tagger = build_tagger({"name": "mobilenetv2", "class_ids": list(CLASSES), "options": {"width": 0.1}}).eval()
    save_model(tmp_path / "run", tagger)
    clips, run = ClipStore.open(work / "clips.h5"), RunResult("run", "row", str(tmp_path / "run"))
    found = over_time_of_model(run, clips, ("t02", "t00"), ClassMap.identity(VOCABULARY), 8, "cpu")
    assert found.row == "row" and found.n_windows.tolist() == [3, 2]
    expected = score_clips(tagger, clips, np.array([2, 0]), 2)
    np.testing.assert_allclose(found.scores[1, :2], expected[1, :2], atol=1e-6)
    np.testing.assert_allclose(found.scores[0], expected[0], atol=1e-6)


@pytest.fixture
def watched(tmp_path, write_tones):
    """Labels and clips of tones, and a watch that saw two runs."""
    work = write_tones(tmp_path, [4.0] * 3)
    labels = LabelTable.read(work / "labels.csv", VOCABULARY)
    watch = Watch(CLIPS, labels)
    watch.see(RunResult("a", "a", "a"), np.array([[0.9, 0.2, 0.0], [0.5, 0.5, 0.5], [0.1, 0.1, 0.4]]))
    watch.see(RunResult("b", "b", "b"), np.array([[0.9, 0.8, 0.0], [0.5, 0.5, 0.5], [0.1, 0.1, 0.2]]))
    return watch, labels, ClipStore.open(work / "clips.h5")


def test_a_clip_shows_who_says_what_its_labels_and_its_sound(watched, tmp_path):
    watch, labels, clips = watched
    found = watch.disagreements(3)
    assert [(one.kind, one.clip_id, one.column) for one in found] == [
        (SPLIT, "t00", 1), (UNLABELLED, "t01", 0), (UNHEARD, "t02", 2),
    ]  # fmt: skip
    over_time = OverTime("a", np.full((3, 2, 3), 0.5), np.full(3, 2), 2, 2)
    gallery = gallery_of(found, watch, {"true": labels, "noisy": labels.select(["t01", "t02"])}, [over_time], clips)
    first, last = gallery.clips[0], gallery.clips[2]
    assert first.sentence == "mean score .50; highest .80 by b, lowest .20 by a"
    assert first.labels == [("true", ["low"]), ("noisy", [])] and first.top == [("low", ".90"), ("middle", ".50")]
    assert last.sentence == "mean score .30; highest .40 by a, lowest .20 by b"
    assert [(line.row, line.path) for line in first.lines] == [("a", "M0 50.0H500V50.0H1000")]
    assert first.duration_s == 4.0 and base64.b64decode(first.picture).startswith(b"\x89PNG")
    gallery.write_sounds(tmp_path / "page")
    sounds = sorted((tmp_path / "page" / "report-audio").iterdir())
    assert [path.name for path in sounds] == ["01.flac", "02.flac", "03.flac"]
    assert sounds[0].read_bytes().startswith(b"fLaC")


def test_a_gallery_without_sound_or_windows_has_labels_and_scores(watched, tmp_path):
    watch, labels, _ = watched
    gallery = gallery_of(watch.disagreements(2), watch, {"given": labels}, [], None)
    assert [(clip.duration_s, clip.picture, clip.lines) for clip in gallery.clips] == [(None, "", [])] * 2
    gallery.write_sounds(tmp_path)
    assert not (tmp_path / "report-audio").exists()
