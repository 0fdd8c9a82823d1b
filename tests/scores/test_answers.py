"""Imported scores are in the store under their ids, and files that are wrong in any way are refused."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores import arrays
from pseudolabel.scores.answers import open_answers, read_classes, read_ids
from pseudolabel.scores.importing import Part, check_import, import_scores
from pseudolabel.scores.store import ScoreStore

CLASSES = ("/m/1", "/m/2", "/m/3")
VOCABULARY = Vocabulary("three", CLASSES, ("Cat, meow", "Dog", "Rain"), CLASSES)
IDS = ("a", "-b", "é", "d")
SCORES = np.random.default_rng(5).random((4, 3)).astype(np.float32)
WINDOWS = np.random.default_rng(6).random((4, 5, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ids.txt").write_text("".join(f"{clip_id}\n" for clip_id in IDS), encoding="utf-8")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    return tmp_path


def write(path, array, **options):
    """Write an array as the ending of the path says."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, scores=array)
    elif path.suffix == ".csv":
        rows = [",".join([clip_id, *map(repr, map(float, row))]) for clip_id, row in zip(IDS, array, strict=True)]
        path.write_text("\n".join([",".join(["clip_id", *CLASSES]), *rows]) + "\n", encoding="utf-8")
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("deep/scores", data=array, **options)
    return path


def opened(path, dataset=None):
    names = (None, None) if path.suffix == ".csv" else (path.parent / "ids.txt", path.parent / "classes.txt")
    return open_answers(path, *names, VOCABULARY, dataset)


def stored(path, window_s=None, **options) -> ScoreStore:
    out = path.with_name("scores.h5")
    import_scores([Part(opened(path, **options), window_s)], out, {"model": "theirs"}, overwrite=True)
    return ScoreStore.open(out)


def refused(path, window_s=None, dataset=None) -> str:
    """Return the one line that says what is wrong; nothing may have been written."""
    with pytest.raises(InputError) as caught:
        import_scores([Part(opened(path, dataset), window_s)], path.with_name("scores.h5"))
    assert "\n" not in str(caught.value)
    assert not path.with_name("scores.h5").exists()
    return str(caught.value)


