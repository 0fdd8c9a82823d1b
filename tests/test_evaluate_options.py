"""What the recipes need of evaluate: several sets, class maps, metrics, scales, beta sweeps, ablations.

Runs are made up: a folder with run.json and an empty model, whose answers the test gives. What evaluate writes is
recomputed here from the inputs.
"""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress
from sklearn.metrics import average_precision_score, roc_auc_score

from pseudolabel import evaluate
from pseudolabel.audio.clips import ClipTable, write_clips
from pseudolabel.errors import InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import run_record, write_run_record
from pseudolabel.scores.store import ScoreStore
from pseudolabel.training.options import MEAN_OF_LAST

CLASSES = ("/m/a", "/m/b", "/m/c", "/m/d")
VOCABULARY = Vocabulary("toy", CLASSES, ("Animal", "Dog", "Rain", "Wind"), CLASSES)
N, RATE = 40, 16
EVAL = [f"eval{i}" for i in range(N)]


@pytest.fixture
def work(tmp_path):
    """A work folder without truth: a list, another list of half the clips and more labels, clips, scores."""
    work, rng = tmp_path / "work", np.random.default_rng(4)
    VOCABULARY.write(work / "vocabulary.csv")
    labels = rng.random((N, 4)) < 0.4
    labels[:, 3] |= ~labels.any(axis=1)
    LabelTable(EVAL, labels, VOCABULARY).write(work / "eval.csv")
    LabelTable(EVAL[:20][::-1], (labels | (rng.random(labels.shape) < 0.2))[:20][::-1], VOCABULARY).write(
        work / "more.csv"
    )
    windows = 1 / (1 + np.exp(-(labels[:, None] + rng.normal(size=(N, 5, 4)) - 0.5)))
    ScoreStore.write(work / "scores.h5", EVAL, CLASSES, {"clip": windows.max(axis=1), 2: windows})
    pieces = iter([np.zeros(2 * RATE * N, np.uint8)])
    write_clips(work / "clips.h5", ClipTable(EVAL, EVAL, [RATE] * N, [2 * RATE] * N, RATE), pieces)
    return work


def matrix(path) -> np.ndarray:
    return LabelTable.read(path, VOCABULARY).select([i for i in EVAL if i in LabelTable.read(path, VOCABULARY).row_of]
                                                    ).matrix.toarray()  # fmt: skip


def run_verb(work, *options: object) -> int:
    return evaluate.main(["--work", str(work), *map(str, options)])


