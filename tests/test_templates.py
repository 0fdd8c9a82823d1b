"""Templates: what is filled in, what is escaped, and what is an error."""

from __future__ import annotations

import pytest

from pseudolabel.templates import render, render_paragraphs, render_parts


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A package with a page, a text and a list of templates."""
    folder = tmp_path / "filled"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "page.html.j2").write_text("<p>{{ text }}</p>\n{% for part in parts %}\n{{ part }}\n{% endfor %}\n")
    (folder / "text.md.j2").write_text("{{ text }}\n")
    (folder / "notes.txt.j2").write_text("one\n  line\n\n{% if text %}\n{{ text }}\n\n{% endif %}\n\nlast\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "filled"


def test_html_is_escaped_and_other_text_is_not(package):
    assert render(package, "page.html.j2", text="<a & b>", parts=()) == "<p>&lt;a &amp; b&gt;</p>\n"
    assert render(package, "text.md.j2", text="<a & b>") == "<a & b>\n"


def test_an_iterator_is_read_while_the_page_is_written(package):
    read = []

    def parts():
        for number in range(3):
            read.append(number)
            yield number

    written = render_parts(package, "page.html.j2", text="x", parts=parts())
    first = next(written)
    assert first.startswith("<p>") and read == []
    assert first + "".join(written) == "<p>x</p>\n0\n1\n2\n" and read == [0, 1, 2]


def test_a_paragraph_is_one_line_and_an_empty_one_is_none(package):
    assert render_paragraphs(package, "notes.txt.j2", text="two\n words") == ["one line", "two words", "last"]
    assert render_paragraphs(package, "notes.txt.j2", text="") == ["one line", "last"]


def test_a_name_without_a_value_is_an_error(package):
    with pytest.raises(LookupError, match="'text' is undefined"):
        render(package, "text.md.j2")
