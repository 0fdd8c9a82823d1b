"""score --import: the published shapes of scores, windows of any length and hop, and what a clip cannot have."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.score import main
from pseudolabel.scores import imported
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import possible_windows


@pytest.fixture
def cases(shared_data) -> Path:
    """The folder of small inputs that people really have."""
    folder = shared_data.parent / "cases" / "scores"
    if not folder.is_dir():
        pytest.skip(f"cases are missing: {folder}")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command) -> int:
    return main([str(part) for part in command])


def refused(capsys, *command) -> str:
    capsys.readouterr()
    assert run(*command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("pseudolabel score: error: ")
    return line


def save(folder, array, ids, classes=("a", "b")) -> tuple:
    """Write an array with its ids and classes; return the options that import it."""
    np.save(folder / "x.npy", array)
    (folder / "ids.txt").write_text("".join(f"{clip_id}\n" for clip_id in ids))
    (folder / "classes.txt").write_text("".join(f"{class_id}\n" for class_id in classes))
    return (
        "--import",
        folder / "x.npy",
        "--ids",
        folder / "ids.txt",
        "--classes",
        folder / "classes.txt",
        "--out",
        "s.h5",
    )


# ---- inputs that people really have -----------------------------------------------------------------------------


def test_windows_that_overlap_need_their_hop(cases, here, capsys):
    command = ("--import", cases / "overlap.npy", "--ids", cases / "o_ids.txt", "--classes", "audioset")
    line = refused(capsys, *command, "--window-s", "2")
    assert "clip 'o1': window 5 would begin at 10 s of a clip of 10 s. Give --hop-s" in line
    assert not (here / "work" / "scores.h5").exists()
    assert run(*command, "--window-s", "2", "--hop-s", "1") == 0
    assert "wrote work/scores.h5: 2 clips x 527 classes at 2s every 1 s" in capsys.readouterr().out
    store = ScoreStore.open("work/scores.h5")
    assert store.hop_s(2) == 1.0 and 8 * store.hop_s(2) == 8.0
    assert np.array_equal(store.scores(2), np.load(cases / "overlap.npy").astype(np.float16))


def test_savetxt_s_table_is_read_with_its_list(cases, here):
    names = Vocabulary.load("audioset").class_ids
    command = ("--import", cases / "predictions.csv", "--ids", cases / "eval_data.json", "--classes", "audioset")
    assert run(*command) == 0
    store = ScoreStore.open("work/scores.h5")
    assert store.clip_ids == ("c1", "c2", "c3") and store.class_ids == names
    with open(cases / "predictions.csv", newline="") as file:
        table = np.array([[float(field) for field in row] for row in csv.reader(file)])
    assert np.array_equal(store.clip_scores(), table.astype(np.float16))


def test_a_score_of_rounding_above_one_is_taken_as_one_and_counted(cases, here, capsys):
    command = ("--import", cases / "above1.npy", "--ids", cases / "ids.txt", "--classes", "audioset")
    assert run(*command) == 0
    assert "; 1 scores that rounding had put outside [0, 1] were taken as 0 or 1" in capsys.readouterr().out
    assert json.loads(Path("work/scores.run.json").read_text())["clipped_scores"] == 1
    original = np.load(cases / "above1.npy")
    assert np.array_equal(ScoreStore.open("work/scores.h5").clip_scores(), original.clip(0, 1).astype(np.float16))


def test_classes_are_read_as_a_model_s_config_has_them(cases, here):
    command = ("--import", cases / "p.npy", "--ids", cases / "ids.txt", "--classes", cases / "id2label.json")
    assert run(*command) == 0
    store, vocabulary = ScoreStore.open("work/scores.h5"), Vocabulary.load("audioset")
    names = json.loads((cases / "id2label.json").read_text())
    assert store.class_ids == tuple(vocabulary.find(names[str(k)]) for k in range(527))
    assert np.array_equal(store.clip_scores(), np.load(cases / "p.npy").astype(np.float16))


# ---- windows and the lengths of clips ---------------------------------------------------------------------------


@settings(max_examples=200)
@example(length=7, hop=1)
@example(length=27, hop=3)
@given(length=st.integers(1, 3000), hop=st.integers(1, 300))
def test_windows_are_possible_where_they_begin_before_the_end(length, hop):
    slow = max(1, sum(window * hop < length for window in range(length)))
    assert possible_windows(length / 100, hop / 100) == slow


@pytest.mark.parametrize(
    ("n_windows", "options", "begins"),
    [
        (6, ("--window-s", "2"), "window 5 would begin at 10 s"),
        (1001, ("--window-s", ".01"), "window 1000 would begin at 10 s"),  # frames of PANNs
        (1001, ("--window-s", ".02", "--hop-s", ".01"), "window 1000 would begin at 10 s"),
        (2, ("--window-s", "10"), "window 1 would begin at 10 s"),
        (3, ("--window-s", "3", "--clip-s", "6"), "window 2 would begin at 6 s"),
    ],
)
def test_more_windows_than_a_clip_can_have_are_refused(here, capsys, n_windows, options, begins):
    command = save(here, np.full((2, n_windows, 2), 0.25, np.float32), "xy")
    assert begins in refused(capsys, *command, *options)
    assert not (here / "s.h5").exists() and not (here / "s.run.json").exists()


@pytest.mark.parametrize(
    ("n_windows", "options", "scale", "hop"),
    [
        (1000, ("--window-s", ".01"), 0.01, 0.01),
        (7, ("--window-s", "1.5"), 1.5, 1.5),
        (4, ("--window-s", "3"), 3, 3),  # the last is padded
        (19, ("--window-s", "1", "--hop-s", ".5", "--clip-s", "9.6"), 1, 0.5),
        (20, ("--window-s", "1", "--hop-s", "3", "--clip-s", "60"), 1, 3),  # with gaps
    ],
)
def test_windows_of_any_length_and_hop_are_taken(here, n_windows, options, scale, hop):
    array = np.random.default_rng(0).random((2, n_windows, 2)).astype(np.float32)
    assert run(*save(here, array, "xy"), *options) == 0
    store = ScoreStore.open("s.h5")
    assert store.hop_s(scale) == hop
    assert np.array_equal(store.scores(scale), array.astype(np.float16))


def test_clips_of_a_store_decide_and_what_lies_after_their_ends_must_be_zero(here, write_tones, capsys):
    write_tones(here / "A", [6.0, 3.0])
    array = np.full((2, 3, 2), 0.25, np.float32)
    command = (*save(here, array, ("t00", "t01")), "--window-s", "2", "--clips", here / "A" / "clips.h5")
    assert "clip 't01': window 2 would begin at 4 s of a clip of 3 s" in refused(capsys, *command)
    array[1, 2] = 0
    save(here, array, ("t00", "t01"))
    assert run(*command) == 0
    assert f"compared with the clip lengths of {here / 'A' / 'clips.h5'}" in capsys.readouterr().err
    assert ScoreStore.open("s.h5").n_windows(2).tolist() == [3, 2]
    assert run("--verify", "s.h5", "--clips", "A/clips.h5") == 0
    assert "windows fit the lengths of 2 clips in A/clips.h5" in capsys.readouterr().out
    write_tones(here / "B", [4.0, 4.0])
    assert "has 3 windows of 2s, the last from 4 s on" in refused(capsys, "--verify", "s.h5", "--clips", "B/clips.h5")


def test_times_in_the_list_of_ids_are_lengths(here, capsys):
    command = (*save(here, np.full((2, 3, 2), 0.25), "xy"), "--window-s", "2")
    (here / "ids.txt").write_text('c1, 30.000, 36.000, "a"\nc2, 0.000, 4.000, "a"\n')
    assert "clip 'c2': window 2 would begin at 4 s of a clip of 4 s" in refused(capsys, *command)
    (here / "ids.txt").write_text('c1, 30.000, 36.000, "a"\nc2, 0.000, 4.500, "a"\n')
    assert run(*command) == 0


def test_a_clip_store_of_another_work_folder_decides_nothing(here, write_tones, capsys):
    write_tones(here / "work", [1.0])
    (here / "data").mkdir()
    assert run(*save(here / "data", np.full((1, 3, 2), 0.25), ("t00",)), "--window-s", "2") == 0
    said = capsys.readouterr().err
    assert "the lengths of 1 clips are not known (--clips, --clip-s): taken as 10 s" in said
    assert "vocabulary: audioset; work/vocabulary.csv does not belong to" in said
    write_tones(here / "data", [1.0])
    line = refused(capsys, *save(here / "data", np.full((1, 3, 2), 0.25), ("t00",)), "--window-s", "2", "--overwrite")
    assert "of a clip of 1 s" in line


# ---- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "taken"), [(1 + 9e-6, 1), (-9e-6, 0), (1 + 2e-5, None), (-2e-5, None), (np.nan, None)]
)
def test_only_rounding_is_clipped(here, capsys, value, taken):
    array = np.full((3, 2), 0.5)
    array[1, 1] = value
    command = save(here, array, "xyz")
    if taken is None:
        assert "clip 'y': the score" in refused(capsys, *command)
        assert not (here / "s.h5").exists()
    else:
        assert run(*command) == 0
        assert ScoreStore.open("s.h5").clip_scores()[1, 1] == taken


@pytest.mark.parametrize(
    "text",
    [
        '["Dog", "Cat"]',
        '{"1": "Cat", "0": "Dog"}',
        '{"label2id": {"Cat": 1, "Dog": 0}}',
        '{"id2label": {"0": "Dog", "1": "Cat"}}',
    ],
)
def test_classes_as_json_are_in_the_order_of_their_numbers(here, text):
    command = save(here, np.array([[0.25, 0.75]]), "x")
    (here / "classes.json").write_text(text)
    assert run(*command[:5], here / "classes.json", *command[6:]) == 0
    assert ScoreStore.open("s.h5").class_ids == ("/m/0bt9lr", "/m/01yrx")


@pytest.mark.parametrize(
    "text", ['{"0": "Dog", "2": "Cat"}', "[]", '{"a": "b"}', "[1, 2]", "3", '{"0": "Dog", "0": "Cat"}', "{"]
)
def test_json_that_does_not_number_classes_is_refused(here, capsys, text):
    command = save(here, np.array([[0.25, 0.75]]), "x")
    (here / "classes.json").write_text(text)
    assert "classes.json" in refused(capsys, *command[:5], here / "classes.json", *command[6:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (".5,.5\n.5\n", "x.csv:2: row has"),
        (".5,.5\n.5,high\n", "x.csv:2: a score is not a number"),
        (".5,.5\n", "[1, 2]; --ids names 2 clips"),
        (".5\n.5\n", "[2, 1]; --ids names 2 clips"),
    ],
)
def test_tables_of_numbers_that_are_wrong_are_refused(here, capsys, text, said):
    command = save(here, np.zeros((2, 2)), "xy")
    (here / "x.csv").write_text(text)
    assert said in refused(capsys, "--import", here / "x.csv", *command[2:])


def test_a_table_of_numbers_needs_its_ids(here, capsys):
    (here / "x.csv").write_text(".5,.5\n")
    assert "--ids: x.csv holds no clip ids. Give the file" in refused(capsys, "--import", here / "x.csv")


# ---- the files of a store ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["run.json", "s.h5"])
def test_an_import_that_is_killed_at_a_rename_is_whole_after_the_next(here, monkeypatch, capsys, after):
    from pseudolabel import artefacts

    command, rename = save(here, np.full((2, 2), 0.5), "xy"), artefacts.rename

    def killed(source, target):
        rename(source, target)
        if target.name.endswith(after):
            raise KeyboardInterrupt

    monkeypatch.setattr(artefacts, "rename", killed)
    assert run(*command) == 130
    monkeypatch.undo()
    monkeypatch.chdir(here)
    if not (here / "s.h5").exists():
        assert run(*command) == 0
    record = json.loads((here / "s.run.json").read_text())
    assert record["verb"] == "score" and record["tables_crc32"] == ScoreStore.open("s.h5").attributes["tables_crc32"]
    assert "output exists" in refused(capsys, *command)


@pytest.mark.parametrize("options", [("--window-s", "1e-9"), ("--window-s", "2", "--hop-s", "1e-7")])
def test_windows_shorter_than_a_millisecond_are_refused(here, capsys, options):
    command = save(here, np.zeros((2, 3, 2)), "xy")
    assert f"{options[-2]}: {float(options[-1]):g} s; it must be 0.001 s or more" in refused(capsys, *command, *options)
    assert not (here / "s.h5").exists()
    assert run(*command, "--window-s", "0.001", "--hop-s", "0.001") == 0


@pytest.mark.parametrize("name", ["s.h5", "s.run.json", "s.missing.csv"])
def test_files_of_other_people_are_not_replaced_by_an_import(here, capsys, name):
    (here / name).write_text('{"mine": true}')
    line = refused(capsys, *save(here, np.full((2, 2), 0.5), "xy"), "--overwrite")
    assert name in line and "so it is not replaced" in line
    assert (here / name).read_text() == '{"mine": true}'


def test_an_import_does_not_replace_its_input(here, capsys):
    ScoreStore.write(here / "s.h5", ("x", "y"), ("a", "b"), {"clip": np.full((2, 2), 0.5)})
    command = save(here, np.zeros((2, 2)), "xy")
    options = ("--import", here / "s.h5", "--dataset", "scores_clip", *command[2:], "--overwrite")
    assert "would be replaced while it is an input" in refused(capsys, *options)
    assert ScoreStore.open(here / "s.h5").clip_scores().min() == 0.5


def test_lengths_are_needed_by_windows_alone(here, capsys):
    assert run(*save(here, np.full((2, 2), 0.5), "xy")) == 0
    assert capsys.readouterr().err == ""
    line = refused(capsys, *save(here, np.full((2, 2), 0.5), "xy"), "--hop-s", "2", "--overwrite")
    assert "--hop-s: is the distance of windows whose length is not given" in line
    assert imported.DEFAULT_CLIP_S == 10


@pytest.mark.parametrize("wrong", [2.0, np.nan])
@pytest.mark.parametrize("scale", ["clip", 2])
def test_evaluate_refuses_scores_that_are_no_probabilities(here, write_tones, capsys, wrong, scale):
    from pseudolabel.evaluate import main as evaluate

    write_tones(here / "work", [2.0] * 3)
    array = np.full((3, 3) if scale == "clip" else (3, 1, 3), 0.5)
    array[1, ..., 2] = wrong
    ScoreStore.write(here / "work" / "scores.h5", ("t00", "t01", "t02"), ("low", "middle", "high"), {scale: array})
    command = ["--scores", "work/scores.h5", "--labels", "work/labels.csv", "--scales", str(scale)]
    assert evaluate(command) == 2
    said = capsys.readouterr().err
    assert f"clip 't01' has the score {wrong:g} of class 'high'" in said and "Traceback" not in said
