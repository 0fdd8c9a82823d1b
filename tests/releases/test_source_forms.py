"""The enhanced list in its source's form: read back by this package and by a few lines of plain csv code."""

from __future__ import annotations

import csv

import pytest

from pseudolabel.errors import ClipMismatch, InputError
from pseudolabel.labels.table import LabelTable
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.releases.source_forms import form_of, fsd50k_name, read_source_form, write_source_form

SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=3, num_segs=3, num_unique_labels=3, num_positive_labels=3
# YTID, start_seconds, end_seconds, positive_labels
-abcdefghij, 30.000, 40.000, "/m/09x0r"
KK227gPpRn4, 0.000, 9.500, "/m/0bt9lr,/m/05tny_"
zzzzzzzzzzz, 10.000, 20.000, "/m/04rlf"
"""
FSD50K = """fname,labels,mids,split
64760,Electric_guitar,/m/02sgy,train
16399,"Male_speech_and_man_speaking,Speech","/m/05zppz,/m/09x0r",val
"""
ESC50 = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100038-A-14.wav,1,14,chirping_birds,False,100038,A
"""


def written(path, text):
    path.write_text(text)
    return path


def test_segment_list_keeps_times_and_order_and_is_read_by_plain_csv_code(tmp_path):
    source, audioset = written(tmp_path / "source.csv", SEGMENTS), Vocabulary.load("audioset")
    sets = [["/m/09x0r", "/m/04rlf"], ["/m/0bt9lr", "/m/05tny_", "/m/0jbk"]]
    labels = LabelTable.from_sets(("KK227gPpRn4", "-abcdefghij"), sets, audioset)
    path = write_source_form("audioset", [source], labels, tmp_path)
    assert read_source_form(path, audioset, "audioset") == labels
    with open(path, newline="") as file:
        for _ in range(3):  # what code for the published lists passes over
            assert next(file).startswith("# ")
        rows = list(csv.reader(file, skipinitialspace=True))
    assert [row[:3] for row in rows] == [["KK227gPpRn4", "0.000", "9.500"], ["-abcdefghij", "30.000", "40.000"]]
    assert [set(row[3].split(",")) for row in rows] == [set(classes) for classes in sets]
    assert "num_positive_labels=5" in path.read_text()


def test_segment_list_names_clips_as_the_source_does(tmp_path):
    source, audioset = written(tmp_path / "source.csv", SEGMENTS), Vocabulary.load("audioset")
    labels = LabelTable.from_sets(("YKK227gPpRn4",), [["/m/0jbk"]], audioset)
    path = write_source_form("audioset", [source], labels, tmp_path)
    assert read_source_form(path, audioset, "audioset").clip_ids == ("KK227gPpRn4",)


def test_several_lists_of_a_source_are_one(tmp_path):
    first, rest = SEGMENTS.splitlines(keepends=True)[:4], SEGMENTS.splitlines(keepends=True)[4:]
    lists = [written(tmp_path / "one.csv", "".join(first)), written(tmp_path / "two.csv", "".join(rest))]
    labels = LabelTable.read(written(tmp_path / "all.csv", SEGMENTS), Vocabulary.load("audioset"))
    path = write_source_form("audioset", lists, labels, tmp_path)
    assert read_source_form(path, labels.vocabulary, "audioset") == labels


def test_a_clip_that_the_source_lacks_is_named(tmp_path):
    source = written(tmp_path / "source.csv", SEGMENTS)
    labels = LabelTable.from_sets(("KK227gPpRn4", "elsewhere"), [[], []], Vocabulary.load("audioset"))
    with pytest.raises(ClipMismatch, match="1 clips are not in the source's list: elsewhere"):
        write_source_form("audioset", [source], labels, tmp_path)


