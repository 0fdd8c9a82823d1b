"""score import: the published shapes of scores, windows of any length and hop, and what a clip cannot have."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.score import main
from pseudolabel.score_import import ImportOptions, import_answers
from pseudolabel.scores import arrays
from pseudolabel.scores.importing import DEFAULT_CLIP_S
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import possible_windows, whole_windows


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
    assert re.match("pseudolabel score (import|verify): error: ", line)
    return line


def save(folder, array, ids, classes=("a", "b")) -> tuple:
    """Write an array with its ids and classes; return the options that import it."""
    np.save(folder / "x.npy", array)
    (folder / "ids.txt").write_text("".join(f"{clip_id}\n" for clip_id in ids))
    (folder / "classes.txt").write_text("".join(f"{class_id}\n" for class_id in classes))
    return (
        "import",
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
    command = ("import", cases / "overlap.npy", "--ids", cases / "o_ids.txt", "--classes", "audioset")
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
    command = ("import", cases / "predictions.csv", "--ids", cases / "eval_data.json", "--classes", "audioset")
    assert run(*command) == 0
    store = ScoreStore.open("work/scores.h5")
    assert store.clip_ids == ("c1", "c2", "c3") and store.class_ids == names
    with open(cases / "predictions.csv", newline="") as file:
        table = np.array([[float(field) for field in row] for row in csv.reader(file)])
    assert np.array_equal(store.clip_scores(), table.astype(np.float32))


def test_a_score_of_rounding_above_one_is_taken_as_one_and_counted(cases, here, capsys):
    command = ("import", cases / "above1.npy", "--ids", cases / "ids.txt", "--classes", "audioset")
    assert run(*command) == 0
    assert "; 1 score up to 0.001 outside [0, 1] taken as 0 or 1" in capsys.readouterr().out
    assert json.loads(Path("work/scores.run.json").read_text())["clipped_scores"] == 1
    original = np.load(cases / "above1.npy")
    assert np.array_equal(ScoreStore.open("work/scores.h5").clip_scores(), original.clip(0, 1).astype(np.float32))


def test_classes_are_read_as_a_model_s_config_has_them(cases, here):
    command = ("import", cases / "p.npy", "--ids", cases / "ids.txt", "--classes", cases / "id2label.json")
    assert run(*command) == 0
    store, vocabulary = ScoreStore.open("work/scores.h5"), Vocabulary.load("audioset")
    names = json.loads((cases / "id2label.json").read_text())
    assert store.class_ids == tuple(vocabulary.find(names[str(k)]) for k in range(527))
    assert np.array_equal(store.clip_scores(), np.load(cases / "p.npy").astype(np.float32))


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
@pytest.mark.parametrize("store", ["float16", "float32"])
def test_windows_of_any_length_and_hop_are_taken(here, store, n_windows, options, scale, hop):
    array = np.random.default_rng(0).random((2, n_windows, 2)).astype(np.float32)
    assert run(*save(here, array, "xy"), *options, "--store", store) == 0
    found = ScoreStore.open("s.h5")
    assert found.hop_s(scale) == hop
    assert np.array_equal(found.scores(scale), array.astype(store))


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
    assert run("verify", "s.h5", "--clips", "A/clips.h5") == 0
    assert "windows fit the lengths of 2 clips in A/clips.h5" in capsys.readouterr().out
    write_tones(here / "B", [4.0, 4.0])
    assert "has 3 windows of 2s, the last from 4 s on" in refused(capsys, "verify", "s.h5", "--clips", "B/clips.h5")


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
    assert "the lengths of 1 clips are not known (--lengths, --clips, --clip-s): taken as 10 s" in said
    assert "vocabulary: audioset; work/vocabulary.csv does not belong to" in said
    write_tones(here / "data", [1.0])
    line = refused(capsys, *save(here / "data", np.full((1, 3, 2), 0.25), ("t00",)), "--window-s", "2", "--overwrite")
    assert "of a clip of 1 s" in line


# ---- clips of unequal length ------------------------------------------------------------------------------------

SHARES = {"whole": 1.0, "half": 0.5, "begin": 1e-9}  # of a window that must lie in its clip for a model to answer


def windows_of(length_s: float, window_s: float, hop_s: float, share: float) -> int:
    """Return how many windows have this share of their length in a clip, counted one by one."""
    n = 0
    while n * hop_s + share * window_s <= length_s + 1e-9:
        n += 1
    return max(n, 1)


@settings(max_examples=200)
@given(length=st.integers(1, 3000), window=st.integers(1, 300), hop=st.integers(1, 300))
def test_windows_that_lie_in_a_clip_are_counted_as_a_loop_does(length, window, hop):
    assert whole_windows(length / 100, window / 100, hop / 100) == windows_of(length, window, hop, 1)


def unequal(here, rule: str, fill: float, window_s: float = 2, hop_s: float = 2) -> tuple:
    """Write answers to 40 clips of 1 to 9.5 s, rows filled up, and lists of them; return lengths, truth and answers."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(2, 20, 40) / 2
    lengths[:2] = 9.5, 5.5  # the longest; one that tells the rules apart
    counts = [windows_of(length, window_s, hop_s, SHARES[rule]) for length in lengths]
    truth = rng.random((40, 3)) < 0.4
    answers = np.full((40, max(counts), 3), fill, np.float32)
    for row, n in enumerate(counts):
        answers[row, :n] = 1 / (1 + np.exp(rng.normal(size=(n, 3)) - 2 * truth[row]))
    ids = [f"c{row:02d}" for row in range(40)]
    labels = [";".join(np.array(list("abc"))[carried]) for carried in truth]
    (here / "eval.csv").write_text("clip_id,labels\n" + "".join(
        f"{clip_id},{of_clip}\n" for clip_id, of_clip in zip(ids, labels, strict=True)))  # fmt: skip
    (here / "vocabulary.csv").write_text("class_id,name\na,A\nb,B\nc,C\n")
    (here / "lengths.csv").write_text("clip_id,seconds\n" + "".join(
        f"{clip_id}.wav,{length}\n" for clip_id, length in reversed(list(zip(ids, lengths, strict=True)))))  # fmt: skip
    (here / "counts.csv").write_text("clip_id,n_windows_2s\n" + "".join(
        f"{clip_id},{n}\n" for clip_id, n in zip(ids, counts, strict=True)))  # fmt: skip
    (here / "times.csv").write_text("".join(
        f'{clip_id}, 30.0, {30 + length}, "a"\n' for clip_id, length in zip(ids, lengths, strict=True)))  # fmt: skip
    return lengths, counts, truth, answers, save(here, answers, ids, "abc")


