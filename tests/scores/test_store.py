"""The score store gives back what was written at every scale, and refuses files that contradict themselves."""

from __future__ import annotations

import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import ClipMismatch, InputError, OutputExists
from pseudolabel.records import sha256
from pseudolabel.scores.store import ScoreStore
from pseudolabel.scores.writing import ScoreLayout, stored_types, write_scores
from pseudolabel.stores import fixed_length_text

IDS, CLASSES = ("a", "日本", "-c"), ("/m/1", "ü")


def answers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape).astype(np.float16)


ARRAYS = {"clip": answers(3, 2), 10: answers(3, 1, 2, seed=1), 5: answers(3, 2, 2, seed=2), 0.5: answers(3, 20, 2)}


@pytest.fixture
def path(tmp_path):
    ScoreStore.write(tmp_path / "scores.h5", IDS, CLASSES, ARRAYS, {"vocabulary": "two", "out_of_fold": True})
    return tmp_path / "scores.h5"


def test_scores_read_back_equal_at_every_scale(path):
    store = ScoreStore.open(path)
    assert (store.clip_ids, store.class_ids, len(store)) == (IDS, CLASSES, 3)
    assert set(store.scales) == {"clip", "10s", "5s", "0.5s"}
    for window_s, array in ARRAYS.items():
        read = store.scores(window_s)
        assert isinstance(read, np.memmap) and read.dtype == (np.float32 if window_s == "clip" else np.float16)
        np.testing.assert_array_equal(read, array.reshape(3, -1, 2))
        assert store.n_windows(window_s).tolist() == [read.shape[1]] * 3
    np.testing.assert_array_equal(store.clip_scores(), ARRAYS["clip"])
    np.testing.assert_array_equal(store.scores(10.0), ARRAYS[10])
    assert (store.attributes["vocabulary"], bool(store.attributes["out_of_fold"])) == ("two", True)
    assert "half" in store.attributes["window_rule"] or "len/2" in store.attributes["window_rule"]


@settings(max_examples=25, deadline=None)
@given(
    array=st.integers(0, 4).flatmap(
        lambda n: st.integers(1, 3).flatmap(lambda w: st.just(answers(n, w, 3, seed=10 * n + w)))
    ),
    block_size=st.integers(1, 5),
)
def test_any_blocks_give_the_same_bytes_as_whole_arrays(tmp_path_factory, array, block_size):
    folder = tmp_path_factory.mktemp("scores")
    ids, classes = [f"c{row}é" for row in range(len(array))], ["x", "y", "z"]
    ScoreStore.write(folder / "whole.h5", ids, classes, {2: array})
    blocks = ({"2s": array[start : start + block_size]} for start in range(0, len(array), block_size))
    write_scores(folder / "blocks.h5", ScoreLayout(ids, classes, {"2s": array.shape}), blocks)
    assert sha256(folder / "whole.h5") == sha256(folder / "blocks.h5")
    store = ScoreStore.open(folder / "blocks.h5")
    assert store.clip_ids == tuple(ids)
    np.testing.assert_array_equal(store.scores(2), array)


@pytest.mark.parametrize("store", [None, "float32", "float16"])
def test_each_type_reads_back_as_it_was_rounded_and_is_verified(tmp_path, store):
    windows = np.random.default_rng(1).random((3, 5, 2))
    shapes, blocks = {"clip": (3, 2), "2s": (3, 5, 2)}, [{"clip": windows[:, 0], "2s": windows}]
    layout = ScoreLayout(IDS, CLASSES, shapes, {"2s": [5, 1, 2]}, types=stored_types(shapes, store))
    write_scores(tmp_path / "s.h5", layout, iter(blocks))
    found = ScoreStore.open(tmp_path / "s.h5")
    for scale, kind in (("clip", store or "float32"), (2, store or "float16")):
        assert found.stored_as(scale) == found.scores(scale).dtype == kind
        expected = (windows[:, :1] if scale == "clip" else windows).astype(kind)
        np.testing.assert_array_equal(found.scores(scale), expected)
        np.testing.assert_array_equal(found.read(scale, np.array([2, 0])), expected[[2, 0]])
    assert found.verify()
    offset, size = found._stored["2s"].offset, found.stored_as(2).itemsize
    with open(tmp_path / "s.h5", "r+b") as file:
        file.seek(offset + 4 * size)
        file.write(b"\x01")
    with pytest.raises(InputError, match="scores_2s is damaged from clip a on"):
        ScoreStore.open(tmp_path / "s.h5").verify()


