"""The processes of a run: what the environment says of them, and how one of them notices that another has died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from pseudolabel.errors import InputError
from pseudolabel.training.distributed import Ranks

ROOT = Path(__file__).resolve().parents[2]
SPEAK = """
import os, signal, sys
import numpy as np
from pseudolabel.training.distributed import Ranks

ranks = Ranks.from_environment()
with ranks.joined():
    shared = ranks.from_leader(np.array([7, 8]) if ranks.leads else np.zeros(2, np.int64))
    if ranks.rank == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    print(shared.tolist(), ranks.sum(np.array([ranks.rank + 0.5])).tolist())
"""


def test_without_torchrun_there_is_one_process():
    assert Ranks.from_environment({"HOME": "/", "RANK": "3"}) == Ranks(0, 1, 0)
    assert Ranks().leads and Ranks().device_name("auto") == "auto"
    with Ranks().joined():
        assert Ranks().from_leader(np.array([3])).tolist() == [3]
        assert Ranks().sum(np.array([2.5])).tolist() == [2.5]


def test_torchrun_s_environment_is_read():
    found = Ranks.from_environment({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert found == Ranks(5, 8, 1) and not found.leads
    assert found.device_name("cuda:3") == "cuda:3" and found.device_name("cpu") == "cpu"
    assert found.device_name("auto") == ("cuda:1" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    "values", [("8", "8", "0"), ("x", "2", "0"), ("-1", "2", "0"), ("0", "0", "0"), ("0", "2", "-1")]
)
def test_an_environment_that_names_no_process_is_refused(values):
    with pytest.raises(InputError, match="is not a process of a run"):
        Ranks.from_environment(dict(zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), values, strict=True)))


@pytest.mark.parametrize("killed", [-1, 1])
def test_all_hear_the_leader_and_one_that_dies_is_noticed(killed, free_port):
    environment = {
        "PYTHONPATH": str(ROOT),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port),
        "WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen([sys.executable, "-c", SPEAK, str(killed)], env={**environment, "RANK": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in processes]
    if killed < 0:
        assert [out for out, _ in outputs] == ["[7, 8] [2.0]\n"] * 2, outputs
    else:
        assert processes[1].returncode == -signal.SIGKILL and processes[0].returncode == 1
        assert "rank 0: another of the 2 processes has ended before its work was done" in outputs[0][1]


WAIT = """
import os, sys, time
from pathlib import Path
from pseudolabel.training.distributed import Ranks

ranks = Ranks.from_environment()
with ranks.joined():
    path = Path(sys.argv[1]) / f"rank-{ranks.rank}"
    path.with_suffix(".tmp").write_text(str(os.getpid()))
    path.with_suffix(".tmp").rename(path)
    while True:  # work without a word to the others
        time.sleep(0.1)
"""


def eventually(condition, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(condition())


def is_running(pid: int) -> bool:
    """Return whether a process is at work; one that has ended and is not yet fetched is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc to look for processes in")
@pytest.mark.parametrize("killed", ["torchrun", "leader"])
def test_when_torchrun_or_the_leader_is_killed_no_process_stays(killed, tmp_path, free_port):
    (tmp_path / "wait.py").write_text(WAIT)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    files = [tmp_path / "rank-0", tmp_path / "rank-1"]
    with subprocess.Popen([*launcher, tmp_path / "wait.py", tmp_path], env=environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as torchrun:  # fmt: skip
        pids = []
        try:
            assert eventually(lambda: all(file.exists() for file in files), 120)
            pids = [int(file.read_text()) for file in files]
            assert all(map(is_running, pids))
            os.kill(torchrun.pid if killed == "torchrun" else pids[0], signal.SIGKILL)
            assert eventually(lambda: not any(map(is_running, [*pids, torchrun.pid])))
        finally:
            for pid in filter(is_running, [*pids, torchrun.pid]):
                os.kill(pid, signal.SIGKILL)
