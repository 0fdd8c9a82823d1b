"""Pages are escaped, self-contained HTML; figures are the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pseudolabel.reports.evaluation_figures import CLASSES_SHOWN, evaluation_figures
from pseudolabel.reports.figures import draw_picture, panels_of
from pseudolabel.reports.report import report_page
from pseudolabel.reports.rows import rows_of

NASTY = "<Dog> & \"Cat\" 'Rain'"
VOID = {"meta", "img", "br", "link"}


class Balance(HTMLParser):
    """Remember the tags that are open, and every text and attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.texts, self.attributes = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)


def parsed(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def nasty_figure():
    figure, (axes,) = panels_of(2)
    axes.text(0, 0, NASTY)
    return figure, NASTY, NASTY


def test_every_text_is_escaped_and_every_tag_closed(made_up):
    evaluation = replace(made_up(), work=Path(NASTY), out=Path(NASTY), remarks=(NASTY,), missing=[(NASTY, NASTY)])
    evaluation.enhanced[NASTY] = evaluation.enhanced["enhanced-25p"]
    html = report_page(evaluation, [draw_picture("map", nasty_figure)], NASTY)
    found = parsed(html)
    # remark, clip, reason, figure (its own text, heading, caption), list in 4 rows of additions, command
    assert found.texts.count(NASTY) == 11
    assert ("aria-label", f"{NASTY}. {NASTY}") in found.attributes
    assert f"{NASTY} 0" in found.texts and f"{NASTY}/report.html" in found.texts and "<Dog>" not in html


def test_columns_of_words_are_aligned_left_and_all_others_right(made_up):
    html = report_page(made_up(), [], "")
    assert (
        '<th scope="col" class="text">row</th><th scope="col">seeds</th>' in html
        and '<td class="text">weak</td><td>2</td>' in html
    )
    assert '<th scope="col" class="text">type</th><th scope="col">added</th>' in html


def test_a_report_of_one_row_or_of_none_has_the_parts_that_there_can_be(made_up):
    whole = made_up()
    for n, parts in ((1, "rows classes additions measured"), (0, "additions measured")):
        html = report_page(replace(whole, rows=whole.rows[:n]), [], "")
        parsed(html)
        assert re.findall(r'<li><a href="#(\w+)">', html) == parts.split()
        assert all(f'id="{part}"' in html for part in parts.split()) and "<script type" not in html


def test_report_is_one_file_whose_only_script_is_its_own_and_that_loads_nothing(made_up, tmp_path):
    evaluation = made_up()
    pictures = evaluation_figures(evaluation, tmp_path)
    html = report_page(evaluation, pictures, "python -m pseudolabel.evaluate")
    found = parsed(html)
    assert "http" not in re.sub(r"http-equiv|http://www.w3.org/2000/svg", "", html) and "viewport" in html
    script = re.search(r"<script>(.*?)</script>", html, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; connect-src 'none'" in html
    assert html.count("<script") == 2  # and what it compares, as JSON
    assert all(value.startswith("#") for name, value in found.attributes if name in ("src", "href"))
    assert all(picture.svg in html for picture in pictures) and html.count("<svg") == len(pictures)
    ids = [value for name, value in found.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert f"{NASTY} 0" in found.texts and "lost <clip>" in found.texts


def test_figures_are_of_the_same_bytes_whatever_the_settings(made_up, tmp_path):
    import matplotlib

    first = evaluation_figures(made_up(), tmp_path / "one")
    settings = {"font.size": 30, "axes.grid": False, "savefig.dpi": 20, "svg.fonttype": "path", "svg.hashsalt": None}
    with matplotlib.rc_context(settings):
        second = evaluation_figures(made_up(), tmp_path / "two")
        assert [picture.svg for picture in first] == [picture.svg for picture in second]
    assert [picture.png for picture in first] == [picture.png for picture in second]
    names = {"map", "ap_change", "class_ap", "ap_counts"}
    names |= {f"{kind}-enhanced-25p" for kind in ("labels", "additions", "class_counts", "clip_labels")}
    assert {path.stem for path in (tmp_path / "one").iterdir()} == names
    for picture in first:
        assert (
            picture.png.startswith(b"\x89PNG")
            and (tmp_path / "one" / f"{picture.name}.png").read_bytes() == picture.png
        )
        assert not re.search(rb"Software|matplotlib|tIME|tEXt", picture.png[:400])


def test_an_svg_keeps_its_text_is_small_and_takes_the_pages_colours(made_up, tmp_path):
    pictures = {picture.name: picture.svg for picture in evaluation_figures(made_up(), tmp_path)}
    svg = pictures["map"]
    parsed(svg)
    assert "mAP (macro mean)" in svg and "psl_2s" in svg and len(svg) < 15_000
    assert "currentColor" in svg and "var(--line)" in svg and "#1a1a1a" not in svg and "#0072b2" in svg
    assert not re.search(r"<\?xml|DOCTYPE|metadata|<style|font-family|\d\.\d{3}", svg)
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg))
    assert used and used == set(re.findall(r' id="([^"]*)"', svg))


def test_many_rows_are_drawn_as_lines_and_what_is_left_out_is_said(made_up, tmp_path):
    few = replace(made_up(), enhanced={})
    runs = [run for row in few.rows for run in row.runs]
    more = [replace(runs[-1], run=f"more{i}", row=f"more {i:02d}", seed=0) for i in range(70)]
    pictures = {
        picture.name: picture for picture in evaluation_figures(replace(few, rows=rows_of(runs + more)), tmp_path)
    }
    assert "more 56" in pictures["map"].svg and "more 57" not in pictures["map"].svg
    assert "The first 60 rows; 13 others are in metrics.json." in pictures["map"].caption
    assert "The first 6 rows; 65 others are in per_class.csv." in pictures["ap_change"].caption


@pytest.mark.parametrize("n_classes", [1, CLASSES_SHOWN + 5])
def test_figures_of_few_and_of_many_classes_are_drawn_and_say_what_they_leave_out(made_up, n_classes, tmp_path):
    pictures = {picture.name: picture for picture in evaluation_figures(made_up(n_classes, 12), tmp_path)}
    shortened = "between them are in per_class.csv" in pictures["ap_change"].caption
    assert shortened == (n_classes > CLASSES_SHOWN)
    assert ("others are in metrics.json" in pictures["labels-enhanced-25p"].caption) == (n_classes > CLASSES_SHOWN)
