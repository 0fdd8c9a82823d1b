"""Every verb that writes, killed, interrupted, out of space or run twice: nothing else is touched, and it goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest

COMPLETE = ("output exists", "a finished run is here")
TERMINATED, INTERRUPTED, REFUSED = -signal.SIGTERM, 130, 2


# ---- what must hold after a kill, and after the same command again ----------------------------------------------


def is_output(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.removeprefix("here/"), pattern) for pattern in patterns)


def is_unfinished(path: str) -> bool:
    """Return whether a path is of a run that goes on: a hidden name, or a folder of parts."""
    return any(part.startswith(".") or part.endswith(".parts") for part in path.split("/"))


def faults_before_going_on(scene, now) -> list[str]:
    """Return what a run that ended early did that it must not: to what is not its own, or to half an output."""
    faults, case, before = [], scene.case, scene.before.raw
    for path in before:
        if not is_output(path, case.outputs) and now.raw.get(path, "gone") != before[path]:
            faults.append(f"{path}, not an output, was {'changed' if path in now.raw else 'removed'}")
    for path in now.raw:
        if path in before and now.raw[path] == before[path]:
            continue
        if is_output(path, case.growing) or (is_unfinished(path) and path not in before):
            continue
        if not is_output(path, case.outputs):
            faults.append(f"{path} appeared" if path not in before else f"{path} changed")
        elif path not in scene.after.alike or now.alike[path] != scene.after.alike[path]:
            faults.append(f"{path} is neither the old nor the new one")
    return faults


class Trials:
    """Runs of one case that end early; a state of the folder that was seen before is not examined again."""

    def __init__(self, scene, forks, folder: Path):
        self.scene, self.forks, self.folder, self.argv = scene, forks, folder / "trial", scene.case.argv
        self.seen: set[int] = set()
        self.faults: list[str] = []

    def examine(self, moment: str, said: list[str] = (), go_on: bool = True) -> None:
        """Take what lies in the folder for what a run left that ended then; let the same command go on."""
        now = self.scene.read(self.folder)
        state = hash(frozenset((path, data) for path, data in now.raw.items() if ".tmp" not in path))
        faults = list(said)
        if state not in self.seen:
            self.seen.add(state)
            faults += faults_before_going_on(self.scene, now)
            faults += self.going_on() if go_on else []
        self.faults += [f"{self.scene.case.name}, {moment}: {fault}" for fault in faults]

    def going_on(self) -> list[str]:
        """Return how what the same command makes now differs from what an uninterrupted run makes."""
        again = self.forks.run(self.folder / "here", *self.argv)
        complete = again.status == REFUSED and any(words in again.text for words in COMPLETE)
        said = [] if again.status == 0 or complete else [f"again: exit {again.status}: {again.text[-300:]}"]
        if "Traceback" in again.text:
            said.append("again: a traceback")
        return said + self.scene.differences(self.folder)

    def killed_at_calls(self, states: Path) -> None:
        """Examine what was on the disk before and after each call: what a process leaves that is killed then."""
        for state in sorted(states.iterdir()):
            number, _, when = state.name.partition("-")
            shutil.rmtree(self.folder, ignore_errors=True)
            state.rename(self.folder)
            self.examine(f"killed {when} {self.scene.calls[int(number)]}")

    def killed_after(self, seconds: float) -> None:
        here = self.scene.copy_start(self.folder) / "here"
        self.forks.wait(self.forks.start(here, *self.argv), seconds=seconds, signal="SIGKILL")
        self.examine(f"killed after {seconds:.3f} s")

    def ended_by(self, name: str, status: int, go_on: bool) -> None:
        """Send it a signal half-way; after one that can be caught nothing is left half-written."""
        here = self.scene.copy_start(self.folder) / "here"
        ended = self.forks.run(here, *self.argv, at=(len(self.scene.calls) // 2, "before"), signal=name)
        self.examine(name, faults_of(ended, status, here), go_on)

    def none(self) -> None:
        shutil.rmtree(self.folder)
        assert not self.faults, "\n".join(self.faults)


def faults_of(ended, status: int, here: Path) -> list[str]:
    """Return what is wrong with how a command ended; one that ended by itself leaves nothing half-written."""
    faults = [] if ended.status == status else [f"ended with {ended.status}, not {status}: {ended.text[-300:]}"]
    if "Traceback" in ended.text:
        faults.append(f"a traceback: {ended.text[-300:]}")
    if ended.status is not None and ended.status >= 0:
        left = [path for path in here.rglob(".*") if path.name.endswith((".tmp", "lock")) and len(path.name) > 40]
        faults += [f"{path} was left" for path in left]
    return faults


def random_moments(scene, n: int) -> list[float]:
    """Return times within an uninterrupted run: as shares of it, the same whenever the test is run."""
    draw = random.Random(scene.case.name)
    return [draw.random() * scene.seconds for _ in range(n)]


def test_killed_when_a_name_is_given_or_taken_or_at_any_moment_a_command_goes_on(scene, forks, tmp_path):
    trials = Trials(scene, forks, tmp_path)
    trials.killed_at_calls(scene.states)
    for seconds in random_moments(scene, 1):
        trials.killed_after(seconds)
    trials.none()


@pytest.mark.slow
def test_killed_at_any_call_of_the_file_system_or_at_four_moments_a_command_goes_on(scene, forks, tmp_path):
    trials, states = Trials(scene, forks, tmp_path), tmp_path / "states"
    states.mkdir()
    here = scene.copy_start(tmp_path / "straight") / "here"
    assert forks.run(here, *scene.case.argv, states=str(states)).status == 0
    trials.killed_at_calls(states)
    for seconds in random_moments(scene, 4):
        trials.killed_after(seconds)
    trials.none()


# ---- what ends a run otherwise ----------------------------------------------------------------------------------


def test_interrupted_a_command_ends_in_a_line_and_leaves_nothing_half_written(plain_scene, forks, tmp_path):
    trials = Trials(plain_scene, forks, tmp_path)
    trials.ended_by("SIGINT", INTERRUPTED, go_on=False)
    trials.none()


@pytest.mark.slow
def test_interrupted_or_terminated_a_command_goes_on(scene, forks, tmp_path):
    trials = Trials(scene, forks, tmp_path)
    trials.ended_by("SIGINT", INTERRUPTED, go_on=True)
    trials.ended_by("SIGTERM", TERMINATED, go_on=True)
    trials.none()


def test_on_a_full_disk_a_command_ends_in_a_line_and_goes_on_later(plain_scene, forks, tmp_path):
    trials, case = Trials(plain_scene, forks, tmp_path), plain_scene.case
    outputs = (data for path, data in plain_scene.after.raw.items() if is_output(path, case.outputs))
    room = max(len(data) for data in outputs if isinstance(data, bytes)) // 2
    here = plain_scene.copy_start(trials.folder) / "here"
    ended = forks.run(here, *case.argv, file_bytes=room)
    lines = [line for line in ended.text.splitlines() if ": error: " in line]
    said = [] if len(lines) == 1 else [f"no one line: {ended.text[-300:]}"]
    trials.examine(f"no file beyond {room} bytes", faults_of(ended, REFUSED, here) + said)
    trials.none()


def test_a_second_run_on_one_output_is_refused_and_the_first_ends_well(plain_scene, forks, tmp_path):
    case, here = plain_scene.case, plain_scene.copy_start(tmp_path / "trial") / "here"
    first = forks.start(here, *case.argv, at=(len(plain_scene.calls) // 2, "before"), signal="SIGSTOP")
    assert forks.wait(first).status is None
    second = forks.run(here, *case.argv)
    ended = forks.wait(first, seconds=0, signal="SIGCONT")
    assert second.status == REFUSED and "another run is at work on this output" in second.text, second.text
    assert ended.status == 0, ended.text
    faults = plain_scene.differences(tmp_path / "trial")
    assert not faults, "\n".join(faults)


def group_of(pid: int) -> list[str]:
    """Return the processes of a process group that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(group) == pid and state != "Z":
            found.append(path.parent.name)
    return found


