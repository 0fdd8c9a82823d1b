"""Threads and processes are as many as this process may use, and those that wait leave the core to others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pseudolabel import machine
from pseudolabel.options import DeviceOptions

VERSION_2, VERSION_1 = "0::/a/b\n", "5:memory:/m\n3:cpu,cpuacct:/a/b\n0::/\n"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine of 16 cores whose cgroups are files here."""
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)

    def write(own: str, **files: str) -> int:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return machine.allowed_cores()

    return write


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        (VERSION_2, {}, 12),  # what the affinity allows
        (VERSION_2, {"a__b__cpu_DOT_max": "max 100000\n"}, 12),
        (VERSION_2, {"a__b__cpu_DOT_max": "300000 100000\n"}, 3),
        (VERSION_2, {"a__b__cpu_DOT_max": "max 100000", "a__cpu_DOT_max": "250000 100000"}, 2),  # of the group above
        (VERSION_2, {"cpu_DOT_max": "50000 100000"}, 1),  # of the root, as containers see their own; half a core
        (VERSION_2, {"a__b__cpu_DOT_max": "6400000 100000"}, 12),
        (VERSION_2, {"c__cpu_DOT_max": "100000 100000"}, 12),  # another group's
        (VERSION_1, {"cpu__a__b__cpu_DOT_cfs_quota_us": "-1", "cpu__a__b__cpu_DOT_cfs_period_us": "100000"}, 12),
        (VERSION_1, {"cpu__a__b__cpu_DOT_cfs_quota_us": "400000", "cpu__a__b__cpu_DOT_cfs_period_us": "100000"}, 4),
        (VERSION_1, {"cpu__cpu_DOT_cfs_quota_us": "200000", "cpu__cpu_DOT_cfs_period_us": "100000"}, 2),
        (VERSION_1, {"cpu_DOT_max": "100000 100000"}, 1),  # both versions side by side
        ("", {"cpu_DOT_max": "100000 100000"}, 12),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_the_quota(system, own, files, expected):
    assert system(own, **files) == expected


def test_without_affinity_and_cgroups_all_cores_are_allowed(system, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(machine, "OWN_GROUPS", machine.GROUPS / "absent")
    assert machine.allowed_cores() == 16


def test_threads_are_the_allowed_cores_by_default():
    assert DeviceOptions().threads == machine.allowed_cores()
    assert DeviceOptions(threads=5).threads == 5


VERB = """
import os, sys
from pseudolabel.command import Command, run_command
from pseudolabel.options import VerbOptions
def verb(options):
    assert "torch" not in sys.modules, "the policy comes too late"
    print(os.environ["OMP_WAIT_POLICY"])
sys.exit(run_command("try", "A verb.", Command(VerbOptions, verb), []))
"""


@pytest.mark.parametrize("own", ["", "ACTIVE"])
def test_waiting_threads_leave_the_core_unless_the_user_says_otherwise(own):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": own} if own else {}
    shown = subprocess.run([sys.executable, "-c", VERB], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == [own or "PASSIVE"]


@pytest.mark.parametrize("verb", ["train", "score", "evaluate", "average", "bench"])
def test_torch_is_loaded_after_the_verb_has_begun(verb):
    program = f"import sys, pseudolabel.{verb}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
