"""What all verbs share: one line and an exit code for every trouble, and options that say what is wrong with them."""

from __future__ import annotations

import copy
import errno
import importlib
import json
import pickle
import shlex
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import pseudolabel
from pseudolabel import cli
from pseudolabel.command import Command, run_command
from pseudolabel.errors import ClipMismatch, InputError, OutputExists, UnknownClass
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.options import (
    COUNT,
    NON_NEGATIVE,
    POSITIVE,
    SHARE,
    WHOLE,
    ListOptions,
    Options,
    VerbOptions,
    option,
)
from pseudolabel.stores import KeyedByClip


@dataclass(frozen=True, kw_only=True)
class WordOptions(VerbOptions, ListOptions):
    pass


@dataclass(frozen=True, kw_only=True)
class OutOptions(VerbOptions):
    out: Path | None = option(None, "output")


def run(function, *argv: str) -> int:
    return run_command("test", "A verb.", Command(VerbOptions, function), argv)


def raising(error: BaseException):
    def function(options: VerbOptions) -> None:
        raise error

    return function


def test_a_verb_that_does_its_work_ends_with_0_and_gets_the_shared_options():
    seen = []
    assert run(seen.append) == 0
    assert run(seen.append, "--work", "here", "--overwrite", "--strict") == 0
    assert seen == [VerbOptions(), VerbOptions(work=Path("here"), overwrite=True, strict=True)]
    assert (seen[0].work, seen[0].overwrite, seen[0].strict) == (Path("work"), False, False)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("x is\nwrong", "f.csv:3", "Mend it."), "f.csv:3: x is wrong. Mend it."),
        (ClipMismatch("no clips"), "no clips"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv"), "a.csv: No such file or directory"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), "b: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (FileNotFoundError(errno.ENOENT, "No such file", "d" * 700), "..." + "d" * 297 + ": No such file"),
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory: Unable to allocate 9 TiB"),
        (MemoryError(), "not enough memory"),
        (
            ModuleNotFoundError("No module named 'av'", name="av"),
            "the package av is not installed. pip install av",
        ),
        (OSError("Unable to open file (bad superblock)"), "Unable to open file (bad superblock)"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(capsys, error, line):
    assert run(raising(error)) == 2
    captured = capsys.readouterr()
    assert captured.err == f"pseudolabel test: error: {line}\n"
    assert captured.out == ""
    with pytest.raises(type(error)):
        run(raising(error), "--debug")


def test_an_interrupted_verb_says_how_to_go_on(capsys):
    assert run(raising(KeyboardInterrupt())) == 130
    assert "interrupted; run the same command again" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_hidden():
    for error in (ZeroDivisionError(), ImportError("no name x", name="pseudolabel.cli"), ImportError("no name")):
        with pytest.raises(type(error)):
            run(raising(error))


@pytest.mark.parametrize("argv", [["--wor", "x"], ["--unknown"], ["stray"]])
def test_unknown_and_abbreviated_options_end_with_2(argv, capsys):
    with pytest.raises(SystemExit) as caught:
        run(raising(AssertionError()), *argv)
    assert caught.value.code == 2
    assert "error: unrecognized arguments" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "rule", "good", "bad"),
    [
        (int, COUNT, {"1": 1, "12": 12}, ["0", "-1", "1.5", "abc", ""]),
        (int, WHOLE, {"0": 0, "12": 12}, ["-1", "0.5", "abc"]),
        (float, POSITIVE, {"0.5": 0.5, "1e3": 1000.0}, ["0", "-1", "nan", "inf", "abc"]),
        (float, NON_NEGATIVE, {"0": 0.0, "2": 2.0}, ["-1", "nan", "inf", "abc"]),
        (float, SHARE, {"0": 0.0, "0.25": 0.25, "1": 1.0}, ["-0.1", "1.1", "nan", "abc"]),
    ],
)
def test_numbers_are_checked_and_bad_ones_named_with_the_rule(kind, rule, good, bad, capsys):
    @dataclass(frozen=True, kw_only=True)
    class NumberOptions(Options):
        number: float = option(1, "a number", rule)

    NumberOptions.__annotations__["number"] = kind.__name__
    seen = []
    command = Command(NumberOptions, seen.append)
    for text, value in good.items():
        assert run_command("test", "", command, ["--number", text]) == 0
        assert seen[-1].number == value and type(seen[-1].number) is kind
    for text in bad:
        with pytest.raises(SystemExit) as caught:
            run_command("test", "", command, [f"--number={text}"])
        assert caught.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("pseudolabel test: error: argument --number: must be a ")
        assert line.endswith(f"not {text!r}")


