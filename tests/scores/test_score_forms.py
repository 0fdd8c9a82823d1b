"""Scores in the files that people have: every form gives the same clips, classes and values, or one clear line."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudolabel.errors import InputError
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores import arrays
from pseudolabel.scores.answers import open_answers, read_classes, read_ids

CLASSES = ("/m/1", "/m/2", "/m/3")
NAMES = ("Cat, meow", "Dog", "Rain")
VOCABULARY = Vocabulary("three", CLASSES, NAMES, CLASSES)
IDS = ("c1", "c2")
SCORES = np.array([[0.5, 0.25, 0.125], [0.75, 0, 1]], np.float32)
WINDOWS = np.stack([SCORES, SCORES / 2], axis=1)  # (clips, windows, classes)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("ids.txt").write_text("c1\nc2\n")
    Path("classes.txt").write_text("\n".join(NAMES))
    return tmp_path


def opened(name, *options, dataset=None):
    """Return the clips, classes and scores of a file; options: `ids`, `classes`."""
    lists = {"ids": "ids.txt", "classes": "classes.txt"}
    named = [lists[option] if option in options else None for option in lists]
    answers = open_answers(Path(name), *named, VOCABULARY, dataset)
    return answers.clip_ids, answers.class_ids, np.concatenate(list(answers.blocks())).tolist()


def refused(name, *options, dataset=None) -> str:
    with pytest.raises(InputError) as caught:
        opened(name, *options, dataset=dataset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


EXPECTED = (IDS, CLASSES, SCORES.tolist())
BOTH = ("ids", "classes")

# ---- text -------------------------------------------------------------------------------------------------------

HEADED = 'clip_id,"Cat, meow",Dog,Rain\nc1,.5,.25,.125\nc2,.75,0,1\n'
PLAIN = "0.5,0.25,0.125\n0.75,0,1\n"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (HEADED, ()),
        ("\ufeff" + HEADED.replace("\n", "\r\n"), ()),
        (HEADED.replace("clip_id", "Filename").replace("c1", "audio/c1.wav"), ()),
        (HEADED, BOTH),  # the lists say the same
        ("/m/1\t/m/2\t/m/3\tfname\n.5\t.25\t.125\tc1.wav\n.75\t0\t1\tc2.wav\n", ()),
        ("id,file,/m/1,/m/2,/m/3\n0,c1.wav,.5,.25,.125\n1,c2.wav,.75,0,1\n", ()),
        (",filename,/m/1,/m/2,/m/3\n0,c1.wav,.5,.25,.125\n1,c2.wav,.75,0,1\n", ()),
        (",/m/1,/m/2,/m/3\nc1,.5,.25,.125\nc2,.75,0,1\n", ()),  # pandas, the ids as index
        (",/m/1,/m/2,/m/3\n0,.5,.25,.125\n1,.75,0,1\n", ("ids",)),
        ("/m/1;/m/2;/m/3\n.5;.25;.125\n.75;0;1\n", ("ids",)),
        (",0,1,2\nc1,.5,.25,.125\nc2,.75,0,1\n", ("classes",)),
        (",0,1,2\n0,.5,.25,.125\n1,.75,0,1\n", BOTH),
        ("0,1,2\n.5,.25,.125\n.75,0,1\n", BOTH),
        ("clip_id,2,0,1\nc1,.125,.5,.25\nc2,1,.75,0\n", ("classes",)),
        ("c1.wav,.5,.25,.125\nc2.wav,.75,0,1\n", ("classes",)),
        ("c1.wav .5 .25 .125\nc2.wav .75 0 1\n", ("classes",)),
        ("clip_id , /m/1 , Dog , Rain\nc1 , .5 , .25 , .125\nc2 , .75 , 0 , 1\n", ()),
        (PLAIN, BOTH),
        (PLAIN.replace(",", "\t"), BOTH),
        (PLAIN.replace(",", ";"), BOTH),
        (PLAIN.replace(",", " "), BOTH),
        (f"# 3 classes, 2 clips\n{PLAIN.replace(',', ' ')}# end\n", BOTH),
        ("  5.000e-01   2.500e-01 1.25e-1\n  7.5e-01 0 1\n", BOTH),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".TSV", ".txt", ".csv.gz", ".tsv.xz"])
def test_a_table_is_read_however_it_was_written(here, text, options, ending):
    name = f"p{ending}"
    packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)
    Path(name).write_bytes(packed(text.encode()))
    ids, classes, scores = opened(name, *options)
    assert dict(zip(classes, np.transpose(scores).tolist(), strict=True)) == dict(
        zip(CLASSES, SCORES.T.tolist(), strict=True)
    )
    assert ids == IDS


@pytest.mark.parametrize("delimiter", [" ", ",", "\t"])
@pytest.mark.parametrize("header", ["", "Cat,Dog,Rain"])
def test_what_savetxt_writes_is_read(here, delimiter, header):
    np.savetxt("p.txt", SCORES, delimiter=delimiter, header=header)
    assert opened("p.txt", *BOTH) == EXPECTED


def test_numbers_are_the_ids_of_clips_where_nothing_else_names_them(here):
    Path("p.csv").write_text("fname,/m/1\n0,.5\n1,.25\n")
    assert opened("p.csv")[0] == ("0", "1")


def test_a_second_column_of_ids_is_named_as_not_read(here, capsys):
    Path("p.csv").write_text("filename,clip_id,/m/1\nx.wav,c1,.5\ny.wav,c2,.25\n")
    assert opened("p.csv")[0] == IDS
    assert capsys.readouterr().err == "p.csv: scores; not read: filename\n"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("clip_id,0,1,2\nc1,.5,.25,.125\n", (), "--classes: p.csv numbers its classes, 0 to 2. Give the file"),
        ("clip_id,0,1\nc1,.5,.25\n", ("classes",), "p.csv: p.csv has 2 columns, --classes 3 classes"),
        ("sound,/m/1\nc1,.5\n", (), "--ids: p.csv holds no clip ids"),
        ("sound,/m/1\nc1,.5\nc2,.5\n", ("ids",), "p.csv:2, column 'sound': a score is not a number: 'c1'"),
        ("clip_id,split,/m/1\nc1,train,.5\n", (), "p.csv:2, column 'split': a score is not a number: 'train'"),
        ("clip_id,/m/1,/m/2,/m/3\nc2,0,0,0\nc1,0,0,0\n", BOTH, "--ids: p.csv names its clips itself, in another"),
        ("clip_id,/m/1,/m/2,/m/3\nc8,0,0,0\nc9,0,0,0\n", BOTH, "--ids: p.csv names its clips itself (clip_id). Omit"),
        (
            "0,5;0,25;0,125\n0,75;0;1\n",
            BOTH,
            "p.csv:1: columns are separated by semicolons, and commas are in the fields",
        ),
        ("c1;0,5;0,25;1\nc2;0,75;0;1\n", BOTH, "p.csv:1: columns are separated by semicolons, and commas"),
        ("clip_id,/m/3,/m/2,/m/1\nc1,0,0,0\n", ("classes",), "--classes: p.csv names its classes itself, in another"),
    ],
)
def test_tables_that_do_not_say_what_is_what_are_refused(here, text, options, said):
    Path("p.csv").write_text(text)
    assert said in refused("p.csv", *options)


# ---- Parquet ----------------------------------------------------------------------------------------------------


def wide(**columns) -> dict:
    return columns | dict(zip(CLASSES, SCORES.T, strict=True))


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (wide(clip_id=list(IDS)), ()),
        (wide(clip_id=pa.array(IDS).dictionary_encode()), ()),
        (wide(clip_id=pa.array(IDS, pa.large_string())), BOTH),
        (wide(__index_level_0__=["c1.wav", "c2.wav"]), ()),
        (wide(__index_level_0__=[0, 1], filename=["c1.wav", "c2.wav"]), ()),
        (wide(id=[0, 1], filename=["a/c1.wav", "a/c2.wav"]), ()),
        (wide(), ("ids",)),
        ({"video_id": list(IDS), "0": SCORES[:, 0], "1": SCORES[:, 1], "2": SCORES[:, 2]}, ("ids", "classes")),
        ({"clip_id": list(IDS), "0": SCORES[:, 0], "1": SCORES[:, 1], "2": SCORES[:, 2]}, ("classes",)),
        ({"clip_id": list(IDS), "scores": SCORES.tolist()}, ("classes",)),
        ({"scores": pa.FixedSizeListArray.from_arrays(pa.array(SCORES.ravel()), 3), "id": ["c1", "c2"]}, ("classes",)),
        (
            {"clip_id": list(IDS), "p": pa.array(SCORES.tolist(), pa.large_list(pa.float32())), "n": [3, 3]},
            ("classes",),
        ),
    ],
)
def test_parquet_is_read_with_a_column_for_each_class_or_one_of_lists(here, table, options):
    pq.write_table(pa.table(table), "p.parquet")
    assert opened("p.parquet", *options) == EXPECTED


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_parquet_of_any_float_in_blocks_of_any_size(here, monkeypatch, kind):
    table = {"clip_id": list(IDS)} | {name: pa.array(column).cast(kind) for name, column in wide().items()}
    pq.write_table(pa.table(table), "p.parquet", row_group_size=1)
    for size in (1, 24, 1000):
        monkeypatch.setattr(arrays, "BLOCK_BYTES", size)
        assert opened("p.parquet") == EXPECTED


def test_parquet_of_windows(here):
    pq.write_table(pa.table({"clip_id": list(IDS), "scores": WINDOWS.tolist()}), "p.parquet")
    ids, classes, scores = opened("p.parquet", "classes")
    assert (ids, classes) == (IDS, CLASSES) and scores == WINDOWS.tolist()


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ({"clip_id": list(IDS)}, (), "p.parquet: columns of lists of scores: none; columns of scores: none. It needs"),
        (wide(fold=[1, 2]), ("ids",), "p.parquet: columns of whole numbers, not scores: fold. Remove them"),
        ({"clip_id": ["c1", "c2"], "a": SCORES.tolist(), "b": SCORES.tolist()}, BOTH, "lists of scores: a, b; columns"),
        (
            {"clip_id": ["c1", "c2"], "a": [[0.5] * 3, [0.5]]},
            ("classes",),
            "p.parquet, row 2: a list of 1 values; those",
        ),
        ({"clip_id": ["c1", "c2"], "a": [[0.5] * 3, None]}, ("classes",), "p.parquet, row 2: a list of 0 values"),
        ({"clip_id": ["c1", "c2"], "a": [None, [0.5] * 3]}, ("classes",), "p.parquet: the array has the shape [2, 0]"),
        ({"clip_id": ["c1", None], "a": SCORES.tolist()}, ("classes",), "p.parquet, row 2: the clip id '' is empty"),
        ({"clip_id": ["c1", "c1"], "a": SCORES.tolist()}, ("classes",), "p.parquet, row 2: clip 'c1' is listed twice"),
        ({"clip_id": ["c1", "c2"], "a": SCORES.tolist()}, (), "--classes: p.parquet holds no class ids"),
    ],
)
def test_parquet_that_is_wrong_is_refused(here, table, options, said):
    pq.write_table(pa.table(table), "p.parquet")
    assert said in refused("p.parquet", *options)


def test_one_column_of_lists_may_be_named(here, capsys):
    pq.write_table(pa.table({"id": list(IDS), "a": SCORES.tolist(), "b": (SCORES / 2).tolist()}), "p.parquet")
    assert opened("p.parquet", "classes", dataset="b")[2] == (SCORES / 2).tolist()
    assert capsys.readouterr().err == "p.parquet: scores b; not read: a\n"
    assert "no column 'c'; columns of lists of scores: a, b" in refused("p.parquet", "classes", dataset="c")
    Path("p.parquet").write_bytes(b"PAR1 nothing of the kind PAR1")
    assert "p.parquet: cannot be read as Parquet" in refused("p.parquet", "classes")


# ---- ids inside .npz and HDF5 -----------------------------------------------------------------------------------


def held(name, **arrays_) -> str:
    if name.endswith(".npz"):
        np.savez(name, **arrays_)
    else:
        with h5py.File(name, "w") as file:
            for key, value in arrays_.items():
                file[key] = np.char.encode(value, "utf-8") if np.asarray(value).dtype.kind == "U" else value
    return name


@pytest.mark.parametrize("name", ["p.npz", "p.h5", "p.hdf5"])
@pytest.mark.parametrize(
    "key", ["ids", "clip_id", "filename", "Filenames", "audio_name", "names", "fnames", "paths", "video_ids"]
)
@pytest.mark.parametrize("kind", [np.str_, np.bytes_])
def test_ids_inside_are_found_by_their_name_and_said(here, capsys, name, key, kind):
    written = IDS if key == "clip_id" else ("a/c1.wav", "a/c2.wav")
    held(name, scores=SCORES, **{key: np.array(written).astype(kind)})
    assert opened(name, "classes") == EXPECTED
    assert capsys.readouterr().err == f"{name}: scores scores, clips {key}\n"


def test_ids_of_any_length_in_hdf5_and_numbers_as_ids(here):
    with h5py.File("p.h5", "w") as file:
        file["scores"], file["class_names"] = SCORES, list(NAMES)  # texts of any length
        file["filename"] = ["c1.wav", "c2.wav"]
    assert opened("p.h5") == EXPECTED
    held("p.npz", scores=SCORES, ids=np.array([64760, 16399]), index=np.arange(2), id=np.arange(2))
    assert opened("p.npz", "classes")[0] == ("64760", "16399")
    held("p.npz", scores=SCORES, ids=np.arange(2))
    assert "--ids: p.npz holds no clip ids" in refused("p.npz", "classes")


@pytest.mark.parametrize("name", ["p.npz", "p.h5"])
def test_what_panns_writes_is_read(here, capsys, name):
    names = np.array([b"Yc1.wav", b"Yc2.wav"])
    held(
        name,
        audio_name=names,
        target=SCORES > 0.5,
        waveform=np.zeros((2, 5), np.int16),
        clipwise_output=SCORES,
        embedding=np.zeros((2, 8), np.float32),
    )
    assert opened(name, "classes") == (("Yc1", "Yc2"), CLASSES, SCORES.tolist())
    assert capsys.readouterr().err == f"{name}: scores clipwise_output, clips audio_name\n"


def test_pandas_fixed_format_is_read(here):
    """As `DataFrame.to_hdf` writes it: values, columns and index in one group."""
    with h5py.File("p.h5", "w") as file:
        group = file.create_group("scores")
        group["axis0"], group["axis1"] = np.char.encode(NAMES), np.char.encode(["c1.wav", "c2.wav"])
        group["block0_items"], group["block0_values"] = np.char.encode(NAMES), SCORES
    assert opened("p.h5") == EXPECTED


def test_lists_beside_ids_inside(here, capsys):
    held("p.npz", scores=SCORES, names=np.array(["c2", "c1"]))
    assert "--ids: p.npz names its clips itself, in another order (names). Omit it." in refused("p.npz", *BOTH)
    held("p.npz", scores=SCORES, names=np.array(["Ann", "Ben"]))
    line = refused("p.npz", *BOTH)
    assert "--ids: p.npz names its clips itself (names). Omit it, or remove names from the file." in line
    held("p.npz", scores=SCORES, id=np.array([17, 12]))  # numbers may count something else
    assert opened("p.npz", *BOTH) == EXPECTED
    assert "p.npz: id is not read; --ids is given" in capsys.readouterr().err
    held("p.npz", scores=SCORES, names=np.array(["Ann", "Ben", "Cid"]))  # of something else
    assert opened("p.npz", *BOTH) == EXPECTED


def test_names_that_numpy_pickled_are_never_opened(here):
    np.savez("p.npz", scores=SCORES, names=np.array(["c1", "c2"], dtype=object))
    line = refused("p.npz", "classes")
    assert "--ids: p.npz holds no clip ids" in line
    assert "names holds pickled objects, which are not opened: save it as numpy.array(names, dtype=str)." in line


def test_several_arrays_of_scores_need_a_name(here):
    held("p.npz", clipwise_output=SCORES, framewise_output=WINDOWS, ids=np.array(IDS))
    assert "two or three axes: clipwise_output, framewise_output. Name one by --dataset" in refused("p.npz", "classes")
    assert opened("p.npz", "classes", dataset="clipwise_output") == EXPECTED
    held("p.npz", logits=SCORES * 9, probs=SCORES, ids=np.array(IDS))
    assert opened("p.npz", "classes") == EXPECTED


# ---- arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.npy", "p.npz", "p.h5"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("array", [SCORES, WINDOWS])
def test_any_float_in_any_order_of_bytes_and_axes(here, monkeypatch, name, dtype, order, array):
    array = np.asarray(array, dtype, order=order)
    np.save(name, array) if name.endswith(".npy") else held(name, scores=array)
    for size in (1, 1000):
        monkeypatch.setattr(arrays, "BLOCK_BYTES", size)
        assert opened(name, *BOTH)[2] == array.tolist()


def test_arrays_in_fortran_order_are_read_from_packed_files_too(here):
    np.savez_compressed("p.npz", scores=np.asfortranarray(SCORES))
    assert opened("p.npz", *BOTH) == EXPECTED


@pytest.mark.parametrize(
    ("array", "axes"),
    [
        (SCORES.T, "(1, 0)"),
        (np.zeros((5, 2, 3)), "(1, 0, 2)"),
        (np.zeros((5, 3, 2)), "(2, 0, 1)"),
        (np.zeros((2, 3, 5)), "(0, 2, 1)"),
        (np.zeros((3, 5, 2)), "(2, 1, 0)"),
    ],
)
def test_axes_in_another_order_are_named(here, array, axes):
    np.save("p.npy", array)
    line = refused("p.npy", *BOTH)
    assert f"the array has the shape {list(array.shape)}; --ids names 2 clips, --classes 3 classes" in line
    assert line.endswith(f"Its axes are in another order: save numpy.transpose(array, {axes}).")


@pytest.mark.parametrize("name", ["p.pt", "p.pth", "p.bin", "p.pkl", "p.npy.gz", "p.mat"])
def test_files_that_are_not_read_name_the_remedy(here, name):
    Path(name).write_bytes(b"PK")
    line = refused(name, *BOTH)
    assert f"{name}: answers cannot be read from {name[1:]}. " in line and "Give one of .npy, .npz, .h5" in line
    if "pt" in name:
        assert f"numpy.save('p.npy', torch.load('{name}', weights_only=True).numpy())" in line
    assert ("may run any program" in line) == (name == "p.pkl")


# ---- lists of ids and classes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("heading", ["", "clip_id\n", "filename\r\n", "\ufeffFile_Name\n", "id\n"])
def test_a_heading_above_ids_is_not_an_id(here, heading):
    Path("ids.txt").write_text(f"{heading}c1.wav\nc2.wav\n", newline="")
    assert read_ids("ids.txt") == (("c1.wav", "c2.wav") if heading == "clip_id\n" else IDS)


@pytest.mark.parametrize("text", [".wav\nb\n", "\x1awav\nb\n"])
def test_an_id_that_is_nearly_a_heading_is_an_id(here, text):
    Path("ids.txt").write_text(text)
    assert read_ids("ids.txt") == tuple(text.split())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ids.csv", "id,filename,split\n1,a/c1.wav,train\n2,a/c2.wav,test\n"),
        ("ids.csv", "\ufefffilename;split\r\nc1.wav;train\r\nc2.wav;test\r\n"),
        ("ids.tsv", "Clip_ID\tfold\nc1\t1\nc2\t1\n"),
        ("ids.csv", "YTID,start,end\nc1,30.0,40.0\nc2,0.0,10.0\n"),
        ("ids.csv", ",filename\n0,c1.wav\n1,c2.wav\n"),
        ("ids.csv", "fname,Dog,Cat\nc1.wav,0.7,0\nc2.wav,0,0.1\n"),
        ("ids.jsonl", '{"audio_filepath": "a/c1.wav", "duration": 1}\n{"audio_filepath": "a/c2.wav", "duration": 2}\n'),
        ("ids.json", '{"data": [{"wav": "/d/c1.wav"}, {"wav": "/d/c2.wav"}]}'),
    ],
)
def test_ids_are_a_column_of_a_table_without_labels(here, name, text):
    Path(name).write_text(text, encoding="utf-8", newline="")
    assert read_ids(name) == IDS


@pytest.mark.parametrize("title", ["video_id", "clip_id", "id", "audio"])
def test_ids_are_a_column_of_a_parquet_file(here, title):
    audio = [{"bytes": b"", "path": f"a/{clip}.wav"} for clip in IDS]
    names = {} if title == "audio" else {title: list(IDS)}
    pq.write_table(pa.table({**names, "audio": audio, "score": [0.5, 1.0]}), "ids.parquet")
    assert read_ids("ids.parquet") == IDS


def test_a_table_without_a_column_of_clips_names_its_columns(here):
    Path("ids.csv").write_text("n,split\n1,train\n")
    with pytest.raises(InputError, match=r"ids\.csv:1: column 'clip_id' is missing; columns found: n, split"):
        read_ids("ids.csv")


def test_ids_are_read_from_arrays_and_json(here):
    np.save("ids.npy", np.array(["a/c1.wav", "a/c2.wav"]))
    assert read_ids("ids.npy") == IDS
    np.save("ids.npy", np.array([b"c1", b"c2"]))
    assert read_ids("ids.npy") == IDS
    Path("ids.json").write_text('["c1.wav", "c2.wav"]')
    assert read_ids("ids.json") == IDS
    Path("ids.json").write_text('{"data": [{"wav": "/d/c1.wav", "labels": ""}, {"wav": "/d/c2.wav", "labels": ""}]}')
    assert read_ids("ids.json") == IDS
    np.save("ids.npy", np.arange(2))
    with pytest.raises(InputError, match=r"ids\.npy: holds int64 of shape"):
        read_ids("ids.npy")


@pytest.mark.parametrize(
    "text",
    [
        "Cat, meow\nDog\nRain\n",
        '"Cat, meow"\r\n"Dog"\r\n"Rain"\r\n',
        'name\n"Cat, meow"\nDog\nRain\n',
        "\ufefflabel\nCat, meow\ndog\nRAIN\n",
        json.dumps(["Cat, meow", "Dog", "Rain"]),
        json.dumps({"2": "Rain", "1": "Dog", "0": "Cat, meow"}),
        json.dumps({"Rain": 2, "Dog": 1, "Cat, meow": 0}),
        json.dumps({"model_type": "ast", "id2label": {"0": "Cat, meow", "1": "Dog", "2": "Rain"}, "n": 3}),
        json.dumps({"label2id": {"Cat, meow": "0", "Rain": "2", "Dog": "1"}}),
    ],
)
def test_classes_are_read_from_the_lists_of_models(here, text):
    path = Path("classes.json" if text[0] in "[{" else "classes.csv")
    path.write_bytes(text.encode())
    assert read_classes(path, VOCABULARY) == CLASSES


def test_some_numbers_of_classes_are_those_of_the_list(here):
    Path("p.csv").write_text("clip_id,2,0\nc1,.125,.5\nc2,1,.75\n")
    assert "--classes: p.csv numbers its classes, 2, 0. Give the file that names the classes" in refused("p.csv")
    assert opened("p.csv", "classes") == (IDS, ("/m/3", "/m/1"), SCORES[:, [2, 0]].tolist())
    Path("p.csv").write_text("clip_id,0,137\nc1,.125,.5\nc2,1,.75\n")
    assert "p.csv has a class 137, --classes the numbers 0 to 2." in refused("p.csv", "classes")


def test_ids_written_as_bytes_in_parquet(here):
    names = {"clip_id": pa.array([b"c1", b"c2"]), **dict(zip(NAMES, SCORES.T, strict=True))}
    pq.write_table(pa.table(names), "p.parquet")
    assert opened("p.parquet") == EXPECTED


@pytest.mark.parametrize("kind", [bool, complex])
def test_arrays_of_other_numbers_have_a_remedy_of_their_own(here, kind):
    np.save("p.npy", SCORES.astype(kind))
    assert refused("p.npy", *BOTH).endswith("not floating-point numbers. Save scores in [0, 1] as float32.")


def test_a_clip_that_is_called_as_a_comment_begins_keeps_its_scores(here):
    Path("s.csv").write_text("# made by a model\nclip_id,/m/1,/m/2\n# c1,.5,.25\nc2,.75,0\n# end\n")
    answers = open_answers(Path("s.csv"), None, None, VOCABULARY)
    assert answers.clip_ids == ("# c1", "c2") and answers.shape == (2, 2)


def test_clips_named_beside_another_number_of_rows_are_told_from_none(here):
    np.savez("rows.npz", scores=WINDOWS.reshape(4, 3), clip_id=IDS)
    said = refused("rows.npz", "classes")
    assert "rows.npz: clip_id names 2 clips, scores has 4 rows" in said and "(2, windows, classes)" in said
    np.savez("bare.npz", scores=SCORES)
    assert "bare.npz holds no clip ids" in refused("bare.npz", "classes")
