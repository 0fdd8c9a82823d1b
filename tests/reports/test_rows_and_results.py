"""Rows and the words about them: means, spreads, order, and what the text says is what the numbers say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t

from pseudolabel.errors import InputError
from pseudolabel.reports import results
from pseudolabel.reports.evaluation import Evaluation
from pseudolabel.reports.result_tables import row_difference, rows_table
from pseudolabel.reports.rows import RunResult, Spread, rows_of
from pseudolabel.reports.text_tables import Table

ZERO = dict.fromkeys(("auc", "d_prime_class_mean", "precision", "recall", "lwlrap"), 0.0)


def run(row: str, seed: int | None = 0, score: float = 0.5, noisy: float | None = None, **fields) -> RunResult:
    """A run whose mAP against truth is `score`; against noisy labels half of it."""
    sets = {"truth": score, "noisy": score / 2 if noisy is None else noisy}
    metrics = {
        name: {**ZERO, "map": value, "d_prime": 2 * value, "f1_micro": value, "f1_macro": value, "n_clips": 10,
               "n_classes": 2, "n_classes_scored": 2, "n_labels": 4}
        for name, value in sets.items()
    }  # fmt: skip
    classes = {name: {"ap": np.array([value, value]), "auc": np.array([value, value]), "n_positive": np.array([3, 2])}
               for name, value in sets.items()}  # fmt: skip
    return RunResult(f"{row}-seed{seed}", row, f"work/runs/{row}-seed{seed}", seed=seed, metrics=metrics,
                     classes=classes, **fields)  # fmt: skip


def evaluation(*runs: RunResult, enhanced: dict | None = None, has_truth: bool = True, missing=()) -> Evaluation:
    lists, truth = {"noisy": Path("eval.csv")}, Path("truth.csv") if has_truth else None
    folders = Path("my work"), Path("my work/evaluation")
    names = ("a", "b"), ("Dog", "Cat")
    return Evaluation(rows_of(runs), enhanced or {}, *names, 10, list(missing), *folders, lists, truth)


def test_rows_stand_in_the_order_of_the_table():
    found = [row.name for row in rows_of([run(name) for name in ("zebra", "true", "psl_2s", "ape", "weak", "teacher")])]
    assert found == ["teacher", "weak", "psl_2s", "true", "ape", "zebra"]


def test_spread_is_the_sample_standard_deviation_and_absent_for_one_run():
    spread = rows_of([run("weak", seed, score) for seed, score in enumerate((0.2, 0.4, 0.6))])[0].spread("truth", "map")
    assert (spread.mean, spread.sd, spread.n) == (pytest.approx(0.4), pytest.approx(0.2), 3)
    assert Spread.of([0.3]).sd is None and math.isnan(Spread.of([]).mean)


def test_the_same_seed_twice_is_refused_because_it_would_understate_the_spread():
    with pytest.raises(InputError, match="of the row 'weak' have the same seed \\(1\\)"):
        rows_of([run("weak", 1), run("weak", 0), run("weak", 1, 0.4)])


def test_folds_of_one_seed_are_samples_of_their_own():
    (row,) = rows_of([run("cv", 0, score, fold=f"{i}/3") for i, score in ((2, 0.4), (1, 0.2), (3, 0.6))])
    assert [one.fold for one in row.runs] == ["1/3", "2/3", "3/3"] and row.spread("truth", "map").sd == pytest.approx(
        0.2
    )
    with pytest.raises(InputError, match="same seed"):
        rows_of([run("cv", 0, fold="1/3"), run("cv", 0, 0.4, fold="1/3")])


def drawn(one: RunResult, sd: float) -> RunResult:
    """The run with draws of the clips whose mAP has this standard deviation."""
    z = np.array([-1.5, -0.5, 0.5, 1.5])
    one.draws["truth"] = {"map": one.metrics["truth"]["map"] + sd * z / np.std(z, ddof=1)}
    return one


def test_headline_tells_gain_and_interval():
    weak, psl = [0.4, 0.45, 0.5], [0.6, 0.65, 0.7]
    runs = [drawn(run("weak", seed, value), 0.02) for seed, value in enumerate(weak)] + [run("true", 0, 0.8)]
    runs += [drawn(run("psl_2s", seed, value), 0.05) for seed, value in enumerate(psl)]
    text = results.headline(evaluation(*runs))
    assert "the teacher's 2 s scores reaches mAP .650 ± .050" in text and "weak labels .450 ± .050" in text
    assert "(trained on true labels: .800)" in text
    # The same seeds differ by .2 each: only the clips count, whose draws differ by a standard deviation of .03.
    half = 1.96 * 0.03
    assert f"better by .200, 95 % interval {0.2 - half:.3f} to {0.2 + half:.3f}.".replace("0.", ".") in text


def test_headline_does_not_hide_a_loss_nor_what_one_seed_cannot_tell():
    runs = [drawn(run("weak", seed, value), 0.01) for seed, value in enumerate([0.4, 0.5, 0.6])]
    runs += [drawn(run("enhanced", seed, value), 0.01) for seed, value in enumerate([0.45, 0.48, 0.51])]
    text = results.headline(evaluation(*runs))
    # Differences .05, -.02, -.09: sd .07 over 3 seeds, t(2) = 4.303; the same draws of clips do not differ.
    half = 4.3027 * 0.07 / math.sqrt(3)
    assert "trained on enhanced labels" in text
    assert f"worse by .020, 95 % interval {0.02 - half:.3f} to {0.02 + half:.3f}.".replace("0.", ".") in text
    one_seed = results.headline(evaluation(run("weak", 0, 0.4), run("psl_5s", 0, 0.6)))
    assert "better by .200; from one seed a row, so chance in training is not ruled out" in one_seed


def test_other_seeds_are_not_paired():
    runs = [drawn(run("weak", seed, value), 0) for seed, value in enumerate([0.4, 0.5, 0.6])]
    runs += [drawn(run("psl_2s", seed, value), 0) for seed, value in zip((5, 6), (0.7, 0.8), strict=True)]
    student, weak = evaluation(*runs).row("psl_2s"), evaluation(*runs).row("weak")
    # Welch: variances of the means .01 / 3 and .005 / 2.
    parts = 0.01 / 3, 0.005 / 2
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 1)
    half = student_t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    found = student.above(weak, "truth", "map")
    assert tuple(found) == pytest.approx((0.25, 0.25 - half, 0.25 + half))


def test_headline_without_the_pair_names_the_best_row():
    text = results.headline(evaluation(run("mine", 0, 0.3), run("yours", 0, 0.4)))
    assert (
        results.headline(evaluation(run("mine", 0, 0.3)))
        == "mine reaches mAP .300 against the true labels of 10 clips."
    )
    assert text == "Of 2 rows, yours has the highest mAP against the true labels of 10 clips: .400."


def test_without_truth_the_labels_are_called_given_and_truth_has_no_column():
    runs = [run("weak"), run("psl_2s")]
    for one in runs:
        del one.metrics["truth"], one.classes["truth"]
    found = evaluation(*runs, has_truth=False)
    table = rows_table(found)
    assert table.header[:4] == ["row", "seeds", "mAP given", "d' given"] and "mAP true" not in table.header
    assert table.lines[0][2] == ".250"
    assert "against the given labels" in results.headline(found)


def test_table_shows_each_rows_numbers_and_ranges_where_runs_differ():
    runs = [
        run("teacher", 0, 0.75, n_train_clips=1500, n_parameters=3000, train_seconds=60),
        run("weak", 0, 0.5, n_train_clips=300, n_parameters=3000, train_seconds=10),
        run("weak", 1, 0.5, n_train_clips=310, n_parameters=3000, train_seconds=21),
    ]
    table = rows_table(evaluation(*runs))
    by_name = [dict(zip(table.header, line, strict=True)) for line in table.lines]
    assert by_name[0]["mAP true"] == ".750" and by_name[0]["d' true"] == "1.50" and by_name[0]["mAP noisy"] == ".375"
    assert (by_name[0]["clips"], by_name[0]["parameters"], by_name[0]["seconds"]) == ("1,500", "3,000", "60")
    assert by_name[1]["seeds"] == "2" and by_name[1]["mAP true"] == ".500 ± .000"
    assert by_name[1]["clips"] == "300-310" and by_name[1]["seconds"] == "16"


def test_notes_name_rows_not_run_single_runs_and_the_teachers_other_list():
    runs = [
        run("teacher", n_train_clips=1500),
        run("weak", 0, n_train_clips=300),
        run("weak", 1, n_train_clips=300),
        run("true", 0, n_train_clips=300, n_seen=4),
    ]
    text = "\n".join(results.notes(evaluation(*runs, missing=[("lost", "no audio")])))
    assert "Not run at this scale: enhanced, precision-0.7, psl_10s, psl_5s, psl_2s, psl_2s_calibrated." in text
    assert "One run, so no spread: teacher, true." in text
    assert "1,500 clips, they on 300." in text
    assert "true was trained on 4 clips that it is evaluated on here" in text
    assert "1 listed clip without audio" in text


def test_notes_are_silent_where_teacher_and_students_share_the_list():
    runs = [run("teacher", n_train_clips=300), run("weak", n_train_clips=300)]
    assert "another list" not in "\n".join(results.notes(evaluation(*runs)))


def test_next_steps_quote_paths_and_offer_the_next_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my work" / "runs").mkdir(parents=True)
    command = "python -m pseudolabel.train --work 'my work' --row psl_2s --seed 1 --overwrite"
    found = evaluation(run("psl_2s", 0), run("psl_2s", 1, command=command))
    commands = [command for _, command in results.next_steps(found)]
    assert "python -m pseudolabel.train --work 'my work' --row psl_2s --seed 2" in commands
    assert "python -m pseudolabel.evaluate --work 'my work' --overwrite" in commands
    with_out = evaluation(run("psl_2s", 1, command=command + " --out runs/x"))
    assert not any("pseudolabel.train" in command for _, command in results.next_steps(with_out))


def test_tables_line_up_on_the_terminal_and_in_markdown():
    table = Table(["row", "clips"], [["weak", "7"], ["psl_10s", "1,234"]])
    assert table.aligned() == "row      clips\nweak         7\npsl_10s  1,234"
    assert table.markdown().splitlines() == [
        "| row     | clips |",
        "| ------- | ----: |",
        "| weak    |     7 |",
        "| psl_10s | 1,234 |",
    ]


def test_a_table_too_wide_for_the_terminal_is_folded_and_loses_no_cell():
    header = ["row", *(f"figure {i}" for i in range(9))]
    table = Table(header, [["weak", *(f"{i}.123" for i in range(9))], ["strong", *(f"{i}.456" for i in range(9))]])
    parts = table.folded(40).split("\n\n")
    assert len(parts) > 1 and all(len(line) <= 40 for part in parts for line in part.splitlines())
    assert all(part.splitlines()[2].startswith("strong") for part in parts)
    assert [cell for part in parts for cell in part.splitlines()[1].split()[1:]] == table.lines[0][1:]
    assert table.folded(200) == table.aligned()


def test_rows_of_a_run_heard_in_pieces_stand_together_in_the_order_of_the_scales():
    runs = [run(name).at_scale(scale) for scale in ("clip", "10s", "2s") for name in ("weak", "teacher")]
    assert [row.name for row in rows_of(runs)] == [
        "teacher", "teacher@10s", "teacher@2s", "weak", "weak@10s", "weak@2s",
    ]  # fmt: skip
    assert [row.base for row in rows_of(runs)] == ["teacher"] * 3 + ["weak"] * 3


def test_a_difference_is_paired_by_seed_where_two_seeds_are_common():
    one, other, lone = rows_of(
        [run("a", seed, value) for seed, value in enumerate((0.5, 0.6, 0.9))]
        + [run("b", seed, value) for seed, value in enumerate((0.4, 0.3), start=1)]
        + [run("c", 7, 0.1)]
    )
    paired = row_difference(other, one, "truth", "map")  # seeds 1 and 2: .4 - .6, .3 - .9
    assert (paired.mean, paired.n) == (pytest.approx(-0.4), 2) and paired.sd == pytest.approx(0.4 / 2**0.5)
    means = row_difference(lone, one, "truth", "map")
    assert means.mean == pytest.approx(0.1 - 2 / 3) and means.sd is None