def test_a_list_is_matched_in_its_order_and_other_ids_are_said_in_one_line(capsys):
    matched = cli.match_listed("cab", {"a": 0, "b": 1}, Path("l"), "audio")
    assert (matched.found, matched.aliases, matched.absent) == (("a", "b"), {}, ("c",))
    assert cli.match_listed("ba", {"a": 0, "b": 1}, Path("l"), "audio", strict=True).known() == ["b", "a"]
    assert capsys.readouterr().err == ""
    listed = ["a", "KK227gPpRn4", "x/b.wav"]
    matched = cli.match_listed(listed, {"a", "YKK227gPpRn4", "b"}, Path("l"), "audio in c.h5", strict=True)
    assert matched.known() == ["a", "YKK227gPpRn4", "b"]
    assert capsys.readouterr().err == (
        "2 of 3 clips found under another id (audio in c.h5): KK227gPpRn4 is YKK227gPpRn4, x/b.wav is b\n"
    )
    with pytest.raises(ClipMismatch, match=r"l: clips 'b' and 'x/b\.wav' are both 'b'"):
        cli.match_listed(["b", "x/b.wav"], {"b"}, Path("l"), "audio")


def test_a_store_gives_the_rows_of_listed_ids():
    class Store(KeyedByClip):
        HOLDS, path, clip_ids = "audio", Path("c.h5"), ("b", "YKK227gPpRn4", "a")

    matched, view = cli.find_in_store(["a", "KK227gPpRn4", "gone"], Store(), Path("l"), False)
    assert matched.absent == ("gone",)
    matched, store = cli.find_in_store(["x/b.wav"], view, Path("l"), True)
    assert matched.found == ("x/b.wav",)
    assert "x/b.wav" not in view.aliases
    assert store.rows(["KK227gPpRn4", "b", "x/b.wav", "a", "YKK227gPpRn4"]).tolist() == [1, 0, 0, 2, 1]
    with pytest.raises(ClipMismatch, match="2 clips have no audio: gone, KK227gPpRn5"):
        store.rows(["gone", "a", "KK227gPpRn5"])
    assert Store().aliases == {}


@pytest.mark.parametrize(
    ("listed", "strict", "message"),
    [
        (
            "abcdef",
            False,
            r"l\.csv: 6 of 6 clips have no audio: a, b, c and 3 more\. Check that both speak of the same",
        ),
        ("xa", True, r"1 of 2 clips have no audio: a\. Without --strict they are left out"),
        ("", False, "0 of 0 clips"),
    ],
)
def test_no_overlap_or_a_missing_clip_in_strict_runs_is_an_error(listed, strict, message):
    with pytest.raises(ClipMismatch, match=message):
        cli.match_listed(listed, {"x"}, Path("l.csv"), "audio", strict)


def test_vocabulary_is_the_given_one_else_that_of_the_work_folder_else_audioset(tmp_path):
    def source(vocabulary):
        return cli.vocabulary_source(WordOptions(vocabulary=vocabulary, work=tmp_path))

    assert source(None) == "audioset"
    (tmp_path / "vocabulary.csv").touch()
    assert source(None) == tmp_path / "vocabulary.csv"
    assert source("esc50") == "esc50"
    assert cli.existing(tmp_path / "absent") is None


