"""The verb average: checkpoints and runs become one model, score stores one store, and what does not fit is refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pseudolabel import artefacts
from pseudolabel.audio.clips import ClipStore
from pseudolabel.average import AverageWeightsOptions, main
from pseudolabel.blocks import only_run
from pseudolabel.errors import InputError
from pseudolabel.models import load_model
from pseudolabel.records import sha256
from pseudolabel.reports.measuring import run_of_folder
from pseudolabel.reports.rows import rows_of
from pseudolabel.scores.store import ScoreStore
from pseudolabel.train import main as train_main
from pseudolabel.training.run_folder import checkpoint_path, read_checkpoint

MODEL = ("--model-options", "width=.1", "last_channels=32", "input_norm=batch", "--front-end", "hop_s=.04")
TRAINING = ("--threads", "1", "--clip-seconds", "2", "--batch-size", "4", "--learning-rate", ".02")


pytestmark = pytest.mark.usefixtures("same_threads_after")


@pytest.fixture(scope="module")
def work(write_tones, tmp_path_factory):
    """Ten tones of 2 s and a run of four epochs with all its checkpoints."""
    work = write_tones(tmp_path_factory.mktemp("average") / "work", [2.0] * 10)
    command = ("--work", work, *TRAINING, *MODEL, "--row", "teacher", "--epochs", 4, "--keep-checkpoints", "all")
    assert train_main([str(part) for part in command]) == 0
    return work


@pytest.fixture
def run(work, tmp_path):
    """A copy of the run that a test may change."""
    return shutil.copytree(work / "runs" / "teacher", tmp_path / "teacher")


def average(work, *options) -> int:
    shared = () if "scores" in options else ("--threads", "1")
    shared += () if "scores" in options or "mean" in options else ("--batch-size", "4")
    return main([str(part) for part in ("--work", work, *options, *shared)])


def refused(capsys, *command) -> str:
    capsys.readouterr()
    assert average(*command) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.match("pseudolabel average( scores)?: error: ", lines[0])
    return lines[0]


def weights_of(run, epoch: int) -> dict[str, torch.Tensor]:
    state = read_checkpoint(checkpoint_path(run / "checkpoints", epoch))["tagger"]
    return {name.removeprefix("network."): value for name, value in state.items()}


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_all_checkpoints_are_kept_on_request_and_two_without(work, tmp_path):
    assert len(list((work / "runs" / "teacher" / "checkpoints").glob("epoch-*.pt"))) == 4
    command = ("--work", work, *TRAINING, *MODEL, "--epochs", 3, "--out", tmp_path / "run")
    assert train_main([str(part) for part in command]) == 0
    assert len(list((tmp_path / "run" / "checkpoints").glob("epoch-*.pt"))) == 2


def test_weights_are_the_mean_over_the_epochs_and_the_folder_opens(work, run, capsys):
    assert average(work, run, "--epochs", "2-4") == 0
    out = run.with_name("teacher-epochs2-4")
    assert f"sha256 {sha256(out / 'model.safetensors')}" in capsys.readouterr().out
    found = load_file(out / "model.safetensors")
    states = [weights_of(run, epoch) for epoch in (2, 3, 4)]
    compared = 0
    for name, value in found.items():
        if not is_statistic(name):
            exact = np.mean([state[name].double().numpy() for state in states], axis=0)
            assert np.allclose(value.numpy(), exact, rtol=1e-7, atol=1e-12)
            assert not torch.equal(value, states[0][name])
            compared += 1
    assert compared > 50
    assert load_model(out).class_ids == ["low", "middle", "high"]
    record = json.loads((out / "run.json").read_text())
    assert (record["row"], record["seed"], record["verb"]) == ("teacher-averaged", 0, "average")
    assert record["sha256"] == sha256(out / "model.safetensors") and "epochs 2 to 4" in record["averaged"]


def test_statistics_are_those_of_the_mean_weights_on_the_training_clips(work, run):
    """The input norm sees the front end's features alone, so that its statistics can be computed by hand."""
    assert average(work, run, "--out", run.with_name("mean")) == 0
    tagger, clips = load_model(run.with_name("mean")), ClipStore.open(work / "clips.h5")
    order = np.random.default_rng([0, 0]).permutation(10)[:8].reshape(2, 4)  # 10 pieces, batches of 4
    features = [tagger.features(torch.from_numpy(clips.batch(rows, 0, 32_000))) for rows in order]
    norm = tagger.network.input_norm
    assert norm.num_batches_tracked == 2
    assert torch.allclose(norm.running_mean, torch.stack([f.mean((0, 1)) for f in features]).mean(0), rtol=1e-4)
    assert torch.allclose(norm.running_var, torch.stack([f.var((0, 1)) for f in features]).mean(0), rtol=1e-3)
    assert average(work, run, "--statistics", "mean", "--out", run.with_name("plain")) == 0
    plain = load_file(run.with_name("plain") / "model.safetensors")["input_norm.running_mean"]
    exact = torch.stack([weights_of(run, epoch)["input_norm.running_mean"] for epoch in range(1, 5)]).mean(0)
    assert torch.allclose(plain, exact) and not torch.allclose(plain, norm.running_mean, rtol=1e-3)