def evaluated_map(here) -> float:
    """Return the mAP that evaluate gives for windows of 2 s of the store."""
    from pseudolabel.evaluate import main as evaluate

    command = ["--scores", "s.h5", "--labels", "eval.csv", "--train-labels", "eval.csv", "--vocabulary",
               "vocabulary.csv", "--scales", "2s", "--out", "evaluation", "--overwrite"]  # fmt: skip
    assert evaluate(command) == 0
    (run,) = json.loads((here / "evaluation" / "metrics.json").read_text())["runs"]
    return next(iter(run["metrics"].values()))["map"]


@pytest.mark.parametrize("source", ["lengths", "counts", "times", "clips"])
@pytest.mark.parametrize(("rule", "fill"), [("whole", 0), ("half", np.nan), ("begin", -1), ("begin", 0)])
def test_the_mean_over_windows_is_that_of_the_real_ones(here, capsys, monkeypatch, source, rule, fill):
    from sklearn.metrics import average_precision_score

    lengths, counts, truth, answers, command = unequal(here, rule, fill)
    if source == "clips":
        write_silence(here / "clips.h5", lengths)
    option = {"clips": ("--clips", "clips.h5"), "times": ("--ids", "times.csv")}.get(source)
    option = option or ("--lengths", f"{source}.csv")
    assert run(*command, "--window-s", "2", "--vocabulary", "vocabulary.csv", *option) == 0
    assert f"clips have 1 to {max(counts)} windows of 2s" in capsys.readouterr().out
    assert ScoreStore.open("s.h5").n_windows(2).tolist() == counts
    means = np.zeros((40, 3))
    for row, n in enumerate(counts):
        for window in range(n):
            means[row] += answers[row, window].astype(np.float16).astype(np.float64) / n
    slow = np.mean([average_precision_score(truth[:, k], means[:, k]) for k in range(3)])
    assert evaluated_map(here) == pytest.approx(slow, abs=1e-9)
    filled = np.nan_to_num(answers).clip(0, 1).mean(axis=1)
    assert np.mean([average_precision_score(truth[:, k], filled[:, k]) for k in range(3)]) < slow - 0.02


