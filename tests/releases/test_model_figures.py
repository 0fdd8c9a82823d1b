"""The figures of an evaluation on a model's card, and how to cite the model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from small_release import FIGURES, make_evaluation, make_run

from pseudolabel import release as verb
from pseudolabel.errors import InputError
from pseudolabel.releases.model_figures import figure_rows, model_index, read_evaluation


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "work" / "runs" / "student")


def header(folder: Path) -> dict:
    return yaml.safe_load((folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_an_evaluation_of_the_model_fills_table_and_model_index(run, tmp_path, capsys):
    make_evaluation(tmp_path / "work" / "evaluation", run)
    out = tmp_path / "released"
    options = ["--author", "Doe, Jane", "--released", "2026-01-31", "--licence", "CC-BY-NC-4.0"]
    assert verb.main(["model", str(run), "--out", str(out), *options]) == 0
    assert "is assumed" not in capsys.readouterr().out
    assert header(out)["model-index"] == [{"name": "student", "results": [
        {
            "task": {"type": "audio-classification", "name": "Audio tagging"},
            "dataset": {"type": "truth", "name": "truth.csv, true labels"},
            "metrics": [
                {"type": "mean_average_precision", "name": "mAP", "value": 0.5},
                {"type": "roc_auc", "name": "AUC", "value": 0.75},
                {"type": "d_prime", "name": "d'", "value": 0.95},
                {"type": "f1", "name": "F1 micro", "value": 0.25},
            ],
        },
        {
            "task": {"type": "audio-classification", "name": "Audio tagging"},
            "dataset": {"type": "eval", "name": "eval.csv, labels as annotated"},
            "metrics": [{"type": "mean_average_precision", "name": "mAP", "value": 0.4}],
        },
    ]}]  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "On 40 clips and 5 classes (none of these clips was in its training list):" in card
    assert "| labels | mAP | AUC | d' | F1 micro |" in card
    assert "| truth.csv, true labels | 0.5000 | 0.7500 | 0.9500 | 0.2500 |" in card
    assert "| eval.csv, labels as annotated | 0.4000 | - | - | - |" in card
    cited = yaml.safe_load((out / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["authors"] == [{"family-names": "Doe", "given-names": "Jane"}]
    assert (cited["date-released"], cited["license"], cited["type"]) == ("2026-01-31", "CC-BY-NC-4.0", "software")
    (out / "README.md").write_text(card.replace("0.5000", "0.9000"), encoding="utf-8")
    assert verb.main(["verify", str(out)]) == 2


def test_an_evaluation_of_another_model_is_refused_if_it_was_named_and_else_not_used(run, tmp_path, capsys):
    folder = make_evaluation(tmp_path / "work" / "evaluation", run)
    record = json.loads((folder / "run.json").read_text())
    record["inputs"] = dict.fromkeys(record["inputs"], "0" * 64)
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"does not have the model of .*student, with the same weights"):
        read_evaluation(folder, run)
    assert read_evaluation(folder, run, given=False) is None
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released")]) == 0
    assert "model-index" not in header(tmp_path / "released")
    assert "licence CC-BY-4.0 is assumed: --licence sets another" in capsys.readouterr().out


def test_a_folder_without_metrics_is_named(run, tmp_path):
    with pytest.raises(InputError, match=r"there is no metrics\.json"):
        read_evaluation(tmp_path, run)


def test_metrics_that_are_not_numbers_are_left_out(run, tmp_path):
    figures = {"truth": {"map": None, "auc": None}, "more": {"map": 0.5, "d_prime": None, "lwlrap": 0.7}}
    evaluation = read_evaluation(make_evaluation(tmp_path / "e", run, figures), run)
    assert [row["metrics"] for row in evaluation["sets"]] == [{"map": 0.5}]
    assert figure_rows(evaluation) == (["mAP"], [["more, more", "0.5000"]])
    assert model_index({"row": "x", "evaluation": {**evaluation, "sets": []}}) is None
    assert set(FIGURES) == {"truth", "noisy"}


def test_a_released_model_of_version_0_2_0_still_verifies(tmp_path):
    assert verb.main(["verify", str(Path(__file__).with_name("model-release-0.2.0"))]) == 0


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--released", "31.1.2026", "is not a day"), ("--url", "example.org", "is not a web address"),
     ("--release-version", "1", "is not a version")],
)  # fmt: skip
def test_texts_that_are_not_what_they_should_be_are_refused_before_anything_is_written(
    run, tmp_path, capsys, option, value, named
):
    assert verb.main(["model", str(run), "--out", str(tmp_path / "released"), option, value]) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "released").exists()
