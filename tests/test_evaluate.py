"""The verb evaluate on made-up work folders: what it writes is recomputed here from the inputs."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pseudolabel import evaluate
from pseudolabel.audio.clips import ClipStore, ClipTable, write_clips
from pseudolabel.blocks import only_run
from pseudolabel.evaluation_lists import clip_groups
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import Inputs
from pseudolabel.reports.rows import RunResult
from pseudolabel.scores.store import ScoreStore

VOCABULARY = Vocabulary("toy", ("/m/a", "/m/b", "/m/c"), ("Animal", "Dog", "Rain"), ("/m/a", "/m/b", "/m/c"))
TRAIN, EVAL = [f"train{i}" for i in range(20)], [f"eval{i}" for i in range(40)]
RATE = 16


@pytest.fixture
def work(tmp_path):
    """A work folder: true and given labels, clips, one enhanced list, scores of the evaluation clips."""
    work = tmp_path / "work"
    rng = np.random.default_rng(3)
    VOCABULARY.write(work / "vocabulary.csv")
    true = rng.random((60, 3)) < 0.4
    given = true & (rng.random(true.shape) < 0.7)
    LabelTable(TRAIN + EVAL, true, VOCABULARY).write(work / "truth.csv")
    LabelTable(TRAIN, given[:20], VOCABULARY).write(work / "labels.csv")
    LabelTable(EVAL, given[20:], VOCABULARY).write(work / "eval.csv")
    added = np.zeros((20, 3), bool)
    added[np.nonzero(true[:20] & ~given[:20])[0][:3], np.nonzero(true[:20] & ~given[:20])[1][:3]] = True
    added[tuple(np.argwhere(~true[:20])[0])] = True
    write_enhanced(work / "enhanced-25p", given[:20], added)
    scores = 1 / (1 + np.exp(-(true[20:] + rng.normal(size=(40, 3)) - 0.5)))
    order = rng.permutation(40)  # neither clips nor classes stand in the order of the list
    ScoreStore.write(work / "scores.h5", [EVAL[i] for i in order], VOCABULARY.class_ids[::-1],
                     {"clip": scores[order][:, ::-1]})  # fmt: skip
    samples = [RATE] * len(EVAL)
    pieces = iter([np.zeros(2 * RATE * len(EVAL), np.uint8)])
    write_clips(work / "clips.h5", ClipTable(EVAL, EVAL, samples, [2 * n for n in samples], RATE), pieces)
    return work


def write_enhanced(folder, given: np.ndarray, added: np.ndarray) -> None:
    folder.mkdir(parents=True)
    LabelTable(TRAIN, given | added, VOCABULARY).write(folder / "labels.csv")
    with gzip.open(folder / "ledger.csv.gz", "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip_id", "class_id", "error", "because", "score", "threshold"])
        for i, k in np.argwhere(added):
            writer.writerow([TRAIN[i], VOCABULARY.class_ids[k], ["I", "II"][k % 2], "", 0.5, 0.4])


def matrix(path, clip_ids) -> np.ndarray:
    return LabelTable.read(path, VOCABULARY).select(clip_ids).matrix.toarray()


def answers(work, clip_ids=EVAL) -> np.ndarray:
    """Scores by clip and class, read cell by cell."""
    store = ScoreStore.open(work / "scores.h5")
    cells = store.clip_scores()
    return np.array(
        [[cells[store.clip_ids.index(i), store.class_ids.index(k)] for k in VOCABULARY.class_ids] for i in clip_ids],
        dtype=np.float64,
    )


def run_verb(work, *options: str) -> int:
    return evaluate.main(["--work", str(work), *options])


def failure(capsys, work, *options: str) -> str:
    """Run the verb, which must fail with exit code 2; return its one line of error."""
    assert run_verb(work, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def scores_options(work) -> tuple[str, str]:
    return "--scores", str(work / "scores.h5")


def made_up_runs(work, rows: dict[str, list[float]]) -> dict[str, np.ndarray]:
    """Make run folders without real models; return what their models would answer."""
    rng = np.random.default_rng(5)
    true, found = matrix(work / "truth.csv", EVAL), {}
    for row, qualities in rows.items():
        for seed, quality in enumerate(qualities):
            folder = work / "runs" / f"{row}-seed{seed}"
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(b"")
            record = {"row": row, "seed": seed, "n_parameters": 1000, "train_seconds": 7.0,
                      "n_train_clips": 100 if row == "teacher" else 20}  # fmt: skip
            (folder / "run.json").write_text(json.dumps(record))
            found[folder.name] = 1 / (1 + np.exp(-(quality * true + rng.normal(size=true.shape))))
    return found


def test_scores_mode_writes_metrics_that_scikit_learn_confirms(work, capsys):
    assert run_verb(work, *scores_options(work)) == 0
    record = json.loads((work / "evaluation" / "metrics.json").read_text())
    (run,) = record["runs"]
    assert run["row"] == "scores" and record["n_clips"] == 40 and record["n_missing"] == 0
    for name, file in (("truth", "truth.csv"), ("noisy", "eval.csv")):
        labels = matrix(work / file, EVAL)
        assert run["metrics"][name]["map"] == pytest.approx(average_precision_score(labels, answers(work)))
        area = roc_auc_score(labels, answers(work))
        assert run["metrics"][name]["d_prime"] == pytest.approx(2**0.5 * statistics.NormalDist().inv_cdf(area))
    with open(work / "evaluation" / "per_class.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_id"] for row in rows] == list(VOCABULARY.class_ids)
    per_class = average_precision_score(matrix(work / "truth.csv", EVAL), answers(work), average=None)
    assert [float(row["ap_truth"]) for row in rows] == pytest.approx(list(per_class), abs=1e-6)
    assert "wrote" in capsys.readouterr().out and (work / "results.md").is_file()


def test_additions_in_results_are_those_of_the_files(work):
    run_verb(work, *scores_options(work))
    given, true = matrix(work / "labels.csv", TRAIN), matrix(work / "truth.csv", TRAIN)
    added = matrix(work / "enhanced-25p" / "labels.csv", TRAIN) & ~given
    n_right, n_missing = (added & true).sum(), (true & ~given).sum()
    assert (added.sum(), n_right) == (4, 3)
    judged = json.loads((work / "evaluation" / "metrics.json").read_text())["enhanced"]["enhanced-25p"]
    everything = judged["by_error"]["all"]
    assert everything["precision"] == pytest.approx(3 / 4) and everything["recall"] == pytest.approx(3 / n_missing)
    assert judged["labels_after"]["recall"] == pytest.approx(((given | added) & true).sum() / true.sum())
    text = (work / "results.md").read_text()
    assert f"added 4 labels ({100 * 4 / given.sum():.1f} % more)" in text
    assert f"3 of them are right (precision .750), of {n_missing} that were missing" in text


def test_a_types_recall_is_of_what_the_named_ontology_proposes(work, capsys):
    """Animal over Dog and Rain: Type I finds a missing Dog or Rain where Animal is given, Type II a missing Animal."""
    (work / "own.csv").write_text(
        "class_id,name,child_ids,restrictions\n/m/a,Animal,/m/b;/m/c,\n/m/b,Dog,,\n/m/c,Rain,,\n"
    )
    assert run_verb(work, *scores_options(work), "--ontology", str(work / "own.csv")) == 0
    given, true = matrix(work / "labels.csv", TRAIN), matrix(work / "truth.csv", TRAIN)
    missing = [(given[clip], k) for clip, k in np.argwhere(true & ~given)]
    one = sum(k > 0 and held[0] for held, k in missing)
    two = sum(k == 0 and held.any() for held, k in missing)
    judged = json.loads((work / "evaluation" / "metrics.json").read_text())["enhanced"]["enhanced-25p"]
    assert [judged["by_error"][kind]["missing"] for kind in ("I", "II")] == [one, two]
    assert judged["n_missing_not_proposed"] == len(missing) - one - two and one and two
    (work / "own.csv").write_text("class_id,name,child_ids,restrictions\nx,X,,\n")
    line = failure(capsys, work, *scores_options(work), "--ontology", str(work / "own.csv"), "--overwrite")
    assert "not one class of the vocabulary is in the ontology" in line


def test_rows_over_seeds_in_results_equal_independent_numbers(work, monkeypatch, capsys):
    found = made_up_runs(work, {"teacher": [3.0], "weak": [0.5, 0.7], "psl_2s": [1.5, 1.7], "other": [0.1]})

    def answers_of_runs(folders, clips, clip_ids, vocabulary, options):
        for folder in folders:
            yield evaluate.run_of_folder(folder, clip_ids), found[folder.name]

    monkeypatch.setattr(evaluate, "answers_of_runs", answers_of_runs)
    monkeypatch.setattr(evaluate, "over_time_of_runs", lambda *_: ())  # these runs have no models
    assert run_verb(work) == 0
    true = matrix(work / "truth.csv", EVAL)
    by_run = {name: average_precision_score(true, scores) for name, scores in found.items()}
    results, intervals = (work / "results.md").read_text().split("## 95 % intervals")
    lines = results.splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    header = next(line for line in table if line[0] == "row")
    rows = {line[0]: dict(zip(header, line, strict=True)) for line in table[table.index(header) + 2 :]}
    assert list(rows) == ["teacher", "weak", "psl_2s", "other"]
    for name in ("weak", "psl_2s"):
        values = [by_run[f"{name}-seed0"], by_run[f"{name}-seed1"]]
        expected = f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}".replace("0.", ".")
        assert rows[name]["mAP true"] == expected and rows[name]["seeds"] == "2"
    assert rows["teacher"]["mAP true"] == f"{by_run['teacher-seed0']:.3f}".lstrip("0")
    assert rows["teacher"]["clips"] == "100" and rows["weak"]["clips"] == "20" and rows["weak"]["parameters"] == "1,000"
    gain = statistics.fmean(by_run[f"psl_2s-seed{s}"] - by_run[f"weak-seed{s}"] for s in (0, 1))
    assert f" +{gain:.3f}".replace("+0.", "+.") in intervals and "Differences are to weak" in intervals
    text = "\n".join(lines)
    assert "Not run at this scale: enhanced, precision-0.7, psl_10s, psl_5s, psl_2s_calibrated, true." in text
    assert "The teacher was trained on another list than the students: 100 clips, they on 20." in text
    printed = capsys.readouterr().out
    assert rows["psl_2s"]["mAP true"].replace(" ", "") in printed
    assert max(len(line) for line in printed.split("row", 1)[1].split("\n\n")[0].splitlines()) <= 105


def test_clips_without_audio_scores_or_truth_are_counted_and_listed(work, capsys):
    store = ScoreStore.open(work / "scores.h5")
    kept = [i for i in range(40) if store.clip_ids[i] not in ("eval3", "eval5")]
    ScoreStore.write(work / "fewer.h5", [store.clip_ids[i] for i in kept], store.class_ids,
                     {"clip": np.asarray(store.clip_scores())[kept]})  # fmt: skip
    truth = LabelTable.read(work / "truth.csv", VOCABULARY)
    truth.select([i for i in truth.clip_ids if i != "eval7"]).write(work / "truth.csv")
    assert run_verb(work, "--scores", str(work / "fewer.h5")) == 0
    with open(work / "evaluation" / "missing.csv") as file:
        missing = {row["clip_id"]: row["reason"] for row in csv.DictReader(file)}
    assert set(missing) == {"eval3", "eval5", "eval7"} and missing["eval7"] == "no true labels"
    metrics = json.loads((work / "evaluation" / "metrics.json").read_text())["runs"][0]["metrics"]
    assert (metrics["noisy"]["n_clips"], metrics["truth"]["n_clips"]) == (38, 37)
    scored = [i for i in EVAL if i not in missing]
    expected = average_precision_score(matrix(work / "truth.csv", scored), answers(work, scored))
    assert metrics["truth"]["map"] == pytest.approx(expected)
    assert "3 missing" in capsys.readouterr().out
    line = failure(capsys, work, "--scores", str(work / "fewer.h5"), "--out", str(work / "strict"), "--strict")
    assert "2 of 40 clips have no scores" in line and "eval3, eval5" in line and not (work / "strict").exists()


def test_runs_of_several_stores_are_measured_on_their_common_clips(work):
    store = ScoreStore.open(work / "scores.h5")
    ScoreStore.write(work / "half.h5", store.clip_ids[:20], store.class_ids, {"clip": store.clip_scores()[:20]})
    assert run_verb(work, "--scores", str(work / "scores.h5"), str(work / "half.h5")) == 0
    record = json.loads((work / "evaluation" / "metrics.json").read_text())
    assert record["n_clips"] == 20 and record["n_missing"] == 20
    assert record["runs"][0]["metrics"] == record["runs"][1]["metrics"]


def test_without_truth_the_given_labels_are_all_there_is(work):
    (work / "truth.csv").unlink()
    assert run_verb(work, *scores_options(work)) == 0
    text = (work / "results.md").read_text()
    assert "mAP given" in text and "mAP true" not in text and "true labels" not in text
    assert "(precision" not in text and "| precision" not in text
    assert "truth" not in json.loads((work / "evaluation" / "metrics.json").read_text())["runs"][0]["metrics"]


def test_the_same_inputs_give_the_same_bytes(work, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate"])
    run_verb(work, *scores_options(work))
    first = {p.name: p.read_bytes() for p in (work / "evaluation").rglob("*") if p.is_file() and p.name != "run.json"}
    run_verb(work, *scores_options(work), "--overwrite")
    again = {p.name: p.read_bytes() for p in (work / "evaluation").rglob("*") if p.is_file() and p.name != "run.json"}
    assert len(first) >= 6 and first == again


def test_an_evaluation_that_exists_needs_overwrite_and_another_out_leaves_results_alone(work, capsys):
    run_verb(work, *scores_options(work))
    before = (work / "results.md").read_bytes()
    assert "evaluation: output exists" in failure(capsys, work, *scores_options(work))
    assert run_verb(work, *scores_options(work), "--out", str(work / "second"), "--enhanced") == 0
    assert (work / "results.md").read_bytes() == before
    assert "enhanced" not in json.loads((work / "second" / "metrics.json").read_text())["enhanced"]


def test_scores_of_other_clips_or_fewer_classes_are_refused(work, capsys):
    ScoreStore.write(work / "other.h5", ["x", "y"], VOCABULARY.class_ids, {"clip": np.zeros((2, 3))})
    assert "40 of 40 clips have no scores" in failure(capsys, work, "--scores", str(work / "other.h5"))
    ScoreStore.write(work / "fewer.h5", EVAL, VOCABULARY.class_ids[:2], {"clip": np.zeros((40, 2))})
    line = failure(capsys, work, "--scores", str(work / "fewer.h5"))
    assert "1 of 3 classes have no scores: /m/c" in line and "--vocabulary" in line


def test_truth_or_lists_of_other_clips_are_refused(work, capsys):
    options = scores_options(work)
    LabelTable(["x"], np.ones((1, 3)), VOCABULARY).write(work / "elsewhere.csv")
    assert "true labels" in failure(capsys, work, *options, "--truth", str(work / "elsewhere.csv"))
    line = failure(capsys, work, *options, "--train-labels", str(work / "elsewhere.csv"), "--enhanced",
                   str(work / "enhanced-25p"))  # fmt: skip
    assert "enhanced-25p: 21 clips are in only one of the two lists" in line and "--train-labels" in line
    assert "nowhere.csv: no such file" in failure(capsys, work, *options, "--labels", str(work / "nowhere.csv"))


def test_found_folder_that_enhances_another_list_is_left_out_with_a_word(work, capsys):
    LabelTable(["x"], np.ones((1, 3)), VOCABULARY).write(work / "elsewhere.csv")
    options = ["--work", str(work), *scores_options(work), "--train-labels", str(work / "elsewhere.csv")]
    assert evaluate.main(options) == 0
    assert "not judged: " in capsys.readouterr().err
    assert json.loads((work / "evaluation" / "metrics.json").read_text())["enhanced"] == {}


def test_truth_of_the_evaluated_clips_alone_is_enough(work):
    truth = LabelTable.read(work / "truth.csv", VOCABULARY).select(EVAL)
    truth.write(work / "truth.csv")
    assert evaluate.main(["--work", str(work), *scores_options(work)]) == 0
    judged = json.loads((work / "evaluation" / "metrics.json").read_text())["enhanced"]["enhanced-25p"]
    assert judged["n_added"] > 0 and "labels_before" not in judged


def test_clips_of_one_group_alone_are_drawn_one_by_one(work, capsys):
    """As the evaluation scenes of a simulated corpus: draws of one group would give intervals of no width."""
    (work / "groups.csv").write_text("clip_id,group\n" + "".join(f"{clip_id},pool\n" for clip_id in EVAL))
    options = (*scores_options(work), "--resamples", "50")
    assert run_verb(work, *options, "--groups", str(work / "groups.csv")) == 0
    assert "all clips are of one group (pool): for intervals they are drawn one by one" in capsys.readouterr().err
    found = json.loads((work / "evaluation" / "metrics.json").read_text())
    assert found["n_groups"] == len(EVAL)
    text = (work / "evaluation" / "results.md").read_text()
    low, high = map(float, re.search(r"\[(\.\d+), (\.\d+)\]", text).groups())
    assert low < high - 0.01
    for name in ("eval", "truth"):
        rows = (work / f"{name}.csv").read_text().splitlines(keepends=True)
        (work / f"{name}.csv").write_text(rows[0] + next(row for row in rows if row.startswith("eval0,")))
    assert run_verb(work, *scores_options(work), "--enhanced", "--overwrite") == 0  # one clip: no intervals
    assert "[" not in (work / "evaluation" / "results.md").read_text().partition("## Files")[0]


def test_absent_and_repeated_runs_are_refused(work, capsys):
    assert "no run with a model" in failure(capsys, work)
    assert "no run 'nobody' with a model.safetensors" in failure(capsys, work, "--runs", "nobody")
    twice = work / "more" / "scores.h5"
    twice.parent.mkdir()
    twice.write_bytes((work / "scores.h5").read_bytes())
    assert "have the same seed" in failure(capsys, work, *scores_options(work), str(twice))


def test_clips_seen_in_training_are_counted(work):
    made_up_runs(work, {"weak": [1.0]})
    (work / "runs" / "weak-seed0" / "train_clips.csv").write_text("clip_id\ntrain0\neval1\neval2\n")
    run = evaluate.run_of_folder(work / "runs" / "weak-seed0", EVAL)
    assert isinstance(run, RunResult) and (run.row, run.seed, run.n_seen, run.n_train_clips) == ("weak", 0, 2, 20)


def test_a_real_model_is_scored_by_clip_id_and_class_id(work):
    from pseudolabel.models import load_model, save_model
    from pseudolabel.models.tagger import build_tagger

    rate = 16000
    rng = np.random.default_rng(1)
    pcm = rng.integers(-3000, 3000, (len(EVAL), rate // 2)).astype("<i2")
    backwards = EVAL[::-1]
    pieces, n_samples = iter([pcm.view(np.uint8).ravel()]), [rate // 2] * 40
    write_clips(
        work / "clips.h5", ClipTable(backwards, backwards, n_samples, [rate] * 40, rate), pieces, overwrite=True
    )
    config = {"name": "mobilenetv2", "class_ids": ["/m/c", "/m/a", "/m/b"], "options": {"width": 0.1}}
    save_model(work / "runs" / "lone", build_tagger(config))
    assert run_verb(work, "--batch-size", "7", "--device", "cpu", "--threads", "1") == 0
    (run,) = json.loads((work / "evaluation" / "metrics.json").read_text())["runs"]
    assert (run["row"], run["seed"], run["model"]) == ("lone", None, "mobilenetv2") and run["n_parameters"] > 1000

    import torch

    tagger = load_model(work / "runs" / "lone")
    with torch.inference_mode():
        scores = tagger(torch.from_numpy(pcm.astype(np.float32) / 32768)).numpy()[::-1][:, [1, 2, 0]]
    expected = average_precision_score(matrix(work / "truth.csv", EVAL), scores)
    assert run["metrics"]["truth"]["map"] == pytest.approx(expected, abs=1e-6)


def test_scores_mode_runs_without_torch(work):
    code = (
        "import sys; from pseudolabel.evaluate import main\n"
        f"assert main(['--work', {str(work)!r}, '--scores', {str(work / 'scores.h5')!r}]) == 0\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_clips_under_other_ids_are_measured_all_the_same(work, capsys):
    assert run_verb(work, *scores_options(work)) == 0
    expected = (work / "evaluation" / "metrics.json").read_text()
    tube = {clip_id: f"KK227gP{i:04d}" for i, clip_id in enumerate(TRAIN + EVAL)}
    for name, form in {"labels.csv": "{}", "eval.csv": "{}", "truth.csv": "Y{}"}.items():
        table = LabelTable.read(work / name, VOCABULARY)
        table.renamed({clip_id: form.format(tube[clip_id]) for clip_id in table.clip_ids}).write(work / name)
    write_ids = {clip_id: tube[clip_id] for clip_id in TRAIN}
    folder = work / "enhanced-25p"
    LabelTable.read(folder / "labels.csv", VOCABULARY).renamed(write_ids).write(folder / "labels.csv")
    with gzip.open(folder / "ledger.csv.gz", "rt", newline="") as file:
        ledger = list(csv.reader(file))
    with gzip.open(folder / "ledger.csv.gz", "wt", newline="") as file:
        csv.writer(file).writerows([write_ids.get(row[0], row[0]), *row[1:]] for row in ledger)
    store = ScoreStore.open(work / "scores.h5")
    scored = [f"{tube[clip_id]}_30.000_40.000" for clip_id in store.clip_ids]
    ScoreStore.write(
        work / "scores.h5", scored, store.class_ids, {"clip": np.array(store.clip_scores())}, overwrite=True
    )
    capsys.readouterr()
    assert run_verb(work, *scores_options(work), "--overwrite") == 0
    assert (work / "evaluation" / "metrics.json").read_text() == expected
    assert json.loads((work / "evaluation" / "run.json").read_text())["clips_under_another_id"] == 40
    assert [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()] == [
        f"20 of 20 clips found under another id (true labels in {work / 'truth.csv'})",
        f"40 of 40 clips found under another id (true labels in {work / 'truth.csv'})",
        f"40 of 40 clips found under another id (scores in {work / 'scores.h5'})",
    ]


def test_clips_seen_in_training_under_another_id_are_counted(work):
    made_up_runs(work, {"weak": [1.0]})
    (work / "runs" / "weak-seed0" / "train_clips.csv").write_text("clip_id\nYKK227gPpRn4\na/b.wav\nKK227gPpRn5_0\n")
    assert (
        evaluate.run_of_folder(work / "runs" / "weak-seed0", ["KK227gPpRn4", "b", "c", "KK227gPpRn5_10000"]).n_seen == 2
    )


def test_unknown_labels_of_lists_are_left_out_on_request(work, capsys):
    text = (work / "eval.csv").read_text()
    (work / "more.csv").write_text(text.replace("eval3,", "eval3,elk;", 1).replace("elk;\n", "elk\n"))
    options = *scores_options(work), "--labels", str(work / "more.csv")
    assert "class 'elk' is not in the vocabulary" in failure(capsys, work, *options)
    assert "'csw'" in failure(capsys, work, *options, "--format", "csw")
    assert run_verb(work, *options, "--unknown-labels", "skip", "--format", "csv") == 0
    assert "more.csv: 1 labels left out, of 1 classes" in capsys.readouterr().err
    assert json.loads((work / "evaluation" / "run.json").read_text())["labels_left_out"] == {"elk": 1}


# ---- what belongs to a named file -----------------------------------------------------------------------------------


def project(folder, monkeypatch, seed: int):
    """A work folder A, and a current folder whose `work` has the same clips with other labels, truth and additions."""
    rng = np.random.default_rng(seed)
    for place, flipped in ((folder / "A", False), (folder / "here" / "work", True)):
        VOCABULARY.write(place / "vocabulary.csv")
        true = rng.random((60, 3)) < 0.4
        scores = np.where(true, 0.9, 0.1)[20:]
        for name, clip_ids, rows in (("truth", TRAIN + EVAL, slice(None)), ("eval", EVAL, slice(20, None)),
                                     ("labels", TRAIN, slice(20))):  # fmt: skip
            LabelTable(clip_ids, true[rows], VOCABULARY).write(place / f"{name}.csv")
        write_enhanced(place / ("enhanced-b" if flipped else "enhanced-a"), true[:20] & False, true[:20])
        ScoreStore.write(place / "scores.h5", EVAL, VOCABULARY.class_ids, {"clip": scores})
    (folder / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(folder / "here")
    return folder / "A"


def read_files(out) -> set[str]:
    record = json.loads((out / "run.json").read_text())
    return {os.path.relpath(path) for path in record["inputs"]}


def test_what_belongs_to_named_lists_and_scores_comes_from_their_folder_and_not_from_work(tmp_path, monkeypatch):
    other = project(tmp_path, monkeypatch, 1)
    options = ("--scores", str(other / "scores.h5"), "--labels", str(other / "eval.csv"), "--out", "e")
    LabelTable(TRAIN, np.zeros((20, 3), bool), VOCABULARY).write(other / "labels.csv")
    assert evaluate.main(list(options)) == 0
    found = json.loads(Path("e/metrics.json").read_text())
    assert {run["metrics"][name]["map"] for run in found["runs"] for name in ("truth", "noisy")} == {1.0}
    assert list(found["enhanced"]) == ["enhanced-a"]
    names = ("scores.h5", "eval.csv", "truth.csv", "labels.csv", "vocabulary.csv", "enhanced-a/labels.csv")
    assert read_files(Path("e")) == {f"../A/{name}" for name in (*names, "enhanced-a/ledger.csv.gz")}


def test_what_a_named_list_has_not_beside_it_is_absent_and_said_so(tmp_path, monkeypatch, capsys):
    other = project(tmp_path, monkeypatch, 2)
    (tmp_path / "B").mkdir()
    for name in ("scores.h5", "eval.csv"):
        (other / name).rename(tmp_path / "B" / name)
    options = ["--scores", "../B/scores.h5", "--labels", "../B/eval.csv", "--out", "e"]
    assert evaluate.main([*options, "--vocabulary", "../A/vocabulary.csv"]) == 0
    assert "no true labels: work/truth.csv does not belong to ../B/eval.csv" in capsys.readouterr().err
    found = json.loads(Path("e/metrics.json").read_text())
    assert found["truth"] is None and not found["enhanced"]
    assert read_files(Path("e")) == {"../B/scores.h5", "../B/eval.csv", "../A/vocabulary.csv"}


def test_a_named_work_folder_is_read_where_nothing_else_is_named(tmp_path, monkeypatch):
    other = project(tmp_path, monkeypatch, 3)
    assert evaluate.main(["--work", str(other), "--scores", str(other / "scores.h5")]) == 0
    assert read_files(other / "evaluation") and all(
        name.startswith("../A/") for name in read_files(other / "evaluation")
    )


@pytest.mark.parametrize("content", ["folder", "foreign"])
def test_overwrite_replaces_an_evaluation_and_nothing_else(work, capsys, content):
    out = work / "evaluation"
    if content == "folder":
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    else:
        assert run_verb(work, "--scores", str(work / "scores.h5")) == 0
        (out / "thesis.txt").write_text("mine")
    before = sorted(path.relative_to(work) for path in work.rglob("*"))
    capsys.readouterr()
    assert run_verb(work, "--scores", str(work / "scores.h5"), "--overwrite") == 2
    assert "so it is not replaced" in capsys.readouterr().err
    assert sorted(path.relative_to(work) for path in work.rglob("*")) == before


def test_results_of_somebody_else_are_not_replaced_and_own_ones_without_their_folder_are(work, capsys):
    (work / "results.md").write_text("my notes")
    assert run_verb(work, "--scores", str(work / "scores.h5"), "--overwrite") == 2
    assert "results.md: not results of pseudolabel" in capsys.readouterr().err
    assert (work / "results.md").read_text() == "my notes" and not (work / "evaluation").exists()
    (work / "results.md").write_text("# Results\n\nof a run that was killed before its folder was there")
    assert run_verb(work, "--scores", str(work / "scores.h5")) == 0
    assert (work / "results.md").read_bytes() == (work / "evaluation" / "results.md").read_bytes()


def test_a_second_evaluation_into_one_folder_is_refused(work, capsys):
    with only_run(work / "evaluation"):
        assert run_verb(work, "--scores", str(work / "scores.h5")) == 2
    assert "another run is at work on this output" in capsys.readouterr().err


def test_clips_beside_scores_are_the_sound_of_the_report(work, capsys):
    assert run_verb(work, *scores_options(work), "--clips", str(work / "clips.h5"), "--gallery", "4") == 0
    sounds = sorted(path.name for path in (work / "evaluation" / "report-audio").iterdir())
    assert sounds == ["01.flac", "02.flac", "03.flac", "04.flac"]
    assert (work / "evaluation" / "report.html").read_text().count("<audio") == 4
    line = failure(capsys, work, *scores_options(work), "--clips", str(work / "scores.h5"), "--overwrite")
    assert "format is 'pseudolabel-scores' version 1, expected 'pseudolabel-clips'" in line


def test_the_one_group_of_a_clip_store_is_not_drawn(work):
    samples = [RATE] * len(EVAL)
    table = ClipTable(EVAL, ["eval"] * len(EVAL), samples, [2 * n for n in samples], RATE)
    write_clips(work / "one.h5", table, iter([np.zeros(2 * RATE * len(EVAL), np.uint8)]))
    found = [clip_groups(EVAL, None, ClipStore.open(work / name), Inputs()) for name in ("one.h5", "clips.h5")]
    assert found == [None, EVAL]  # drawn together, all draws would be the same, and the interval would have no width


@pytest.mark.parametrize("option", ["--truth", "--train-labels", "--enhanced"])
def test_whatever_is_named_decides_whose_lists_and_runs_are_read(tmp_path, monkeypatch, option):
    other = project(tmp_path, monkeypatch, 5)
    LabelTable(TRAIN, np.zeros((20, 3), bool), VOCABULARY).write(other / "labels.csv")  # what enhanced-a was made from
    named = {"--truth": "truth.csv", "--train-labels": "labels.csv", "--enhanced": "enhanced-a"}[option]
    assert evaluate.main([option, str(other / named), "--scores", str(other / "scores.h5"), "--out", "e"]) == 0
    assert {os.path.dirname(name) for name in read_files(Path("e"))} == {"../A", "../A/enhanced-a"}
