"""Processes end with the one that started them, even where that is killed while they are busy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from pseudolabel.workers import end_with_parent

BUSY = """
import os, time
from pseudolabel.workers import process_pool

def begin(folder):
    open(os.path.join(folder, str(os.getpid())), "w").close()

def work(number):
    while True:
        pass

if __name__ == "__main__":
    import sys
    pool = process_pool(2, begin, (sys.argv[1],))
    for number in range(4):
        pool.submit(work, number)
    time.sleep(60)
"""


def is_there(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc to see the processes")
def test_busy_workers_end_when_their_parent_is_killed(tmp_path):
    program, folder = tmp_path / "busy.py", tmp_path / "begun"
    program.write_text(BUSY)
    folder.mkdir()
    with subprocess.Popen([sys.executable, str(program), str(folder)]) as parent:
        until = time.monotonic() + 60
        while len(workers := [int(name) for name in os.listdir(folder)]) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(workers) == 2 and all(map(is_there, workers))
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(is_there, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_there, workers))


def test_a_process_that_nobody_started_goes_on():
    end_with_parent()