@pytest.mark.parametrize("name", ["p.npy", "p.npz", "p.csv", "p.h5", "p.hdf5"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f8"])
def test_every_kind_of_file_gives_the_same_store(folder, name, dtype):
    store = stored(write(folder / name, SCORES.astype(dtype)))
    assert (store.clip_ids, store.class_ids, store.scales) == (IDS, CLASSES, ("clip",))
    np.testing.assert_array_equal(store.clip_scores(), SCORES.astype(dtype).astype(np.float32))
    assert store.attributes["model"] == "theirs"


@pytest.mark.parametrize("name", ["p.npy", "p.h5"])
def test_three_axes_are_the_windows_of_the_length_that_is_given(folder, name):
    path = write(folder / name, WINDOWS)
    store = stored(path, 2)
    assert store.scales == ("2s",)
    np.testing.assert_array_equal(store.scores(2), WINDOWS.astype(np.float16))
    (folder / "scores.h5").unlink()
    assert refused(path).startswith("--window-s: p") and "5 windows a clip" in refused(path)
    assert "no windows" in refused(write(folder / name, SCORES), 2)


@settings(max_examples=20)
@given(
    n=st.integers(1, 9), w=st.integers(0, 3), block=st.integers(1, 200), order=st.sampled_from("CF"), kind=st.booleans()
)
def test_any_size_of_block_and_order_of_axes_gives_the_same_scores(tmp_path_factory, n, w, block, order, kind):
    folder = tmp_path_factory.mktemp("blocks")
    (folder / "ids.txt").write_text("\n".join(f"c{row}" for row in range(n)))
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    array = np.asarray(np.random.default_rng(n).random((n, w, 3) if w else (n, 3)), order=order)
    path = write(folder / ("p.npy" if kind else "p.h5"), array)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(arrays, "BLOCK_BYTES", block)
        store = stored(path, 5 if w else None)
    expected = array.reshape(n, -1, 3).astype(np.float16 if w else np.float32)
    np.testing.assert_array_equal(store.scores(5 if w else "clip"), expected)


def test_no_block_is_larger_than_it_may_be(folder, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 2 * 3 * 8)
    for name in ("p.npy", "p.npz", "p.h5", "p.csv"):
        sizes = [len(block) for block in opened(write(folder / name, SCORES.astype(np.float64))).blocks()]
        assert sizes == [2, 2]


# ---- scores -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.npy", "p.csv", "p.h5"])
@pytest.mark.parametrize(
    ("value", "remedy"),
    [(1.5, "apply the sigmoid"), (-0.25, "apply the sigmoid"), (np.nan, "Leave clips"), (np.inf, "Leave clips")],
)
def test_a_score_outside_0_to_1_names_clip_class_and_value(folder, monkeypatch, name, value, remedy):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1)  # it does not stand in the first block
    wrong = SCORES.copy()
    wrong[2, 1] = value
    line = refused(write(folder / name, wrong))
    assert f"p{name[1:]}, clip 'é': the score {value:g} of class '/m/2' is not in [0, 1]" in line and remedy in line


def test_a_wrong_score_of_a_window_names_the_window(folder):
    wrong = WINDOWS.copy()
    wrong[1, 3, 0] = 7
    assert "clip '-b', window 3: the score 7 of class '/m/1'" in refused(write(folder / "p.npy", wrong), 2)


@pytest.mark.parametrize("name", ["p.npy", "p.h5"])
def test_only_floating_point_arrays_of_two_or_three_axes_are_taken(folder, name):
    path = folder / name
    assert "holds uint8, not floating-point numbers" in refused(write(path, np.ones((4, 3), np.uint8)))
    assert "holds complex64" in refused(write(path, np.ones((4, 3), np.complex64)))
    assert "the shape [4]" in refused(write(path, SCORES[:, 0]), dataset=None if name == "p.npy" else "deep/scores")
    assert "[4, 3]; --ids names 4" not in refused(write(path, SCORES[:0]))


@pytest.mark.parametrize("array", [SCORES[:3], SCORES[:, :2], SCORES.T, WINDOWS[:, :, :2], WINDOWS.transpose(0, 2, 1)])
def test_rows_and_columns_must_be_as_many_as_their_ids(folder, array):
    line = refused(write(folder / "p.npy", array), 2 if array.ndim == 3 else None)
    assert f"{list(array.shape)}; --ids names 4 clips, --classes 3 classes" in line


# ---- files ------------------------------------------------------------------------------------------------------


def test_a_pickle_is_never_opened(folder):
    class Mine:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was opened",))

    np.save(folder / "p.npy", np.array([[Mine()] * 3] * 4, dtype=object), allow_pickle=True)
    assert "holds object, not floating-point numbers" in refused(folder / "p.npy")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(folder):
    path = write(folder / "p.npy", SCORES)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"\0", whole.replace(b"(4, 3)", b"(4, 9)")):
        path.write_bytes(damaged)
        assert "its header claims [4, " in refused(path)
    path.write_bytes(whole.replace(b"(4, 3), }", b"(10**15, 3), }"))
    assert "not a readable .npy file" in refused(path)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 3), }"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert "24,000,000,000,000,000 bytes; it holds 0" in refused(path)


@pytest.mark.parametrize("options", [{"chunks": (1, 3)}, {"chunks": (2, 3), "compression": "gzip"}])
def test_chunked_and_packed_data_sets_are_read(folder, options):
    np.testing.assert_array_equal(stored(write(folder / "p.h5", SCORES, **options)).clip_scores(), SCORES.astype("f4"))


