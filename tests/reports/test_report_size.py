"""A report of all of AudioSet's classes and fifty rows stays small, and says what it leaves out."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.audio.media import log_mel_png
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.evaluation_figures import evaluation_figures
from pseudolabel.reports.gallery import Gallery, GalleryClip, Line
from pseudolabel.reports.report import report_page
from pseudolabel.reports.rows import RunResult, rows_of
from pseudolabel.reports.tree import class_tree
from pseudolabel.reports.watch import KINDS, ClassClips
from pseudolabel.scores.metrics import METRICS

N_ROWS, LARGEST_MB = 50, 5


def large_evaluation() -> Evaluation:
    """Fifty rows against two sets of labels of AudioSet's classes, an enhanced list, clips of each class, a gallery."""
    rng, vocabulary = np.random.default_rng(0), Vocabulary.load("audioset")
    n = len(vocabulary)
    rows = ["teacher", "weak", "enhanced", *(f"psl_2s_variant_{i:02d}" for i in range(N_ROWS - 3))]
    runs = []
    for row in rows:
        classes = {
            name: {"ap": rng.random(n), "auc": rng.random(n), "n_positive": rng.integers(1, 6000, n)}
            for name in ("truth", "noisy")
        }
        metrics = {
            name: {key: rng.random() for key in METRICS} | {"n_clips": 20371, "n_classes": n, "n_classes_scored": n}
            for name in classes
        }
        draws = {name: {key: rng.random(20) for key in METRICS} for name in classes}
        runs.append(RunResult(row, row, f"runs/{row}", seed=0, metrics=metrics, classes=classes, draws=draws))
    by_class = [
        {"class_id": class_id, "name": name, "before": 1000, "before_judged": 1000, "before_right": 900, "true": 1500,
         "added": 400, "judged": 400, "right": 300, "missing": 600, "precision": 0.75, "recall": 0.5}
        for class_id, name in zip(vocabulary.class_ids, vocabulary.names, strict=True)
    ]  # fmt: skip
    counts = {"added": 400, "judged": 400, "right": 300, "missing": 600, "precision": 0.75, "recall": 0.5}
    judged = {"folder": "work/enhanced-25p", "by_class": by_class,
              "labels_per_clip": {"before": [0, 9], "after": [0, 5, 4]}, "by_error": {"I": counts, "all": counts},
              "n_added": 400, "n_clips": 20000, "n_clips_touched": 300, "n_classes_touched": 500, "n_labels_before": 9,
              "added_percent": 20.0, "n_clips_without_truth": 0,
              "labels_before": {"precision": 0.9, "recall": 0.6},
              "labels_after": {"precision": 0.8, "recall": 0.7}}  # fmt: skip
    clips = [ClassClips(*([(f"Y{k:05d}abcde_{i * 30000}", 0.5) for i in range(3)] for _ in range(2))) for k in range(n)]
    picture = base64.b64encode(log_mel_png(rng.standard_normal(160_000).astype(np.float32) / 9, 16_000)).decode()
    line = "".join(f"{'V' if i else 'M0 '}{50 + i:.1f}H{200 * i + 200}" for i in range(5))
    shown = GalleryClip(1, "Y00001abcde_30000", KINDS[0], "Speech", "mean score .5", [("true", ["Speech"] * 3)],
                        [("Music", ".45")] * 5, 10.0, picture, ((0.1, 100),), [Line(row, line) for row in rows[:4]],
                        "2 s")  # fmt: skip
    gallery = Gallery(
        tuple(replace(shown, number=i + 1, kind=KINDS[i // 4], clip_id=f"c{i}") for i in range(12)),
        None,
        20371,
        20371,
        50,
    )
    folders = Path("work"), Path("work/evaluation")
    return Evaluation(
        rows_of(runs), {"enhanced-25p": judged}, vocabulary.class_ids, vocabulary.names, 20371, [], *folders,
        {"noisy": Path("eval.csv")}, Path("truth.csv"), resamples=1000, n_groups=20371,
        tree=class_tree(vocabulary), class_clips=clips, gallery=gallery,
    )  # fmt: skip


@pytest.mark.slow
def test_fifty_rows_and_527_classes_stay_under_five_megabytes_and_are_all_there(tmp_path, open_page):
    evaluation = large_evaluation()
    pictures = evaluation_figures(evaluation, tmp_path / "figures")
    (tmp_path / "report.html").write_text(report_page(evaluation, pictures, "made by"), encoding="utf-8")
    assert (tmp_path / "report.html").stat().st_size < LARGEST_MB * 1_000_000
    page = open_page(tmp_path / "report.html")
    assert page.locator("#classes tbody tr").count() == page.locator("#compare tbody tr").count() == 527
    absent = (
        "all => all.filter((a) => !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map((a) => a.hash)"
    )
    assert page.locator("a[href^='#']").evaluate_all(absent) == []
    assert page.locator("#compare-to option").count() == N_ROWS
    assert page.locator("#tree [id^=class-]").count() == 527
    assert "The first 20 rows; 30 others are in per_class.csv." in page.inner_text("#classes")
