"""The papers' analyses: changes and correlations by hand and by scipy, the quality table, histories of runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import pearsonr

from pseudolabel.errors import InputError
from pseudolabel.evaluation_lists import read_quality
from pseudolabel.reports.analyses import Correlation, correlations_table, impact, impact_table
from pseudolabel.reports.analysis_figures import analysis_pictures, read_histories
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.rows import RunResult, rows_of

NAN = math.nan


def run(row: str, seed: int, ap: list[float], sha256: str | None = None, path: str = "") -> RunResult:
    classes = {"noisy": {"ap": np.array(ap), "auc": np.array(ap), "n_positive": np.full(len(ap), 3)}}
    return RunResult(
        f"{row}-{seed}", row, path, seed=seed, labels_sha256=sha256, metrics={"noisy": {}}, classes=classes
    )


def evaluation(runs: list[RunResult], added: list[int], quality: list[float] | None = None) -> Evaluation:
    by_class = [{"class_id": f"c{k}", "name": f"C{k}", "before": 10 * 2**k, "added": n} for k, n in enumerate(added)]
    judged = {"folder": "work/enhanced-25p", "sha256": "abc", "added_percent": 12.34, "by_class": by_class}
    judged["labels_per_clip"] = {"before": [2, 5, 1], "after": [1, 3, 3, 1]}
    ids = tuple(f"c{k}" for k in range(len(added)))
    found = Evaluation(
        rows_of(runs), {"enhanced-25p": judged}, ids, ids, 10, [], Path("work"), Path("out"), {"noisy": Path("e.csv")}
    )
    return replace(found, quality=None if quality is None else np.array(quality))


def test_impact_by_hand():
    # Relative changes .5, 0, -.5 and 1; class 1 and the unknown one are not impacted; AP 0 has no relative change.
    before, after = np.array([0.2, 0.4, 0.6, 0.1, NAN, 0.0]), np.array([0.3, 0.4, 0.3, 0.2, 0.5, 0.3])
    found = impact(before, after, np.array([True, False, True, True, False, True]))
    assert found.n_classes == 4
    assert found.of_impacted == pytest.approx(100 * (0.5 - 0.5 + 1) / 3) and found.of_others == pytest.approx(0)
    assert found.of_all == pytest.approx(100 * 1 / 4)
    assert found.of_map == pytest.approx(100 * (1.5 / 1.3 - 1))
    nothing = impact(np.array([NAN]), np.array([0.5]), np.array([False]))
    assert nothing == (0, None, None, None, None)


def test_correlation_is_pearsons_over_known_classes():
    x, y = np.array([1.0, 2, 3, 4, NAN, 6]), np.array([0.1, 0.4, 0.2, NAN, 0.9, 0.8])
    r, p = pearsonr(x[[0, 1, 2, 5]], y[[0, 1, 2, 5]])
    assert Correlation.of(x, y) == pytest.approx((r, p, 4))
    assert Correlation.of(np.ones(5), np.arange(5.0)).text() == "-"
    assert (
        Correlation.of(np.arange(2.0), np.arange(2.0)).n == 2
        and Correlation(0.1692, 0.0456, 9).text() == ".169 (p = .046)"
    )
    assert Correlation(-0.5, 1e-9, 9).text() == "-.500 (p < .001)"


def test_tables_name_the_rows_that_were_trained_on_an_enhanced_list():
    runs = [run("weak", 0, [0.2, 0.4, 0.5, 0.5]), run("other", 0, [0.5, 0.5, 0.5, 0.5], "other")]
    runs += [run("enhanced", seed, [0.3, 0.4, 0.5, 0.5], "abc") for seed in (0, 1)]
    found = evaluation(runs, [3, 0, 0, 1], [0.9, 0.5, NAN, 0.7])
    (line,) = impact_table(found).lines
    assert line == ["enhanced", "2", "12.3 %", "+25.0 %", "+0.0 %", "+12.5 %", "+6.2 %"]
    table = correlations_table(found)
    assert table.header == ["row", "AP and training clips", "AP and annotation quality"]
    expected = Correlation.of(np.array([10, 20, 40, 80]), np.array([0.3, 0.4, 0.5, 0.5])).text()
    assert next(line for line in table.lines if line[0] == "enhanced")[1] == expected
    assert impact_table(replace(found, enhanced={})) is None


def test_figures_are_drawn_and_histories_read(tmp_path):
    for seed in (0, 1):
        (tmp_path / f"{seed}").mkdir()
        text = f"step,loss,validation_map\n1,.5,\n2,.4,.{seed + 1}\n4,.3,.{seed + 3}\n"
        (tmp_path / f"{seed}" / "history.csv").write_text(text)
    runs = [run("weak", seed, [0.2, 0.4, NAN], path=str(tmp_path / f"{seed}")) for seed in (0, 1)]
    assert read_histories(rows_of(runs)[0]) == [{2: 0.1, 4: 0.3}, {2: 0.2, 4: 0.4}]
    pictures = analysis_pictures(evaluation(runs, [0, 2, 0]))
    names = ["class_ap", "ap_counts", "class_counts-enhanced-25p", "clip_labels-enhanced-25p", "learning_curves"]
    assert [picture.name for picture in pictures] == names
    assert all(picture.png for picture in pictures)


def test_quality_in_both_forms_and_what_is_refused(tmp_path):
    shares, counts = tmp_path / "q.csv", tmp_path / "qa_true_counts.csv"
    shares.write_text("class_id,quality\nc1,.5\nother,1\nc0,\n")
    counts.write_text("label_id,num_rated,num_true\nc0,10,9\nc2,0,0\n")
    np.testing.assert_array_equal(read_quality(shares, ["c0", "c1", "c2"]), [NAN, 0.5, NAN])
    np.testing.assert_array_equal(read_quality(counts, ["c0", "c1", "c2"]), [0.9, NAN, NAN])
    for text, message in (
        ("class_id,quality\nc0,1.5\n", "a quality is 1.5"),
        ("class_id,quality\nc0,good\n", "'good' is not a number"),
        ("class_id,quality\nx,.5\n", "rates no class"),
        ("class_id,grade\nc0,.5\n", "quality"),
    ):
        shares.write_text(text)
        with pytest.raises(InputError, match=message):
            read_quality(shares, ["c0"])
