"""Ensembles of score stores: means as fractions, matched by id, refused where stores do not fit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.scores import joining
from pseudolabel.scores.ensemble import average_scores
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import ScoreLayout, write_scores


@pytest.fixture
def store(tmp_path):
    """Return a function that writes a store of clips and classes with clip scores, and opens it."""

    def make(name: str, clip_ids: str, class_ids: str, scores, scale="clip", **attributes) -> ScoreStore:
        scores = {scale: np.array(scores, np.float16)} if not isinstance(scores, dict) else scores
        ScoreStore.write(tmp_path / name, list(clip_ids), list(class_ids), scores, attributes)
        return ScoreStore.open(tmp_path / name)

    return make


def test_mean_is_of_the_same_clip_and_class_whatever_the_order(store, tmp_path):
    one = store("1.h5", "ab", "xy", [[1 / 2, 1 / 4], [0, 1]])
    two = store("2.h5", "ba", "yx", [[1 / 2, 1 / 8], [3 / 4, 1]])
    average_scores([one, two], tmp_path / "out.h5")
    mean = ScoreStore.open(tmp_path / "out.h5")
    assert (mean.clip_ids, mean.class_ids, mean.scales) == (("a", "b"), ("x", "y"), ("clip",))
    assert mean.clip_scores().tolist() == [[Fraction(3, 4), Fraction(1, 2)], [Fraction(1, 16), Fraction(3, 4)]]
    assert mean.clip_scores().dtype == np.float32 and mean.verify()


def test_weights_are_ratios_and_zero_leaves_out(store, tmp_path):
    stores = [store(f"{i}.h5", "a", "x", [[value]]) for i, value in enumerate((0.5, 1.0, 0.25))]
    average_scores(stores, tmp_path / "out.h5", [2, 1, 1])
    assert ScoreStore.open(tmp_path / "out.h5").clip_scores().item() == Fraction(2 * 2 + 4 + 1, 16)
    average_scores(stores, tmp_path / "out.h5", [0, 3, 0], overwrite=True)
    assert ScoreStore.open(tmp_path / "out.h5").clip_scores().item() == 1


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [0, 0], [1, -1], [1, float("nan")], [1, float("inf")]])
def test_weights_that_are_none_are_refused(store, tmp_path, weights):
    stores = [store(f"{i}.h5", "a", "x", [[0.5]]) for i in range(2)]
    with pytest.raises(InputError, match=r"--weights: .* do not weight 2 inputs"):
        average_scores(stores, tmp_path / "out.h5", weights)
    assert not (tmp_path / "out.h5").exists()


def windowed(path, clip_ids, n_windows, seed) -> ScoreStore:
    """Write a store at clip, 5s and 2s whose clips have different numbers of windows of 2 s."""
    rng, n = np.random.default_rng(seed), len(clip_ids)
    arrays = {"clip": rng.random((n, 3)), "5s": rng.random((n, 2, 3)), "2s": rng.random((n, max(n_windows), 3))}
    for row, count in enumerate(n_windows):
        arrays["2s"][row, count:] = 0
    shapes = {name: array.shape for name, array in arrays.items()}
    write_scores(path, ScoreLayout(clip_ids, list("xyz"), shapes, {"2s": np.array(n_windows)}), iter([arrays]))
    return ScoreStore.open(path)


def test_blocks_of_windows_equal_the_plain_mean(tmp_path, monkeypatch):
    clip_ids, counts = [f"c{i}" for i in range(11)], [1 + i % 5 for i in range(11)]
    order = np.random.default_rng(0).permutation(11)
    one = windowed(tmp_path / "1.h5", clip_ids, counts, 1)
    two = windowed(tmp_path / "2.h5", [clip_ids[i] for i in order], [counts[i] for i in order], 2)
    average_scores([one, two], tmp_path / "whole.h5", [1, 3])
    monkeypatch.setattr(joining, "BLOCK_BYTES", 8 * 5 * 3 * 2)  # two clips
    average_scores([one, two], tmp_path / "out.h5", [1, 3])
    mean, back = ScoreStore.open(tmp_path / "out.h5"), np.argsort(order)
    assert set(mean.scales) == {"clip", "5s", "2s"} and mean.n_windows(2).tolist() == counts
    for scale in ("clip", 5, 2):
        pair = one.scores(scale).astype(np.float64), two.scores(scale)[back].astype(np.float64)
        kind = np.float32 if scale == "clip" else np.float16
        assert np.array_equal(mean.scores(scale), ((pair[0] + 3 * pair[1]) / 4).astype(kind))
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_stores_that_are_alike_average_to_themselves(tmp_path):
    one = windowed(tmp_path / "1.h5", list("abc"), [3, 1, 2], 1)
    average_scores([one, one, one], tmp_path / "out.h5", [0.1, 0.2, 0.7])
    mean = ScoreStore.open(tmp_path / "out.h5")
    assert all(np.array_equal(mean.scores(scale), one.scores(scale)) for scale in ("clip", 5, 2))


def test_missing_clips_and_classes_are_refused_by_name_or_left_out_on_request(store, tmp_path):
    one = store("1.h5", "abc", "xy", [[0.5, 0], [0.25, 0], [0, 0]])
    two = store("2.h5", "dcba", "xy", [[1, 1], [1, 1], [0.75, 0], [0.5, 0]])
    with pytest.raises(ClipMismatch, match=r"1\.h5: 1 clips of the other stores are not here: d\. Give --common"):
        average_scores([one, two], tmp_path / "out.h5")
    three = store("3.h5", "abc", "xz", [[0.5, 0], [0.25, 0], [0, 0]])
    with pytest.raises(ClipMismatch, match=r"1\.h5: 1 classes of the other stores are not here: z"):
        average_scores([one, three], tmp_path / "out.h5")
    matching = average_scores([two, three, one], tmp_path / "out.h5", common=True)
    assert matching.left_out == [
        ("clip", "d", str(three.path)), ("clip", "d", str(one.path)),
        ("class", "z", str(two.path)), ("class", "y", str(three.path)), ("class", "z", str(one.path)),
    ]  # fmt: skip
    mean = ScoreStore.open(tmp_path / "out.h5")
    assert (mean.clip_ids, mean.class_ids) == (("c", "b", "a"), ("x",))
    expected = [Fraction(1, 3), Fraction(5, 12), Fraction(1, 2)]
    assert mean.clip_scores()[:, 0].tolist() == [float(np.float32(float(value))) for value in expected]


def test_nothing_in_common_is_refused(store, tmp_path):
    one, two = store("1.h5", "a", "x", [[0.5]]), store("2.h5", "b", "x", [[0.5]])
    with pytest.raises(ClipMismatch, match="not one clip is in all 2 stores"):
        average_scores([one, two], tmp_path / "out.h5", common=True)
    three = store("3.h5", "a", "x", [[[0.5]]], scale=2)
    with pytest.raises(InputError, match="no scale is in all 2 stores"):
        average_scores([one, three], tmp_path / "out.h5")


def test_scales_that_one_store_lacks_are_listed(store, tmp_path):
    one = store("1.h5", "a", "x", {"clip": np.array([[0.5]]), 2: np.array([[[0.5]]])})
    two = store("2.h5", "a", "x", [[1.0]])
    assert average_scores([one, two], tmp_path / "out.h5").left_out == [("scale", "2s", str(two.path))]
    assert ScoreStore.open(tmp_path / "out.h5").scales == ("clip",)


def test_a_single_window_of_ten_seconds_stands_for_the_clip(store, tmp_path):
    one, two = store("1.h5", "a", "x", [[0.5]]), store("2.h5", "a", "x", [[[1.0]]], scale=10)
    average_scores([one, two], tmp_path / "out.h5")
    assert ScoreStore.open(tmp_path / "out.h5").clip_scores().item() == 0.75


def test_other_numbers_of_windows_are_refused(tmp_path):
    one = windowed(tmp_path / "1.h5", list("abc"), [3, 1, 2], 1)
    two = windowed(tmp_path / "2.h5", list("abc"), [3, 2, 2], 1)
    with pytest.raises(ClipMismatch, match=r"2\.h5: clip 'b' has 2 windows of 2s, in another store 1"):
        average_scores([one, two], tmp_path / "out.h5")


@pytest.mark.parametrize("value", [-1.5, 1.5, float("nan")])
def test_scores_that_are_no_probabilities_are_refused(store, tmp_path, value):
    one, two = store("1.h5", "ab", "xy", np.full((2, 2), 0.5)), store("2.h5", "ab", "xy", [[0, 0], [1, value]])
    with pytest.raises(InputError, match=rf"2\.h5: clip 'b' has the score {value:g} of class 'y' at scale clip"):
        average_scores([one, two], tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_ensemble_names_the_models_of_all_and_is_out_of_fold_only_if_all_are(store, tmp_path):
    one = store("1.h5", "a", "x", [[0.5]], model="b0 11; b2 22", vocabulary="v", out_of_fold=True)
    two = store("2.h5", "a", "x", [[0.5]], model="ast 33", vocabulary="v", out_of_fold=True)
    three = store("3.h5", "a", "x", [[0.5]], model="cnn", vocabulary="w", out_of_fold=False, front_end="f")
    average_scores([one, two], tmp_path / "out.h5", attributes={"note": "n"})
    found = ScoreStore.open(tmp_path / "out.h5").attributes
    assert (found["model"], found["vocabulary"], found["note"]) == ("b0 11; b2 22; ast 33", "v", "n")
    assert found["out_of_fold"] and found["weights"].tolist() == [1, 1] and "front_end" not in found
    average_scores([one, two, three], tmp_path / "out.h5", overwrite=True)
    found = ScoreStore.open(tmp_path / "out.h5").attributes
    assert (found["vocabulary"], found["front_end"]) == ("v; v; w", "unknown; unknown; f")
    assert not found["out_of_fold"]
    silent = store("4.h5", "a", "x", [[0.5]])
    average_scores([one, silent], tmp_path / "out.h5", overwrite=True)
    assert ScoreStore.open(tmp_path / "out.h5").out_of_fold is None
    average_scores([silent, three], tmp_path / "out.h5", overwrite=True)
    assert ScoreStore.open(tmp_path / "out.h5").out_of_fold is False


def test_windows_of_another_rule_are_refused(store, tmp_path):
    one, two = store("1.h5", "a", "x", [[0.5]]), store("2.h5", "a", "x", [[0.5]], window_rule="overlapping")
    with pytest.raises(InputError, match="different rules"):
        average_scores([one, two], tmp_path / "out.h5")


def test_windows_that_overlap_are_averaged_only_with_windows_that_begin_alike(tmp_path):
    for name, hop_s in (("1.h5", 1.0), ("2.h5", 1.0), ("3.h5", 2.0)):
        ScoreStore.write(tmp_path / name, ["a"], ["x"], {2: np.full((1, 3, 1), 0.5)}, hops_s={2: hop_s})
    one, two, three = (ScoreStore.open(tmp_path / name) for name in ("1.h5", "2.h5", "3.h5"))
    average_scores([one, two], tmp_path / "out.h5")
    assert ScoreStore.open(tmp_path / "out.h5").hop_s(2) == 1.0
    with pytest.raises(InputError, match=r"3\.h5: windows of 2s begin every 2 s, in .*1\.h5 every 1 s"):
        average_scores([one, three], tmp_path / "none.h5")
