"""`--dry-run` of every verb: it checks options, inputs and output, says what would be written, and writes nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pseudolabel import dry_run
from pseudolabel.cli import VERBS
from pseudolabel.scores.store import ScoreStore

GOOD = {
    "simulate": ("--work", "new"),
    "prepare": ("--audio", "sounds", "--labels", "labels.csv", "--vocabulary", "vocabulary.csv", "--out", "new.h5"),
    "train": ("--row", "weak", "--model-options", "width=0.25", "--no-validation"),
    "score": ("--run", "runs/a", "--list", "labels.csv"),
    "average": ("runs/a", "runs/b"),
    "enhance": ("--errors", "II", "--type2", "closure", "--ontology", "ontology.csv"),
    "evaluate": ("--labels", "labels.csv", "--runs", "runs/a"),
    "balance": ("--hold-out", "1"),
    "review": ("--ledger", "enhanced-mean/ledger.parquet"),
    "release": ("--enhanced", "enhanced-mean"),
    "bench": ("labels", "--labels", "labels.csv"),
    "train import": ("weights.pt", "--out", "runs/new"),
}
BAD = {
    "simulate": (("--scenes", "3"), "five pools need at least 5 scenes"),
    "prepare": (("--labels", "no.csv"), "no.csv: no such file"),
    "train": (("--labels", "no.csv"), "no.csv: no such file"),
    "score": (("--run", "runs/none"), "runs/none/model.safetensors: no such file"),
    "average": (("--weights", "1", "2", "3"), "3 weights for 2 models or stores"),
    "enhance": (("--type1", "descendants", "--profile", "psla"), "is fixed by --profile psla"),
    "evaluate": (("--runs", "runs/none"), "no run 'runs/none'"),
    "balance": (("--labels", "no.csv"), "no.csv: no such file"),
    "review": (("--decoys", "0.2"), "Add --blind"),
    "release": (("--enhanced", "none"), "none: there is no labels.csv"),
    "bench": (("--ontology", "no.csv"), "no.csv: no such file"),
    "train import": (("--sha256", "0" * 64), "expected 000"),
}
OUTPUTS = {
    "simulate": "new/labels.csv", "prepare": "new.h5", "train": "runs/weak-seed0/run.json", "score": "scores.h5",
    "average": "runs/averaged/x", "evaluate": "evaluation/x", "balance": "balance/x", "review": "review/x",
    "release": "release-mean/x", "bench": "bench/labels/report.json", "train import": "runs/new/x",
}  # fmt: skip

NAMES = "--ids t.txt --classes c.txt"  # of the rows and columns of c.npy and w.npy
MADE = "release --enhanced enhanced-made"
SCORED = "evaluate --labels labels.csv --scores answers.h5"
REVIEW = "review --ledger enhanced-made/ledger.parquet --ontology ontology.csv"
SAME = [  # verb, alone (options of GOOD) or with others; further options; the rule that dry and real run name
    ("enhance", "", "output exists"),
    ("enhance", "--out scenes --overwrite", "not a folder that enhance wrote"),
    ("enhance", "--out answers.h5 --overwrite", "not a folder that enhance wrote"),
    ("enhance", "--out labels.csv --overwrite", "not a folder that enhance wrote"),
    ("enhance", "--out . --overwrite", "is not the name of a new file or folder"),
    ("enhance undo ledger.csv", "--out clips.h5 --overwrite", "not a label list of pseudolabel"),
    ("enhance undo ledger.csv", "--out labels.csv --overwrite", "would be replaced while it is an input"),
    ("enhance undo ledger.csv", "--out labels.csv", "output exists"),
    ("release model runs/whole", "--out scenes --overwrite", "not a release, so it is not replaced"),
    ("release model runs/whole", "--out labels.csv --overwrite", "not a release, so it is not replaced"),
    ("release model runs/whole", "--out runs --overwrite", "not a release, so it is not replaced"),
    ("release model runs/whole", "--out new --licence none", "--licence"),
    ("release model runs", "", "there is no model.safetensors"),
    ("release model runs/none", "", "there is no model.safetensors"),
    ("release model runs/a", "", "there is no run.json"),
    ("release --enhanced scenes", "", "there is no labels.csv"),
    ("release", "--enhanced none", "there is no labels.csv"),
    ("release --enhanced enhanced-part", "", "there is no ledger.parquet"),
    ("release --enhanced enhanced-made", "--precision labels.csv", "labels.csv:1: not JSON"),
    ("score", "--windows clip .00001 --out new.h5", "a window is shorter than one sample"),
    ("score", "--clips answers.h5 --out new.h5", "format is 'pseudolabel-scores'"),
    ("score merge answers.h5", "", "one store alone cannot be merged"),
    ("score merge answers.h5 clips.h5", "--out new.h5", "format is 'pseudolabel-clips'"),
    ("score merge answers.h5 labels.csv", "--out new.h5", "not a readable HDF5 file"),
    ("score import 2s=w.npy", "--classes c.txt", "w.npy holds no clip ids"),
    ("score import 2s=w.npy --ids t.txt", "--classes nosuch", "nosuch: no such file"),
    ("score import 2s=w.npy --classes c.txt", "--ids nosuch", "nosuch: no such file"),
    ("score import 2s=nosuch.npy", NAMES, "nosuch.npy: no such file"),
    ("score import clip=c.npy", f"{NAMES} --lengths labels.csv", "answers of whole clips have no windows to count"),
    ("score import 2s=w.npy", f"{NAMES} --lengths labels.csv", "The header needs clip_id, and seconds"),
    ("score import 2s=w.npy", f"{NAMES} --clips answers.h5", "format is 'pseudolabel-scores'"),
    ("score import 2s=w.npy", f"{NAMES} --hop-s 5s=1", "no windows of 5s are imported"),
    ("score import 2s=w.npy", f"{NAMES} --hop-s .0001", "it must be 0.001 s or more"),
    ("score import clip=c.npy", f"{NAMES} --hop-s 1", "needs the length of the windows"),
    ("score import clip=p.csv 2s=w.npy", NAMES, "p.csv names its clips itself (clip_id)"),
    ("score import clip=p.csv 2s=w.npy", "", "w.npy holds no clip ids"),
    ("score import 2s=c.npy", NAMES, "c.npy has the shape [6, 3]"),
    ("score import w.npy", NAMES, "w.npy holds 5 windows a clip"),
    ("score import c.npy", f"{NAMES} --strict --vocabulary esc50", "not in the vocabulary 'esc50'"),
    ("score import logits.npy", NAMES, "scores range from -4 to 4"),
    ("score import percent.npy", NAMES, "the score 55 of class"),
    ("score import nan.npy", NAMES, "the score nan of class"),
    ("score import 2s=w.npy", NAMES, "window 1 would begin at 2 s of a clip of 0.1 s"),
    ("score import c.npy", f"{NAMES} --vocabulary nosuch", "no vocabulary 'nosuch'"),
    ("balance --hold-out 1", "--labels labels.csv --format nosuch", "no label format 'nosuch'"),
    ("balance --hold-out 1", "--labels c.npy p.csv --format nosuch", "c.npy: no label format 'nosuch'"),
    ("balance --hold-out 1", "--labels labels.csv weights.pt", "weights.pt: the file is empty"),
    ("balance --hold-out 1", "--enhanced enhanced-made enhanced-made", "two lists are called 'enhanced-made'"),
    ("review --ledger scenes", "", "scenes: is a folder, not a file"),
    ("review --ledger labels.csv", "", "column 'class_id' is missing"),
    ("review --ledger weights.pt", "", "not a readable ledger (it is empty)"),
    ("review --ledger w.npy", "", "w.npy"),
    (REVIEW, "--scores clips.h5", "format is 'pseudolabel-clips'"),
    (REVIEW, "--clips answers.h5", "format is 'pseudolabel-scores'"),
    (REVIEW, "--labels labels.csv --format nosuch", "no label format 'nosuch'"),
    ("train", "--front-end name=nosuch", "unknown front end 'nosuch'"),
    ("train", "--front-end hop_s=0", "must be positive"),
    ("train", "--front-end hop_s=abc", "hop_s: must be a number, not 'abc'"),
    ("train", "--front-end hop_s=640", "which must be 1 samples or more"),
    ("train", "--front-end hopp=3", "unknown option 'hopp' of log_mel"),
    ("train", "--front-end preemphasis=.9", "unknown option 'preemphasis' of log_mel"),
    ("train", f"--front-end hop=1{'0' * 400}", "no model can be built with these values"),
    ("train", "--clips answers.h5", "format is 'pseudolabel-scores'"),
    ("release --enhanced enhanced-made", "--precision runs/a/config.json", "there is no overall precision"),
    ("release --enhanced enhanced-made", "--evaluation odd.csv", "column 'labels' is missing"),
    ("release diff labels.csv odd.csv", "", "column 'labels' is missing"),
    ("score --run runs/a", "--list odd.csv --out new.h5", "column 'labels' is missing"),
    ("evaluate --scores answers.h5", "--labels odd.csv", "column 'labels' is missing"),
    ("evaluate --scores answers.h5", "--labels labels.csv --truth odd.csv", "column 'labels' is missing"),
    ("evaluate --scores answers.h5", "--labels labels.csv --class-map odd.csv", "column 'class_id' is missing"),
    ("balance --hold-out 1", "--labels odd.csv", "column 'labels' is missing"),
    ("balance --hold-out 1", "--labels bare.csv", "the label list has no clips"),
    (f"{SCORED} --scales clip 2s-max", "", "scale '2s' is not there; there are: clip"),
    (f"{SCORED} --vocabulary more.csv", "", "1 of 4 classes have no scores: other"),
    (f"{SCORED} --truth other.csv", "", "6 of 6 evaluated clips have no true labels"),
    (f"{SCORED} --metrics map accuracy --labels two.csv", "", "accuracy"),
    (REVIEW, "--labels other.csv", "clips of 2 added labels are not in the list"),
    (REVIEW, "--vocabulary esc50", "class 'low' is not in the vocabulary 'esc50'"),
    (MADE, "--soft float16", "the teacher's scores are not here"),
    (MADE, "--scores answers.h5 --soft float16", "not the scores that enhance read"),
    (MADE, "--teacher scenes", "these runs do not have the lists of clips"),
    (MADE, "--licence foo", "licence 'foo' is not a known SPDX id"),
    (MADE, "--released 2026-13-01", "--released: '2026-13-01' is not a day"),
    ("release --enhanced enhanced-scored", "--soft uint8 --soft-windows 2s", "scale '2s' is not there"),
    ("release --enhanced enhanced-scored", "--soft uint8 --scores more.h5", "not the scores that enhance read"),
    (REVIEW, "--labels odd.csv", "column 'labels' is missing"),
    (REVIEW, "--segments odd.csv", "row has 2 columns, not 4"),
    ("bench labels", "--labels odd.csv", "column 'labels' is missing"),
    ("simulate --sounds sounds", "--sound-labels odd.csv --work new", "column 'file' is missing"),
    ("train", "--labels odd.csv", "column 'labels' is missing"),
    ("train", "--list odd.csv", "column 'labels' is missing"),
    ("train", "--mask odd.csv", "column 'labels' is missing"),
]  # fmt: skip


@pytest.fixture
def work(tmp_path, write_tones, monkeypatch) -> Path:
    """A work folder as the current one, in which each of `GOOD` could go to work."""
    monkeypatch.chdir(write_tones(tmp_path, [0.1] * 6))
    for name in ("runs/a", "runs/b"):
        for file in ("model.safetensors", "config.json"):
            write(Path(name, file), "{}")
    write(Path("ontology.csv"), "class_id,name,child_ids,restrictions\nlow,low,,\nmiddle,middle,low,\nhigh,high,,\n")
    write(Path("vocabulary.csv"), "class_id,name\nlow,low\nmiddle,middle\nhigh,high\n")
    for name in ("sounds/t00.wav", "weights.pt"):
        write(Path(name), "")
    write(Path("ledger.csv"), "clip_id,class_id,error\n")
    return tmp_path


@pytest.fixture
def full(work) -> Path:
    """The same with outputs of several verbs in it, and files that are not what options ask for."""
    write(Path("scenes/x.wav"), "somebody's")
    for name in ("enhanced-closure/labels.csv", "enhanced-part/labels.csv"):
        write(Path(name), "somebody's")
    for name in ("model.safetensors", "config.json", "run.json", "train_clips.csv"):
        write(Path("runs/whole", name), "{}")
    assert run("enhance", "--out", "enhanced-made") == 0
    clip_ids, class_ids = [f"t{i:02d}" for i in range(6)], ["low", "middle", "high"]
    scores = np.full((6, 3), 0.5, np.float32)
    ScoreStore.write("answers.h5", clip_ids, class_ids, {"clip": scores})
    np.save("c.npy", scores)
    ScoreStore.write("more.h5", clip_ids, class_ids, {"clip": scores / 2})
    scored = ("--scores", "answers.h5", "--threshold", "mean", "--ontology", "ontology.csv")
    assert run("enhance --labels labels.csv", *scored, "--out", "enhanced-scored") == 0
    logits = np.linspace(-4, 4, 18, dtype=np.float32).reshape(6, 3)
    for name, values in (("logits", logits), ("percent", scores * 110), ("nan", scores * np.nan)):
        np.save(f"{name}.npy", values)
    np.save("w.npy", np.full((6, 5, 3), 0.5))
    write(Path("t.txt"), "\n".join(clip_ids))
    write(Path("c.txt"), "\n".join(class_ids))
    write(Path("more.csv"), Path("vocabulary.csv").read_text() + "other,other\n")
    write(Path("other.csv"), "clip_id,labels\nelsewhere,low\n")
    write(Path("two.csv"), "clip_id,labels\nt00,low;middle\n")
    write(Path("odd.csv"), "clip_id,note\nt00,a remark\n")
    write(Path("bare.csv"), "clip_id,labels\n")
    write(Path("p.csv"), "clip_id,low,middle,high\nt00,.1,.2,.3\n")
    return work


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def run(form: str, *options: str) -> int:
    """Run a verb with the options of `GOOD`, or with those that `form` names after it."""
    verb, *first = form.split()
    own = () if verb == "simulate" else ("--work", ".")
    given = first if form not in GOOD else (*first, *GOOD[form])
    try:
        return importlib.import_module(f"pseudolabel.{verb}").main([*given, *own, *options])
    except SystemExit as stop:
        return stop.code


def files() -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in Path().rglob("*")}


def test_every_verb_has_a_case():
    assert GOOD.keys() == BAD.keys() == {*VERBS, "train import"}
    assert GOOD.keys() - OUTPUTS.keys() == {"enhance"}  # it counts


@pytest.mark.parametrize("verb", GOOD)
def test_dry_run_says_what_would_be_written_and_writes_nothing(verb, work, capsys):
    if verb in ("review", "release"):
        assert run("enhance", "--out", "enhanced-mean") == 0
        capsys.readouterr()
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


@pytest.mark.parametrize(("verb", "options", "rule"), SAME)
def test_dry_run_and_run_end_with_the_same_line(verb, options, rule, full, capsys):
    before, said = files(), []
    for dry in (["--dry-run"], []):
        assert run(verb, *options.split(), *dry) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
        assert files() == before
    assert said[0] == said[1] and rule in said[0]


@pytest.mark.parametrize("device", ["cuda:x", "tpu"])
def test_device_that_is_not_there_is_refused(device, work, capsys):
    assert run("train", "--device", device, "--dry-run") == 2
    assert f"no such device {device!r}" in capsys.readouterr().err


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


def test_the_scales_of_a_store_to_come_are_those_of_the_stores_that_it_is_made_of(full, capsys):
    dry_run.begin_recipe()
    dry_run.promise(Path("windows.h5"), scales=[2])
    for join, out in (("score merge", "merged.h5"), ("average scores", "mean.h5")):
        assert run(join, "answers.h5", "windows.h5", "--out", out, "--dry-run") == 0, capsys.readouterr().err
    train = "train --row soft --no-validation --clips clips.h5 --dry-run --targets"
    assert run(f"{train} merged.h5", "--window", "2s") == 0, capsys.readouterr().err
    for store, window, said in (
        ("merged.h5", "5s", "merged.h5: will have no scores_5s. Give --window: clip, 2s."),
        ("mean.h5", "2s", "mean.h5: will have no scores_2s"),
    ):
        assert run(f"{train} {store}", "--window", window) == 2
        assert said in capsys.readouterr().err
    dry_run.end_recipe()


def test_steps_of_a_recipe_refuse_lists_that_cannot_be_read(full, capsys):
    dry_run.begin_recipe()
    for command in (
        "prepare --audio sounds --labels odd.csv --out new.h5",
        "prepare --audio sounds --labels labels.csv --groups odd.csv --out new.h5",
        "prepare --audio sounds --segments odd.csv --out new.h5",
        "enhance --labels odd.csv --scores answers.h5 --out new",
        "enhance --scores answers.h5 --threshold odd.csv --out new",
        "enhance --scores answers.h5 --thresholds-from odd.csv answers.h5 --out new",
        "enhance --scores answers.h5 --threshold precision:0.7 --judgements odd.csv --out new",
    ):
        assert run(command, "--dry-run") == 2, command
        assert "odd.csv" in (said := capsys.readouterr().err) and "is missing" in said, command
    dry_run.end_recipe()
