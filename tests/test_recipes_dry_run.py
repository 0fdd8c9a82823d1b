"""Every recipe checks all of its steps before the first: at the papers' sizes, on data as downloaded, with needs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.audio.clips import ClipTable, write_clips

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SETTINGS = ("SCALE", "WORK", "DATA", "SEED", "ROWS", "SOUNDS", "SOUND_LABELS", "TEACHER", "STUDENT", "TEACHER_RUN")
PAPER = ("psl_2s", "psl_10s", "psl_5s")
WITH_DATA = {"SCALE": "full", "DATA": "audioset"}
CASES = [
    *((name, {"SCALE": scale, **data}) for name in PAPER for scale in ("paper", "full")
      for data in ({}, {"DATA": "audioset"})),
    *((name, settings) for name in ("psla_balanced", "psla_full", "psla_fsd50k", "label_enhancement", "ensemble",
                                    "ablation", "ast_fsd50k", "ast_audioset", "balance_sweep")
      for settings in ({"SCALE": "full"}, WITH_DATA)),
    *((name, {"SCALE": "full", "DATA": "fsd50k"}) for name in ("psla_fsd50k", "ast_fsd50k", "transfer")),
    ("psl_2s", {"SCALE": "full", "DATA": "lists", "LENGTHS": "10s 2s"}),
    ("psl_2s", {"SCALE": "paper", "DATA": "audioset", "ROWS": "weak psl_2s_half"}),
    ("psla_fsd50k", {"SCALE": "full", "DATA": "fsd50k", "ROWS": "own_rule"}),
    ("ast_audioset", {"SCALE": "full", "LIST": "full", "SEEDS": "3", "DATA": "audioset"}),
    ("ensemble", {"SCALE": "full", "LIST": "full", "DATA": "audioset"}),
    ("label_enhancement", {"SCALE": "full", "LIST": "full", "DATA": "audioset", "FSD50K": "fsd50k"}),
    ("transfer", {"SCALE": "full"}),
    ("transfer", {"SCALE": "full", "DATA": "lists", "VOCABULARY": "lists/vocabulary.csv"}),
    ("three_seeds", {"SCALE": "full"}),
    ("three_seeds", {"SCALE": "paper", "DATA": "audioset"}),
    ("published_teacher", {}),
    ("published_teacher", {"PUBLISHED": "weights.pt", "DATA": "audioset", "LIST": "full"}),
    ("desed_teacher", {"DATA": "desed"}),
    ("detection", {"SCALE": "demo"}),
    ("detection", {"SCALE": "full", "ROWS": "psl_2s", "TEACHER": "efficientnet_b2"}),
    ("known_truth", {"SCALE": "tiny", "SEEDS": "2", "TEACHERS": "out_of_fold", "ANNOTATORS": "D"}),
    ("known_truth", {"SCALE": "demo", "SEEDS": "2"}),
    ("known_truth", {"SCALE": "full", "SEEDS": "2", "ANNOTATORS": "B D", "TEACHERS": "in_fold"}),
    ("known_truth", {"SCALE": "full", "DATA": "known", "ANNOTATORS": "A D", "TEACHERS": "in_fold", "STUDENTS": ""}),
    ("known_truth", {"SCALE": "tiny", "DATA": "recorded", "ANNOTATORS": "A children"}),
]  # fmt: skip


def load_plan():
    spec = importlib.util.spec_from_file_location("recipes_plan", RECIPES / "plan.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plan = load_plan()


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """A folder with AudioSet and FSD50K as they are downloaded, and other data, but for the recordings."""
    here = tmp_path_factory.mktemp("here")
    classes = ("/m/09x0r", "/m/04rlf", "/m/0jbk")
    for name, numbers in (
        ("unbalanced_train", range(120)),
        ("balanced_train", range(120, 160)),
        ("eval", range(160, 200)),
    ):
        rows = [f'abcdefgh{n:03d}, 30.000, 40.000, "{classes[n % 3]},{classes[(n + 1) % 3]}"' for n in numbers]
        write(
            here / "audioset" / f"{name}_segments.csv",
            "# Segments\n# 1\n# YTID, start, end, labels\n" + "\n".join(rows),
        )
    write(here / "fsd50k/FSD50K.ground_truth/dev.csv", "fname,labels,mids,split\n1,Bark,/m/05tny_,train\n")
    write(here / "fsd50k/FSD50K.ground_truth/eval.csv", "fname,labels,mids\n4,Bark,/m/05tny_\n")
    for name in ("train", "eval"):
        write(here / f"lists/{name}.csv", f"clip_id,labels\n{name}1,low\n")
    write(here / "lists/vocabulary.csv", "class_id,name\nlow,low\n")
    for name in ("desed_validation_teacher_student_levels.npz", "clips.txt", "classes.txt"):
        write(here / "desed" / name, "")
    write(here / "weights.pt", "")
    (here / "known").mkdir()
    one = np.full((1, 1), 128, np.uint8)
    bits = {"truth": one, "labels_A": one, "children": 0 * one, "ancestors": 0 * one}
    ids = {"clip_id": ["a"], "class_id": ["low"], "name": ["low"]}
    np.savez(here / "known/corpus0.npz", scores=np.ones((1, 1)), **ids, **bits)
    for name in ("truth.csv", "scores.h5"):
        write(here / "recorded" / name, "")
    for folder in ("audioset/audio", "lists/audio", "fsd50k/FSD50K.dev_audio", "fsd50k/FSD50K.eval_audio"):
        (here / folder).mkdir()
    return here


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def environment(settings: dict) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**kept, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **settings}


def steps_of(recipe: Path, here: Path, **settings: str) -> subprocess.CompletedProcess:
    """Return what a recipe says of its steps."""
    command = 'bash "$0" --plan 3>&1 >/dev/null && printf "end\\0"'
    return subprocess.run(
        ["bash", "-c", command, str(recipe)], cwd=here, env=environment(settings), capture_output=True
    )


def run(recipe: Path | str, here: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
    script = RECIPES / f"{recipe}.sh" if isinstance(recipe, str) else recipe
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, cwd=here, env=environment(settings), capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("recipe", "settings"), CASES, ids=lambda value: value if isinstance(value, str) else
                         " ".join(value.values()))  # fmt: skip
def test_every_step_of_a_recipe_passes_before_the_first(recipe, settings, here, monkeypatch, capsys):
    said = steps_of(RECIPES / f"{recipe}.sh", here, **settings)
    assert said.returncode == 0 and not said.stderr, said.stderr
    monkeypatch.chdir(here)
    before = sorted(here.rglob("*"))
    assert plan.check_all(said.stdout, show=True) == 0, capsys.readouterr().err
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5 and all(": " in line for line in lines)
    assert sorted(here.rglob("*")) == before


def test_all_recipes_are_checked():
    recipes = {path.stem for path in RECIPES.glob("*.sh")} - {"checks", "common", "psla", "setup", "test"}
    assert {recipe for recipe, _ in CASES} == recipes


def test_dry_run_lists_the_steps_and_writes_nothing(here):
    before = sorted(here.rglob("*"))
    ended = run("psl_2s", here, "--dry-run", SCALE="paper", DATA="audioset", ROWS="psl_2s")
    assert (ended.returncode, ended.stderr) == (0, "")
    outputs = [line.partition(": ")[0] for line in ended.stdout.splitlines()]
    students = [f"runs/psl_2s-seed{seed}/run.json" for seed in range(3)]
    first = ["lists", "clips.h5", "runs/teacher/run.json", "scores.h5", "enhanced-25p"]
    assert outputs == [*first, *students, "evaluation", "release-25p", "-"]
    assert "hold" not in ended.stderr and sorted(here.rglob("*")) == before


@pytest.mark.parametrize("row", ["precision-0.7", "psl_2s_calibrated"])
def test_rows_of_a_precision_alone_make_what_they_learn_from(here, row):
    ended = run("psl_2s", here, "--dry-run", DATA="lists", ROWS=f"weak {row}")
    assert (ended.returncode, ended.stderr) == (0, "")
    said = dict(line.split(": ", 1) for line in ended.stdout.splitlines())
    folder = "work/enhanced-precision-0.7"
    assert said["enhanced-precision-0.7"].startswith(
        f"enhance would write {folder}: work/labels.csv with what is probable"
    )
    learnt = {"precision-0.7": f"{folder}/labels.csv", "psl_2s_calibrated": f"{folder}/window_targets.h5 (2s)"}[row]
    for seed in range(2):
        assert said[f"runs/{row}-seed{seed}/run.json"].endswith(f" from {learnt}")
    assert run("psl_2s", here, "--dry-run", DATA="lists", ROWS="precision-0x7").stderr.startswith("ROWS=")


def test_clips_of_an_earlier_recipe_are_not_divided_after_all(here, tmp_path):
    settings = {"SCALE": "paper", "DATA": "audioset", "WORK": str(tmp_path / "work"), "ROWS": "weak"}
    made = "SCALE=paper SEED=0 TEACHER=mobilenetv2 STUDENT=mobilenetv2 DATA=audioset SOUNDS= SOUND_LABELS= ROWS=weak"
    write(tmp_path / "work" / "settings.txt", made)
    for name in ("labels.csv", "balanced.csv", "eval.csv"):
        write(tmp_path / "work" / name, "clip_id,labels\nx,\n")
    write_clips(tmp_path / "work" / "clips.h5", ClipTable([], [], [], [], 16_000), [])
    ended = run("psl_2s", here, **settings)
    assert ended.returncode == 2 and "--select best needs a validation set" in ended.stderr, ended.stderr


def test_unknown_option_of_a_recipe_is_refused(here):
    ended = run("psl_10s", here, "--dryrun")
    assert ended.returncode == 2 and ended.stderr.startswith("--dryrun: not an option") and not ended.stdout


# ---- a need that is not met ---------------------------------------------------------------------------------------


@pytest.fixture
def made_recipe(tmp_path) -> Callable[[str], Path]:
    """A function that writes a recipe: a simulated corpus, and then these lines."""

    def made(lines: str) -> Path:
        head = f"set -euo pipefail\nsource '{RECIPES}/common.sh'\nSCALE=tiny lanes=1 hop_s=.02\nscenes=10 balanced=5 "
        corpus = "validation=1 evaluation=5\nbegin RECIPE SCALE\nmake_corpus\n"
        (tmp_path / "made.sh").write_text(f"{head}{corpus}{lines}\n")
        return tmp_path / "made.sh"

    return made


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ('step runs/a train --row a --validation "$WORK/held.csv" --select best', "work/held.csv: no such file"),
        ("step runs/a train --row a --no-validation --select best", "--select best needs a validation set"),
        ("step runs/a train --row a --model ast_tiny --model-options width=0.5", "unknown option 'width'"),
        ("step runs/a train --row a --front-end hop=.02", "unknown option 'hop'"),
        ("step runs/a train --row a --pretrained imagenet", "takes no weights from elsewhere"),
        ("step runs/a train --row a --mixup-rate 2", "argument --mixup-rate: must be a number in [0, 1]"),
        ('step scores.h5 score --list "$WORK/labels.csv"', "work/runs/teacher/model.safetensors: no such file"),
        ("step runs/teacher train --row teacher; step scores.h5 score --windows clip 10s\n"
         'step runs/a train --targets "$WORK/scores.h5" --window 2s', "will have no scores_2s"),
        ("step runs/a-seed0 train --row a --epochs 3\n"
         'step runs/b average weights "$WORK/runs/a-seed0" --epochs 1-3', "no checkpoint of epoch 1"),
        ("step enhanced-25p enhance --threshold 25p", "needs the teacher's scores"),
        ("step runs/teacher train --row teacher; step scores.h5 score --windows clip 10s\n"
         "step enhanced enhance --threshold precision:0.7 --soft-windows 2s", "will have no scores_2s"),
        ("step evaluation evaluate", "no run with a model"),
        ('made slim lists.py slim "$WORK" "$WORK/slim"; step other balance --labels "$WORK/slim/x.csv"', "slim/x.csv"),
    ],
)  # fmt: skip
def test_need_of_a_later_step_is_one_line_before_the_first(made_recipe, line, error, tmp_path, monkeypatch, capsys):
    said = steps_of(made_recipe(line), tmp_path, WORK=str(tmp_path / "work"))
    assert said.returncode == 0, said.stderr
    monkeypatch.chdir(tmp_path)
    assert plan.check_all(said.stdout) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and error in captured.err and not captured.out
    assert not (tmp_path / "work").exists()


def test_recipe_with_a_need_that_is_not_met_runs_nothing(made_recipe, tmp_path):
    recipe = made_recipe("step runs/a train --row a --no-validation --select best")
    for arguments in ((), ("--dry-run",)):
        ended = run(recipe, tmp_path, *arguments, WORK="work")
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1
        assert ended.stderr.startswith("work/runs/a: train: error: --no-validation: --select best needs a validation")
        assert ("simulate" in ended.stdout) == bool(arguments) and not (tmp_path / "work").exists()


def test_step_that_is_done_is_not_asked_for_again(made_recipe, tmp_path, monkeypatch, capsys):
    recipe = made_recipe("step runs/a train --row a --no-validation --select best")
    (tmp_path / "work" / "runs" / "a").mkdir(parents=True)
    (tmp_path / "work" / "settings.txt").write_text("RECIPE=made SCALE=tiny\n")
    monkeypatch.chdir(tmp_path)
    assert plan.check_all(steps_of(recipe, tmp_path, WORK="work").stdout, show=True) == 0
    assert "runs/a: is there" in capsys.readouterr().out


def test_recipe_that_stops_while_it_says_its_steps_says_why_itself(made_recipe, tmp_path, capsys):
    said = steps_of(made_recipe("refuse 'no such thing'"), tmp_path, WORK="work")
    assert said.returncode == 2 and said.stderr == b"no such thing\n"
    with pytest.raises(SystemExit) as stopped:
        plan.check_all(said.stdout)
    assert stopped.value.code == 0 and capsys.readouterr() == ("", "")


# ---- an annotator that is there -------------------------------------------------------------------------------------


def write_run(folder: Path) -> Path:
    record = {"verb": "train import", "command": "python -m pseudolabel.train import w.pt", "inputs": {}}
    for name in ("config.json", "model.safetensors"):
        write(folder / name, "{}")
    write(folder / "run.json", json.dumps(record))
    return folder


def test_folder_that_holds_an_annotator_alone_is_taken(here, tmp_path, monkeypatch, capsys):
    teacher = write_run(tmp_path / "work" / "runs" / "teacher")
    settings = {"SCALE": "paper", "DATA": "audioset", "WORK": str(tmp_path / "work")}
    ended = run("psl_2s", here, "--dry-run", **settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"{teacher} is there: it is the annotator, and none is trained\n")
    assert "runs/teacher/run.json: is there" in ended.stdout.splitlines()
    monkeypatch.chdir(here)
    for recipe in ("psla_balanced", "label_enhancement", "psla_fsd50k"):
        said = steps_of(RECIPES / f"{recipe}.sh", here, SCALE="full", DATA="audioset", WORK=settings["WORK"])
        assert plan.check_all(said.stdout, show=True) == 0, said.stderr
        shown = capsys.readouterr().out
        assert f"{tmp_path / 'work'}/runs/teacher on" in shown and "teacher-seed0" not in shown


@pytest.mark.parametrize(
    "others", [["notes.txt"], ["runs/other/run.json"], ["runs/teacher/../x"], ["-runs/teacher/model.safetensors"]]
)
def test_folder_that_holds_anything_else_is_refused(here, tmp_path, others):
    write_run(tmp_path / "work" / "runs" / "teacher")
    for name in others:
        path = tmp_path / "work" / name.removeprefix("-")
        path.unlink() if name.startswith("-") else write(path, "mine")
    ended = run("psl_2s", here, WORK=str(tmp_path / "work"), SCALE="paper", DATA="audioset")
    assert ended.returncode == 2 and ended.stderr.startswith("WORK=") and ended.stderr.count("\n") == 1


def test_annotator_is_of_no_use_to_a_recipe_without_one(here, tmp_path):
    write_run(tmp_path / "work" / "runs" / "teacher")
    ended = run("psla_full", here, "--dry-run", WORK=str(tmp_path / "work"))
    assert ended.returncode == 2 and "not a folder that a recipe made" in ended.stderr


def test_given_output_is_taken_whatever_its_record_says_until_it_changes(tmp_path):
    def step(*command: str) -> subprocess.CompletedProcess:
        called = [sys.executable, "-P", str(RECIPES / "step.py"), str(tmp_path), "runs/teacher/run.json", *command]
        return subprocess.run(called, capture_output=True, text=True)

    teacher = write_run(tmp_path / "runs" / "teacher")
    trained = ("train", "--work", str(tmp_path), "--row", "teacher")
    assert step("given").returncode == 0
    have = f"have {teacher / 'run.json'}\n"
    assert [step(*command).stdout for command in (("given",), trained, trained)] == [have] * 3
    (teacher / "model.safetensors").write_text("{other}")
    for command in (("given",), trained):
        ended = step(*command)
        assert ended.returncode == 2 and f"{teacher} is not what it was made from" in ended.stderr