def test_a_data_set_that_claims_more_than_is_stored_is_refused(folder):
    for options in ({}, {"chunks": (64, 3)}, {"chunks": (64, 3), "compression": "gzip"}):
        with h5py.File(folder / "p.h5", "w") as file:
            file.create_dataset("scores", (10**9, 3), "f4", fillvalue=0.5, **options)
        assert "claims [1000000000, 3], 12,000,000,000 bytes; 0 are stored" in refused(folder / "p.h5")


def test_values_that_lie_in_other_files_are_refused(folder):
    write(folder / "other.h5", SCORES)
    with h5py.File(folder / "p.h5", "w") as file:
        file["scores"] = h5py.ExternalLink("other.h5", "deep/scores")
    assert "two or three axes: none" in refused(folder / "p.h5")
    assert "no data set 'scores'" in refused(folder / "p.h5", dataset="scores")
    with h5py.File(folder / "p.h5", "w") as file:
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource(folder / "other.h5", "deep/scores", (4, 3))
        file.create_virtual_dataset("scores", layout)
    assert "its values are in other files" in refused(folder / "p.h5")


def test_one_of_several_data_sets_must_be_named(folder):
    with h5py.File(write(folder / "p.h5", SCORES), "r+") as file:
        file["student"], file["epochs"] = SCORES / 2, np.arange(5)
    assert "two or three axes: deep/scores, student. Name one by --dataset." in refused(folder / "p.h5")
    assert "no data set 'teacher'" in refused(folder / "p.h5", dataset="teacher")
    np.testing.assert_array_equal(stored(folder / "p.h5", dataset="/student").clip_scores(), (SCORES / 2).astype("f4"))


