"""The reference recipe at SCALE=tiny: the whole loop through files, run again, and on input of one's own."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from pseudolabel import simulate
from pseudolabel.audio.clips import ClipStore
from pseudolabel.records import sha256

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "psl_2s.sh"
SETTINGS = ("SCALE", "WORK", "SEED", "SOUNDS", "SOUND_LABELS", "DATA", "TEACHER", "STUDENT", "ROWS", "LENGTHS")
TINY_ROWS = ("weak", "enhanced", "precision-0.7", "psl_2s", "psl_2s_calibrated", "true")
ALIKE = ("labels.csv", "truth.csv", "enhanced-25p/ledger.csv.gz")


def environment_of(work: Path, **settings: object) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"SCALE": "tiny", "WORK": str(work), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return environment | {name: str(value) for name, value in settings.items()}


def run_recipe(work: Path, **settings: object) -> subprocess.CompletedProcess:
    environment = environment_of(work, **settings)
    return subprocess.run(["bash", str(RECIPE)], env=environment, capture_output=True, text=True, check=False)


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def rows_of(work: Path) -> set[str]:
    """Return the rows of the evaluation."""
    return {row["row"] for row in json.loads((work / "evaluation" / "metrics.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The work folder of one run on synthesised sounds, and how the run ended."""
    work = tmp_path_factory.mktemp("recipe") / "ein Ordner für $(touch owned)"
    return work, run_recipe(work)


@pytest.fixture
def corpus(tiny, tmp_path) -> Callable[..., Path]:
    """A function that gives a work folder with other settings in which corpus and clip store are made, no more."""

    def corpus(**settings: str) -> Path:
        later = ("scenes", "runs", "evaluation", "enhanced-*", "release-25p", "scores.*", "results.md")
        work = shutil.copytree(tiny[0], tmp_path / "work", ignore=shutil.ignore_patterns(*later))
        given = (work / "settings.txt").read_text()
        for name, value in settings.items():
            given = re.sub(rf"\b{name}=.*?(?= [A-Z_]+=|$)", f"{name}={value}", given)
        (work / "settings.txt").write_text(given)
        return work

    return corpus


def test_whole_loop_ends_with_table_and_report(tiny):
    work, run = tiny
    assert run.returncode == 0, run.stderr[-2000:]
    assert rows_of(work) == {"teacher", *TINY_ROWS}
    results = (work / "results.md").read_text()
    for row in ("teacher", *TINY_ROWS):
        assert f"| {row} " in results
        assert any(line.split()[:1] == [row] for line in run.stdout.splitlines())
    assert "mAP" in results and "mAP" in run.stdout and "d'" in results
    assert (work / "evaluation" / "report.html").stat().st_size > 10_000
    assert f"{work / 'release-25p'}: verified" in run.stdout
    assert run.stdout.rstrip().splitlines()[-1].startswith("took ")


def test_every_stage_left_its_files(tiny):
    work, _ = tiny
    names = ["events.csv", "dropped.csv", "annotator.csv", "clips.h5", "skipped.csv", "missing.csv", "scores.h5"]
    names += ["enhanced-25p/labels.csv", "enhanced-25p/ledger.parquet", "runs/teacher/model.safetensors"]
    names += ["enhanced-precision-0.7/window_targets.h5", "enhanced-precision-0.7/labels.csv"]
    names += ["release-25p/README.md", "release-25p/SHA256SUMS"]
    assert [name for name in names if not (work / name).is_file()] == []
    n_balanced = len(read_rows(work / "balanced.csv"))
    steps = set()
    for row in TINY_ROWS:
        run = work / "runs" / f"{row}-seed0"
        record = json.loads((run / "run.json").read_text())
        assert record["row"] == row and record["n_train_clips"] == n_balanced
        steps.add(read_rows(run / "history.csv")[-1]["step"])
    assert len(steps) == 1  # every row takes the same number of steps
    assert not list(work.rglob("*.tmp")) and not list(work.rglob("*.parts"))


def test_no_clip_of_the_evaluation_was_trained_on(tiny):
    work, _ = tiny
    held_out = {row["clip_id"] for name in ("eval.csv", "validation.csv") for row in read_rows(work / name)}
    for path in work.glob("runs/*/train_clips.csv"):
        assert not held_out & {row["clip_id"] for row in read_rows(path)}


