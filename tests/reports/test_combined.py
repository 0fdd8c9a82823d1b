"""One table over several corpora."""

from __future__ import annotations

import json

import pytest

from pseudolabel.errors import InputError
from pseudolabel.evaluate import main
from pseudolabel.reports.combined import additions_sentence, combined_table, read_metrics


def row(name: str, true_map: float, noisy_map: float, runs: int = 2) -> dict:
    figures = {"d_prime": {"mean": 1.0}, "f1_micro": {"mean": 0.5}}
    return {
        "row": name,
        "runs": [f"{name}-seed{seed}" for seed in range(runs)],
        "n_parameters": [1000],
        "truth": {"map": {"mean": true_map}, **figures},
        "noisy": {"map": {"mean": noisy_map}, **figures},
    }


def corpus(*rows: dict) -> dict:
    judged = {
        "added_percent": 20.0,
        "by_error": {"all": {"precision": 0.75, "recall": 0.5}},
        "labels_before": {"recall": 0.6},
        "labels_after": {"recall": 0.8},
    }
    return {"rows": list(rows), "enhanced": {"enhanced-25p": judged}}


HARD = corpus(row("teacher", 0.5, 0.4), row("weak", 0.25, 0.2), row("psl_2s", 0.375, 0.3))
EASY = corpus(row("weak", 0.5, 0.4), row("psl_2s", 0.75, 0.5))


def test_gain_is_taken_within_each_corpus_before_it_is_averaged():
    table = combined_table([HARD, EASY])
    psl = dict(zip(table.header, table.lines[1], strict=True))
    assert psl["mAP gain over weak"] == "+.188 ± .088"  # gains .125 and .25: mean 3/16, sd .125 / sqrt(2)
    assert psl["mAP true"] == ".562 ± .265"  # .375 and .75
    assert psl["runs"] == "4"


def test_only_rows_that_every_corpus_has_stand_in_the_table():
    assert [line[0] for line in combined_table([HARD, EASY]).lines] == ["weak", "psl_2s"]


def test_corpora_without_a_common_row_are_refused():
    with pytest.raises(InputError, match="no row in common"):
        combined_table([corpus(row("weak", 0.1, 0.1)), corpus(row("true", 0.1, 0.1))])


def test_additions_are_averaged_over_corpora():
    assert "precision .750 ± .000" in additions_sentence([HARD, EASY])
    assert additions_sentence([{"rows": [], "enhanced": {}}]) == ""


def test_work_folders_and_evaluation_folders_are_both_read(tmp_path):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "metrics.json").write_text(json.dumps(HARD))
    assert read_metrics(tmp_path) == read_metrics(tmp_path / "evaluation") == HARD


def test_verb_writes_the_table_and_names_what_is_missing(tmp_path, capsys):
    for name, metrics in (("a", HARD), ("b", EASY)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["combine", *folders, "--out", str(tmp_path / "table.md")]) == 0
    assert "| psl_2s |" in (tmp_path / "table.md").read_text()
    assert main(["combine", str(tmp_path / "c")]) == 2
    assert "no metrics.json" in capsys.readouterr().err


def named_sets(corpus: dict, *names: str) -> dict:
    """The same corpus evaluated on sets of labels with names of their own."""
    rows = [{**{key: row[key] for key in ("row", "runs", "n_parameters")}, **dict.fromkeys(names, row["truth"])}
            for row in corpus["rows"]]  # fmt: skip
    return {"rows": rows, "sets": dict.fromkeys(names, "list.csv"), "enhanced": {}}


def test_sets_with_names_are_combined_and_others_refused():
    table = combined_table([named_sets(HARD, "public", "internal"), named_sets(EASY, "internal")])
    assert "mAP public" not in table.header
    assert dict(zip(table.header, table.lines[1], strict=True))["mAP internal"] == ".562 ± .265"
    with pytest.raises(InputError, match="no set of labels in common"):
        combined_table([named_sets(HARD, "public"), named_sets(EASY, "internal")])