def test_clip_ids_of_a_list_are_read_in_order(tmp_path):
    (tmp_path / "l.csv").write_text("clip_id,labels\nz,a\nb,Bee\n")
    assert cli.read_clip_ids(tmp_path / "l.csv") == ("z", "b")
    with pytest.raises(InputError, match="row has 2 columns, not 4"):
        cli.read_clip_ids(tmp_path / "l.csv", "audioset")
    (tmp_path / "l.csv").write_text("file,class_id\nz.wav,7\nb.wav,9\nz.wav,8\n")
    assert cli.read_clip_ids(tmp_path / "l.csv") == ("z", "b")
    (tmp_path / "l.csv").write_text("clip_id,labels\nz,a\nb,\nz,b\n")
    with pytest.raises(InputError, match=r"l\.csv:4: clip 'z' is listed twice, first in line 2"):
        cli.read_clip_ids(tmp_path / "l.csv")
    (tmp_path / "l.csv").write_text("clip_id,labels\n,a\n")
    with pytest.raises(InputError, match=r"l\.csv:2: the clip id is empty"):
        cli.read_clip_ids(tmp_path / "l.csv")


def test_named_lists_are_read_in_the_named_form_and_labels_left_out_are_said_in_one_line(tmp_path, capsys):
    ants = Vocabulary("ants", ("a",), ("Ant",), ("",))
    own, plain = tmp_path / "own.csv", tmp_path / "plain.csv"
    own.write_text("clip_id,labels\nz,a;Bee\nb,Bee;Wasp\n")
    plain.write_text('clip_id,labels\nq,"Bee,Ant"\n')
    with pytest.raises(UnknownClass, match=r"own\.csv:2: class 'Bee' .* or --unknown-labels skip"):
        cli.read_labels(ListOptions(), own, ants)
    labels = cli.read_labels(ListOptions(unknown_labels="skip", format="plain"), [own, plain], ants)
    assert labels.label_sets() == [("a",), (), ("a",)]
    assert labels.left_out == {"Bee": 3, "Wasp": 1}
    assert capsys.readouterr().err == (
        f"{own}, {plain}: 4 labels left out, of 2 classes that are not in the vocabulary 'ants': Bee (3), Wasp (1)\n"
        f"{own}, {plain}: 1 clip has no label left: b\n"
    )
    with pytest.raises(InputError, match="class 'Bee' is not in"):  # the own form joins by `;` only
        cli.read_labels(ListOptions(format="plain"), plain, ants, own=True)
    assert cli.read_labels(ListOptions(), tmp_path / "own.csv", Vocabulary("v", *[("a", "Bee", "Wasp")] * 3))
    assert capsys.readouterr().err == ""