def test_same_command_gives_the_same_bytes(work, run):
    for name in ("a", "b"):
        assert average(work, run, "--out", run.with_name(name)) == 0
    assert (run.with_name("a") / "model.safetensors").read_bytes() == (
        run.with_name("b") / "model.safetensors"
    ).read_bytes()


def test_clips_seen_by_any_run_or_for_statistics_are_listed(work, run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    (run / "train_clips.csv").write_text("clip_id\nt01\nt00\n")
    (other / "train_clips.csv").write_text("clip_id\nt00\nt02\n")
    (tmp_path / "list.csv").write_text("clip_id,labels\nt05,low\nt01,\n")
    for options, seen in (((), ["t01", "t00", "t02"]),
                          (("--list", tmp_path / "list.csv"), ["t01", "t00", "t02", "t05"])):  # fmt: skip
        assert average(work, run, other, "--out", tmp_path / "mean", "--overwrite", *options) == 0
        with open(tmp_path / "mean" / "train_clips.csv", newline="") as file:
            assert [row["clip_id"] for row in csv.DictReader(file)] == seen


def test_runs_are_averaged_by_weight(work, run, tmp_path):
    one, two = work / "runs" / "teacher", run
    state = {name: value * 3 if value.is_floating_point() else value for name, value in weights_of(run, 4).items()}
    from safetensors.torch import save_file

    save_file(state, two / "model.safetensors")
    assert average(work, one, two, "--weights", 3, 1, "--statistics", "mean", "--out", tmp_path / "mean") == 0
    found = load_file(tmp_path / "mean" / "model.safetensors")
    for name, value in load_file(one / "model.safetensors").items():
        assert torch.allclose(found[name], value * (1.5 if value.is_floating_point() else 1), rtol=1e-6)


def test_models_of_single_epochs_are_one_row_of_the_table(run, work, tmp_path, capsys):
    folders = [tmp_path / f"epoch{epoch}" for epoch in (3, 4)]
    for epoch, folder in zip((3, 4), folders, strict=True):
        options = (run, "--epochs", epoch, "--statistics", "mean", "--out", folder, "--row", "last2")
        assert average(work, *options) == 0
        assert torch.equal(load_file(folder / "model.safetensors")["layers.0.0.weight"],
                           weights_of(run, epoch)["layers.0.0.weight"])  # fmt: skip
    (row,) = rows_of([run_of_folder(folder, ()) for folder in folders])
    assert (row.name, [one.epoch for one in row.runs], [one.seed for one in row.runs]) == ("last2", [3, 4], [0, 0])
    with pytest.raises(InputError, match="have the same seed"):
        rows_of([run_of_folder(folder, ()) for folder in (folders[0], folders[0])])


def test_models_that_have_no_mean_are_refused(work, run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "window_s": 5.0, "class_names": ["a", "b", "c"]}))
    line = refused(capsys, work, work / "runs" / "teacher", run, "--out", tmp_path / "mean")
    assert "its config differs from that of" in line and "in class_names, window_s. Average their scores" in line
    line = refused(capsys, work, run, "--epochs", "3-6")
    assert "no checkpoint of epoch 5, 6; there are: 1, 2, 3, 4. Train with --keep-checkpoints all." in line
    assert "3 models" in refused(capsys, work, run, "--epochs", "2-4", "--weights", 1, 1)
    (run / "train_clips.csv").unlink()
    line = refused(capsys, work, run, "--out", tmp_path / "mean")
    assert "Give a label list, or --statistics mean." in line
    assert not (tmp_path / "mean").exists()