def failure(capsys, work, *options: object) -> str:
    """Run the verb, which must fail with exit code 2 and leave nothing; return its one line of error."""
    assert run_verb(work, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and not (work / "evaluation").exists()
    return lines[0]


def refused_option(capsys, work, *options: object) -> str:
    """Run the verb with an option that cannot be read; return the last line of the error."""
    with pytest.raises(SystemExit) as stopped:
        run_verb(work, *options)
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def scores(work) -> tuple[str, str]:
    return "--scores", str(work / "scores.h5")


def metrics_of(work) -> dict:
    return json.loads((work / "evaluation" / "metrics.json").read_text())


def tables(work) -> list[list[dict[str, str]]]:
    """The Markdown tables of results.md, each a list of {heading: cell}."""
    found = []
    for block in (work / "results.md").read_text().split("\n\n"):
        if block.startswith("| "):
            lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
            found.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return found


def short(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def write_record(work, folder, record: dict) -> None:
    """Write run.json as train does: with the checksum of the list that the options name, else of WORK's."""
    options = {"work": str(work), **record.get("options", {})}
    listed = options.get("labels") or work / "labels.csv"
    write_run_record(folder, {**run_record("train", options, [listed]), **record, "options": options})


def made_up_runs(work, monkeypatch, runs: dict[str, dict], quality: dict[str, float] | None = None) -> dict:
    """Make run folders NAME -> run.json; return what their models answer."""
    rng, labels, found = np.random.default_rng(5), matrix(work / "eval.csv"), {}
    for name, record in runs.items():
        folder = work / "runs" / name
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"")
        write_record(work, folder, record)
        found[name] = 1 / (1 + np.exp(-((quality or {}).get(name, 1.0) * labels + rng.normal(size=labels.shape))))

    def answers_of_runs(folders, clips, clip_ids, classes, options):
        for folder in folders:
            yield evaluate.run_of_folder(folder, clip_ids), found[folder.name][[EVAL.index(i) for i in clip_ids]]

    monkeypatch.setattr(evaluate, "answers_of_runs", answers_of_runs)
    monkeypatch.setattr(evaluate, "over_time_of_runs", lambda *_: ())  # these runs have no models
    return found


# ---- several sets ---------------------------------------------------------------------------------------------------


def test_every_set_has_its_columns_measured_on_its_own_clips(work):
    sets = ("--labels-set", f"original={work / 'eval.csv'}", "--labels-set", f"enhanced={work / 'more.csv'}")
    assert run_verb(work, *scores(work), *sets) == 0
    answers = np.asarray(ScoreStore.open(work / "scores.h5").clip_scores(), np.float64)
    (run,), (line,) = metrics_of(work)["runs"], tables(work)[0]
    assert metrics_of(work)["sets"] == {"original": str(work / "eval.csv"), "enhanced": str(work / "more.csv")}
    for name, file, n in (("original", "eval.csv", N), ("enhanced", "more.csv", 20)):
        labels = matrix(work / file)
        expected = average_precision_score(labels, answers[:n])
        area = roc_auc_score(labels, answers[:n])
        assert run["metrics"][name]["n_clips"] == n
        assert run["metrics"][name]["map"] == pytest.approx(expected)
        assert line[f"mAP {name}"] == short(expected) and line[f"AUC {name}"] == short(area)
        assert line[f"d' {name}"] == short(2**0.5 * statistics.NormalDist().inv_cdf(area), 2)
    assert "against the original labels of 40 clips" in (work / "results.md").read_text()
    with open(work / "evaluation" / "per_class.csv") as file:
        assert {"ap_original", "ap_enhanced", "auc_enhanced"} <= set(next(csv.reader(file)))


def test_truth_stands_beside_named_sets(work):
    LabelTable(EVAL, matrix(work / "eval.csv"), VOCABULARY).write(work / "truth.csv")
    assert run_verb(work, *scores(work), "--labels-set", f"more={work / 'more.csv'}") == 0
    (run,) = metrics_of(work)["runs"]
    assert list(run["metrics"]) == ["truth", "more"] and run["metrics"]["truth"]["n_clips"] == 20


@pytest.mark.parametrize("text", ["eval.csv", "=eval.csv", "a=", "a b=eval.csv", "truth=eval.csv", "noisy=eval.csv"])
def test_sets_without_a_usable_name_are_refused(work, capsys, text):
    assert "--labels-set" in refused_option(capsys, work, *scores(work), "--labels-set", text)


def test_sets_named_twice_beside_labels_or_of_other_clips_are_refused(work, capsys):
    one = ("--labels-set", f"one={work / 'eval.csv'}")
    assert "'one' is listed twice" in failure(capsys, work, *scores(work), *one, *one)
    assert "Leave out --labels" in failure(capsys, work, *scores(work), *one, "--labels", work / "eval.csv")
    LabelTable(["x"], np.ones((1, 4)), VOCABULARY).write(work / "other.csv")
    line = failure(capsys, work, *scores(work), *one, "--labels-set", f"other={work / 'other.csv'}")
    assert "other.csv: not one clip of the set 'other' is left" in line
    assert "nowhere.csv: no such file" in failure(capsys, work, *scores(work), "--labels-set", f"a={work}/nowhere.csv")


# ---- class map ------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_set(work):
    """Single-label clips of another set: pet is Animal or Dog, rain is Rain, can has no counterpart."""
    categories = Vocabulary("other", ("can", "pet", "rain"), ("Can", "Pet", "Rain"), ("", "", ""))
    categories.write(work / "other" / "vocabulary.csv")
    names = [categories.class_ids[i % 3] for i in range(N)]
    LabelTable.from_sets(EVAL, [[name] for name in names], categories).write(work / "other" / "eval.csv")
    (work / "map.csv").write_text("class_id,target_id\n/m/a,pet\n/m/b,pet\n/m/c,rain\n/m/elsewhere,rain\n")
    return ("--labels", work / "other" / "eval.csv", "--vocabulary", work / "other" / "vocabulary.csv",
            "--class-map", work / "map.csv")  # fmt: skip


def test_a_class_map_evaluates_on_another_set_and_leaves_out_what_has_no_counterpart(work, other_set):
    assert run_verb(work, *scores(work), *other_set, "--metrics", "map", "accuracy", "map@3", "lwlrap") == 0
    kept = [i for i in range(N) if i % 3]  # every third clip is a can
    answers = np.asarray(ScoreStore.open(work / "scores.h5").clip_scores(), np.float64)[kept]
    answers = np.stack([answers[:, :2].max(axis=1), answers[:, 2]], axis=1)
    labels = np.array([[i % 3 == 1, i % 3 == 2] for i in kept])
    record = metrics_of(work)
    (run,) = record["runs"]
    found = run["metrics"]["noisy"]
    assert (found["n_clips"], found["n_classes"], record["n_missing"]) == (len(kept), 2, N - len(kept))
    assert found["map"] == pytest.approx(average_precision_score(labels, answers))
    expected = np.mean([np.argmax(a) == np.argmax(t) for a, t in zip(answers, labels, strict=True)])
    assert found["accuracy"] == pytest.approx(expected)
    (line,) = tables(work)[0]
    assert line["accuracy given"] == short(expected)
    text = (work / "results.md").read_text()
    assert "1 of 3 classes have no counterpart" in text and "left out: can" in text
    assert "1 classes of the map are not answered: /m/elsewhere" in text
    with open(work / "evaluation" / "missing.csv") as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {f"no label with a counterpart in {work / 'map.csv'}"}


def test_maps_that_fit_nothing_are_refused(work, other_set, capsys):
    (work / "map.csv").write_text("class_id,target_id\n/m/a,dog\n")
    assert "map.csv:2: class 'dog' is not in the vocabulary" in failure(capsys, work, *scores(work), *other_set)
    (work / "map.csv").write_text("class_id,target_id\n/m/z,pet\n")
    assert "no class of the map is answered: /m/z" in failure(capsys, work, *scores(work), *other_set)
    (work / "map.csv").write_text("class_id,target\n/m/a,pet\n")
    assert "column 'target_id' is missing" in failure(capsys, work, *scores(work), *other_set)
    line = failure(capsys, work, *scores(work), *other_set[:4], "--class-map", work / "no.csv")
    assert "no.csv: no such file" in line
    (work / "map.csv").write_text("class_id,target_id\n/m/a,pet\n")
    LabelTable.read(other_set[1], Vocabulary.load(other_set[3])).select(EVAL[::3]).write(work / "cans.csv")
    assert run_verb(work, *scores(work), *other_set, "--labels", work / "cans.csv") == 2
    assert "not one clip of 'noisy' has a label with a counterpart" in capsys.readouterr().err


# ---- metrics --------------------------------------------------------------------------------------------------------


def test_the_table_has_the_metrics_asked_for_with_both_d_primes(work):
    assert run_verb(work, *scores(work), "--metrics", "d-prime", "lwlrap", "auc", "f1") == 0
    (line,) = tables(work)[0]
    headings = ["d'", "mean d'", "lwlrap", "AUC", "F1 micro", "F1 macro"]
    assert list(line) == ["row", "seeds", *(f"{name} given" for name in headings), "clips", "parameters", "seconds"]
    found = metrics_of(work)["runs"][0]["metrics"]["noisy"]
    assert line["mean d' given"] == short(found["d_prime_class_mean"], 2) and line["d' given"] == short(
        found["d_prime"], 2
    )
    assert found["accuracy"] is None and found["map_at_3"] > 0  # several labels a clip: no accuracy, said as null


def test_accuracy_is_refused_where_a_clip_has_several_labels_and_unknown_metrics_too(work, capsys):
    line = failure(capsys, work, *scores(work), "--metrics", "accuracy")
    assert "eval.csv: " in line and "have not exactly one label" in line and "--metrics" in line
    assert "--metrics" in refused_option(capsys, work, *scores(work), "--metrics", "mAP")
    assert "'map' is listed twice" in failure(capsys, work, *scores(work), "--metrics", "map", "map")


# ---- scales ---------------------------------------------------------------------------------------------------------


def test_each_scale_is_a_row_scored_by_the_mean_or_maximum_over_windows(work):
    assert run_verb(work, *scores(work), "--scales", "clip", "2s", "2s-max") == 0
    labels, store = matrix(work / "eval.csv"), ScoreStore.open(work / "scores.h5")
    windows = store.scores(2).astype(np.float32)
    by_scale = {"clip": store.clip_scores(), "2s": windows.mean(axis=1), "2s-max": windows.max(axis=1)}
    rows, _, by_length = tables(work)[:3]
    assert [row["row"] for row in rows] == ["scores", "scores@2s", "scores@2s-max"]
    for row, (scale, answers) in zip(rows, by_scale.items(), strict=True):
        expected = short(average_precision_score(labels, answers))
        assert row["mAP given"] == expected and by_length[0][f"mAP {scale}"] == expected
    assert [run["scale"] for run in metrics_of(work)["runs"]] == ["clip", "2s", "2s-max"]


def test_scales_that_are_not_there_or_twice_are_refused(work, capsys):
    assert "scale '5s' is not there; there are: 2s, clip" in failure(capsys, work, *scores(work), "--scales", "5s")
    assert "'2s' is listed twice" in failure(capsys, work, *scores(work), "--scales", "2s-mean", "2")
    assert "--scales" in refused_option(capsys, work, *scores(work), "--scales", "long")
    assert "no windows" in refused_option(capsys, work, *scores(work), "--scales", "clip-max")


def test_a_model_is_heard_in_pieces(work):
    import torch

    from pseudolabel.models import load_model, save_model
    from pseudolabel.models.tagger import build_tagger

    rate, rng = 16000, np.random.default_rng(1)
    pcm = rng.integers(-3000, 3000, (N, rate)).astype("<i2")
    pieces = iter([pcm.view(np.uint8).ravel()])
    write_clips(work / "clips.h5", ClipTable(EVAL, EVAL, [rate] * N, [2 * rate] * N, rate), pieces, overwrite=True)
    config = {"name": "mobilenetv2", "class_ids": list(CLASSES), "options": {"width": 0.1}}
    save_model(work / "runs" / "lone", build_tagger(config))
    assert run_verb(work, "--scales", "clip", "0.5s", "0.5s-max", "--device", "cpu", "--threads", 1) == 0
    runs = {run["scale"]: run for run in metrics_of(work)["runs"]}
    rows = {"clip": "lone", "0.5s": "lone@0.5s", "0.5s-max": "lone@0.5s-max"}
    assert {scale: run["row"] for scale, run in runs.items()} == rows
    tagger = load_model(work / "runs" / "lone")
    with torch.inference_mode():
        halves = tagger(torch.from_numpy(pcm.reshape(2 * N, -1).astype(np.float32) / 32768)).numpy()
    halves, labels = halves.reshape(N, 2, 4), matrix(work / "eval.csv")
    for scale, pooled in (("0.5s", halves.mean(axis=1)), ("0.5s-max", halves.max(axis=1))):
        expected = average_precision_score(labels, pooled)
        assert runs[scale]["metrics"]["noisy"]["map"] == pytest.approx(expected, abs=1e-6)


# ---- beta sweep -----------------------------------------------------------------------------------------------------


def sweep_runs(work) -> dict[str, dict]:
    """Three exponents, two seeds each, trained on a list with priors .5, .25, .125, .125; and one run of another rule.

    `repeat` names no beta: it has the default, .5.
    """
    held = np.zeros((8, 4), bool)
    held[:4, 0], held[4:6, 1], held[6, 2], held[7, 3] = True, True, True, True
    LabelTable([f"train{i}" for i in range(8)], held, VOCABULARY).write(work / "training.csv")
    runs = {}
    for beta, sampling in ((0, "shuffle"), (None, "repeat"), (1.0, "max-rule")):
        for seed in (0, 1):
            options = {"sampling": sampling, "beta": beta or None, "labels": str(work / "training.csv")}
            runs[f"{sampling}-{seed}"] = {"row": sampling, "seed": seed, "options": options}
    runs["psla"] = {"row": "psla", "seed": 0, "options": {"sampling": "sum-rule", "labels": str(work / "training.csv")}}
    return runs


def test_a_sweep_over_beta_has_its_table_its_line_and_its_figures(work, monkeypatch):
    quality = {"max-rule-0": 2.0, "max-rule-1": 2.5, "repeat-0": 1.5, "repeat-1": 1.2}
    found = made_up_runs(work, monkeypatch, sweep_runs(work), quality)
    sets = ("--labels-set", f"public={work / 'eval.csv'}", "--labels-set", f"internal={work / 'more.csv'}")
    assert run_verb(work, *sets, "--betas") == 0
    sweep = next(table for table in tables(work) if "β" in table[0])
    assert [(line["β"], line["row"], line["seeds"]) for line in sweep] == [
        ("0", "shuffle", "2"), ("0.5", "repeat", "2"), ("1", "max-rule", "2"),
    ]  # fmt: skip
    labels = matrix(work / "eval.csv")
    ap = {name: average_precision_score(labels, answers, average=None) for name, answers in found.items()}
    change = (ap["max-rule-0"] + ap["max-rule-1"] - ap["shuffle-0"] - ap["shuffle-1"]) / 2
    line = linregress(np.log10([0.5, 0.25, 0.125, 0.125]), change)
    record = metrics_of(work)["betas"]
    assert record["betas"] == [0.0, 0.5, 1.0] and record["left_out"] == ["psla"]
    public = record["ap_change"]["public"]
    assert (public["slope"], public["p"]) == pytest.approx((line.slope, line.pvalue))
    assert public["mean"] == pytest.approx(change.mean()) and public["n_classes"] == 4
    with open(work / "evaluation" / "betas.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["prior"]) for row in rows] == [0.5, 0.25, 0.125, 0.125]
    assert [float(row["ap_change_public"]) for row in rows] == pytest.approx(change, abs=1e-6)
    figures = {path.name for path in (work / "evaluation" / "figures").iterdir()}
    assert {"betas_map.png", "betas_d_prime.png", "betas_classes.png"} <= figures
    assert "Without a β, so left out here: psla." in (work / "results.md").read_text()


def test_sweeps_that_cannot_be_drawn_are_refused(work, monkeypatch, capsys):
    assert "needs runs of two exponents or more, has 0" in failure(capsys, work, *scores(work), "--betas")
    runs = sweep_runs(work)
    runs["again"] = {"row": "again", "seed": 0, "options": {"sampling": "shuffle"}}
    made_up_runs(work, monkeypatch, runs)
    assert "rows 'again' and 'shuffle' both have 0" in failure(capsys, work, "--betas")
    chosen = ("--runs", *(f"{name}-{seed}" for name in ("shuffle", "repeat") for seed in (0, 1)))
    record = {**runs["repeat-1"], "options": {**runs["repeat-1"]["options"], "beta": 0.3}}
    run = work / "runs" / "repeat-1"
    write_record(work, run, record)
    assert "runs of the row 'repeat' have several: 0.3, 0.5" in failure(capsys, work, *chosen, "--betas")
    LabelTable.read(work / "training.csv", VOCABULARY).select(["train0"]).write(work / "another.csv")
    record["options"] |= {"beta": 0.5, "labels": str(work / "another.csv")}
    write_record(work, run, record)
    assert "trained on different lists" in failure(capsys, work, *chosen, "--betas")
    del record["options"]["labels"]  # the work folder's own list, which is another one too
    LabelTable.read(work / "another.csv", VOCABULARY).write(work / "labels.csv")
    write_record(work, run, record)
    assert "trained on different lists" in failure(capsys, work, *chosen, "--betas")
    record["options"] |= {"labels": str(work / "training.csv"), "beta": "much"}
    write_record(work, run, record)
    assert "repeat-1" in failure(capsys, work, *chosen, "--betas")


def test_priors_are_of_the_clips_that_were_trained_on_and_their_list_must_be_there(work, monkeypatch, capsys):
    made_up_runs(work, monkeypatch, sweep_runs(work))
    for run in (work / "runs").iterdir():
        (run / "train_clips.csv").write_text("clip_id\n" + "".join(f"train{i}\n" for i in (0, 1, 4, 6)))
    assert run_verb(work, "--betas") == 0
    with open(work / "evaluation" / "betas.csv") as file:
        assert [float(row["prior"]) for row in csv.DictReader(file)] == [0.5, 0.25, 0.25, 0]
    listed = work / "training.csv"
    for change in (lambda: listed.write_bytes(listed.read_bytes() + b"train8,/m/a\n"), listed.unlink):
        change()
        assert run_verb(work, "--betas", "--overwrite") == 2
        line = capsys.readouterr().err
        assert "training.csv: the list that" in line
        assert "was trained on was changed or removed. Give --train-labels" in line


def test_what_lies_in_the_work_folder_is_not_read_with_the_classes_of_another_set(work, other_set):
    LabelTable.read(work / "eval.csv", VOCABULARY).write(work / "truth.csv")
    assert run_verb(work, *scores(work), *other_set) == 0
    assert metrics_of(work)["truth"] is None


def test_a_sweep_on_other_classes_is_refused(work, other_set, capsys):
    line = failure(capsys, work, *scores(work), *other_set, "--betas")
    assert "Leave out --class-map" in line


# ---- ablation, last evaluations -------------------------------------------------------------------------------------


def test_the_ablation_table_pairs_runs_of_one_seed(work, monkeypatch):
    runs = {f"{row}-{seed}": {"row": row, "seed": seed} for row in ("whole", "no_mixup") for seed in (0, 1, 2)}
    runs["no_masks-1"] = {"row": "no_masks", "seed": 1}
    found = made_up_runs(work, monkeypatch, runs, {"no_mixup-0": 0.4, "no_mixup-1": 0.6, "no_mixup-2": 0.5})
    assert run_verb(work, "--ablation", "whole") == 0
    ap = {name: average_precision_score(matrix(work / "eval.csv"), answers) for name, answers in found.items()}
    changes = [ap[f"no_mixup-{seed}"] - ap[f"whole-{seed}"] for seed in range(3)]
    whole = statistics.fmean(ap[f"whole-{seed}"] for seed in range(3))
    table = next(table for table in tables(work) if "change" in table[0])
    by_row = {line["row"]: line["change"] for line in table}
    assert [line["row"] for line in table] == ["whole", "no_masks", "no_mixup"] and by_row["whole"] == ""

    def text(value: float) -> str:
        return ("+" if value >= 0 else "") + short(value)

    assert by_row["no_mixup"] == f"{text(statistics.fmean(changes))} ± {short(statistics.stdev(changes))}"
    assert by_row["no_masks"] == text(ap["no_masks-1"] - whole)


def test_an_ablation_of_a_row_that_is_not_there_is_refused_before_scoring(work, monkeypatch, capsys):
    made_up_runs(work, monkeypatch, {"whole-0": {"row": "whole", "seed": 0}})
    monkeypatch.setattr(evaluate, "answers_of_runs", None)
    assert "no row 'hole'; there are: whole. Nearest: 'whole'" in failure(capsys, work, "--ablation", "hole")


def test_the_mean_over_the_last_evaluations_is_shown_where_run_json_has_it(work, monkeypatch):
    """Under the name that train writes it; tests/test_train.py reads a run of train's own."""
    metric_of = {"one-0": ("map", 0.4), "one-1": ("map", 0.5), "two-0": ("d-prime", 2.25), "six-0": ("map", None)}
    runs = {
        name: {"row": name[:3], "seed": int(name[-1]), "options": {"metric": metric}, MEAN_OF_LAST: mean}
        for name, (metric, mean) in metric_of.items()
    }
    made_up_runs(work, monkeypatch, runs)
    assert run_verb(work) == 0
    text = (work / "results.md").read_text()
    assert "Mean over the last 5 evaluations, mAP on the validation list: one .450 ± .071." in text
    assert "Mean over the last 5 evaluations, d' on the validation list: two 2.25." in text
    rows = {row["row"]: row["last_evaluations"] for row in metrics_of(work)["rows"]}
    assert rows["one"]["map"]["mean"] == pytest.approx(0.45) and rows["six"] == {}


def test_combine_refuses_options_that_measure(work, capsys):
    with pytest.raises(SystemExit, match="2"):
        evaluate.main(["combine", str(work), "--betas"])
    assert "unrecognized arguments: --betas" in capsys.readouterr().err
    assert "Name the work folders" in failure(capsys, work, "combine")


@pytest.mark.parametrize("name", ["noisy", "truth", "a b"])
def test_a_set_of_labels_may_not_be_called_the_truth_from_python_either(name):
    with pytest.raises(InputError, match="--labels-set: "):
        evaluate.EvaluateOptions(labels_set=[(name, Path("eval.csv"))])
