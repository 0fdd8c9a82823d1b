"""Vocabularies: built-in ones, files, finding classes by id or name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pseudolabel.errors import InputError, UnknownClass
from pseudolabel.labels.ontology import Ontology
from pseudolabel.labels.table import LabelTable, read_lists
from pseudolabel.labels.thresholds import read_thresholds
from pseudolabel.labels.vocabulary import Vocabulary
from pseudolabel.scores.class_map import ClassMap


def small() -> Vocabulary:
    return Vocabulary("small", ("d", "c", "b"), ("Dog", "Cat", "Bird"), ("/m/d", "", "/m/b"))


@pytest.mark.parametrize(
    ("name", "size", "first"), [("audioset", 527, "/m/09x0r"), ("fsd50k", 200, "/m/07q2z82"), ("esc50", 50, "dog")]
)
def test_built_in_vocabularies_have_their_published_size_and_order(name, size, first):
    vocabulary = Vocabulary.load(name)
    assert len(vocabulary) == len(vocabulary.names) == size
    assert vocabulary.class_ids[0] == first
    assert vocabulary.name == name


def test_audioset_order_is_the_published_one(shared_data):
    lines = (shared_data / "audioset" / "class_labels_indices.csv").read_text().splitlines()[1:]
    vocabulary = Vocabulary.load("audioset")
    assert list(vocabulary.class_ids) == [line.split(",")[1] for line in lines]
    assert list(vocabulary.names) == [line.split(",", 2)[2].strip('"') for line in lines]


def test_esc50_has_ontology_ids_only_where_a_class_matches_exactly():
    vocabulary = Vocabulary.load("esc50")
    node_of = dict(zip(vocabulary.class_ids, vocabulary.ontology_ids, strict=True))
    assert node_of["dog"] == "/m/0bt9lr"
    assert node_of["hen"] == node_of["can_opening"] == ""
    assert sum(bool(node) for node in vocabulary.ontology_ids) == 43


def test_written_vocabulary_reads_back_equal(tmp_path):
    small().write(tmp_path / "v.csv")
    assert Vocabulary.load(tmp_path / "v.csv") == small()


def test_file_without_ontology_ids_takes_the_class_ids(tmp_path):
    (tmp_path / "v.csv").write_text("class_id,name\n/m/1,One\n/m/2,Two\n")
    assert Vocabulary.load(str(tmp_path / "v.csv")).ontology_ids == ("/m/1", "/m/2")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "Speech\nMale speech, man speaking\n/m/0bt9lr\nHum of wires\n"),
        ("classes.txt", "\ufeffclass_id\r\nSpeech\r\nMale speech, man speaking\r\n/m/0bt9lr\r\nHum of wires\r\n"),
        ("classes.csv", 'class_id\nSpeech\n"Male speech, man speaking"\n/m/0bt9lr\nHum of wires\n'),
        ("classes", "Speech\nMale speech, man speaking\n/m/0bt9lr\nHum of wires\n"),
        ("l.json", '["Speech", "Male speech, man speaking", "/m/0bt9lr", "Hum of wires"]'),
        (
            "config.json",
            '{"id2label": {"1": "Male speech, man speaking", "0": "Speech", "3": "Hum of wires", "2": "/m/0bt9lr"}}',
        ),
        ("l.json", '{"Hum of wires": 3, "Speech": 0, "Male speech, man speaking": 1, "/m/0bt9lr": 2}'),
    ],
)
def test_classes_one_a_line_or_in_json_are_a_vocabulary(tmp_path, file, text):
    (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    vocabulary = Vocabulary.load(tmp_path / file)
    assert vocabulary.class_ids == ("Speech", "Male speech, man speaking", "/m/0bt9lr", "Hum of wires")
    assert vocabulary.names == ("Speech", "Male speech, man speaking", "Dog", "Hum of wires")
    assert vocabulary.ontology_ids == ("/m/09x0r", "/m/05zppz", "/m/0bt9lr", "Hum of wires")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("v.csv", "id,label\n0,Dog\n", r"v\.csv:1: column 'class_id' is missing; columns found: id, label"),
        ("v.txt", "class_id,label\n0,Dog\n", r"v\.txt:1: column 'name' is missing"),
        ("v.txt", "Dog\nCat\nDog\n", r"v\.txt: class id 'Dog' is listed twice"),
        ("v.txt", "\n", "columns found: none"),
        (
            "v.csv",
            "index\n0,/m/0bt9lr,Dog\n",
            r"v\.csv:2: row has several columns, the first line one\. Give the header",
        ),
        ("v.csv", "index\n", r"v\.csv:1: column 'class_id' is missing; columns found: index"),
        ("v.tsv", "/m/0bt9lr Dog\n/m/01yrx\tCat\n", r"v\.tsv:2: row has several columns"),
        ("v.txt", "Dog\n/m/01yrx\tCat\n", r"v\.txt:2: row has several columns"),
        ("v.json", '{"0": "Dog", "2": "Cat"}', "does not name a class for each number from 0 on"),
    ],
)
def test_other_files_are_not_taken_for_lists_of_classes(tmp_path, file, text, message):
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        Vocabulary.load(tmp_path / file)


def test_classes_are_found_by_id_first_and_then_by_name_in_any_case():
    vocabulary = Vocabulary("tricky", ("Dog", "x"), ("X", "dog"), ("", ""))
    assert vocabulary.find("Dog") == "Dog"
    assert vocabulary.find("dog") == "x"
    assert vocabulary.find("DOG") == "x"
    assert vocabulary.find("x") == "x"


def test_ontology_ids_name_classes_that_have_another_id(tmp_path):
    (tmp_path / "classes.txt").write_text("Speech\nDog\nHum of wires\n")
    vocabulary = Vocabulary.load(tmp_path / "classes.txt")
    assert [vocabulary.lookup(text) for text in ("/m/09x0r", "/m/0bt9lr", "/m/04rlf")] == ["Speech", "Dog", None]
    assert Vocabulary("swapped", ("a", "b"), ("A", "B"), ("b", "a")).lookup("a") == "a"


def test_unknown_class_names_place_value_vocabulary_and_nearest():
    with pytest.raises(UnknownClass) as error:
        Vocabulary.load("audioset").find("/m/0xyzb", "labels.csv:418")
    assert str(error.value).startswith("labels.csv:418: class '/m/0xyzb' is not in the vocabulary 'audioset' (527")
    with pytest.raises(UnknownClass, match=r"nearest: 'd' \(Dog\)"):
        small().find("doog")


def test_subset_keeps_vocabulary_order():
    assert small().subset(["b", "d", "b"]) == Vocabulary("", ("d", "b"), ("Dog", "Bird"), ("/m/d", "/m/b"))
    with pytest.raises(UnknownClass, match="'e'"):
        small().subset(["e"])


def test_index_gives_the_column():
    assert small().index == {"d": 0, "c": 1, "b": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("class_id,label\na,A\n", "column 'name' is missing"),
        ("class_id,name\n", "no classes"),
        ("class_id,name\na,A\na,B\n", "class id 'a' is listed twice"),
        ("class_id,name\na,A\nb,a\n", "class name 'a' is listed twice"),
        ("class_id,name,ontology_id\na,A,n\nb,B,n\n", "ontology id 'n' is listed twice"),
        ("class_id,name\na;b,A\n", "'a;b'"),
    ],
)
def test_bad_vocabulary_files_are_refused(tmp_path, content, message):
    (tmp_path / "v.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        Vocabulary.load(tmp_path / "v.csv")


def test_unknown_vocabulary_lists_the_built_in_ones():
    with pytest.raises(InputError, match=r"no vocabulary 'audioste'.*audioset, fsd50k, esc50"):
        Vocabulary.load("audioste")


@pytest.mark.parametrize("give", [str, Path])
def test_vocabulary_may_be_given_by_name_or_file_wherever_one_is_taken(tmp_path, give):
    vocabulary = Vocabulary.load("esc50")
    vocabulary.write(tmp_path / "v.csv")
    (tmp_path / "l.csv").write_text("clip_id,labels\na,dog;rain\n")
    (tmp_path / "t.csv").write_text("class_id,threshold\n" + "".join(f"{k},.5\n" for k in vocabulary.class_ids))
    (tmp_path / "m.csv").write_text("class_id,target_id\n/m/a,dog\n")
    ontology = Ontology.load()
    for named in (give("esc50"), give(tmp_path / "v.csv")):
        expected = LabelTable.from_sets(["a"], [["dog", "rain"]], vocabulary)
        assert LabelTable.read(tmp_path / "l.csv", named) == expected
        assert LabelTable.from_sets(["a"], [["dog", "rain"]], named) == expected
        assert LabelTable(("a",), expected.matrix, named) == expected
        assert read_lists([tmp_path / "l.csv"], named) == expected
        assert (read_thresholds(tmp_path / "t.csv", named) == 0.5).all()
        assert ClassMap.read(tmp_path / "m.csv", named).classes_of == {"dog": ("/m/a",)}
        assert ClassMap.identity(named).classes_of == ClassMap.identity(vocabulary).classes_of
        for relation in ("children", "parents", "ancestors", "descendants", "direct_children", "concrete_ancestors"):
            assert (getattr(ontology, relation)(named) != getattr(ontology, relation)(vocabulary)).nnz == 0


@pytest.mark.parametrize("value", [None, 527, ["a"], b"audioset"])
def test_what_is_no_vocabulary_is_refused_with_the_remedy(tmp_path, value):
    (tmp_path / "l.csv").write_text("clip_id,labels\na,dog\n")
    with pytest.raises(InputError, match=r"expected a vocabulary, not .* Give a Vocabulary, its CSV file"):
        LabelTable.read(tmp_path / "l.csv", value)
    with pytest.raises(InputError, match="no vocabulary 'esc5'"):
        LabelTable.read(tmp_path / "l.csv", "esc5")


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", "a\0b", "a\ufeffb", "a\ud800b"])
def test_ids_and_names_that_no_table_could_hold_are_refused(odd):
    for columns in ((odd, "A", "x"), ("a", odd, "x"), ("a", "A", odd)):
        with pytest.raises(InputError, match="has a line break or another character that no table holds"):
            Vocabulary("v", *((text,) for text in columns))


def test_errors_about_a_vocabulary_name_its_file_with_its_folder(tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_text("class_id,name\nx,X\ny,Y\n")
    vocabulary = Vocabulary.load(path)
    assert vocabulary.name == "vocabulary.csv"
    for of in (vocabulary, vocabulary.subset(["x", "y"])):
        with pytest.raises(UnknownClass, match=re.escape(f"class 'z' is not in the vocabulary {path} (2 classes)")):
            of.find("z")
    with pytest.raises(InputError, match=re.escape(f"{path}: not one class of the vocabulary is in the ontology")):
        Ontology.load().columns(vocabulary)
    path.write_text("class_id,name\nx,X\nx,Y\n")
    with pytest.raises(InputError, match=re.escape(f"{path}: class id 'x' is listed twice")):
        Vocabulary.load(path)


def test_a_published_list_is_in_the_order_of_its_numbers(tmp_path):
    path = tmp_path / "class_labels_indices.csv"
    path.write_text('index,mid,display_name\n1,/m/2,"Bark, yip"\n2,/m/3,Cat\n0,/m/1,Dog\n')
    assert Vocabulary.load(path).class_ids == ("/m/1", "/m/2", "/m/3")
    for number, message in ("2", "class number '2' is listed twice"), ("3", "class number '3' is not one of them"):
        path.write_text(f"index,mid,display_name\n1,/m/2,Bark\n2,/m/3,Cat\n{number},/m/1,Dog\n")
        with pytest.raises(InputError, match=f"csv:4: {message}. Number the 3 classes 0 to 2, each once"):
            Vocabulary.load(path)