def test_nothing_is_replaced_that_average_did_not_write(work, run, tmp_path, capsys):
    assert "would be replaced while it is an input" in refused(capsys, work, run, "--out", run, "--overwrite")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    command = (work, run, "--out", tmp_path / "mine")
    assert "output exists" in refused(capsys, *command)
    assert "not a folder that average wrote" in refused(capsys, *command, "--overwrite")
    assert (tmp_path / "mine" / "notes.txt").read_text() == "precious"
    assert "would be replaced while it is an input" in refused(
        capsys, work, "scores", tmp_path / "a.h5", tmp_path / "b.h5", "--out", tmp_path / "a.h5"
    )


def test_weights_that_are_not_finite_have_no_mean(work, run, capsys):
    path = checkpoint_path(run / "checkpoints", 2)
    found = torch.load(path, weights_only=False)
    next(value for value in found["tagger"].values() if value.is_floating_point()).view(-1)[0] = float("inf")
    torch.save(found, path)
    line = refused(capsys, work, run, "--epochs", "1-3", "--out", run.with_name("mean"))
    assert "of model 2 holds NaN or infinite numbers" in line
    assert not run.with_name("mean").exists()


def test_an_average_that_another_run_is_making_is_refused(work, run, tmp_path, capsys):
    stores = write_stores(tmp_path)
    for command, out in ((("scores", *stores, "--common"), "s.h5"), ((run,), "mean")):
        with only_run(tmp_path / out):
            assert "another run is at work on this output" in refused(capsys, work, *command, "--out", tmp_path / out)


def test_runs_of_another_work_folder_are_averaged_with_its_clips_and_beside_it(
    work, write_tones, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    write_tones(tmp_path / "work", [1.0])  # of another project
    theirs = tmp_path / "A"
    shutil.copytree(work, theirs)
    for name in ("a", "b"):
        shutil.copytree(work / "runs" / "teacher", theirs / "runs" / name)
    command = ["A/runs/a", "A/runs/b", "--threads", "1", "--batch-size", "4"]
    assert main(command) == 0
    record = json.loads((theirs / "runs" / "averaged" / "run.json").read_text())
    assert all(Path(path).resolve().is_relative_to(theirs) for path in record["inputs"])
    assert any(path.endswith("A/clips.h5") for path in record["inputs"])
    assert [path.name for path in (tmp_path / "work").iterdir() if path.is_dir()] == []
    (theirs / "clips.h5").unlink()
    capsys.readouterr()
    assert main([*command, "--overwrite"]) == 2
    assert "A/clips.h5: no such file. Give the --clips to estimate" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--clips", str(work / "clips.h5")]) == 0


def test_stores_of_another_folder_have_their_ensemble_beside_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("work", "A"):
        (tmp_path / folder).mkdir()
    write_stores(tmp_path / "A")
    assert main(["scores", "A/a.h5", "A/b.h5", "--common"]) == 0
    assert (tmp_path / "A" / "ensemble.h5").exists() and not list((tmp_path / "work").iterdir())
    write_stores(tmp_path / "work")
    assert main(["scores", "work/a.h5", "work/b.h5", "--common"]) == 0
    assert (tmp_path / "work" / "ensemble.h5").exists()


@pytest.mark.parametrize("after", ["s.run.json", "s.missing.csv", "s.h5"])
def test_an_ensemble_that_is_killed_at_a_rename_is_whole_after_the_next(tmp_path, monkeypatch, after):
    stores, rename = write_stores(tmp_path), artefacts.rename
    command = (tmp_path, "scores", *stores, "--common", "--out", tmp_path / "s.h5")

    def killed(source, target):
        rename(source, target)
        if target.name == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(artefacts, "rename", killed)
    assert average(*command) == 130
    monkeypatch.undo()
    if not (tmp_path / "s.h5").exists():
        assert average(*command) == 0
    record = json.loads((tmp_path / "s.run.json").read_text())
    assert record["tables_crc32"] == ScoreStore.open(tmp_path / "s.h5").attributes["tables_crc32"]
    assert (tmp_path / "s.missing.csv").read_text().startswith("kind,id,missing_in\nclip,c3,")


@pytest.mark.parametrize("name", ["s.h5", "s.run.json", "s.missing.csv"])
def test_files_of_other_people_are_not_replaced_by_an_ensemble(tmp_path, capsys, name):
    stores = write_stores(tmp_path)
    (tmp_path / name).write_text("precious")
    line = refused(capsys, tmp_path, "scores", *stores, "--common", "--out", tmp_path / "s.h5", "--overwrite")
    assert "so it is not replaced" in line and (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to average"),
        (("scores", "a.h5"), "scores: at least two score stores are needed"),
        (("a", "b", "--epochs", "1-2"), "--epochs: applies to the checkpoints of one run"),
        (("a", "b", "--weights", "1"), "--weights: 1 weights for 2 models or stores. Give one each"),
        (("absent",), "absent: no checkpoints"),
        (("absent", "gone"), "not a model folder"),
        (("scores", "absent.h5", "gone.h5"), "absent.h5: no such file"),
    ],
)
def test_what_makes_no_average_is_one_line(tmp_path, capsys, options, said):
    assert said in refused(capsys, tmp_path, *options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "0-3", "-3", "a-b", "3-", "1-2-3", f"1-{10**23}"])
