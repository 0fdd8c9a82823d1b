"""Which files train reads, that it knows them again, and which folders it takes for its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pseudolabel.blocks import only_run
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.records import sha256
from pseudolabel.scores.store import ScoreStore
from pseudolabel.train import main
from pseudolabel.training.loop import Trainer

CLASSES = ("low", "middle", "high")
QUICK = ("--threads", "1", "--clip-seconds", "1", "--batch-size", "3", "--epochs", "2", "--model-options", "width=.1",
         "last_channels=32", "input_norm=batch", "--front-end", "hop_s=.04")  # fmt: skip
RUN_FILES = {
    "model.safetensors", "config.json", "train_clips.csv", "missing.csv", "history.csv", "learning_curve.png",
    "checkpoints/settings.json", "checkpoints/epoch-0001.pt", "checkpoints/epoch-0002.pt",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("same_threads_after")


@pytest.fixture(scope="module")
def tones(write_tones, tmp_path_factory) -> Path:
    """Nine clips of 1 s: six to train on, three held out; targets of all, and a list of other clips to evaluate on."""
    work = write_tones(tmp_path_factory.mktemp("inputs") / "tones", [1.0] * 9)
    labels = LabelTable.read(work / "labels.csv", Vocabulary.load(work / "vocabulary.csv"))
    labels.select(labels.clip_ids[:6]).write(work / "labels.csv")
    labels.select(labels.clip_ids[6:]).write(work / "validation.csv")
    ScoreStore.write(work / "scores.h5", labels.clip_ids, CLASSES, {"clip": labels.matrix.toarray() * 0.8 + 0.1})
    (work / "eval.csv").write_text("clip_id,labels\nelsewhere,low\n")
    (work / "list.csv").write_text("clip_id,labels\n" + "".join(f"t{i:02d},\n" for i in range(6)))
    (work / "mask.csv").write_text("clip_id,labels\nt01,high\n")
    return work


@pytest.fixture
def a(tones, tmp_path) -> Path:
    """A work folder that is not the current one's ./work."""
    return shutil.copytree(tones, tmp_path / "a")