def test_npz_files_that_are_not_as_numpy_writes_them_are_refused(folder):
    path = folder / "p.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("scores.npy", npy_bytes(SCORES))
    assert "packed in a way that NumPy does not use" in refused(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("scores.npy", npy_bytes(SCORES)[:-4])
    assert "its header claims [4, 3] float32, 48 bytes; it holds 44" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "none")
    assert "data sets of two or three axes: none" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("scores.npy", b"\x93NUMPY\2\0\xff\xff\xff\xff{'descr'")
    assert "p.npz, scores: not a readable .npy file" in refused(path)
    np.savez_compressed(path, scores=np.zeros((4, 1 << 20, 3), np.float32))
    whole = bytearray(path.read_bytes())
    at = whole.rindex(b"PK\1\2") + 24  # where the list of members says how long the array is
    assert int.from_bytes(whole[at : at + 4], "little") == 4 * (1 << 20) * 3 * 4 + 128
    whole[at : at + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(whole)
    assert "it claims 4,294,967,280 bytes; " in refused(path, 2)


def npy_bytes(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array)
    return held.getvalue()


def test_other_kinds_of_files_are_refused(folder):
    assert "no such file" in refused(folder / "gone.npy")
    for name, line in {"p.mat": "cannot be read from .mat", "p": "a file without ending"}.items():
        (folder / name).write_bytes(b"PK")
        assert line in refused(folder / name)
    for name in ("p.npy", "p.npz", "p.h5"):
        (folder / name).write_bytes(b"\x89 nothing of the kind")
        assert "not a readable" in refused(folder / name)
    names = folder / "ids.txt", folder / "classes.txt"
    path = write(folder / "p.npy", SCORES)
    for option, arguments in {
        "--ids: p.npy holds no clip ids": (path, None, names[1], VOCABULARY),
        "--classes: p.npy holds no class ids": (path, names[0], None, VOCABULARY),
        "--ids: p.csv names its clips itself": (write(folder / "p.csv", SCORES), names[1], names[1], VOCABULARY),
        "--dataset: p.npy has no data sets": (path, *names, VOCABULARY, "scores"),
    }.items():
        with pytest.raises(InputError, match=option):
            open_answers(*arguments)


@pytest.mark.parametrize("name", ["p.npy", "p.npz", "p.h5", "p.csv"])
def test_damaged_copies_are_refused_or_give_right_answers(folder, name):
    """A damaged copy may still hold scores in [0, 1] for these ids: then the store has what the file says."""
    whole, draw = write(folder / name, SCORES).read_bytes(), random.Random(name)
    n_refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(draw.choice((1, 3))):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        if draw.random() < 0.3:
            del damaged[draw.randrange(len(damaged)) :]
        (folder / name).write_bytes(damaged)
        try:
            store = stored(folder / name)
        except InputError as error:
            assert "\n" not in str(error)
            n_refused += 1
        else:
            found = store.clip_scores().astype(np.float64)
            assert len(set(store.clip_ids)) == len(found) and ((found >= 0) & (found <= 1)).all()
    assert n_refused > 10


# ---- tables -----------------------------------------------------------------------------------------------------


def test_a_table_may_name_its_classes_by_their_names(folder):
    path = folder / "p.csv"
    path.write_text('clip_id,Rain,"Cat, meow",/m/9\nx.wav,0.1,0.2,0.3\ny,1,0,5e-1\n')
    answers = opened(path)
    assert answers.class_ids == ("/m/3", "/m/1", "/m/9") and answers.clip_ids == ("x.wav", "y")
    assert np.concatenate(list(answers.blocks())).tolist() == [[0.1, 0.2, 0.3], [1.0, 0.0, 0.5]]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "p.csv: the file is empty. Give the header clip_id and the classes"),
        ("sound,/m/1\na,.5\n", "--ids: p.csv holds no clip ids. Give the file that names them in its order"),
        ("clip_id\na\n", "p.csv:1: no column of scores; columns found: clip_id"),
        ("clip_id,/m/1\n", "p.csv: names no clip"),
        ("clip_id,/m/1,Dog,dog\na,0,0,0\n", "p.csv:1, column 4: class '/m/2' is listed twice, first at"),
        ("clip_id,/m/1,\na,0,0\n", "p.csv:1, column 3: the class id '' is empty"),
        ("clip_id,/m/1,clip_id\na,0,0\n", "p.csv:1: column 'clip_id' is listed twice"),
        ("clip_id,/m/1\na,0\nb,0\na,1\n", "p.csv:4: clip 'a' is listed twice, first at"),
        ("clip_id,/m/1\na,0\n,1\n", "p.csv:3: the clip id '' is empty"),
        ("clip_id,/m/1\na,0\nb,0,0\n", "p.csv:3: row has 3 columns, the header 2"),
        ("clip_id,/m/1\na,0\nb,high\n", "p.csv:3, column '/m/1': a score is not a number: 'high'. Give numbers"),
        ("clip_id,/m/1\na,\n", "p.csv:2, column '/m/1': a score is empty. Give a score of every class"),
        ("clip_id\t/m/1\na\t0,5\n", "a score is not a number: '0,5'. Write decimals with a point: 0.5."),
        ('clip_id,/m/1\na,"0,5"\n', "a score is not a number: '0,5'. Write decimals with a point: 0.5."),
        ('clip_id,/m/1\na,"0\n', "p.csv:"),
        ("clip_id,/m/1\n\xff,0\n".encode("latin-1"), "p.csv:2: not UTF-8 text"),
    ],
)
def test_tables_that_are_wrong_are_refused_with_the_place(folder, text, line):
    (folder / "p.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert line in refused(folder / "p.csv")


def test_an_entry_of_a_json_list_that_is_no_id_is_named(tmp_path):
    (tmp_path / "ids.json").write_text('["a", "b", 3]')
    with pytest.raises(InputError, match=r"ids\.json, entry 3: 3 is not a text, .* Write ids as texts\."):
        read_ids(tmp_path / "ids.json")


# ---- ids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("a\n-b\n\nc", ("a", "-b", "c")),
        ("clip_id\na\nb\n", ("a", "b")),
        ("audio/a.wav\r\naudio/b.wav\r\n", ("a", "b")),
        ("a/x\nb/x\n", ("a/x", "b/x")),
        ("clip_id\na/x\nb/x.wav\n", ("a/x", "b/x.wav")),
        ("filename\na/x\nb/y.wav\n", ("x", "y")),
        ("list,clip_id,reason\nx,a.wav,\nx,b,none\n", ("a.wav", "b")),
        ("clip_id,labels\nb,/m/1;/m/2\na,\n", ("b", "a")),
        ('# comment\n-b, 0.000, 10.000, "/m/1,/m/2"\na, 0.000, 10.000, "/m/1"\n', ("-b", "a")),
        ("filename\tonset\toffset\tevent_label\nb.wav\t0\t1\tDog\na.wav\t0\t1\tDog\nb.wav\t2\t3\tDog\n", ("b", "a")),
    ],
)
def test_ids_come_one_a_line_or_from_a_list_of_any_form(tmp_path, text, ids):
    (tmp_path / "ids").write_text(text)
    assert read_ids(tmp_path / "ids") == ids


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\na\n", "ids:3: clip 'a' is listed twice, first at"),
        ("a/x.wav\nb/x.wav\n", "Each must be distinct. Under the heading clip_id, folders and endings are kept."),
        ("a.wav\na.flac\n", "ids:2: clip 'a' is listed twice"),
        ("a\nb,c\n", "ids:2: row has 2 columns, those before it one"),
        ("a\n  \nb\n", "ids:2: the clip id '' is empty"),
        ("clip_id\n", "ids: names no clip"),
        ("clip_id,labels\na,\na,\n", "ids:3: clip 'a' is listed twice"),
    ],
)
def test_ids_that_are_not_distinct_or_missing_are_refused(tmp_path, text, line):
    (tmp_path / "ids").write_text(text)
    with pytest.raises(InputError) as caught:
        read_ids(tmp_path / "ids")
    assert line in str(caught.value)