MANY = {
    "simulate": ("--scenes", 300, "--validation", 4, "--eval", 4, "--sources", 7, "--duration", 1, "--processes", 2),
    "prepare": ("--audio", "many", "--out", "many.h5", "--processes", 2),
}


@pytest.mark.parametrize("number", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.slow)])
@pytest.mark.parametrize("verb", MANY)
def test_processes_end_with_the_one_that_started_them(verb, number, corpus, forks, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    (here / "work").mkdir()
    recording = next((corpus / "work" / "scenes").iterdir()).read_bytes()
    (here / "many").mkdir()
    for i in range(3000 if verb == "prepare" else 0):
        (here / "many" / f"{i}.flac").write_bytes(recording)
    started = forks.start(here, verb, *MANY[verb])
    blocks = "work/simulate.parts/blocks/*.json" if verb == "simulate" else "many.h5.parts/block-*"
    deadline = time.monotonic() + 60
    while not (any(here.glob(blocks)) and len(group_of(started["pid"])) > 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(started["pid"], getattr(signal, number))
    assert forks.wait(started).status == -getattr(signal, number)
    deadline = time.monotonic() + 20
    while left := group_of(started["pid"]):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    again = forks.run(here, verb, *MANY[verb])
    assert again.status == 0, again.text
    assert not list(here.glob("**/*.parts"))