def write_silence(path: Path, lengths_s, rate: int = 100) -> None:
    """Write a clip store of clips c00, c01, ... of these lengths."""
    from pseudolabel.audio.clips import ClipTable, write_clips

    samples = [round(length * rate) for length in lengths_s]
    ids = [f"c{row:02d}" for row in range(len(samples))]
    write_clips(
        path, ClipTable(ids, ids, samples, [2 * n for n in samples], rate), [np.zeros(2 * sum(samples), np.uint8)]
    )


@pytest.mark.parametrize("fill", [0, np.nan, -1])
def test_rows_that_are_filled_up_are_refused_where_no_length_is_known(here, capsys, fill):
    _, counts, *_, command = unequal(here, "half", fill)
    n_short = sum(n < max(counts) for n in counts)
    line = refused(capsys, *command, "--window-s", "2")
    assert f"{n_short} clips of unknown length end in windows of 2s without a score above 0, which may" in line
    assert "Give --lengths" in line and not (here / "s.h5").exists()
    if fill == 0:  # all clips are said to be as long as the longest: then windows of 0 count, and are named
        assert run(*command, "--window-s", "2", "--clip-s", "10") == 0
        assert f"{n_short} clips end in windows of 2s without a score above 0, which lie" in capsys.readouterr().out
        assert (ScoreStore.open("s.h5").n_windows(2) == 5).all()
    else:
        wrong = refused(capsys, *command, "--window-s", "2", "--clip-s", "10")
        assert "clip 'c01', window 3: the score" in wrong


def test_windows_that_overlap_end_where_their_clips_do(here):
    _, counts, _, answers, command = unequal(here, "whole", np.nan, 2, 0.5)
    assert run(*command, "--window-s", "2", "--hop-s", ".5", "--lengths", "lengths.csv") == 0
    store = ScoreStore.open("s.h5")
    assert store.n_windows(2).tolist() == counts and store.hop_s(2) == 0.5
    for row, n in enumerate(counts):
        assert np.array_equal(store.scores(2)[row, :n], answers[row, :n].astype(np.float16))
        assert not store.scores(2)[row, n:].any()


def test_clip_s_is_the_length_of_clips_that_no_list_has(here, capsys):
    array = np.full((3, 3, 2), 0.25)
    array[0, 2] = array[1, 1:] = 0
    command = (*save(here, array, "xyz"), "--window-s", "2", "--lengths", "l.csv")
    (here / "l.csv").write_text("clip_id,seconds\nx,4\ny,1.5\nother,7\n")
    assert run(*command, "--clip-s", "6") == 0
    assert ScoreStore.open("s.h5").n_windows(2).tolist() == [2, 1, 3]
    assert "clip 'z': window 2 would begin at 4 s of a clip of 4 s" in refused(
        capsys, *command, "--clip-s", "4", "--overwrite"
    )


def test_a_list_that_counts_windows_decides_whatever_follows(here, capsys):
    array = np.full((2, 3, 2), 0.25)
    command = (*save(here, array, "xy"), "--window-s", "2", "--lengths", "l.csv")
    (here / "l.csv").write_text("clip_id,n_windows_2s\nx,2\ny,3\n")
    assert run(*command) == 0
    assert "clips have 2 to 3 windows of 2s" in capsys.readouterr().out
    store = ScoreStore.open("s.h5")
    assert store.n_windows(2).tolist() == [2, 3] and not store.scores(2)[0, 2].any()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clip_id,seconds\nx,0\ny,1\n", "l.csv:2: seconds is '0'. Give seconds above 0."),
        ("clip_id,seconds\nx,inf\n", "l.csv:2: seconds is 'inf'"),
        ("clip_id,seconds\nx,\n", "l.csv:2: seconds is ''"),
        ("clip_id,seconds\nx,2\nx,2\n", "l.csv:3: clip 'x' is listed twice"),
        ("clip_id,n_windows_2s\nx,2.0\n", "l.csv:2: n_windows_2s is '2.0'. Give a whole number"),
        ("clip_id,n_windows_2s\nx,0\n", "l.csv:2: n_windows_2s is '0'"),
        ("clip_id,n_windows_2s\nx,4\n", "l.csv: clip 'x' has 4 windows of 2s, "),
        ("clip_id,n_windows_2s,seconds\nx,3,4\n", "l.csv: clip 'x' of 4 s has 3 windows of 2s, the last from 4 s on"),
        ("clip_id,n_windows_5s\nx,2\n", "l.csv:1: columns found: clip_id, n_windows_5s. The header needs clip_id, and"),
        ("seconds\n2\n", "l.csv:1: columns found: seconds"),
        ("clip_id,seconds\nz,2\n", "l.csv: lists none of the 2 clips (x, y)"),
        ("clip_id,seconds\nx,2,3\n", "l.csv:2: row has 3 columns"),
    ],
)
def test_lengths_that_are_wrong_are_refused(here, capsys, text, said):
    (here / "l.csv").write_text(text)
    command = save(here, np.full((2, 3, 2), 0.25), "xy")
    assert said in refused(capsys, *command, "--window-s", "2", "--lengths", "l.csv")
    assert not (here / "s.h5").exists()