def test_what_is_no_range_of_epochs_is_refused(capsys, text):
    with pytest.raises(SystemExit):
        main([f"--epochs={text}", "run"])
    assert "--epochs: must " in capsys.readouterr().err


def test_a_range_of_epochs_that_runs_backwards_is_refused(tmp_path, capsys):
    line = refused(capsys, tmp_path, "run", "--epochs", "5-4")
    assert "--epochs: must be first to last, as 16-30, not 5-4" in line
    with pytest.raises(InputError, match="--epochs: must be first to last, as 16-30, not 2-1"):
        AverageWeightsOptions(runs=(Path("run"),), epochs=(2, 1))


def write_stores(folder) -> list:
    ScoreStore.write(folder / "a.h5", ["c1", "c2"], ["x", "y"], {"clip": np.array([[0.5, 1], [0.25, 0]])},
                     {"model": "a 1", "out_of_fold": True})  # fmt: skip
    ScoreStore.write(folder / "b.h5", ["c3", "c2", "c1"], ["y", "x"], {"clip": np.array([[1, 1], [0.5, 1], [0, 1]])},
                     {"model": "b 2", "out_of_fold": True})  # fmt: skip
    return [folder / "a.h5", folder / "b.h5"]


def test_stores_are_averaged_by_weight_and_what_is_left_out_is_listed(tmp_path, capsys):
    stores = write_stores(tmp_path)
    command = (tmp_path, "scores", *stores, "--weights", 1, 3)
    assert "a.h5: 1 clips of the other stores are not here: c3. Give --common" in refused(capsys, *command)
    assert not (tmp_path / "ensemble.h5").exists()
    assert average(*command, "--common") == 0
    said = capsys.readouterr().out
    assert "mean of 2 stores, 2 clips x 2 classes at clip; left out" in said and "1 clips, 0 classes: c3" in said
    store = ScoreStore.open(tmp_path / "ensemble.h5")
    assert store.clip_scores().tolist() == [[7 / 8, 1 / 4], [13 / 16, 3 / 8]]
    assert store.attributes["model"] == "a 1; b 2" and store.attributes["out_of_fold"]
    assert store.attributes["averaged_sha256"] == "; ".join(map(sha256, stores))
    assert (tmp_path / "ensemble.missing.csv").read_text() == f"kind,id,missing_in\nclip,c3,{stores[0]}\n"
    assert json.loads((tmp_path / "ensemble.run.json").read_text())["verb"] == "average"


def test_store_is_the_same_whatever_the_folder(tmp_path, monkeypatch):
    stores = write_stores(tmp_path)
    assert average(tmp_path, "scores", *stores, "--common", "--out", tmp_path / "1.h5") == 0
    monkeypatch.chdir(tmp_path)
    assert average(".", "scores", "a.h5", "b.h5", "--common", "--out", "2.h5") == 0
    assert (tmp_path / "1.h5").read_bytes() == (tmp_path / "2.h5").read_bytes()


def test_weights_without_a_finite_sum_are_refused(tmp_path, capsys):
    for command in (("a", "b"), ("scores", "a.h5", "b.h5")):
        assert "--weights: must not all be 0." in refused(capsys, tmp_path, *command, "--weights", "0", "0")
        with pytest.raises(SystemExit):
            main([*command, "--weights", "1e308", "1e308"])
        assert "--weights: must be at most 1,000,000,000, not '1e308'" in capsys.readouterr().err
