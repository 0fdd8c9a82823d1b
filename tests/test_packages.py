"""A module that is not installed is named with the command that installs it."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pseudolabel
from pseudolabel import enhance as verb
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


WITHOUT = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Without())
from pseudolabel.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory) -> Path:
    """A work folder with clips, labels, an enhancement, and a recording."""
    import soundfile

    work = write_tones(tmp_path_factory.mktemp("packages"), [0.1] * 6)
    (work / "sounds").mkdir()
    soundfile.write(work / "sounds" / "t00.wav", np.zeros(4410), 44_100)
    (work / "ontology.csv").write_text(
        "class_id,name,child_ids,restrictions\nlow,low,,\nmiddle,middle,low,\nhigh,high,,\n"
    )
    (work / "vocabulary.csv").write_text("class_id,name\nlow,low\nmiddle,middle\nhigh,high\n")
    options = ["--errors", "II", "--type2", "closure", "--ontology", str(work / "ontology.csv")]
    assert verb.main([*options, "--work", str(work)]) == 0
    return work


@pytest.mark.parametrize(
    ("module", "name", "command"),
    [
        ("networkx", "networkx", "enhance --errors II --type2 closure"),  # when the verb is imported
        ("h5py", "h5py", "score verify clips.h5"),
        ("yaml", "PyYAML", "release make --out new"),
        ("jinja2", "Jinja2", "release make --out new"),
        ("PIL", "pillow", "review page --ontology ontology.csv --out new"),
        ("matplotlib", "matplotlib", "balance --out new"),
        ("torch", "torch", "train --no-validation --out new"),
        ("soundfile", "soundfile", "prepare --audio sounds --out new.h5 --processes 1"),
        ("soxr", "soxr", "prepare --audio sounds --out new.h5 --processes 1"),
    ],
)
def test_a_package_that_is_not_installed_is_one_line_and_leaves_nothing_half_made(work, module, name, command):
    arguments = [sys.executable, "-c", WITHOUT, module, *command.split(), "--work", "."]
    ran = subprocess.run(arguments, cwd=work, capture_output=True, text=True)
    line = ran.stderr.splitlines()[-1]
    assert ran.returncode == 2 and "Traceback" not in ran.stderr
    assert line.endswith(f"error: the package {module} is not installed. pip install {name}")
    assert not (work / "new").exists() and not (work / "new.h5").exists()


@pytest.mark.parametrize("verb", ["enhance", "score", "bench"])
def test_a_package_that_a_verb_imports_first_is_one_line_in_a_program_of_its_own(tmp_path, verb):
    without = WITHOUT.replace("sys.argv[1]", "'numpy'").partition("from pseudolabel")[0]
    (tmp_path / "sitecustomize.py").write_text(without)
    path = os.pathsep.join([str(tmp_path), str(Path(pseudolabel.__file__).parents[1])])
    command = [sys.executable, "-m", f"pseudolabel.{verb}"]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    said = f"pseudolabel {verb}: error: the package numpy is not installed. pip install numpy\n"
    assert (ran.returncode, ran.stderr) == (2, said)


def test_other_errors_of_a_program_keep_their_traceback(capsys):
    packages.say_missing(ImportError, ImportError("circular"), None)
    packages.say_missing(ModuleNotFoundError, ModuleNotFoundError("no numpy", name="numpy"), None)  # of another program
    assert capsys.readouterr().err == "ImportError: circular\nModuleNotFoundError: no numpy\n"
