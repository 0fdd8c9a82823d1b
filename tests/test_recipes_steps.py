"""A step of a recipe is skipped only if its output was made in the same way from the files that lie there now."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

STEP = Path(__file__).resolve().parents[1] / "recipes" / "step.py"


def step(work: Path, output: str, *command: object) -> subprocess.CompletedProcess:
    called = [sys.executable, "-P", str(STEP), str(work), output, *map(str, command)]
    return subprocess.run(called, capture_output=True, text=True, timeout=120, check=False)


def has(ended: subprocess.CompletedProcess, output: Path) -> bool:
    return (ended.returncode, ended.stdout.splitlines()[-1:], ended.stderr) == (0, [f"have {output}"], "")


def refused(ended: subprocess.CompletedProcess, *words: str) -> bool:
    """Return whether it ended with one line that has these words and the remedy."""
    line = ended.stderr
    of_one_line = ended.returncode == 2 and line.count("\n") == 1 and line.endswith("or give another WORK.\n")
    return of_one_line and all(word in line for word in words)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory, write_tones) -> Path:
    """A work folder in which a verb has made WORK/balance, as a recipe calls it."""
    work = write_tones(tmp_path_factory.mktemp("made") / "my work; $(x)", [0.1] * 6)
    ended = step(work, "balance", *options(work))
    assert ended.returncode == 0, ended.stderr
    return work


def options(work: Path, *more: object) -> list[object]:
    return ["balance", "--work", work, "--labels", work / "labels.csv", "--betas", "0", "1", *more]


@pytest.fixture
def work(balanced, tmp_path) -> Path:
    """The work folder, moved."""
    return shutil.copytree(balanced, tmp_path / "moved")


def test_step_is_skipped_where_nothing_changed_wherever_the_folder_is_moved(balanced, work):
    assert has(step(balanced, "balance", *options(balanced)), balanced / "balance")
    assert has(step(work, "balance", *options(work)), work / "balance")


def test_output_of_an_earlier_version_is_compared_by_its_run_json_alone(work):
    shutil.rmtree(work / "steps")
    record = json.loads((work / "balance" / "run.json").read_text())
    assert record["inputs"] and "--work" in record["command"]
    assert has(step(work, "balance", *options(work)), work / "balance")
    (work / "labels.csv").write_text((work / "labels.csv").read_text() + "\n")
    assert refused(step(work, "balance", *options(work)), f"{work}/labels.csv is not what it was made from")


@pytest.mark.parametrize("keeps_its_time", [False, True])
def test_changed_input_is_named(work, keeps_its_time):
    labels = work / "labels.csv"
    before = labels.stat()
    labels.write_text(labels.read_text().replace("low", "high", 1).replace("high", "low", 1).replace("t01", "t99"))
    if keeps_its_time:
        os.utime(labels, ns=(before.st_atime_ns, before.st_mtime_ns))
    ended = step(work, "balance", *options(work))
    assert refused(ended, f"{work}/balance: {labels} is not what it was made from")
    assert has(step(work, "balance", *options(work)), work / "balance") is False  # and it stays so


def test_input_that_the_command_does_not_name_is_compared_too(work):
    (work / "vocabulary.csv").write_text((work / "vocabulary.csv").read_text().replace("middle", "centre"))
    assert refused(step(work, "balance", *options(work)), f"{work}/vocabulary.csv")


def test_input_in_the_work_folder_that_is_gone_is_named(work):
    (work / "labels.csv").unlink()
    assert refused(step(work, "balance", *options(work)), f"{work}/labels.csv, which it was made from, is gone")


def test_other_options_are_named_and_those_of_the_machine_do_not_matter(work):
    assert refused(step(work, "balance", *options(work, "--seed", 1)), "options are others", "--seed 1")
    assert refused(step(work, "balance", *options(work)[:-1]), "options are others", "0 1")
    copied = step(work, "copy.csv", "copy", work / "labels.csv", "--threads", "2")
    assert copied.returncode == 0 and (work / "copy.csv").read_bytes() == (work / "labels.csv").read_bytes()
    assert has(step(work, "copy.csv", "copy", work / "labels.csv", "--threads", "4"), work / "copy.csv")


@pytest.mark.parametrize("name", ["balance/run.json", "steps/balance.json"])
@pytest.mark.parametrize("text", ["{", '{"inputs": ' + "[" * 100_000, "\0"])
def test_damaged_record_stops(work, name, text):
    (work / name).write_text(text)
    assert refused(step(work, "balance", *options(work)), str(work / name), "damaged")


def test_output_that_is_removed_is_made_anew_from_what_is_there(work):
    (work / "labels.csv").write_text((work / "labels.csv").read_text().replace("t05", "t77"))
    shutil.rmtree(work / "balance")
    assert step(work, "balance", *options(work)).returncode == 0
    assert has(step(work, "balance", *options(work)), work / "balance")


def copy_step(work: Path, source: Path) -> Callable[[], subprocess.CompletedProcess]:
    return lambda: step(work, "truth.csv", "copy", source)


def test_copy_of_a_file_that_was_edited_since_is_not_taken_for_it(tmp_path):
    source, work = tmp_path / "their truth.csv", tmp_path / "work"
    work.mkdir()
    source.write_text("a")
    again = copy_step(work, source)
    assert again().returncode == 0 and (work / "truth.csv").read_text() == "a"
    assert has(again(), work / "truth.csv")
    source.write_text("b")
    assert refused(again(), f"{source} is not what it was made from")
    (work / "truth.csv").unlink()
    assert again().returncode == 0 and (work / "truth.csv").read_text() == "b"
    source.unlink()
    ended = again()
    assert ended.returncode == 0 and "is gone: not compared" in ended.stdout
    assert sorted(path.name for path in work.iterdir()) == ["steps", "truth.csv"]


def test_copy_that_fails_leaves_nothing_and_says_why(tmp_path):
    ended = step(tmp_path, "truth.csv", "copy", tmp_path / "absent.csv")
    assert ended.returncode == 2 and ended.stderr == f"{tmp_path}/absent.csv: No such file or directory\n"
    assert [path.name for path in tmp_path.iterdir()] == ["steps"]


@pytest.mark.parametrize("large", [False, True])
def test_folder_of_recordings_is_compared(tmp_path, large):
    audio, work, source = tmp_path / "audio", tmp_path / "audio" / "work", tmp_path / "list.csv"
    for name in ("a/1.wav", "b/2.wav"):
        (audio / name).parent.mkdir(parents=True, exist_ok=True)
        (audio / name).write_text(name)
    (audio / "loop").symlink_to(audio)
    if large:
        with open(audio / "large.wav", "wb") as file:
            file.truncate((1 << 30) + 1)
    source.write_text("x")
    work.mkdir()
    command = ("copy", source, "--audio", audio)
    assert step(work, "x.csv", *command).returncode == 0
    assert has(step(work, "x.csv", *command), work / "x.csv")
    (audio / "a" / "1.wav").touch()  # another time, the same recording
    assert has(step(work, "x.csv", *command), work / "x.csv") is not large
    stamp = (audio / "a" / "1.wav").stat()
    for path, text in ((audio / "a" / "1.wav", "a/3.wav"), (audio / "c.wav", "new")):
        shutil.rmtree(work / "steps")
        (work / "x.csv").unlink()
        assert step(work, "x.csv", *command).returncode == 0
        path.write_text(text)
        assert refused(step(work, "x.csv", *command), f"{audio} is not what it was made from")
    assert (audio / "a" / "1.wav").stat().st_size == stamp.st_size


def test_large_file_is_read_once_as_long_as_nobody_touches_it(tmp_path):
    large = tmp_path / "clips.h5"
    with open(large, "wb") as file:
        file.truncate(65 << 20)
    source = tmp_path / "list.csv"
    source.write_text("x")
    command = ("copy", source, large)
    assert step(tmp_path, "x.csv", *command).returncode == 0
    assert has(step(tmp_path, "x.csv", *command), tmp_path / "x.csv")
    memory = json.loads((tmp_path / "steps" / "large.json").read_text())
    assert list(memory) == [str(large)] and len(memory[str(large)][4]) == 64
    stamp = large.stat()
    with open(large, "rb+") as file:
        file.write(b"x")
    os.utime(large, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # neither size nor time tell
    assert refused(step(tmp_path, "x.csv", *command), str(large))


def test_a_step_that_is_done_takes_no_time(work):
    before = os.times().children_user
    assert has(step(work, "balance", *options(work)), work / "balance")
    assert os.times().children_user - before < 0.2
    program = f"import sys, runpy; sys.argv = ['step.py']; runpy.run_path({str(STEP)!r}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "h5py", "torch", "pseudolabel"} & set(loaded)