def test_the_scale_that_stands_for_whole_clips_keeps_all_bits():
    assert stored_types(["clip", "10s", "2s"]) == {"clip": "float32", "10s": "float16", "2s": "float16"}
    assert stored_types(["10s", "5s"]) == {"10s": "float32", "5s": "float16"}
    assert stored_types(["clip", "2s"], "float16") == {"clip": "float16", "2s": "float16"}


def test_a_single_window_of_10_s_stands_for_the_clip(tmp_path):
    ScoreStore.write(tmp_path / "one.h5", IDS, CLASSES, {10: ARRAYS[10]})
    store = ScoreStore.open(tmp_path / "one.h5")
    np.testing.assert_array_equal(store.clip_scores(), ARRAYS[10][:, 0])
    np.testing.assert_array_equal(store.scores("clip"), ARRAYS[10])
    store.refuse_without("clip", "--evidence")
    with pytest.raises(InputError, match=r"there are: 10s\. Give --soft-windows 10s, or score again with --windows 2s"):
        store.refuse_without(2, "--soft-windows", windows_only=True)
    ScoreStore.write(tmp_path / "two.h5", IDS, CLASSES, {10: ARRAYS[5], 5: ARRAYS[5]})
    with pytest.raises(InputError, match=r"two\.h5: scale 'clip' is not there; there are: 10s, 5s"):
        ScoreStore.open(tmp_path / "two.h5").clip_scores()
    with pytest.raises(InputError, match="Give --evidence 10s or 5s, or score again with --windows clip"):
        ScoreStore.open(tmp_path / "two.h5").refuse_without("clip", "--evidence")
    ScoreStore.write(tmp_path / "imported.h5", IDS, CLASSES, {1.5: ARRAYS[5]}, {"imported_sha256": "a"})
    store = ScoreStore.open(tmp_path / "imported.h5")
    with pytest.raises(InputError, match=r"there are: 1\.5s. Give --evidence 1\.5s, or import scores of this scale"):
        store.refuse_without(2, "--evidence")
    with pytest.raises(InputError, match=r"there are: 1\.5s. Import scores of this scale"):
        store.scores(2)


def test_an_absent_scale_is_named(path):
    store = ScoreStore.open(path)
    for look in (store.scores, store.n_windows):
        with pytest.raises(InputError, match=r"scale '2s' is not there; there are: .*10s.* Score again with --windows"):
            look(2)


def test_numbers_of_real_windows_are_kept_where_clips_differ(tmp_path):
    arrays = {"5s": ARRAYS[5], "10s": ARRAYS[10]}
    shapes = {name: array.shape for name, array in arrays.items()}
    write_scores(tmp_path / "s.h5", ScoreLayout(IDS, CLASSES, shapes, {"5s": [1, 2, 1]}), iter([arrays]))
    store = ScoreStore.open(tmp_path / "s.h5")
    assert store.n_windows(5).tolist() == [1, 2, 1]
    assert store.n_windows(10).tolist() == [1, 1, 1]


def test_rows_and_columns_are_found_by_id(path):
    store = ScoreStore.open(path)
    assert store.rows(["-c", "a"]).tolist() == [2, 0]
    assert store.columns(["ü", "no", "/m/1"]).tolist() == [1, -1, 0]
    assert store.rows([]).dtype == store.columns([]).dtype == np.int64
    with pytest.raises(ClipMismatch, match="1 clips have no scores: x"):
        store.rows(["a", "x"])


def test_a_view_takes_other_ids_and_leaves_its_store_as_it_was(path):
    store = ScoreStore.open(path)
    view = pickle.loads(pickle.dumps(store.with_aliases({"a.wav": "a"}).with_aliases({"c": "-c"})))
    assert view.rows(["c", "a.wav", "a"]).tolist() == [2, 0, 0] and view.clip_ids == IDS
    assert not store.aliases and store.rows(["a"]).tolist() == [0]
    with pytest.raises(ClipMismatch, match=r"1 clips have no scores: a\.wav"):
        store.rows(["a.wav"])


def test_a_pickled_store_reads_the_same(path):
    store = ScoreStore.open(path)
    store.scores(5)
    copy = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.scores(5), ARRAYS[5])
    assert copy.rows(["日本"]).tolist() == [1]


def test_a_store_is_replaced_only_on_demand_and_two_writes_give_the_same_bytes(path):
    before = sha256(path)
    with pytest.raises(OutputExists):
        ScoreStore.write(path, IDS, CLASSES, ARRAYS)
    attributes = {"vocabulary": "two", "out_of_fold": True}
    ScoreStore.write(path, IDS, CLASSES, ARRAYS, attributes, overwrite=True)
    assert sha256(path) == before


