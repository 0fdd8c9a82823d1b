"""Merged stores: all clips and all scales of several, each score as it was, and contradictions by name."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.score import main
from pseudolabel.scores import joining
from pseudolabel.scores.merging import merge_scores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.windows import parse_window
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores

CLASSES = ("x", "y", "z")
OF_CLIP = {f"c{n}": n for n in range(8)}
N_WINDOWS = np.array([1, 3, 2, 3, 1, 2, 3, 1])
ANSWERS = {"clip": np.random.default_rng(0).random((8, 3)), "2s": np.random.default_rng(1).random((8, 3, 3))}
ANSWERS["2s"] *= (np.arange(3) < N_WINDOWS[:, None])[..., None]


def write(path, clip_ids, scales=("clip", "2s"), classes=CLASSES, changed=None, hops_s=None, kind=None, **attributes):
    """Write the store of some clips, scales and classes of ANSWERS; `changed` maps (clip, scale) to other scores."""
    rows, columns = [OF_CLIP[clip_id] for clip_id in clip_ids], [CLASSES.index(class_id) for class_id in classes]
    arrays = {scale: ANSWERS[scale][rows][..., columns] for scale in scales}
    counts = {"2s": N_WINDOWS[rows]} if "2s" in scales else {}
    if counts:
        arrays["2s"] = arrays["2s"][:, : counts["2s"].max()]
    for (clip_id, scale), value in (changed or {}).items():
        arrays[scale][clip_ids.index(clip_id)] = value
    shapes = {scale: array.shape for scale, array in arrays.items()}
    attributes = {"model": "m", "vocabulary": "v", "out_of_fold": True, **attributes}
    layout = ScoreLayout(clip_ids, classes, shapes, counts, hops_s or {}, stored_types(arrays, kind))
    write_scores(path, layout, iter([arrays]), attributes)
    return ScoreStore.open(path)


def run(*command) -> int:
    return main([str(part) for part in command])


def refused(capsys, *command) -> str:
    capsys.readouterr()
    assert run(*command) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(store: ScoreStore, clip_ids, scales) -> None:
    assert store.clip_ids == tuple(clip_ids) and set(store.scales) == set(scales)
    for scale in scales:
        found, counts = store.scores(parse_window(scale)), store.n_windows(parse_window(scale))
        for row, clip_id in enumerate(clip_ids):
            expected = ANSWERS[scale][OF_CLIP[clip_id]].reshape(-1, 3).astype(found.dtype)
            n = 1 if scale == "clip" else N_WINDOWS[OF_CLIP[clip_id]]
            assert counts[row] == n and np.array_equal(found[row, :n], expected[:n]) and not found[row, n:].any()


# ---- clips and scales -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1 << 23, 1])
def test_parts_of_a_list_and_scales_become_one_store(here, monkeypatch, capsys, block):
    monkeypatch.setattr(joining, "BLOCK_BYTES", block)
    write("a.h5", ["c3", "c0", "c1"])
    write("b.h5", ["c7", "c4"], classes=("z", "x", "y"))  # one window each
    write("c.h5", ["c5"], ["2s"])
    write("d.h5", ["c5"], ["clip"])
    assert run("merge", "a.h5", "b.h5", "c.h5", "d.h5", "--out", "m.h5") == 0
    assert capsys.readouterr().out == "wrote m.h5: 4 stores, 6 clips x 3 classes at 2s, clip\n"
    store = ScoreStore.open("m.h5")
    check(store, ["c3", "c0", "c1", "c7", "c4", "c5"], ["clip", "2s"])
    assert {name: store.attributes[name] for name in ("model", "vocabulary", "out_of_fold")} == {
        "model": "m", "vocabulary": "v", "out_of_fold": True,
    }  # fmt: skip
    assert run("verify", "m.h5") == 0 and "m.h5: good: 6 clips" in capsys.readouterr().out
    record = json.loads((here / "m.run.json").read_text())
    assert record["verb"] == "score" and list(record["inputs"]) == ["a.h5", "b.h5", "c.h5", "d.h5"]
    assert record["tables_crc32"] == store.attributes["tables_crc32"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sets(st.integers(0, 7), min_size=1), st.sets(st.sampled_from(["clip", "2s"]), min_size=1),
                          st.permutations(CLASSES)), min_size=2, max_size=5))  # fmt: skip
def test_any_stores_that_cover_all_give_every_score_and_others_are_refused(tmp_path_factory, parts):
    folder = tmp_path_factory.mktemp("parts")
    stores = [write(folder / f"{n}.h5", [f"c{clip}" for clip in clips], sorted(scales), classes)
              for n, (clips, scales, classes) in enumerate(parts)]  # fmt: skip
    cells = {(clip, scale) for clips, scales, _ in parts for clip in clips for scale in scales}
    clips, scales = ({cell[axis] for cell in cells} for axis in (0, 1))
    if len(cells) < len(clips) * len(scales):
        with pytest.raises(InputError, match="clips have no scores at scale"):
            merge_scores(stores, folder / "m.h5")
        assert not (folder / "m.h5").exists()
        return
    merged = merge_scores(stores, folder / "m.h5")
    store = ScoreStore.open(folder / "m.h5")
    columns = store.columns(CLASSES)
    for scale in scales:
        for row, clip_id in enumerate(merged.clip_ids):
            found = store.scores(parse_window(scale))[row][..., columns]
            expected = ANSWERS[scale][OF_CLIP[clip_id]].reshape(-1, 3)[: len(found)]
            assert np.array_equal(found, expected.astype(found.dtype))
    assert store.verify()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_each_scale_keeps_the_most_bits_that_a_store_has(tmp_path, order):
    parts = [write(tmp_path / "16.h5", ["c0", "c3", "c5"], kind="float16"), write(tmp_path / "usual.h5", ["c3", "c4"]),
             write(tmp_path / "again.h5", ["c4", "c0"], ["clip"], kind="float32")]  # fmt: skip
    merge_scores([parts[place] for place in order], tmp_path / "m.h5")
    store = ScoreStore.open(tmp_path / "m.h5")
    assert store.stored_as("clip") == np.float32 and store.stored_as(2) == np.float16 and store.verify()
    for clip_id, kind in {"c0": "float32", "c3": "float32", "c4": "float32", "c5": "float16"}.items():
        expected = ANSWERS["clip"][OF_CLIP[clip_id]].astype(kind)
        assert np.array_equal(store.clip_scores()[store.index[clip_id]], expected)
    merge_scores([parts[0]] * 2, tmp_path / "16-again.h5")
    assert ScoreStore.open(tmp_path / "16-again.h5").stored_as("clip") == np.float16


def test_what_differs_is_said_and_out_of_fold_are_only_all(here, capsys):
    write("a.h5", ["c0"], threads=2, precision="bf16", out_of_fold=False, imported_sha256="1")
    write("b.h5", ["c1"], threads=4, precision="bf16")
    assert run("merge", "a.h5", "b.h5", "--out", "m.h5") == 0
    assert capsys.readouterr().out.endswith("; the stores differ in imported_sha256, threads\n")
    attributes = ScoreStore.open("m.h5").attributes
    assert attributes["threads"] == "2; 4" and attributes["imported_sha256"] == "1; unknown"
    assert attributes["precision"] == "bf16" and "out_of_fold" not in attributes  # an early import says False unasked
    write("c.h5", ["c2"], out_of_fold=False)
    assert run("merge", "b.h5", "c.h5", "--out", "n.h5") == 0
    assert ScoreStore.open("n.h5").out_of_fold is False


def test_a_scale_keeps_the_hop_of_its_windows(here):
    write("a.h5", ["c0", "c1"], ["2s"], hops_s={"2s": 0.5})
    write("b.h5", ["c0", "c1"], ["clip"])
    assert run("merge", "a.h5", "b.h5", "--out", "m.h5") == 0
    assert ScoreStore.open("m.h5").hop_s(2) == 0.5


# ---- contradictions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"changed": {("c1", "2s"): 0.125}}, "b.h5: clip 'c1' has the score 0.125 of class 'x' at scale 2s, in"),
        ({"changed": {("c1", "clip"): 0.125}}, "b.h5: clip 'c1' has the score 0.125 of class 'x' at scale clip, in"),
        (
            {"changed": {("c2", "clip"): np.nan}},
            "b.h5: clip 'c2' has the score nan of class 'x' at scale clip; it must be in [0, 1]",
        ),
        ({"classes": ("x", "y")}, "b.h5: its classes differ from those of a.h5: z are in only one of them"),
        ({"model": "n"}, "a.h5, b.h5: the stores are of different models: m; n. Give --name"),
        ({"hops_s": {"2s": 1.0}}, "b.h5: windows of 2s begin every 1 s, in a.h5 every 2 s"),
        ({"scales": ["clip"]}, "a.h5, b.h5: 1 clips have no scores at scale 2s: c2. Score these"),
        ({"window_rule": "another"}, "follow different rules"),
    ],
)
def test_stores_that_contradict_each_other_are_refused(here, capsys, second, said):
    write("a.h5", ["c0", "c1"])
    write("b.h5", ["c1", "c2"], **second)
    assert said in refused(capsys, "merge", "a.h5", "b.h5", "--out", "m.h5")
    assert said in refused(capsys, "merge", "a.h5", "b.h5", "--out", "m.h5", "--dry-run")
    assert not (here / "m.h5").exists() and not (here / "m.run.json").exists()


def test_numbers_of_windows_that_differ_are_refused(here, capsys):
    write("a.h5", ["c0", "c1"])
    with h5py.File(write("b.h5", ["c1", "c2"]).path, "r+") as file:
        file["n_windows_2s"][0] = 2
        ScoreStore.seal(file)
    assert "b.h5: clip 'c1' has 2 windows of 2s, in another store 3" in refused(
        capsys, "merge", "a.h5", "b.h5", "--out", "m.h5"
    )


def test_models_that_are_one_are_named(here):
    write("a.h5", ["c0"], model="whole")
    write("b.h5", ["c1"], model="windows")
    assert run("merge", "a.h5", "b.h5", "--out", "m.h5", "--name", "PANNs") == 0
    assert ScoreStore.open("m.h5").attributes["model"] == "PANNs"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("merge", "a.h5"), "error: one store alone cannot be merged"),
        (("merge", "a.h5", "b.h5", "--out", "b.h5", "--overwrite"), "would be replaced while it is an input"),
        (("merge", "a.h5", "gone.h5"), "gone.h5: no such file"),
        (("merge", "a.h5", "b.h5", "--out", "mine.h5", "--overwrite"), "mine.h5: not a score store of pseudolabel"),
    ],
)
def test_options_that_do_not_fit_are_refused(here, capsys, options, said):
    write("a.h5", ["c0"])
    write("b.h5", ["c1"])
    (here / "mine.h5").write_text("mine")
    assert said in refused(capsys, *options)
    assert (here / "mine.h5").read_text() == "mine" and len(list(here.glob("*.h5"))) == 3


@pytest.mark.parametrize("option", ["--run", "--store", "--lengths", "--ids"])
def test_options_of_other_subcommands_are_not_those_of_merge(here, capsys, option):
    write("a.h5", ["c0"])
    with pytest.raises(SystemExit) as caught:
        run("merge", "a.h5", "a.h5", option, "x")
    assert caught.value.code == 2 and f"unrecognized arguments: {option}" in capsys.readouterr().err