def test_run_again_skips_every_step_and_changes_nothing(tiny):
    work, first = tiny
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    run = run_recipe(work)
    assert run.returncode == 0
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before
    made = ["run.json", "clips.h5", "runs/teacher/run.json", "scores.h5", "enhanced-25p", "enhanced-precision-0.7"]
    made += ["release-25p"]
    made += ["evaluation", *(f"runs/{row}-seed0/run.json" for row in TINY_ROWS)]
    assert sorted(line for line in run.stdout.splitlines() if line.startswith("have ")) == sorted(
        f"have {work / name}" for name in made
    )
    assert (work / "results.md").read_text() in run.stdout
    assert "wrote" in first.stdout and "wrote" not in run.stdout.replace((work / "results.md").read_text(), "")


@pytest.mark.parametrize(
    "changed", [{"SEED": 1}, {"STUDENT": "ast_tiny"}, {"ROWS": "weak"}, {"SCALE": "demo"}, {"LENGTHS": "5s"}]
)
def test_other_settings_in_the_same_folder_are_refused(tiny, changed):
    work, _ = tiny
    run = run_recipe(work, **changed)
    assert run.returncode == 2
    assert "was made with other settings" in run.stderr and f"{next(iter(changed))}=" in run.stderr
    assert not run.stdout


@pytest.mark.parametrize("settings", [{"SCALE": "huge"}, {"SOUNDS": "somewhere"}])
def test_settings_that_make_no_sense_leave_no_folder(tmp_path, settings):
    run = run_recipe(tmp_path / "work", **settings)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1
    assert next(iter(settings)) in run.stderr
    assert not (tmp_path / "work").exists()


def test_data_without_lists_is_refused(tmp_path):
    (tmp_path / "audio").mkdir()
    run = run_recipe(tmp_path / "work", DATA=tmp_path)
    assert run.returncode == 2 and "needs audio/, a training list" in run.stderr


def test_failure_of_one_lane_ends_the_other_with_its_exit_code(corpus):
    work = corpus(TEACHER="efficientnet_b2")
    (work / "runs").mkdir()
    (work / "runs" / "weak-seed0").write_text("not a run")
    run = run_recipe(work, TEACHER="efficientnet_b2")  # this teacher would take minutes
    assert run.returncode == 2
    assert str(work / "runs" / "weak-seed0") in run.stderr
    assert not (work / "runs" / "teacher" / "run.json").exists()


