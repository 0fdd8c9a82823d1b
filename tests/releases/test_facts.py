"""Facts of a release: what may stand in them, and that JSON keeps them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pseudolabel.errors import InputError
from pseudolabel.releases.facts import Facts


def test_facts_come_back_equal_from_json(make_facts):
    facts = make_facts(precision={"overall": {"precision": 0.5, "low": 0.1, "high": 0.9, "judged": 2}})
    again = Facts.from_json(json.loads(json.dumps(facts.to_json())))
    assert again.to_json() == facts.to_json()
    assert again.authors == facts.authors and again.counts == facts.counts


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"name": "a folder"}, "'a folder' cannot be the name of a release"),
        ({"version": "1.0"}, "'1.0' is not a version"),
        ({"released": "2026-02-30"}, "'2026-02-30' is not a day"),
        ({"title": "two\nlines"}, "is not one line of text"),
        ({"authors": ("",)}, "authors: '' is not one line of text"),
        ({"url": "ftp://somewhere"}, "is not a web address"),
        ({"rule": {}}, "rule: threshold, errors, evidence is missing"),
        ({"precision": {"overall": {"precision": 0.5}}}, "precision, overall: low, high, judged is missing"),
        ({"weak_classes": ({"class_id": "/m/a"},)}, "weak_classes[0]: name, why is missing"),
        ({"files": ({"name": "a"},)}, "files[0]: description, encodingFormat, bytes and 1 more is missing"),
        ({"by_class": ()}, "0 rows for 4 classes"),
    ],
)
def test_improper_facts_are_named(make_facts, changed, said):
    with pytest.raises(InputError) as caught:
        make_facts(**changed)
    assert said in str(caught.value)


def test_counts_that_contradict_each_other_are_refused(make_facts):
    counts = make_facts().counts
    with pytest.raises(InputError, match="3 labels before and 2 added are not 6 after"):
        make_facts(counts=replace(counts, labels_after=6))
    more = replace(counts, labels_before=4, labels_after=6)
    with pytest.raises(InputError, match="the classes have 3 labels before, not 4"):
        make_facts(counts=more)
    first, *others = make_facts().by_class
    with pytest.raises(InputError, match="/m/a: 1 labels before and 1 added are not 3 after"):
        make_facts(by_class=(replace(first, after=3), *others))


def test_a_file_that_stands_there_twice_is_refused(make_facts):
    files = make_facts().files
    with pytest.raises(InputError, match=r"file labels\.csv, labels\.csv is listed twice"):
        make_facts(files=(*files, files[0]))


def test_a_record_of_something_else_is_refused(make_facts):
    record = make_facts().to_json()
    with pytest.raises(InputError, match="unknown key 'titel'; nearest: 'title'"):
        Facts.from_json({**record, "titel": "x"})
    with pytest.raises(InputError, match="counts is missing"):
        Facts.from_json({key: value for key, value in record.items() if key != "counts"})
    with pytest.raises(InputError, match="not a table of names and values"):
        Facts.from_json([])
    with pytest.raises(InputError, match=r"counts\.labels_after: must be a whole number, not 'five'"):
        Facts.from_json({**record, "counts": {**record["counts"], "labels_after": "five"}, "by_class": 7})


def test_no_number_that_json_lacks_gets_into_the_record(make_facts):
    facts = make_facts(ontology={"share": float("nan")})
    with pytest.raises(InputError, match=r"facts\.ontology\.share"):
        facts.to_json()
