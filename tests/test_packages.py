"""A module that is not installed is named with the command that installs it."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

import pseudolabel
from pseudolabel import packages
from pseudolabel.errors import InputError


def test_what_installs_a_module_is_its_package_or_an_extra(monkeypatch):
    assert packages.how_to_install("av") == "pip install av"
    assert packages.how_to_install("PIL") == "pip install pillow"
    assert packages.how_to_install("onnxruntime") == "pip install 'pseudolabel[export]'"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"^--tensorboard: needs the package tensorboard, which is not installed\. "
        r"pip install 'pseudolabel\[tensorboard\]'$",
    ):
        packages.refuse_without("--tensorboard", "tensorboard")


def test_a_failed_import_is_one_line_unless_it_is_a_fault_of_the_program():
    missing = ModuleNotFoundError("No module named 'sklearn.metrics'", name="sklearn.metrics")
    assert packages.missing_package(missing) == "the package sklearn is not installed. pip install scikit-learn"
    broken = ImportError("libz.so: not there", name="PIL._imaging")
    assert packages.missing_package(broken) == (
        "the package PIL cannot be loaded (libz.so: not there). pip install --force-reinstall pillow"
    )
    assert packages.missing_package(ImportError("cannot import name", name="pseudolabel.cli")) == ""
    assert packages.missing_package(ImportError("circular")) == ""


def test_every_extra_that_is_named_installs_the_module():
    listed = configparser.ConfigParser()
    listed.read(Path(pseudolabel.__file__).parents[1] / "setup.cfg")
    for module, extra in packages.EXTRAS.items():
        assert module in listed["options.extras_require"][extra].split()