# ---- several scales ---------------------------------------------------------------------------------------------


def whole_and_windows(here) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple]:
    rng = np.random.default_rng(1)
    whole, ten, two = (rng.random(shape).astype(np.float32) for shape in ((4, 2), (4, 1, 2), (4, 5, 2)))
    two[3, 2:] = 0
    command = save(here, whole, "wxyz")[2:]
    for name, array in (("clip", whole), ("ten", ten), ("two", two)):
        np.save(here / f"{name}.npy", array)
    np.savez(here / "all.npz", whole=whole, ten=ten, two=two, epochs=np.arange(3))
    np.savez_compressed(here / "packed.npz", whole=whole, ten=ten, two=two)
    with h5py.File(here / "all.h5", "w") as file:
        file["whole"], file["a/ten"], file["a/two"] = whole, ten, two
    (here / "l.csv").write_text("clip_id,seconds\nw,10\nx,10\ny,9.9\nz,4\n")
    return whole, ten, two, (*command, "--lengths", here / "l.csv")


@pytest.mark.parametrize(
    "options",
    [
        ("import", "clip=clip.npy", "10s=ten.npy", "2s=two.npy"),
        ("import", "clip=clip.npy", "10=ten.npy", "2s=two.npy"),
        ("import", "all.npz", "--dataset", "clip=whole", "10s=ten", "2s=two"),
        ("import", "packed.npz", "--dataset", "clip=whole", "10s=ten", "2s=two"),
        ("import", "all.h5", "--dataset", "clip=whole", "10s=a/ten", "2s=/a/two"),
        ("import", "clip=clip.npy", "10s=all.h5", "2s=all.npz", "--dataset", "10s=a/ten", "2s=two"),
    ],
)
@pytest.mark.parametrize("block", [1 << 24, 20])
def test_several_scales_become_one_store(here, monkeypatch, options, block):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block)  # a block has other numbers of clips at each scale
    whole, ten, two, command = whole_and_windows(here)
    assert run(*options, *command) == 0
    store = ScoreStore.open("s.h5")
    assert set(store.scales) == {"clip", "10s", "2s"} and store.clip_ids == tuple("wxyz")
    for scale, array, kind in (("clip", whole[:, None], "float32"), (10, ten, "float16"), (2, two, "float16")):
        assert np.array_equal(store.scores(scale), array.astype(kind))
    assert store.n_windows(2).tolist() == [5, 5, 5, 2] and store.n_windows(10).tolist() == [1] * 4
    assert run("verify", "s.h5") == 0


def test_each_scale_may_have_its_hop(here):
    *_, command = whole_and_windows(here)
    five = np.random.default_rng(2).random((4, 5, 2))
    five[3, 1:] = np.nan
    np.save(here / "five.npy", five)
    assert run("import", "5s=five.npy", "2s=two.npy", "--hop-s", "5s=1.25", *command) == 0
    store = ScoreStore.open("s.h5")
    assert (store.hop_s(5), store.hop_s(2)) == (1.25, 2.0) and store.n_windows(5).tolist() == [5, 5, 5, 1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("import", "clip.npy", "two.npy"), "error: 2 arrays, and not all have their scale. Name it: clip="),
        (("import", "2s=two.npy", "2=two.npy"), "error: 2s is given twice"),
        (("import", "2s=two.npy", "--window-s", "2"), "--window-s: the scales are named already"),
        (("import", "clip=two.npy"), "clip=two.npy: two.npy has the shape [4, 5, 2]. Name it by the length"),
        (("import", "2s=clip.npy"), "2s=clip.npy: clip.npy has the shape [4, 2]. Name it by clip=."),
        (("import", "2s=two.npy", "--hop-s", "5s=1"), "--hop-s: no windows of 5s are imported"),
        (("import", "clip=clip.npy", "--dataset", "2s=x"), "--dataset: no file of 2s is named"),
        (("import", "all.npz"), "all.npz: data sets of two or three axes: whole, ten, two. Name one by --dataset."),
        (("import", "all.npz", "--dataset", "six"), "all.npz: no data set 'six'; data sets of two"),
        (("import", "clip=clip.npy", "2s=gone.npy"), "gone.npy: no such file"),
        (("import", "clip=clip.npy", "2s=three.npy"), "[3, 5, 2]; --ids names 4 clips"),
    ],
)
def test_scales_that_do_not_fit_are_refused(here, capsys, options, said):
    *_, command = whole_and_windows(here)
    np.save(here / "three.npy", np.full((3, 5, 2), 0.5))
    assert said in refused(capsys, *options, *command)
    assert not (here / "s.h5").exists()


