"""Verifying: a good store is called good, a damaged one by its first damaged clip, one without checksums what it is."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from pseudolabel.audio.clips import ClipStore
from pseudolabel.enhance import main as enhance
from pseudolabel.errors import InputError
from pseudolabel.scores.store import ScoreStore
from pseudolabel.verification import refuse_late_onsets, verify_store


@pytest.fixture
def stores(tmp_path, write_tones):
    """A clip store of three clips, and a score store of as many."""
    scores = np.random.default_rng(0).random((3, 2))
    path = tmp_path / "scores.h5"
    ScoreStore.write(path, ["t00", "t01", "t02"], ["a", "b"], {"clip": scores, 2: scores[:, None]})
    return {"clips": write_tones(tmp_path, [2.0, 1.0, 3.0]) / "clips.h5", "scores": path}


def flip(path, dataset: str, position: int) -> None:
    with h5py.File(path, "r") as file:
        offset = file[dataset].id.get_offset()
    with open(path, "r+b") as file:
        file.seek(offset + position)
        (byte,) = file.read(1)
        file.seek(offset + position)
        file.write(bytes([byte ^ 1]))


def test_good_stores_of_either_kind_are_called_good(stores):
    said = f"{stores['scores']}: good: 3 clips x 2 classes at 2s, clip"
    assert verify_store(stores["scores"]) == f"{said}; windows were not compared with the lengths of clips (--clips)"
    fit = f"windows fit the lengths of 3 clips in {stores['clips']}"
    assert verify_store(stores["scores"], stores["clips"]) == f"{said}; {fit}"
    assert verify_store(stores["clips"]) == f"{stores['clips']}: good: 3 clips, 0.00 h at 16000 Hz, pcm16"


@pytest.mark.parametrize(
    ("kind", "dataset", "position", "said"),
    [
        ("scores", "scores_2s", 5, "scores_2s is damaged from clip t00 on"),
        ("clips", "bytes", 2 * 32_000 + 7, "bytes is damaged from clip t01 on"),
        ("clips", "n_samples", 0, "changed after the store was made|contradict each other"),
    ],
)
def test_one_flipped_bit_is_found_and_its_clip_named(stores, kind, dataset, position, said):
    flip(stores[kind], dataset, position)
    with pytest.raises(InputError, match=said):
        verify_store(stores[kind])


def test_a_cut_store_is_refused(stores):
    for path in stores.values():
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(InputError):
            verify_store(path)


def test_a_store_without_checksums_is_not_called_good(stores):
    for path, names in ((stores["scores"], ("crc32_clip", "crc32_2s")), (stores["clips"], ("crc32",))):
        with h5py.File(path, "r+") as file:
            for name in names:
                del file[name]
            del file.attrs["tables_crc32"], file.attrs["attributes_crc32"]
        line = verify_store(path)
        assert "has no checksums" in line and "good" not in line and "3 clips" in line


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        verify_store(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(InputError, match="not a readable HDF5 file"):
        verify_store(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "other"
    with pytest.raises(InputError, match="format is 'other', not one of: pseudolabel-clips, pseudolabel-scores"):
        verify_store(tmp_path / "other.h5")


def test_a_newer_version_is_refused(stores):
    for path, kind in ((stores["scores"], ScoreStore), (stores["clips"], ClipStore)):
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = kind.FORMAT_VERSION + 1
        with pytest.raises(InputError, match=r"version 2, expected .* version 1"):
            verify_store(path)


def test_windows_that_begin_where_their_clips_have_ended_are_refused(stores, tmp_path):
    path = tmp_path / "many.h5"
    ScoreStore.write(path, ["t00", "t02"], ["a"], {2: np.full((2, 2, 1), 0.5)})
    assert "good" in verify_store(path)
    with pytest.raises(InputError, match="clip 't00' of 2 s has 2 windows of 2s, the last from 2 s on"):
        verify_store(path, stores["clips"])
    ScoreStore.write(path, ["t00", "t02"], ["a"], {2: np.full((2, 2, 1), 0.5)}, overwrite=True, hops_s={2: 1.5})
    assert "fit the lengths of 2 clips" in verify_store(path, stores["clips"])


@pytest.mark.parametrize("wrong", [np.nan, 2.0, -0.5])
def test_scores_that_are_no_probabilities_are_not_good(tmp_path, wrong):
    scores = np.full((3, 2), 0.5)
    scores[2, 1] = wrong
    ScoreStore.write(tmp_path / "s.h5", ["a", "b", "c"], ["x", "y"], {"clip": scores})
    with pytest.raises(InputError, match=f"clip 'c' has the score {wrong:g} of class 'y' at scale clip"):
        verify_store(tmp_path / "s.h5")


def test_evidence_that_begins_where_its_clip_has_ended_is_refused(stores):
    clips = ClipStore.open(stores["clips"])
    refuse_late_onsets(["t00", "t00", "t02", "other"], [1.9, None, 2.5, 16.0], clips, stores["clips"])
    with pytest.raises(InputError, match="a window begins at 16 s of clip 't02', which has 3 s"):
        refuse_late_onsets(["t00", "t02"], [0.0, 16.0], clips, stores["clips"])


@pytest.mark.parametrize("hop_s", [2.0, 0.5])
def test_enhance_refuses_windows_that_clips_cannot_have(write_tones, tmp_path, capsys, hop_s):
    work, clip_ids = write_tones(tmp_path / "work", [4.0, 2.0]), ("t00", "t01")
    scores = np.full((2, 2, 3), 0.5)
    ScoreStore.write(work / "scores.h5", clip_ids, ("low", "middle", "high"), {2: scores}, hops_s={2: hop_s})
    command = ["--work", str(work), "--evidence", "2s", "--threshold", "0.9", "--dry-run"]
    code, said = enhance(command), capsys.readouterr().err
    if hop_s == 2.0:
        assert code == 2 and "clip 't01' of 2 s has 2 windows of 2s, the last from 2 s on" in said
        assert "import them again with --clips or --hop-s" in said
    else:
        assert "windows of" not in said