@pytest.mark.parametrize(
    ("text", "class_ids"),
    [
        ("/m/3\n/m/1\n/m/9\n", ("/m/3", "/m/1", "/m/9")),
        ("class_id\nRain\nDog\n", ("/m/3", "/m/2")),
        ("Cat, meow\nDog\n", ("/m/1", "/m/2")),
        ("class_id,name\n/m/7,Wind\n/m/1,Cat\n", ("/m/7", "/m/1")),
        ('index,mid,display_name\n0,/m/7,"Wind"\n1,/m/1,"Cat, meow"\n', ("/m/7", "/m/1")),
        ("0,Wind,/m/7\n1,Cat,/m/1\n", ("/m/7", "/m/1")),
    ],
)
def test_classes_come_one_a_line_or_from_a_vocabulary_in_its_order(tmp_path, text, class_ids):
    (tmp_path / "classes").write_text(text)
    assert read_classes(tmp_path / "classes", VOCABULARY) == class_ids


def test_built_in_vocabularies_are_classes_too():
    assert read_classes("audioset", VOCABULARY) == Vocabulary.load("audioset").class_ids


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/m/1\nDog\n/m/2\n", "classes:3: class '/m/2' is listed twice, first at"),
        ("\n", "classes: names no class"),
        ("Wolf, howl\nDog\n", "column 'class_id' is missing"),
        (b"\xff\n", "classes:1: not UTF-8 text"),
    ],
)
def test_classes_that_are_not_distinct_or_unreadable_are_refused(tmp_path, text, line):
    (tmp_path / "classes").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read_classes(tmp_path / "classes", VOCABULARY)
    assert line in str(caught.value)


def test_a_check_reads_only_the_first_block_of_a_large_array(folder, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 1)  # a block a row
    late = SCORES.copy()
    late[3, 0] = 2
    part = Part(opened(write(folder / "late.npy", late)))
    check_import([part], most_bytes=0)
    with pytest.raises(InputError, match="the score 2 of class"):
        check_import([part])
    part = Part(opened(write(folder / "early.npy", late[::-1])))
    with pytest.raises(InputError, match="the score 2 of class"):
        check_import([part], most_bytes=0)
