"""The verb train on tones: what it writes, what it refuses, and how it goes on after a kill."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil

import h5py
import numpy as np
import pytest
import torch

from pseudolabel.audio.clips import ClipStore
from pseudolabel.audio.frontend import LogMel, LogMelOptions
from pseudolabel.evaluate import main as evaluate
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models import load_model
from pseudolabel.records import sha256
from pseudolabel.reports.measuring import RUN_FIELDS, run_of_folder
from pseudolabel.scores.metrics import average_precision
from pseudolabel.scores.store import ScoreStore
from pseudolabel.stores import fixed_length_text
from pseudolabel.train import main
from pseudolabel.train import train as train_model
from pseudolabel.train_options import RunOptions
from pseudolabel.training.loop import Trainer
from pseudolabel.training.options import TrainOptions
from pseudolabel.training.scoring import score_clips

CLASSES = ("low", "middle", "high")
SMALL = ("--model-options", "width=.1", "last_channels=64", "input_norm=batch", "--front-end", "hop_s=.04")
QUICK = ("--threads", "1", "--clip-seconds", "2", "--batch-size", "6", *SMALL)
LEARNING = ("--epochs", "30", "--learning-rate", "0.01", "--betas", ".8", ".99")


pytestmark = pytest.mark.usefixtures("same_threads_after")


@pytest.fixture(scope="module")
def tones(write_tones, tmp_path_factory):
    """Fifteen clips of 2 s; labels.csv has the first twelve, validation.csv the rest; soft targets at 1 s and clip."""
    work = write_tones(tmp_path_factory.mktemp("train") / "tones", [2.0] * 15)
    vocabulary = Vocabulary.load(work / "vocabulary.csv")
    labels = LabelTable.read(work / "labels.csv", vocabulary)
    labels.select(labels.clip_ids[:12]).write(work / "labels.csv")
    labels.select(labels.clip_ids[12:]).write(work / "validation.csv")
    soft = labels.matrix.toarray() * 0.8 + 0.1
    ScoreStore.write(work / "scores.h5", labels.clip_ids[::-1], CLASSES[::-1],
                     {"clip": soft[::-1, ::-1], 1: np.repeat(soft[::-1, None, ::-1], 2, axis=1)})  # fmt: skip
    return work


@pytest.fixture
def work(tones, tmp_path):
    """A copy of the corpus that a test may change."""
    return shutil.copytree(tones, tmp_path / "work")


def train(work, *options: str, epochs: int = 1) -> int:
    return main(["--work", str(work), *QUICK, "--epochs", str(epochs), *map(str, options)])


def refused(capsys, work, *options: str) -> str:
    """Return the one line that a refused command says."""
    assert train(work, *options) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("pseudolabel train: error: ")
    return lines[0]


def read_rows(path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def history_of(run) -> list[tuple[str, ...]]:
    """Return the columns of history.csv that do not tell the time."""
    return [tuple(list(row.values())[:6]) for row in read_rows(run / "history.csv")]


def clip_scores(work, run) -> np.ndarray:
    clips = ClipStore.open(work / "clips.h5")
    return score_clips(load_model(run), clips, np.arange(12))[:, 0]


@pytest.mark.parametrize("targets", [(), ("--targets", "scores.h5", "--window", "1s"), ("--targets", "scores.h5")])
def test_tones_are_learned_from_labels_and_from_soft_targets(work, targets):
    targets = [work / part if part == "scores.h5" else part for part in targets]
    assert train(work, *LEARNING, "--model-options", "width=.1", "last_channels=64", "input_norm=batch", "dropout=0",
                 *targets, "--out", work / "run") == 0  # fmt: skip
    losses = [float(row["loss"]) for row in read_rows(work / "run" / "history.csv")]
    floor = 0.325 if targets else 0  # the entropy of targets of .9 and .1
    assert losses[-1] - floor < 0.8 * (losses[0] - floor)
    labels = np.tile(np.eye(3, dtype=bool), (4, 1))
    assert average_precision(labels, clip_scores(work, work / "run")).mean() > 0.9


@pytest.mark.parametrize(("options", "precision"), [((), None), (("--precision", "float32"), "float32")])
def test_a_run_trained_in_float32_is_validated_and_scored_in_it(work, options, precision):
    train(work, *options, "--out", work / "run", epochs=1)
    assert load_model(work / "run").config["precision"] == precision


def test_run_folder_says_what_was_done(work):
    train(work, "--row", "weak", "--seed", "3", epochs=2)
    run = work / "runs" / "weak-seed3"
    assert {path.name for path in run.iterdir()} == {
        "model.safetensors", "config.json", "train_clips.csv", "missing.csv", "history.csv", "learning_curve.png",
        "run.json", "checkpoints",
    }  # fmt: skip
    record = json.loads((run / "run.json").read_text())
    expected = {"row": "weak", "seed": 3, "n_train_clips": 12, "n_train_pieces": 12, "verb": "train",
                "selected_epoch": 2}  # fmt: skip
    assert {key: record[key] for key in expected} == expected
    assert record["n_parameters"] == sum(p.numel() for p in load_model(run).parameters())
    history = read_rows(run / "history.csv")
    assert record["train_seconds"] == pytest.approx(sum(float(row["seconds"]) for row in history), abs=0.06)
    assert record["validation_map"] == float(history[1]["validation_map"])
    assert "pseudolabel.train" in record["command"]
    inputs = {str(work / name): sha256(work / name) for name in ("labels.csv", "validation.csv")}
    assert inputs.items() <= record["inputs"].items()
    assert [row["epoch"] for row in history] == ["1", "2"] and [row["step"] for row in history] == ["2", "4"]


def test_teacher_is_found_where_scoring_looks_for_it(work):
    assert train(work, "--row", "teacher", "--seed", "5") == 0
    assert (work / "runs" / "teacher" / "run.json").is_file()


def test_train_clips_lists_exactly_the_clips_in_order(work):
    chosen = ["t07", "t02", "t11"]
    (work / "list.csv").write_text("clip_id,labels\n" + "".join(f"{clip_id},\n" for clip_id in chosen))
    train(work, "--list", work / "list.csv", "--batch-size", "2", "--out", work / "run")
    assert [row["clip_id"] for row in read_rows(work / "run" / "train_clips.csv")] == chosen
    assert read_rows(work / "run" / "missing.csv") == []


def test_model_and_config_alone_give_the_same_scores(work, tmp_path):
    train(work, "--out", work / "run")
    scores = clip_scores(work, work / "run")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.move(work / "run" / name, tmp_path / "alone" / name)
    torch.manual_seed(99)
    assert np.array_equal(clip_scores(work, tmp_path / "alone"), scores)
    assert load_model(tmp_path / "alone").class_ids == list(CLASSES)


def test_same_command_gives_the_same_bytes_and_another_seed_others(work):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(work, "--out", work / name, "--seed", seed, "--mixup-rate", ".5", "--time-mask-s", ".3")
    models = [(work / name / "model.safetensors").read_bytes() for name in "abc"]
    assert models[0] == models[1] != models[2]


def test_alpha_mixes_soft_and_hard_targets(work):
    """Only alpha 1 is blind to the labels, only alpha 0 to the scores."""
    soft = ("--targets", work / "scores.h5")
    runs = {"1": ("--alpha", "1", *soft), ".5": ("--alpha", ".5", *soft), "0": ("--alpha", "0", *soft), "hard": ()}
    for name, options in runs.items():
        train(work, *options, "--out", work / name)
    models = {name: (work / name / "model.safetensors").read_bytes() for name in runs}
    assert models["0"] == models["hard"]
    assert len(set(models.values())) == 3


def test_each_sampling_is_another_order(work):
    (work / "labels.csv").write_text("clip_id,labels\n" + "".join(
        f"t{i:02d},{CLASSES[i % 3] if i < 9 else 'low'}\n" for i in range(12)
    ))  # fmt: skip
    for name in ("sum-rule", "max-rule", "shuffle"):
        assert train(work, "--sampling", name, "--out", work / name) == 0
    models = [(work / name / "model.safetensors").read_bytes() for name in ("sum-rule", "max-rule", "shuffle")]
    assert len(set(models)) == 3


class Killed(Exception):
    """What stands for the end of the process."""


@pytest.mark.parametrize("soft", [False, True])
def test_killed_run_gives_the_same_bytes_when_it_is_run_again(work, monkeypatch, soft, capsys):
    command = ["--mixup-rate", ".5", "--gain-db", "3", "--mel-mask", "8", "--select", "best"]
    command += ["--targets", work / "scores.h5", "--window", "1s", "--alpha", ".7"] if soft else []
    assert train(work, *command, "--out", work / "straight", epochs=4) == 0
    save = Trainer._save

    def killed(trainer):
        if trainer.epoch == 3:
            raise Killed
        save(trainer)

    monkeypatch.setattr(Trainer, "_save", killed)
    with pytest.raises(Killed):
        train(work, *command, "--out", work / "killed", epochs=4)
    assert not (work / "killed" / "model.safetensors").exists()
    assert not (work / "killed" / "run.json").exists()
    monkeypatch.undo()
    assert train(work, *command, "--out", work / "killed", epochs=4) == 0
    assert "resumed after epoch 2 of 4" in capsys.readouterr().out
    for name in ("model.safetensors", "config.json", "train_clips.csv", "missing.csv"):
        assert (work / "killed" / name).read_bytes() == (work / "straight" / name).read_bytes()
    assert history_of(work / "killed") == history_of(work / "straight")


@pytest.fixture
def unfinished(work, monkeypatch):
    """A work folder whose run `work/run` was killed after its first epoch of two."""
    save = Trainer._save
    with monkeypatch.context() as patched:
        patched.setattr(
            Trainer, "_save", lambda trainer: save(trainer) if trainer.epoch == 1 else (_ for _ in ()).throw(Killed)
        )
        with pytest.raises(Killed):
            train(work, "--out", work / "run", epochs=2)
    return work


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--learning-rate", ".5"), "learning_rate"),
        (("--model-options", "width=.2", "last_channels=64", "input_norm=batch"), "config.options.width"),
        (("--front-end", "hop_s=.02"), "config.front_end.hop_s"),
        (("--threads", "2"), "threads"),
        (("--seed", "1"), "seed"),
        (("--no-validation",), "inputs.validation"),
    ],
)
def test_unfinished_run_refuses_other_options_and_names_them(unfinished, capsys, options, named):
    capsys.readouterr()
    line = refused(capsys, unfinished, "--out", unfinished / "run", "--epochs", "2", *options)
    assert f"an unfinished run with other {named} is here" in line


def test_unfinished_run_refuses_changed_labels_behind_an_unchanged_list(work, capsys, monkeypatch):
    """Both lists are called labels.csv."""
    (work / "enhanced").mkdir()
    shutil.copy(work / "labels.csv", work / "enhanced" / "labels.csv")
    command = ("--labels", work / "enhanced" / "labels.csv", "--list", work / "labels.csv", "--out", work / "run")
    with monkeypatch.context() as patched:
        patched.setattr("pseudolabel.models.save_model", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(work, *command)
    path = work / "enhanced" / "labels.csv"
    path.write_text(path.read_text().replace("t00,low", "t00,low;high"))
    capsys.readouterr()
    assert "other inputs.labels is here" in refused(capsys, work, *command)


def test_finished_run_is_refused_and_replaced_on_request(work, capsys):
    train(work, "--out", work / "run", "--seed", "1")
    before = (work / "run" / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert "a finished run is here. Give --overwrite" in refused(capsys, work, "--out", work / "run", "--seed", "2")
    assert (work / "run" / "model.safetensors").read_bytes() == before
    assert train(work, "--out", work / "run", "--seed", "2", "--overwrite") == 0
    assert (work / "run" / "model.safetensors").read_bytes() != before
    assert len(read_rows(work / "run" / "history.csv")) == 1


def test_overwrite_never_removes_a_folder_that_is_no_run(work, capsys):
    other = work / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    for options in ((), ("--overwrite",)):
        assert "not a folder that train wrote" in refused(capsys, work, "--out", other, *options)
        assert [path.name for path in other.iterdir()] == ["config.json"] and (
            other / "config.json"
        ).read_text() == "{}"


def test_overwrite_with_bad_input_leaves_the_old_run(work, capsys):
    train(work, "--out", work / "run")
    capsys.readouterr()
    refused(capsys, work, "--out", work / "run", "--overwrite", "--targets", work / "absent.h5")
    assert (work / "run" / "model.safetensors").is_file()


def test_listed_clips_that_cannot_be_used_are_listed(work, capsys):
    with open(work / "labels.csv", "a") as file:
        file.write("silent1,low\nsilent2,high\n")
    labels = LabelTable.read(work / "labels.csv", Vocabulary.load(work / "vocabulary.csv"))
    scored = [clip_id for clip_id in labels.clip_ids if clip_id != "t04"]
    ScoreStore.write(work / "most.h5", scored, CLASSES, {"clip": np.full((len(scored), 3), 0.5)})
    with open(work / "validation.csv", "a") as file:
        file.write("silent3,low\n")
    assert train(work, "--targets", work / "most.h5", "--out", work / "run") == 0
    assert [tuple(row.values()) for row in read_rows(work / "run" / "missing.csv")] == [
        ("silent1", "no audio"), ("silent2", "no audio"), ("t04", "no scores"), ("silent3", "no audio; held out"),
    ]  # fmt: skip
    trained = [row["clip_id"] for row in read_rows(work / "run" / "train_clips.csv")]
    assert trained == [f"t{i:02d}" for i in range(12) if i != 4]
    assert "missing.csv" in capsys.readouterr().err
    line = refused(capsys, work, "--strict", "--out", work / "strict")
    assert "2 of 14 clips have no audio" in line and "silent1, silent2" in line
    assert not (work / "strict").exists()


@pytest.mark.parametrize(("value", "said"), [(-3.5, "-3.5"), (np.nan, "nan")])
@pytest.mark.parametrize("scale", ["clip", "1s"])
def test_targets_that_are_no_probabilities_are_refused_before_a_run_folder_is_made(work, capsys, value, said, scale):
    arrays = {"clip": np.full((12, 3), 0.5), 1: np.full((12, 2, 3), 0.5)}
    arrays["clip"][7, 1] = arrays[1][7, 1, 1] = value
    ScoreStore.write(work / "logits.h5", [f"t{i:02d}" for i in range(12)], CLASSES, arrays)
    line = refused(capsys, work, "--targets", work / "logits.h5", "--window", scale, "--out", work / "run")
    assert f"logits.h5: clip 't07' has the soft target {said} for class 'middle' at scale {scale}" in line
    assert "Give probabilities, not logits." in line
    assert not (work / "run").exists()


def test_labels_of_other_clips_are_refused(work, capsys):
    (work / "other.csv").write_text("clip_id,labels\nx1,low\nx2,high\n")
    line = refused(capsys, work, "--labels", work / "other.csv")
    assert "2 of 2 clips have no audio" in line and "x1, x2" in line
    line = refused(capsys, work, "--list", work / "other.csv")
    assert "2 of 2 clips have no labels" in line


def test_scores_of_other_clips_are_refused(work, capsys):
    ScoreStore.write(work / "other.h5", ["x1"], CLASSES, {"clip": np.ones((1, 3))})
    assert "12 of 12 clips have no scores" in refused(capsys, work, "--targets", work / "other.h5")


def test_validation_clips_that_are_trained_on_are_refused(work, capsys):
    line = refused(capsys, work, "--validation", work / "labels.csv")
    assert "labels.csv: 12 clips are also trained on: t00, t01, t02 and 9 more" in line


def test_validation_clips_that_are_evaluated_on_are_refused_unless_forced(work, capsys):
    (work / "eval.csv").write_text("clip_id,labels\nx/t13.wav,\nelsewhere,low\n")
    line = refused(capsys, work)
    assert (
        "1 clips are also in " in line and "eval.csv" in line and "t13" in line and "--validate-on-evaluation" in line
    )
    assert train(work, "--validate-on-evaluation", "--out", work / "forced") == 0
    (work / "other.csv").write_text("clip_id,labels\nt02,high\n")
    assert train(work, "--eval", work / "other.csv", "--out", work / "other") == 0


def test_validation_clips_of_a_trained_group_are_refused_with_folds(work, capsys):
    with h5py.File(work / "clips.h5", "r+") as file:
        del file["group"]
        file["group"] = fixed_length_text([f"g{i // 3}" for i in range(14)] + ["g0"])
        ClipStore.seal(file)
    line = refused(capsys, work, "--fold", "4/4", "--seed", "1")
    assert "1 clips are of a group that is also trained on: t14 is t0" in line
    assert train(work) == 0  # without folds groups are not asked for


def test_the_kept_evaluation_and_the_mean_of_the_last_five_are_in_the_record(work):
    options = ("--evaluate-every", "1", "--select", "best", "--smooth", "3", "--metric", "d-prime")
    train(work, *options, "--out", work / "run", epochs=3)
    history, record = read_rows(work / "run" / "history.csv"), json.loads((work / "run" / "run.json").read_text())
    reached = [float(row["validation_d_prime"]) for row in history]
    assert len(reached) == 6 and record["metric_mean_of_last_5"] == pytest.approx(np.mean(reached[1:]), abs=1e-6)
    best = 1 + int(np.argmax(np.convolve(reached, np.ones(3), "valid")))
    assert (record["selected_step"], record["validation_d_prime"]) == (best + 1, reached[best])


@pytest.mark.parametrize(("metric", "heading"), [("map", "mAP"), ("d-prime", "d'")])
def test_what_a_run_says_of_itself_is_in_the_report(work, metric, heading):
    """`evaluate` reads the run.json that `train` wrote: every figure of it that a report has is there."""
    assert train(work, "--metric", metric, "--row", "weak", "--out", work / "run", epochs=2) == 0
    record = json.loads((work / "run" / "run.json").read_text())
    mean = record["metric_mean_of_last_5"]
    found = vars(run_of_folder(work / "run", [f"t{i:02d}" for i in range(10, 15)]))
    assert found["last_evaluations"] == {metric: mean} and mean is not None
    assert {name: found[name] for name in RUN_FIELDS} == {name: record.get(name) for name in RUN_FIELDS}
    assert (found["row"], found["n_seen"], found["beta"]) == ("weak", 2, 0.0)
    assert all(found[name] is not None for name in RUN_FIELDS if name != "epoch")  # that of a model of one epoch
    assert evaluate(["--work", str(work), "--labels", str(work / "validation.csv"), "--runs", str(work / "run")]) == 0
    text = f"{mean:.3f}".replace("0.", ".", 1) if abs(mean) < 1 else f"{mean:.3g}"
    said = f"Mean over the last 5 evaluations, {heading} on the validation list: weak "
    line = next(line for line in (work / "results.md").read_text().splitlines() if said in line)
    assert line.partition(said)[2].startswith(text[:3])


def test_targets_without_a_class_are_refused(work, capsys):
    ScoreStore.write(work / "two.h5", [f"t{i:02d}" for i in range(12)], ("low", "high"), {"clip": np.ones((12, 2))})
    assert "no scores of 1 classes: middle" in refused(capsys, work, "--targets", work / "two.h5")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--window", "2s"), "--window 2s: needs soft targets. Give --targets"),
        (("--alpha", ".5"), "--alpha: needs soft targets"),
        (("--targets", "scores.h5", "--window", "5s"), "scale '5s' is not there; there are: 1s, clip"),
        (("--mask", "absent.csv"), "absent.csv: no such file"),
        (("--select", "best", "--no-validation"), "--select best needs a validation set"),
        (("--patience", "3", "--no-validation"), "--patience needs a validation set"),
        (("--smooth", "2", "--select", "best"), "an average over 2 evaluations has no centre"),
        (("--smooth", "3"), "--smooth: has no effect without --select best"),
        (("--warmup-every", "50"), "--warmup-every 50: the learning rate does not rise in 0 warm-up steps"),
        (("--halve-every", "3"), "--halve-every: has no effect with --schedule cosine"),
        (("--beta", ".5", "--sampling", "sum-rule"), "--beta: has no meaning for the sampling 'sum-rule'"),
        (("--model", "mobilenet"), "unknown model 'mobilenet'. Nearest: mobilenetv2."),
        (("--model-options", "widht=.1"), "unknown option 'widht' of mobilenetv2. Nearest: width."),
        (("--model-options", "width=wide"), "no model can be built with these values"),
        (("--model-options", "width=-1"), "width=-1, last_channels=64: both must be positive"),
        (("--model-options", "width=1e400"), "no model can be built with these values"),
        (("--model-options", f"width=1{'0' * 300}"), "no model can be built with these values"),
        (("--front-end", "n_mels=-1"), "must be positive"),
        (("--front-end", f"n_mels=1{'0' * 300}"), "bands of windows of 0.032 s are too many"),
        (("--front-end", "hop=1e400"), "hop_s"),
        (("--front-end", "f_max=NaN"), "f_max must be a finite number"),
        (("--row", "../x"), "--row: must be a name without folders, not '../x'. Give the folder as --out."),
        (("--row", ".."), "--row: must be a name without folders, not '..'"),
        (("--model-options", "width=1e12"), "no model can be built with these values"),
        (("--front-end", "hopp=3"), "unknown option 'hopp' of log_mel. Nearest: hop_s."),
        (("--front-end", "hop=often"), "hop_s: must be a number, not 'often'"),
        (("--front-end", "hop_s=often"), "hop_s: must be a number, not 'often'"),
        (("--front-end", "n_mels=64.5"), "n_mels: must be a whole number, not 64.5"),
        (("--front-end", "hop_s=640"), "hop_s is 640 s, which must be 1 samples or more and at most 1 s"),
        (("--device", "gpu"), "no such device 'gpu'. Give auto, cpu, cuda or cuda:N."),
        (("--device", "meta"), "no such device 'meta'"),
        (("--device", "cuda:77"), "'cuda:77'"),
        (("--betas", ".9", "1"), "--betas: must be below 1"),
        (("--clips", "absent.h5"), "absent.h5: no such file"),
        (("--labels", "absent.csv"), "absent.csv: no such file"),
    ],
)  # fmt: skip
def test_bad_options_are_one_line_and_leave_nothing(work, capsys, options, said):
    options = [work / option if option.endswith((".h5", ".csv")) else option for option in options]
    assert said in refused(capsys, work, *options)
    assert not (work / "runs").exists()


def test_help_shows_every_default(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for said in (
        "--work WORK folder of all default paths (default: work)",
        "--epochs EPOCHS passes over the pieces (default: 30)",
        "--betas BETA BETA of Adam (PSLA: .95 .999) (default: 0.9 0.999)",
        "--gain-db DB levels change by a uniform draw from [-DB, DB] (default: 0.0)",
        "--evaluate-every STEPS 0: each epoch (default: 0)",
        "--fold I/N leave fold I of N out",
    ):
        assert said in text


def test_a_notebook_trains_with_options(work):
    small = {"model_options": (("width", 0.1), ("last_channels", 64)), "front_end": (("hop_s", 0.04),)}
    steps = TrainOptions(epochs=1, batch_size=6)
    train_model(RunOptions(work=work, out=work / "run", threads=1, clip_seconds=2.0, train=steps, **small))
    assert load_model(work / "run").class_ids == list(CLASSES)


@pytest.mark.parametrize(
    "options",
    [("--seed", "-1"), ("--learning-rate", "0"), ("--learning-rate", "nan"), ("--epochs", "0"), ("--mixup-rate", "2"),
     ("--mixup-alpha", "0"), ("--clip-seconds", "0"), ("--mel-mask", "-1"), ("--window", "soon"), ("--threads", "0"),
     ("--model-options", "width")],
)  # fmt: skip
def test_values_out_of_range_are_refused(work, capsys, options):
    with pytest.raises(SystemExit) as stop:
        train(work, *options)
    assert stop.value.code == 2 and options[0] in capsys.readouterr().err


def test_lists_without_labels_are_refused_where_labels_are_needed(work, capsys):
    bare = "clip_id,labels\n" + "".join(f"t{i:02d},\n" for i in range(12))
    (work / "bare.csv").write_text(bare)
    assert "no clip has a label" in refused(capsys, work, "--labels", work / "bare.csv", "--sampling", "sum-rule")
    (work / "validation.csv").write_text("clip_id,labels\nt13,\n")
    assert "not one held-out clip has a label" in refused(capsys, work)


def test_training_that_diverges_says_so(work, capsys):
    line = refused(capsys, work, "--learning-rate", "1e25", "--epochs", "3")
    assert "--learning-rate: training diverged in step 2" in line and "Give less than 1e+25." in line


def test_model_hears_the_rate_of_the_clips(write_tones, tmp_path, capsys):
    work = write_tones(tmp_path / "slow", [2.0] * 6, sample_rate=8000)
    assert "8000" in refused(capsys, work)  # 0 to 8 kHz need 16 kHz: the front end must be given too
    assert train(work, "--front-end", "hop_s=.04", "f_max=4000", "--out", work / "run") == 0
    assert json.loads((work / "run" / "config.json").read_text())["sample_rate"] == 8000


def test_a_model_of_clips_at_32_khz_has_the_front_end_of_16_khz(write_tones, tmp_path, capsys):
    work = write_tones(tmp_path / "fast", [1.0] * 6, sample_rate=32_000)
    assert train(work, "--front-end", "hop=1280", "--out", work / "run") == 0
    assert "hop=1280 is taken as hop_s=0.04 (samples at 32000 Hz)" in capsys.readouterr().out
    front_end = load_model(work / "run").front_end
    assert (front_end.settings.hop, front_end.settings.window, front_end.settings.f_max) == (1280, 1024, 8000.0)
    assert front_end.n_frames(32_000) == LogMel(LogMelOptions(hop_s=0.04)).n_frames(16_000)


@pytest.mark.parametrize(
    "options",
    [
        ("efficientnet_b0", "--front-end", "hop_s=.08", "n_mels=32"),
        ("ast_tiny", "--model-options", "stride=16", "--front-end", "hop_s=.04"),
    ],
)
def test_other_networks_take_a_step_through_the_same_verb(work, options):
    command = ["--work", work, "--threads", "1", "--clip-seconds", "2", "--batch-size", "12", "--epochs", "1",
               "--out", work / "run", "--no-validation", "--model", *options]  # fmt: skip
    assert main([str(part) for part in command]) == 0
    scores = clip_scores(work, work / "run")
    assert scores.shape == (12, 3) and np.isfinite(scores).all()
    assert len(read_rows(work / "run" / "history.csv")) == 1


TUBE = [f"KK227gPpR{i:02d}" for i in range(15)]


def rename_clips(path, form: str) -> None:
    """Give the clip t07 of a label list or a store the id of a YouTube clip in some form, and so on."""
    ids = {f"t{i:02d}": form.format(TUBE[i]) for i in range(15)}
    if path.suffix == ".csv":
        LabelTable.read(path, Vocabulary.load(path.parent / "vocabulary.csv")).renamed(ids).write(path)
        return
    with h5py.File(path, "r+") as file:
        stored = [ids[text.decode()] for text in file["clip_id"][:]]
        del file["clip_id"]
        file["clip_id"] = fixed_length_text(stored)
        (ClipStore if "bytes" in file else ScoreStore).seal(file)


def test_lists_that_name_clips_in_another_way_train_the_same_model(work, capsys):
    options = "--targets", work / "scores.h5", "--alpha", ".5", "--list", work / "list.csv", "--validation"
    (work / "list.csv").write_text("clip_id,labels\nt07,\nt02,\nt11,\nt01,\n")
    assert train(work, *options, work / "validation.csv", "--out", work / "exact") == 0
    assert capsys.readouterr().err == ""
    forms = {"labels.csv": "{}", "list.csv": "x/{}.wav", "validation.csv": "Y{}", "clips.h5": "{}_30.000_40.000"}
    for name, form in {**forms, "scores.h5": "Y{}_30000"}.items():
        rename_clips(work / name, form)
    assert train(work, *options, work / "validation.csv", "--out", work / "run") == 0
    assert sha256(work / "run" / "model.safetensors") == sha256(work / "exact" / "model.safetensors")
    assert history_of(work / "run") == history_of(work / "exact")
    assert [row["clip_id"] for row in read_rows(work / "run" / "train_clips.csv")] == [TUBE[i] for i in (7, 2, 11, 1)]
    assert json.loads((work / "run" / "run.json").read_text())["clips_under_another_id"] == 4 + 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["4 of 4 clips found under another id"] * 3 + [
        "3 of 3 clips found under another id"
    ]
    assert f"{TUBE[7]} is Y{TUBE[7]}_30000" in lines[2]


def test_a_held_out_clip_that_is_trained_on_under_another_id_is_refused(work, capsys):
    for name in ("labels.csv", "clips.h5"):
        rename_clips(work / name, "{}")
    (work / "held.csv").write_text(f"clip_id,labels\n{TUBE[14]},low\nY{TUBE[3]},low\n")
    line = refused(capsys, work, "--validation", work / "held.csv")
    assert f"held.csv: 1 clips are also trained on: Y{TUBE[3]} is {TUBE[3]}. Hold them out." in line
    (work / "held.csv").write_text(f"clip_id,labels\n{TUBE[14]},low\n{TUBE[3]}_0,low\n")
    text = (work / "labels.csv").read_text()
    (work / "labels.csv").write_text(text.replace(TUBE[3], f"{TUBE[3]}_10000"))  # other starts, but the same audio
    assert train(work, "--validation", work / "held.csv") == 2
    assert f"1 clips are also trained on: {TUBE[3]}_0 is {TUBE[3]}_10000" in capsys.readouterr().err.splitlines()[-1]


def test_unknown_labels_are_left_out_of_training_on_request(work, capsys):
    with open(work / "labels.csv") as file:
        text = file.read().replace("t03,low", "t03,low;hum")
    (work / "more.csv").write_text(text)
    assert "more.csv:5: class 'hum' is not in" in refused(capsys, work, "--labels", work / "more.csv")
    options = "--labels", work / "more.csv", "--unknown-labels", "skip", "--format", "csv", "--out", work / "run"
    assert train(work, *options) == 0
    assert "more.csv: 1 labels left out, of 1 classes" in capsys.readouterr().err
    assert json.loads((work / "run" / "run.json").read_text())["labels_left_out"] == {"hum": 1}


def test_tensorboard_gets_each_row_or_says_that_it_is_not_there(work, capsys):
    if importlib.util.find_spec("tensorboard") is None:
        assert "--tensorboard: needs the package tensorboard, which is not installed" in refused(
            capsys, work, "--tensorboard"
        )
        assert not list((work / "runs").glob("*"))
        return
    assert train(work, "--tensorboard", "--out", work / "run", epochs=2) == 0
    assert len(list((work / "run" / "tensorboard").iterdir())) == 2  # one file a row


def test_where_everything_is_masked_nothing_is_learned_and_clips_that_are_not_named_have_no_mask(work, capsys):
    everything, clips = ";".join(CLASSES), [f"t{i:02d}" for i in range(12)]
    (work / "all.csv").write_text("clip_id,labels\n" + "".join(f"{clip},{everything}\n" for clip in reversed(clips)))
    assert train(work, "--mask", work / "all.csv", "--out", work / "all", epochs=1) == 0
    assert float(read_rows(work / "all" / "history.csv")[0]["loss"]) == 0
    (work / "none.csv").write_text("clip_id,labels\nt03,\n")
    for name, options in (("none", ("--mask", work / "none.csv")), ("plain", ())):
        assert train(work, *options, "--out", work / name, epochs=1) == 0
    assert history_of(work / "none")[1:] == history_of(work / "plain")[1:]
    (work / "other.csv").write_text("clip_id,labels\nelsewhere,low\n")
    line = refused(capsys, work, "--mask", work / "other.csv")
    assert "none of the 12 training clips is listed: elsewhere" in line
