"""Two lanes of a recipe: both run to their end, one failure ends the other, and a killed recipe leaves none running."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SETTINGS = ("SCALE", "WORK", "SEED", "SOUNDS", "SOUND_LABELS", "DATA")


def as_from_a_terminal() -> None:
    """Let signals do what they do by default: who runs the tests in the background may have ignored some for all."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def start(here: Path, script: str) -> Iterator[subprocess.Popen]:
    """Start a recipe with two lanes that does what `script` says; `sleep` names its folder, by which it is found."""
    text = f"set -euo pipefail\nsource '{RECIPES}/common.sh'\nlanes=2\nlong() {{ '{here}/sleep' 600; }}\n{script}\n"
    (here / "made.sh").write_text(text)
    if not (here / "sleep").exists():
        (here / "sleep").symlink_to("/bin/sleep")
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options = {"start_new_session": True, "preexec_fn": as_from_a_terminal}
    with subprocess.Popen(["bash", str(here / "made.sh")], cwd=here, env=environment, **pipes, **options) as recipe:
        try:
            yield recipe
        finally:
            for number in processes_of(here):  # only where a test fails
                os.kill(number, signal.SIGKILL)


def processes_of(here: Path) -> dict[int, str]:
    """Return the command lines of the processes that name a folder, by their numbers."""
    lines = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines[int(path.parent.name)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return {number: line for number, line in lines.items() if str(here) in line}


def wait_for(happened, seconds: float = 30) -> bool:
    ends = time.monotonic() + seconds
    while not happened() and time.monotonic() < ends:
        time.sleep(0.02)
    return happened()


@pytest.fixture
def here(tmp_path) -> Iterator[Path]:
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("needs /proc")
    yield tmp_path
    for number in processes_of(tmp_path):  # only where a test fails
        os.kill(number, signal.SIGKILL)


def test_lanes_get_their_words_as_they_are_and_both_end(here):
    script = 'lane() { printf "<%s>\\n" "$@"; }\ntogether lane a "b c" "*" -- lane "d $(x)"\nin_lanes lane 1 2 3\n'
    with start(here, script.replace("$(x)", "\\$(x)")) as recipe:
        out, err = recipe.communicate(timeout=30)
    assert (recipe.returncode, err) == (0, "")
    assert sorted(out.split("\n")) == sorted(["<a>", "<b c>", "<*>", "<d $(x)>", "<1>", "<2>", "<3>", ""])


@pytest.mark.parametrize("script", ["together long -- fail", "together fail -- long", "lanes=1; together fail -- long"])
def test_failure_of_a_lane_ends_the_other_with_its_exit_code(here, script):
    with start(here, f"fail() {{ sleep 0.2; return 7; }}\n{script}") as recipe:
        recipe.communicate(timeout=30)
    assert recipe.returncode == 7
    assert wait_for(lambda: not processes_of(here))


@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    "script",
    [
        "together long -- long",
        "together true -- true\ntogether long -- long",  # not the first pair
        "inner() { together long -- long; }\nlanes=2 together inner -- long",  # a recipe in a recipe
    ],
)
def test_killed_recipe_leaves_no_lane_running(here, script, signal_number, whole_group):
    with start(here, script) as recipe:
        n_lanes = 3 if "inner" in script else 2
        assert wait_for(lambda: sum(f"{here}/sleep 600" in line for line in processes_of(here).values()) == n_lanes)
        os.killpg(recipe.pid, signal_number) if whole_group else recipe.send_signal(signal_number)
        assert wait_for(lambda: not processes_of(here)), processes_of(here)
    assert recipe.returncode


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_recipe_leaves_no_verb_running(here, signal_number):
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"WORK": str(here / "work"), "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["bash", str(RECIPES / "psl_2s.sh")], env=environment, **quiet) as recipe:
        assert wait_for(lambda: any("pseudolabel.simulate" in line for line in processes_of(here).values()))
        recipe.send_signal(signal_number)
        assert wait_for(lambda: not processes_of(here)), processes_of(here)
    assert not (here / "work" / "run.json").exists()
