"""The current folder of every test and fixture: empty, and not the checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = "import os; print(os.getcwd(), len(os.listdir()))"


@pytest.fixture(scope="session")
def of_session() -> Path:
    return Path.cwd()


@pytest.fixture(scope="module")
def of_module() -> Path:
    return Path.cwd()


@pytest.fixture(params=[1, 2])
def of_test() -> Path:
    (Path.cwd() / "left").mkdir()  # the other parameter's test does not see it
    return Path.cwd()


def test_no_fixture_and_no_test_runs_in_the_checkout(of_session, of_module, of_test, empty_folder):
    assert of_test == Path.cwd() == empty_folder and [path.name for path in empty_folder.iterdir()] == ["left"]
    assert len({of_session, of_module, of_test}) == 3
    assert not any(folder.is_relative_to(Path(__file__).parents[1]) for folder in (of_session, of_module, of_test))
    assert list(of_session.iterdir()) == list(of_module.iterdir()) == []


def test_processes_of_a_test_start_in_its_empty_folder(empty_folder):
    said = subprocess.run([sys.executable, "-c", HERE], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(empty_folder), "0"]