def test_edited_list_of_a_data_set_is_not_taken_for_the_one_that_was_prepared(tmp_path, write_tones):
    made = write_tones(tmp_path, [0.2] * 6)
    data, work = tmp_path / "their $(data)", tmp_path / "work"
    (data / "audio").mkdir(parents=True)
    clips = ClipStore.open(made / "clips.h5")
    for clip_id in clips.clip_ids:
        soundfile.write(data / "audio" / f"{clip_id}.wav", clips.read(clip_id), clips.sample_rate)
    shutil.copy(made / "vocabulary.csv", data)
    train, eval_ = (made / "labels.csv").read_text().splitlines()[:-2], (made / "labels.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join(train) + "\n")
    (data / "eval.csv").write_text("\n".join([eval_[0], *eval_[-2:]]) + "\n")
    settings = f"SCALE=tiny SEED=0 TEACHER=mobilenetv2 STUDENT=mobilenetv2 DATA={data} SOUNDS= SOUND_LABELS= ROWS=weak"
    work.mkdir()
    (work / "settings.txt").write_text(settings.replace(f"{data}", f"{data}".replace(" ", "\\ ")))
    (work / "runs").touch()  # ends the recipe where it would begin to train
    assert "runs" in run_recipe(work, DATA=data, ROWS="weak").stderr and (work / "clips.h5").exists()
    for name in ("train.csv", "vocabulary.csv"):
        before = (data / name).read_text()
        (data / name).write_text(before.replace("low", "high", 1))
        run = run_recipe(work, DATA=data, ROWS="weak")
        assert run.returncode == 2 and f"{data / name} is not what it was made from" in run.stderr
        (data / name).write_text(before)


@pytest.mark.slow
def test_two_runs_of_one_seed_give_the_same_labels_and_ledger(tiny, tmp_path):
    assert run_recipe(tmp_path / "again").returncode == 0
    for name in ALIKE:
        assert sha256(tmp_path / "again" / name) == sha256(tiny[0] / name), name
    models = [work / "runs" / "psl_2s-seed0" / "model.safetensors" for work in (tiny[0], tmp_path / "again")]
    assert sha256(models[0]) == sha256(models[1])


@pytest.mark.slow
def test_recordings_of_ones_own_take_the_place_of_synthesised_sounds(shared_data, tmp_path):
    esc = shared_data / "esc"
    if not esc.is_dir():
        pytest.skip(f"real data is missing: {esc}")
    run = run_recipe(tmp_path / "work", SOUNDS=esc / "clips", SOUND_LABELS=esc / "clips.csv")
    assert run.returncode == 0, run.stderr[-2000:]
    assert rows_of(tmp_path / "work") == {"teacher", *TINY_ROWS}
    assert "recorded" in run.stdout


@pytest.mark.slow
def test_another_student_takes_the_same_way(corpus):
    settings = {"STUDENT": "ast_tiny", "ROWS": "weak psl_2s"}
    work = corpus(**settings)
    run = run_recipe(work, **settings)
    assert run.returncode == 0, run.stderr[-2000:]
    assert rows_of(work) == {"teacher", "weak", "psl_2s"}
    for row in ("weak", "psl_2s"):
        config = json.loads((work / "runs" / f"{row}-seed0" / "config.json").read_text())
        assert config["name"] == "ast_tiny"


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> tuple[Path, Path, str, subprocess.CompletedProcess]:
    """A data set as one gets it, with a recording missing: its folder, the work folder, the missing clip, the run."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("real") / "my data"
    sizes = {"scenes": 40, "balanced": 16, "validation": 4, "eval": 16, "sources": 7, "processes": 1}
    options = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    assert simulate.main(["--work", str(made), *options]) == 0
    folder.mkdir()
    shutil.copytree(made / "scenes", folder / "audio")
    for name, file in (("labels", "train"), ("balanced", "balanced"), ("eval", "eval"), ("vocabulary", "vocabulary")):
        shutil.copy(made / f"{name}.csv", folder / f"{file}.csv")
    missing = next(row["clip_id"] for row in read_rows(folder / "balanced.csv") if row["labels"])
    (recording,) = (folder / "audio").rglob(f"{missing}.*")
    recording.unlink()
    work = folder.parent / "work"
    return folder, work, missing, run_recipe(work, DATA=folder)


@pytest.mark.slow
def test_data_set_of_ones_own_takes_the_same_way(real):
    folder, work, _, run = real
    assert run.returncode == 0, run.stderr[-2000:]
    assert rows_of(work) == {"teacher", *TINY_ROWS} - {"true"}  # nobody knows the truth
    assert (work / "results.md").is_file()
    assert len(read_rows(work / "labels.csv")) == len(read_rows(folder / "train.csv"))


@pytest.mark.slow
def test_labelled_clip_without_audio_keeps_its_labels_through_the_loop(real):
    folder, work, missing, run = real
    assert run.returncode == 0, run.stderr[-2000:]

    def listed(name: str) -> list[str]:
        return [row["clip_id"] for row in read_rows(work / name)]

    assert set(listed("missing.csv")) == {missing}
    assert listed("scores.missing.csv") == listed("enhanced-25p/missing.csv") == [missing]
    for path in work.glob("runs/*"):
        assert [row["clip_id"] for row in read_rows(path / "missing.csv")] == [missing]
        assert missing not in [row["clip_id"] for row in read_rows(path / "train_clips.csv")]
    given = {row["clip_id"]: row["labels"] for row in read_rows(folder / "train.csv")}
    for name in ("labels.csv", "enhanced-25p/labels.csv"):
        kept = {row["clip_id"]: row["labels"] for row in read_rows(work / name)}
        assert list(kept) == list(given) and kept[missing] == given[missing]
    with gzip.open(work / "enhanced-25p" / "ledger.csv.gz", "rt", newline="") as file:
        assert missing not in {row["clip_id"] for row in csv.DictReader(file)}
