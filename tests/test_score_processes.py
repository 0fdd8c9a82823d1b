"""Scoring by several processes, killed ones, two at once and on a full disk: the same bytes, or one clear line."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import pseudolabel.score as verb
from pseudolabel.models import save_model
from pseudolabel.models.tagger import build_tagger
from pseudolabel.scores.store import ScoreStore

ROOT = Path(__file__).resolve().parents[1]
BLOCK_SIZE = 3
N_CLIPS = 40
OPTIONS = ("--threads", "1", "--windows", "clip", "1s", "0.5s")
BY_BLOCKS = """
import os, time
import pseudolabel.blocks, pseudolabel.score as verb

verb.BLOCK_SIZE = {block_size}
whole = pseudolabel.blocks.Blocks.write

def slowly(*arguments):
    time.sleep(float(os.environ.get("SECONDS_A_BLOCK", "0")))
    whole(*arguments)
    if os.environ.get("DIES") == os.environ.get("RANK", "none"):
        os.kill(os.getpid(), 9)

pseudolabel.blocks.Blocks.write = slowly
if __name__ == "__main__":
    raise SystemExit(verb.main())
"""


pytestmark = pytest.mark.usefixtures("same_threads_after")


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory) -> Path:
    """A work folder with forty short clips, an untrained model, and a program that scores with small blocks."""
    seconds = np.random.default_rng(0).choice([1.0, 1.5, 2.2], N_CLIPS)
    work = write_tones(tmp_path_factory.mktemp("processes") / "work", seconds.tolist())
    torch.manual_seed(0)
    options = {"width": 0.25, "last_channels": 32, "input_norm": "batch"}
    config = {"name": "mobilenetv2", "class_ids": ["low", "middle", "high"], "options": options}
    save_model(work / "runs" / "teacher", build_tagger({**config, "front_end": {"hop": 640}}))
    (work / "by_blocks.py").write_text(BY_BLOCKS.format(block_size=BLOCK_SIZE))
    return work


@pytest.fixture(scope="module")
def straight(work, tmp_path_factory) -> bytes:
    """The store of an uninterrupted run of one process."""
    out = tmp_path_factory.mktemp("straight") / "scores.h5"
    assert score(work, out) == 0
    return out.read_bytes()


def score(work: Path, out: Path, *options: str) -> int:
    """Score in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verb, "BLOCK_SIZE", BLOCK_SIZE)
        return verb.main(["--work", str(work), "--out", str(out), *OPTIONS, *options])


def start(work: Path, out: Path, *options: str, launcher: tuple = (), **environment: object) -> subprocess.Popen:
    """Score in a process of its own."""
    command = [sys.executable, *launcher, str(work / "by_blocks.py"), "--work", str(work), "--out", str(out), *OPTIONS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in environment.items()}}
    return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def wait_for(path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 100
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.002)


def n_blocks(out: Path) -> int:
    return len(list(out.with_name(f"{out.name}.parts").glob("block-*.h5")))


def test_a_killed_run_goes_on_to_the_same_bytes(work, straight, tmp_path):
    out = tmp_path / "scores.h5"
    with start(work, out, SECONDS_A_BLOCK=0.05) as process:
        wait_for(tmp_path / "scores.h5.parts" / "block-00004.h5", process)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists() and 5 <= n_blocks(out) < -(-N_CLIPS // BLOCK_SIZE)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "scores.h5.parts").glob("block-*.h5")}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(verb, "write_scores", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score(work, out)
    assert all(path.stat().st_mtime_ns == made for path, made in kept.items())  # finished blocks are not made again
    assert score(work, out) == 0
    assert out.read_bytes() == straight
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.h5", "scores.missing.csv", "scores.run.json"]


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_bytes(work, straight, tmp_path):
    rng, blocks_there = np.random.default_rng(0), set()
    for number in range(20):
        out, wanted = tmp_path / f"killed-{number}.h5", number % 7  # and up to two blocks' time after so many blocks
        with start(work, out, SECONDS_A_BLOCK=0.02) as process:
            wait_for(out.with_name(f".{out.name}.pseudolabel-lock"), process)
            while n_blocks(out) < wanted and process.poll() is None and not out.exists():
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.04))
            process.kill()
        blocks_there.add(n_blocks(out))
        assert not out.exists() or out.read_bytes() == straight
        assert score(work, out, "--overwrite") == 0
        assert out.read_bytes() == straight
    assert len(blocks_there) > 3