def test_a_dry_run_names_the_arrays_and_refuses_lengths_that_are_not_there(here, capsys):
    *_, command = whole_and_windows(here)
    options = ("import", "clip=clip.npy", "2s=two.npy", *command, "--dry-run")
    assert run(*options) == 0
    assert capsys.readouterr().out == "would write s.h5: the answers in clip.npy, two.npy\n"
    (here / "l.csv").unlink()
    assert "l.csv: no such file" in refused(capsys, *options)
    assert "2s is given twice" in refused(capsys, *options[:3], "2=two.npy", *options[3:])
    assert not (here / "s.h5").exists()


def test_a_file_whose_name_has_an_equals_sign_needs_no_scale(here):
    whole, *_, command = whole_and_windows(here)
    np.save(here / "beta=2.npy", whole)
    assert run("import", "beta=2.npy", *command[:-2]) == 0
    assert ScoreStore.open("s.h5").attributes["model"] == "beta=2"


def test_a_notebook_names_files_and_scales_as_it_likes(here):
    whole, _, two, command = whole_and_windows(here)
    lists = {"ids": command[1], "classes": str(command[3])}
    import_answers(ImportOptions(arrays=["clip.npy"], out=here / "one.h5", **lists))
    arrays = [("clip", Path("clip.npy")), ("2s", Path("two.npy"))]
    import_answers(ImportOptions(arrays=arrays, lengths=here / "l.csv", out=here / "both.h5", **lists))
    assert np.array_equal(ScoreStore.open("one.h5").clip_scores(), whole)
    assert np.array_equal(ScoreStore.open("both.h5").scores(2), two.astype(np.float16))