def test_ids_of_variable_length_and_other_float_types_are_read(path):
    with h5py.File(path, "r+") as file:
        for name in ("clip_id", "class_id"):
            replace(file, name, [text.decode() for text in file[name][:].tolist()], dtype=h5py.string_dtype())
        replace(file, "scores_5s", file["scores_5s"][:].astype(">f4"))
        del file.attrs["tables_crc32"], file.attrs["attributes_crc32"]  # as stores that others make
    store = ScoreStore.open(path)
    assert (store.clip_ids, store.class_ids) == (IDS, CLASSES)
    np.testing.assert_array_equal(store.scores(5), ARRAYS[5])


def replace(file: h5py.File, name: str, value, **options) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=value, **options)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.attrs.__setitem__("format", "pseudolabel-clips"), "expected 'pseudolabel-scores' version 1"),
        (lambda file: file.attrs.__setitem__("format_version", 9), "version 9, expected"),
        *[
            (lambda file, name=name, value=value: file.attrs.__setitem__(name, value), "of another kind")
            for name, values in {"format": (3, ["pseudolabel-scores", "b"]), "format_version": ("x", [1, 2])}.items()
            for value in values
        ],
        (lambda file: replace(file, "class_id", np.bytes_(b"x")), "of another kind"),
        (lambda file: file.__delitem__("class_id"), "a part of the store is missing"),
        (lambda file: replace(file, "clip_id", fixed_length_text("aab")), "is listed twice"),
        (lambda file: replace(file, "class_id", fixed_length_text("xx")), "is listed twice"),
        (lambda file: replace(file, "clip_id", fixed_length_text("abcd")), "there are 4 clips and 2 classes"),
        (lambda file: replace(file, "scores_5s", answers(3, 2, 3)), r"scores_5s is float16\[3, 2, 3\]"),
        (lambda file: replace(file, "scores_5s", answers(3, 2)), r"scores_5s is float16\[3, 2\]"),
        (lambda file: replace(file, "scores_clip", answers(3, 1, 2)), r"scores_clip is float16\[3, 1, 2\]"),
        (lambda file: replace(file, "scores_5s", np.float16(1)), r"scores_5s is float16\[\]"),
        (lambda file: replace(file, "scores_5s", np.ones((3, 2, 2), int)), r"scores_5s is int64\[3, 2, 2\]"),
        (lambda file: replace(file, "scores_5s", np.ones((3, 2, 2), np.uint8)), "is uint8.* of scale 1.0"),
        (lambda file: file["scores_5s"].attrs.__setitem__("hop_s", 0.0), "hop_s of scores_5s is 0; it must be above 0"),
        (lambda file: file["scores_5s"].attrs.__setitem__("hop_s", np.nan), "hop_s of scores_5s is nan"),
        (lambda file: file["scores_5s"].attrs.__setitem__("hop_s", "x"), "of another kind"),
        (lambda file: replace(file, "clip_id", fixed_length_text(["a", "", "c"])), "a clip id is empty"),
        (lambda file: file.create_group("scores_7s"), "of another kind"),
        *[
            (
                lambda file, name=name: replace(file, f"scores_{name}", np.zeros((3, 1, 2), np.float16)),
                f"scores_{name} names neither the whole clip .scores_clip. nor the length of windows .scores_2s.",
            )
            for name in ("best", "10", "2.0s", "0s", "infs", "nans", "", "1_0s")
        ],
        (lambda file: replace(file, "n_windows_5s", [1, 2]), "n_windows_5s does not say how many of 2 windows 3 clips"),
        (lambda file: replace(file, "n_windows_5s", [1, 2, 3]), "n_windows_5s does not say"),
        (lambda file: replace(file, "n_windows_5s", [1, 0, 2]), "n_windows_5s does not say"),
        (lambda file: replace(file, "n_windows_5s", [1.0, 1.0, 2.0]), "n_windows_5s does not say"),
        (lambda file: replace(file, "n_windows_2s", [1, 1, 1]), "a part of the store is missing"),
    ],
)
def test_contradictory_stores_are_refused(path, damage, message):
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=message) as caught:
        ScoreStore.open(path)
    assert str(path) in str(caught.value)


def test_a_store_without_scores_is_refused(path):
    with h5py.File(path, "r+") as file:
        for name in [name for name in file if name.startswith("scores_")]:
            del file[name]
    with pytest.raises(InputError, match="no scores at any scale"):
        ScoreStore.open(path)