@pytest.fixture
def decoy(tones, monkeypatch, tmp_path) -> Path:
    """The current folder's ./work, of which nothing may be read: none of its files can be."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work").mkdir()
    for path in tones.iterdir():
        (tmp_path / "work" / path.name).write_text("not to be read\n")
    return tmp_path / "work"


def train(*options: object) -> int:
    return main([*QUICK, *map(str, options)])


def refused(capsys, *options: object) -> str:
    """Return the last line of what a refused command says."""
    capsys.readouterr()
    assert train(*options) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("pseudolabel train: error: ")
    return line


def record_of(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- which files ------------------------------------------------------------------------------------------------


def names_read(run: Path, folder: Path) -> set[str]:
    """Return the names of the inputs of a run, all of which lie in one folder and have the checksums of its files."""
    inputs = record_of(run)["inputs"]
    assert {Path(path).parent for path in inputs} == {folder}
    assert inputs == {path: sha256(path) for path in inputs}
    return {Path(path).name for path in inputs}


NAMED = {
    "labels": ("--labels", "labels.csv"),
    "clips": ("--clips", "clips.h5"),
    "targets": ("--targets", "scores.h5"),
    "list": ("--list", "list.csv"),
    "mask": ("--mask", "mask.csv"),
}


@pytest.mark.parametrize("named", NAMED)
def test_beside_a_named_file_every_default_is_its_own_folder_s(a, decoy, tmp_path, named):
    option, name = NAMED[named]
    assert train(option, a / name, "--out", tmp_path / "run") == 0
    always = {"labels.csv", "clips.h5", "vocabulary.csv", "validation.csv", "eval.csv"}
    assert names_read(tmp_path / "run", a) == always | {name}


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ("validation.csv", "no validation list: work/validation.csv does not belong to"),
        ("eval.csv", "no evaluation list: work/eval.csv does not belong to"),
    ],
)
def test_a_default_that_is_absent_beside_a_named_file_is_absent_and_said(a, decoy, tmp_path, capsys, absent, said):
    (a / absent).unlink()
    assert train("--labels", a / "labels.csv", "--clips", a / "clips.h5", "--out", tmp_path / "run") == 0
    assert said in capsys.readouterr().err
    assert absent not in names_read(tmp_path / "run", a)
    reached = record_of(tmp_path / "run")["validation_map"]
    assert (reached is None) == (absent == "validation.csv")


@pytest.mark.parametrize(("absent", "option"), [("clips.h5", "--clips"), ("labels.csv", "--labels")])
def test_a_file_that_every_run_needs_and_that_is_not_beside_the_named_one_is_asked_for(
    a, decoy, tmp_path, capsys, absent, option
):
    (a / absent).unlink()
    line = refused(capsys, "--targets", a / "scores.h5", "--out", tmp_path / "run")
    assert f"{a / absent}: no such file beside {a / 'scores.h5'}. Give {option}, or --work work." in line


def test_the_vocabulary_beside_named_labels_is_theirs_and_else_audioset(a, decoy, tmp_path, capsys):
    (a / "vocabulary.csv").unlink()
    line = refused(capsys, "--labels", a / "labels.csv", "--out", tmp_path / "run")
    assert "is not in the vocabulary 'audioset'" in line


def test_labels_of_an_enhancement_belong_to_its_work_folder(a, decoy, tmp_path):
    (a / "enhanced-25p").mkdir()
    shutil.move(a / "labels.csv", a / "enhanced-25p" / "labels.csv")
    (a / "enhanced-25p" / "run.json").write_text(json.dumps({"verb": "enhance"}))
    assert train("--labels", a / "enhanced-25p" / "labels.csv", "--out", tmp_path / "run") == 0
    read = {Path(path) for path in record_of(tmp_path / "run")["inputs"]}
    assert read == {a / "enhanced-25p" / "labels.csv"} | {
        a / name for name in ("clips.h5", "vocabulary.csv", "validation.csv", "eval.csv")
    }


def test_clips_on_another_disk_belong_to_the_work_folder_that_is_named(a, tmp_path, decoy):
    (tmp_path / "disk").mkdir()
    clips = shutil.move(a / "clips.h5", tmp_path / "disk" / "clips.h5")
    assert train("--work", a, "--clips", clips, "--out", tmp_path / "run") == 0
    read = set(map(Path, record_of(tmp_path / "run")["inputs"]))
    assert read == {clips, *(a / name for name in ("labels.csv", "vocabulary.csv", "validation.csv", "eval.csv"))}


# ---- the same files ---------------------------------------------------------------------------------------------


EVERYTHING = ("--targets", "scores.h5", "--list", "list.csv", "--mask", "mask.csv", "--pretrained", "before")


def everything(work: Path) -> list[object]:
    """Return options that name every kind of input."""
    return ["--work", work, *(option if option.startswith("--") else work / option for option in EVERYTHING),
            "--out", work / "run"]  # fmt: skip


@pytest.fixture(scope="module")
def with_a_run(tones, tmp_path_factory) -> Path:
    """The work folder with a finished run `before`, and `run`, which starts from it and was killed in its last epoch.

    Nothing of it may be changed.
    """
    work = shutil.copytree(tones, tmp_path_factory.mktemp("begun") / "work")
    assert train("--work", work, "--seed", "7", "--out", work / "before") == 0
    save = Trainer._save

    def dies(trainer: Trainer) -> None:
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        save(trainer)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "_save", dies)
        assert train(*everything(work)) == 130
    return work


def replace(path: Path) -> None:
    """Write other content, which can be read, into a file."""
    if path.name == "clips.h5":
        path.write_bytes(path.with_name("others.h5").read_bytes())
    elif path.name == "scores.h5":
        labels = [f"t{i:02d}" for i in range(9)]
        ScoreStore.write(path, labels, CLASSES, {"clip": np.full((9, 3), 0.25)}, overwrite=True)
    elif path.name == "model.safetensors":
        from safetensors.torch import load_file, save_file

        weights = load_file(path)
        save_file({name: value * 1.5 for name, value in weights.items()}, path)
    elif path.name == "config.json":
        path.write_text(path.read_text() + "\n")
    elif path.name == "vocabulary.csv":
        path.write_text(path.read_text().replace("\nlow,low", "\nlow,Low"))
    else:
        path.write_text(
            path.read_text().rstrip("\n") + "\n\n" if path.name != "eval.csv" else "clip_id,labels\nx,low\n"
        )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("clips.h5", "inputs.clips"),
        ("scores.h5", "inputs.targets"),
        ("labels.csv", "inputs.labels"),
        ("list.csv", "inputs.list"),
        ("mask.csv", "inputs.mask"),
        ("validation.csv", "inputs.validation"),
        ("eval.csv", "inputs.evaluation"),
        ("vocabulary.csv", "inputs.vocabulary"),
        ("before/model.safetensors", "inputs.pretrained model.safetensors"),
        ("before/config.json", "inputs.pretrained config.json"),
    ],
)
def test_an_unfinished_run_does_not_go_on_with_another_input(with_a_run, write_tones, tmp_path, capsys, changed, said):
    work = tmp_path / "begun"
    shutil.copytree(with_a_run, work)
    if changed == "clips.h5":
        shutil.copy(write_tones(tmp_path / "others", [1.1] * 9) / "clips.h5", work / "others.h5")
    replace(work / changed)
    before = contents(work / "run")
    line = refused(capsys, *everything(work))
    assert "an unfinished run with other " in line and said in line  # a vocabulary is in the model's config too
    assert "Finish it with its own options and files, start over with --overwrite" in line
    assert contents(work / "run") == before


def test_an_unfinished_run_with_the_same_inputs_elsewhere_goes_on(with_a_run, tmp_path, capsys):
    work = tmp_path / "moved"
    shutil.copytree(with_a_run, work)
    assert train(*everything(work)) == 0
    assert "resumed after epoch 1 of 2" in capsys.readouterr().out


def test_a_finished_run_says_which_inputs_are_no_longer_what_it_was_made_from(a, capsys):
    options = ("--work", a, "--out", a / "run")
    assert train(*options) == 0
    before = contents(a / "run")
    assert "a finished run is here. Give --overwrite to replace it" in refused(capsys, *options)
    with open(a / "labels.csv", "a") as file:
        file.write("\n")
    line = refused(capsys, *options)
    assert f"a finished run is here, made from what {a / 'labels.csv'} held before" in line
    assert contents(a / "run") == before


# ---- whose folder -----------------------------------------------------------------------------------------------


def test_a_finished_run_lists_its_files_and_no_other(a):
    (a / "run").mkdir()
    assert train("--work", a, "--out", a / "run") == 0
    assert set(record_of(a / "run")["files"]) == RUN_FILES
    assert {str(path.relative_to(a / "run")) for path in (a / "run").rglob("*") if path.is_file()} == {
        *RUN_FILES, "run.json"
    }  # fmt: skip
    assert sorted(path.name for path in a.glob(".*")) == []  # no lock, no temporary name


FOREIGN = {
    "notes": {"notes.txt": "mine"},
    "another verb's": {"run.json": '{"verb": "enhance"}', "labels.csv": "clip_id,labels\n"},
    "an average's": {"run.json": '{"verb": "average"}', "model.safetensors": "weights"},
    "somebody's model": {"config.json": "{}", "model.safetensors": "weights"},
    "checkpoints of another program": {"checkpoints/epoch-0001.pt": "weights"},
    "settings of another program": {"checkpoints/settings.json": '{"format": "theirs"}'},
    "only history": {"history.csv": "a,b\n"},
}


@pytest.mark.parametrize("holding", FOREIGN)
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_folder_that_train_did_not_write_is_left_as_it_is(a, tmp_path, capsys, holding, overwrite):
    folder = tmp_path / "theirs"
    for name, text in FOREIGN[holding].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    before = contents(folder)
    refused(capsys, "--work", a, "--out", folder, *overwrite)
    assert contents(folder) == before


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("name", ["notes.txt", "checkpoints/best.pt", "tensorboard/notes.txt", ".git/config"])
def test_a_run_that_holds_a_file_of_somebody_else_is_not_replaced(with_a_run, tmp_path, capsys, finished, name):
    work = shutil.copytree(with_a_run, tmp_path / "work")
    run = work / ("before" if finished else "run")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_text("mine")
    before = contents(run)
    line = refused(capsys, "--work", work, "--out", run, "--overwrite")
    assert f"holds {name}, which train did not write, so it is not replaced" in line
    assert contents(run) == before


def test_notes_in_an_unfinished_run_stay_and_are_not_taken_for_its_own(with_a_run, tmp_path, capsys):
    work = shutil.copytree(with_a_run, tmp_path / "work")
    (work / "run" / "notes.txt").write_text("mine")
    assert train(*everything(work)) == 0
    assert (work / "run" / "notes.txt").read_text() == "mine"
    assert set(record_of(work / "run")["files"]) == RUN_FILES
    assert "holds notes.txt" in refused(capsys, *everything(work), "--overwrite")


def test_links_are_not_followed(a, tmp_path, capsys):
    assert train("--work", a, "--out", a / "run") == 0
    (tmp_path / "link").symlink_to(a / "run")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "epoch-0009.pt").write_text("mine")
    before = contents(a / "run")
    assert "not a folder that train wrote" in refused(capsys, "--work", a, "--out", tmp_path / "link", "--overwrite")
    (a / "run" / "tensorboard").symlink_to(tmp_path / "kept")
    line = refused(capsys, "--work", a, "--out", a / "run", "--overwrite")
    assert "holds tensorboard, which train did not write" in line
    (a / "run" / "tensorboard").unlink()
    assert contents(a / "run") == before and (tmp_path / "kept" / "epoch-0009.pt").read_text() == "mine"


def test_unfinished_and_empty_folders_are_replaced_on_request(with_a_run, tmp_path):
    work = shutil.copytree(with_a_run, tmp_path / "work")
    (work / "empty").mkdir()
    for name in ("run", "empty"):
        assert train("--work", work, "--out", work / name, "--seed", "3", "--overwrite") == 0
        assert record_of(work / name)["seed"] == 3


def test_an_unfinished_run_of_an_earlier_version_is_known_by_its_checkpoints(with_a_run, tmp_path):
    for overwrite in ((), ("--overwrite",)):
        work = shutil.copytree(with_a_run, tmp_path / f"work{len(overwrite)}")
        (work / "run" / "checkpoints" / "settings.json").unlink()
        assert train(*everything(work), *overwrite) == 0
        assert set(record_of(work / "run")["files"]) == RUN_FILES


@pytest.mark.parametrize("name", ["targets", "pretrained", "labels"])
def test_an_output_that_is_an_input_is_refused(with_a_run, tmp_path, capsys, name):
    work = shutil.copytree(with_a_run, tmp_path / "work")
    run, options = work / "before", {"pretrained": work / "before"}
    if name != "pretrained":
        options = {name: shutil.copy(work / ("scores.h5" if name == "targets" else "labels.csv"), run)}
    before = contents(run)
    for more in ((), ("--overwrite",)):
        given = [part for option, path in options.items() for part in (f"--{option}", path)]
        assert "would be replaced while it is an input" in refused(capsys, "--work", work, *given, "--out", run, *more)
        assert contents(run) == before


def test_a_second_run_in_one_output_is_refused(a, capsys):
    with only_run(a / "run"):
        line = refused(capsys, "--work", a, "--out", a / "run")
    assert "another run is at work on this output" in line and not (a / "run").exists()


@pytest.mark.parametrize("last", ["model.safetensors", "train_clips.csv", "missing.csv", "learning_curve.png"])
def test_a_run_killed_between_its_last_files_is_finished_by_the_same_command(a, monkeypatch, last):
    """`last` is what was written before the kill; run.json comes after all of them."""
    import pseudolabel.artefacts as artefacts

    options, rename = ("--work", a, "--out", a / "run"), artefacts.rename

    def dies(source: Path, target: Path) -> None:
        rename(source, target)
        if target.name == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(artefacts, "rename", dies)
        assert train(*options) == 130
    assert not (a / "run" / "run.json").exists()
    assert train(*options) == 0
    assert set(record_of(a / "run")["files"]) == RUN_FILES


def test_a_front_end_at_another_rate_than_the_clips_is_refused(a, tmp_path, capsys):
    command = ["--work", str(a), *QUICK, "sample_rate=32000", "--out", str(tmp_path / "run")]
    for dry in ((), ("--dry-run",)):
        assert main([*command, *dry]) == 2
        said = "--front-end sample_rate: the clips have 16000 Hz, not 32000. Prepare the clips with that --sample-rate."
        assert said in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    assert main([*command[:-3], "sample_rate=16000", *command[-2:]]) == 0
