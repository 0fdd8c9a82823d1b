"""What recipes take from their surroundings is data: settings are checked before anything is written or installed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from pseudolabel.models.networks import NETWORKS

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
SCRIPTS = sorted(path.stem for path in RECIPES.glob("*.sh"))
SOURCED = ("checks", "common", "psla", "setup")
NOT_RECIPES = (*SOURCED, "test")
OWN = {"RECIPE", "NETWORKS", "PSLA_ROWS", "BASH_SOURCE", "SECONDS", "PWD", "PYTHON", "LC_ALL", "WORK"}
PASSED_ON = {"psl_10s": "psl_2s", "psl_5s": "psl_2s", "three_seeds": "psl_2s"}  # recipes that run another one

# Code where a shell expands, evaluates or splits; options; paths elsewhere; patterns; bytes that are not text.
HOSTILE = (
    "a[0$(touch owned)]", "--help", "../../owned", "weak\ntrue", "$(touch owned)", "`touch owned`", "; touch owned",
    "-1", "08", "*", "\t", "a\x1b[2J", b"\xff\xfe", "0x10", "1e999", "weak weak", "x" * 5000,
)  # fmt: skip
KINDS = {
    "SCALE": ("tiny",),
    "SEED": ("0", "999999999"),
    "SEEDS": ("1", "3"),
    "TEACHER": ("efficientnet_b2",),
    "STUDENT": ("efficientnet_b0",),
    "MODEL": ("resnet50",),
    "ROWS": (),
    "LENGTHS": ("10s 5s 2s", "0.5s"),
    "BETAS": ("0 0.1 0.25 1",),
    "ANNOTATORS": ("A", "E B", "children D"),
    "TEACHERS": ("out_of_fold in_fold",),
    "STUDENTS": ("A", "E B"),
    "RATE": ("1e-5", "0.001", ".5e-3"),
    "RULES": ("mean 25p", "0.5"),
    "LIST": ("full",),
    "ENSEMBLE": ("0", "1"),
    "SHA256": ("0a" * 32,),
    "PRETRAINED": ("imagenet", "{file}"),
    "ESC50_MAP": ("esc50", "{file}"),
    "FSD50K_MAP": ("fsd50k", "{file}"),
    **dict.fromkeys(("SOUND_LABELS", "VOCABULARY", "LABELS", "PUBLISHED", "EVENTS"), ("{file}",)),
    **dict.fromkeys(("DATA", "SOUNDS", "SOURCE", "TEACHER_RUN", "ESC50", "FSD50K"), ("{folder}",)),
}  # the right values of each setting; {file} and {folder} are there


def settings_of(recipe: str) -> list[str]:
    """Return the names in capitals that a recipe, and what it sources, read from their surroundings."""
    text = (RECIPES / f"{recipe}.sh").read_text()
    text += "".join((RECIPES / f"{name}.sh").read_text() for name in SOURCED if f"/{name}.sh" in text)
    text += (RECIPES / "common.sh").read_text() * ("/psla.sh" in text)
    names = set(re.findall(r"\$\{([A-Z][A-Z0-9_]+)\b", re.sub(r"(?m)(^|\s)#.*$", "", text)))
    return sorted((names | set(settings_of(PASSED_ON[recipe])) if recipe in PASSED_ON else names) - OWN)


def run(recipe: str, here: Path, settings: dict) -> subprocess.CompletedProcess:
    """Run a recipe in a work folder that it refuses after all other checks: no case goes on to set up or write."""
    environment = {name: value for name, value in os.environ.items() if name not in KINDS}
    settings = {os.fsencode(name): os.fsencode(value) for name, value in settings.items()}
    environment = {**{os.fsencode(key): os.fsencode(value) for key, value in environment.items()}, **settings}
    return subprocess.run(["bash", str(RECIPES / f"{recipe}.sh")], env=environment, cwd=here, capture_output=True,
                          text=True, errors="replace", timeout=60, check=False)  # fmt: skip


@pytest.fixture
def here(tmp_path) -> Path:
    """A current folder with somebody's files, one of which every work folder would replace."""
    for seed in ("", "-seed0"):
        (tmp_path / f"mine{seed}").mkdir()
        (tmp_path / f"mine{seed}" / "labels.csv").write_text("somebody's")
    folder = tmp_path / "a földer; $(touch owned)"
    (folder / "audio").mkdir(parents=True)
    for name in ("train.csv", "eval.csv", "one file.csv"):
        (folder / name).touch()
    for run in ("teacher", "psl_2s-seed0"):
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "model.safetensors").touch()
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_setting_of_every_recipe_is_in_the_table():
    recipes = [name for name in SCRIPTS if name not in NOT_RECIPES]
    assert {name for recipe in recipes for name in settings_of(recipe)} == set(KINDS)


def test_networks_are_those_of_the_package():
    said = subprocess.run(
        ["bash", "-c", f"source '{RECIPES}/checks.sh'; echo \"${{NETWORKS[@]}}\""], capture_output=True
    )
    assert sorted(said.stdout.decode().split()) == sorted(NETWORKS)


@pytest.mark.parametrize("recipe", [name for name in SCRIPTS if name not in NOT_RECIPES])
def test_setting_that_is_something_else_is_one_line_and_nothing_is_written(recipe, here):
    before, recipes = files_in(here), [name for name in SCRIPTS if name not in NOT_RECIPES]
    for name in settings_of(recipe):
        first = next(other for other in recipes if name in settings_of(other))
        for value in HOSTILE if recipe == first else HOSTILE[:4]:
            ended = run(recipe, here, {"WORK": "mine", name: value})
            assert ended.returncode == 2 and not ended.stdout, (name, value, ended.stderr)
            assert ended.stderr.startswith(f"{name}=") and ended.stderr.count("\n") == 1, (name, value, ended.stderr)
            assert len(ended.stderr) < 400
    assert files_in(here) == before


@pytest.mark.parametrize("recipe", [name for name in SCRIPTS if name not in NOT_RECIPES])
@pytest.mark.parametrize("work", ["-rf", "--help", "new\nline", b"\xff", "mine", "mine/labels.csv"])
def test_work_folder_that_is_something_else_is_refused(recipe, work, here):
    before = files_in(here)
    if recipe == "three_seeds" and work == "mine/labels.csv":
        work = "mine"  # it adds -seed0
    ended = run(recipe, here, {"WORK": work, **({"DATA": "."} if recipe == "desed_teacher" else {})})
    assert ended.returncode == 2 and ended.stderr.startswith("WORK=") and ended.stderr.count("\n") == 1, ended.stderr
    assert files_in(here) == before


@pytest.mark.parametrize("recipe", [name for name in SCRIPTS if name not in NOT_RECIPES])
def test_right_values_pass_the_checks_whatever_their_letters(recipe, here):
    folder = here / "a földer; $(touch owned)"
    paths = {"file": folder / "one file.csv", "folder": folder}
    before = files_in(here)
    for name in settings_of(recipe):
        for value in KINDS[name]:
            settings = {"WORK": "mine", name: value.format(**paths)}
            if name == "SOUNDS":
                settings["SOUND_LABELS"] = paths["file"]
            if name == "SOUND_LABELS":
                settings["SOUNDS"] = folder
            if recipe == "desed_teacher":
                settings.setdefault("DATA", folder)
            ended = run(recipe, here, settings)
            refused = ended.stderr.startswith(("WORK=mine", "SOUNDS"))  # SOUNDS: a recipe that takes none, or DATA
            assert ended.returncode == 2 and refused, (name, value, ended.stderr)
    assert files_in(here) == before
