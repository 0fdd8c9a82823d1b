"""`--dry-run` of every verb: it checks options, inputs and output, says what would be written, and writes nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pseudolabel import dry_run
from pseudolabel.cli import VERBS
from pseudolabel.errors import InputError
from pseudolabel.models import NETWORKS, declared_options, network_options

GOOD = {
    "simulate": ("--work", "new"),
    "prepare": ("--audio", "sounds", "--labels", "labels.csv", "--vocabulary", "vocabulary.csv", "--out", "new.h5"),
    "train": ("--row", "weak", "--model-options", "width=0.25", "--no-validation"),
    "score": ("--run", "runs/a", "--list", "labels.csv"),
    "average": ("runs/a", "runs/b"),
    "enhance": ("--errors", "II", "--type2", "closure", "--ontology", "ontology.csv"),
    "evaluate": ("--labels", "labels.csv", "--runs", "runs/a"),
    "balance": ("--hold-out", "1"),
    "review": ("--ledger", "ledger.csv"),
    "release": ("--enhanced", "enhanced-mean"),
    "bench": ("labels", "--labels", "labels.csv"),
    "models.published": ("weights.pt", "--out", "runs/new"),
    "labels.published": ("--fsd50k", "labels.csv"),
}
BAD = {
    "simulate": (("--scenes", "3"), "five pools need at least 5 scenes"),
    "prepare": (("--labels", "no.csv"), "no.csv: no such file"),
    "train": (("--labels", "no.csv"), "no.csv: no such file"),
    "score": (("--run", "runs/none"), "runs/none/model.safetensors: no such file"),
    "average": (("--weights", "1", "2", "3"), "are no weights of 2 models"),
    "enhance": (("--type1", "descendants", "--profile", "psla"), "is fixed by --profile psla"),
    "evaluate": (("--runs", "runs/none"), "no run 'runs/none'"),
    "balance": (("--labels", "no.csv"), "no.csv: no such file"),
    "review": (("--decoys", "0.2"), "Add --blind"),
    "release": (("--enhanced", "none"), "none: no such file"),
    "bench": (("--models", "resnet51"), "unknown model 'resnet51'"),
    "models.published": (("--sha256", "0" * 64), "expected 000"),
    "labels.published": (("--fsd50k", "no.csv"), "no.csv: no such file"),
}
OUTPUTS = {
    "simulate": "new/labels.csv", "prepare": "new.h5", "train": "runs/weak-seed0/run.json", "score": "scores.h5",
    "average": "runs/averaged/x", "evaluate": "evaluation/x", "balance": "balance/x", "review": "review/x",
    "release": "release-mean/x", "bench": "bench/labels/report.json", "models.published": "runs/new/x",
}  # fmt: skip


@pytest.fixture
def work(tmp_path, write_tones, monkeypatch) -> Path:
    """A work folder as the current one, in which each of `GOOD` could go to work."""
    monkeypatch.chdir(write_tones(tmp_path, [0.1] * 6))
    for name in ("runs/a", "runs/b"):
        for file in ("model.safetensors", "config.json"):
            write(Path(name, file), "{}")
    write(Path("ontology.csv"), "class_id,name,child_ids,restrictions\nlow,low,,\nmiddle,middle,low,\nhigh,high,,\n")
    write(Path("vocabulary.csv"), "class_id,name\nlow,low\nmiddle,middle\nhigh,high\n")
    for name in ("sounds/t00.wav", "ledger.csv", "weights.pt", "enhanced-mean/run.json"):
        write(Path(name), "")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(verb: str, *options: str) -> int:
    own = () if verb.endswith("published") or verb == "simulate" else ("--work", ".")
    try:
        return importlib.import_module(f"pseudolabel.{verb}").main([*GOOD[verb], *own, *options])
    except SystemExit as stop:
        return stop.code


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path().rglob("*")}


def test_every_verb_has_a_case():
    assert GOOD.keys() == BAD.keys() == {*VERBS, "models.published", "labels.published"}
    assert GOOD.keys() - OUTPUTS.keys() == {"enhance", "labels.published"}  # one counts, the other replaces


@pytest.mark.parametrize("verb", GOOD)
def test_dry_run_says_what_would_be_written_and_writes_nothing(verb, work, capsys):
    before = files()
    assert run(verb, "--dry-run") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert ("nothing written" if verb == "enhance" else "would write") in said
    assert files() == before
    if verb != "enhance":
        assert said.count("\n") == 1


@pytest.mark.parametrize("verb", BAD)
def test_dry_run_refuses_what_the_verb_would(verb, work, capsys):
    before, (options, error) = files(), BAD[verb]
    assert run(verb, *options, "--dry-run") == 2
    captured = capsys.readouterr()
    assert error in captured.err.splitlines()[-1] and not captured.out
    assert files() == before


@pytest.mark.parametrize("verb", OUTPUTS)
def test_output_that_is_there_is_refused(verb, work, capsys):
    write(Path(OUTPUTS[verb]), "somebody's")
    before = files()
    for options, error in (((), "exists"), (("--overwrite",), "not")):
        assert run(verb, *options, "--dry-run") == 2
        assert error in capsys.readouterr().err and files() == before


@pytest.mark.parametrize("device", ["cuda:x", "tpu"])
def test_device_that_is_not_there_is_refused(device, work, capsys):
    assert run("train", "--device", device, "--dry-run") == 2
    assert f"no such device {device!r}" in capsys.readouterr().err


def test_package_that_is_needed_and_not_installed_is_named(work, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"tensorboard is not installed.*pip install 'pseudolabel"):
        dry_run.check_packages("--tensorboard", "tensorboard", "tensorboard")


@pytest.mark.parametrize("name", NETWORKS)
def test_declared_options_are_those_that_the_network_takes(name):
    assert declared_options(name) == network_options(name)


def test_a_dry_run_loads_no_torch(work):
    program = (
        "import sys, pseudolabel.train as verb; verb.main([*'--work . --no-validation --dry-run'.split()]);"
        " sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


def test_what_is_promised_counts_as_being_there_until_the_end(work):
    dry_run.begin_recipe()
    folder = Path("new/runs/a")
    dry_run.promise(folder, "model.safetensors", epochs=3)
    dry_run.keep(folder / "run.json")
    assert all(map(dry_run.there, (folder, folder.parent, folder / "model.safetensors", work / folder / "run.json")))
    assert dry_run.promised(folder) == {"epochs": 3} and dry_run.promised(folder.parent) == {}
    assert dry_run.holds(folder.parent, "model.safetensors") and not dry_run.holds(Path("new"), "model.safetensors")
    dry_run.end_recipe()
    assert not dry_run.there(folder) and not dry_run.of_recipe()