def test_clips_without_a_label_are_counted_in_one_line(tmp_path, capsys):
    path = tmp_path / "l.csv"
    path.write_text("filename,label\na.wav,x\nb.wav,\nc.wav,nan\n")
    ants = Vocabulary("ants", ("x",), ("Ant",), ("",))
    assert cli.read_labels(ListOptions(), path, ants).label_sets() == [("x",), (), ()]
    assert capsys.readouterr().err == f"{path}: 2 clips have no label: b, c\n"
    cli.read_labels(ListOptions(), path, ants, own=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta"])
def test_devices_that_are_not_there_are_refused(name):
    with pytest.raises(InputError, match="--device"):
        cli.choose_device(name, 1)


def test_threads_are_set_with_the_device():
    import torch

    before = torch.get_num_threads()
    try:
        assert cli.choose_device("cpu", 1).type == "cpu"
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_command_lists_its_verbs_and_refuses_others(capsys):
    assert cli.main(["--help"]) == 0
    usage = capsys.readouterr().out
    assert all(f"\n  {verb} " in usage for verb in cli.VERBS)
    assert cli.main([]) == 0
    assert capsys.readouterr().out == usage
    for verb, said in (
        ("enhanse", "no verb 'enhanse'; did you mean enhance?"),
        ("--enhance", "no verb '--enhance'; did you mean enhance?"),
        ("zzz", f"no verb 'zzz'; verbs: {', '.join(cli.VERBS)}"),
        ("", f"no verb ''; verbs: {', '.join(cli.VERBS)}"),
    ):
        assert cli.main([verb]) == 2
        assert capsys.readouterr().err == f"pseudolabel: error: {said}\n"
    for flag in ("-V", "--version"):
        assert cli.main([flag]) == 0
        assert capsys.readouterr().out == f"pseudolabel {pseudolabel.__version__}\n"


def test_the_package_is_a_program():
    ran = subprocess.run([sys.executable, "-m", "pseudolabel", "-V"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"pseudolabel {pseudolabel.__version__}\n"


def test_when_the_reader_of_the_output_has_ended_so_does_the_verb():
    program = (
        "from pseudolabel.command import Command, run_command; from pseudolabel.options import VerbOptions; "
        "raise SystemExit(run_command('v', '', Command(VerbOptions, lambda options: print('x' * 10**6)), []))"
    )
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} | head -c 1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("x141\n", "")


def test_the_command_hands_its_options_to_the_verb(tmp_path, capsys):
    assert cli.main(["enhance", "--work", str(tmp_path)]) == 2
    assert "pseudolabel enhance: error: " in capsys.readouterr().err


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module(f"pseudolabel.{verb}").main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: pseudolabel {verb}" in shown
    assert f"python -m pseudolabel.{verb}" in shown
    assert all(option in shown for option in ("--work", "--overwrite", "--strict", "--debug"))


@pytest.mark.parametrize("text", ["abc", "0", "-2", "nan", "inf", "1e999"])
def test_bad_windows_end_in_a_line_that_says_what_a_window_is(text, capsys):
    with pytest.raises(SystemExit) as caught:
        importlib.import_module("pseudolabel.score").main([f"--windows={text}"])
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "pseudolabel score: error: argument --windows: "
        f"must be `clip` or a length in seconds (10, 5s, 0.5), not {text!r}"
    )


# ---- whose files belong to what is named ----------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A current folder with `work`, and beside it the project A with outputs of verbs."""
    for name, verb in (("A/enhanced-25p", "enhance"), ("A/runs/old", "train"), ("A", "simulate"), ("here/work", "")):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "run.json").write_text(json.dumps({"verb": verb}))
    for name in ("A/runs/unfinished/checkpoints", "A/runs/weights", "A/lists"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "here" / "work")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ((), "work"),
        ((None, None), "work"),
        (("work/labels.csv", None, "work/enhanced-25p/labels.csv"), "work"),
        (("./work/../work/labels.csv",), "work"),
        (("linked/labels.csv",), "work"),
        (("../A/labels.csv",), "../A"),
        (("work/labels.csv", "../A/labels.csv"), "../A"),
        (("../A/enhanced-25p",), "../A"),
        (("../A/enhanced-25p/ledger.parquet",), "../A"),
        (("../A/runs/old",), "../A"),
        (("../A/runs/unfinished",), "../A"),
        (("../A/runs/weights",), "../A"),
        (("../A/lists/eval.csv",), "../A/lists"),
        (("../A/lists/eval.csv", "../A/scores.h5"), "../A/lists"),
        (("eval.csv",), "."),
        (("../A",), "../A"),
    ],
)
def test_defaults_belong_to_the_work_folder_of_what_is_named(folders, named, expected):
    options = VerbOptions()
    assert cli.home(options, *named).resolve() == Path(expected).resolve()
    assert cli.base(options, *named).resolve() == Path(expected).resolve()
    options = VerbOptions(work=Path("work"))
    assert cli.home(options, *named).resolve() == Path(expected).resolve()
    assert cli.base(options, *named) == Path("work")


def test_a_default_file_that_does_not_belong_to_what_is_named_is_said(folders, capsys):
    options = VerbOptions()
    for name in ("work/truth.csv", "../A/eval.csv"):
        Path(name).touch()
    assert cli.default_file(options, None, "truth.csv", what="true labels") == Path("work/truth.csv")
    assert cli.default_file(options, None, "truth.csv", "../A/eval.csv", what="true labels") is None
    assert capsys.readouterr().err == "no true labels: work/truth.csv does not belong to ../A/eval.csv\n"
    Path("../A/truth.csv").touch()
    found = cli.default_file(options, None, "truth.csv", "../A/eval.csv", what="true labels")
    assert found == Path("../A/truth.csv") and capsys.readouterr().err == ""
    assert cli.default_file(options, Path("x.csv"), "truth.csv", "../A/eval.csv") == Path("x.csv")


