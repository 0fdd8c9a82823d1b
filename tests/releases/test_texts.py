"""Texts of documents: each fact has its sentence, what is unknown is said; Markdown and YAML show text as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.releases.texts import (
    code,
    evaluation_text,
    fold_text,
    front_end_text,
    interval_text,
    markdown,
    precision_text,
    rule_lines,
    share,
    teacher_text,
    threshold_text,
    wrapped,
    yaml_text,
)

PRINTABLE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=20)


def test_shares_are_percent_of_the_whole():
    assert [share(1, 8, signed=True), share(1, 8), share(3, 0)] == ["+12.5 %", "12.5 %", "-"]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("Male speech, man speaking", "Male speech, man speaking"),
        ("a | b", "a \\| b"),
        ("*x* _y_ `z` <b>", "\\*x\\* \\_y\\_ \\`z\\` \\<b\\>"),
        ("R&amp;B, rhythm & blues", "R\\&amp;B, rhythm & blues"),
        ("[a](b) $c$ ~d~ \\", "\\[a\\](b) \\$c\\$ \\~d\\~ \\\\"),
        ("# no heading", "\\# no heading"),
        ("1. no list", "1\\. no list"),
        ("1.5 times", "1.5 times"),
        ("two\nlines", "two lines"),
    ],
)
def test_markdown_signs_are_escaped(text, shown):
    assert markdown(text) == shown


@given(st.lists(PRINTABLE, min_size=1, max_size=4))
@settings(max_examples=50)
def test_a_row_of_a_table_has_as_many_cells_as_texts(texts):
    for escape in (markdown, code):
        row = f"| {' | '.join(escape(text) for text in texts)} |"
        assert "\n" not in row
        bars, position = 0, 0
        while position < len(row):  # an escaped bar separates nothing
            bars += row[position] == "|"
            position += 2 if row[position] == "\\" else 1
        assert bars == len(texts) + 1


@given(st.lists(PRINTABLE, max_size=3), PRINTABLE, PRINTABLE)
@settings(max_examples=50)
def test_yaml_gives_back_every_text(texts, one, other):
    value = {
        "one": one + "x",
        "list": [*texts, "x"],
        "rows": [{"a": other + "x", "b": [one + "x"]}, {"c": {"d": "no"}}],
    }
    assert yaml.safe_load(yaml_text(value)) == value


def test_yaml_keeps_kinds_and_leaves_out_what_is_not_there():
    value = {"a": "1.10", "b": 3, "c": True, "d": None, "e": "", "f": [], "g": {"h": None}, "i": "yes: # no"}
    assert yaml.safe_load(yaml_text(value)) == {"a": "1.10", "b": 3, "c": True, "i": "yes: # no"}


def test_lines_of_plain_text_are_short_and_addresses_whole():
    address = "https://example.org/" + "a-b/" * 30
    lines = wrapped("word " * 40 + address + "\nnext").split("\n")
    assert address in lines and lines[-1] == "next"
    assert max(len(line) for line in lines if line != address) <= 88


@pytest.mark.parametrize(
    "rule, said",
    [
        ({"threshold": "mean"}, "the mean of the scores of the clips that carry the class"),
        ({"threshold": "25p"}, "the 25th percentile of the scores of the clips that carry the class"),
        ({"threshold": "1p"}, "the 1st percentile"),
        ({"threshold": "12p"}, "the 12th percentile"),
        ({"threshold": "2.5p"}, "the 2.5th percentile"),
        ({"threshold": "0.5"}, "the constant 0.5"),
        ({"threshold": "mine", "threshold_file": "mine.csv"}, "the one in the file mine.csv"),
        ({"floor": 0.125}, "but at least 0.125"),
        ({"min_positives": 5}, "a class with fewer than 5 such clips has none"),
        ({"min_positives": 5, "fallback_threshold": 0.9}, "; 0.9 for a class that fewer than 5 scored clips carry"),
    ],
)
def test_thresholds_in_words(make_facts, rule, said):
    facts = make_facts()
    assert said in threshold_text(make_facts(rule=replace(facts.rule, **rule)))


def test_the_rule_in_words(make_facts):
    rule = make_facts().rule
    assert rule_lines(make_facts())[:2] == [
        "Type I, a missing child of a label that the clip has; candidates are its children.",
        "Type II, a missing parent of a label that the clip has; candidates are its ancestors.",
    ]
    lines = rule_lines(make_facts(rule=replace(rule, evidence="2s", rounds="all", profile="psla")))
    assert "the teacher's best score of the clip's windows of 2 s is above the class's threshold" in lines[2]
    assert "until nothing more was added" in lines[4] and "published code of PSLA" in lines[5]
    by_rule = {"I": "children", "II": "ancestors, by rule"}
    assert "(where added by rule: always)" in rule_lines(make_facts(rule=replace(rule, adds=by_rule)))[2]


def test_a_release_by_rule_or_by_people_asks_no_model(make_facts):
    closure = {"errors": ["II"], "adds": {"II": "ancestors, by rule"}, "threshold": None, "evidence": None}
    facts = make_facts(rule=closure, teacher=None, out_of_fold=None)
    assert "without asking a model" in rule_lines(facts)[-1]
    assert teacher_text(facts) == "No model was asked." and fold_text(facts) == ""
    by_people = {"errors": ["I"], "threshold": None, "evidence": None}
    facts = make_facts(rule={**by_people, "reviewed": {"right": 1200, "wrong": 3}}, teacher=None)
    assert rule_lines(facts) == [
        "People decided on proposed labels (1,200 right, 3 wrong); those that were found right were added."
    ]


def test_what_is_known_of_the_teacher_is_said(make_facts):
    text = teacher_text(make_facts())
    assert text == f"Teacher: runs/teacher (SHA-256 {'ab' * 32}), trained on 1,234 clips."
    assert teacher_text(make_facts(teacher=None)) == "A teacher was asked; nobody recorded which."
    unknown = {"name": "", "trained_on_clips": None}
    assert "not named, trained on clips that were not recorded" in teacher_text(make_facts(teacher=unknown))
    listed = {**unknown, "trained_on_sha256": "cd" * 32}
    assert f"trained on the clips listed in the file of SHA-256 {'cd' * 32}" in teacher_text(make_facts(teacher=listed))
    assert front_end_text(make_facts()) == '{"kind": "log-mel | 16 kHz", "mel": 64}'


def test_in_sample_unknown_and_out_of_fold_are_told_apart(make_facts):
    starts = {True: "Out of fold:", False: "In sample:", None: "Nobody recorded whether"}
    for out_of_fold, start in starts.items():
        assert fold_text(make_facts(out_of_fold=out_of_fold)).startswith(start)
    starts = {True: "Labels of an evaluation list were changed", False: "No clip of", None: "Nobody checked"}
    for touched, start in starts.items():
        assert evaluation_text(make_facts(evaluation_touched=touched)).startswith(start)


def test_precision_has_its_interval_or_nobody_listened(make_facts):
    overall = {"precision": 0.875, "low": 0.8, "high": 0.9251, "judged": 200, "method": "Wilson"}
    text = precision_text(make_facts(precision={"overall": overall}))
    assert text == ("Estimated precision of the added labels: 0.875 [0.800, 0.925], from 200 judged labels (Wilson).")
    assert "Nobody has listened" in precision_text(make_facts())
    nobody = {"precision": None, "low": 0.0, "high": 1.0, "judged": 0}
    assert "Nobody has listened" in precision_text(make_facts(precision={"overall": nobody}))
    assert interval_text(nobody) == "-"


def test_additions_that_people_found_right_are_not_said_to_be_unheard(make_facts):
    reviewed = {"errors": ["I", "II"], "reviewed": {"right": 2, "wrong": 3}, "threshold": None, "evidence": None}
    text = precision_text(make_facts(rule=reviewed))
    assert text.startswith("People found each added label right") and "Nobody" not in text


def test_rounds_are_counted_with_the_first(make_facts):
    rule = replace(make_facts().rule, rounds=3)
    assert any("further ones, in 3 rounds in all" in line for line in rule_lines(make_facts(rule=rule)))
