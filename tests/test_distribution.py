"""What is published works by itself: a wheel without the checkout, and a source distribution with tests and recipes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
CLIPS, CLASSES = ("a", "b", "c", "d"), ("Dog", "Bark", "Animal", "Speech")
LABELS = "clip_id,labels\na,Dog\nb,Bark\nc,Speech\nd,Dog;Bark\n"


def built(folder: Path) -> tuple[Path, Path]:
    """Return a wheel and a source distribution, built without the network from a copy of what the repository holds."""
    source = folder / "source"
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so what belongs to it is unknown")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    program = (
        "import sys, setuptools.build_meta as backend; folder = sys.argv[1]; "
        "backend.build_sdist(folder); backend.build_wheel(folder)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=source, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="module")
def python(distributions, tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel, and with the libraries, not the checkout, of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(distributions[0]) as wheel:  # pure Python: what pip would unpack
        wheel.extractall(packages)
    libraries = Path(np.__file__).parents[1]
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    return folder / "bin" / "python"


def ran(python: Path, folder: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python), "-P", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_enhances_reviews_and_releases_without_the_checkout(python, tmp_path):
    where = ran(
        python,
        tmp_path,
        "-c",
        "import pseudolabel, pseudolabel.ontology_data as o; print(pseudolabel.__file__, *o.__path__)",
    )
    for place in where.split():
        assert Path(place).is_relative_to(python.parents[1])
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "clips.txt").write_text("\n".join(CLIPS))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    np.save(tmp_path / "scores.npy", np.linspace(0.05, 0.95, 16).reshape(4, 4))
    names = ("--ids", "clips.txt", "--classes", "classes.txt")
    ran(python, tmp_path, "-m", "pseudolabel", "score", "import", "scores.npy", *names)
    lists = ("--labels", "labels.csv", "--scores", "work/scores.h5", "--threshold", "0.1")
    said = ran(python, tmp_path, "-m", "pseudolabel.enhance", *lists)
    assert said.startswith("will add 2 labels (+40.0 %) to 2 of 4 clips")
    ran(python, tmp_path, "-m", "pseudolabel.review", "page")
    page = (tmp_path / "work" / "review" / "index.html").read_text(encoding="utf-8")
    assert "Bark" in page and "<script>" in page and "<style>" in page
    ran(python, tmp_path, "-m", "pseudolabel.release", "make")
    (release,) = (tmp_path / "work").glob("release-*")
    assert "verified" in ran(python, tmp_path, "-m", "pseudolabel.release", "verify", str(release)) or release.is_dir()
    assert (release / "README.md").read_text(encoding="utf-8").startswith("---\n")


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


@pytest.mark.slow
def test_the_wheel_has_every_module_template_and_table_and_nothing_else(distributions):
    there = {name for name in names_in(distributions[0]) if ".dist-info/" not in name}
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pseudolabel").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in there if not name.startswith("pseudolabel/ontology_data/")} == tracked
    tables = {f"pseudolabel/ontology_data/{path.name}" for path in (ROOT / "ontology").glob("*.csv")}
    assert tables <= there


@pytest.mark.slow
def test_the_source_distribution_has_tests_recipes_docs_and_tables(distributions):
    with tarfile.open(distributions[1]) as file:
        there = {name.partition("/")[2] for name in file.getnames()}
    for folder in ("tests", "recipes", "docs", "ontology"):
        names = {
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert names <= there
    assert {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= there
