"""Texts of documents: Markdown and YAML show every text as it is."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudolabel.releases.texts import code, markdown, share, wrapped, yaml_text

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
