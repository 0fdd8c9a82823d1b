"""Training that is killed for good, and training by two processes: the weights of one that ran through alone."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pseudolabel.train as verb
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.models.checkpoints import load_state

ROOT = Path(__file__).resolve().parents[1]
MOBILENET = ("--model-options", "width=.1", "last_channels=64", "input_norm=batch", "--front-end", "hop_s=.04")
COMMON = ("--threads", "1", "--device", "cpu", "--clip-seconds", "1", "--batch-size", "4", "--epochs", "2")
DIES = """
import os, signal, sys
import pseudolabel.train as verb
from pseudolabel.training.loop import Trainer

step = Trainer._step

def dies(trainer, *given):
    if trainer.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(trainer, *given)

Trainer._step = dies
raise SystemExit(verb.main(sys.argv[1:]))
"""
MAIN = """
import sys
import pseudolabel.train as verb

raise SystemExit(verb.main(sys.argv[1:]))
"""


pytestmark = pytest.mark.usefixtures("same_threads_after")


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory) -> Path:
    """Eleven clips to train on, which make a last step of three, and five held out."""
    work = write_tones(tmp_path_factory.mktemp("processes") / "work", [1.0] * 16)
    labels = LabelTable.read(work / "labels.csv", Vocabulary.load(work / "vocabulary.csv"))
    labels.select(labels.clip_ids[:11]).write(work / "labels.csv")
    labels.select(labels.clip_ids[11:]).write(work / "validation.csv")
    return work


def in_process_of_its_own(
    work: Path, program: str, *options: object, launcher: tuple = ()
) -> subprocess.CompletedProcess:
    (work / "program.py").write_text(program)
    command = [sys.executable, *launcher, work / "program.py", "--work", work, *COMMON, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=300)


def train(work: Path, *options: object) -> int:
    return verb.main([str(part) for part in ("--work", work, *COMMON, *options)])


def history_of(run: Path) -> list[list[str]]:
    """Return the columns of history.csv that do not tell the time."""
    with open(run / "history.csv", newline="") as file:
        return [row[:6] for row in csv.reader(file)]


def test_a_run_that_is_killed_within_an_epoch_goes_on_to_the_same_bytes(work, tmp_path, capsys):
    options = (*MOBILENET, "--evaluate-every", 2, "--select", "best", "--smooth", 3, "--ema", ".9", "--mixup-rate",
               ".5", "--checkpoint-every", 2, "--optimizer", "adamw")  # fmt: skip
    assert train(work, *options, "--out", tmp_path / "straight") == 0
    killed = in_process_of_its_own(work, DIES, *options, "--out", tmp_path / "killed")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "killed" / "run.json").exists()
    assert (tmp_path / "killed" / "checkpoints" / "within-epoch.pt").is_file()
    capsys.readouterr()
    assert train(work, *options, "--out", tmp_path / "killed") == 0
    assert "resumed after step 4 of 6" in capsys.readouterr().out
    for name in ("model.safetensors", "config.json", "train_clips.csv", "missing.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert history_of(tmp_path / "killed") == history_of(tmp_path / "straight")


def test_two_processes_train_the_model_of_one(work, tmp_path, free_port):
    """With a model that has no batch statistics; two weights differ where sums of float32 do."""
    options = ("--model", "ast_tiny", "--model-options", "stride=16", "--front-end", "hop_s=.04", "--learning-rate",
               "2e-5", "--ema", ".5", "--clip-gradient", "1", "--evaluate-every", 2)  # fmt: skip
    assert train(work, *options, "--out", tmp_path / "alone") == 0
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port}")
    both = in_process_of_its_own(work, MAIN, *options, "--out", tmp_path / "both", launcher=launcher)
    assert both.returncode == 0, both.stderr
    assert both.stdout.count("wrote ") == 1
    weights = [load_state(tmp_path / name / "model.safetensors") for name in ("alone", "both")]
    assert weights[0].keys() == weights[1].keys()
    assert (
        max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1.5e-6
    )  # Adam: a share of the rate
    rows = [history_of(tmp_path / name) for name in ("alone", "both")]
    assert [row[:2] + row[3:] for row in rows[0]] == [row[:2] + row[3:] for row in rows[1]]
    assert [float(row[2]) for row in rows[0][1:]] == pytest.approx([float(row[2]) for row in rows[1][1:]], abs=2e-6)
    record = json.loads((tmp_path / "both" / "run.json").read_text())
    assert record["processes"] == 2
    assert record["metric_mean_of_last_5"] == pytest.approx(np.mean([float(row[4]) for row in rows[0][1:]]), abs=1e-6)


def test_a_batch_that_two_processes_cannot_halve_is_refused(work, tmp_path, free_port):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port}")
    run = in_process_of_its_own(work, MAIN, *MOBILENET, "--batch-size", 5, "--out", tmp_path / "run",
                                launcher=launcher)  # fmt: skip
    assert run.returncode != 0
    assert "--batch-size: 5 pieces a step cannot be shared evenly by 2 processes" in run.stderr
    assert not (tmp_path / "run").exists()