def test_fsd50k_names_each_label_by_name_and_id_and_keeps_the_split(tmp_path):
    source, fsd50k = written(tmp_path / "dev.csv", FSD50K), Vocabulary.load("fsd50k")
    sets = [["/m/02sgy", "/m/0342h", "/m/04szw"], ["/m/05zppz", "/m/09x0r", "/m/09l8g"]]
    labels = LabelTable.from_sets(("64760", "16399"), sets, fsd50k)
    path = write_source_form("fsd50k", [source], labels, tmp_path)
    assert read_source_form(path, fsd50k, "fsd50k") == labels
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["fname", "labels", "mids", "split"]
    assert [row["split"] for row in rows] == ["train", "val"]
    id_of = dict(zip(fsd50k.names, fsd50k.class_ids, strict=True))
    for row in rows:
        assert [id_of[name] for name in row["labels"].split(",")] == row["mids"].split(",")


def test_audiosets_names_are_fsd50ks_where_both_have_the_class():
    fsd50k, audioset = Vocabulary.load("fsd50k"), Vocabulary.load("audioset")
    for class_id, name in zip(fsd50k.class_ids, fsd50k.names, strict=True):
        if class_id in audioset.index:
            ours = fsd50k_name(audioset.names[audioset.index[class_id]])
            assert fsd50k.lookup(ours) == class_id, (ours, name)
        assert fsd50k_name(name) == name


def test_esc50_keeps_its_columns_and_has_all_labels_in_a_further_one(tmp_path):
    source, esc50 = written(tmp_path / "esc50_meta.csv", ESC50), Vocabulary.load("esc50")
    labels = LabelTable.from_sets(("1-100038-A-14", "1-100032-A-0"), [["chirping_birds", "crow"], ["dog"]], esc50)
    path = write_source_form("esc50", [source], labels, tmp_path)
    assert read_source_form(path, esc50, "esc50") == labels
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["filename"], row["target"], row["category"], row["src_file"]) for row in rows] == [
        ("1-100038-A-14.wav", "14", "chirping_birds", "100038"),
        ("1-100032-A-0.wav", "0", "dog", "100032"),
    ]
    assert set(rows[0]["labels"].split(";")) == {"chirping_birds", "crow"}


def test_form_is_told_by_the_first_rows(tmp_path):
    forms = {"a.csv": (SEGMENTS, "audioset"), "f.csv": (FSD50K, "fsd50k"), "e.csv": (ESC50, "esc50")}
    forms |= {"own.csv": ("clip_id,labels\nx,a\n", None), "p.json": ('{"data": []}', None)}
    for name, (text, form) in forms.items():
        assert form_of(written(tmp_path / name, text)) == form
    assert form_of(tmp_path / "own.csv", "esc50") == "esc50"


def test_lists_of_other_columns_are_refused(tmp_path):
    labels = LabelTable.from_sets(("64760",), [[]], Vocabulary.load("fsd50k"))
    other = written(tmp_path / "other.csv", FSD50K.replace("split", "part"))
    with pytest.raises(InputError, match=r"other\.csv:1: the header lacks the columns of"):
        write_source_form("fsd50k", [written(tmp_path / "dev.csv", FSD50K), other], labels, tmp_path)
    with pytest.raises(InputError, match="csv:4: clip '64760' is listed twice"):
        write_source_form("fsd50k", [written(tmp_path / "dev.csv", FSD50K + "64760,x,y,z\n")], labels, tmp_path)


def test_the_real_balanced_list_comes_back_as_it_was(shared_data, tmp_path):
    source, audioset = shared_data / "audioset" / "balanced_train_segments.csv", Vocabulary.load("audioset")
    labels = LabelTable.read(source, audioset)
    path = write_source_form(form_of(source), [source], labels, tmp_path)
    assert LabelTable.read(path, audioset) == labels
    both = [
        [line.rsplit(",", maxsplit=1)[0] for line in file.read_text().splitlines()[3:5000]] for file in (path, source)
    ]
    assert [line.split(' "')[0] for line in both[0]] == [line.split(' "')[0] for line in both[1]]
