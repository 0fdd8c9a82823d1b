"""Label lists in all their forms become the same table, and bad ones an error with its line."""

from __future__ import annotations

import gzip
import json
import lzma
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from pseudolabel.errors import ClipMismatch, InputError, UnknownClass
from pseudolabel.labels.label_texts import split_labels
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.vocabulary import Vocabulary

ABC = Vocabulary("abc", ("/m/a", "/m/b", "/m/c"), ("Ant, worker", "Bee", "Cat"), ("", "", ""))
EXPECTED = LabelTable.from_sets(("-x", "y", "z"), (["/m/a", "/m/c"], ["/m/b"], []), ABC)

OWN = "clip_id,labels\n-x,/m/a;/m/c\ny,/m/b\nz,\n"
SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=3
# YTID, start_seconds, end_seconds, positive_labels
-x, 30.000, 40.000, "/m/a,/m/c"
y, 0.000, 9.500, "/m/b"
z, 10.000, 20.000, ""
"""


def read(tmp_path, content: str, name: str = "labels.csv", vocabulary: Vocabulary = ABC, format: str | None = None):
    (tmp_path / name).write_text(content)
    return LabelTable.read(tmp_path / name, vocabulary, format)


@pytest.mark.parametrize(
    "content",
    [
        OWN,
        OWN.replace("\n", "\r\n"),
        "\ufeff" + OWN,
        OWN.replace("/m/a;/m/c", "/m/c; /m/a;/m/c"),
        OWN.replace("/m/b", "bee"),
        OWN.replace("/m/a;", '"Ant, worker";').replace('"Ant, worker";/m/c', '"Ant, worker;/m/c"'),
        'labels,fold,clip_id\n"/m/a;/m/c",1,-x\n/m/b,2,y\n,3,z\n',
        SEGMENTS,
        SEGMENTS.partition("labels\n")[2],
        SEGMENTS.replace(", ", ","),
    ],
)
def test_all_forms_of_a_list_give_the_same_table(tmp_path, content):
    assert read(tmp_path, content) == EXPECTED


def test_packed_lists_are_read(tmp_path):
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(SEGMENTS.encode()))
    (tmp_path / "s.csv.xz").write_bytes(lzma.compress(SEGMENTS.encode()))
    assert LabelTable.read(tmp_path / "s.csv.gz", ABC) == LabelTable.read(tmp_path / "s.csv.xz", ABC) == EXPECTED


def test_truncated_packed_list_is_refused(tmp_path):
    lines = "".join(f"{number}, 0, 1, /m/a\n" for number in range(99))
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(lines.encode())[:-20])
    with pytest.raises(InputError, match=r"s\.csv\.gz: cannot be read"):
        LabelTable.read(tmp_path / "s.csv.gz", ABC)


def test_esc50_meta_gives_one_category_a_clip(tmp_path):
    meta = "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,100032,A\n"
    table = read(tmp_path, meta, vocabulary=Vocabulary.load("esc50"))
    assert table.clip_ids == ("1-100032-A-0",)
    assert table.label_sets() == [("dog",)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from(ABC.class_ids)), min_size=1, max_size=6))
def test_written_table_reads_back_equal(tmp_path_factory, label_sets):
    clip_ids = [f'-{row}, "quoted"' for row in range(len(label_sets))]
    table = LabelTable.from_sets(clip_ids, label_sets, ABC)
    path = tmp_path_factory.mktemp("table") / "labels.csv"
    table.write(path)
    assert LabelTable.read(path, ABC) == table
    assert table.label_sets() == [tuple(sorted(labels)) for labels in label_sets]


def test_written_list_has_vocabulary_order_and_unix_line_ends(tmp_path):
    LabelTable.from_sets(["y", "x"], [["/m/c", "/m/a"], []], ABC).write(tmp_path / "l.csv")
    assert (tmp_path / "l.csv").read_bytes() == b"clip_id,labels\ny,/m/a;/m/c\nx,\n"


def test_balanced_list_has_its_published_counts_and_closure_adds_half(shared_data):
    vocabulary = Vocabulary.load("audioset")
    table = LabelTable.read(shared_data / "audioset" / "balanced_train_segments.csv", vocabulary)
    assert (len(table), table.matrix.nnz) == (22_160, 52_882)
    assert table.clip_ids[0] == "--PJHxphWEs"
    closed = table.matrix + table.matrix @ Ontology.load().ancestors(vocabulary)
    assert round(100 * (closed.nnz - 52_882) / 52_882, 1) == 50.5


def test_real_esc50_list_is_read(shared_data):
    table = LabelTable.read(shared_data / "esc" / "clips.csv", Vocabulary.load("esc50"))
    assert len(table) == table.matrix.nnz == 477


def test_rows_and_select_follow_the_order_asked_for():
    assert EXPECTED.rows(["z", "-x"]).tolist() == [2, 0]
    assert EXPECTED.select(["y", "-x"]).label_sets() == [("/m/b",), ("/m/a", "/m/c")]


def test_absent_clips_are_named():
    with pytest.raises(ClipMismatch, match="4 of 5 clips are not in the label list: p, q, r and 1 more"):
        EXPECTED.rows(["p", "y", "q", "r", "s"])


def test_dense_and_uncanonical_matrices_are_taken():
    twice = sparse.csr_array((np.ones(3, bool), np.array([2, 0, 0]), np.array([0, 3])), shape=(1, 3))
    table = LabelTable(("x",), twice, ABC)
    assert table == LabelTable(("x",), np.array([[1, 0, 1]]), ABC)
    assert table.matrix.nnz == 2


def test_tables_with_other_clips_labels_or_classes_differ():
    labels = EXPECTED.label_sets()
    assert LabelTable.from_sets(("-x", "y", "w"), labels, ABC) != EXPECTED
    assert LabelTable.from_sets(("-x", "y", "z"), [*labels[:2], ("/m/c",)], ABC) != EXPECTED
    other = Vocabulary("other", ABC.class_ids, ("1", "2", "3"), ("", "", ""))
    assert LabelTable(EXPECTED.clip_ids, EXPECTED.matrix, other) != EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"labels\.csv: the file is empty"),
        ("clip_id,labels\n", r"the label list has no clips"),
        ("# only a comment\n", r"column 'clip_id' is missing"),
        ("sound,labels\nx,/m/a\n", r"labels\.csv:1: column 'clip_id' is missing; columns found: sound, labels"),
        (OWN + "y,/m/a\n", r"labels\.csv:5: clip 'y' is listed twice, first in line 3"),
        (SEGMENTS + 'y, 1, 2, "/m/a"\n', r"labels\.csv:7: clip 'y' is listed twice, first in line 5"),
        (OWN + ",/m/a\n", r"labels\.csv:5: the clip id is empty"),
        (OWN + "w,/m/a,/m/b\n", r"labels\.csv:5: row has 3 columns, the header 2"),
        (SEGMENTS + "w, 1, 2, /m/a, /m/b\n", r"labels\.csv:7: row has 5 columns, not 4"),
        ("filename,category\nx.wav\n", r"labels\.csv:2: row has 1 columns, the header 2"),
    ],
)
def test_bad_lists_are_refused_with_their_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_unknown_label_names_line_and_nearest_class(tmp_path):
    with pytest.raises(UnknownClass, match=r"labels\.csv:5: class 'Beee' .*'abc' \(3 classes\); nearest: '/m/b' \(Bee"):
        read(tmp_path, OWN + "w,/m/a;Beee\n")


def test_missing_file_wrong_bytes_and_unknown_formats_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        LabelTable.read(tmp_path / "absent.csv", ABC)
    with pytest.raises(InputError, match=r"no label format 'yaml'.*csv, urbansound8k, .*audioset"):
        read(tmp_path, OWN, format="yaml")
    with pytest.raises(InputError, match="cannot be written as 'json'"):
        EXPECTED.write(tmp_path / "out.json", format="json")
    (tmp_path / "latin.csv").write_bytes(b"clip_id,labels\n\xe9,/m/a\n")
    with pytest.raises(InputError, match="not UTF-8"):
        LabelTable.read(tmp_path / "latin.csv", ABC)


def test_matrix_of_another_shape_and_repeated_clips_are_refused():
    with pytest.raises(InputError, match=r"shape \(1, 2\)"):
        LabelTable(("x",), np.ones((1, 2)), ABC)
    with pytest.raises(InputError, match="'x' is listed in rows 0 and 2"):
        LabelTable(("x", "y", "x"), np.ones((3, 3)), ABC)
    with pytest.raises(UnknownClass):
        LabelTable.from_sets(["x"], [["/m/z"]], ABC)


def test_unknown_labels_can_be_left_out_and_are_counted_by_how_often_they_stand_there(tmp_path):
    text = "clip_id,labels\n-x,/m/a;Dog;/m/c\ny,/m/b\nz,Dog;Elk\nw,Dog;Elk\nv,\nu,Dog;Dog\n"
    (tmp_path / "l.csv").write_text(text)
    table = LabelTable.read(tmp_path / "l.csv", ABC, unknown="skip")
    assert table.label_sets() == [("/m/a", "/m/c"), ("/m/b",), (), (), (), ()]
    assert table.left_out == {"Dog": 5, "Elk": 2}
    assert table.clip_ids == ("-x", "y", "z", "w", "v", "u")
    every = Vocabulary("every", *[("Dog", "Elk", "/m/a", "/m/b", "/m/c")] * 3)
    assert LabelTable.read(tmp_path / "l.csv", every).left_out == {}
    with pytest.raises(InputError, match="unknown labels are error or skip, not 'ignore'"):
        LabelTable.read(tmp_path / "l.csv", ABC, unknown="ignore")


def test_clips_of_which_some_events_are_unknown_keep_the_others(tmp_path):
    text = "filename\tonset\toffset\tevent_label\nx.wav\t0\t1\tElk\nx.wav\t0\t1\tBee\ny.wav\t0\t1\tElk\n"
    (tmp_path / "l.tsv").write_text(text)
    table = LabelTable.read(tmp_path / "l.tsv", ABC, unknown="skip")
    assert (table.clip_ids, table.label_sets(), table.left_out) == (("x", "y"), [("/m/b",), ()], {"Elk": 2})


def test_skipping_unknown_labels_skips_no_other_fault(tmp_path):
    for text, message in [
        ("clip_id,labels\nx,Elk;\n", ":2: an empty label in 'Elk;'"),
        ("clip_id,labels\nx,Elk\nx,Elk\n", ":3: clip 'x' is listed twice"),
        ("filename\tlabels\tduration\nx\t7\t1\n", ":2: label '7' is a class number, and nothing says of which classes"),
    ]:
        (tmp_path / "l.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            LabelTable.read(tmp_path / "l.csv", ABC, unknown="skip")


def test_lists_read_as_one_count_what_is_left_out_of_all(tmp_path):
    for name, text in {"1.csv": "x,Dog;/m/a\n", "2.csv": "y,Dog;Elk\nx,/m/a;Fox\n"}.items():
        (tmp_path / name).write_text("clip_id,labels\n" + text)
    table = read_lists([tmp_path / "1.csv", tmp_path / "2.csv"], ABC, unknown="skip")
    assert (table.clip_ids, table.left_out) == (("x", "y"), {"Dog": 2, "Elk": 1, "Fox": 1})


@pytest.mark.parametrize(
    ("label", "vocabulary", "remedy"),
    [
        ("/m/05tny_", ABC, "Correct it, give the --vocabulary of the list, or --unknown-labels skip."),  # of two
        ("chirping_birds", ABC, "Use --vocabulary esc50, or --unknown-labels skip."),
        ("/t/dd00001", Vocabulary.load("fsd50k"), "Use --vocabulary audioset, or --unknown-labels skip."),
        (
            "Chrip",
            Vocabulary.load("audioset"),
            "Correct it, give the --vocabulary of the list, or --unknown-labels skip.",
        ),
    ],
)
def test_unknown_label_names_the_built_in_vocabulary_that_alone_has_it(tmp_path, label, vocabulary, remedy):
    with pytest.raises(UnknownClass, match=r"labels\.csv:2: class '.*' is not in the vocabulary") as caught:
        read(tmp_path, f"clip_id,labels\nx,{label}\n", vocabulary=vocabulary)
    assert caught.value.remedy == remedy


def test_renamed_clips_keep_their_labels():
    renamed = EXPECTED.renamed({"y": "Y", "other": "x"})
    assert renamed.clip_ids == ("-x", "Y", "z")
    assert renamed.label_sets() == EXPECTED.label_sets()
    with pytest.raises(InputError, match="is listed in rows 0 and 1"):
        EXPECTED.renamed({"y": "-x"})


@pytest.mark.parametrize("separator", [";", ","])
def test_a_row_of_thousands_of_unknown_labels_takes_no_time(tmp_path, separator):
    audioset = Vocabulary.load("audioset")
    strange = [f"unknown{number}" for number in range(4000)]
    text = separator.join([*strange, "Gunshot, gunfire", "Male speech, man speaking"])
    (tmp_path / "l.csv").write_text(f'file,tags\nx,"{text}"\n')
    start = time.perf_counter()
    table = LabelTable.read(tmp_path / "l.csv", audioset, unknown="skip")
    with pytest.raises(UnknownClass, match=r"l\.csv:2: class 'unknown0' is not in the vocabulary"):
        LabelTable.read(tmp_path / "l.csv", audioset)
    assert time.perf_counter() - start < 5
    assert table.label_sets() == [("/m/05zppz", "/m/032s66")]
    assert table.left_out == dict.fromkeys(strange, 1)


@given(st.lists(st.sampled_from(["Gunshot, gunfire", "Gunshot_and_gunfire", "Dog", "Odd", "Male speech, man speaking",
                                 "Bow, and wow", "Bow-wow", "Male", " man speaking"]), max_size=6),
       st.sampled_from([",", ";"]))  # fmt: skip
def test_split_labels_is_the_search_over_all_runs(pieces, separator):
    vocabulary = Vocabulary("v", ("g", "d", "m", "b"), ("Gunshot, gunfire", "Dog", "Male speech, man speaking",
                                                        "Bow and wow"), ("",) * 4)  # fmt: skip
    text = separator.join(pieces)
    assert split_labels(text, separator, vocabulary) == split_by_every_run(text, separator, vocabulary)


def split_by_every_run(text, separator, vocabulary):
    """Return the labels, from the rule: an id, else the longest run of pieces that is a class, else the piece."""
    text = text.strip()
    if separator not in text:
        return [text]
    pieces, labels = text.split(separator), []
    while pieces:
        lengths = [1] if pieces[0].strip() in vocabulary.index else range(len(pieces), 0, -1)
        runs = [(n, separator.join(pieces[:n]).strip()) for n in lengths]
        n, label = next(((n, run) for n, run in runs if vocabulary.lookup(run)), (1, pieces[0]))
        labels.append(label.strip())
        pieces = pieces[n:]
    return labels


def test_clip_given_twice_is_refused_at_once(tmp_path):
    with gzip.open(tmp_path / "l.csv.gz", "wb") as file:
        file.write(b"clip_id,labels\nx,\n" + b"y,\n" * 1_000_000)
    with pytest.raises(InputError, match=r":4: clip 'y' is listed twice, first in line 3"):
        LabelTable.read(tmp_path / "l.csv.gz", ABC)


@pytest.mark.parametrize("odd", ["x\ny", "x\0", "x\ufeff"])
def test_clip_ids_that_the_own_list_could_not_hold_are_refused(tmp_path, odd):
    (tmp_path / "l.jsonl").write_text(json.dumps({"file_name": "a", "labels": []}) + "\n"
                                      + json.dumps({"file_name": odd, "labels": []}))  # fmt: skip
    with pytest.raises(InputError, match=r"l\.jsonl:2: the clip id .* has a line break or another character"):
        LabelTable.read(tmp_path / "l.jsonl", ABC)