# ---- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "taken"), [(1 + 9e-4, 1), (-9e-4, 0), (1.002, None), (-0.002, None), (np.nan, None)])
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
    ("array", "said", "remedy"),
    [
        ([[-4.5, 2.25], [0.5, 3]], "clip 'x': the score -4.5 of class '/m/0bt9lr' is not in [0, 1]; scores range from "
         "-4.5 to 3", "of logits, apply the sigmoid first."),
        ([[0.5, 97.5], [0, 100]], "clip 'x': the score 97.5 of class '/m/01yrx' is not in [0, 1]; scores range from 0 "
         "to 100", "divide percentages by 100; of logits, apply the sigmoid first."),
        ([[-3.5, -0.5], [-7, -2]], "scores range from -7 to -0.5", "of their logarithms, exp."),
        ([[0.5, 0.5], [np.nan, np.nan]], "clip 'y': the score nan of class '/m/0bt9lr' is not in [0, 1]",
         "Leave clips without answers out."),
        ([[np.nan, 0.5], [0.5, np.nan]], "; 2 clips have such scores: x, y", "Leave clips without answers out."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_not_a_probability_names_what_was_seen_and_the_remedy(here, capsys, array, said, remedy, dtype):
    command = save(here, np.array(array, dtype), "xy", ("Dog", "Cat"))
    line = refused(capsys, *command)
    assert said in line and line.endswith(remedy)


def test_the_next_float16_after_one_is_rounding(here, capsys):
    command = save(here, np.array([[1.0009765625, 0.5]], np.float16), "x")
    assert run(*command) == 0
    assert "; 1 score up to 0.001 outside [0, 1] taken as 0 or 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        '["Dog", "Cat"]',
        '{"1": "Cat", "0": "Dog"}',
        '{"label2id": {"Cat": 1, "Dog": 0}}',
        '{"Cat": "1", "Dog": "0"}',
        '{"architectures": ["AST"], "id2label": {"1": "Cat", "0": "Dog"}, "label2id": {"Dog": "0", "Cat": "1"}}',
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
    assert said in refused(capsys, "import", here / "x.csv", *command[2:])


def test_a_table_of_numbers_needs_its_ids(here, capsys):
    (here / "x.csv").write_text(".5,.5\n")
    assert "--ids: x.csv holds no clip ids. Give the file" in refused(capsys, "import", here / "x.csv")


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
    command = save(here, np.full((2, 3, 2), 0.5), "xy")
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
    options = ("import", here / "s.h5", "--dataset", "scores_clip", *command[2:], "--overwrite")
    assert "would be replaced while it is an input" in refused(capsys, *options)
    assert ScoreStore.open(here / "s.h5").clip_scores().min() == 0.5


def test_lengths_are_needed_by_windows_alone(here, capsys):
    assert run(*save(here, np.full((2, 2), 0.5), "xy")) == 0
    assert capsys.readouterr().err == ""
    line = refused(capsys, *save(here, np.full((2, 2), 0.5), "xy"), "--hop-s", "2", "--overwrite")
    assert "--hop-s: needs the length of the windows" in line
    assert DEFAULT_CLIP_S == 10


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


# ---- clips of different lengths in a .npz file ------------------------------------------------------------------


def ragged() -> dict[str, np.ndarray]:
    """Return the windows of three clips, (windows, classes) each."""
    rng = np.random.default_rng(3)
    return {name: rng.random((n, 2)).astype(np.float32) for name, n in (("x.wav", 3), ("z", 5), ("y", 4))}


@pytest.mark.parametrize("save_npz", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("block", [1 << 24, 20])
def test_an_array_for_each_clip_is_read_with_its_own_number_of_windows(here, monkeypatch, capsys, save_npz, block):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block)
    clips = ragged()
    save_npz("r.npz", **{**clips, "y": np.asfortranarray(clips["y"])}, classes=np.array(["a", "b"]))
    (here / "classes.txt").write_text("a\nb\n")
    command = ("import", "r.npz", "--classes", "classes.txt", "--out", "s.h5", "--overwrite")
    assert run(*command, "--window-s", "2") == 0
    assert "r.npz: scores of 3 arrays, one a clip, of 3 to 5 windows" in capsys.readouterr().err
    store = ScoreStore.open("s.h5")
    assert store.clip_ids == ("x", "z", "y") and store.n_windows(2).tolist() == [3, 5, 4]
    for row, array in enumerate(clips.values()):
        assert np.array_equal(store.scores(2)[row, : len(array)], array.astype(np.float16))
        assert not store.scores(2)[row, len(array) :].any()
    assert "x.wav, z, y. Name one by --dataset. Several: --dataset clip=A 2s=B. One a clip" in refused(capsys, *command)


def test_an_array_that_counts_the_windows_decides_which_are_real(here, capsys):
    clips, filled = ragged(), np.full((3, 5, 2), 0.5, np.float32)  # what follows the last window may be anything
    for row, array in enumerate(clips.values()):
        filled[row, : len(array)] = array
    (here / "classes.txt").write_text("a\nb\n")
    command = ("import", "r.npz", "--classes", "classes.txt", "--window-s", "2", "--out", "s.h5", "--overwrite")
    np.savez("r.npz", scores=filled, n_windows=[3, 5, 4], clip_ids=list("xzy"))
    assert run(*command) == 0 and "not known" not in capsys.readouterr().err
    store = ScoreStore.open("s.h5")
    assert store.n_windows(2).tolist() == [3, 5, 4] and not store.scores(2)[0, 3:].any()
    np.savez("r.npz", scores=filled, n_windows=[3, 6, 4], clip_ids=list("xzy"))
    line = refused(capsys, *command)
    assert "r.npz, n_windows[1]: is 6; the scores have 5 windows a clip. Correct it: 1 to 5." in line


def test_clips_that_cannot_be_read_one_by_one_are_refused_with_the_right_form(here, capsys):
    (here / "classes.txt").write_text("a\nb\n")
    command = ("import", "r.npz", "--classes", "classes.txt", "--window-s", "2", "--out", "s.h5")
    pickled = np.empty(3, object)
    pickled[:] = list(ragged().values())
    np.savez("r.npz", scores=pickled, clip_ids=list("xzy"))
    assert "scores holds pickled objects, which are not opened. Save one array; of clips" in refused(capsys, *command)
    np.savez("r.npz", **ragged(), w=np.zeros((0, 2), np.float32))
    assert "r.npz, w: has no windows. Leave the clip out." in refused(capsys, *command)
    np.savez("r.npz", **ragged(), w=np.zeros((2, 3), np.float32))
    assert "data sets of two or three axes: x.wav, z, y, w. Name one" in refused(capsys, *command)
    assert not (here / "s.h5").exists()
