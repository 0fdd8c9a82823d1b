"""Soft targets of a release: read with h5py alone they are the teacher's scores, exactly or within half a step."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.releases import targets as module
from pseudolabel.releases.targets import as_stored, looked_up, write_targets
from pseudolabel.score import main as score
from pseudolabel.scores.store import ScoreStore

THREE = Vocabulary("three", *(("a", "b", "c"),) * 3)
CLIPS = tuple(f"c{i:03d}" for i in range(150))


@pytest.fixture
def scored(tmp_path):
    """Labels of 150 clips, and a store of 120 of them and one more class, in another order."""
    rng = np.random.default_rng(3)
    labels = LabelTable(CLIPS, rng.random((150, 3)) < 0.4, THREE)
    order = rng.permutation(150)[:120]
    windows = rng.random((120, 5, 4))
    scores, classes = {"clip": windows.max(axis=1), 2: windows}, ("c", "other", "a", "b")
    ScoreStore.write(tmp_path / "scores.h5", [CLIPS[i] for i in order], classes, scores, store="float32")
    return labels, ScoreStore.open(tmp_path / "scores.h5")


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 0.0), ("float16", 2.0**-12), ("uint8", 0.5 / 255 + 1e-9)])
def test_h5py_alone_reads_the_teachers_scores(scored, tmp_path, monkeypatch, kind, tolerance):
    labels, store = scored
    monkeypatch.setattr(module, "BLOCK_CLIPS", 32)
    monkeypatch.setattr(module, "CHUNK_BYTES", 60)
    assert write_targets(tmp_path / "targets.h5", labels, dict.fromkeys(("clip", 2), store), kind) == 120
    with h5py.File(tmp_path / "targets.h5") as file:
        clips, classes = ([text.decode() for text in file[name][:]] for name in ("clip_id", "class_id"))
        scale = file.attrs["scale"]
        whole, windows = file["scores_clip"][:] * scale, file["scores_2s"][:] * scale
        assert file["scores_clip"].dtype == kind
        assert file["scores_2s"].compression == "gzip"
        assert file["n_windows_2s"][:].tolist() == [5] * 120
    assert clips == [clip_id for clip_id in CLIPS if clip_id in store.index]
    assert classes == ["a", "b", "c"]
    rows = store.rows(clips)
    columns = store.columns(classes)
    assert np.abs(whole - store.clip_scores()[rows][:, columns]).max() <= tolerance
    assert np.abs(windows - store.scores(2)[rows][..., columns]).max() <= tolerance


@pytest.mark.parametrize("kind", ["float32", "float16", "uint8"])
def test_scores_are_looked_up_in_any_order_and_are_the_teachers_rounded(scored, tmp_path, monkeypatch, kind):
    labels, store = scored
    monkeypatch.setattr(module, "BLOCK_CLIPS", 16)
    monkeypatch.setattr(module, "CHUNK_BYTES", 48)
    write_targets(tmp_path / "targets.h5", labels, dict.fromkeys(("clip", 2), store), kind)
    rng = np.random.default_rng(4)
    clips, windows, classes = rng.integers(120, size=400), rng.integers(5, size=400), rng.integers(3, size=400)
    targets = ScoreStore.open(tmp_path / "targets.h5")
    rows, columns = store.rows(targets.clip_ids), store.columns(targets.class_ids)
    with h5py.File(tmp_path / "targets.h5") as file:
        stored = looked_up(file["scores_2s"], clips, windows, classes)
        found = stored.astype(np.float64) * file.attrs["scale"]
        expected = store.scores(2)[rows[clips], windows, columns[classes]].astype(np.float64)
        assert np.array_equal(stored, as_stored(expected, stored.dtype))
        assert np.abs(found - expected).max() <= {"float32": 0, "float16": 2.0**-12, "uint8": 1 / 510 + 1e-9}[kind]
        expected = store.clip_scores()[rows[clips], columns[classes]].astype(np.float64)
        assert np.array_equal(looked_up(file["scores_clip"], clips, classes), as_stored(expected, stored.dtype))


def test_same_scores_give_the_same_bytes(scored, tmp_path):
    labels, store = scored
    for name in ("one.h5", "two.h5"):
        write_targets(tmp_path / name, labels, {"clip": store}, "uint8")
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


def test_what_cannot_be_written_or_read_is_said(scored, tmp_path):
    labels, store = scored
    with pytest.raises(InputError, match="scale '5s' is not there"):
        write_targets(tmp_path / "targets.h5", labels, {5: store}, "uint8")
    with pytest.raises(ClipMismatch):
        write_targets(tmp_path / "targets.h5", LabelTable.from_sets(("x",), [[]], THREE), {"clip": store}, "uint8")
    ScoreStore.write(tmp_path / "logits.h5", ("c001",), THREE.class_ids, {"clip": np.array([[0.5, 2, -1]])})
    with pytest.raises(InputError, match=r"c001: a score is not in \[0, 1\]"):
        write_targets(tmp_path / "targets.h5", labels, {"clip": ScoreStore.open(tmp_path / "logits.h5")}, "uint8")
    assert not (tmp_path / "targets.h5").exists()
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"], file.attrs["format_version"] = "other", 1
    with pytest.raises(InputError, match="expected 'pseudolabel-scores'"):
        ScoreStore.open(tmp_path / "other.h5")
    write_targets(tmp_path / "targets.h5", labels, {"clip": store}, "uint8")
    with h5py.File(tmp_path / "targets.h5", "r+") as file:
        file.attrs["scale"] = 0.5
    with pytest.raises(InputError, match="scores_clip is uint8"):
        ScoreStore.open(tmp_path / "targets.h5")


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 0.0), ("float16", 2.0**-12), ("uint8", 0.5 / 255 + 1e-6)])
@pytest.mark.parametrize(
    "format_name", ["pseudolabel-scores", "pseudolabel-targets"]
)  # the second: of earlier versions
def test_a_score_store_opens_the_targets_of_a_release(scored, tmp_path, kind, tolerance, format_name):
    labels, store = scored
    write_targets(tmp_path / "targets.h5", labels, dict.fromkeys(("clip", 2), store), kind)
    with h5py.File(tmp_path / "targets.h5", "r+") as file:
        file.attrs["format"] = format_name
        ScoreStore.seal(file)
    targets = ScoreStore.open(tmp_path / "targets.h5")
    rows, columns = store.rows(targets.clip_ids), store.columns(targets.class_ids)
    assert set(targets.scales) == {"clip", "2s"} and targets.n_windows(2).tolist() == [5] * 120
    assert np.abs(targets.clip_scores() - store.clip_scores()[rows][:, columns]).max() <= tolerance
    some = np.array([70, 3, 3])
    found = targets.read(2, some).astype(np.float64)
    assert np.abs(found - store.scores(2)[rows[some]][..., columns]).max() <= tolerance
    assert targets.verify()


def test_score_merges_the_targets_of_a_release_and_says_that_they_need_no_import(scored, tmp_path, capsys):
    labels, store = scored
    targets, out = tmp_path / "targets.h5", tmp_path / "merged.h5"
    write_targets(targets, labels, {"clip": store}, "uint8")
    assert score(["verify", str(targets)]) == 0
    known = ScoreStore.open(targets)
    ScoreStore.write(tmp_path / "more.h5", known.clip_ids, known.class_ids, {5: np.full((120, 2, 3), 0.5)})
    assert score(["merge", str(targets), str(tmp_path / "more.h5"), "--out", str(out)]) == 0
    merged = ScoreStore.open(out)
    rows, columns = store.rows(merged.clip_ids), store.columns(merged.class_ids)
    assert np.abs(merged.clip_scores() - store.clip_scores()[rows][:, columns]).max() <= 0.5 / 255 + 1e-6
    assert score(["import", str(targets), "--out", str(tmp_path / "x.h5")]) == 2
    assert "holds uint8, not floating-point numbers" in (said := capsys.readouterr().err)
    assert "targets.h5 of a release is a store already: give it as --scores." in said


def test_windows_that_overlap_are_said_in_the_targets(scored, tmp_path):
    labels, _ = scored
    ScoreStore.write(
        tmp_path / "hop.h5",
        CLIPS,
        THREE.class_ids,
        {"clip": np.zeros((150, 3)), 2: np.zeros((150, 9, 3))},
        hops_s={2: 1.0},
    )
    write_targets(tmp_path / "targets.h5", labels, {2: ScoreStore.open(tmp_path / "hop.h5")}, "uint8")
    assert ScoreStore.open(tmp_path / "targets.h5").hop_s(2) == 1.0