def test_two_processes_of_torchrun_give_the_same_bytes_as_one(work, straight, tmp_path, free_port):
    out = tmp_path / "scores.h5"
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port}")
    with start(work, out, launcher=launcher) as process:
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert said.startswith(f"wrote {out}: {N_CLIPS} clips x 3 classes") and said.count("\n") == 1
    assert out.read_bytes() == straight
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.h5", "scores.missing.csv", "scores.run.json"]
    assert '"processes": 2' in (tmp_path / "scores.run.json").read_text()


def test_a_process_that_dies_ends_the_run_with_an_error_and_the_next_run_goes_on(work, straight, tmp_path, free_port):
    out = tmp_path / "scores.h5"
    common = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port, "DIES": 1}
    processes = [start(work, out, RANK=rank, LOCAL_RANK=rank, **common) for rank in range(2)]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, -signal.SIGKILL]
    assert "another of the 2 processes has ended before its work was done. Run the same command again" in errors[0]
    assert errors[0].count("\n") == 1 and not out.exists()
    assert n_blocks(out) == 7 + 1  # all even ones, and the one after which the other process died
    assert score(work, out) == 0
    assert out.read_bytes() == straight


def test_of_two_runs_at_once_on_one_output_one_is_refused(work, straight, tmp_path):
    out = tmp_path / "scores.h5"
    with start(work, out, SECONDS_A_BLOCK=0.2) as first:
        wait_for(tmp_path / "scores.h5.parts", first)  # it holds the lock; the lock's file comes a moment earlier
        for options in ((), ("--overwrite",), ("--overwrite", "--batch-size", "7")):
            assert score(work, out, *options) == 2
        _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors
    assert out.read_bytes() == straight


def test_the_refusal_of_a_second_run_is_one_line(work, tmp_path, capsys):
    with verb.only_run(tmp_path / "scores.h5"):
        assert score(work, tmp_path / "scores.h5") == 2
    place = tmp_path / "scores.h5"
    assert capsys.readouterr().err == (
        f"pseudolabel score: error: {place}: another run is at work on this output. "
        "Wait until it has ended, or give another --out.\n"
    )


@pytest.mark.parametrize("most_bytes", [10, 1000, 4500])
def test_a_full_disk_ends_in_one_line_and_no_half_file(work, straight, tmp_path, capsys, most_bytes):
    resource = pytest.importorskip("resource")
    out, (soft, hard) = tmp_path / "scores.h5", resource.getrlimit(resource.RLIMIT_FSIZE)
    assert most_bytes < len(straight)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        code = score(work, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    errors = capsys.readouterr().err
    assert code == 2 and errors.startswith("pseudolabel score: error: ") and errors.count("\n") == 1
    assert "File too large" in errors
    assert not out.exists() and not list(tmp_path.rglob("*.tmp"))
    assert score(work, out) == 0
    assert out.read_bytes() == straight


def test_verify_tells_a_good_store_from_a_damaged_one(work, straight, tmp_path, capsys):
    path = tmp_path / "scores.h5"
    path.write_bytes(straight)
    assert verb.main(["verify", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"{path}: good: {N_CLIPS} clips x 3 classes at 0.5s, 1s, clip; windows were not compared with the lengths of "
        "clips (--clips)\n"
    )
    assert verb.main(["verify", str(path), "--clips", str(work / "clips.h5")]) == 0
    assert f"windows fit the lengths of {N_CLIPS} clips in" in capsys.readouterr().out
    offset = ScoreStore.open(path)._stored["1s"].offset
    damaged = bytearray(straight)
    damaged[offset + 3] ^= 1
    path.write_bytes(damaged)
    assert verb.main(["verify", str(path)]) == 2
    assert f"{path}: scores_1s is damaged from clip t00 on" in capsys.readouterr().err
    assert verb.main(["verify", str(work / "clips.h5")]) == 0
    assert f"good: {N_CLIPS} clips, 0.02 h at 16000 Hz, pcm16" in capsys.readouterr().out


def test_weights_that_are_a_pickle_with_code_are_refused_not_run(work, tmp_path, capsys):
    class Code:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_bytes((work / "runs" / "teacher" / "config.json").read_bytes())
    (run / "model.safetensors").write_bytes(pickle.dumps(Code()))
    assert score(work, tmp_path / "scores.h5", "--run", str(run)) == 2
    assert "cannot be read as plain tensors" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