def test_a_vocabulary_belongs_to_the_list_or_to_a_work_folder_that_is_named(folders, capsys):
    cli._note_once.cache_clear()
    for name in ("work/vocabulary.csv", "../A/vocabulary.csv"):
        Path(name).touch()
    options = WordOptions()
    assert cli.vocabulary_source(options) == Path("work/vocabulary.csv")
    assert cli.vocabulary_source(options, "../A/labels.csv") == Path("../A/vocabulary.csv")
    for _ in range(2):  # said once
        assert cli.vocabulary_source(options, "../A/lists/labels.csv") == "audioset"
    said = "no vocabulary.csv beside ../A/lists/labels.csv: audioset is taken (--vocabulary names another"
    assert capsys.readouterr().err.count(said) == 1
    options = WordOptions(work=Path("work"))
    assert cli.vocabulary_source(options, "../A/lists/labels.csv") == Path("work/vocabulary.csv")
    options = WordOptions(vocabulary="fsd50k")
    assert cli.vocabulary_source(options) == "fsd50k"


def test_what_is_made_of_another_folders_files_never_replaces_an_output_of_work_unasked(folders):
    named = ("../A/labels.csv", None)
    Path("work/balance").mkdir()
    assert cli.default_output(OutOptions(), "balance", *named) == Path("work/balance")
    with pytest.raises(
        OutputExists, match=r"work/balance: it belongs to work, and what is named to \.\./A, so it is not"
    ):
        cli.default_output(OutOptions(overwrite=True), "balance", *named)
    for asked in ({"out": Path("work/balance")}, {"work": Path("work")}):
        assert cli.default_output(OutOptions(overwrite=True, **asked), "balance", *named) == Path("work/balance")
    assert cli.default_output(OutOptions(overwrite=True), "balance", "work/labels.csv") == Path("work/balance")
    assert cli.default_output(OutOptions(overwrite=True), "new", *named) == Path("work/new")


def test_an_input_that_is_not_beside_what_is_named_is_not_taken_from_work(folders):
    options = VerbOptions()
    Path("work/clips.h5").touch()
    assert cli.needed_file(options, None, "clips.h5", "--clips", None) == Path("work/clips.h5")
    with pytest.raises(
        InputError, match=r"clips\.h5: no such file beside \.\./A/labels\.csv\. Give --clips, or --work"
    ):
        cli.needed_file(options, None, "clips.h5", "--clips", None, "../A/labels.csv")
    assert cli.needed_file(options, Path("x.h5"), "clips.h5", "--clips", "../A/labels.csv") == Path("x.h5")


def test_the_names_of_the_package_are_listed_and_loaded_on_first_use():
    names = ["ClipStore", "EnhanceOptions", "InputError", "LabelTable", "Ontology", "ScoreStore", "Vocabulary"]
    assert dir(pseudolabel) == [*names, "__version__", "enhance", "load_model"]
    program = "import sys, pseudolabel; dir(pseudolabel); print({'numpy', 'torch', 'h5py'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert all(callable(getattr(pseudolabel, name)) for name in dir(pseudolabel) if name != "__version__")
    with pytest.raises(AttributeError, match="has no attribute 'Labels'"):
        pseudolabel.Labels  # noqa: B018


def test_the_module_enhance_is_called_as_its_function():
    from pseudolabel import enhance
    from pseudolabel.labels.enhancement import enhance as function

    assert enhance.main and type(enhance).__call__ is function