def test_clips_that_do_not_come_are_an_error_and_leave_no_store(tmp_path):
    with pytest.raises(InputError, match="2 clips came, 3 were announced"):
        write_scores(tmp_path / "s.h5", ScoreLayout(IDS, CLASSES, {"5s": (3, 2, 2)}), iter([{"5s": ARRAYS[5][:2]}]))
    assert not list(tmp_path.iterdir())


def test_windows_that_overlap_keep_their_hop(tmp_path):
    ScoreStore.write(tmp_path / "s.h5", IDS, CLASSES, {2: ARRAYS[5], 10: ARRAYS[10]}, hops_s={2: 1.0, 10: 10})
    store = ScoreStore.open(tmp_path / "s.h5")
    assert (store.hop_s(2), store.hop_s(10), store.hop_s("clip")) == (1.0, 10.0, 0.0)
    with h5py.File(tmp_path / "s.h5") as file:
        assert dict(file["scores_2s"].attrs) == {"hop_s": 1.0} and not dict(file["scores_10s"].attrs)


def test_a_window_that_begins_where_its_clip_has_ended_is_refused(tmp_path):
    ScoreStore.write(tmp_path / "s.h5", IDS, CLASSES, {2: answers(3, 5, 2)})
    store = ScoreStore.open(tmp_path / "s.h5")
    assert store.refuse_beyond({"a": 10.0, "-c": 8.01, "other": 1.0}) == 2
    with pytest.raises(InputError, match=r"clip '-c' of 8 s has 5 windows of 2s, the last from 8 s on \(1 such"):
        store.refuse_beyond({"a": 10.0, "-c": 8.0})


@pytest.mark.parametrize("wrong", [2.0, -0.5, np.nan, np.inf])
def test_a_score_outside_0_to_1_is_refused_when_its_row_is_read(tmp_path, wrong):
    array = answers(3, 2, 2)
    array[1, 1, 0] = wrong
    ScoreStore.write(tmp_path / "s.h5", IDS, CLASSES, {5: array})
    store = ScoreStore.open(tmp_path / "s.h5")
    np.testing.assert_array_equal(store.read(5, np.array([2, 0])), array[[2, 0]])
    with pytest.raises(InputError, match=f"clip '日本' has the score {wrong:g} of class '/m/1' at scale 5s"):
        store.read(5, np.array([0, 1]))


def replaced(path) -> None:
    ScoreStore.write(path, IDS, CLASSES, {"clip": answers(3, 2, seed=9), 5: answers(3, 2, 2, seed=8)}, overwrite=True)


def written_to(path) -> None:
    with open(path, "rb+") as file:
        file.truncate(file.seek(0, 2) - 8)


@pytest.mark.parametrize("change", [replaced, written_to, lambda path: path.unlink()])
def test_a_store_that_was_replaced_while_open_is_noticed_when_it_is_read(path, change):
    store = ScoreStore.open(path)
    mapped, part = store.scores(5), store.scores(5)[1:]
    change(path)
    for read in (lambda: mapped[0], lambda: part[0], lambda: store.clip_scores(), lambda: store.verify()):
        with pytest.raises(InputError, match=r"scores\.h5: was replaced, changed or removed after it was opened"):
            read()


def test_a_forked_reader_notices_that_the_store_was_replaced(path):
    import multiprocessing

    store, context = ScoreStore.open(path), multiprocessing.get_context("fork")
    mapped, errors = store.scores(5), context.SimpleQueue()

    def read_later() -> None:
        try:
            errors.put(str(mapped[0]))
        except InputError as error:
            errors.put(f"refused: {error}")

    replaced(path)
    process = context.Process(target=read_later)
    process.start()
    process.join(60)
    assert errors.get().startswith("refused: ")


@pytest.mark.parametrize("options", [{"chunks": True}, {"compression": "gzip"}])
def test_packed_scores_are_read_as_those_that_are_not(path, options):
    with h5py.File(path, "r+") as file:
        replace(file, "scores_5s", ARRAYS[5], **options)
    store = ScoreStore.open(path)
    np.testing.assert_array_equal(store.scores(5), ARRAYS[5])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).scores(5)[[2, 0]], ARRAYS[5][[2, 0]])
    assert store.verify()


def test_packed_scores_that_the_disk_has_no_room_for_are_refused(path, monkeypatch):
    with h5py.File(path, "r+") as file:
        replace(file, "scores_5s", ARRAYS[5], compression="gzip")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 23}))
    with pytest.raises(InputError, match="scores_5s unpacks to 24 bytes, more than "):
        ScoreStore.open(path).scores(5)