def test_representations_are_short(tmp_path):
    import numpy as np

    from pseudolabel.scores.store import ScoreStore
    from pseudolabel.scores.writing import ScoreLayout, write_scores

    (tmp_path / "own.csv").write_text("class_id,name\nx,X\ny,Y\n")
    own = Vocabulary.load(tmp_path / "own.csv")
    assert repr(own) == f"<Vocabulary {tmp_path}/own.csv: 2 classes>"
    assert repr(Vocabulary.load("esc50")) == "<Vocabulary esc50: 50 classes>"
    labels = pseudolabel.LabelTable(("a", "b"), np.array([[1, 0], [1, 1]]), own)
    assert repr(labels) == f"<LabelTable: 2 clips, 3 labels of {own!r}>"
    scores = np.zeros((2, 2), np.float32)
    layout = ScoreLayout(("a", "b"), ("x", "y"), {"clip": scores.shape})
    write_scores(tmp_path / "scores.h5", layout, [{"clip": scores}], {})
    assert repr(ScoreStore.open(tmp_path / "scores.h5")) == (
        f"<ScoreStore {tmp_path}/scores.h5: 2 clips, 2 classes, clip>"
    )


def test_an_output_is_replaced_by_the_command_that_wrote_it(folders):
    Path("work/balance").mkdir()
    record = {"verb": "balance", "inputs": {"../A/labels.csv": "", "work/scores.h5": ""}}
    Path("work/balance/run.json").write_text(json.dumps(record))
    options = OutOptions(overwrite=True)
    assert cli.default_output(options, "balance", "../A/labels.csv", "work/scores.h5") == Path("work/balance")
    with pytest.raises(OutputExists, match=r"Give --out, or --work work if it may be replaced"):
        cli.default_output(options, "balance", "../A/lists/eval.csv")


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("enhance", "Give --scores"),
        ("evaluate", "work/eval.csv: no such file. Give --labels, or the --work that has it."),
        ("balance", "work/labels.csv: no such file. Give --labels, or the --work that has it."),
        ("score", "work/clips.h5: no such file. Give --clips, or the --work that has it."),
        ("prepare", "work/scenes: no such folder or file of recordings. Give --audio, or the --work that has it."),
        ("enhance undo ledger.csv", "labels.csv: no such file. Give --labels, or the --work that has it."),
        (
            "review estimate ledger.csv",
            "work/review: no sample.csv. Give --sample, the folder that `review page` made.",
        ),
    ],
)
def test_an_absent_default_file_names_its_option(verb, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ledger.csv").touch()
    assert cli.main(verb.split()) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("balance --labels no.csv", "no.csv: no such file. Correct the path after --labels; it starts in HERE."),
        (
            "prepare --audio no",
            "no: no such folder or file of recordings. Correct the path after --audio; it starts in",
        ),
        ("review estimate no.csv", "no.csv: no such file or folder. Correct the path; it starts in HERE."),
        ("review estimate HERE/no.csv", "HERE/no.csv: no such file or folder. Correct the path."),
        ("train --clips no.h5", "no.h5: no such file. Correct the path after --clips; it starts in HERE."),
        ("enhance --labels no.csv", "no.csv: no such file or folder. Correct the path after --labels"),
        ("balance --labels ladels.csv", "ladels.csv: no such file. Nearest: labels.csv."),
    ],
)
def test_an_absent_file_that_an_option_names_is_said_first(command, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("labels.csv").touch()
    assert cli.main(command.replace("HERE", str(tmp_path)).split()) == 2
    assert said.replace("HERE", str(tmp_path)) in capsys.readouterr().err


def test_a_flag_of_another_verb_is_answered_with_its_name_here(capsys):
    for command, said in (
        ("prepare --threads 2", "--threads 2 (did you mean --processes?)"),
        ("train --processes 2", "--processes 2 (did you mean --threads?)"),
        ("enhance --list a.csv", "--list a.csv (did you mean --labels?)"),
        ("score run --hop-s 1", "--hop-s 1 (an option of pseudolabel score import)"),
    ):
        with pytest.raises(SystemExit):
            cli.main(command.split())
        assert said in capsys.readouterr().err


def test_copied_options_find_the_same_work_folder(folders):
    options = OutOptions()
    for same in (options, pickle.loads(pickle.dumps(options)), copy.deepcopy(options), replace(options, strict=True)):
        assert cli.base(same, "../A/labels.csv") == Path("../A")
    named = OutOptions(work=Path("work"))
    for same in (named, pickle.loads(pickle.dumps(named))):
        assert cli.base(same, "../A/labels.csv") == Path("work")
